//! Logs exchanged with Go etcd, both ways. Runs only if `ETCD_GO` names its `etcd`, or the directory of it and `etcdctl`.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use disk::{Disk, OsDisk};
use prost::Message;
use proto::raftpb;
use raft::{Entry, HardState, Index};
use wal::{Kind, Options, Replay, SnapshotRecord, Wal, codec, snap};

/// Go etcd as one member on a data directory; killed when dropped.
struct Etcd {
    programs: PathBuf,
    endpoint: String,
    process: Child,
}

impl Etcd {
    fn start(programs: &Path, data: &Path) -> Etcd {
        let [client, peer] = [(); 2].map(|()| {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}", free.local_addr().unwrap())
        });
        let process = Command::new(programs.join("etcd"))
            .env_remove("ETCD_GO")
            .arg("--data-dir")
            .arg(data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(["--snapshot-count", "20", "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let etcd = Etcd { programs: programs.to_owned(), endpoint: client, process };
        let healthy = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            etcd.ctl(&["endpoint", "health"]).is_some()
        });
        assert!(healthy, "etcd does not start on {}", data.display());
        etcd
    }

    fn ctl(&self, args: &[&str]) -> Option<String> {
        let mut command = Command::new(self.programs.join("etcdctl"));
        let output =
            command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint]).args(args).output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8(output.stdout).unwrap())
    }

    fn put(&self, keys: std::ops::Range<u32>) {
        for key in keys {
            self.ctl(&["put", &format!("key{key:03}"), &"v".repeat(key as usize * 10 + 1)]).expect("put");
        }
    }

    fn check(&self, keys: std::ops::Range<u32>) {
        for key in keys {
            let name = format!("key{key:03}");
            let value = self.ctl(&["get", &name, "--print-value-only"]).expect("get");
            assert_eq!(value.trim_end().len(), key as usize * 10 + 1, "{name}");
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn open(disk: &Arc<dyn Disk>, dir: &Path) -> (Wal, Replay, Vec<SnapshotRecord>) {
    let snapshots = wal::snapshot_records(&**disk, dir).unwrap();
    let start = snapshots.last().unwrap();
    assert_eq!(Wal::read(&**disk, dir, start).unwrap().entries.len(), {
        let (_, replay) = Wal::open(disk.clone(), dir, start, Options::default()).unwrap();
        replay.entries.len()
    });
    let (wal, replay) = Wal::open(disk.clone(), dir, start, Options::default()).unwrap();
    (wal, replay, snapshots)
}

/// Writes the log anew, record by record, in small segments.
fn rewrite(disk: &Arc<dyn Disk>, dir: &Path, snapshots: &[SnapshotRecord]) {
    let mut records = Vec::new();
    wal::records(&**disk, dir, |record| records.push(record)).unwrap();
    disk.rename(dir, &dir.with_extension("go")).unwrap();
    let options = Options { segment_bytes: 4096 };
    let mut wal = Wal::create(disk.clone(), dir, &records[1].data, options).unwrap();
    let mut state = HardState::default();
    for record in records {
        match record.kind {
            Kind::Entry => {
                let entry = codec::entry_from_proto(raftpb::Entry::decode(record.data).unwrap()).unwrap();
                wal.append(None, &[entry]).unwrap();
            }
            Kind::State => {
                state = codec::hard_state_from_proto(&raftpb::HardState::decode(record.data).unwrap());
                wal.append(Some(&state), &[]).unwrap();
            }
            Kind::Snapshot => {
                let index = proto::walpb::Snapshot::decode(record.data).unwrap().index.unwrap_or(0);
                if index > 0 {
                    let snapshot = snapshots.iter().find(|found| found.index.0 == index).unwrap();
                    wal.save_snapshot(snapshot).unwrap();
                }
            }
            Kind::Crc | Kind::Metadata => {}
        }
    }
    wal.append(Some(&state), &[]).unwrap();
    wal.close().unwrap();
}

#[test]
fn logs_are_exchanged_with_go_etcd() {
    let Some(programs) = std::env::var_os("ETCD_GO").map(PathBuf::from) else { return };
    let programs = if programs.is_file() { programs.with_file_name("") } else { programs };
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let (dir, snap_dir) = (data.join("member/wal"), data.join("member/snap"));
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);

    let etcd = Etcd::start(&programs, &data);
    etcd.put(0..50);
    let locked = Wal::open(disk.clone(), &dir, &SnapshotRecord::default(), Options::default());
    assert!(matches!(locked, Err(wal::Error::Locked { .. })), "a running etcd keeps us out");
    drop(etcd); // kill -9

    let (mut wal, replay, snapshots) = open(&disk, &dir);
    let last = replay.entries.last().unwrap().clone();
    println!("{} snapshots, entries up to {}, {:?}", snapshots.len(), last.index, replay.hard_state);
    assert!(snapshots.len() > 1 && last.index >= Index(50));
    let snapshot = snap::load_newest(&*disk, &snap_dir, &snapshots).unwrap().expect("a .snap file");
    assert_eq!(Some(&snapshot.conf_state), snapshots.last().unwrap().conf_state.as_ref());
    assert_eq!(snapshot.data[0], b'{');
    println!(".snap at {}: {:?}, {} bytes", snapshot.index, snapshot.conf_state, snapshot.data.len());

    // We go on where Go stopped, and Go where we stop.
    let no_op = Entry { term: last.term, index: last.index.next(), ..Entry::default() };
    let state = HardState { commit: no_op.index, ..replay.hard_state };
    wal.append(Some(&state), &[no_op]).unwrap();
    wal.close().unwrap();
    let etcd = Etcd::start(&programs, &data);
    etcd.check(0..50);
    etcd.put(50..60);
    drop(etcd);

    // A log all of our own, in many segments.
    let (wal, _, snapshots) = open(&disk, &dir);
    drop(wal);
    rewrite(&disk, &dir, &snapshots);
    assert!(disk.list(&dir).unwrap().len() > 3);
    let path =
        snap::save(&*disk, &snap_dir, &snap::load_newest(&*disk, &snap_dir, &snapshots).unwrap().unwrap());
    println!("rewrote {}", path.unwrap().display());
    let etcd = Etcd::start(&programs, &data);
    etcd.check(0..60);
    etcd.put(60..70);
    drop(etcd);
    let (_, replay, _) = open(&disk, &dir);
    assert!(replay.entries.last().unwrap().index >= Index(70));
}
