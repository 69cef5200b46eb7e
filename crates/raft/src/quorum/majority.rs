//! A set of voters of which more than half have to agree.

use super::VoteResult;
use crate::MemberId;

/// Voters, sorted by id. Without voters every question is answered with yes, so that the empty half of a joint
/// configuration never stands in the way.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Majority {
    voters: Vec<MemberId>,
}

impl Majority {
    pub(crate) fn voters(&self) -> &[MemberId] {
        &self.voters
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    pub(crate) fn contains(&self, id: MemberId) -> bool {
        self.voters.binary_search(&id).is_ok()
    }

    pub(crate) fn insert(&mut self, id: MemberId) {
        if let Err(at) = self.voters.binary_search(&id) {
            self.voters.insert(at, id);
        }
    }

    pub(crate) fn remove(&mut self, id: MemberId) {
        if let Ok(at) = self.voters.binary_search(&id) {
            self.voters.remove(at);
        }
    }

    /// The largest number that more than half of the voters have reached; `u64::MAX` without voters.
    pub(crate) fn reached(&self, of: impl Fn(MemberId) -> u64) -> u64 {
        const USUAL: usize = 9;
        let count = self.voters.len();
        if count == 0 {
            return u64::MAX;
        }
        let (mut few, mut many) = ([0; USUAL], Vec::new());
        let numbers: &mut [u64] = if count <= USUAL {
            &mut few[..count]
        } else {
            many.resize(count, 0);
            &mut many
        };
        for (number, voter) in numbers.iter_mut().zip(&self.voters) {
            *number = of(*voter);
        }
        numbers.sort_unstable();
        numbers[count - (count / 2 + 1)]
    }

    /// Counts votes; `None` is a vote not yet given.
    pub(crate) fn vote(&self, of: impl Fn(MemberId) -> Option<bool>) -> VoteResult {
        let needed = self.voters.len() / 2 + 1;
        let (mut yes, mut open) = (0, 0);
        for voter in &self.voters {
            match of(*voter) {
                Some(true) => yes += 1,
                Some(false) => {}
                None => open += 1,
            }
        }
        if yes >= needed || self.voters.is_empty() {
            VoteResult::Won
        } else if yes + open >= needed {
            VoteResult::Pending
        } else {
            VoteResult::Lost
        }
    }
}

impl FromIterator<MemberId> for Majority {
    fn from_iter<T: IntoIterator<Item = MemberId>>(ids: T) -> Self {
        let mut voters: Vec<MemberId> = ids.into_iter().collect();
        voters.sort_unstable();
        voters.dedup();
        Majority { voters }
    }
}
