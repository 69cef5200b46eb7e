//! The WAL thread, and the handler that takes snapshots in.

use std::path::Path;

use disk::{Disk, Open};
use node::Input;
use raft::{MemberId, Snapshot};
use wal::{SnapshotRecord, Wal};

use super::{Around, Halt, Outgoing, Process, Step, Unsynced, died};
use crate::Mutation;
use crate::boot::{SNAP_DIR, WAL_DIR};
use crate::shadow::Shadow;

/// Segments and `.snap` files kept.
const KEEP: usize = 2;

impl Process {
    /// First half: some of what waits is appended.
    pub(super) fn write(&mut self, around: &mut Around<'_>) -> Step {
        let count = 1 + around.chance.below(self.to_wal.len() as u64) as usize;
        for mut persist in self.to_wal.drain(..count).collect::<Vec<_>>() {
            match (self.mutation, &mut persist.hard_state) {
                (Some(Mutation::HardStateForgotten), hard_state) => *hard_state = None,
                (Some(Mutation::VoteForgotten), Some(hard_state)) => hard_state.vote = MemberId::NONE,
                _ => {}
            }
            if let Some(snapshot) = &persist.snapshot {
                self.save_snapshot(snapshot)?;
            }
            self.wal.append(persist.hard_state.as_ref(), &persist.entries).map_err(died("append"))?;
            self.unsynced.seq = Some(persist.seq);
            self.unsynced.must_sync |= persist.must_sync;
            self.unsynced.send.extend(persist.send);
        }
        if matches!(self.mutation, Some(Mutation::AcknowledgedBeforeSync | Mutation::CommittedBeforeSync))
            && let Some(seq) = self.unsynced.seq
        {
            self.written(seq, around)?;
        }
        Ok(format!("append {count}"))
    }

    /// Second half.
    pub(super) fn sync(&mut self, around: &mut Around<'_>) -> Step {
        let must_sync = self.unsynced.must_sync;
        if must_sync {
            self.wal.sync().map_err(died("sync"))?;
        }
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

    pub(super) fn save_next_snapshot(&mut self, around: &mut Around<'_>) -> Step {
        let Some(snapshot) = self.snapshots.pop_front() else { return Ok(String::new()) };
        let said = self.save_snapshot(&snapshot)?;
        // A failure is only logged in the server.
        let _ = wal::snap::remove_received_below(&self.disk, Path::new(SNAP_DIR), snapshot.index);
        around.shadow.forget(snapshot.index);
        Ok(said)
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Step {
        wal::snap::save(&self.disk, Path::new(SNAP_DIR), snapshot).map_err(died("save snapshot"))?;
        let Snapshot { index, term, ref conf_state, .. } = *snapshot;
        let record = SnapshotRecord { index, term, conf_state: Some(conf_state.clone()) };
        self.wal.save_snapshot(&record).map_err(died("record snapshot"))?;
        self.wal.release(index).map_err(died("release"))?;
        self.to_node.push_back(Input::SnapshotSaved { index });
        self.snapshots_saved += 1;
        // As in the server, a failure here is only logged.
        let wals = Wal::purge(&self.disk, Path::new(WAL_DIR), KEEP);
        let snaps = wal::snap::purge(&self.disk, Path::new(SNAP_DIR), KEEP);
        Ok(format!("snapshot at {index} saved, purged {wals:?} {snaps:?}"))
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

    /// The end in good order: nothing new, the buffer committed, the log closed.
    pub fn stop(mut self, shadow: &mut Shadow) -> Result<(), Halt> {
        self.node.step(Input::Stop);
        if let Some(persist) = self.node.take_output().persist {
            shadow.asked(&persist);
            self.to_wal.push_back(persist);
        }
        for persist in std::mem::take(&mut self.to_wal) {
            if let Some(snapshot) = &persist.snapshot {
                self.save_snapshot(snapshot)?;
            }
            self.wal.append(persist.hard_state.as_ref(), &persist.entries).map_err(died("append"))?;
        }
        self.store.commit().map_err(died("commit"))?;
        self.wal.close().map_err(died("close"))
    }
}
