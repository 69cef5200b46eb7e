//! The raft thread: owns the [`Node`], feeds it inputs and the clock, and sends its outputs on. While the member is
//! alone it also writes the log, which spares two hand-overs per write; in a cluster it never touches the disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use node::{Input, Node, Output};
use parking_lot::Mutex;
use raft::{ConfState, MemberId, Message, Note, Role, SoftState};

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

/// The raft thread's work, in the hands of whoever does it now: the thread, or while that sleeps, a front loop.
#[derive(Default)]
pub struct Helm(Mutex<Option<Raft>>);

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
    *helm.0.lock() = Some(raft);
    let mut taken = Vec::new();
    loop {
        if may_sleep_deep {
            // What apply reports is of no use before the next proposal.
            jobs.take_undisturbed(&mut taken, Some(next_tick));
        } else {
            jobs.take(&mut taken, Some(next_tick));
        }
        let mut held = helm.0.lock();
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
    /// Carries out all that `input` leads to on this thread, if the raft thread has nothing to do and the member is
    /// alone; gives it back otherwise. Blocks for a sync.
    pub fn in_line(&self, input: Input) -> Option<Input> {
        let Some(mut held) = self.0.try_lock() else { return Some(input) };
        let Some(raft) = held.as_mut() else { return Some(input) };
        let mut reports = std::mem::take(&mut raft.reports);
        let is_free = raft.under_way.is_none() && raft.jobs.take_asleep(&mut reports);
        for report in reports.drain(..) {
            raft.take(report);
        }
        raft.reports = reports;
        if !is_free || !raft.needs_no_report() {
            return Some(input);
        }
        raft.node.step(input);
        raft.dispatch_all();
        if !raft.needs_no_report() {
            let _ = raft.jobs.push(Job::Wake);
        }
        None
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

    /// The member is alone, and would do nothing on hearing what was applied.
    fn needs_no_report(&self) -> bool {
        self.node.leads_alone() && !self.node.waits_for_apply()
    }

    /// Waking the apply thread takes longer than executing a few entries, if nothing else is to be done meanwhile.
    fn applies_in_line(&self, entries: usize) -> bool {
        entries <= IN_LINE_MAX && self.node.leads_alone() && self.jobs.is_empty() && self.apply.is_idle()
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
            if in_line.is_none() && self.applies_in_line(output.apply.len()) {
                self.store.lock().in_line(output.apply, &self.apply);
            } else {
                let _ = self.apply.push(apply::Job::Entries(output.apply));
            }
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
