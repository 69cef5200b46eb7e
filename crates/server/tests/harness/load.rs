//! Clients and watchers of a cluster that change and compare a few registers, through whatever happens to its members.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_client::{Client, GetOptions, WatchOptions};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::history::{History, Operation, What};

const KEYS: usize = 5;
const CLIENTS_PER_MEMBER: usize = 3;
/// An operation that takes longer is given up; whether it took effect nobody knows.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Shared {
    /// Between two operations of a client.
    pause: Duration,
    history: Mutex<History>,
    stop: AtomicBool,
    values: AtomicU64,
}

fn name(key: usize) -> String {
    format!("register/{key}")
}

/// Reads and writes at one member until told to stop.
async fn client(endpoint: String, shared: Arc<Shared>, mut dice: u64) {
    let mut connected = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let Some(client) = &mut connected else {
            connected = Client::connect([&endpoint], None).await.ok();
            continue;
        };
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = usize::try_from(dice >> 33).unwrap_or(0) % KEYS;
        let begun = Instant::now();
        let what =
            if dice >> 63 == 0 { Some(write(client, &shared, key).await) } else { read(client, key).await };
        let is_known = what.as_ref().is_some_and(|what| !matches!(what, What::Write { revision: 0, .. }));
        if let Some(what) = what {
            let operation = Operation { key, begun, ended: is_known.then(Instant::now), what };
            shared.history.lock().expect("not poisoned").0.push(operation);
        }
        let pause = if is_known { shared.pause } else { Duration::from_millis(50) };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

async fn write(client: &mut Client, shared: &Shared, key: usize) -> What {
    let value = shared.values.fetch_add(1, Ordering::Relaxed) + 1;
    let put = client.put(name(key), value.to_string(), None);
    let revision = match tokio::time::timeout(PATIENCE, put).await {
        Ok(Ok(answer)) => answer.header().map_or(0, |header| header.revision()),
        _ => 0,
    };
    What::Write { value, revision }
}

async fn read(client: &mut Client, key: usize) -> Option<What> {
    let answer = tokio::time::timeout(PATIENCE, client.get(name(key), None)).await.ok()?.ok()?;
    let found =
        answer.kvs().first().map(|kv| (kv.value_str().ok().and_then(|v| v.parse().ok()), kv.mod_revision()));
    let (value, revision) = found.map_or((0, 0), |(value, revision)| (value.expect("a number"), revision));
    Some(What::Read { value, revision })
}

/// Watches all registers at one member, resuming after the last revision seen; gives back the revisions.
async fn watch(endpoint: String, until: Arc<Mutex<Option<i64>>>) -> Vec<i64> {
    let mut seen: Vec<i64> = Vec::new();
    let done = |seen: &[i64]| {
        let until = *until.lock().expect("not poisoned");
        until.is_some_and(|until| seen.last().is_some_and(|last| *last >= until))
    };
    while !done(&seen) {
        let Ok(mut client) = Client::connect([&endpoint], None).await else { continue };
        let from = seen.last().map_or(1, |last| last + 1);
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let Ok(Ok(mut stream)) =
            tokio::time::timeout(PATIENCE, client.watch("register/", Some(options))).await
        else {
            continue;
        };
        while !done(&seen) {
            match tokio::time::timeout(Duration::from_secs(1), stream.message()).await {
                Ok(Ok(Some(answer))) => {
                    let revisions =
                        answer.events().iter().filter_map(|event| Some(event.kv()?.mod_revision()));
                    seen.extend(revisions);
                }
                Ok(_) => break,
                // Nothing happens now, or the member is cut off: its stream goes on when it is back.
                Err(_) => {}
            }
        }
    }
    seen
}

/// The load of one run.
pub struct Load {
    runtime: Runtime,
    shared: Arc<Shared>,
    /// The revision that watchers must reach, once it is known.
    until: Arc<Mutex<Option<i64>>>,
    endpoints: Vec<String>,
    clients: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<Vec<i64>>>,
}

/// What a run came to.
pub struct Summary {
    pub acknowledged: usize,
    pub reads: usize,
}

impl Load {
    /// Begins to read, write and watch at each of these.
    pub fn start(endpoints: &[String]) -> Load {
        Load::paced(endpoints, Duration::ZERO)
    }

    /// The same with a pause after each operation: what everybody did is kept until the end.
    pub fn paced(endpoints: &[String], pause: Duration) -> Load {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let shared = Arc::new(Shared { pause, ..Shared::default() });
        let until = Arc::new(Mutex::new(None));
        let count = endpoints.len();
        let clients = (0..count * CLIENTS_PER_MEMBER)
            .map(|at| runtime.spawn(client(endpoints[at % count].clone(), shared.clone(), at as u64)))
            .collect();
        let watchers =
            endpoints.iter().map(|endpoint| runtime.spawn(watch(endpoint.clone(), until.clone()))).collect();
        Load { runtime, shared, until, endpoints: endpoints.to_vec(), clients, watchers }
    }

    /// The longest time without an acknowledged write since `from`.
    pub fn longest_gap(&self, from: Instant) -> Duration {
        self.shared.history.lock().expect("not poisoned").longest_gap(from, Instant::now())
    }

    /// Ends reading and writing, lets the watchers catch up, and checks everything. All members must be there.
    pub fn finish(self) -> Summary {
        self.shared.stop.store(true, Ordering::Relaxed);
        let seen = self.runtime.block_on(async {
            for client in self.clients {
                client.await.expect("a client");
            }
            let mut client = Client::connect([&self.endpoints[0]], None).await.expect("a client");
            let options = GetOptions::new().with_prefix();
            let all = client.get("register/", Some(options)).await.expect("a list");
            let newest = all.kvs().iter().map(|kv| kv.mod_revision()).max().unwrap_or(0);
            *self.until.lock().expect("not poisoned") = Some(newest);
            let mut seen = Vec::new();
            for watcher in self.watchers {
                let ended = tokio::time::timeout(Duration::from_secs(30), watcher).await;
                seen.push(ended.expect("the watcher catches up").expect("a watcher"));
            }
            seen
        });
        let history = std::mem::take(&mut *self.shared.history.lock().expect("not poisoned"));
        let violations = history.violations();
        assert!(violations.is_empty(), "{}", violations.join("\n"));
        let is_acknowledged = |o: &Operation| matches!(o.what, What::Write { revision: 1.., .. });
        // A revision holds one register's write, so a gap among a register's revisions that was acknowledged shows.
        for revisions in &seen {
            assert!(
                revisions.windows(2).all(|pair| pair[1] > pair[0]),
                "out of order or twice: {revisions:?}"
            );
            let revisions: std::collections::HashSet<i64> = revisions.iter().copied().collect();
            let lost = history.count(|o| is_acknowledged(o) && !revisions.contains(&o.revision()));
            assert_eq!(lost, 0, "acknowledged writes that a watcher did not see");
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "the watchers saw different revisions");
        Summary {
            acknowledged: history.count(is_acknowledged),
            reads: history.count(|o| matches!(o.what, What::Read { .. })),
        }
    }
}
