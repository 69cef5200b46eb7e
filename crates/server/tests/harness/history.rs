//! What clients of one cluster did and saw, and whether a single register per key can explain it.
//!
//! Etcd tells the revision of every write, so the order of writes is known and the check is simple: an operation that ends
//! before another begins must not come after it in that order, and what is read at a revision is what was written there.
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// One operation that ended well, or a write of which nobody knows.
#[derive(Clone, Debug)]
pub struct Operation {
    pub key: usize,
    pub begun: Instant,
    /// `None`: no answer came. It may take effect at any time, or never.
    pub ended: Option<Instant>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A value nobody else writes; 0 is the revision of a write without an answer.
    Write { value: u64, revision: i64 },
    /// 0 and 0: the key was not there.
    Read { value: u64, revision: i64 },
}

/// Everything in any order.
#[derive(Default)]
pub struct History(pub Vec<Operation>);

impl History {
    /// Why no order of these operations is one of a register per key; empty if there is one.
    pub fn violations(&self) -> Vec<String> {
        let mut by_key: BTreeMap<usize, Vec<&Operation>> = BTreeMap::new();
        for operation in &self.0 {
            by_key.entry(operation.key).or_default().push(operation);
        }
        by_key.into_values().flat_map(|operations| violations_of_one(&operations)).collect()
    }

    /// The longest time in which no write was acknowledged, of that between `from` and `until`.
    pub fn longest_gap(&self, from: Instant, until: Instant) -> Duration {
        let is_write = |operation: &&Operation| matches!(operation.what, What::Write { revision: 1.., .. });
        // Who ended first is noted first, but for a moment.
        let late = Duration::from_secs(1);
        let is_recent = |operation: &&Operation| operation.ended.is_none_or(|end| end + late > from);
        let recent = self.0.iter().rev().take_while(is_recent);
        let ends = recent.filter(is_write).filter_map(|operation| operation.ended);
        let mut ends: Vec<Instant> = ends.filter(|end| (from..until).contains(end)).collect();
        ends.extend([from, until]);
        ends.sort();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    pub fn count(&self, is: impl Fn(&Operation) -> bool) -> usize {
        self.0.iter().filter(|operation| is(operation)).count()
    }
}

fn violations_of_one(operations: &[&Operation]) -> Vec<String> {
    let mut found = Vec::new();
    let mut written: HashMap<u64, &Operation> = HashMap::new();
    for operation in operations {
        if let What::Write { value, .. } = operation.what {
            written.insert(value, operation);
        }
    }
    // Which value has which revision: told by its write, or by whoever read it.
    let mut value_at: HashMap<i64, u64> = HashMap::new();
    for operation in operations {
        let (What::Write { value, revision } | What::Read { value, revision }) = operation.what;
        if revision == 0 {
            continue;
        }
        if *value_at.entry(revision).or_insert(value) != value {
            found.push(format!("two values at revision {revision}: {operation:?}"));
        }
        let is_read = matches!(operation.what, What::Read { .. });
        match written.get(&value) {
            None => found.push(format!("nobody wrote this: {operation:?}")),
            Some(write) if is_read && operation.ended.is_some_and(|end| end < write.begun) => {
                found.push(format!("read before it was written: {operation:?} {write:?}"));
            }
            Some(_) => {}
        }
    }
    // In order of their ends, the newest revision that some ended operation has shown.
    let mut ended: Vec<(Instant, i64)> =
        operations.iter().filter_map(|o| Some((o.ended?, o.revision()))).collect();
    ended.sort();
    let mut newest = 0;
    for entry in &mut ended {
        newest = newest.max(entry.1);
        entry.1 = newest;
    }
    for operation in operations.iter().filter(|operation| operation.ended.is_some()) {
        let before = ended.partition_point(|(end, _)| *end < operation.begun);
        let seen = before.checked_sub(1).map_or(0, |last| ended[last].1);
        let fits = match operation.what {
            What::Write { revision, .. } => revision > seen,
            What::Read { revision, .. } => revision >= seen,
        };
        if !fits {
            found.push(format!("revision {seen} had been seen before this began: {operation:?}"));
        }
    }
    found
}

impl Operation {
    pub fn revision(&self) -> i64 {
        match self.what {
            What::Write { revision, .. } | What::Read { revision, .. } => revision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(operations: &[(u64, u64, What)]) -> Vec<String> {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let operation = |(begun, ended, what): &(u64, u64, What)| Operation {
            key: 0,
            begun: at(*begun),
            ended: (*ended > 0).then(|| at(*ended)),
            what: what.clone(),
        };
        History(operations.iter().map(operation).collect()).violations()
    }

    fn write(value: u64, revision: i64) -> What {
        What::Write { value, revision }
    }

    fn read(value: u64, revision: i64) -> What {
        What::Read { value, revision }
    }

    #[test]
    fn what_one_register_can_do_is_accepted() {
        assert!(
            history(&[(0, 1, write(1, 2)), (2, 3, read(1, 2)), (4, 5, write(2, 3)), (6, 7, read(2, 3))])
                .is_empty()
        );
        // Two at once, in either order; a write without an answer that takes effect late.
        assert!(history(&[(0, 9, write(1, 3)), (1, 8, write(2, 2)), (10, 11, read(1, 3))]).is_empty());
        assert!(history(&[(0, 0, write(1, 0)), (1, 2, read(0, 0)), (3, 4, read(1, 2))]).is_empty());
    }

    #[test]
    fn what_no_register_can_do_is_found() {
        let stale = [(0, 1, write(1, 2)), (2, 3, write(2, 3)), (4, 5, read(1, 2))];
        assert!(!history(&stale).is_empty(), "a stale read");
        assert!(!history(&[(0, 1, write(1, 2)), (2, 3, read(0, 0))]).is_empty(), "a lost write");
        assert!(
            !history(&[(0, 1, write(1, 5)), (2, 3, write(2, 4))]).is_empty(),
            "a write before an earlier one"
        );
        assert!(
            !history(&[(0, 1, read(7, 2)), (2, 3, write(7, 2))]).is_empty(),
            "read before it was written"
        );
        assert!(!history(&[(0, 1, write(1, 2)), (2, 3, read(9, 4))]).is_empty(), "out of nothing");
        let back = [(0, 9, write(1, 2)), (1, 2, read(1, 2)), (3, 4, read(0, 0))];
        assert!(!history(&back).is_empty(), "a read that goes back");
    }
}
