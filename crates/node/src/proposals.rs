//! Proposals on their way in: held while no leader is known or leadership changes hands, batched, refused when apply
//! cannot keep up.

use std::collections::VecDeque;

use raft::{ConfChange, Entry, EntryKind, ProposeError, Raft, Role};

use crate::{Proposal, ProposalError};

/// Proposals held at once while no leader is known.
const HELD_MAX: usize = 5000;
/// A batch ends with the proposal that makes it so long: to a leader it goes in one message.
const BATCH_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Held {
    /// Who waits here; nobody for what another member sent on.
    id: Option<u64>,
    entry: Entry,
    /// Tick by which a leader must be known.
    deadline: u64,
}

/// Waiting proposals, oldest first.
#[derive(Default, Debug)]
pub(crate) struct Proposals {
    held: VecDeque<Held>,
    failed: Vec<(u64, ProposalError)>,
}

impl Proposals {
    pub(crate) fn add(&mut self, proposal: Proposal, deadline: u64) {
        let Proposal { id, data } = proposal;
        self.hold(Some(id), Entry { data, ..Entry::default() }, deadline);
    }

    /// Takes in what another member sent to this one as its leader.
    pub(crate) fn add_foreign(&mut self, entries: Vec<Entry>, deadline: u64) {
        entries.into_iter().for_each(|entry| self.hold(None, entry, deadline));
    }

    pub(crate) fn add_conf_change(&mut self, id: u64, change: &ConfChange, deadline: u64) {
        let entry = Entry { kind: EntryKind::ConfChange, data: change.encode(), ..Entry::default() };
        self.hold(Some(id), entry, deadline);
    }

    fn hold(&mut self, id: Option<u64>, entry: Entry, deadline: u64) {
        if self.is_full() {
            return self.give_up(id, ProposalError::TooManyRequests);
        }
        self.held.push_back(Held { id, entry, deadline });
    }

    /// As many wait as may.
    pub(crate) fn is_full(&self) -> bool {
        self.held.len() >= HELD_MAX
    }

    pub(crate) fn fail(&mut self, id: u64, why: ProposalError) {
        self.failed.push((id, why));
    }

    fn give_up(&mut self, id: Option<u64>, why: ProposalError) {
        if let Some(id) = id {
            self.fail(id, why);
        }
    }

    pub(crate) fn take_failed(&mut self) -> Vec<(u64, ProposalError)> {
        std::mem::take(&mut self.failed)
    }

    /// Gives up on what waited for a leader too long.
    pub(crate) fn expire(&mut self, now: u64) {
        while self.held.front().is_some_and(|held| held.deadline <= now) {
            if let Some(held) = self.held.pop_front() {
                self.give_up(held.id, ProposalError::NoLeader);
            }
        }
    }

    /// Nobody can take proposals now: no leader is known, or it hands over.
    pub(crate) fn must_wait(raft: &Raft) -> bool {
        raft.soft_state().leader.is_none() || !raft.transferee().is_none()
    }

    /// Proposes all that waits in batches, if a leader is known. While leadership is being handed over everything
    /// waits for the next leader: refusing it would make every planned handover visible to clients.
    pub(crate) fn flush(&mut self, raft: &mut Raft) {
        if self.held.is_empty() || Proposals::must_wait(raft) {
            return;
        }
        let leads = raft.soft_state().role == Role::Leader;
        let mut conf_change_taken = leads && raft.conf_change_pending();
        let (mut ids, mut batch, mut batch_bytes) =
            (Vec::with_capacity(self.held.len()), Vec::with_capacity(self.held.len()), 0);
        for Held { id, entry, .. } in self.held.drain(..) {
            // Consensus would put an empty entry in its place and the proposer would wait in vain.
            if entry.changes_members() && std::mem::replace(&mut conf_change_taken, leads) {
                self.failed.extend(id.map(|id| (id, ProposalError::ConfChangePending)));
                continue;
            }
            batch_bytes += entry.data.len();
            ids.push(id);
            batch.push(entry);
            if batch_bytes >= BATCH_BYTES {
                propose(raft, &mut ids, &mut batch, &mut self.failed);
                batch_bytes = 0;
            }
        }
        if !batch.is_empty() {
            propose(raft, &mut ids, &mut batch, &mut self.failed);
        }
    }
}

fn propose(
    raft: &mut Raft,
    ids: &mut Vec<Option<u64>>,
    batch: &mut Vec<Entry>,
    failed: &mut Vec<(u64, ProposalError)>,
) {
    if let Err(why) = raft.propose(std::mem::take(batch)) {
        let why = match why {
            ProposeError::NoLeader => ProposalError::NoLeader,
            ProposeError::TooMuchUncommitted => ProposalError::TooManyRequests,
            ProposeError::Transferring | ProposeError::NotMember => ProposalError::Dropped,
        };
        failed.extend(ids.drain(..).flatten().map(|id| (id, why)));
    }
    ids.clear();
}
