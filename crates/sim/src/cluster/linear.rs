//! Whether what clients saw of one register can have happened in one order that keeps to real time.
//!
//! Calls and returns are gone through as they came. At each moment the register may be in one of several states, each
//! with the open calls that have taken effect to get there; at a return, every state in which that call has not taken
//! effect is given up. A call without an answer stays open for ever: it may take effect at any time, or never.

use std::collections::BTreeSet;

/// What the register holds; values are written once each.
pub(super) type Value = Option<u64>;

/// What a client asked and, where it has the answer, saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// Puts a value, or deletes.
    Write(Value),
    /// Puts `new` if `old` is there; this one did, or nobody knows.
    Swap { old: Value, new: u64 },
    /// Sees a value, perhaps because a swap was refused.
    Read(Value),
}

/// One call. Moments are numbers that only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Call {
    pub called: u64,
    /// None: it was never answered.
    pub returned: Option<u64>,
    pub op: Op,
}

/// What a search comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Linear,
    /// This call cannot have seen what it saw.
    Broken(Call),
    /// The search was given up: too much is open at a time.
    Undecided,
}

/// States kept at a time.
const STATES_MAX: usize = 5000;

/// The register's value, and the open calls that have taken effect.
type State = (Value, Vec<usize>);

/// Searches for an order; the register is empty at first.
pub(super) fn check(calls: &[Call]) -> Verdict {
    let calls: Vec<Call> = calls.iter().copied().filter(|call| matters(call, calls)).collect();
    let mut moments: Vec<(u64, usize, bool)> = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        moments.push((call.called, at, false));
        moments.extend(call.returned.map(|moment| (moment, at, true)));
    }
    moments.sort_unstable();
    let mut open: Vec<usize> = Vec::new();
    let mut states: BTreeSet<State> = BTreeSet::from([(None, Vec::new())]);
    for (_, at, returns) in moments {
        if !returns {
            open.push(at);
            continue;
        }
        let Some(reached) = with_effect(&calls, &open, at, states) else { return Verdict::Undecided };
        states = reached;
        if states.is_empty() {
            return Verdict::Broken(calls[at]);
        }
        open.retain(|other| *other != at);
    }
    Verdict::Linear
}

/// An unanswered write of a value that nobody speaks of may as well not have happened.
fn matters(call: &Call, calls: &[Call]) -> bool {
    let (Op::Write(Some(value)) | Op::Swap { new: value, .. }) = call.op else { return true };
    let speaks = |other: &Call| match other.op {
        Op::Read(seen) => seen == Some(value),
        Op::Swap { old, .. } => old == Some(value),
        Op::Write(_) => false,
    };
    call.returned.is_some() || calls.iter().any(speaks)
}

/// All states in which the call `wanted` has taken effect, which is then forgotten.
fn with_effect(
    calls: &[Call],
    open: &[usize],
    wanted: usize,
    states: BTreeSet<State>,
) -> Option<BTreeSet<State>> {
    let mut seen = states.clone();
    let mut todo: Vec<State> = states.into_iter().collect();
    let mut reached = BTreeSet::new();
    while let Some((value, done)) = todo.pop() {
        if done.contains(&wanted) {
            let rest = done.iter().copied().filter(|at| *at != wanted).collect();
            reached.insert((value, rest));
            continue;
        }
        for at in open.iter().copied().filter(|at| !done.contains(at)) {
            let Some(next) = effect(calls[at].op, value) else { continue };
            let mut done = done.clone();
            done.push(at);
            done.sort_unstable();
            if seen.insert((next, done.clone())) {
                todo.push((next, done));
            }
        }
        if seen.len() > STATES_MAX {
            return None;
        }
    }
    Some(reached)
}

fn effect(op: Op, value: Value) -> Option<Value> {
    match op {
        Op::Write(new) => Some(new),
        Op::Swap { old, new } => (old == value).then_some(Some(new)),
        Op::Read(seen) => (seen == value).then_some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(called: u64, returned: u64, op: Op) -> Call {
        Call { called, returned: (returned > 0).then_some(returned), op }
    }

    #[test]
    fn calls_that_overlap_may_take_effect_in_any_order() {
        let write = |value| Op::Write(Some(value));
        let history = [
            call(1, 6, write(1)),
            call(2, 5, write(2)),
            call(3, 4, Op::Read(Some(1))),
            call(7, 8, Op::Read(Some(2))),
        ];
        assert_eq!(check(&history), Verdict::Linear);
    }

    #[test]
    fn a_read_of_what_was_overwritten_before_it_began_is_found() {
        let stale = call(5, 6, Op::Read(Some(1)));
        let history = [call(1, 2, Op::Write(Some(1))), call(3, 4, Op::Write(Some(2))), stale];
        assert!(matches!(check(&history), Verdict::Broken(call) if call.op == stale.op));
    }

    #[test]
    fn two_swaps_of_one_value_are_found() {
        let history = [
            call(1, 2, Op::Write(Some(1))),
            call(3, 5, Op::Swap { old: Some(1), new: 2 }),
            call(4, 6, Op::Swap { old: Some(1), new: 3 }),
        ];
        assert!(matches!(check(&history), Verdict::Broken(_)));
    }

    #[test]
    fn a_call_without_answer_may_take_effect_late_but_only_once() {
        let lost = call(1, 0, Op::Write(Some(1)));
        let read = |called, value| call(called, called + 1, Op::Read(value));
        let write = call(4, 5, Op::Write(Some(2)));
        assert_eq!(check(&[lost, read(2, None), write, read(6, Some(1))]), Verdict::Linear);
        let back = [lost, read(2, Some(1)), write, read(6, Some(2)), read(8, Some(1))];
        assert!(matches!(check(&back), Verdict::Broken(_)));
    }
}
