//! The raft thread: owns the [`Node`], feeds it inputs and the clock, and sends its outputs on. While the member is
//! alone it also writes the log, which spares two hand-overs per write; in a cluster it never touches the disk.
//!
//! While it sleeps, whoever has an input for it may do its work: see [`Helm`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use node::{Input, Node, Output};
use parking_lot::Mutex;
use raft::{ConfState, Entry, EntryKind, MemberId, Message, Note, Role, SoftState};

use super::mailbox::{Receiver, Sender};
use super::{apply, wal};
use crate::applied::Leadership;
use crate::log;
use crate::waiters::{Answer, Waiters};

/// What the raft thread is told.
pub enum Job {
    /// For the node.
    Input(Input),
    /// Nothing but to look again at what to sleep for.
    Wake,
    /// Tell the node's status to somebody.
    Status(tokio::sync::oneshot::Sender<node::Status>),
    /// End the thread.
    Stop,
}

/// Entries that are executed in line at most.
const IN_LINE_MAX: usize = 8;
/// Longest of them in a cluster.
const BRIEF_BYTES_MAX: usize = 64 << 10;

/// The lines by which operators follow elections, in the words of etcd's raft library.
fn log_leadership(id: MemberId, old: SoftState, new: SoftState) {
    let what = match (old.leader.is_none(), new.leader.is_none()) {
        _ if old.leader == new.leader => return,
        (true, _) => format!("elected leader {}", new.leader),
        (false, true) => format!("lost leader {}", old.leader),
        (false, false) => format!("changed leader from {} to {}", old.leader, new.leader),
    };
    log::info!(logger: "raft", format!("raft.node: {id} {what} at term {}", new.term));
}

fn log_note(id: MemberId, note: &Note) {
    let text = match note {
        Note::Campaign(term) => format!("{id} is starting a new election at term {term}"),
        Note::Became(role, term) => {
            let role = match role {
                Role::Follower => "follower",
                Role::PreCandidate => "pre-candidate",
                Role::Candidate => "candidate",
                Role::Leader => "leader",
            };
            format!("{id} became {role} at term {term}")
        }
        Note::Membership(members) => format!("{id} switched to configuration {}", configuration(members)),
    };
    log::info!(logger: "raft", text);
}

/// `voters=(a b)&&(a) learners=(c)`: the second pair only while members change jointly.
fn configuration(members: &ConfState) -> String {
    let list = |ids: &[MemberId]| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        format!("({})", ids.join(" "))
    };
    let mut text = format!("voters={}", list(&members.voters));
    if !members.voters_outgoing.is_empty() {
        text += &format!("&&{}", list(&members.voters_outgoing));
    }
    for (name, ids) in [("learners", &members.learners), ("learners_next", &members.learners_next)] {
        if !ids.is_empty() {
            text += &format!(" {name}={}", list(ids));
        }
    }
    text + if members.auto_leave { " autoleave" } else { "" }
}

/// Executing it keeps nobody waiting.
fn is_brief(entry: &Entry) -> bool {
    entry.kind == EntryKind::Normal && entry.data.len() <= BRIEF_BYTES_MAX && store::is_brief(&entry.data)
}

/// What a member begins with.
fn log_start(status: &node::Status) {
    let peers: Vec<String> = status.conf_state.voters.iter().map(ToString::to_string).collect();
    log::info!(
        logger: "raft",
        format!(
            "newRaft {} [peers: [{}], term: {}, commit: {}, applied: {}, lastindex: {}, lastterm: {}]",
            status.id,
            peers.join(","),
            status.term,
            status.committed,
            status.applied,
            status.last_index,
            status.last_term
        )
    );
}

/// Takes messages for other members. Must not block; what it cannot take it drops.
pub trait Outbox: Send {
    /// Sends what it can.
    fn send(&mut self, messages: Vec<Message>);
    /// Sends a snapshot to a member that lags too far behind; the report comes as `Input::SnapshotSent`.
    fn send_snapshot(&mut self, message: Message);
}

/// Everything the raft thread hands work to.
pub struct Raft {
    /// The brain.
    pub node: Node,
    /// Length of a tick.
    pub tick: Duration,
    /// Ticks to feed at once at the start.
    pub ahead: u32,
    /// Inputs to come.
    pub jobs: Sender<Job>,
    /// The log, for writing it in line.
    pub log: Arc<Mutex<wal::Log>>,
    /// The WAL thread.
    pub wal: Sender<wal::Job>,
    /// The newest write given to the WAL thread, until it is acknowledged.
    pub under_way: Option<u64>,
    /// Room for reports of apply.
    pub reports: Vec<Job>,
    /// The store, for executing entries in line.
    pub store: Arc<Mutex<apply::Apply>>,
    /// The apply thread.
    pub apply: Sender<apply::Job>,
    /// Who waits for answers.
    pub waiters: Arc<Waiters>,
    /// Other members.
    pub outbox: Box<dyn Outbox>,
    /// Where role, leader and commit index are published.
    pub leadership: Arc<Leadership>,
}

/// The raft thread's work, in the hands of whoever does it now: the thread itself, or while that sleeps, the thread that
/// has an input for it. That spares a wake, or two.
pub struct Helm {
    raft: Mutex<Option<Raft>>,
    /// What others cannot do now goes to the raft thread by this way.
    jobs: Sender<Job>,
}

/// Runs `raft` at the helm until told to stop.
pub fn run(helm: &Helm, mut raft: Raft, jobs: Receiver<Job>) {
    let tick = raft.tick;
    let mut next_tick = Instant::now() + tick;
    raft.dispatch_all();
    log_start(&raft.node.status());
    for _ in 0..raft.ahead {
        raft.node.step(Input::Tick);
    }
    raft.dispatch_all();
    let mut may_sleep_deep = raft.needs_no_report();
    *helm.raft.lock() = Some(raft);
    let mut taken = Vec::new();
    loop {
        if may_sleep_deep {
            // What apply reports is of no use before the next input.
            jobs.take_undisturbed(&mut taken, Some(next_tick));
        } else {
            jobs.take(&mut taken, Some(next_tick));
        }
        let mut held = helm.raft.lock();
        let Some(raft) = held.as_mut() else { return };
        let now = Instant::now();
        if now >= next_tick {
            raft.node.step(Input::Tick);
            // After a long pause (a stopped machine) the missed ticks are not made up for.
            next_tick = (next_tick + tick).max(now);
        }
        let stopped = taken.drain(..).any(|job| raft.take(job));
        raft.dispatch_all();
        if stopped {
            *held = None;
            return;
        }
        may_sleep_deep = raft.needs_no_report();
    }
}

impl Helm {
    /// What the raft thread is to run with, and the way to its mailbox.
    pub fn new(jobs: Sender<Job>) -> Helm {
        Helm { raft: Mutex::new(None), jobs }
    }

    /// How many jobs wait for the raft thread.
    pub fn waiting(&self) -> usize {
        self.jobs.len()
    }

    /// Hands a job to the raft thread; false when that has ended.
    pub fn push(&self, job: Job) -> bool {
        self.jobs.push(job).is_ok()
    }

    /// Carries out all that `inputs` lead to on this thread if that needs no disk: while the raft thread sleeps, and the
    /// member is not alone. Otherwise the raft thread is told; if that has ended, the member is going down.
    pub fn take(&self, inputs: Vec<Input>) {
        for input in self.in_line(inputs, false) {
            self.push(Job::Input(input));
        }
    }

    /// Carries out all that `inputs` lead to on this thread, if the raft thread has nothing to do; gives them back
    /// otherwise. While the member is alone that is only done if the thread `may_block` for a sync.
    pub fn in_line(&self, inputs: Vec<Input>, may_block: bool) -> Vec<Input> {
        if inputs.is_empty() {
            return inputs;
        }
        let Some(mut held) = self.raft.try_lock() else { return inputs };
        let Some(raft) = held.as_mut() else { return inputs };
        let mut reports = std::mem::take(&mut raft.reports);
        let sleeps = raft.jobs.take_asleep(&mut reports);
        for report in reports.drain(..) {
            raft.take(report);
        }
        raft.reports = reports;
        let blocks = raft.node.leads_alone();
        if !sleeps || blocks && !(may_block && raft.under_way.is_none() && raft.needs_no_report()) {
            return inputs;
        }
        for input in inputs {
            raft.take(Job::Input(input));
        }
        raft.dispatch_all();
        if !raft.needs_no_report() && raft.jobs.is_deep_asleep() {
            let _ = raft.jobs.push(Job::Wake);
        }
        Vec::new()
    }
}

impl Raft {
    /// Takes one job in; true when that is to stop.
    fn take(&mut self, job: Job) -> bool {
        match job {
            Job::Input(input) => {
                if let Input::Persisted { seq } = input {
                    self.under_way = self.under_way.filter(|under_way| *under_way > seq);
                }
                self.node.step(input);
            }
            Job::Wake => {}
            Job::Status(to) => {
                let _ = to.send(self.node.status());
            }
            Job::Stop => {
                self.node.step(Input::Stop);
                return true;
            }
        }
        false
    }

    /// The member would do nothing on hearing what was applied.
    fn needs_no_report(&self) -> bool {
        !self.node.waits_for_apply()
    }

    /// Waking the apply thread takes longer than executing a few entries, if nothing else is to be done meanwhile. In a
    /// cluster only those that surely are as short: others wait for a heartbeat.
    fn applies_in_line(&self, entries: &[Entry]) -> bool {
        entries.len() <= IN_LINE_MAX
            && self.jobs.is_empty()
            && self.apply.is_idle()
            && (self.node.leads_alone() || entries.iter().all(is_brief))
    }

    /// Executes entries here, or has them executed by the apply thread.
    fn apply(&mut self, entries: Vec<Entry>, may_be_here: bool) {
        let entries = match self.store.try_lock().filter(|_| may_be_here && self.applies_in_line(&entries)) {
            Some(mut store) => store.in_line(entries, &self.apply),
            None => entries,
        };
        if !entries.is_empty() {
            let _ = self.apply.push(apply::Job::Entries(entries));
        }
    }

    /// Carries out all that is to be done now.
    fn dispatch_all(&mut self) {
        loop {
            let output = self.node.take_output();
            let Some(seq) = self.dispatch(output) else { return };
            self.node.step(Input::Persisted { seq });
        }
    }

    /// Carries an output out. Answers the number of its write if that is done already.
    fn dispatch(&mut self, output: Output) -> Option<u64> {
        if !output.send.is_empty() {
            self.outbox.send(output.send);
        }
        let log = self.log.clone();
        let mut in_line = None;
        if let Some(persist) = output.persist {
            // Locked before apply hears of the entries: a snapshot it makes of them comes behind this write.
            let free = self.node.leads_alone() && self.under_way.is_none();
            match log.try_lock().filter(|_| free) {
                Some(log) => in_line = Some((log, persist)),
                None => {
                    self.under_way = Some(persist.seq);
                    let _ = self.wal.push(wal::Job::Persist(persist));
                }
            }
        }
        for note in &output.notes {
            log_note(self.node.status().id, note);
        }
        if let Some(state) = output.leadership {
            log_leadership(self.node.status().id, self.leadership.now(), state);
            self.leadership.publish(state);
            let _ = self.apply.push(apply::Job::Leadership(state));
        }
        if let Some(snapshot) = output.restore {
            let _ = self.apply.push(apply::Job::Restore(snapshot));
        }
        if let Some(last) = output.apply.last() {
            self.leadership.committed(last.index.0);
            self.apply(output.apply, in_line.is_none());
        }
        if output.snapshot_due.is_some() {
            let _ = self.apply.push(apply::Job::SnapshotDue);
        }
        for message in output.send_snapshot {
            self.outbox.send_snapshot(message);
        }
        if !output.reads.is_empty() || !output.failed.is_empty() {
            let mut batch = self.waiters.batch();
            for read in output.reads {
                batch.add(read.id, Answer::ReadAt(read.index.0));
            }
            for (id, why) in output.failed {
                batch.add(id, Answer::Refused(why));
            }
            batch.send();
        }
        // Last, so that apply works meanwhile.
        let (mut log, persist) = in_line?;
        let seq = persist.seq;
        log.commit([persist]);
        Some(seq)
    }
}
