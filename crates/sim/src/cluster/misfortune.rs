//! What goes wrong, beside what the network does by itself.

use node::Input;
use raft::MemberId;

use super::member::Gone;
use super::world::World;
use crate::faults;
use crate::process::{Around, Halt};

impl World {
    /// One fault, or the end of one.
    pub fn misfortune(&mut self) -> Result<(), String> {
        let Some(id) = self.some_process() else { return Ok(()) };
        match self.chance.below(100) {
            0..=19 => self.crash_soon(id),
            20..=27 => {
                self.note(id, || "--- killed".into());
                self.summary.other_ends += 1;
                self.down(id);
            }
            28..=33 => return self.stop(id),
            34..=45 => self.sicken(id),
            46..=55 => {
                let pause_ms = self.chance.below(2500);
                self.note(id, || format!("paused for {pause_ms} ms"));
                let until_ms = self.now_ms() + pause_ms;
                self.members.entry(id).and_modify(|member| member.paused_until_ms = until_ms);
            }
            56..=69 => {
                let ids: Vec<u64> = self.members.keys().copied().collect();
                let said = self.network.part(&ids, &mut self.chance);
                self.summary.partitions += 1;
                self.note(0, || said);
            }
            70..=79 => {
                let said = self.network.join();
                self.note(0, || said);
            }
            80..=86 => {
                let said = self.network.change(&mut self.chance);
                self.note(0, || said);
            }
            87..=90 => {
                let ms = self.chance.below(3000);
                self.pass(ms);
                self.note(0, || format!("time jumps by {ms} ms"));
            }
            91..=94 => self.transfer_leadership(id),
            95..=97 => {
                self.note(0, || "--- the power of all goes".into());
                for id in self.running() {
                    self.power_cut(id);
                }
            }
            _ => self.lose(id),
        }
        Ok(())
    }

    fn running(&self) -> Vec<u64> {
        self.members.values().filter(|m| m.process.is_some()).map(|m| m.who.member).collect()
    }

    /// The power goes at some change of the disk soon.
    fn crash_soon(&mut self, id: u64) {
        let soon = if self.chance.once_in(4) { 4 } else { 60 };
        let op = self.chance.below(soon);
        self.note(id, || format!("the power will go in {op} changes of the disk"));
        if let Some(member) = self.members.get(&id) {
            member.disk.crash_at_op(member.disk.ops() + 1 + op);
        }
    }

    fn stop(&mut self, id: u64) -> Result<(), String> {
        self.note(id, || "--- stops".into());
        self.summary.other_ends += 1;
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        let mut around = Around {
            chance: &mut self.chance,
            ledger: &mut self.ledger,
            watchers: &mut self.watchers,
            shadow: &mut member.shadow,
        };
        let stopped = member.process.take().map_or(Ok(()), |process| process.stop(&mut around));
        self.down(id);
        match stopped {
            Err(halt @ Halt::Died(_)) => self.ended(id, halt),
            Err(Halt::Wrong(what)) => Err(what),
            Ok(()) => Ok(()),
        }
    }

    /// The disk fills up, or a sync will fail.
    fn sicken(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let said = if self.chance.once_in(2) {
            faults::fail_a_sync(&member.disk, &mut self.chance)
        } else {
            faults::fill(&member.disk, &mut self.chance)
        };
        if let Ok(said) = said {
            member.disk_is_sick = true;
            self.summary.other_ends += 1;
            self.note(id, || said);
        }
    }

    fn transfer_leadership(&mut self, id: u64) {
        let Some(to) = self.some_process() else { return };
        self.note(id, || format!("asked to hand leadership to m{to}"));
        if let Some(process) = self.members.get_mut(&id).and_then(|m| m.process.as_mut()) {
            process.input(Input::TransferLeader { to: MemberId(to) });
        }
    }

    /// A disk is gone for good; the member has to be replaced. Only one at a time, and only if a quorum is left.
    fn lose(&mut self, id: u64) {
        let members = &self.ledger.newest().members;
        let voters = members.values().filter(|is_learner| !**is_learner).count();
        let lost = |id: &u64| self.members.get(id).is_some_and(|m| m.gone == Some(Gone::Lost));
        if voters < 3 || members.get(&id) != Some(&false) || members.keys().any(lost) {
            return;
        }
        self.note(id, || "--- lost with its disk".into());
        self.give_up(id, Gone::Lost);
    }
}
