//! Somebody who changes the membership: adds learners, promotes them, removes voters, replaces the lost.

use raft::{ConfChange, ConfChangeKind, MemberId};

use super::member::Gone;
use super::world::World;
use crate::boot::described;

/// Voters there may be, and ids that may ever be used.
const VOTERS_MAX: usize = 5;
const IDS_MAX: usize = 9;

impl World {
    /// Proposes a change now and then.
    pub fn administer(&mut self) {
        if !self.chance.once_in(4) {
            return;
        }
        let Some(at) = self.some_process() else { return };
        let Some((kind, id, context)) = self.wish() else { return };
        let number = self.clients.id();
        self.note(at, || format!("asked to change the members: {kind:?} m{id}"));
        let change = ConfChange { id: number, kind, node_id: MemberId(id), context: context.into() };
        if let Some(process) = self.members.get_mut(&at).and_then(|m| m.process.as_mut()) {
            process.change_members(number, change);
        }
    }

    fn wish(&mut self) -> Option<(ConfChangeKind, u64, Vec<u8>)> {
        let members = self.ledger.newest().members.clone();
        let of_kind = |wanted: bool| -> Vec<u64> {
            members.iter().filter(|(_, is_learner)| **is_learner == wanted).map(|(id, _)| *id).collect()
        };
        let (voters, learners) = (of_kind(false), of_kind(true));
        let lost = |id: &&u64| self.members.get(id).is_some_and(|m| m.gone == Some(Gone::Lost));
        if let Some(id) = members.keys().find(lost) {
            return Some((ConfChangeKind::RemoveNode, *id, Vec::new()));
        }
        if let Some(id) = learners.first() {
            if self.chance.once_in(10) {
                return Some((ConfChangeKind::RemoveNode, *id, Vec::new()));
            }
            // As in etcd: not before it has almost caught up.
            let index = self.members.get(id)?.process.as_ref()?.index;
            let ready = index.0 * 10 > self.ledger.agreed() * 9;
            let member = store::Member { id: *id, ..store::Member::default() };
            let context = store::ConfChangeContext { member, is_promote: true };
            return ready.then(|| (ConfChangeKind::AddNode, *id, context.to_json()));
        }
        if voters.len() > 3 && self.chance.once_in(3) {
            return Some((ConfChangeKind::RemoveNode, *self.chance.pick(&voters), Vec::new()));
        }
        if voters.len() >= VOTERS_MAX || self.members.len() >= IDS_MAX {
            return None;
        }
        let id = self.members.len() as u64 + 1;
        let as_voter = self.chance.once_in(4);
        let member = store::Member { is_learner: !as_voter, ..described(id) };
        let kind = if as_voter { ConfChangeKind::AddNode } else { ConfChangeKind::AddLearnerNode };
        Some((kind, id, member.to_json()))
    }
}
