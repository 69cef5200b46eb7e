//! Messages with entries that are on their way to one peer: a window bounded by count and bytes.

use std::collections::VecDeque;

use crate::Index;

/// Oldest first. Full when either bound is reached.
#[derive(Clone, Debug)]
pub(crate) struct Inflights {
    sent: VecDeque<(Index, usize)>,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

impl Inflights {
    pub(crate) fn new(count_max: usize, bytes_max: usize) -> Inflights {
        Inflights { sent: VecDeque::new(), bytes: 0, count_max, bytes_max }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.sent.len() >= self.count_max || self.bytes >= self.bytes_max
    }

    /// A message left whose last entry is `last`.
    pub(crate) fn add(&mut self, last: Index, bytes: usize) {
        self.sent.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// Everything up to `index` has arrived.
    pub(crate) fn free_to(&mut self, index: Index) {
        while let Some(&(last, bytes)) = self.sent.front() {
            if last > index {
                break;
            }
            self.bytes -= bytes;
            self.sent.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.sent.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_full_by_count_or_by_bytes_and_opens_again() {
        let mut window = Inflights::new(3, 100);
        for (last, bytes, full) in [(1, 10, false), (2, 10, false), (3, 10, true)] {
            window.add(Index(last), bytes);
            assert_eq!(window.is_full(), full, "after {last}");
        }
        window.free_to(Index(2));
        assert!(!window.is_full());
        window.add(Index(9), 90);
        assert!(window.is_full(), "100 bytes are under way");
        window.free_to(Index(8));
        assert!(!window.is_full(), "entry 3 has arrived, 9 has not");
        window.clear();
        assert_eq!((window.bytes, window.sent.len()), (0, 0));
    }
}
