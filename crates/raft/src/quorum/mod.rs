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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::MemberId;

    fn halves() -> impl Iterator<Item = (Majority, Majority)> {
        let sets = || {
            (0u64..64).map(|bits| (1..=6).filter(move |id| bits >> (id - 1) & 1 == 1).map(MemberId).collect())
        };
        sets().flat_map(move |incoming: Majority| sets().map(move |outgoing| (incoming.clone(), outgoing)))
    }

    /// Some numbers per voter, different for every case; a missing one counts as nothing.
    fn numbers(case: usize) -> BTreeMap<MemberId, u64> {
        let number = |id: u64| (case as u64 * 31 + id * id * 7) % 11;
        (1..=6)
            .filter(|id| !(case as u64 + id).is_multiple_of(5))
            .map(|id| (MemberId(id), number(id)))
            .collect()
    }

    fn obviously_reached(voters: &Majority, of: &BTreeMap<MemberId, u64>) -> u64 {
        let have = |n: u64| voters.voters().iter().filter(|id| of.get(id).copied().unwrap_or(0) >= n).count();
        (0..=10).rev().find(|n| voters.is_empty() || 2 * have(*n) > voters.voters().len()).unwrap_or(0)
    }

    #[test]
    fn what_a_majority_has_reached_is_the_largest_number_that_more_than_half_have() {
        for (case, (incoming, outgoing)) in halves().enumerate() {
            let of = numbers(case);
            let reached = |id| of.get(&id).copied().unwrap_or(0);
            let expected = obviously_reached(&incoming, &of).min(obviously_reached(&outgoing, &of));
            let joint = Joint { incoming, outgoing };
            assert_eq!(joint.reached(reached).min(10), expected, "{joint:?} {of:?}");
        }
    }

    #[test]
    fn an_election_is_won_lost_or_open_as_the_votes_still_missing_may_turn_out() {
        for (case, (incoming, outgoing)) in halves().enumerate() {
            let given: BTreeMap<MemberId, bool> =
                numbers(case).into_iter().map(|(id, n)| (id, n % 2 == 0)).collect();
            let yes = |voters: &Majority, missing: bool| {
                let count =
                    voters.voters().iter().filter(|id| given.get(id).copied().unwrap_or(missing)).count();
                voters.is_empty() || 2 * count > voters.voters().len()
            };
            let expected = if yes(&incoming, false) && yes(&outgoing, false) {
                VoteResult::Won
            } else if yes(&incoming, true) && yes(&outgoing, true) {
                VoteResult::Pending
            } else {
                VoteResult::Lost
            };
            let joint = Joint { incoming, outgoing };
            assert_eq!(joint.vote(|id| given.get(&id).copied()), expected, "{joint:?} {given:?}");
        }
    }

    #[test]
    fn more_voters_than_usual_are_counted_too() {
        let many: Majority = (1..=12).map(MemberId).collect();
        assert_eq!(many.reached(|id| id.0), 6);
        let (joint, alone) =
            (Joint { incoming: many.clone(), outgoing: many }, [MemberId(3)].into_iter().collect());
        assert_eq!((joint.single(), joint.voters().len()), (None, 12));
        assert_eq!(Joint { incoming: alone, ..Joint::default() }.single(), Some(MemberId(3)));
    }
}
