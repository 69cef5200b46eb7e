//! The members: who votes, what the leader knows about each, and the votes of a running election.

mod inflights;
mod progress;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use inflights::Inflights;
pub(crate) use progress::{ById, Pace, Progress};

use crate::quorum::{Joint, VoteResult};
use crate::{ConfState, Index, MemberId};

/// Membership in the form consensus works with.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Membership {
    pub(crate) voters: Joint,
    pub(crate) learners: BTreeSet<MemberId>,
    pub(crate) learners_next: BTreeSet<MemberId>,
    pub(crate) auto_leave: bool,
}

impl Membership {
    pub(crate) fn conf_state(&self) -> ConfState {
        ConfState {
            voters: self.voters.incoming.voters().to_vec(),
            learners: self.learners.iter().copied().collect(),
            voters_outgoing: self.voters.outgoing.voters().to_vec(),
            learners_next: self.learners_next.iter().copied().collect(),
            auto_leave: self.auto_leave,
        }
    }

    pub(crate) fn contains(&self, id: MemberId) -> bool {
        self.voters.contains(id) || self.learners.contains(&id)
    }
}

/// Everything counted per member.
#[derive(Clone, Debug)]
pub(crate) struct Tracker {
    pub(crate) membership: Membership,
    pub(crate) progress: ById,
    votes: BTreeMap<MemberId, bool>,
    window: Inflights,
}

impl Tracker {
    pub(crate) fn new(inflight_count_max: usize, inflight_bytes_max: usize) -> Tracker {
        Tracker {
            membership: Membership::default(),
            progress: ById::new(),
            votes: BTreeMap::new(),
            window: Inflights::new(inflight_count_max, inflight_bytes_max),
        }
    }

    /// Takes over a membership; members that stay keep their progress.
    pub(crate) fn set_membership(&mut self, membership: Membership, last: Index) {
        self.progress.retain(|id, _| membership.contains(*id));
        for id in membership.voters.voters().into_iter().chain(membership.learners.iter().copied()) {
            let is_learner = !membership.voters.contains(id);
            let progress = self.progress.entry(id).or_insert_with(|| {
                let mut fresh = Progress::new(last.max(Index(1)), is_learner, self.window.clone());
                // Otherwise the next quorum check could depose the leader before the newcomer had a chance to answer.
                fresh.recent_active = true;
                fresh
            });
            progress.is_learner = is_learner;
        }
        self.membership = membership;
    }

    /// The largest index that a quorum has on disk.
    pub(crate) fn committed(&self) -> Index {
        let matched = |id| self.progress.get(&id).map_or(0, |progress| progress.matched.0);
        Index(self.membership.voters.reached(matched))
    }

    /// True if a quorum, this member included, has been heard lately.
    pub(crate) fn quorum_active(&self, own: MemberId) -> bool {
        let active = |id| Some(id == own || self.progress.get(&id).is_some_and(|p| p.recent_active));
        self.membership.voters.vote(active) == VoteResult::Won
    }

    pub(crate) fn clear_votes(&mut self) {
        self.votes.clear();
    }

    /// The first vote of each member counts.
    pub(crate) fn record_vote(&mut self, id: MemberId, granted: bool) -> VoteResult {
        self.votes.entry(id).or_insert(granted);
        self.membership.voters.vote(|id| self.votes.get(&id).copied())
    }
}
