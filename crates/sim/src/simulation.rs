//! Lives of a lone member one after the other, each ended by a fault, each begun with a look at what is left.

use disk::MemDisk;

use crate::boot::{self, Identity};
use crate::chance::Chance;
use crate::failure::{Broken, Failure};
use crate::faults;
use crate::ledger::Ledger;
use crate::process::{Around, Halt, Move, Process, Told};
use crate::shadow::Shadow;
use crate::watchers::Watchers;
use crate::{Mutation, workload};

/// The only member.
const LONE: Identity = Identity { member: 1, founders: 1 };
/// Longest lease that is granted, in seconds: nobody's clock ends one here.
const TTL_MAX_S: u64 = 100;

/// Steps after which a member that has nothing new to do must be idle.
const SETTLE_STEPS_MAX: usize = 20_000;

/// A run to be made: everything follows from the seed and these settings.
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    mutation: Option<Mutation>,
    /// Lives, each of up to so many steps.
    lives: usize,
    steps: u64,
    /// Cut the power at this change of the disk, and at no other.
    crash_at: Option<u64>,
    random_faults: bool,
    traced: bool,
}

/// What a run went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Times the power was cut.
    pub crashes: u64,
    /// Other ends: killed, stopped, failed sync, full disk.
    pub other_ends: u64,
    /// Steps of all lives.
    pub steps: u64,
    /// Changes of the disk.
    pub disk_ops: u64,
    /// Entries executed, each counted once.
    pub entries: u64,
    /// Answers clients got.
    pub answers: u64,
    /// Disk snapshots saved.
    pub snapshots: u64,
    /// Events watchers got, and the times one was told to start later.
    pub events: u64,
    /// Watchers told that what they want is compacted.
    pub compacted: u64,
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// The power goes at some change of the disk soon.
    Crash,
    /// A sync of the log or the database fails, and then the power goes.
    FailedSync,
    /// The disk fills up.
    DiskFull,
    /// The process is killed between two steps.
    Killed,
    /// In good order.
    Stopped,
}

impl Simulation {
    /// A long random run.
    #[must_use]
    pub fn new(seed: u64) -> Simulation {
        let (lives, steps) = (10, 400);
        Simulation { seed, mutation: None, lives, steps, crash_at: None, random_faults: true, traced: false }
    }

    /// With a mistake in it.
    #[must_use]
    pub fn with(self, mutation: Mutation) -> Simulation {
        Simulation { mutation: Some(mutation), ..self }
    }

    /// Makes the random run of this seed.
    ///
    /// # Errors
    /// A broken promise, with its timeline.
    pub fn run(seed: u64) -> Result<Report, Failure> {
        Simulation::new(seed).go()
    }

    /// Makes this run.
    ///
    /// # Errors
    /// A broken promise, with its timeline.
    pub fn go(&self) -> Result<Report, Failure> {
        let how = "BALSA_SEED={} cargo test -p balsa-sim --test lone";
        Failure::traced(self.seed, how, |traced| {
            let plan = Simulation { traced, ..self.clone() };
            Run::new(&plan).and_then(|mut run| run.all_lives())
        })
    }

    /// Makes a short run, and again with the power cut at its first change of the disk, its second, and so on.
    ///
    /// # Errors
    /// A broken promise, with its timeline.
    pub fn every_crash(seed: u64, steps: u64) -> Result<Report, Failure> {
        let short = Simulation { lives: 2, steps, random_faults: false, ..Simulation::new(seed) };
        let whole = Simulation { lives: 1, ..short.clone() }.go()?;
        let mut sum = Report::default();
        for at in 1..=whole.disk_ops {
            sum += Simulation { crash_at: Some(at), ..short.clone() }.go()?;
        }
        Ok(sum)
    }
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Report) {
        self.crashes += other.crashes;
        self.other_ends += other.other_ends;
        self.steps += other.steps;
        self.disk_ops += other.disk_ops;
        self.entries += other.entries;
        self.answers += other.answers;
        self.snapshots += other.snapshots;
        self.events += other.events;
        self.compacted += other.compacted;
    }
}

/// A run under way.
struct Run<'a> {
    plan: &'a Simulation,
    chance: Chance,
    disk: MemDisk,
    ledger: Ledger,
    watchers: Watchers,
    shadow: Shadow,
    report: Report,
    requests: u64,
    timeline: Vec<String>,
}

impl Run<'_> {
    fn new(plan: &Simulation) -> Result<Run<'_>, Broken> {
        let ledger = Ledger::new().map_err(|what| Broken { what, timeline: Vec::new() })?;
        Ok(Run {
            plan,
            chance: Chance::new(plan.seed),
            disk: MemDisk::new(plan.seed),
            ledger,
            watchers: Watchers::new(),
            shadow: Shadow::default(),
            report: Report::default(),
            requests: 0,
            timeline: Vec::new(),
        })
    }

    fn all_lives(&mut self) -> Result<Report, Broken> {
        if let Some(at) = self.plan.crash_at {
            self.disk.crash_at_op(at);
        }
        for life in 0..self.plan.lives {
            let last = life + 1 == self.plan.lives;
            let lived = self.life(last).or_else(|halt| self.explain(halt));
            if let Err(what) = lived {
                let timeline = std::mem::take(&mut self.timeline);
                return Err(Broken { what, timeline });
            }
        }
        self.report.entries = self.ledger.agreed();
        self.report.answers = self.ledger.answers;
        self.report.events = self.watchers.events;
        self.report.compacted = self.watchers.compacted;
        Ok(self.report)
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.plan.traced {
            let line = line();
            if !line.is_empty() {
                self.timeline.push(format!("{:5} {line}", self.disk.ops()));
            }
        }
    }

    /// A process that died of a fault is followed by the next life; without a fault it should have lived.
    fn explain(&mut self, halt: Halt) -> Result<(), String> {
        match halt {
            Halt::Wrong(what) => Err(what),
            Halt::Died(why) if self.disk.is_dead() => {
                self.note(|| format!("--- the power goes: {why}"));
                self.power_cut();
                Ok(())
            }
            Halt::Died(why) => Err(format!("the process ended without a fault: {why}")),
        }
    }

    fn power_cut(&mut self) {
        self.report.crashes += 1;
        self.report.disk_ops += self.disk.ops();
        self.disk = self.disk.crash(self.chance.next());
    }

    /// From a start to an end. The last life goes on until all is quiet.
    fn life(&mut self, last: bool) -> Result<(), Halt> {
        let fault = self.choose_fault(last);
        self.note(|| format!("=== start; to end by {fault:?}"));
        if fault == Some(Fault::Crash) {
            let soon = if self.chance.once_in(4) { 12 } else { 150 };
            self.disk.crash_at_op(self.disk.ops() + 1 + self.chance.below(soon));
        }
        let mut process = self.start()?;
        if self.plan.random_faults && self.chance.once_in(2) {
            self.settle(&mut process)?;
        }
        let steps =
            if self.plan.random_faults { 1 + self.chance.below(self.plan.steps) } else { self.plan.steps };
        let arm_at = self.chance.below(steps);
        let weights = self.weights();
        for step in 0..steps {
            if step == arm_at
                && let Err(why) = self.arm(fault)
            {
                self.note(|| why);
            }
            self.report.steps += 1;
            let done = self.step(&mut process, &weights);
            self.report.snapshots += std::mem::take(&mut process.snapshots_saved);
            if let Err(Halt::Died(why)) = &done
                && !self.disk.is_dead()
                && matches!(fault, Some(Fault::FailedSync | Fault::DiskFull))
            {
                self.note(|| format!("--- ends by {fault:?}: {why}"));
                return self.end_by(fault, process);
            }
            done?;
        }
        if last || !self.plan.random_faults {
            self.settle(&mut process)?;
        }
        if last {
            self.report.disk_ops += self.disk.ops();
            return Ok(());
        }
        self.end_by(fault, process)
    }

    fn choose_fault(&mut self, last: bool) -> Option<Fault> {
        if last || !self.plan.random_faults {
            return None;
        }
        Some(match self.chance.below(12) {
            0 => Fault::Stopped,
            1..=2 => Fault::Killed,
            3 => Fault::DiskFull,
            4 => Fault::FailedSync,
            _ => Fault::Crash,
        })
    }

    fn start(&mut self) -> Result<Process, Halt> {
        let wrong = |this: &Self, why: String| {
            if this.disk.is_dead() { Halt::Died(why) } else { Halt::Wrong(format!("does not start: {why}")) }
        };
        let booted =
            boot::boot(&self.disk, LONE, self.plan.mutation).map_err(|refused| wrong(self, refused.0))?;
        self.note(|| booted.to_string());
        self.ledger.check_lone_start(&booted.restored, &booted.store).map_err(Halt::Wrong)?;
        self.shadow.check_start(&booted.restored).map_err(Halt::Wrong)?;
        self.shadow.begin(&booted.restored);
        let (seed, mutation) = (self.chance.next() >> 24, self.plan.mutation);
        let mut process = Process::new(&self.disk, LONE, booted, seed, mutation).map_err(Halt::Wrong)?;
        self.watchers.lost(LONE.member);
        let revision = process.store.revision();
        self.watchers.resume(LONE.member, &mut process.hub, revision).map_err(Halt::Wrong)?;
        Ok(process)
    }

    /// Some lives are slow to sync, others to apply, to commit, ...
    fn weights(&mut self) -> Vec<u64> {
        Move::ALL.iter().map(|_| *self.chance.pick(&[1, 2, 4, 8, 8])).collect()
    }

    fn step(&mut self, process: &mut Process, weights: &[u64]) -> Result<(), Halt> {
        if self.chance.once_in(4) {
            self.propose(process);
        }
        let possible: Vec<(Move, u64)> = Move::ALL
            .into_iter()
            .zip(weights)
            .filter(|(step, _)| process.can(*step, &self.watchers, 0))
            .map(|(step, weight)| (step, if step == Move::Tick { 1 } else { *weight }))
            .collect();
        let mut at = self.chance.below(possible.iter().map(|(_, weight)| weight).sum());
        for (step, weight) in possible {
            if at < weight {
                return self.do_step(process, step);
            }
            at -= weight;
        }
        Ok(())
    }

    fn do_step(&mut self, process: &mut Process, step: Move) -> Result<(), Halt> {
        let done = process.step(step, &mut self.around())?;
        self.note(|| done);
        for told in process.told.drain(..) {
            if let Told::Entry { index, .. } = told {
                self.ledger.answered(index);
            }
        }
        Ok(())
    }

    fn around(&mut self) -> Around<'_> {
        Around {
            chance: &mut self.chance,
            ledger: &mut self.ledger,
            watchers: &mut self.watchers,
            shadow: &mut self.shadow,
        }
    }

    fn propose(&mut self, process: &mut Process) {
        self.requests += 1;
        let data =
            workload::request(&mut self.chance, self.requests, self.ledger.newest().revision, TTL_MAX_S);
        let id = self.requests;
        self.note(|| format!("client proposes {id}: {}", workload::shown(&data)));
        process.propose(id, data);
    }

    /// Nothing new comes in: everything must come to rest, equal to a store that never crashed, and a last request must
    /// be answered.
    fn settle(&mut self, process: &mut Process) -> Result<(), Halt> {
        let before = self.ledger.acknowledged;
        self.propose_harmless(process);
        let quick =
            [Move::Write, Move::Sync, Move::Record, Move::Snap, Move::Apply, Move::Seal, Move::Commit];
        let slow = [Move::Compact, Move::CatchUp, Move::Deliver, Move::Node];
        for round in 0.. {
            let possible: Vec<Move> =
                quick.into_iter().chain(slow).filter(|step| process.can(*step, &self.watchers, 0)).collect();
            let step = *self.chance.pick(&possible);
            self.do_step(process, step)?;
            if process.is_idle(&self.watchers, 0) && self.ledger.acknowledged > before {
                break;
            }
            if round > SETTLE_STEPS_MAX {
                return Err(Halt::Wrong("the member does not come to rest, or does not answer".into()));
            }
        }
        self.note(|| "at rest".into());
        self.watchers.check_complete(&self.ledger).map_err(Halt::Wrong)?;
        let equal = self.ledger.check_equal(&mut process.store);
        equal.map_err(|what| if self.disk.is_dead() { Halt::Died(what) } else { Halt::Wrong(what) })
    }

    fn propose_harmless(&mut self, process: &mut Process) {
        self.requests += 1;
        process.propose(self.requests, workload::harmless(self.requests));
    }

    /// Sets up what is to go wrong later in this life.
    fn arm(&mut self, fault: Option<Fault>) -> Result<(), String> {
        let said = match fault {
            Some(Fault::FailedSync) => faults::fail_a_sync(&self.disk, &mut self.chance),
            Some(Fault::DiskFull) => faults::fill(&self.disk, &mut self.chance),
            _ => return Ok(()),
        };
        let said = said.map_err(|error| error.to_string())?;
        self.note(|| said);
        Ok(())
    }

    fn end_by(&mut self, fault: Option<Fault>, process: Process) -> Result<(), Halt> {
        self.disk.set_capacity(None);
        if matches!(fault, Some(Fault::Crash | Fault::FailedSync)) || self.plan.crash_at.is_some() {
            drop(process);
            self.note(|| "--- the power goes".into());
            self.power_cut();
            return Ok(());
        }
        self.report.other_ends += 1;
        self.note(|| format!("--- ends: {fault:?}"));
        if fault == Some(Fault::Stopped) { process.stop(&mut self.around()) } else { Ok(()) }
    }
}
