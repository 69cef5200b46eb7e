//! The same inputs to two clusters, one of this room's members and one of raft-rs 0.7: after every input, when all
//! messages are delivered, terms, votes, roles, leaders, commit indexes, memberships and logs must be the same.
//!
//! Elections are started by hand, since the two draw their timeouts differently. raft-rs numbers conf change kinds in
//! its own way; they are mapped by name. `BALSA_SEED=n` runs one seed, `BALSA_LONG=1` many more.

mod other;
mod ours;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Settings of both clusters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub pre_vote: bool,
    pub check_quorum: bool,
    pub founders: u64,
}

/// A change of one member.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Change {
    Voter(u64),
    Learner(u64),
    Remove(u64),
}

/// What can be done to a member.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Campaign,
    Tick,
    Propose(Vec<u8>),
    /// One change in the simple form, or several in the joint form.
    Change(Vec<Change>),
    Transfer(u64),
    Unreachable(u64),
    SnapshotSent(u64),
    Compact,
    Restart,
}

/// What both must agree on. An entry is its term and its payload; that of a conf change is left out.
#[derive(PartialEq, Debug)]
pub(crate) struct State {
    pub term: u64,
    pub vote: u64,
    pub leader: u64,
    pub role: &'static str,
    pub commit: u64,
    pub applied: u64,
    pub voters: Vec<u64>,
    pub outgoing: Vec<u64>,
    pub learners: Vec<u64>,
    pub last: u64,
    pub log: BTreeMap<u64, (u64, Option<Vec<u8>>)>,
}

/// A member of either kind.
pub(crate) trait Subject: Sized {
    type Message: Clone;
    fn new(id: u64, settings: Settings) -> Self;
    fn act(&mut self, action: &Action);
    fn step(&mut self, message: Self::Message);
    /// Carries out everything that is due and returns what is to be sent, with the receivers.
    fn drain(&mut self) -> Vec<(u64, Self::Message)>;
    fn state(&self) -> State;
}

const POOL: u64 = 6;

struct Cluster<S: Subject> {
    members: BTreeMap<u64, S>,
}

impl<S: Subject> Cluster<S> {
    fn new(settings: Settings) -> Self {
        Cluster { members: (1..=POOL).map(|id| (id, S::new(id, settings))).collect() }
    }

    /// Does it, then delivers everything whose link is not cut, until silence.
    fn act(&mut self, id: u64, action: &Action, cut: &BTreeSet<(u64, u64)>) {
        self.member(id).act(action);
        let mut network: VecDeque<(u64, S::Message)> = VecDeque::new();
        for from in 1..=POOL {
            self.send(from, cut, &mut network);
        }
        for delivered in 0.. {
            let Some((to, message)) = network.pop_front() else { return };
            assert!(delivered < 10_000, "the cluster does not come to rest");
            self.member(to).step(message);
            self.send(to, cut, &mut network);
        }
    }

    /// What a member has to send, ordered by receiver: raft-rs goes through its peers in the order of a hash map, and
    /// whether a member hears of its own removal, or a leader of the end of its term first, depends on the order.
    fn send(&mut self, from: u64, cut: &BTreeSet<(u64, u64)>, network: &mut VecDeque<(u64, S::Message)>) {
        let mut sent = self.member(from).drain();
        sent.sort_by_key(|(to, _)| *to);
        network.extend(sent.into_iter().filter(|(to, _)| !cut.contains(&(from, *to))));
    }

    fn member(&mut self, id: u64) -> &mut S {
        self.members.get_mut(&id).expect("an id of the pool")
    }
}

struct Script {
    random: u64,
    cut: BTreeSet<(u64, u64)>,
    count: u64,
}

impl Script {
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }

    fn anyone(&mut self) -> u64 {
        1 + self.below(POOL)
    }

    fn change(&mut self) -> Change {
        let id = self.anyone();
        match self.below(4) {
            0 | 1 => Change::Voter(id),
            2 => Change::Learner(id),
            _ => Change::Remove(id),
        }
    }

    fn next(&mut self) -> Action {
        match self.below(100) {
            0..=11 => Action::Campaign,
            12..=39 => Action::Tick,
            40..=69 => {
                self.count += 1;
                Action::Propose(format!("request {}", self.count).into_bytes())
            }
            70..=75 => Action::Change(vec![self.change()]),
            76..=77 => Action::Change(vec![self.change(), self.change(), self.change()]),
            78..=82 => Action::Transfer(self.anyone()),
            83..=84 => Action::Unreachable(self.anyone()),
            85..=87 => Action::SnapshotSent(self.anyone()),
            88..=89 => Action::Compact,
            90..=91 => Action::Restart,
            92..=95 => {
                self.cut.clear();
                Action::Tick
            }
            _ => {
                self.split();
                Action::Tick
            }
        }
    }

    fn split(&mut self) {
        let side = self.below(1 << POOL);
        let apart = |a: u64, b: u64| (side >> (a - 1) & 1) != (side >> (b - 1) & 1);
        self.cut =
            (1..=POOL).flat_map(|a| (1..=POOL).map(move |b| (a, b))).filter(|(a, b)| apart(*a, *b)).collect();
    }
}

fn compare(seed: u64, steps: u32) -> u64 {
    let settings = Settings {
        pre_vote: seed.is_multiple_of(2),
        check_quorum: seed.is_multiple_of(3),
        founders: 1 + seed % POOL.min(5),
    };
    let mut script =
        Script { random: seed.wrapping_mul(0x5851_f42d_4c95_7f2d) + 1, cut: BTreeSet::new(), count: 0 };
    let mut ours = Cluster::<ours::Member>::new(settings);
    let mut other = Cluster::<other::Member>::new(settings);
    let mut history = Vec::new();
    for _ in 0..steps {
        let (id, action) = (script.anyone(), script.next());
        ours.act(id, &action, &script.cut);
        // Heartbeats bring on what was lost while links were cut.
        (1..=POOL).for_each(|id| ours.act(id, &Action::Tick, &script.cut));
        let theirs = AssertUnwindSafe(|| {
            other.act(id, &action, &script.cut);
            (1..=POOL).for_each(|id| other.act(id, &Action::Tick, &script.cut));
        });
        // raft-rs dies of a leader that is removed before its own entries are on disk.
        if catch_unwind(theirs).is_err() {
            break;
        }
        history.push((id, action, script.cut.clone()));
        for id in 1..=POOL {
            let (mine, theirs) = (ours.member(id).state(), other.member(id).state());
            if !same(&mine, &theirs) {
                let recent = &history[history.len().saturating_sub(12)..];
                for (id, action, cut) in recent {
                    eprintln!("{id}: {action:?}, {} links cut", cut.len());
                }
                panic!(
                    "seed {seed}, {settings:?}, step {}: member {id} is\n{mine:?}\nbut\n{theirs:?}",
                    history.len()
                );
            }
        }
    }
    (1..=POOL).map(|id| ours.member(id).state().commit).max().unwrap_or(0)
}

/// Logs may begin at different places (after a compaction or a snapshot); where both have an entry it is the same.
fn same(a: &State, b: &State) -> bool {
    let agree = a.log.iter().all(|(index, entry)| b.log.get(index).is_none_or(|theirs| theirs == entry));
    let words = |s: &State| {
        let lists = (s.voters.clone(), s.outgoing.clone(), s.learners.clone());
        (s.term, s.leader, s.role, s.commit, s.applied, s.last, lists)
    };
    // A follower that the one has brought up to date by a snapshot and the other not yet may vote in only one of them.
    let votes = a.vote == b.vote || a.vote == 0 || b.vote == 0;
    agree && votes && words(a) == words(b)
}

#[test]
fn both_implementations_come_to_the_same_state_after_every_input() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("BALSA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..if number("BALSA_LONG").is_some_and(|n| n > 0) { 1500 } else { 60 },
    };
    let committed: u64 = seeds.map(|seed| compare(seed, 200)).sum();
    assert!(committed > 0, "nothing was ever committed");
}
