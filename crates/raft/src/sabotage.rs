//! Mistakes that the simulator plants, to show that it would find them. Without the feature `sabotage`, which no build of
//! the server has, nothing here can be switched on.

use crate::raft::Raft;

/// A rule of consensus to be broken.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// A leader commits entries of older terms by counting who has them.
    OldTermCommitted,
    /// A leader answers reads before it has committed an entry of its term.
    ReadBeforeOwnTerm,
}

impl Raft {
    #[cfg(feature = "sabotage")]
    pub(crate) fn breaks(&self, rule: Sabotage) -> bool {
        self.config.sabotage == Some(rule)
    }

    #[cfg(not(feature = "sabotage"))]
    pub(crate) fn breaks(&self, _rule: Sabotage) -> bool {
        false
    }
}
