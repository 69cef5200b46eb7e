//! The raft thread: owns the [`Node`], feeds it inputs and the clock, and sends its outputs on. Never touches the disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use node::{Input, Node, Output};
use raft::{MemberId, Message, Role, SoftState};

use super::mailbox::{Receiver, Sender};
use super::{apply, wal};
use crate::applied::Leadership;
use crate::log;
use crate::waiters::{Answer, Waiters};

/// What the raft thread is told.
pub enum Job {
    /// For the node.
    Input(Input),
    /// Tell the node's status to somebody.
    Status(tokio::sync::oneshot::Sender<node::Status>),
    /// End the thread.
    Stop,
}

/// The lines by which operators follow elections, in the words of etcd's raft library.
fn log_leadership(id: MemberId, old: SoftState, new: SoftState) {
    if new.role == Role::Leader && old.role != Role::Leader {
        log::info!(logger: "raft", format!("{id} became leader at term {}", new.term));
    }
    let what = match (old.leader.is_none(), new.leader.is_none()) {
        _ if old.leader == new.leader => return,
        (true, _) => format!("elected leader {}", new.leader),
        (false, true) => format!("lost leader {}", old.leader),
        (false, false) => format!("changed leader from {} to {}", old.leader, new.leader),
    };
    log::info!(logger: "raft", format!("raft.node: {id} {what} at term {}", new.term));
}

/// Takes messages for other members. Must not block; what it cannot take it drops.
pub trait Outbox: Send {
    /// Sends what it can.
    fn send(&mut self, messages: Vec<Message>);
    /// Sends a snapshot to a member that lags too far behind; the report comes as `Input::SnapshotSent`.
    fn send_snapshot(&mut self, message: Message);
}

/// A single member's outbox: there is nobody to send to.
pub struct NoPeers(pub Sender<Job>);

impl Outbox for NoPeers {
    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let _ = self.0.push(Job::Input(Input::Unreachable { peer: message.to }));
        }
    }

    fn send_snapshot(&mut self, message: Message) {
        let _ = self.0.push(Job::Input(Input::SnapshotSent { peer: message.to, ok: false }));
    }
}

/// Everything the raft thread hands work to.
pub struct Raft {
    /// The brain.
    pub node: Node,
    /// Length of a tick.
    pub tick: Duration,
    /// Ticks to feed at once at the start.
    pub ahead: u32,
    /// Inputs.
    pub jobs: Receiver<Job>,
    /// The WAL thread.
    pub wal: Sender<wal::Job>,
    /// The apply thread.
    pub apply: Sender<apply::Job>,
    /// Who waits for answers.
    pub waiters: Arc<Waiters>,
    /// Other members.
    pub outbox: Box<dyn Outbox>,
    /// Where role, leader and commit index are published.
    pub leadership: Arc<Leadership>,
}

impl Raft {
    /// Runs until told to stop.
    pub fn run(mut self) {
        let mut next_tick = Instant::now() + self.tick;
        for _ in 0..self.ahead {
            self.node.step(Input::Tick);
        }
        let mut jobs = Vec::new();
        loop {
            let output = self.node.take_output();
            self.dispatch(output);
            self.jobs.take(&mut jobs, Some(next_tick));
            let now = Instant::now();
            if now >= next_tick {
                self.node.step(Input::Tick);
                // After a long pause (a stopped machine) the missed ticks are not made up for.
                next_tick = (next_tick + self.tick).max(now);
            }
            for job in jobs.drain(..) {
                match job {
                    Job::Input(input) => self.node.step(input),
                    Job::Status(to) => {
                        let _ = to.send(self.node.status());
                    }
                    Job::Stop => {
                        self.node.step(Input::Stop);
                        let output = self.node.take_output();
                        self.dispatch(output);
                        return;
                    }
                }
            }
        }
    }

    fn dispatch(&mut self, output: Output) {
        if !output.send.is_empty() {
            self.outbox.send(output.send);
        }
        if let Some(persist) = output.persist {
            let _ = self.wal.push(wal::Job::Persist(persist));
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
            let _ = self.apply.push(apply::Job::Entries(output.apply));
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
    }
}
