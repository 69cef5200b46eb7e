//! A member alone, from an empty disk to snapshots, and started again.

use bytes::Bytes;
use node::{Config, Input, Node, Output, Proposal, ProposalError, Restored, Role};
use raft::{ConfChange, ConfChangeKind, ConfState, Entry, EntryKind, HardState, Index, MemberId, Term};

const ME: MemberId = MemberId(7);

fn conf_change(kind: ConfChangeKind, node_id: MemberId) -> ConfChange {
    ConfChange { id: 0, kind, node_id, context: Bytes::new() }
}

/// What a first start writes before the node exists: the own membership, committed.
fn bootstrapped() -> Restored {
    let data = conf_change(ConfChangeKind::AddNode, ME).encode();
    Restored {
        hard_state: HardState { term: Term(1), vote: MemberId::NONE, commit: Index(1) },
        entries: vec![Entry { term: Term(1), index: Index(1), kind: EntryKind::ConfChange, data }],
        ..Restored::default()
    }
}

/// Carries outputs out at once, like a server with a perfect disk; collects the rest.
struct Server {
    node: Node,
    applied: Vec<Entry>,
    log: Vec<Entry>,
    hard_state: HardState,
    rest: Output,
}

impl Server {
    fn start(config: Config, restored: Restored) -> Server {
        let log = restored.entries.clone();
        let node = Node::new(config, restored).expect("restored state fits");
        let mut server =
            Server { node, applied: vec![], log, hard_state: HardState::default(), rest: Output::default() };
        server.run();
        server
    }

    fn step(&mut self, input: Input) -> &mut Self {
        self.node.step(input);
        self.run();
        self
    }

    fn run(&mut self) {
        loop {
            let output = self.node.take_output();
            if output.is_empty() {
                return;
            }
            if let Some(persist) = output.persist {
                self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
                self.log.extend(persist.entries);
                self.node.step(Input::Persisted { seq: persist.seq });
            }
            for entry in output.apply {
                let index = entry.index;
                if entry.kind == EntryKind::ConfChange {
                    let change = ConfChange::decode(&entry.data);
                    self.node.step(Input::ConfChangeApplied { index, change });
                }
                self.node.step(Input::Applied { index });
                self.applied.push(entry);
            }
            self.rest.reads.extend(output.reads);
            self.rest.failed.extend(output.failed);
            self.rest.leadership = output.leadership.or(self.rest.leadership);
            self.rest.conf_state = output.conf_state.or(self.rest.conf_state.take());
            self.rest.snapshot_due = output.snapshot_due.or(self.rest.snapshot_due);
        }
    }
}

fn proposal(id: u64) -> Input {
    Input::Propose(Proposal { id, data: Bytes::from(format!("request {id}")) })
}

#[test]
fn a_fresh_member_elects_itself_without_a_tick_and_serves() {
    let mut server = Server::start(Config::new(ME, 1), bootstrapped());
    let state = server.rest.leadership.expect("it became leader");
    assert_eq!((state.leader, state.role, state.term), (ME, Role::Leader, Term(2)));
    assert_eq!(server.rest.conf_state.take().map(|state| state.voters), Some(vec![ME]));
    assert_eq!(server.applied.len(), 2, "its membership and the empty entry of its term");

    server.step(proposal(1)).step(Input::ReadIndex { id: 5 });
    assert_eq!(server.applied[2].data, "request 1");
    assert_eq!(server.rest.reads, [node::ReadState { id: 5, index: Index(3) }]);
    let status = server.node.status();
    assert_eq!((status.committed, status.applied, status.last_index), (Index(3), Index(3), Index(3)));
}

#[test]
fn what_was_proposed_together_is_written_together_and_applied_only_after_the_write() {
    let mut server = Server::start(Config::new(ME, 1), bootstrapped());
    for id in 0..100 {
        server.node.step(proposal(id));
    }
    let output = server.node.take_output();
    let persist = output.persist.expect("one write");
    assert_eq!((persist.entries.len(), persist.must_sync), (100, true));
    assert!(output.apply.is_empty());
    assert!(server.node.take_output().is_empty());
    server.node.step(Input::Persisted { seq: persist.seq });
    assert_eq!(server.node.take_output().apply.len(), 100);
    // The commit index alone is not worth a write of its own; a tick writes it down, without a sync.
    server.node.step(Input::Tick);
    let persist = server.node.take_output().persist.expect("the commit index");
    assert_eq!((persist.must_sync, persist.hard_state.map(|state| state.commit)), (false, Some(Index(102))));
}

#[test]
fn however_many_are_proposed_at_once_none_is_refused_while_there_is_a_leader() {
    let mut server = Server::start(Config::new(ME, 1), bootstrapped());
    for id in 0..12_000 {
        server.node.step(proposal(id));
    }
    let output = server.node.take_output();
    assert_eq!(output.failed, []);
    assert_eq!(output.persist.expect("one write").entries.len(), 12_000);
}

#[test]
fn a_member_started_again_goes_on_after_what_its_store_has_applied() {
    let mut before = Server::start(Config::new(ME, 1), bootstrapped());
    for id in 0..5 {
        before.step(proposal(id));
    }
    let restored = Restored {
        hard_state: before.hard_state,
        conf_state: ConfState { voters: vec![ME], ..ConfState::default() },
        entries: before.log,
        applied: Index(4),
        ..Restored::default()
    };
    let after = Server::start(Config::new(ME, 2), restored);
    let indexes: Vec<u64> = after.applied.iter().map(|entry| entry.index.0).collect();
    assert_eq!(indexes, [5, 6, 7, 8], "8 is the empty entry of the new term");
    assert_eq!(after.node.status().term, Term(3));
}

#[test]
fn a_store_that_is_ahead_of_the_log_is_refused() {
    let restored = Restored { applied: Index(2), ..bootstrapped() };
    assert!(Node::new(Config::new(ME, 1), restored).is_err());
}

#[test]
fn proposals_are_refused_while_apply_is_too_far_behind() {
    let mut server = Server::start(Config { apply_gap_max: 3, ..Config::new(ME, 1) }, bootstrapped());
    for id in 0..4 {
        server.node.step(proposal(id));
    }
    let seq = server.node.take_output().persist.expect("a write").seq;
    server.node.step(Input::Persisted { seq });
    let apply = server.node.take_output().apply;
    server.node.step(proposal(9));
    assert_eq!(server.node.take_output().failed, [(9, ProposalError::TooManyRequests)]);
    server.node.step(Input::Applied { index: apply[0].index });
    server.node.step(proposal(10));
    assert!(server.node.take_output().failed.is_empty());
}

#[test]
fn a_snapshot_is_asked_for_once_and_the_log_is_shortened_when_it_is_saved() {
    let config = Config { snapshot_count: 10, catch_up_entries: 4, ..Config::new(ME, 1) };
    let mut server = Server::start(config, bootstrapped());
    for id in 0..9 {
        server.step(proposal(id));
    }
    assert_eq!(server.rest.snapshot_due.take(), Some(Index(11)));
    assert_eq!(
        server.hard_state.commit,
        Index(11),
        "a snapshot counts only if its index is committed on disk"
    );
    server.step(proposal(9));
    assert_eq!(server.rest.snapshot_due, None);
    assert_eq!(
        server.hard_state.commit,
        Index(12),
        "while a snapshot is made, commit is written with every batch"
    );
    server.step(Input::SnapshotSaved { index: Index(12) });
    assert_eq!(
        (server.node.status().first_index, server.node.status().snapshot_index),
        (Index(9), Index(12))
    );

    server.step(Input::ForceSnapshot);
    assert_eq!(server.rest.snapshot_due, None, "nothing new to be covered");
    server.step(proposal(10));
    assert_eq!(server.rest.snapshot_due, Some(Index(13)));
}

#[test]
fn memory_keeps_only_the_entries_that_lagging_followers_may_need() {
    let mut server = Server::start(Config { catch_up_entries: 50, ..Config::new(ME, 1) }, bootstrapped());
    for id in 0..400 {
        server.step(proposal(id));
    }
    let status = server.node.status();
    let kept = status.last_index.0 - status.first_index.0;
    assert!((50..=151).contains(&kept), "{kept} entries are kept");
    assert_eq!(server.applied.len(), 402);
}

#[test]
fn a_second_conf_change_waits_for_the_first_to_be_applied() {
    let mut server = Server::start(Config::new(ME, 1), bootstrapped());
    let learner = |id| conf_change(ConfChangeKind::AddLearnerNode, MemberId(id));
    server.node.step(Input::ProposeConfChange { id: 1, change: learner(8) });
    server.node.step(Input::ProposeConfChange { id: 2, change: learner(9) });
    server.run();
    assert_eq!(server.rest.failed, [(2, ProposalError::ConfChangePending)]);
    assert_eq!(server.rest.conf_state.take().map(|state| state.learners), Some(vec![MemberId(8)]));
    server.step(Input::ProposeConfChange { id: 3, change: learner(9) });
    assert_eq!(server.rest.conf_state.take().map(|state| state.learners.len()), Some(2));
}

#[test]
fn a_member_leads_alone_until_another_one_joins_be_it_a_learner() {
    let mut server = Server::start(Config::new(ME, 1), bootstrapped());
    assert!(server.node.leads_alone() && !server.node.waits_for_apply());
    let change = conf_change(ConfChangeKind::AddLearnerNode, MemberId(9));
    server.node.step(Input::ProposeConfChange { id: 1, change: change.clone() });
    let seq = server.node.take_output().persist.expect("a write").seq;
    server.node.step(Input::Persisted { seq });
    let index = server.node.take_output().apply[0].index;
    assert!(server.node.leads_alone() && server.node.waits_for_apply());
    server.node.step(Input::ConfChangeApplied { index, change: Some(change) });
    server.node.step(Input::Applied { index });
    assert!(!server.node.leads_alone() && !server.node.waits_for_apply());
}

#[test]
fn consensus_does_not_see_a_conf_change_as_applied_before_the_store_has_judged_it() {
    let mut node = Node::new(Config::new(ME, 1), bootstrapped()).expect("restored state fits");
    assert_eq!(node.take_output().apply.len(), 1);
    node.step(Input::Applied { index: Index(1) });
    assert_eq!(node.status().applied, Index(0));
    assert!(node.take_output().is_empty());
    node.step(Input::ConfChangeApplied {
        index: Index(1),
        change: Some(conf_change(ConfChangeKind::AddNode, ME)),
    });
    assert_eq!((node.status().applied, node.status().role), (Index(1), Role::Candidate));
}

#[test]
fn after_stop_nothing_is_proposed_and_the_commit_index_is_written() {
    let mut server = Server::start(Config::new(ME, 1), bootstrapped());
    server.step(proposal(1)).step(Input::Stop).step(proposal(2));
    assert_eq!(server.rest.failed, [(2, ProposalError::Stopped)]);
    assert_eq!(server.hard_state.commit, Index(3));
}
