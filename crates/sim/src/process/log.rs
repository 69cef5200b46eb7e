//! The WAL thread, and the handler that takes snapshots in.

use std::path::Path;

use disk::{Disk, Open};
use node::{Input, Persist};
use raft::{MemberId, Snapshot};
use wal::SnapshotRecord;

use super::snap::SnapJob;
use super::{Around, Halt, LogJob, Outgoing, Process, Received, Step, Unsynced, died};
use crate::Mutation;
use crate::boot::SNAP_DIR;

impl Process {
    pub(super) fn can_write(&self) -> bool {
        self.next_persist().is_some()
    }

    /// A record waits until what came before it is written and synced; what comes after it may overtake it.
    pub(super) fn can_record(&self) -> bool {
        matches!(self.to_log.front(), Some(LogJob::SnapshotSaved(_)))
            && self.unsynced.seq.is_none()
            && self.received == Received::Waits
    }

    pub(super) fn can_sync(&self) -> bool {
        self.unsynced.seq.is_some() && self.received == Received::Waits
    }

    fn next_persist(&self) -> Option<usize> {
        self.to_log.iter().position(|job| matches!(job, LogJob::Persist(_)))
    }

    /// First half: some of what waits is appended, or a leader's snapshot is saved before that, one step at a time.
    pub(super) fn write(&mut self, around: &mut Around<'_>) -> Step {
        let waiting = self.to_log.iter().filter(|job| matches!(job, LogJob::Persist(_))).count();
        let wanted = 1 + around.chance.below(waiting as u64) as usize;
        let mut count = 0;
        while count < wanted
            && let Some(at) = self.next_persist()
            && let Some(LogJob::Persist(persist)) = self.to_log.get(at)
        {
            if let Some(snapshot) = &persist.snapshot
                && self.received != Received::HasRecord
            {
                if count > 0 {
                    break;
                }
                let snapshot = snapshot.clone();
                return self.save_received(&snapshot);
            }
            self.received = Received::Waits;
            if let Some(LogJob::Persist(persist)) = self.to_log.remove(at) {
                self.append(persist)?;
            }
            count += 1;
        }
        if matches!(self.mutation, Some(Mutation::AcknowledgedBeforeSync | Mutation::CommittedBeforeSync))
            && let Some(seq) = self.unsynced.seq
        {
            self.written(seq, around)?;
        }
        Ok(format!("append {count}"))
    }

    fn save_received(&mut self, snapshot: &Snapshot) -> Step {
        let index = snapshot.index;
        if self.received == Received::Waits {
            self.save_file(snapshot)?;
            self.received = Received::HasFile;
            return Ok(format!("the file of a leader's snapshot {index} is there"));
        }
        self.wal.save_snapshot(&SnapshotRecord::of(snapshot)).map_err(died("record snapshot"))?;
        self.received = Received::HasRecord;
        self.snapshots_saved += 1;
        Ok(format!("the record of a leader's snapshot {index} is there"))
    }

    fn append(&mut self, mut persist: Persist) -> Result<(), Halt> {
        match (self.mutation, &mut persist.hard_state) {
            (Some(Mutation::HardStateForgotten), hard_state) => *hard_state = None,
            (Some(Mutation::VoteForgotten), Some(hard_state)) => hard_state.vote = MemberId::NONE,
            _ => {}
        }
        self.wal.append(persist.hard_state.as_ref(), &persist.entries).map_err(died("append"))?;
        self.unsynced.seq = Some(persist.seq);
        self.unsynced.must_sync |= persist.must_sync;
        self.unsynced.send.extend(persist.send);
        Ok(())
    }

    /// Second half.
    pub(super) fn sync(&mut self, around: &mut Around<'_>) -> Step {
        let must_sync = self.unsynced.must_sync;
        if must_sync {
            self.wal.sync().map_err(died("sync"))?;
        }
        self.let_go(around);
        let seq = self.unsynced.seq.unwrap_or_default();
        self.written(seq, around)?;
        self.unsynced = Unsynced::default();
        self.told.append(&mut self.unanswered);
        Ok(format!("persisted {seq}, synced: {must_sync}"))
    }

    fn written(&mut self, seq: u64, around: &mut Around<'_>) -> Result<(), Halt> {
        around.shadow.told(seq);
        self.to_node.push_back(Input::Persisted { seq });
        let send = std::mem::take(&mut self.unsynced.send);
        self.send(send, around.shadow).map_err(Halt::Wrong)
    }

    /// What follows when the file of a snapshot of the store's is there.
    pub(super) fn record(&mut self, around: &mut Around<'_>) -> Step {
        let Some(LogJob::SnapshotSaved(record)) = self.to_log.pop_front() else { return Ok(String::new()) };
        self.wal.save_own_snapshot(&record).map_err(died("record snapshot"))?;
        self.snapshots_saved += 1;
        self.let_go(around);
        Ok(format!("the record of snapshot {} is there", record.index))
    }

    fn let_go(&mut self, around: &mut Around<'_>) {
        if let Some(index) = self.wal.release() {
            self.to_node.push_back(Input::SnapshotSaved { index });
            self.past.jobs.push_back(SnapJob::LetGo(index));
            around.shadow.forget(index);
        }
    }

    /// A snapshot from a leader: its database has to be on disk before the node hears of it.
    pub(super) fn receive(&mut self) -> Step {
        let Some((message, db)) = self.incoming.pop_front() else { return Ok(String::new()) };
        let index = message.snapshot.as_ref().map(|snapshot| snapshot.index).unwrap_or_default();
        let dir = Path::new(SNAP_DIR);
        let unfinished = dir.join("tmp-received");
        let save = || {
            let file = self.disk.open(&unfinished, Open::truncate(0o600))?;
            file.write_at(&db, 0)?;
            if self.mutation != Some(Mutation::ReceivedUnsynced) {
                file.sync()?;
            }
            self.disk.rename(&unfinished, &dir.join(wal::snap::received_db_name(index)))?;
            self.disk.sync_dir(dir)
        };
        let saved: std::io::Result<()> = save();
        saved.map_err(died("receive"))?;
        self.out.push(Outgoing::Received(message.from.0));
        self.to_node.push_back(Input::Message(message));
        Ok(format!("received a snapshot at {index} with {} bytes", db.len()))
    }

    /// The end in good order, one thread after the other: nothing new, all files written, the log closed, the buffer
    /// committed.
    pub fn stop(mut self, around: &mut Around<'_>) -> Result<(), Halt> {
        self.node.step(Input::Stop);
        if let Some(persist) = self.node.take_output().persist {
            around.shadow.asked(&persist);
            self.to_log.push_back(LogJob::Persist(persist));
        }
        while !self.past.jobs.is_empty() {
            self.snap()?;
        }
        while self.can_write() {
            self.write(around)?;
        }
        while let Some(LogJob::SnapshotSaved(record)) = self.to_log.pop_front() {
            self.wal.save_own_snapshot(&record).map_err(died("record snapshot"))?;
        }
        self.wal.close().map_err(died("close"))?;
        self.store.commit().map_err(died("commit"))
    }
}
