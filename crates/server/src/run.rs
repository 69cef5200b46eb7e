//! A member's life: files, threads, tasks, doors, and the way down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use disk::{Disk, OsDisk};
use node::{Input, Node};
use store::lease::ClockOptions;
use tokio::sync::watch;

use crate::applied::{Applied, Leadership};
use crate::bootstrap::{self, Booted};
use crate::config::{Config, Url};
use crate::http::door::{Door, Limits};
use crate::http::listener::Listener;
use crate::http::{client_service, grpc_service, http_service, metrics_service, peer};
use crate::log;
use crate::member::{Member, ReadRounds};
use crate::notices::{self, hex};
use crate::peer::client::Dialer;
use crate::peer::identity::Identity;
use crate::peer::{Links, Peers, snapshot};
use crate::task;
use crate::task::slow_disk::SyncPace;
use crate::thread::background::Background;
use crate::thread::mailbox::{Sender, mailbox};
use crate::thread::{apply, commit, raft, snap, wal};
use crate::tokens::Tokens;
use crate::waiters::{self, RequestIds, Waiters};

/// Why a member could not start.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// Listening sockets by what is served on them.
struct Listeners {
    clients: Vec<Listener>,
    http: Vec<Listener>,
    peers: Vec<Listener>,
    metrics: Vec<Listener>,
}

/// A running member. Drop it only after [`Running::stop`].
pub struct Running {
    /// What handlers see of it.
    pub member: Arc<Member>,
    /// Ports where clients can connect.
    pub client_addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    door: Door,
    peer_door: Door,
    pending: Option<Listeners>,
    threads: Threads,
    removed: Arc<tokio::sync::Notify>,
    started: notices::Start,
}

struct Threads {
    raft: (Sender<raft::Job>, JoinHandle<()>),
    wal: (Sender<wal::Job>, JoinHandle<()>),
    snap: (Sender<snap::Job>, JoinHandle<()>),
    apply: (Sender<apply::Job>, JoinHandle<()>),
    commit: (Sender<commit::Job>, JoinHandle<()>),
    watch: JoinHandle<()>,
    pace: Arc<SyncPace>,
}

impl Running {
    /// Starts a member inside a tokio runtime. Clients are served after [`Running::serve`].
    pub async fn start(config: Config) -> Result<Running, StartError> {
        check_supported(&config)?;
        let tokens = Arc::new(Tokens::new(&config)?);
        let config = Arc::new(config);
        Running::open(&config, tokens).await.inspect_err(|_| {
            notices::closing(&config);
            notices::closed(&config);
        })
    }

    async fn open(config: &Arc<Config>, tokens: Arc<Tokens>) -> Result<Running, StartError> {
        let listeners = Listeners::bind(config)?;
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let was_initialized = ::wal::Wal::exists(disk.as_ref(), &config.wal_path());
        let config = match was_initialized {
            true => config,
            false => &bootstrap::discovery::prepare(config).await?,
        };
        notices::starting(config, was_initialized);
        crate::stats::prepare(config.metrics == crate::config::Metrics::Extensive);
        let start = Instant::now();
        let booted = bootstrap::start(&disk, config, &Dialer::new(config))
            .await
            .inspect_err(|error| log::error!("bootstrap failed", "error" = error.to_string()))?;
        notices::booted(config, &booted);
        let (took, opened) = (booted.took, start.elapsed());
        let client_addresses = listeners.clients.iter().filter_map(Listener::port).collect();
        let (stop, stopping) = watch::channel(false);
        let removed = Arc::new(tokio::sync::Notify::new());
        let loops = std::thread::available_parallelism().map_or(1, usize::from);
        let waiters = Arc::new(Waiters::new(loops));
        let limits = Limits {
            streams_max: Some(config.max_concurrent_streams).filter(|n| *n != u32::MAX),
            keepalive_interval: config.grpc_keepalive_interval,
            keepalive_timeout: config.grpc_keepalive_timeout,
            ping_interval_min: config.grpc_keepalive_min_time,
        };
        // A loop of its own: neither clients nor the disk hold up what members tell each other.
        let peer_door = Door::start("peer", 1, limits, stopping.clone(), |_| ())?;
        let runtime = peer_door.runtime().clone();
        let (member, threads) =
            assemble(config, tokens, disk, booted, (waiters.clone(), runtime), stopping.clone(), &removed)?;
        let hub = member.hub.clone();
        let door = Door::start("front", loops, limits, stopping, move |at| {
            tokio::spawn(hub.clone().deliver(at));
            waiters::enter_loop(at);
            tokio::spawn(waiters.clone().deliver(at));
        })?;
        let started = notices::Start { begun: start, opened, took };
        Ok(Running {
            member,
            client_addresses,
            stop,
            door,
            peer_door,
            pending: Some(listeners),
            threads,
            removed,
            started,
        })
    }

    /// Opens the doors for peers and metrics, publishes this member, then opens the doors for clients.
    pub async fn serve(&mut self) -> Result<(), StartError> {
        let Some(listeners) = self.pending.take() else { return Ok(()) };
        let member = &self.member;
        if member.config.features.initial_corrupt_check {
            task::corruption::initial(member)
                .await
                .inspect_err(|why| log::error!("checkInitialHashKV failed", "error" = why.clone()))?;
        }
        for listener in listeners.peers {
            log::info!("serving peer traffic", "address" = listener.address());
            log::info!("cmux::serve", "address" = listener.address());
            self.peer_door.open(listener, peer::service(member.clone()));
        }
        for listener in listeners.metrics {
            log::info!("serving metrics", "address" = listener.address());
            self.door.open(listener, metrics_service(member.clone()));
        }
        log::info!(
            "now serving peer/client/metrics",
            "local-member-id" = hex(member.id),
            "initial-advertise-peer-urls" = log::Value::list(&member.config.advertise_peer_urls),
            "listen-peer-urls" = log::Value::list(&member.config.listen_peer_urls),
            "advertise-client-urls" = log::Value::list(&member.config.advertise_client_urls),
            "listen-client-urls" = log::Value::list(&member.config.listen_client_urls),
            "listen-metrics-urls" = log::Value::list(&member.config.listen_metrics_urls)
        );
        tokio::spawn(member.waiters.clone().sweep(member.request_timeout));
        tokio::spawn(task::return_memory());
        tokio::spawn(ReadRounds::run(member.clone()));
        tokio::spawn(task::lease::run(member.clone()));
        tokio::spawn(task::version::run(member.clone()));
        tokio::spawn(task::compact::run(member.clone()));
        tokio::spawn(task::advance::run(member.clone()));
        tokio::spawn(task::corruption::run(member.clone()));
        tokio::spawn(task::slow_disk::run(member.clone(), self.threads.pace.clone()));
        tokio::spawn(task::purge(member.clone(), self.threads.snap.0.clone()));
        task::publish::run(member.clone()).await;
        log::info!("ready to serve client requests");
        notices::ready(&self.started);
        let (traffic, service) = match listeners.http.is_empty() {
            true => ("grpc+http", client_service(member.clone())),
            false => ("grpc", grpc_service(member.clone())),
        };
        let clients = listeners.clients.into_iter().map(|listener| (listener, traffic, service.clone()));
        let http = http_service(member.clone());
        let http = listeners.http.into_iter().map(|listener| (listener, "http", http.clone()));
        for (listener, traffic, service) in clients.chain(http) {
            log::info!(
                "serving client traffic insecurely; this is strongly discouraged!",
                "traffic" = traffic,
                "address" = listener.address()
            );
            self.door.open(listener, service);
        }
        Ok(())
    }

    /// Resolves when this member was removed from its cluster.
    pub async fn removed(&self) {
        self.removed.notified().await;
    }

    /// Before [`Running::stop`]: lets another member lead, if there is one.
    pub async fn hand_over(&self) {
        notices::closing(&self.member.config);
        self.member.hand_over_leadership().await;
    }

    /// Goes down in order: no new requests, no new proposals, everything applied is committed to the file.
    pub fn stop(self) {
        for monitor in ["cluster", "storage"] {
            log::info!(format!("server has stopped; stopping {monitor} version's monitor"));
        }
        let peers = &self.member.config.listen_peer_urls;
        for url in peers {
            log::info!("stopping serving peer traffic", "address" = url.host.as_str());
        }
        self.stop.send_replace(true);
        // What is under way may still be answered while the doors close.
        self.door.join();
        self.member.peers.stop();
        self.peer_door.join();
        self.member.waiters.close();
        for url in peers {
            log::info!("stopped serving peer traffic", "address" = url.host.as_str());
        }
        self.threads.stop(&self.member);
        notices::closed(&self.member.config);
    }
}

/// What is configured but not built yet is refused, rather than passed over.
pub(crate) fn check_supported(config: &Config) -> Result<(), StartError> {
    if config.discovery.needs_tls() {
        return Err("TLS to the registry of --discovery-endpoints is not supported yet".into());
    }
    Ok(())
}

impl Threads {
    /// In the order of the pipeline, so that each stage finishes what the one before handed to it.
    fn stop(self, member: &Member) {
        let _ = self.raft.0.push(raft::Job::Stop);
        let _ = self.raft.1.join();
        let _ = self.snap.0.push(snap::Job::Stop);
        let _ = self.snap.1.join();
        let _ = self.wal.0.push(wal::Job::Stop);
        let _ = self.wal.1.join();
        let _ = self.apply.0.push(apply::Job::Stop);
        let _ = self.apply.1.join();
        let _ = self.commit.0.push(commit::Job::Stop);
        let _ = self.commit.1.join();
        member.hub.stop();
        let _ = self.watch.join();
    }
}

impl Listeners {
    fn bind(config: &Config) -> Result<Listeners, StartError> {
        log::info!(
            "configuring peer listeners",
            "listen-peer-urls" = log::Value::list(&config.listen_peer_urls)
        );
        let bind_all = |urls| bind_all(urls, config.socket_reuse_port);
        let peers = bind_all(&config.listen_peer_urls)?;
        for listener in &peers {
            // A stream to a member that is gone, or does not read, ends as etcd's do.
            listener.end_unread(config.raft_write_timeout)?;
        }
        log::info!(
            "configuring client listeners",
            "listen-client-urls" = log::Value::list(&config.listen_client_urls)
        );
        Ok(Listeners {
            peers,
            clients: bind_all(&config.listen_client_urls)?,
            http: bind_all(&config.listen_client_http_urls)?,
            metrics: bind_all(&config.listen_metrics_urls)?,
        })
    }
}

/// Must be called inside a runtime.
fn bind_all(urls: &[Url], reuse_port: bool) -> Result<Vec<Listener>, StartError> {
    Ok(urls.iter().map(|url| Listener::bind(url, reuse_port)).collect::<Result<_, _>>()?)
}

/// Keys that exist now.
pub(crate) fn keys(reader: &store::StoreReader) -> i64 {
    let all = mvcc::RangeQuery {
        count_only: true,
        ..mvcc::RangeQuery::range(bytes::Bytes::from_static(b"\0"), bytes::Bytes::from_static(b"\0"))
    };
    reader.kv().range(&all).map_or(0, |found| found.count)
}

/// Creates the owner threads and the handle that everybody else works with.
fn assemble(
    config: &Arc<Config>,
    tokens: Arc<Tokens>,
    disk: Arc<dyn Disk>,
    booted: Booted,
    (waiters, runtime): (Arc<Waiters>, tokio::runtime::Handle),
    stop: watch::Receiver<bool>,
    removed: &Arc<tokio::sync::Notify>,
) -> Result<(Arc<Member>, Threads), StartError> {
    let reader = booted.store.reader();
    crate::stats::METRICS.etcd_debugging_mvcc_keys_total.set_int(keys(&reader));
    let (hub, watch_thread) = task::watch::Hub::start(reader.kv().clone(), waiters.loops())?;
    let leases = task::lease::Leases::new(
        ClockOptions {
            retry_ms: u64::try_from(config.request_timeout().as_millis()).unwrap_or(u64::MAX),
            checkpoint_ms: config.features.lease_checkpoint.then_some(300_000),
        },
        std::time::Duration::from_millis(config.election_ms),
    );
    let (raft_to, raft_jobs) = mailbox();
    let (wal_to, wal_jobs) = mailbox();
    let (snap_to, snap_jobs) = mailbox();
    let (apply_to, apply_jobs) = mailbox();
    let (commit_to, commit_jobs) = mailbox();
    let told_removed = || {
        let removed = removed.clone();
        move || removed.notify_one()
    };
    let helm = Arc::new(raft::Helm::new(raft_to.clone()));
    let links = Links {
        identity: Identity {
            id: ::raft::MemberId(booted.member_id),
            cluster_id: booted.cluster_id,
            version: bootstrap::announced_version(config),
            urls: config.advertise_peer_urls.iter().map(ToString::to_string).collect(),
        },
        dialer: Dialer::new(config),
        files: snapshot::Files { disk: disk.clone(), dir: config.snap_path() },
        helm: helm.clone(),
        apply: apply_to.clone(),
        store: reader.clone(),
        runtime,
        removed: Box::new(told_removed()),
    };
    let peers = Peers::start(links, booted.store.members());
    for remote in booted.remotes.iter().filter(|remote| remote.id != booted.member_id) {
        peers.add_remote(::raft::MemberId(remote.id), &remote.peer_urls);
    }
    let member = Arc::new(Member {
        peers: peers.clone(),
        id: booted.member_id,
        cluster_id: booted.cluster_id,
        version: bootstrap::announced_version(config),
        helm: helm.clone(),
        apply: apply_to.clone(),
        waiters: waiters.clone(),
        ids: RequestIds::new(booted.member_id, unix_ms()),
        applied: Arc::new(Applied::new(booted.restored.applied.0)),
        leadership: Arc::new(Leadership::new()),
        store: reader,
        hub: hub.clone(),
        leases: leases.clone(),
        tokens,
        reads: ReadRounds::default(),
        request_timeout: config.request_timeout(),
        background: Background::new()?,
        stop,
        defragmenting: AtomicBool::new(false),
        config: config.clone(),
    });
    let Booted {
        wal: log_file, store, restored, snapshot_index, has_v2_requests, member_id, cluster_id, ..
    } = booted;
    let committer = store.committer();
    let apply = Arc::new(parking_lot::Mutex::new(apply::Apply {
        member_id,
        cluster_id,
        raft: raft_to.clone(),
        snap: snap_to.clone(),
        commit: commit_to.clone(),
        waiters: waiters.clone(),
        applied: member.applied.clone(),
        hub,
        leases,
        tokens: member.tokens.clone(),
        peers: peers.clone(),
        files: apply::Files {
            disk: disk.clone(),
            dir: config.snap_path(),
            db: config.db_path(),
            options: bootstrap::backend_options(config),
        },
        removed: Box::new(told_removed()),
        batch_limit: config.commit_ops_max(),
        warn_after: config.warning_apply_duration,
        compaction: (config.compaction_batch(), config.compaction_sleep_interval),
        state: apply::State::new(restored.applied, ::raft::Term(store.consistent_term())),
        store,
    }));
    let pace = Arc::new(SyncPace::new());
    let log = Arc::new(parking_lot::Mutex::new(wal::Log {
        wal: log_file,
        disk: disk.clone(),
        snap_dir: config.snap_path(),
        snap: snap_to.clone(),
        raft: raft_to.clone(),
        outbox: Box::new(peers.clone()),
        no_sync: config.unsafe_no_fsync,
        pace: pace.clone(),
    }));
    let past = snap::Past {
        disk,
        wal_dir: config.wal_path(),
        snap_dir: config.snap_path(),
        keep: snap::Keep {
            wals: usize::try_from(config.max_wals).unwrap_or(usize::MAX),
            snapshots: usize::try_from(config.max_snapshots).unwrap_or(usize::MAX),
        },
        needed: snapshot_index,
        wal: wal_to.clone(),
    };
    let ahead = election_ahead(config, &restored);
    if ahead > 0 {
        notices::fast_forwarded(config, member.id, ahead);
    }
    let mut node_config = node::Config::new(::raft::MemberId(member.id), rand::random());
    node_config.election_ticks = config.election_ticks();
    node_config.pre_vote = config.pre_vote;
    node_config.proposal_ticks = ticks(config, config.request_timeout());
    node_config.held_ticks = ticks(config, SNAPSHOT_HELD);
    node_config.snapshot_index = snapshot_index;
    node_config.snapshot_count = config.snapshot_count;
    node_config.catch_up_entries = config.snapshot_catchup_entries;
    let raft_thread = raft::Raft {
        node: Node::new(node_config, restored)?,
        tick: config.tick(),
        ahead,
        jobs: raft_to.clone(),
        log: log.clone(),
        wal: wal_to.clone(),
        under_way: None,
        reports: Vec::new(),
        store: apply.clone(),
        apply: apply_to.clone(),
        waiters,
        outbox: Box::new(peers),
        leadership: member.leadership.clone(),
    };
    if has_v2_requests {
        let _ = raft_to.push(raft::Job::Input(Input::ForceSnapshot));
    }
    let interval = config.commit_interval();
    let (to_apply, at_log) = (apply_to.clone(), helm.clone());
    let threads = Threads {
        commit: (
            commit_to,
            spawn("commit", move || commit::run(committer, interval, commit_jobs, to_apply))?,
        ),
        snap: (snap_to, spawn("snap", move || snap::run(past, snap_jobs))?),
        wal: (wal_to, spawn("wal", move || wal::run(log, &at_log, wal_jobs))?),
        apply: (apply_to, spawn("apply", move || apply::run(apply, apply_jobs))?),
        raft: (raft_to, spawn("raft", move || raft::run(&helm, raft_thread, raft_jobs))?),
        watch: watch_thread,
        pace,
    };
    Ok((member, threads))
}

/// What a member that was sent a snapshot may still need of the log is kept for so long.
const SNAPSHOT_HELD: std::time::Duration = std::time::Duration::from_secs(30);

/// So many ticks last at least `time`.
fn ticks(config: &Config, time: std::time::Duration) -> u64 {
    let ticks = time.as_nanos().div_ceil(config.tick().as_nanos().max(1));
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// A lone voter need not wait for anybody: it stands for election at once (formats 6.1).
fn election_ahead(config: &Config, restored: &::raft::Restored) -> u32 {
    let alone = match restored.conf_state.voters.len() {
        0 => restored.entries.iter().filter(|e| e.changes_members()).count() == 1,
        voters => voters == 1,
    };
    if alone { config.election_ticks().saturating_sub(1) } else { 0 }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Runs one member until a signal or its removal. Returns the signal that ended it.
pub fn run(config: Config) -> Result<Option<i32>, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async {
            // Until then a signal ends the process at once, as it may: the start leaves nothing half done.
            let mut running = Running::start(config).await?;
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
            let signal = async {
                tokio::select! {
                    _ = terminate.recv() => SIGTERM,
                    _ = interrupt.recv() => SIGINT,
                }
            };
            tokio::pin!(signal);
            let removed = running.removed.clone();
            let ended = {
                let served = async {
                    running.serve().await?;
                    notify_ready();
                    std::future::pending::<()>().await;
                    Ok::<(), StartError>(())
                };
                tokio::select! {
                    signal = &mut signal => Some(signal),
                    served = served => {
                        served?;
                        None
                    }
                    // Also before it serves: a member removed while it was away hears of it from the others.
                    () = removed.notified() => None,
                }
            };
            match ended {
                Some(number) => {
                    let name = if number == SIGTERM { "terminated" } else { "interrupt" };
                    log::info!("received signal; shutting down", "signal" = name);
                    running.hand_over().await;
                }
                None => {
                    log::warning!("server has been removed from the cluster");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    // Nobody takes leadership from a member that is none.
                    notices::closing(&running.member.config);
                }
            }
            Ok::<_, StartError>((running, ended))
        })
        .map(|(running, ended)| {
            running.stop();
            ended
        })
}

/// Number of SIGTERM.
pub const SIGTERM: i32 = 15;
/// Number of SIGINT.
pub const SIGINT: i32 = 2;

/// Tells systemd, if it waits for it, that the member serves.
fn notify_ready() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|p| !p.is_empty()) else { return };
    log::info!("notifying init daemon");
    let text = path.to_string_lossy().into_owned();
    let to = match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = to.and_then(|to| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &to));
    match sent {
        Ok(_) => log::info!("successfully notified init daemon"),
        Err(error) => log::error!("failed to notify systemd for readiness", "error" = error.to_string()),
    }
}
