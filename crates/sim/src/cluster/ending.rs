//! Peace: no fault any more. A leader must be found, every member must come to hold the same, a request must be answered,
//! watchers must have everything, and leases that nobody keeps alive must end.

use raft::MemberId;

use super::Summary;
use super::member::Member;
use super::world::World;
use crate::workload;

/// Rounds of one step of each member after which all must be well.
const ROUNDS_MAX: u64 = 12_000;
/// A request is made again after so long without an answer.
const PATIENCE_MS: u64 = 3000;
/// More than the longest lease.
const LONG_MS: u64 = 60_000;

impl World {
    /// Checks that all comes to rest, and answers what the run went through.
    pub fn settle(&mut self) -> Result<Summary, String> {
        self.make_peace();
        if self.come_to_rest("after the faults", |_| true)? {
            self.check_all_equal()?;
            self.pass(LONG_MS);
            self.note(0, || "a minute later".into());
            self.come_to_rest("when leases end", |world| world.ledger.newest().leases.is_empty())?;
            self.check_all_equal()?;
        }
        self.summary.undecided += self.clients.check()?;
        Ok(self.summed())
    }

    fn make_peace(&mut self) {
        self.note(0, || "=== no faults any more".into());
        self.troubled = false;
        self.network.heal();
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in ids {
            let sick = self.members.get(&id).is_some_and(|m| m.disk_is_sick || m.process.is_none());
            if sick && self.members.get(&id).is_some_and(|m| m.gone.is_none()) {
                self.power_cut(id);
            }
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.paused_until_ms = 0;
            member.disk.crash_at_op(u64::MAX);
        }
    }

    /// Goes on until a request was answered, all members hold all that was agreed on, watchers have everything, and
    /// `enough` says so.
    fn come_to_rest(&mut self, when: &str, enough: fn(&World) -> bool) -> Result<bool, String> {
        self.probe = None;
        let mut ask_ms = self.now_ms();
        for _ in 0..ROUNDS_MAX {
            self.wake()?;
            for _ in 0..4 {
                self.deliver();
            }
            if self.everybody_moves()? {
                continue;
            }
            if !self.probe_answered() && ask_ms <= self.now_ms() {
                ask_ms = self.now_ms() + PATIENCE_MS;
                self.ask_something();
            }
            self.watch_again()?;
            if self.probe_answered() && self.is_settled() && enough(self) {
                return self.watchers.check_complete(&self.ledger).map(|()| true);
            }
            self.pass(10);
        }
        if self.is_stranded() {
            self.summary.stranded += 1;
            return Ok(false);
        }
        Err(format!("the members do not come to agree {when}: {}", self.picture()))
    }

    /// Nobody who is left can be elected by those who are left: somebody lost his disk while a removal was under way, and
    /// those who knew that it is agreed on are gone. Then nothing can be agreed on any more, and nothing is wrong.
    fn is_stranded(&self) -> bool {
        let log = |id: u64| {
            let process = self.members.get(&id).and_then(|member| member.process.as_ref())?;
            let raft = process.node.raft();
            Some((raft.term_at(raft.last_index()), raft.last_index()))
        };
        !self.members.values().filter_map(|member| member.process.as_ref()).any(|process| {
            let (own, voters) = (process.id(), process.node.raft().conf_state().voters);
            let votes = |id: &&MemberId| log(id.0).is_some_and(|theirs| Some(theirs) <= log(own));
            voters.contains(&MemberId(own)) && voters.iter().filter(votes).count() > voters.len() / 2
        })
    }

    fn everybody_moves(&mut self) -> Result<bool, String> {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        let mut any = false;
        for id in ids {
            let step = self.members[&id].choose(&mut self.chance, &self.watchers, self.ledger.leases.now_ms);
            if let Some(step) = step {
                any = true;
                self.make(id, step)?;
            }
        }
        Ok(any)
    }

    fn probe_answered(&self) -> bool {
        matches!(self.probe, Some((_, _, true)))
    }

    fn ask_something(&mut self) {
        let ids = self.staying();
        if ids.is_empty() {
            return;
        }
        let (id, number) = (*self.chance.pick(&ids), self.clients.id());
        self.probe = Some((id, number, false));
        self.note(id, || format!("asked for a sign of life, {number}"));
        if let Some(process) = self.members.get_mut(&id).and_then(|m| m.process.as_mut()) {
            process.propose(number, workload::harmless(number));
        }
    }

    /// Watchers turn from members that do not stay to others.
    fn watch_again(&mut self) -> Result<(), String> {
        let ids = self.staying();
        for (id, member) in self.members.iter_mut().filter(|(id, _)| !ids.contains(id)) {
            for stream in self.watchers.streams() {
                if let Some(process) = &mut member.process {
                    self.watchers.leave(stream, *id, &mut process.hub);
                }
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        let id = *self.chance.pick(&ids);
        let Some(process) = self.members.get_mut(&id).and_then(|m| m.process.as_mut()) else { return Ok(()) };
        let revision = process.store.revision();
        self.watchers.resume(id, &mut process.hub, revision)
    }

    /// Members that are to agree in the end.
    fn staying(&self) -> Vec<u64> {
        let members = &self.ledger.newest().members;
        let stays = |id: &&u64| self.members.get(id).is_none_or(|member| member.gone.is_none());
        members.keys().filter(stays).copied().collect()
    }

    fn is_settled(&self) -> bool {
        let agreed = self.ledger.agreed();
        self.staying().iter().all(|id| {
            let process = self.members.get(id).and_then(|member| member.process.as_ref());
            process.is_some_and(|process| {
                let idle = process.is_idle(&self.watchers, self.ledger.leases.now_ms);
                idle && process.index.0 == agreed && process.node.raft().committed().0 == agreed
            })
        })
    }

    fn check_all_equal(&mut self) -> Result<(), String> {
        for id in self.staying() {
            let Some(process) = self.members.get_mut(&id).and_then(|m| m.process.as_mut()) else { continue };
            let of = |what| format!("member {id}: {what}");
            self.ledger.check_hash(&process.store).map_err(of)?;
            self.ledger.check_equal(&mut process.store).map_err(of)?;
        }
        Ok(())
    }

    fn picture(&self) -> String {
        let shown = |member: &Member| {
            let id = member.who.member;
            let Some(process) = &member.process else {
                return format!("\n  m{id} is gone: {:?}", member.gone);
            };
            let (soft, raft) = (process.node.raft().soft_state(), process.node.raft());
            let peers: Vec<_> =
                raft.progress().map(|p| (p.id, p.matched, p.next, p.pace, p.paused)).collect();
            format!(
                "\n  m{id} {soft:?} log {} to {} committed {} applied {} {:?} {peers:?}",
                raft.first_index(),
                raft.last_index(),
                raft.committed(),
                process.index,
                raft.conf_state().voters
            )
        };
        self.members.values().map(shown).collect()
    }

    fn summed(&mut self) -> Summary {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        ids.into_iter().for_each(|id| self.down(id));
        Summary {
            seconds: self.now_ms() / 1000,
            leaders: self.ledger.leaders(),
            entries: self.ledger.agreed(),
            conf_changes: self.ledger.conf_changes(),
            answers: self.clients.answers,
            unanswered: self.clients.unanswered,
            reads: self.clients.reads,
            events: self.watchers.events,
            compacted: self.watchers.compacted,
            leases_ended: self.ledger.leases.ended,
            leases_renewed: self.ledger.leases.renewed,
            ..self.summary
        }
    }
}
