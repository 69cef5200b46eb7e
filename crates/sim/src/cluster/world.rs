//! The world around the members: time, the network, clients and who does something next.

use std::collections::BTreeMap;

use node::{Input, Role};
use raft::{Index, MemberId, MessageKind};
use store::lease::Renewal;

use super::Summary;
use super::clients::{Clients, Request};
use super::member::{Gone, Member};
use super::network::{Envelope, Network};
use crate::Mutation;
use crate::boot::{self, Identity};
use crate::chance::Chance;
use crate::ledger::Ledger;
use crate::process::{Around, Halt, Move, Outgoing, Process, Told};
use crate::watchers::Watchers;

/// The sender of a snapshot is told after so long that it did not arrive.
const TRANSFER_MS: u64 = 2000;
/// Length of a tick, about.
const TICK_MS: u64 = 100;

/// A snapshot under way.
pub(super) struct Transfer {
    from: u64,
    to: u64,
    until_ms: u64,
}

/// Everything.
pub(super) struct World {
    pub mutation: Option<Mutation>,
    pub chance: Chance,
    pub founders: u64,
    pub members: BTreeMap<u64, Member>,
    pub network: Network,
    pub clients: Clients,
    pub ledger: Ledger,
    pub watchers: Watchers,
    pub transfers: Vec<Transfer>,
    pub summary: Summary,
    /// The last sign of life asked for: of which member, its number, and whether it came.
    pub probe: Option<(u64, u64, bool)>,
    /// Faults go on.
    pub troubled: bool,
    traced: bool,
    pub timeline: Vec<String>,
}

impl World {
    pub fn new(seed: u64, mutation: Option<Mutation>, traced: bool) -> Result<World, String> {
        let mut chance = Chance::new(seed);
        let founders = *chance.pick(&[3, 3, 3, 2, 4, 5, 1]);
        let member = |id| {
            let who = Identity { member: id, founders };
            (id, Member::new(who, seed.wrapping_mul(31) ^ id, 0))
        };
        Ok(World {
            mutation,
            founders,
            members: (1..=founders).map(member).collect(),
            network: Network::default(),
            clients: Clients::new(),
            ledger: Ledger::new()?,
            watchers: Watchers::new(),
            transfers: Vec::new(),
            summary: Summary::default(),
            probe: None,
            troubled: true,
            traced,
            timeline: Vec::new(),
            chance,
        })
    }

    pub fn now_ms(&self) -> u64 {
        self.ledger.leases.now_ms
    }

    pub fn pass(&mut self, ms: u64) {
        self.ledger.leases.now_ms += ms;
    }

    /// One line of the timeline.
    pub fn note(&mut self, who: u64, line: impl FnOnce() -> String) {
        if !self.traced {
            return;
        }
        let line = line();
        if !line.is_empty() {
            let now_ms = self.now_ms();
            let who = if who == 0 { "      ".into() } else { format!("m{who:<5}") };
            self.timeline.push(format!("{:>4}.{:03} {who} {line}", now_ms / 1000, now_ms % 1000));
        }
    }

    /// So many steps under faults.
    pub fn suffer(&mut self, steps: u64) -> Result<(), String> {
        // Steps between two misfortunes: some runs have hardly time to breathe, others get far.
        let calm = *self.chance.pick(&[100, 300, 1000, 1000, 3000]);
        for step in 0..steps {
            let ms = self.chance.below(3);
            self.pass(ms);
            self.wake()?;
            if self.chance.once_in(calm) {
                self.misfortune()?;
            }
            match self.chance.below(100) {
                0..=37 => self.deliver(),
                38..=91 => self.some_member_moves()?,
                92..=97 => self.client_asks(),
                98 => self.client_cares()?,
                _ => self.administer(),
            }
            if step % 100 == 0 {
                self.compare_hashes()?;
            }
        }
        Ok(())
    }

    /// Starts, ticks, and reports of snapshots that did not arrive.
    pub fn wake(&mut self) -> Result<(), String> {
        let now_ms = self.now_ms();
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else { continue };
            if member.gone.is_some() || member.paused_until_ms > now_ms {
                continue;
            }
            if member.process.is_none() && member.starts_ms <= now_ms {
                self.start(id)?;
            } else if member.process.is_some() && member.next_tick_ms <= now_ms {
                let uneven = if self.troubled { self.chance.below(TICK_MS) } else { TICK_MS / 2 };
                member.next_tick_ms = now_ms + TICK_MS / 2 + uneven;
                self.make(id, Move::Tick)?;
            }
        }
        self.transfers.retain(|transfer| {
            if transfer.until_ms > now_ms {
                return true;
            }
            if let Some(process) = self.members.get_mut(&transfer.from).and_then(|m| m.process.as_mut()) {
                process.input(Input::SnapshotSent { peer: MemberId(transfer.to), ok: false });
            }
            false
        });
        Ok(())
    }

    fn start(&mut self, id: u64) -> Result<(), String> {
        let mutation = self.mutation;
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        let (disk, who) = (member.disk.clone(), member.who);
        let booted = match boot::boot(&disk, who, mutation) {
            Ok(booted) => booted,
            Err(refused) => return self.ended(id, Halt::Died(format!("start: {}", refused.0))),
        };
        self.note(id, || format!("starts and {booted}"));
        let member = self.members.get_mut(&id).ok_or("no such member")?;
        let of = |what| format!("member {id}: {what}");
        self.ledger.check_start(&booted.restored, &booted.store).map_err(of)?;
        member.shadow.check_start(&booted.restored).map_err(of)?;
        member.shadow.begin(&booted.restored);
        member.draw_weights(&mut self.chance);
        member.next_tick_ms = self.ledger.leases.now_ms + self.chance.below(TICK_MS);
        let seed = self.chance.next() >> 24;
        member.process = Some(Process::new(&disk, who, booted, seed, mutation).map_err(of)?);
        Ok(())
    }

    fn some_member_moves(&mut self) -> Result<(), String> {
        let now_ms = self.now_ms();
        let awake = |m: &Member| m.process.is_some() && m.paused_until_ms <= now_ms;
        let ids: Vec<u64> = self.members.iter().filter(|(_, m)| awake(m)).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            self.pass(20);
            return Ok(());
        }
        let id = *self.chance.pick(&ids);
        match self.members[&id].choose(&mut self.chance, &self.watchers, now_ms) {
            Some(step) => self.make(id, step),
            None => Ok(()),
        }
    }

    /// A member does something, and what it leads to is carried on.
    pub fn make(&mut self, id: u64, step: Move) -> Result<(), String> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        let Some(process) = &mut member.process else { return Ok(()) };
        let committed = leads_with(process);
        let done = process.step(
            step,
            &mut Around {
                chance: &mut self.chance,
                ledger: &mut self.ledger,
                watchers: &mut self.watchers,
                shadow: &mut member.shadow,
            },
        );
        let after = leads_with(process);
        let (out, told) = (std::mem::take(&mut process.out), std::mem::take(&mut process.told));
        self.summary.steps += 1;
        let said = match done {
            Ok(said) => said,
            Err(halt) => return self.ended(id, halt),
        };
        if step != Move::Tick {
            self.note(id, || said);
        }
        if let (Some((before, term)), Some((now, still))) = (committed, after)
            && term == still
            && now > before
        {
            self.check_commit(id, now)?;
        }
        for outgoing in out {
            self.leaves(id, outgoing);
        }
        for told in told {
            if let (Told::Entry { id: number, .. }, Some((at, probe, answered))) = (&told, &mut self.probe) {
                *answered |= (id, *number) == (*at, *probe);
            }
            if self.clients.hear(id, &told)? {
                self.note(id, || format!("client hears {told:?}"));
            }
        }
        self.members_may_have_changed(id);
        Ok(())
    }

    /// What a leader commits is of its own term, and on the disks of a quorum of the members it knows.
    fn check_commit(&self, leader: u64, index: Index) -> Result<(), String> {
        let Some(process) = &self.members[&leader].process else { return Ok(()) };
        let raft = process.node.raft();
        let Some(term) = raft.term_at(index) else { return Ok(()) };
        if term != raft.soft_state().term {
            return Err(format!("leader {leader} commits entry {index} of the older term {term} by count"));
        }
        let voters = raft.conf_state().voters;
        let has = |id: &&MemberId| self.members.get(&id.0).is_some_and(|m| m.shadow.holds(index, term));
        let count = voters.iter().filter(has).count();
        // A conf change in the same step may have grown the membership after the count.
        if count < voters.len() / 2 {
            return Err(format!("leader {leader} commits entry {index}, which {count} of {voters:?} have"));
        }
        Ok(())
    }

    fn leaves(&mut self, from: u64, outgoing: Outgoing) {
        let now_ms = self.now_ms();
        match outgoing {
            Outgoing::Message(message) => {
                if !self.network.send(message.clone(), None, now_ms, &mut self.chance) {
                    self.lost(message.from.0, message.to.0);
                }
            }
            Outgoing::Snapshot(message, db) => {
                let to = message.to.0;
                let index = message.snapshot.as_ref().map(|snapshot| snapshot.index).unwrap_or_default();
                self.note(from, || format!("sends m{to} a snapshot at {index}"));
                self.transfers.push(Transfer { from, to, until_ms: now_ms + TRANSFER_MS });
                self.network.send(message, Some(db), now_ms, &mut self.chance);
            }
            Outgoing::Received(sender) => {
                let mine = |t: &Transfer| (t.from, t.to) == (sender, from);
                let Some(at) = self.transfers.iter().position(mine) else { return };
                if self.network.is_cut(from, sender) {
                    return;
                }
                self.transfers.remove(at);
                if let Some(process) = self.members.get_mut(&sender).and_then(|m| m.process.as_mut()) {
                    process.input(Input::SnapshotSent { peer: MemberId(from), ok: true });
                }
            }
        }
    }

    /// The transport may notice that a message did not arrive.
    fn lost(&mut self, from: u64, to: u64) {
        if self.chance.once_in(3)
            && let Some(process) = self.members.get_mut(&from).and_then(|m| m.process.as_mut())
        {
            process.input(Input::Unreachable { peer: MemberId(to) });
        }
    }

    /// One message arrives.
    pub fn deliver(&mut self) {
        let Some(envelope) = self.network.take(self.now_ms(), &mut self.chance) else { return };
        let Envelope { message, db, .. } = envelope;
        let (from, to) = (message.from.0, message.to.0);
        if self.network.is_cut(from, to) {
            return self.lost(from, to);
        }
        let Some(process) = self.members.get_mut(&to).and_then(|member| member.process.as_mut()) else {
            return self.lost(from, to);
        };
        if process.store.members().removed.contains(&from) {
            return;
        }
        let beat = matches!(message.kind, MessageKind::Heartbeat | MessageKind::HeartbeatResp);
        let said = format!(
            "<- m{from} {:?} term {} index {}/{} entries {} commit {}{}",
            message.kind,
            message.term,
            message.index,
            message.log_term,
            message.entries.len(),
            message.commit,
            if message.reject { " rejected" } else { "" }
        );
        match db {
            Some(db) => process.arrive(message, db),
            None => process.input(Input::Message(message)),
        }
        if !beat {
            self.note(to, || said);
        }
    }

    /// Some member that runs.
    pub fn some_process(&mut self) -> Option<u64> {
        let runs = |m: &&Member| m.process.is_some();
        let ids: Vec<u64> = self.members.values().filter(runs).map(|m| m.who.member).collect();
        (!ids.is_empty()).then(|| *self.chance.pick(&ids))
    }

    fn client_asks(&mut self) {
        let Some(id) = self.some_process() else { return };
        let (now_ms, revision) = (self.now_ms(), self.ledger.newest().revision);
        let Some((number, request, said)) = self.clients.ask(id, now_ms, revision, &mut self.chance) else {
            return;
        };
        self.note(id, || format!("client asks {number}: {said}"));
        let Some(process) = self.members.get_mut(&id).and_then(|m| m.process.as_mut()) else { return };
        match request {
            Request::Propose(data) => process.propose(number, data),
            Request::Read(key) => process.read(number, key),
        }
    }

    /// Leases are kept alive, watchers go to other members.
    fn client_cares(&mut self) -> Result<(), String> {
        let Some(id) = self.some_process() else { return Ok(()) };
        let (now_ms, newest_term) = (self.now_ms(), self.ledger.newest_term());
        let leases: Vec<i64> = self.ledger.newest().leases.keys().copied().collect();
        let Some(process) = self.members.get_mut(&id).and_then(|m| m.process.as_mut()) else { return Ok(()) };
        if self.chance.once_in(2) {
            let streams: Vec<_> = self.watchers.streams().collect();
            let stream = *self.chance.pick(&streams);
            if self.chance.once_in(4) {
                self.watchers.leave(stream, id, &mut process.hub);
            }
            let revision = process.store.revision();
            return self.watchers.resume(id, &mut process.hub, revision);
        }
        if leases.is_empty() {
            return Ok(());
        }
        let lease = *self.chance.pick(&leases);
        // The word of a leader that was deposed without knowing it is worth nothing, in etcd too.
        let leads = process.node.raft().soft_state();
        let counts = leads.role == Role::Leader && leads.term >= newest_term;
        if matches!(process.clock.renew(now_ms, lease), Renewal::Renewed { .. }) && counts {
            self.ledger.leases.renewed(lease);
            self.note(id, || format!("lease {lease} is kept alive"));
        }
        Ok(())
    }

    /// Two members that are at one revision hold the same.
    pub fn compare_hashes(&mut self) -> Result<(), String> {
        let Some(id) = self.some_process() else { return Ok(()) };
        let Some(process) = &self.members[&id].process else { return Ok(()) };
        self.ledger.check_hash(&process.store).map_err(|what| format!("member {id}: {what}"))
    }

    /// Members that were added are set up; one that was removed stops.
    fn members_may_have_changed(&mut self, id: u64) {
        let soon_ms = self.now_ms() + 300;
        let founders = self.founders;
        for added in self.ledger.newest().members.keys() {
            if !self.members.contains_key(added) {
                let who = Identity { member: *added, founders };
                self.members.insert(*added, Member::new(who, self.chance.next(), soon_ms));
            }
        }
        // In etcd it has a second for that: somebody else has to know that the change is agreed on.
        let removed = |m: &Member| m.process.as_ref().is_some_and(|process| process.removed);
        let knows = |m: &Member| m.process.as_ref().is_some_and(|p| p.store.members().removed.contains(&id));
        let others = |m: &&Member| self.ledger.newest().members.contains_key(&m.who.member);
        if self.members.get(&id).is_some_and(removed) && self.members.values().filter(others).any(knows) {
            self.note(id, || "--- stops: it was removed".into());
            self.give_up(id, Gone::Removed);
        }
    }

    /// A member does not come back.
    pub fn give_up(&mut self, id: u64, why: Gone) {
        self.watchers.lost(id);
        if let Some(member) = self.members.get_mut(&id) {
            member.gone = Some(why);
            member.process = None;
        }
    }

    /// The end of a process: one that died of a fault is followed by the next life; without one it should have lived.
    pub fn ended(&mut self, id: u64, halt: Halt) -> Result<(), String> {
        let why = match halt {
            Halt::Wrong(what) => return Err(format!("member {id}: {what}")),
            Halt::Died(why) => why,
        };
        let Some(member) = self.members.get(&id) else { return Ok(()) };
        if !member.disk.is_dead() && !member.disk_is_sick {
            return Err(format!("member {id} ended without a fault: {why}"));
        }
        self.note(id, || format!("--- ends: {why}"));
        self.power_cut(id);
        Ok(())
    }

    /// The process is gone, and of its disk is left what is left.
    pub fn power_cut(&mut self, id: u64) {
        self.summary.crashes += 1;
        self.down(id);
        let seed = self.chance.next();
        if let Some(member) = self.members.get_mut(&id) {
            member.disk.set_capacity(None);
            member.disk = member.disk.crash(seed);
            member.disk_is_sick = false;
        }
    }

    /// The process is gone.
    pub fn down(&mut self, id: u64) {
        self.watchers.lost(id);
        let until_ms = self.now_ms() + if self.chance.once_in(4) { 3000 } else { 400 };
        let starts_ms = self.now_ms() + self.chance.below(until_ms - self.now_ms());
        if let Some(member) = self.members.get_mut(&id) {
            if let Some(process) = member.process.take() {
                self.summary.snapshots += process.snapshots_saved;
                self.summary.restores += process.restores;
            }
            member.starts_ms = starts_ms;
        }
    }
}

/// The commit index and term of a leader.
fn leads_with(process: &Process) -> Option<(Index, raft::Term)> {
    let raft = process.node.raft();
    let soft = raft.soft_state();
    (soft.role == Role::Leader).then_some((raft.committed(), soft.term))
}
