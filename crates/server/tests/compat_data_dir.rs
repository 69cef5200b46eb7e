//! A data directory goes from Go etcd to Balsa and back, each killed while writing, and nothing is lost or changed.
mod harness;
use etcd_client::{Client, CompactionOptions, DeleteOptions, GetOptions, LeaseGrantOptions, PutOptions};
use harness::{Member, Ports, Reference, balsa, reference, run, wheel};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// What a server says about a data directory.
#[derive(Debug, PartialEq)]
struct Facts {
    revision: i64,
    hash: u32,
    compact_revision: i64,
    keys: i64,
    /// CRC-32C over every key, value, lease and revision of `get / --prefix`, in order.
    contents: u32,
    leases: Vec<(i64, i64)>,
}

fn keys_written() -> usize {
    if std::env::var_os("BALSA_LONG").is_some() { 300_000 } else { 100_000 }
}

fn key(i: usize) -> String {
    format!("/registry/pods/namespace-{:03}/pod-{i:07}", i % 100)
}

/// Puts, deletes, leases and compactions in the shape Kubernetes gives them.
async fn fill(endpoint: &str, from: usize, count: usize) {
    let client = Client::connect([endpoint], None).await.expect("connect");
    let mut leases = client.clone();
    let base = 1_000_000 + from as i64;
    for lease in 0..50 {
        let options = LeaseGrantOptions::new().with_id(base + lease);
        leases.lease_grant(100_000, Some(options)).await.expect("grant");
    }
    let writers = 64;
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let mut client = client.clone();
            tokio::spawn(async move {
                for i in (from + writer..from + count).step_by(writers) {
                    let lease = if i % 20 == 0 { base + (i % 50) as i64 } else { 0 };
                    let options = PutOptions::new().with_lease(lease);
                    client.put(key(i), vec![b'a' + (i % 26) as u8; 200], Some(options)).await.expect("put");
                    if i % 7 == 0 {
                        client.put(key(i), format!("second value of {i}"), None).await.expect("put");
                    }
                    if i % 11 == 0 {
                        client.delete(key(i), None).await.expect("delete");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("writer");
    }
    let mut client = client;
    let prefix = format!("{}{}", key(from).rsplit_once('/').expect("a path").0, "/pod-00000");
    client.delete(prefix, Some(DeleteOptions::new().with_prefix())).await.expect("delete range");
    let now = client.get("x", None).await.expect("get").header().expect("header").revision();
    client.compact(now - 1000, Some(CompactionOptions::new().with_physical())).await.expect("compact");
    client.lease_revoke(base).await.expect("revoke");
}

/// Kills the member while many writers write; returns the highest revision that was acknowledged.
async fn kill_while_writing(member: Member) -> i64 {
    let acknowledged = Arc::new(AtomicI64::new(0));
    let client = Client::connect([member.ports.endpoint()], None).await.expect("connect");
    let writers: Vec<_> = (0..32)
        .map(|writer| {
            let (mut client, acknowledged) = (client.clone(), acknowledged.clone());
            tokio::spawn(async move {
                for i in 0.. {
                    let put = client.put(format!("/registry/last/{writer:02}"), format!("{i}"), None).await;
                    let Ok(answer) = put else { return };
                    acknowledged.fetch_max(answer.header().expect("header").revision(), Ordering::SeqCst);
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(700)).await;
    member.kill();
    for writer in writers {
        writer.abort();
    }
    acknowledged.load(Ordering::SeqCst)
}

/// Starts `server` on a copy of the directory and asks.
async fn facts(server: &Path, dir: &Path, ports: Ports, more: &[String]) -> Facts {
    let copy = dir.with_extension("copy");
    let _ = std::fs::remove_dir_all(&copy);
    let copied = run(Path::new("cp"), &["-a", &dir.display().to_string(), &copy.display().to_string()], "");
    assert_eq!(copied.code, Some(0), "{}", copied.err);
    let member = Member::start(server, &copy, ports, more);
    let mut client = Client::connect([ports.endpoint()], None).await.expect("connect");
    let (mut contents, mut keys, mut next, mut revision) = (0, 0, b"/".to_vec(), 0);
    loop {
        let options = GetOptions::new().with_range("0").with_limit(5000).with_revision(revision);
        let page = client.get(next.clone(), Some(options)).await.expect("get");
        revision = if revision == 0 { page.header().expect("header").revision() } else { revision };
        for kv in page.kvs() {
            let numbers = [kv.create_revision(), kv.mod_revision(), kv.version(), kv.lease()];
            contents = crc32c::crc32c_append(contents, kv.key());
            contents = crc32c::crc32c_append(contents, kv.value());
            contents = numbers.iter().fold(contents, |crc, n| crc32c::crc32c_append(crc, &n.to_be_bytes()));
            keys += 1;
            next = [kv.key(), b"\0"].concat();
        }
        if !page.more() {
            break;
        }
    }
    let hash = client.hash_kv(revision).await.expect("hash");
    let mut leases = Vec::new();
    for lease in client.leases().await.expect("leases").leases() {
        let left = client.lease_time_to_live(lease.id(), None).await.expect("time to live");
        leases.push((lease.id(), left.granted_ttl()));
    }
    leases.sort_unstable();
    member.kill();
    Facts { revision, hash: hash.hash(), compact_revision: hash.compact_version(), keys, contents, leases }
}

/// One leg: `to` finds in the directory what `from` left there.
async fn same_under(
    from: (&Path, &[String]),
    to: (&Path, &[String]),
    dir: &Path,
    ports: Ports,
    acknowledged: i64,
) {
    let left = facts(from.0, dir, ports, from.1).await;
    assert!(left.revision >= acknowledged, "{} lost acknowledged writes", from.0.display());
    let found = facts(to.0, dir, ports, to.1).await;
    assert_eq!(found, left, "{} finds other than {} left", to.0.display(), from.0.display());
}

/// `snapshot status` by Go's etcdutl on the stopped member's db: it checks every page, too.
fn checked_by_etcdutl(tools: &Reference, dir: &Path) {
    let db = dir.join("member/snap/db");
    let printed = run(&tools.etcdutl, &["snapshot", "status", &db.display().to_string(), "-w", "json"], "");
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    assert!(String::from_utf8_lossy(&printed.out).contains("\"hash\""));
}

struct Place {
    _dir: tempfile::TempDir,
    data: PathBuf,
    ports: Ports,
}

fn place() -> Place {
    let dir = tempfile::tempdir().expect("temporary directory");
    Place { data: dir.path().join("data"), _dir: dir, ports: Ports::free() }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Runtime::new().expect("runtime").block_on(future)
}

#[test]
fn a_directory_goes_from_go_etcd_to_balsa_and_back() {
    let go = reference();
    let flags = go.emulation();
    let place = place();
    let (dir, ports, ours) = (place.data.as_path(), place.ports, balsa());
    block_on(async {
        let member = Member::start(&go.etcd, dir, ports, &["--snapshot-count=20000"]);
        fill(&ports.endpoint(), 0, keys_written()).await;
        let acknowledged = kill_while_writing(member).await;
        same_under((&go.etcd, &[]), (&ours, &flags), dir, ports, acknowledged).await;

        let member =
            Member::start(&ours, dir, ports, &[&flags[..], &["--snapshot-count=20000".into()]].concat());
        fill(&ports.endpoint(), 1_000_000, keys_written() / 4).await;
        let acknowledged = kill_while_writing(member).await;
        same_under((&ours, &flags), (&go.etcd, &[]), dir, ports, acknowledged).await;
        checked_by_etcdutl(go, dir);

        let member = Member::start(&go.etcd, dir, ports, &[] as &[&str]);
        fill(&ports.endpoint(), 2_000_000, 1000).await;
        let acknowledged = kill_while_writing(member).await;
        same_under((&go.etcd, &[]), (&ours, &flags), dir, ports, acknowledged).await;
    });
}

/// Go itself cannot jump from 3.5 to 3.7 while the log holds 3.5's own requests.
#[test]
fn a_directory_goes_from_go_3_5_through_balsa_to_the_newest_go() {
    let (old, new) = (wheel(), reference());
    let place = place();
    let (dir, ports, ours) = (place.data.as_path(), place.ports, balsa());
    block_on(async {
        let member = Member::start(&old.etcd, dir, ports, &[] as &[&str]);
        fill(&ports.endpoint(), 0, 3000).await;
        let acknowledged = kill_while_writing(member).await;
        same_under((&old.etcd, &[]), (&ours, &[]), dir, ports, acknowledged).await;

        let member = Member::start(&ours, dir, ports, &new.emulation());
        wait_for_storage_version(&ports.endpoint(), &new.version()).await;
        fill(&ports.endpoint(), 1_000_000, 3000).await;
        let acknowledged = kill_while_writing(member).await;
        same_under((&ours, &new.emulation()), (&new.etcd, &[]), dir, ports, acknowledged).await;
        checked_by_etcdutl(new, dir);
    });
}

/// The cluster version rises a few seconds after the start, and the storage version with it.
async fn wait_for_storage_version(endpoint: &str, version: &str) {
    let mut client = Client::connect([endpoint], None).await.expect("connect");
    let wanted = if version == "3.5" { String::new() } else { format!("{version}.0") };
    for _ in 0..150 {
        let status = client.status().await.expect("status");
        let storage = status.storage_version();
        if storage == wanted || (version == "3.5" && storage == "3.5.0") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the storage version did not become {version} within 15 s");
}

#[test]
fn a_snapshot_saved_from_balsa_has_the_hash_that_go_computes_over_the_same_data() {
    let go = reference();
    let place = place();
    let (dir, ports) = (place.data.as_path(), place.ports);
    let member = Member::start(&balsa(), dir, ports, &go.emulation());
    block_on(fill(&ports.endpoint(), 0, 2000));
    let saved = dir.with_extension("snapshot");
    let path = saved.display().to_string();
    let endpoint = format!("--endpoints={}", ports.endpoint());
    let printed = run(&go.etcdctl, &[&endpoint, "snapshot", "save", &path], "");
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    drop(member);
    let status = |file: &str| {
        let printed = run(&go.etcdutl, &["snapshot", "status", file, "-w", "json"], "");
        assert_eq!(printed.code, Some(0), "{}", printed.err);
        String::from_utf8_lossy(&printed.out).into_owned()
    };
    let restored = dir.with_extension("restored");
    let target = restored.display().to_string();
    let printed = run(&go.etcdutl, &["snapshot", "restore", &path, "--data-dir", &target], "");
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    let ours = status(&path);
    assert!(ours.contains("\"hash\":") && ours.contains("\"revision\":"), "{ours}");
    let member = Member::start(&balsa(), &restored, ports, &go.emulation());
    let count = block_on(async {
        let mut client = Client::connect([ports.endpoint()], None).await.expect("connect");
        let all = GetOptions::new().with_all_keys().with_count_only();
        client.get("", Some(all)).await.expect("get").count()
    });
    assert!(count > 1000, "{count} keys in the restored member");
    drop(member);
}
