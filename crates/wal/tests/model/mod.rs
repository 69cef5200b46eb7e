//! A log in memory, to hold the real one against: what was appended, how much of it was acknowledged, and a script of
//! random steps as a server would take them.
#![allow(dead_code, clippy::unwrap_used)] // not every test uses all of it

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use disk::Disk;
use raft::{ConfState, Entry, EntryKind, HardState, Index, MemberId, Term};
use wal::{Error, Options, Replay, SnapshotRecord, Wal};

pub const DIR: &str = "/member/wal";
pub const METADATA: &[u8] = b"\x08\x01\x10\x02";

/// splitmix64
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[derive(Clone, Debug)]
pub enum Record {
    Entry(Entry),
    State(HardState),
    Snapshot(SnapshotRecord),
}

/// All records appended, in order; the first `acknowledged` of them were synced.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub records: Vec<Record>,
    pub acknowledged: usize,
    /// The log was created, and that is durable.
    pub created: bool,
}

impl Model {
    /// What a reader must find if just the first `count` records are there.
    pub fn replay(&self, count: usize, start: &SnapshotRecord) -> Replay {
        let mut replay = Replay { metadata: METADATA.into(), snapshot: start.clone(), ..Replay::default() };
        for record in &self.records[..count] {
            match record {
                Record::Entry(entry) if entry.index > start.index => {
                    replay.entries.truncate((entry.index.0 - start.index.0 - 1) as usize);
                    replay.entries.push(entry.clone());
                }
                Record::Entry(_) => replay.entries.clear(),
                Record::State(state) => replay.hard_state = *state,
                _ => {}
            }
        }
        replay
    }

    /// The snapshots a reader must find valid if just the first `count` records are there.
    pub fn snapshots(&self, count: usize) -> Vec<SnapshotRecord> {
        let committed = self.replay(count, &SnapshotRecord::default()).hard_state.commit;
        let mut found = vec![SnapshotRecord::default()];
        found.extend(self.records[..count].iter().filter_map(|record| match record {
            Record::Snapshot(record) if record.index <= committed => Some(record.clone()),
            _ => None,
        }));
        found
    }

    fn all(&self) -> Replay {
        self.replay(self.records.len(), &SnapshotRecord::default())
    }
}

pub fn entry(index: u64, term: u64, data: Vec<u8>) -> Entry {
    Entry { term: Term(term), index: Index(index), kind: EntryKind::Normal, data: Bytes::from(data) }
}

fn random_entries(chance: &mut Chance, model: &Model) -> Vec<Entry> {
    let all = model.all();
    let (commit, last) = (all.hard_state.commit.0, all.entries.len() as u64);
    let term = all.hard_state.term.0.max(1);
    // Now and then what is not committed is overwritten.
    let mut index = if chance.below(4) == 0 { commit + chance.below(last - commit + 1) } else { last };
    let count = 1 + chance.below(4);
    (0..count)
        .map(|_| {
            index += 1;
            let len = [0, 3, 100, 600, 1500][chance.below(5) as usize] + chance.below(9);
            let zeros = chance.below(4) == 0;
            let data = (0..len).map(|_| if zeros { 0 } else { 1 + chance.below(255) as u8 }).collect();
            entry(index, term, data)
        })
        .collect()
}

fn random_state(chance: &mut Chance, model: &Model, entries: &[Entry]) -> Option<HardState> {
    let all = model.all();
    let last = entries.last().map_or(all.entries.len() as u64, |entry| entry.index.0);
    let mut state = all.hard_state;
    match chance.below(4) {
        0 => return (state != HardState::default()).then_some(state),
        1 => {
            state.term = Term(state.term.0 + 1 + chance.below(2));
            state.vote = MemberId(chance.below(3));
        }
        _ => {}
    }
    state.term = state.term.max(Term(1));
    state.commit = Index(state.commit.0 + chance.below(last - state.commit.0 + 1));
    Some(state)
}

fn append(chance: &mut Chance, wal: &mut Wal, model: &mut Model) -> Result<(), Error> {
    let entries = if chance.below(5) == 0 { Vec::new() } else { random_entries(chance, model) };
    let state = random_state(chance, model, &entries);
    // Noted first: what was being written when the power went may be found.
    model.records.extend(entries.iter().cloned().map(Record::Entry));
    model.records.extend(state.map(Record::State));
    wal.append(state.as_ref(), &entries)
}

fn sync(wal: &mut Wal, model: &mut Model) -> Result<(), Error> {
    wal.sync()?;
    model.acknowledged = model.records.len();
    Ok(())
}

fn snapshot(chance: &mut Chance, disk: &dyn Disk, wal: &mut Wal, model: &mut Model) -> Result<(), Error> {
    let all = model.all();
    let index = all.hard_state.commit;
    let Some(entry) = index.0.checked_sub(1).and_then(|at| all.entries.get(at as usize)) else {
        return Ok(());
    };
    let conf_state = ConfState { voters: vec![MemberId(1), MemberId(2)], ..ConfState::default() };
    let record = SnapshotRecord { index, term: entry.term, conf_state: Some(conf_state) };
    model.records.push(Record::Snapshot(record.clone()));
    wal.save_snapshot(&record)?;
    model.acknowledged = model.records.len();
    if chance.below(2) == 0 {
        wal.release();
        Wal::purge(disk, Path::new(DIR), 2)?;
    }
    Ok(())
}

/// Opens the log, or creates it, and takes `steps` random steps, noting in `model` what was done and acknowledged.
pub fn run(
    disk: &Arc<dyn Disk>,
    options: Options,
    steps: u64,
    chance: &mut Chance,
    model: &mut Model,
) -> Result<(), Error> {
    let dir = Path::new(DIR);
    let mut wal = if Wal::exists(&**disk, dir) {
        let start = wal::snapshot_records(&**disk, dir)?.pop().unwrap_or_default();
        Wal::open(disk.clone(), dir, &start, options)?.0
    } else {
        Wal::create(disk.clone(), dir, METADATA, options)?
    };
    model.created = true;
    for _ in 0..steps {
        match chance.below(10) {
            0..=4 => append(chance, &mut wal, model)?,
            5..=8 => sync(&mut wal, model)?,
            _ => snapshot(chance, &**disk, &mut wal, model)?,
        }
    }
    sync(&mut wal, model)
}

/// Opens what a crash left and checks that it is what was appended: all that was acknowledged, then perhaps more, in
/// order. Forgets the rest and goes on from there.
pub fn check(disk: &Arc<dyn Disk>, options: Options, model: &mut Model) -> Result<(), Error> {
    let dir = Path::new(DIR);
    if !Wal::exists(&**disk, dir) {
        assert!(!model.created, "the log is gone");
        return Ok(());
    }
    let snapshots = wal::snapshot_records(&**disk, dir)?;
    let start = snapshots.last().expect("there is always one").clone();
    let read = Wal::read(&**disk, dir, &start)?;
    let (wal, replay) = Wal::open(disk.clone(), dir, &start, options)?;
    drop(wal);
    assert_eq!(read, replay, "reading and opening agree");
    // Segments that begin before the oldest one kept are purged, with the snapshots they told of.
    let found = (model.acknowledged..=model.records.len()).find(|count| {
        model.replay(*count, &start) == replay && model.snapshots(*count).ends_with(&snapshots)
    });
    let Some(count) = found else {
        let acknowledged = model.replay(model.acknowledged, &start);
        panic!("found {}\nacknowledged {}\nsnapshots {snapshots:?}", brief(&replay), brief(&acknowledged));
    };
    model.records.truncate(count);
    model.acknowledged = count;
    Ok(())
}

fn brief(replay: &Replay) -> String {
    let entries: Vec<_> =
        replay.entries.iter().map(|entry| (entry.index.0, entry.term.0, entry.data.len())).collect();
    format!("{:?}, index, term and length of entries {entries:?}", replay.hard_state)
}
