//! Two majorities that must agree both, while the membership moves from one to the other.

use super::{Majority, VoteResult};
use crate::MemberId;

/// The new voters and, only while the configuration is joint, the old ones.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Joint {
    pub(crate) incoming: Majority,
    pub(crate) outgoing: Majority,
}

impl Joint {
    pub(crate) fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(crate) fn contains(&self, id: MemberId) -> bool {
        self.incoming.contains(id) || self.outgoing.contains(id)
    }

    /// Everybody who votes, by id, each once.
    pub(crate) fn voters(&self) -> Vec<MemberId> {
        let mut all = [self.incoming.voters(), self.outgoing.voters()].concat();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The only voter, if there is exactly one.
    pub(crate) fn single(&self) -> Option<MemberId> {
        match (self.incoming.voters(), self.is_joint()) {
            ([only], false) => Some(*only),
            _ => None,
        }
    }

    /// The largest number that both halves have reached.
    pub(crate) fn reached(&self, of: impl Fn(MemberId) -> u64) -> u64 {
        self.incoming.reached(&of).min(self.outgoing.reached(&of))
    }

    /// Won if both halves are won, lost if one is lost.
    pub(crate) fn vote(&self, of: impl Fn(MemberId) -> Option<bool>) -> VoteResult {
        self.incoming.vote(&of).min(self.outgoing.vote(&of))
    }
}
