//! The promises of consensus, checked from outside over everything that any member ever did.

use std::collections::BTreeMap;

use raft::{Entry, Index, MemberId, Message, MessageKind, Raft, Role, SoftState, Term};

use crate::member::{Disk, Store, mix};

#[derive(Default)]
pub struct Checks {
    leaders: BTreeMap<Term, MemberId>,
    /// Every entry that ever was in a log: what it is and what precedes it.
    seen: BTreeMap<(Index, Term), (Option<Term>, u64)>,
    /// Term of each committed entry, and the lowest term in which a member knew it as committed.
    committed: BTreeMap<Index, (Term, Term)>,
    applied: BTreeMap<Index, (Entry, u64)>,
}

impl Checks {
    /// Election safety and leader completeness.
    pub fn role(&mut self, id: MemberId, state: SoftState, raft: &Raft) {
        if state.role != Role::Leader {
            return;
        }
        let first = *self.leaders.entry(state.term).or_insert(id);
        assert_eq!(first, id, "two leaders in term {}", state.term);
        for (index, (term, known_in)) in &self.committed {
            if *known_in < state.term && *index >= raft.first_index() {
                assert_eq!(
                    raft.term_at(*index),
                    Some(*term),
                    "leader {id} lacks the committed entry {index}"
                );
            }
        }
    }

    /// Log matching: one index and one term mean one entry with one history.
    pub fn log(&mut self, raft: &Raft) {
        let from = raft.first_index().0.max(raft.last_index().0.saturating_sub(20));
        for index in (from..=raft.last_index().0).map(Index) {
            let entry = raft.entry(index).expect("an entry within the log");
            assert_eq!(entry.index, index);
            let history = (raft.term_at(index.prev()), mix(0, entry));
            let first = *self.seen.entry((index, entry.term)).or_insert(history);
            assert_eq!(first, history, "two different entries at index {index} of term {}", entry.term);
        }
    }

    /// Nothing committed is ever replaced.
    pub fn committed(&mut self, raft: &Raft) {
        let now = raft.hard_state().term;
        for index in
            (raft.first_index().0.max(raft.committed().0.saturating_sub(20))..=raft.committed().0).map(Index)
        {
            let Some(term) = raft.term_at(index) else { continue };
            let known = self.committed.entry(index).or_insert((term, now));
            assert_eq!(known.0, term, "two different entries were committed at index {index}");
            known.1 = known.1.min(now);
        }
    }

    /// Highest index that any member knew as committed.
    pub fn highest_committed(&self) -> Index {
        self.committed.keys().next_back().copied().unwrap_or_default()
    }

    /// State machine safety.
    pub fn applied(&mut self, entry: &Entry, store: &Store) {
        let first = self.applied.entry(entry.index).or_insert_with(|| (entry.clone(), store.digest));
        assert_eq!((&first.0, first.1), (entry, store.digest), "stores differ at index {}", entry.index);
    }

    pub fn restored(&self, store: &Store) {
        let (_, digest) = &self.applied[&store.applied];
        assert_eq!(*digest, store.digest, "a snapshot differs from what was applied up to {}", store.applied);
    }

    pub fn applied_count(&self) -> usize {
        self.applied.len()
    }

    /// What a message promises is on the sender's disk when it leaves.
    pub fn promise(&self, message: &Message, disk: &Disk) {
        let hard_state = disk.hard_state;
        match message.kind {
            MessageKind::AppResp if !message.reject => {
                assert!(
                    message.index <= disk.last_index(),
                    "acknowledged {} before it was written",
                    message.index
                );
            }
            MessageKind::VoteResp if !message.reject => {
                let given = (hard_state.term, hard_state.vote) == (message.term, message.to);
                assert!(given || hard_state.term > message.term, "a vote was told before it was written");
            }
            MessageKind::Vote => {
                assert!(hard_state.term >= message.term, "a term was told before it was written");
                assert!(
                    message.index <= disk.last_index() || hard_state.term > message.term,
                    "a log was told before"
                );
            }
            _ => {}
        }
    }
}
