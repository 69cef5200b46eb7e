//! A workload in the shape kube-apiserver gives etcd, with a checker: creates guarded by ModRevision = 0, optimistic
//! updates, lists in pages at one revision, a watch from a revision with previous values and progress requests,
//! compactions, values of 1 KB to 100 KB.
mod harness;
use etcd_client::{
    Client, Compare, CompareOp, Error, EventType, GetOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
};
use harness::{Member, Ports, balsa};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PREFIX: &str = "/registry/";
const WRITERS: usize = 12;
const OBJECTS: u64 = 40;

/// Ten minutes with `BALSA_LONG`, otherwise a minute.
fn length() -> Duration {
    Duration::from_secs(if std::env::var_os("BALSA_LONG").is_some() { 600 } else { 60 })
}

/// key → (mod revision, value's fingerprint), as of `revision`.
#[derive(Clone, Default)]
struct World {
    revision: i64,
    objects: BTreeMap<Vec<u8>, (i64, u32)>,
}

/// The watch cache with its recent past, so that a list at an older revision can be compared.
#[derive(Default)]
struct Cache {
    now: World,
    past: BTreeMap<i64, World>,
    events: u64,
    progress: u64,
}

struct Shared {
    cache: Mutex<Cache>,
    compacted: AtomicI64,
    stop: AtomicBool,
    writes: AtomicI64,
    conflicts: AtomicI64,
    lists: AtomicI64,
}

/// A small generator: the run prints its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
    fn value(&mut self) -> Vec<u8> {
        let size = match self.below(20) {
            0 => 100_000,
            1..4 => 20_000,
            _ => 1_000 + self.below(2_000) as usize,
        };
        (0..size).map(|i| (self.0 >> (i % 8 * 8)) as u8 ^ i as u8).collect()
    }
}

fn fingerprint(value: &[u8]) -> u32 {
    crc32c::crc32c(value)
}

/// Creates, updates and deletes objects that all writers share, each guarded by the revision it read.
async fn write(mut client: Client, shared: Arc<Shared>, mut random: Random) -> Result<(), Error> {
    while !shared.stop.load(Ordering::Relaxed) {
        let key = format!("{PREFIX}pods/ns-{}/pod-{}", random.below(4), random.below(OBJECTS));
        let read = client.get(key.clone(), None).await?;
        let known = read.kvs().first().map_or(0, |kv| kv.mod_revision());
        let guard = Compare::mod_revision(key.clone(), CompareOp::Equal, known);
        let change = match (known, random.below(5)) {
            (0, _) => TxnOp::put(key.clone(), random.value(), None),
            (_, 0) => TxnOp::delete(key.clone(), None),
            _ => TxnOp::put(key.clone(), random.value(), None),
        };
        let txn = Txn::new().when([guard]).and_then([change]).or_else([TxnOp::get(key.clone(), None)]);
        let answer = client.txn(txn).await?;
        if answer.succeeded() {
            shared.writes.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        shared.conflicts.fetch_add(1, Ordering::Relaxed);
        let Some(TxnOpResponse::Get(now)) = answer.op_responses().into_iter().next() else {
            panic!("the losing branch has a get");
        };
        let now = now.kvs().first().map_or(0, |kv| kv.mod_revision());
        assert_ne!(now, known, "{key}: refused although nothing had changed");
    }
    Ok(())
}

/// Follows every event, checks it against what it follows, and keeps the resulting worlds.
async fn watch(mut client: Client, shared: Arc<Shared>) -> Result<(), Error> {
    let options =
        WatchOptions::new().with_prefix().with_start_revision(1).with_prev_key().with_progress_notify();
    let mut stream = client.watch(PREFIX, Some(options)).await?;
    let mut asked = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        if asked.elapsed() > Duration::from_millis(500) {
            stream.request_progress().await?;
            asked = Instant::now();
        }
        let Ok(answer) = tokio::time::timeout(Duration::from_millis(200), stream.message()).await else {
            continue;
        };
        let Some(answer) = answer? else { panic!("the watch ended") };
        assert!(!answer.canceled(), "cancelled: {}", answer.cancel_reason());
        let mut cache = shared.cache.lock().expect("not poisoned");
        let header = answer.header().expect("header").revision();
        if answer.events().is_empty() && !answer.created() {
            cache.progress += 1;
            assert!(header >= cache.now.revision, "progress {header} after events of {}", cache.now.revision);
        }
        for event in answer.events() {
            let kv = event.kv().expect("an event has its pair");
            let revision = kv.mod_revision();
            assert!(revision > cache.now.revision, "event {revision} after {}", cache.now.revision);
            let before = cache.now.objects.get(kv.key()).copied();
            let told = event.prev_kv().map(|prev| (prev.mod_revision(), fingerprint(prev.value())));
            // Only a compaction may have taken the previous value away.
            assert!(
                told == before || told.is_none() && revision <= shared.compacted.load(Ordering::SeqCst) + 1
            );
            match event.event_type() {
                EventType::Put => {
                    cache.now.objects.insert(kv.key().to_vec(), (revision, fingerprint(kv.value())))
                }
                EventType::Delete => cache.now.objects.remove(kv.key()),
            };
            cache.now.revision = revision;
            cache.events += 1;
            let world = cache.now.clone();
            cache.past.insert(revision, world);
        }
        while cache.past.len() > 2000 {
            cache.past.pop_first();
        }
    }
    Ok(())
}

/// Lists everything in pages at the revision of the first page and compares with the world the watch built.
async fn list(mut client: Client, shared: Arc<Shared>, mut random: Random) -> Result<(), Error> {
    while !shared.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (mut next, mut revision, mut found) = (PREFIX.as_bytes().to_vec(), 0, BTreeMap::new());
        let limit = 1 + random.below(30) as i64;
        let mut remaining = None;
        loop {
            let options =
                GetOptions::new().with_range("/registry0").with_limit(limit).with_revision(revision);
            let page = match client.get(next.clone(), Some(options)).await {
                Ok(page) => page,
                Err(error) if error.to_string().contains("compacted") && revision > 0 => break,
                Err(error) => return Err(error),
            };
            revision = if revision == 0 { page.header().expect("header").revision() } else { revision };
            assert_eq!(page.more(), page.count() > page.kvs().len() as i64);
            if let Some(remaining) = remaining {
                assert_eq!(page.count(), remaining, "the pages of one revision disagree about what is left");
            }
            remaining = Some(page.count() - page.kvs().len() as i64);
            for kv in page.kvs() {
                found.insert(kv.key().to_vec(), (kv.mod_revision(), fingerprint(kv.value())));
                next = [kv.key(), b"\0"].concat();
            }
            if !page.more() {
                agrees(&shared, revision, &found).await;
                break;
            }
        }
    }
    Ok(())
}

/// Waits until the watch has passed `revision` and compares.
async fn agrees(shared: &Shared, revision: i64, found: &BTreeMap<Vec<u8>, (i64, u32)>) {
    for _ in 0..100 {
        {
            let cache = shared.cache.lock().expect("not poisoned");
            let world = cache.past.range(..=revision).next_back().map(|(_, world)| world);
            let passed = cache.now.revision >= revision;
            if let Some(world) = world.filter(|world| passed && world.revision == revision) {
                assert!(world.objects == *found, "the list at {revision} differs from what the watch told");
                shared.lists.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if cache.now.revision > revision || shared.stop.load(Ordering::Relaxed) {
                return; // too long ago, or the run is over and nobody watches
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the watch did not reach revision {revision} within 2 s");
}

/// Compacts to a little before the present, as kube-apiserver does every five minutes.
async fn compact(mut client: Client, shared: Arc<Shared>) -> Result<(), Error> {
    while !shared.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let target = shared.cache.lock().expect("not poisoned").now.revision - 200;
        if target > shared.compacted.load(Ordering::SeqCst) {
            shared.compacted.store(target, Ordering::SeqCst);
            client.compact(target, None).await?;
        }
    }
    Ok(())
}

#[test]
fn a_kubernetes_shaped_workload_holds_together() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let member = Member::start(&balsa(), &dir.path().join("data"), Ports::free(), &["--snapshot-count=2000"]);
    let seed = std::process::id() as u64 * 0x9e37_79b9 + 1;
    println!("seed {seed}");
    let shared = Arc::new(Shared {
        cache: Mutex::default(),
        compacted: AtomicI64::new(0),
        stop: AtomicBool::new(false),
        writes: AtomicI64::new(0),
        conflicts: AtomicI64::new(0),
        lists: AtomicI64::new(0),
    });
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let client = Client::connect([member.ports.endpoint()], None).await.expect("connect");
        let mut tasks = vec![
            tokio::spawn(watch(client.clone(), shared.clone())),
            tokio::spawn(compact(client.clone(), shared.clone())),
            tokio::spawn(list(client.clone(), shared.clone(), Random(seed + 1000))),
        ];
        for writer in 0..WRITERS as u64 {
            tasks.push(tokio::spawn(write(client.clone(), shared.clone(), Random(seed + writer + 1))));
        }
        let start = Instant::now();
        while start.elapsed() < length() && tasks.iter().all(|task| !task.is_finished()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        shared.stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.expect("no check failed").expect("no call failed");
        }
    });
    let cache = shared.cache.lock().expect("not poisoned");
    let count = |counter: &AtomicI64| counter.load(Ordering::Relaxed);
    let (writes, conflicts, lists) = (count(&shared.writes), count(&shared.conflicts), count(&shared.lists));
    println!("{writes} writes, {conflicts} conflicts, {lists} lists compared, {} events", cache.events);
    assert!(writes > 100 && lists > 5 && cache.progress > 0 && conflicts > 0);
    assert!(cache.events as i64 >= writes - 2 * WRITERS as i64, "the watch missed writes");
}
