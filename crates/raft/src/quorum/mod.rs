//! Who has to agree: plain majorities, and two of them at once in a joint configuration.

mod joint;
mod majority;

pub(crate) use joint::Joint;
pub(crate) use majority::Majority;

/// Outcome of an election so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum VoteResult {
    /// Cannot be won any more.
    Lost,
    /// Undecided.
    Pending,
    /// Enough votes.
    Won,
}
