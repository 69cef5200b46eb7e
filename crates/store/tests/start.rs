//! Starting from files of other versions, and what a start refuses.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use disk::MemDisk;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::raftpb;
use store::{Entry, Error, Member, Options, Version, v2};
use support::{Logged, Machine, contents, open, replay};

fn add(id: u64, url: &str, is_learner: bool) -> raftpb::ConfChange {
    use raftpb::ConfChangeType as Type;
    let member = Member { id, peer_urls: vec![url.to_owned()], is_learner, ..Member::default() };
    let kind = if is_learner { Type::ConfChangeAddLearnerNode } else { Type::ConfChangeAddNode };
    raftpb::ConfChange {
        id: Some(id),
        r#type: Some(kind.into()),
        node_id: Some(id),
        context: Some(member.to_json().into()),
    }
}

fn publish_v2(id: u64) -> bytes::Bytes {
    let request = pb::Request {
        id: Some(1),
        method: Some("PUT".into()),
        path: Some(format!("/0/members/{id:x}/attributes")),
        val: Some(format!(r#"{{"name":"m{id}","clientURLs":["http://c{id}:1"]}}"#)),
        ..Default::default()
    };
    request.encode_to_vec().into()
}

/// A directory as 3.5.1 leaves it: the log is applied, but the bucket holds each member as it was first inserted.
fn stale_directory() -> (MemDisk, Vec<Logged>, bytes::Bytes) {
    let mut machine = Machine::new(Options::default());
    machine.conf_change(&add(1, "http://a:1", false));
    machine.apply(publish_v2(1), false);
    machine.conf_change(&add(2, "http://b:1", true));
    // The .snap file was taken here.
    let blob = machine.store().snapshot_data();
    machine.apply(publish_v2(2), false);
    let promoted = raftpb::ConfChange {
        context: Some(br#"{"id":2,"peerURLs":null,"isPromote":true}"#.as_slice().into()),
        ..add(2, "", false)
    };
    machine.conf_change(&promoted);
    machine.conf_change(&add(3, "http://c:1", true));
    machine.store().commit().unwrap();
    let mut backend = machine.store.take().unwrap().into_backend();
    let stale = br#"{"id":2,"peerURLs":["http://b:1"],"isLearner":true}"#.as_slice();
    backend.put(backend::Bucket::Members, "2".into(), stale.into());
    backend.put(backend::Bucket::Members, "63".into(), br#"{"id":99,"peerURLs":null}"#.as_slice().into());
    backend.commit().unwrap();
    (machine.disk, machine.log, blob)
}

#[test]
fn the_members_of_a_3_5_directory_come_from_the_snapshot_and_the_entries_after_it() {
    let (disk, log, blob) = stale_directory();
    let mut store = open(&disk, &Options::default()).unwrap();
    assert_eq!(store.reader().storage_version(), Some(Version::V3_5));
    assert!(store.members().list[&2].is_learner, "the bucket is stale");
    store.seed_members(&blob).unwrap();
    assert_eq!(store.members().conf_state().voters, [1]);
    assert_eq!(store.members().conf_state().learners, [2]);
    assert_eq!(store.members().list[&1].name, "m1");

    // Entries after the snapshot, all of them below the consistent index.
    for (i, logged) in log.iter().enumerate().skip(3) {
        let (index, term) = (i as u64 + 1, 2);
        match logged {
            Logged::Normal(data) => assert!(store.apply(Entry { index, term, data }, false).is_replay),
            Logged::Conf(change) => {
                let outcome = store.apply_conf_change(index, term, change);
                assert!(outcome.is_replay && outcome.to_raft && outcome.result.is_ok());
            }
        }
    }
    let members = store.members().clone();
    assert_eq!(members.conf_state().voters, [1, 2]);
    assert_eq!(members.conf_state().learners, [3]);
    assert_eq!(members.list[&2].name, "m2");

    // The first new entry makes it the buckets' truth too.
    let index = log.len() as u64 + 1;
    store.apply(Entry { index, term: 3, data: &bytes::Bytes::new() }, false);
    store.commit().unwrap();
    drop(store);
    let store = open(&disk, &Options::default()).unwrap();
    assert_eq!(store.members(), &members);
}

#[test]
fn replayed_conf_changes_do_not_reach_raft_or_the_file_again() {
    let mut machine = Machine::new(Options::default());
    machine.conf_change(&add(1, "http://a:1", false));
    machine.conf_change(&add(2, "http://b:1", false));
    machine.store().commit().unwrap();
    let before = contents(machine.store());
    drop(machine.store.take());
    let mut store = open(&machine.disk, &machine.options).unwrap();
    let outcome = store.apply_conf_change(1, 2, &add(1, "http://a:1", false));
    assert!(outcome.is_replay && !outcome.to_raft && outcome.change.is_none());
    assert_eq!(outcome.result.unwrap().len(), 2);
    replay(&mut store, &machine.log, 2);
    assert_eq!(contents(&store), before);
    assert_eq!(store.pending_ops(), 0);
}

#[test]
fn a_conf_change_that_cannot_be_read_leaves_the_consistent_index_before_it() {
    let mut machine = Machine::new(Options::default());
    machine.conf_change(&add(1, "http://a:1", false));
    let broken = raftpb::ConfChange { context: Some("{".into()), ..add(2, "http://b:1", false) };
    let index = machine.store().consistent_index();
    let outcome = machine.store().apply_conf_change(index + 1, 2, &broken);
    assert!(outcome.result.is_err_and(|error| error.is_fatal()));
    assert_eq!(machine.store().consistent_index(), index);
}

#[test]
fn files_of_versions_this_member_cannot_read_are_refused() {
    let disk = MemDisk::new(1);
    let store = open(&disk, &Options::default()).unwrap();
    let mut backend = store.into_backend();
    let version = |backend: &mut backend::Backend, text: &'static str| {
        backend.put(backend::Bucket::Meta, "storageVersion".into(), text.into());
        backend.commit().unwrap();
    };
    version(&mut backend, "3.8.0");
    drop(backend);
    let refused = open(&disk, &Options::default()).err().unwrap();
    assert_eq!(refused.to_string(), "version \"3.8.0\" is not supported");

    let disk = MemDisk::new(1);
    let mut backend = open(&disk, &Options::default()).unwrap().into_backend();
    version(&mut backend, "3.7.0");
    drop(backend);
    assert!(open(&disk, &Options::default()).is_ok());
    let held_down = Options { emulated_version: Version::V3_6, ..Options::default() };
    assert!(matches!(open(&disk, &held_down), Err(Error::UnsupportedStorageVersion(Version::V3_7))));
}

#[test]
fn damaged_records_are_refused_with_their_place() {
    use backend::Bucket;
    let damages: [(Bucket, &str, &str); 9] = [
        (Bucket::Meta, "consistent_index", "short"),
        (Bucket::Members, "xyz", "{}"),
        (Bucket::Members, "5", "{"),
        (Bucket::MembersRemoved, "-", "removed"),
        (Bucket::Cluster, "clusterVersion", "three"),
        (Bucket::Cluster, "downgrade", "["),
        (Bucket::Lease, "short", ""),
        (Bucket::AuthUsers, "u", "\u{8}"),
        (Bucket::Alarm, "\u{8}", ""),
    ];
    for (bucket, key, value) in damages {
        let disk = MemDisk::new(1);
        let mut backend = open(&disk, &Options::default()).unwrap().into_backend();
        backend.put(bucket, key.into(), value.into());
        backend.commit().unwrap();
        drop(backend);
        match open(&disk, &Options::default()) {
            Err(Error::Damaged { bucket: named, .. }) => assert_eq!(named, bucket.name()),
            other => panic!("{} {key}: {:?}", bucket.name(), other.err()),
        }
    }
    assert!(v2::decode(b"not json").is_err());
}

#[test]
fn the_position_of_a_fresh_file_is_zero_and_never_written() {
    let disk = MemDisk::new(1);
    let mut store = open(&disk, &Options::default()).unwrap();
    assert_eq!((store.consistent_index(), store.consistent_term()), (0, 0));
    store.commit().unwrap();
    let meta = contents(&store).into_iter().filter(|line| line.starts_with("meta/")).count();
    assert_eq!(meta, 0);
    assert!(!store.seal());
    store.apply(Entry { index: 5, term: 3, data: &bytes::Bytes::new() }, false);
    store.commit().unwrap();
    drop(store);
    let store = open(&disk, &Options::default()).unwrap();
    assert_eq!((store.consistent_index(), store.consistent_term()), (5, 3));
    assert_eq!(store.reader().applied_index(), 5);
    assert_eq!(store.reader().applied_term(), 0);
}
