//! Three nodes side by side: proposals and reads across elections.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use node::{Config, Input, Node, Output, Proposal, ProposalError, Restored, Role};
use raft::{
    ConfChange, ConfChangeKind, ConfState, Entry, EntryKind, Index, MemberId, Message, MessageKind, Snapshot,
    Term,
};

struct Cluster {
    nodes: BTreeMap<u64, Node>,
    network: VecDeque<Message>,
    silent: Option<u64>,
    /// Everything that came out, by node.
    out: BTreeMap<u64, Vec<Output>>,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster::keeping(5000)
    }

    /// Nodes that keep so many entries for those who lag.
    fn keeping(catch_up_entries: u64) -> Cluster {
        let conf_state = ConfState { voters: (1..=3).map(MemberId).collect(), ..ConfState::default() };
        let restored = Restored { conf_state, ..Restored::default() };
        let node = |id| {
            let config = Config { catch_up_entries, ..Config::new(MemberId(id), id) };
            Node::new(config, restored.clone()).expect("an empty log fits")
        };
        Cluster {
            nodes: (1..=3).map(|id| (id, node(id))).collect(),
            network: VecDeque::new(),
            silent: None,
            out: BTreeMap::new(),
        }
    }

    fn feed(&mut self, id: u64, inputs: impl IntoIterator<Item = Input>) {
        let node = self.nodes.get_mut(&id).expect("one of three");
        inputs.into_iter().for_each(|input| node.step(input));
        self.drain(id);
    }

    fn drain(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("one of three");
        loop {
            let mut output = node.take_output();
            if output.is_empty() {
                return;
            }
            self.network.extend(std::mem::take(&mut output.send));
            if let Some(persist) = output.persist.take() {
                self.network.extend(persist.send);
                node.step(Input::Persisted { seq: persist.seq });
            }
            if let Some(last) = output.apply.last() {
                node.step(Input::Applied { index: last.index });
            }
            self.out.entry(id).or_default().push(output);
        }
    }

    /// Delivers until silence; returns how many messages of each kind went.
    fn settle(&mut self) -> BTreeMap<MessageKind, usize> {
        let mut counts = BTreeMap::new();
        while let Some(message) = self.network.pop_front() {
            let (from, to) = (message.from.0, message.to.0);
            *counts.entry(message.kind).or_default() += 1;
            if self.silent != Some(from) && self.silent != Some(to) {
                self.feed(to, [Input::Message(message)]);
            }
        }
        counts
    }

    fn tick(&mut self, id: u64, count: usize) {
        for _ in 0..count {
            self.feed(id, [Input::Tick]);
            self.settle();
        }
    }

    fn elect(&mut self, id: u64) {
        while self.nodes[&id].status().role != Role::Leader {
            self.tick(id, 1);
        }
    }

    fn reads(&mut self, id: u64) -> Vec<(u64, Index)> {
        let reads = self.out.entry(id).or_default().iter_mut().flat_map(|output| output.reads.drain(..));
        reads.map(|read| (read.id, read.index)).collect()
    }

    fn failed(&mut self, id: u64) -> Vec<(u64, ProposalError)> {
        self.out.entry(id).or_default().iter_mut().flat_map(|output| output.failed.drain(..)).collect()
    }

    fn applied(&self, id: u64) -> Vec<Bytes> {
        let outputs = self.out.get(&id).into_iter().flatten();
        outputs
            .flat_map(|output| &output.apply)
            .map(|entry| entry.data.clone())
            .filter(|data| !data.is_empty())
            .collect()
    }
}

fn proposal(id: u64) -> Input {
    Input::Propose(Proposal { id, data: Bytes::from(format!("request {id}")) })
}

#[test]
fn reads_that_wait_together_share_one_round_and_later_ones_the_next() {
    let mut cluster = Cluster::new();
    cluster.elect(1);
    cluster.feed(1, (0..100).map(|id| Input::ReadIndex { id }));
    // These come while the round runs: what it confirms may be too old for them.
    cluster.feed(1, (100..200).map(|id| Input::ReadIndex { id }));
    let counts = cluster.settle();
    let reads = cluster.reads(1);
    assert_eq!(reads.len(), 200);
    assert!(reads.iter().all(|(_, index)| *index == Index(1)));
    assert_eq!(counts[&MessageKind::Heartbeat], 4, "two rounds to two followers");
}

#[test]
fn a_followers_read_is_answered_by_the_leader() {
    let mut cluster = Cluster::new();
    cluster.elect(1);
    cluster.feed(1, [proposal(1)]);
    cluster.settle();
    cluster.feed(3, [Input::ReadIndex { id: 9 }]);
    cluster.settle();
    assert_eq!(cluster.reads(3), [(9, Index(2))]);
}

#[test]
fn a_read_without_an_answer_is_asked_again_of_the_next_leader() {
    let mut cluster = Cluster::new();
    cluster.elect(1);
    cluster.silent = Some(1);
    cluster.feed(3, [Input::ReadIndex { id: 9 }]);
    cluster.settle();
    assert_eq!(cluster.reads(3), []);
    cluster.tick(3, 10);
    cluster.elect(2);
    cluster.settle();
    assert_eq!(cluster.reads(3), [(9, Index(2))]);
}

#[test]
fn proposals_wait_for_a_leader_and_are_given_up_when_none_comes() {
    let mut cluster = Cluster::new();
    cluster.feed(2, [proposal(1)]);
    cluster.elect(1);
    cluster.feed(2, [Input::Tick]);
    cluster.settle();
    assert_eq!(cluster.applied(1), ["request 1"]);
    assert_eq!(cluster.applied(2), ["request 1"]);

    let mut lonely = Cluster::new();
    lonely.feed(2, [proposal(2)]);
    lonely.silent = Some(2);
    lonely.tick(2, 100);
    assert_eq!(lonely.failed(2), [(2, ProposalError::NoLeader)]);
}

#[test]
fn leadership_moves_on_request_and_proposals_wait_for_the_next_leader() {
    let mut cluster = Cluster::new();
    cluster.elect(1);
    cluster.feed(1, [Input::TransferLeader { to: MemberId(3) }, proposal(1)]);
    assert_eq!(cluster.nodes[&1].status().transferee, MemberId(3));
    cluster.settle();
    assert_eq!(cluster.nodes[&3].status().role, Role::Leader);
    assert_eq!(cluster.nodes[&1].status().leader, MemberId(3));
    assert_eq!(cluster.failed(1), []);
    assert_eq!(cluster.applied(3), ["request 1"]);
}

#[test]
fn a_followers_proposal_that_meets_a_handover_reaches_the_next_leader() {
    let mut cluster = Cluster::new();
    cluster.elect(1);
    // On its way to the leader, which hands over before it arrives.
    cluster.feed(2, [proposal(7)]);
    let forwarded = cluster.network.pop_front().expect("a forwarded proposal");
    assert_eq!(forwarded.kind, MessageKind::Prop);
    cluster.feed(1, [Input::TransferLeader { to: MemberId(3) }, Input::Message(forwarded)]);
    cluster.settle();
    cluster.feed(1, [Input::Tick]);
    cluster.settle();
    assert_eq!(cluster.nodes[&3].status().role, Role::Leader);
    assert_eq!(cluster.applied(2), ["request 7"]);
}

#[test]
fn long_proposals_go_to_the_leader_in_several_messages() {
    let mut cluster = Cluster::new();
    cluster.elect(1);
    let long = |id| Input::Propose(Proposal { id, data: Bytes::from(vec![b'x'; 600 << 10]) });
    cluster.feed(2, (1..=5).map(long));
    let forwarded = |message: &&Message| message.kind == MessageKind::Prop;
    assert_eq!(cluster.network.iter().filter(forwarded).count(), 3, "two in each, and one");
    cluster.settle();
    assert_eq!(cluster.applied(2).len(), 5);
}

#[test]
fn what_only_the_leader_of_a_term_may_propose_reaches_no_other_leader() {
    let mut cluster = Cluster::new();
    cluster.elect(1);
    let term = cluster.nodes[&1].status().term;
    let ask = |id| {
        let Input::Propose(proposal) = proposal(id) else { unreachable!() };
        Input::ProposeAsLeader { proposal, term }
    };
    cluster.feed(1, [ask(1)]);
    cluster.settle();
    assert_eq!(cluster.applied(2), ["request 1"]);
    // Neither through a follower, nor while leadership changes hands, nor by who led before.
    cluster.feed(2, [ask(2)]);
    cluster.feed(1, [Input::TransferLeader { to: MemberId(3) }, ask(3)]);
    cluster.settle();
    cluster.feed(1, [ask(4)]);
    cluster.settle();
    assert_eq!(cluster.failed(2), [(2, ProposalError::Dropped)]);
    assert_eq!(cluster.failed(1), [(3, ProposalError::Dropped), (4, ProposalError::Dropped)]);
    assert_eq!(cluster.applied(2), ["request 1"]);
}

#[test]
fn a_handover_that_fails_lets_the_waiting_proposals_go_on() {
    let mut cluster = Cluster::new();
    cluster.elect(1);
    cluster.silent = Some(3);
    cluster.feed(1, [Input::TransferLeader { to: MemberId(3) }, proposal(1)]);
    cluster.settle();
    assert_eq!(cluster.applied(1), [] as [&str; 0]);
    cluster.tick(1, 11);
    assert_eq!(cluster.nodes[&1].status().role, Role::Leader);
    assert_eq!(cluster.applied(1), ["request 1"]);
}

#[test]
fn a_leader_tells_how_far_the_others_are() {
    let mut cluster = Cluster::new();
    cluster.elect(1);
    cluster.silent = Some(3);
    cluster.feed(1, [proposal(1)]);
    cluster.settle();
    let peers = cluster.nodes[&1].status().peers;
    let matched: Vec<(u64, u64)> = peers.iter().map(|peer| (peer.id.0, peer.matched.0)).collect();
    assert_eq!(matched, [(1, 2), (2, 2), (3, 1)]);
    assert!(cluster.nodes[&2].status().peers.is_empty(), "only a leader knows");
}

#[test]
fn the_log_is_kept_while_a_snapshot_is_on_its_way_and_somewhat_longer() {
    let mut cluster = Cluster::keeping(10);
    cluster.elect(1);
    let propose = |cluster: &mut Cluster, count: u64| {
        for id in 0..count {
            cluster.feed(1, [proposal(id)]);
            cluster.settle();
        }
        cluster.nodes[&1].status().first_index
    };
    let snapshots = |cluster: &Cluster| {
        let outputs = cluster.out.get(&1).into_iter().flatten();
        outputs.flat_map(|output| &output.send_snapshot).filter(|message| message.to == MemberId(3)).count()
    };
    cluster.silent = Some(3);
    assert!(propose(&mut cluster, 300) > Index(100));
    cluster.silent = None;
    cluster.tick(1, 2);
    assert_eq!(snapshots(&cluster), 1);
    let first = cluster.nodes[&1].status().first_index;
    cluster.silent = Some(3);
    assert_eq!(propose(&mut cluster, 300), first, "on its way");
    cluster.feed(1, [Input::SnapshotSent { peer: MemberId(3), ok: true }]);
    assert_eq!(propose(&mut cluster, 300), first, "just arrived");
    cluster.tick(1, 300);
    assert!(propose(&mut cluster, 1) > first, "long ago");
}

#[test]
fn a_conf_change_executed_while_a_snapshot_is_installed_leaves_the_newer_membership_alone() {
    let founders = ConfState { voters: vec![MemberId(1), MemberId(2)], ..ConfState::default() };
    let restored = Restored { conf_state: founders, ..Restored::default() };
    let mut node = Node::new(Config::new(MemberId(2), 2), restored).expect("an empty log fits");
    let from_leader = |message: Message| {
        let (from, to, term) = (MemberId(1), MemberId(2), Term(1));
        Input::Message(Message { from, to, term, ..message })
    };
    let change = ConfChange {
        id: 1,
        kind: ConfChangeKind::AddLearnerNode,
        node_id: MemberId(3),
        context: Bytes::new(),
    };
    let data = change.encode();
    let entry = Entry { term: Term(1), index: Index(1), kind: EntryKind::ConfChange, data };
    let (kind, commit) = (MessageKind::App, Index(1));
    node.step(from_leader(Message { kind, commit, entries: vec![entry], ..Message::default() }));
    let seq = node.take_output().persist.expect("an entry is to be written").seq;
    node.step(Input::Persisted { seq });
    assert_eq!(node.take_output().apply.len(), 1);
    // The store is slow; meanwhile a snapshot arrives in which member 3 has become a voter.
    let voters: Vec<MemberId> = (1..=3).map(MemberId).collect();
    let conf_state = ConfState { voters, ..ConfState::default() };
    let snapshot =
        Snapshot { index: Index(9), term: Term(1), conf_state: conf_state.clone(), data: Bytes::new() };
    let snapshot = Some(Box::new(snapshot));
    node.step(from_leader(Message { kind: MessageKind::Snap, snapshot, ..Message::default() }));
    let seq = node.take_output().persist.expect("a snapshot is to be written").seq;
    node.step(Input::ConfChangeApplied { index: Index(1), change: Some(change) });
    assert_eq!(node.take_output().conf_state, Some(conf_state.clone()));
    node.step(Input::Persisted { seq });
    let output = node.take_output();
    assert_eq!((output.restore.map(|s| s.index), output.conf_state), (Some(Index(9)), Some(conf_state)));
}
