//! The world around the members: a network, a scheduler and bad luck, all from one seed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raft::{
    ConfChange, ConfChangeKind, ConfChangeV2, Entry, EntryKind, Index, MemberId, Message, MessageKind, Role,
    Transition,
};

use crate::checks::Checks;
use crate::member::Member;

/// What may go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub network: bool,
    pub crashes: bool,
    pub membership: bool,
}

impl Faults {
    pub const NONE: Faults = Faults { network: false, crashes: false, membership: false };
    pub const ALL: Faults = Faults { network: true, crashes: true, membership: true };
}

/// Ids that may ever be members.
const POOL: u64 = 6;

pub struct World {
    random: u64,
    faults: Faults,
    members: BTreeMap<MemberId, Member>,
    network: Vec<Message>,
    cut: BTreeSet<(MemberId, MemberId)>,
    checks: Checks,
    proposals: u64,
    /// Reads under way: where they were asked and what was committed anywhere then.
    reads: BTreeMap<u64, (MemberId, Index)>,
}

impl World {
    pub fn new(seed: u64, members: u64, faults: Faults) -> World {
        let mut world = World {
            random: seed.wrapping_mul(0x5851_f42d_4c95_7f2d) + 1,
            faults,
            members: BTreeMap::new(),
            network: Vec::new(),
            cut: BTreeSet::new(),
            checks: Checks::default(),
            proposals: 0,
            reads: BTreeMap::new(),
        };
        for id in (1..=POOL).map(MemberId) {
            world.members.insert(id, Member::new(id, seed, members));
        }
        world
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % bound.max(1)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn anyone(&mut self) -> MemberId {
        MemberId(1 + self.below(POOL as usize) as u64)
    }

    fn member(&mut self, id: MemberId) -> &mut Member {
        self.members.get_mut(&id).expect("an id of the pool")
    }

    /// Does something to a member, then takes what it wants to send.
    fn with(&mut self, id: MemberId, act: impl FnOnce(&mut Member, &mut Checks)) {
        let member = self.members.get_mut(&id).expect("an id of the pool");
        let committed = member.raft.committed();
        act(member, &mut self.checks);
        member.pump(&mut self.checks);
        if member.raft.soft_state().role == Role::Leader && member.raft.committed() > committed {
            self.check_quorum_has_written(id);
        }
        self.collect(id);
    }

    /// What a leader commits is on the disks of a quorum (of both quorums while the membership is joint).
    fn check_quorum_has_written(&self, leader: MemberId) {
        let raft = &self.members[&leader].raft;
        let (index, conf) = (raft.committed(), raft.conf_state());
        let term = raft.term_at(index);
        for half in [&conf.voters, &conf.voters_outgoing].into_iter().filter(|half| !half.is_empty()) {
            let has = |id: &&MemberId| {
                self.members[id].disk.term(index) == term || self.members[id].disk.start.0 > index
            };
            let count = half.iter().filter(has).count();
            assert!(count > half.len() / 2, "leader {leader} committed {index} with {count} of {half:?}");
        }
    }

    fn collect(&mut self, id: MemberId) {
        for state in std::mem::take(&mut self.member(id).reads) {
            let number = state.context.as_ref().try_into().map(u64::from_be_bytes).expect("a read's number");
            if let Some((asker, floor)) = self.reads.remove(&number) {
                assert_eq!(asker, id, "a read was answered to someone else");
                assert!(
                    state.index >= floor,
                    "read {number} misses {floor}, which was committed when it was asked"
                );
            }
        }
        for mut message in std::mem::take(&mut self.member(id).out) {
            if message.kind == MessageKind::Snap {
                self.member(id).fill_snapshot(&mut message);
            }
            self.network.push(message);
        }
    }

    /// One event.
    pub fn step(&mut self) {
        let id = self.anyone();
        match self.below(100) {
            0..=17 => self.with(id, |member, _| member.raft.tick()),
            18..=57 => self.deliver(),
            58..=72 => self.with(id, Member::finish_write),
            73..=84 => self.with(id, Member::work),
            85..=89 => self.propose(id),
            90..=92 => self.read(id),
            93 => self.member(id).save_store(),
            94 => {
                let keep = self.below(8) as u64;
                self.with(id, |member, _| member.compact(keep));
            }
            95 if self.faults.membership => self.change_members(id),
            96 if self.faults.network => self.repartition(),
            97 if self.faults.crashes && self.chance(30) => self.crash(id),
            98 if self.chance(20) => {
                let to = self.anyone();
                self.with(id, |member, _| member.raft.transfer_leader(to));
            }
            99 if self.faults.network => {
                let peer = self.anyone();
                self.with(id, |member, _| member.raft.report_unreachable(peer));
            }
            _ => {}
        }
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let reorder = self.faults.network && self.chance(30);
        let at = if reorder { self.below(self.network.len()) } else { 0 };
        let message = self.network.remove(at);
        if self.faults.network && self.chance(5) {
            self.network.push(message.clone());
        }
        let lost = self.cut.contains(&(message.from, message.to)) || (self.faults.network && self.chance(6));
        if message.kind == MessageKind::Snap {
            let (from, peer, ok) = (message.from, message.to, !lost);
            self.with(from, |member, _| member.raft.report_snapshot(peer, ok));
        }
        if !lost {
            self.with(message.to, |member, _| member.raft.step(message));
        }
    }

    fn propose(&mut self, id: MemberId) {
        let count = 1 + self.below(4);
        let entries = (0..count).map(|_| {
            self.proposals += 1;
            Entry {
                data: Bytes::from(format!(
                    "p{:0width$}",
                    self.proposals,
                    width = 4 + (self.proposals % 40) as usize
                )),
                ..Entry::default()
            }
        });
        let entries = entries.collect();
        self.with(id, |member, _| _ = member.raft.propose(entries));
    }

    fn read(&mut self, id: MemberId) {
        self.proposals += 1;
        let number = self.proposals;
        self.reads.insert(number, (id, self.checks.highest_committed()));
        self.with(id, |member, _| member.raft.read_index(Bytes::copy_from_slice(&number.to_be_bytes())));
    }

    fn change_members(&mut self, id: MemberId) {
        use ConfChangeKind::{AddLearnerNode, AddNode, RemoveNode};
        let kinds = [AddNode, AddNode, AddLearnerNode, RemoveNode];
        let mut single = || (kinds[self.below(kinds.len())], self.anyone());
        let (kind, node_id) = single();
        let several = vec![(kind, node_id), single(), single()];
        let entry = if self.chance(60) {
            let data = ConfChange { id: 1, kind, node_id, context: Bytes::new() }.encode();
            Entry { kind: EntryKind::ConfChange, data, ..Entry::default() }
        } else {
            let change = match self.below(5) {
                0 => ConfChangeV2::default(),
                1 => ConfChangeV2 {
                    transition: Transition::JointExplicit,
                    changes: several,
                    ..ConfChangeV2::default()
                },
                _ => ConfChangeV2 { changes: several, ..ConfChangeV2::default() },
            };
            Entry { kind: EntryKind::ConfChangeV2, data: change.encode(), ..Entry::default() }
        };
        self.with(id, |member, _| _ = member.raft.propose(vec![entry]));
    }

    fn repartition(&mut self) {
        self.cut.clear();
        if self.chance(50) {
            return;
        }
        let (side, one_way) = (self.below(1 << POOL) as u64, self.chance(30));
        for from in 1..=POOL {
            for to in 1..=POOL {
                let (a, b) = (side >> (from - 1) & 1, side >> (to - 1) & 1);
                if a > b || (a < b && !one_way) {
                    self.cut.insert((MemberId(from), MemberId(to)));
                }
            }
        }
    }

    fn crash(&mut self, id: MemberId) {
        let (seed, landed) = (self.below(1 << 30) as u64, self.below(4));
        self.reads.retain(|_, (asker, _)| *asker != id);
        self.with(id, |member, _| member.crash(seed, landed));
    }

    /// Ends all faults and expects the cluster to agree on something new.
    pub fn heal_and_converge(&mut self) {
        self.cut.clear();
        self.faults = Faults::NONE;
        let ids: Vec<MemberId> = self.members.keys().copied().collect();
        for round in 0..400 {
            for &id in &ids {
                self.with(id, |member, _| member.raft.tick());
            }
            for _ in 0..30 {
                for _ in 0..self.network.len() {
                    self.deliver();
                }
                for &id in &ids {
                    self.with(id, Member::finish_write);
                    self.with(id, Member::work);
                }
            }
            if round % 20 == 19 && self.leads_settled() {
                return;
            }
            if round % 20 == 0 {
                for &id in &ids {
                    self.propose(id);
                }
            }
        }
        for member in self.members.values() {
            let (state, hard) = (member.raft.soft_state(), member.raft.hard_state());
            eprintln!(
                "{} {state:?} {hard:?} last {} applied {}",
                member.id,
                member.raft.last_index(),
                member.store.applied
            );
            eprintln!("  {:?} {:?}", member.raft.conf_state(), member.raft.progress().collect::<Vec<_>>());
        }
        panic!("a healed cluster does not converge");
    }

    /// One leader, in whose term something was committed, and everybody in its membership is where it is.
    fn leads_settled(&self) -> bool {
        let leading = self.members.values().filter(|member| member.raft.soft_state().role == Role::Leader);
        let Some(leader) = leading.max_by_key(|member| member.raft.soft_state().term) else { return false };
        let raft = &leader.raft;
        let conf = raft.conf_state();
        let settled = |member: &Member| {
            let same =
                member.store.applied == leader.store.applied && member.store.digest == leader.store.digest;
            same && member.store.conf_state == conf
        };
        raft.term_at(raft.committed()) == Some(raft.soft_state().term)
            && leader.store.applied == raft.last_index()
            && self.members.values().filter(|member| conf.contains(member.id)).all(settled)
    }

    pub fn progress(&self) -> usize {
        self.checks.applied_count()
    }
}
