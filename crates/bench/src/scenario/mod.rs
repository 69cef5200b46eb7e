//! The scenarios, and the stand they run on.
mod big;
mod cluster;
mod idle;
pub mod kv;
mod large;
mod leases;
mod overload;
mod stalls;
mod watch;

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::counter::Counter;
use crate::load::{Done, Failures, Loop, Next, Shape};
use crate::member::{Cost, Member, Program};
use crate::options::Options;
use crate::report::Figure;

/// Scenarios of one stage share a server, in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// A server that starts empty.
    Fresh,
    /// Another one, for what leaves traces: memory taken, leases that go on ending.
    Overload,
    Leases,
    /// A cluster of three that starts empty.
    Cluster,
    /// A server with a million keys.
    Large,
    /// A server with two gigabytes.
    Big,
}

pub const STAGES: &[Stage] =
    &[Stage::Fresh, Stage::Overload, Stage::Leases, Stage::Cluster, Stage::Large, Stage::Big];

impl Stage {
    /// The stages that take long have half as many rounds.
    pub fn rounds(self, wanted: usize) -> usize {
        if matches!(self, Stage::Fresh | Stage::Cluster) { wanted } else { wanted.div_ceil(2) }
    }
}

pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub stage: Stage,
    pub run: fn(&mut Stand<'_>) -> Result<Vec<Figure>>,
}

#[rustfmt::skip]
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "idle", stage: Stage::Fresh, run: idle::idle,
        about: "nobody asks anything for 10 s" },
    Scenario { name: "put-many", stage: Stage::Fresh, run: kv::put_many,
        about: "puts of random keys (8 to 32 bytes, values of 256): 1000 clients on 100 connections" },
    Scenario { name: "put-one", stage: Stage::Fresh, run: kv::put_one,
        about: "the same puts: one client" },
    Scenario { name: "get-lin-many", stage: Stage::Fresh, run: kv::get_lin_many,
        about: "linearizable gets of one of 10,000 keys: 1000 clients on 100 connections" },
    Scenario { name: "get-lin-one", stage: Stage::Fresh, run: kv::get_lin_one,
        about: "linearizable gets: one client" },
    Scenario { name: "get-ser-many", stage: Stage::Fresh, run: kv::get_ser_many,
        about: "serializable gets: 1000 clients on 100 connections" },
    Scenario { name: "get-ser-one", stage: Stage::Fresh, run: kv::get_ser_one,
        about: "serializable gets: one client" },
    Scenario { name: "list10k", stage: Stage::Fresh, run: large::list_10k,
        about: "10,000 keys of 1 KB in one answer: one client" },
    Scenario { name: "keepalive", stage: Stage::Fresh, run: leases::keep_alive,
        about: "keep-alives of 1000 leases, each on a stream of its own, on 100 connections" },
    Scenario { name: "put-watched", stage: Stage::Fresh, run: watch::put_watched,
        about: "puts of 1000 clients: nobody watches, one watches all, 10,000 watch a key each" },
    Scenario { name: "watch-1k", stage: Stage::Fresh, run: watch::watch_1k,
        about: "1000 watchers of one prefix on 100 streams, 50 puts per second for 10 s" },
    Scenario { name: "watch-10k", stage: Stage::Fresh, run: watch::watch_10k,
        about: "10,000 watchers of one prefix on 100 streams, 5 puts per second for 10 s" },
    Scenario { name: "watch-slow", stage: Stage::Fresh, run: watch::watch_slow,
        about: "one watcher does not read while 20 MB of events come, twenty do" },
    Scenario { name: "overload", stage: Stage::Overload, run: overload::overload,
        about: "20,000 clients, then 60,000 puts at once, then requests too long; health and keep-alive meanwhile" },
    Scenario { name: "lease-end", stage: Stage::Leases, run: leases::ending,
        about: "100,000 leases with a key each end at once; 500 puts per second meanwhile" },
    Scenario { name: "cluster-put-leader", stage: Stage::Cluster, run: cluster::put_leader,
        about: "three members; puts as in put-many, all to the leader" },
    Scenario { name: "cluster-put-all", stage: Stage::Cluster, run: cluster::put_all,
        about: "three members; the same puts, the connections shared out among all" },
    Scenario { name: "cluster-put-one", stage: Stage::Cluster, run: cluster::put_one,
        about: "three members; the same puts: one client of the leader" },
    Scenario { name: "cluster-get-all", stage: Stage::Cluster, run: cluster::get_all,
        about: "three members; linearizable gets as in get-lin-many, the connections shared out among all" },
    Scenario { name: "fill", stage: Stage::Large, run: large::fill,
        about: "puts of a million keys of 32 bytes, values of 256: 200 clients on 20 connections" },
    Scenario { name: "page", stage: Stage::Large, run: large::page,
        about: "500 of the million from a random key on: one client" },
    Scenario { name: "count", stage: Stage::Large, run: large::count,
        about: "count of the million: one client" },
    Scenario { name: "watch-history", stage: Stage::Large, run: watch::history,
        about: "a watcher that begins with the first of the million puts" },
    Scenario { name: "watch-lagging", stage: Stage::Large, run: watch::lagging,
        about: "2000 watchers of a key each that begin with the first put; 500 puts per second meanwhile" },
    Scenario { name: "restart", stage: Stage::Large, run: large::restart,
        about: "stop, and start on the million keys" },
    Scenario { name: "stalls", stage: Stage::Big, run: stalls::stalls,
        about: "500 puts per second while a server with 2 GB hashes, sends a snapshot, compacts, defragments" },
    Scenario { name: "list-big", stage: Stage::Big, run: large::list_big,
        about: "a million keys of 1 KB in one answer: one client; once more beside 500 puts per second" },
    Scenario { name: "delete-range", stage: Stage::Big, run: stalls::delete_range,
        about: "100,000 keys deleted by one request; 500 puts per second meanwhile" },
];

/// How long work that a load leaves behind is still counted as its cost: commits come every 100 ms.
const AFTERMATH: Duration = Duration::from_millis(300);

/// The figure that says what an operation costs the server.
pub const CPU_MICROS: &str = "server CPU, µs per operation";

/// One running server or cluster, and what was done to it so far.
pub struct Stand<'a> {
    pub options: &'a Options,
    /// Of a cluster the one that leads.
    pub member: Member,
    /// The others of the cluster.
    pub followers: Vec<Member>,
    pub failures: Failures,
    /// The keys for the gets are there.
    pub has_get_keys: bool,
    /// The million keys are there.
    pub has_large_keys: bool,
    /// The million keys of 1 KB are there.
    pub has_big_keys: bool,
}

impl<'a> Stand<'a> {
    /// Starts what a stage needs, with its data below `dir`.
    pub fn start(options: &'a Options, program: Program, dir: &Path, stage: Stage) -> Result<Stand<'a>> {
        let mut members = match stage {
            Stage::Cluster => Member::start_cluster(&program, dir, cluster::MEMBERS)?,
            _ => vec![Member::start(program, dir)?],
        };
        Ok(Stand {
            options,
            member: members.remove(0),
            followers: members,
            failures: Failures::default(),
            has_get_keys: false,
            has_large_keys: false,
            has_big_keys: false,
        })
    }

    pub fn stop(&mut self) -> Result<()> {
        self.followers.iter_mut().try_for_each(Member::stop)?;
        self.member.stop()
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        [&self.member].into_iter().chain(&self.followers)
    }

    /// What all members have cost so far.
    fn cost(&self) -> Result<Cost> {
        let followers = self.followers.iter().map(Member::cost);
        followers.into_iter().try_fold(self.member.cost()?, |sum, cost| Ok(sum + cost?))
    }

    /// Runs a closed loop, after a tenth as much to warm up.
    pub fn measure(&mut self, shape: Shape, operations: u64, next: Next<'_>) -> Result<Measured> {
        self.measure_at(&[self.member.port], shape, operations, next)
    }

    /// The same with the connections shared out among these ports.
    pub fn measure_at(
        &mut self,
        ports: &[u16],
        shape: Shape,
        operations: u64,
        next: Next<'_>,
    ) -> Result<Measured> {
        let mut load = Loop::open_all(ports, shape)?;
        let warm_up = load.run(operations.div_ceil(10), next)?;
        self.failures.join(warm_up.failures);
        self.cost_of(|_| load.run(operations, next))
    }

    /// What the server, or all of a cluster, spends on a load and its aftermath.
    pub fn cost_of(&mut self, load: impl FnOnce(&mut Stand<'a>) -> Result<Done>) -> Result<Measured> {
        let counter = Counter::start(&self.members().map(Member::pid).collect::<Vec<_>>());
        let before = self.cost()?;
        let mut done = load(self)?;
        std::thread::sleep(AFTERMATH);
        let cost = self.cost()? - before;
        let instructions = counter.and_then(Counter::read);
        self.failures.join(std::mem::take(&mut done.failures));
        let (resident, anonymous) = (self.member.resident_bytes()?, self.member.anonymous_bytes()?);
        Ok(Measured { done, cost, instructions, resident, anonymous })
    }
}

/// A load and what it cost the server.
pub struct Measured {
    pub done: Done,
    pub cost: Cost,
    /// Where they can be counted.
    instructions: Option<u64>,
    resident: u64,
    anonymous: u64,
}

impl Measured {
    pub fn per_operation(&self, what: f64) -> f64 {
        what / self.done.operations as f64
    }

    /// The figures every load has. A quantile needs ten operations above it.
    pub fn figures(&self) -> Vec<Figure> {
        let operations = self.done.operations;
        let rate = operations as f64 / self.done.elapsed.as_secs_f64();
        let own_cpu = self.per_operation(micros(self.done.own_cpu));
        let mut figures = vec![
            Figure::less(CPU_MICROS, self.per_operation(micros(self.cost.cpu))),
            Figure::more("operations per second", rate),
        ];
        figures.extend(
            self.instructions
                .map(|count| Figure::less("instructions per operation", self.per_operation(count as f64))),
        );
        for (name, quantile, needed) in
            [("p50, µs", 0.5, 0), ("p99, µs", 0.99, 1_000), ("p99.9, µs", 0.999, 10_000)]
        {
            if operations >= needed {
                let nanoseconds = self.done.latency.value_at_quantile(quantile);
                figures.push(Figure::less(name, nanoseconds as f64 / 1e3));
            }
        }
        figures.push(Figure::less("resident after, MiB", mebibytes(self.resident)));
        figures.push(Figure::less("anonymous after, MiB", mebibytes(self.anonymous)));
        figures.push(Figure::neither("the client's own CPU, µs per operation", own_cpu));
        figures
    }

    /// What the kernel's account says. It tells apart two builds; servers that write into folios of different sizes it
    /// does not compare.
    pub fn written(&self) -> Figure {
        let per_operation = self.per_operation(self.cost.written_bytes as f64);
        Figure::neither("written to disk, bytes per operation", per_operation)
    }
}

pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
