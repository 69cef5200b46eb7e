//! What a directory of etcd 3.5 needs: its members are kept in the v2 store, and its log may hold v2 requests.

use std::collections::BTreeSet;

use ::raft::{ConfChangeKind, ConfState, Entry, EntryKind, Index, MemberId};
use disk::Disk;
use prost::Message as _;
use proto::{etcdserverpb as pb, raftpb};
use store::{Members, Store, Version};
use wal::{SnapshotRecord, codec};

use super::{Error, conf_state};
use crate::config::Config;

/// A directory of 3.5 may hold stale member records: the truth is in the v2 blob of its newest .snap (formats 3.7).
pub(super) fn seed_from_v2(
    disk: &dyn Disk,
    config: &Config,
    store: &mut Store,
    records: &[SnapshotRecord],
    entries: &[Entry],
) -> Result<bool, Error> {
    if store.reader().storage_version() != Some(Version::V3_5) || store.consistent_index() == 0 {
        return Ok(false);
    }
    let newest = records.last().map_or(Index(0), |record| record.index);
    let snapshot = wal::snap::load_newest(disk, &config.snap_path(), records)?;
    let blob = match snapshot.filter(|snapshot| snapshot.index == newest && !snapshot.data.is_empty()) {
        Some(snapshot) => snapshot.data,
        // The log is there from its beginning, and so are all conf changes.
        None if newest == Index(0) => store::v2::encode(&Members::default()),
        // The file is lost: the database will do if it has the members that the log says there are.
        None => {
            let record = records.last().and_then(|record| record.conf_state.as_ref());
            return check_members(store, record, entries).map(|()| false);
        }
    };
    store.seed_members(&blob)?;
    Ok(true)
}

/// Entries the database already includes, once more for the membership alone.
pub(super) fn roll_forward(store: &mut Store, entries: &[Entry]) -> Result<(), Error> {
    let consistent = store.consistent_index();
    for entry in entries.iter().take_while(|e| e.index.0 <= consistent) {
        match entry.kind {
            EntryKind::ConfChange => {
                let change = raftpb::ConfChange::decode(entry.data.clone()).map_err(|error| {
                    Error::Damaged(format!("conf change at index {}: {error}", entry.index))
                })?;
                store.apply_conf_change(entry.index.0, entry.term.0, &change);
            }
            _ => {
                store.apply(
                    store::Entry { index: entry.index.0, term: entry.term.0, data: &entry.data },
                    false,
                );
            }
        }
    }
    Ok(())
}

/// A bare request of the v2 store, as 3.5 writes them: 3.7 dies of it (formats 4.3).
pub(super) fn is_v2_request(entry: &Entry) -> bool {
    entry.kind == EntryKind::Normal
        && !entry.data.is_empty()
        && pb::InternalRaftRequest::decode(entry.data.clone())
            .map_or(true, |request| request.header.is_none() && request.id == 0)
}

/// Compares the members in the database with those of the newest snapshot record and the conf changes since.
fn check_members(store: &Store, record: Option<&ConfState>, entries: &[Entry]) -> Result<(), Error> {
    let refused = |why: &str| {
        Err(Error::Damaged(format!(
            "the newest snapshot file (member/snap/*.snap) is missing or damaged, and {why}: put it back from a backup, \
             or restore the member from a database snapshot"
        )))
    };
    let Some(record) = record else { return refused("the log does not say who the members were") };
    let in_store = conf_state(store);
    let sets = |state: &ConfState| -> (BTreeSet<MemberId>, BTreeSet<MemberId>) {
        (state.voters.iter().copied().collect(), state.learners.iter().copied().collect())
    };
    let (mut voters, mut learners) = sets(record);
    let consistent = store.consistent_index();
    let changes = entries.iter().filter(|e| e.kind == EntryKind::ConfChange && e.index.0 <= consistent);
    let changes: Vec<_> = changes
        .map(|entry| {
            codec::decode_conf_change(entry.data.clone())
                .map_err(|error| Error::Damaged(format!("conf change at index {}: {error}", entry.index)))
        })
        .collect::<Result<_, _>>()?;
    let stored = sets(&in_store);
    let removed = |id| changes.iter().any(|c| c.kind == ConfChangeKind::RemoveNode && c.node_id == id);
    for change in &changes {
        let id = change.node_id;
        let adds = matches!(change.kind, ConfChangeKind::AddNode | ConfChangeKind::AddLearnerNode);
        if adds && !stored.0.contains(&id) && !stored.1.contains(&id) && !removed(id) {
            // Apply refused it, as it does a URL that is taken or a learner too many.
            continue;
        }
        match change.kind {
            ConfChangeKind::AddNode => {
                learners.remove(&id);
                voters.insert(id);
            }
            ConfChangeKind::AddLearnerNode => {
                learners.insert(id);
            }
            ConfChangeKind::RemoveNode => {
                voters.remove(&id);
                learners.remove(&id);
            }
            ConfChangeKind::UpdateNode => {}
        }
    }
    if stored == (voters, learners) {
        return Ok(());
    }
    refused("the members in the database are not those of the log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::tests::{fresh, start};
    use crate::bootstrap::{Booted, boot};
    use ::raft::{HardState, Term};
    use backend::Bucket;
    use disk::MemDisk;
    use std::sync::Arc;

    const LEARNER: u64 = 5;

    fn learner() -> store::Member {
        store::Member {
            id: LEARNER,
            peer_urls: vec!["http://localhost:2480".into()],
            is_learner: true,
            ..Default::default()
        }
    }

    /// A directory in which a learner was added and promoted, as entries 2 and 3.
    fn promoted(disk: &MemDisk) -> Booted {
        let mut booted = start(disk);
        let added = store::ConfChangeContext { member: learner(), is_promote: false };
        let promoted = store::ConfChangeContext {
            member: store::Member { id: LEARNER, ..Default::default() },
            is_promote: true,
        };
        let changes = [
            (ConfChangeKind::AddLearnerNode, added.to_json()),
            (ConfChangeKind::AddNode, promoted.to_json()),
        ];
        let mut entries = booted.restored.entries.clone();
        for (kind, context) in changes {
            let index = Index(entries.len() as u64 + 1);
            let change =
                ::raft::ConfChange { id: 0, kind, node_id: MemberId(LEARNER), context: context.into() };
            let data = codec::encode_conf_change(&change);
            entries.push(Entry { term: Term(1), index, kind: EntryKind::ConfChange, data });
        }
        let state = HardState { term: Term(1), vote: MemberId::NONE, commit: Index(3) };
        booted.wal.append(Some(&state), &entries[1..]).unwrap();
        booted.wal.sync().unwrap();
        for entry in &entries {
            let change = raftpb::ConfChange::decode(entry.data.clone()).unwrap();
            booted.store.apply_conf_change(entry.index.0, 1, &change).result.unwrap();
        }
        booted.store.commit().unwrap();
        booted
    }

    /// As 3.5.1 leaves it: the record of the learner, never overwritten.
    fn make_stale(booted: Booted) {
        let mut backend = booted.store.into_backend();
        backend.put(Bucket::Members, LEARNER.to_string().into(), learner().to_json().into());
        backend.commit().unwrap();
    }

    fn again(disk: &MemDisk) -> Result<Booted, Error> {
        boot(&(Arc::new(disk.clone()) as Arc<dyn Disk>), &fresh(), None)
    }

    #[test]
    fn members_of_an_etcd_3_5_that_took_no_snapshot_are_read_from_the_log() {
        let disk = MemDisk::new(0);
        make_stale(promoted(&disk));
        let again = again(&disk).unwrap();
        assert!(!again.store.members().list[&LEARNER].is_learner);
        assert_eq!(again.restored.conf_state.voters.len(), 2);
    }

    #[test]
    fn with_the_snapshot_file_lost_members_must_be_those_of_the_log() {
        for at in [2, 3] {
            for stale in [false, true] {
                let disk = MemDisk::new(0);
                let mut booted = promoted(&disk);
                let (own, learner) = (MemberId(booted.member_id), MemberId(LEARNER));
                let conf_state = match at {
                    2 => ConfState { voters: vec![own], learners: vec![learner], ..ConfState::default() },
                    _ => ConfState { voters: vec![own, learner], ..ConfState::default() },
                };
                let record = SnapshotRecord { index: Index(at), term: Term(1), conf_state: Some(conf_state) };
                booted.wal.save_snapshot(&record).unwrap();
                if stale {
                    make_stale(booted)
                } else {
                    drop(booted)
                }
                match again(&disk) {
                    Ok(booted) => assert!(!stale && booted.restored.conf_state.voters.len() == 2),
                    Err(error) => assert!(stale && error.to_string().contains("snapshot file"), "{error}"),
                }
            }
        }
    }
}
