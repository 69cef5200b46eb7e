//! Members of a new cluster that find each other through a registry in another etcd, of ours or of Go, or through DNS.
mod harness;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use harness::cluster::Cluster;
use harness::name_server::{NameServer, host, srv};
use harness::namespace::Namespace;
use harness::server::eventually;
use harness::{Member, Ports, balsa, reference, run};
use hickory_resolver::proto::rr::Record;

const TOKEN: &str = "6c007a14875d53d9bf0ef5a6fc0257c8";
/// What a first start tells before it asks a registry.
const BEGINS: &str = r#""msg":"Bootstrapping cluster using v3 discovery.""#;

/// An etcd that holds the list of a cluster.
struct Registry {
    member: Option<Member>,
    binary: PathBuf,
    data_dir: PathBuf,
    ports: Ports,
    _dir: tempfile::TempDir,
}

impl Registry {
    fn start(binary: &Path) -> Registry {
        let dir = tempfile::tempdir().expect("a directory");
        let (data_dir, ports) = (dir.path().join("registry"), Ports::free());
        let mut registry = Registry { member: None, binary: binary.to_owned(), data_dir, ports, _dir: dir };
        registry.up();
        registry
    }

    /// For a cluster of so many.
    fn of_size(binary: &Path, size: &str) -> Registry {
        let registry = Registry::start(binary);
        registry.ctl(&["put", &key("_config/size"), size]);
        registry
    }

    fn up(&mut self) {
        let nothing: [&str; 0] = [];
        self.member = Some(Member::start(&self.binary, &self.data_dir, self.ports, &nothing));
    }

    fn down(&mut self) {
        self.member.take().expect("it runs").kill();
    }

    fn ctl(&self, args: &[&str]) -> String {
        let endpoint = self.ports.endpoint();
        let all: Vec<&str> = ["--endpoints", &endpoint].into_iter().chain(args.iter().copied()).collect();
        let printed = run(&reference().etcdctl, &all, "");
        assert_eq!(printed.code, Some(0), "{args:?}: {}", printed.err);
        String::from_utf8_lossy(&printed.out).into_owned()
    }

    /// Who has registered.
    fn members(&self) -> Vec<String> {
        let listed = self.ctl(&["get", "--prefix", "--print-value-only", &key("members/")]);
        listed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// What members are told about it.
    fn flags(&self) -> Vec<String> {
        vec![
            format!("--discovery-token={TOKEN}"),
            format!("--discovery-endpoints=http://{}", self.ports.endpoint()),
            "--discovery-request-timeout=500ms".into(),
        ]
    }

    fn cluster(&self, binaries: &[&Path]) -> Cluster {
        let flags = self.flags();
        Cluster::of(binaries, &flags.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn key(name: &str) -> String {
    format!("/_etcd/registry/{TOKEN}/{name}")
}

/// The end of a member that must not start, and its log.
fn refused(cluster: &mut Cluster, at: usize) -> String {
    cluster.spawn(at);
    assert_eq!(cluster.ended(at), Some(1), "{}", cluster.log(at));
    cluster.log(at)
}

/// Three members become a cluster, a fourth none of it; afterwards nobody needs the registry.
fn three_of_four(mut registry: Registry, binaries: &[&Path; 3]) {
    let ours = balsa();
    let mut cluster = registry.cluster(binaries);
    (0..3).for_each(|at| cluster.spawn(at));
    (0..3).for_each(|at| cluster.wait(at));
    cluster.ctl(0, &["put", "a", "1"]);
    cluster.wait_equal();
    assert_eq!(cluster.ctl(0, &["member", "list"]).lines().count(), 3);
    assert_eq!(registry.members().len(), 3);
    let log = cluster.log(2);
    let begins = |line: &str| line.contains(r#""level":"info""#) && line.contains(BEGINS);
    assert!(log.lines().any(begins), "{log}");

    let fourth = cluster.grow(&ours);
    cluster.nodes[fourth].flags = registry.flags();
    let log = refused(&mut cluster, fourth);
    assert!(log.contains("failed to join discovery cluster (discovery: cluster is full)"), "{log}");
    assert!(log.contains("do not reuse discovery token; generate a new one to bootstrap a cluster"), "{log}");
    assert_eq!(registry.members().len(), 3, "a full list does not grow");
    cluster.nodes.pop();

    cluster.kill(2);
    let (data_dir, aside) = (cluster.nodes[2].data_dir.clone(), cluster.dir.path().join("aside"));
    std::fs::rename(&data_dir, &aside).expect("put aside");
    let log = refused(&mut cluster, 2);
    assert!(log.contains("has already been bootstrapped"), "without its files it forgot its votes\n{log}");
    std::fs::remove_dir_all(&data_dir).expect("removed");
    std::fs::rename(&aside, &data_dir).expect("put back");
    cluster.restart(2);

    registry.down();
    (0..3).for_each(|at| cluster.kill(at));
    (0..3).for_each(|at| cluster.spawn(at));
    (0..3).for_each(|at| cluster.wait(at));
    assert!(cluster.ctl(1, &["get", "a"]).contains('1'));
    assert!(cluster.log(2).contains("discovery token is ignored since cluster already initialized"));
}

#[test]
fn three_members_find_each_other_in_a_registry_of_ours_and_a_fourth_is_refused() {
    let ours = balsa();
    three_of_four(Registry::of_size(&ours, "3"), &[ours.as_path(); 3]);
}

#[test]
fn three_members_find_each_other_in_a_registry_of_go_etcd() {
    let (ours, theirs) = (balsa(), &reference().etcd);
    // Go etcd knows this registry since 3.6.
    let first = if reference().version() == "3.5" { &ours } else { theirs };
    three_of_four(Registry::of_size(theirs, "3"), &[first, &ours, &ours]);
}

#[test]
fn a_member_killed_while_it_waits_and_a_registry_that_goes_away_meanwhile_come_together_in_the_end() {
    let ours = balsa();
    let mut registry = Registry::of_size(&ours, "2");
    let mut cluster = registry.cluster(&[ours.as_path(); 2]);
    cluster.spawn(0);
    let told = |cluster: &Cluster, at: usize, text: &str| {
        eventually(text, || cluster.log(at).contains(text));
    };
    told(&cluster, 0, "waiting for peers from discovery service");
    cluster.kill(0);
    cluster.spawn(0);
    let waits = || cluster.log(0).matches("waiting for peers from discovery service").count() == 2;
    eventually("it finds itself on the list", waits);
    assert_eq!(registry.members().len(), 1);

    registry.down();
    cluster.spawn(1);
    told(&cluster, 1, "retry connecting to discovery service");
    assert!(cluster.log(1).contains(r#""reason":"cluster status check","backoff":"2s"}"#));
    registry.up();
    (0..2).for_each(|at| cluster.wait(at));
    cluster.ctl(0, &["put", "a", "1"]);
    cluster.wait_equal();
    assert_eq!(registry.members().len(), 2);
}

#[test]
fn a_first_start_that_ended_before_the_log_named_the_members_asks_again() {
    let ours = balsa();
    let registry = Registry::of_size(&ours, "1");
    let mut cluster = registry.cluster(&[ours.as_path()]);
    cluster.spawn(0);
    cluster.wait(0);
    let id = u64::from_str_radix(&cluster.member_id(0), 16).expect("hexadecimal");
    let list = cluster.ctl(0, &["member", "list", "-w", "json"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let cluster_id = list["header"]["cluster_id"].as_u64().expect("a number");
    cluster.kill(0);
    // A log that is all there but empty.
    let log_dir = cluster.nodes[0].data_dir.join("member/wal");
    std::fs::remove_dir_all(cluster.nodes[0].data_dir.join("member")).expect("removed");
    std::fs::create_dir(cluster.nodes[0].data_dir.join("member")).expect("a directory");
    let metadata = wal::codec::encode_metadata(raft::MemberId(id), cluster_id);
    wal::Wal::create(Arc::new(disk::OsDisk), &log_dir, &metadata, wal::Options::default()).expect("a log");
    cluster.spawn(0);
    cluster.wait(0);
    cluster.ctl(0, &["put", "a", "1"]);
    assert_eq!(registry.members().len(), 1);
}

#[test]
fn a_registry_without_a_good_size_or_for_others_is_refused_in_the_words_of_etcd() {
    let ours = balsa();
    let registry = Registry::start(&ours);
    let mut cluster = registry.cluster(&[ours.as_path()]);
    let log = refused(&mut cluster, 0);
    assert!(log.contains("failed to join discovery cluster (discovery: size key not found)"), "{log}");
    registry.ctl(&["put", &key("_config/size"), "three"]);
    let log = refused(&mut cluster, 0);
    assert!(log.contains("failed to join discovery cluster (discovery: size key is bad)"), "{log}");
    assert!(registry.members().is_empty());
    registry.ctl(&["put", &key("_config/size"), "1"]);
    cluster.nodes[0].flags.push("--initial-cluster-state=existing".into());
    let log = refused(&mut cluster, 0);
    assert!(log.contains("discovery URL should not be set when joining existing initial cluster"), "{log}");
    cluster.nodes[0].flags.pop();

    registry.ctl(&["user", "add", "root:secret"]);
    registry.ctl(&["user", "grant-role", "root", "root"]);
    registry.ctl(&["auth", "enable"]);
    cluster.nodes[0].flags.push("--discovery-user=root:wrong".into());
    let log = refused(&mut cluster, 0);
    assert!(log.contains("etcdserver: authentication failed, invalid user ID or password)"), "{log}");
    cluster.nodes[0].flags.pop();
    cluster.nodes[0].flags.extend(["--discovery-user=root".into(), "--discovery-password=secret".into()]);
    cluster.spawn(0);
    cluster.wait(0);
    assert!(!cluster.log(0).contains("secret"), "a password is not logged");
}

/// A name server of a cluster's members, and the namespace in which programs ask it.
struct Dns {
    server: NameServer,
    namespace: Arc<Namespace>,
}

impl Dns {
    /// `resolv.conf` names no port, so the server's has to be 53; says why if that is not permitted here.
    fn of(cluster: &Cluster, service: &str) -> Result<Dns, String> {
        let mut zone = hosts(cluster);
        zone.push(srv("etcd-server", 0, "nowhere.example.com.", 1));
        for node in &cluster.nodes {
            zone.push(srv(service, 0, &host_name(&node.name), node.peer_port));
            zone.push(srv("etcd-client", 0, &host_name(&node.name), node.ports.client));
        }
        // Others may test at the same time.
        let address = SocketAddr::from(([127, 53, rand::random(), rand::random_range(1..255)], 53));
        let server = NameServer::start(address, zone).map_err(|error| format!("{address}: {error}"))?;
        let resolv_conf = cluster.dir.path().join("resolv.conf");
        std::fs::write(&resolv_conf, format!("nameserver {}\n", address.ip())).expect("a file");
        let namespace = Namespace::of_a_user("mount --bind \"$1\" /etc/resolv.conf", &resolv_conf)?;
        Ok(Dns { server, namespace: Arc::new(namespace) })
    }

    /// Forgets all but the addresses of hosts.
    fn forget_services(self, cluster: &Cluster) -> NameServer {
        let address = self.server.address;
        drop(self.server);
        NameServer::start(address, hosts(cluster)).expect("the address is free again")
    }
}

fn host_name(member: &str) -> String {
    format!("{member}.example.com.")
}

fn hosts(cluster: &Cluster) -> Vec<Record> {
    cluster.nodes.iter().map(|node| host(&host_name(&node.name), [127, 0, 0, 1])).collect()
}

/// The members of a cluster find each other by the records of a service; afterwards nobody needs these.
fn found_in_dns(binaries: &[&Path], service: &str, flags: &[&str]) {
    let mut cluster = Cluster::of(binaries, &[flags, &["--discovery-srv=example.com"]].concat());
    let dns = match Dns::of(&cluster, service) {
        Ok(dns) => dns,
        Err(why) => return println!("left out: members cannot be given a name server: {why}"),
    };
    for node in &mut cluster.nodes {
        node.namespace = Some(dns.namespace.clone());
    }
    let all = 0..binaries.len();
    all.clone().for_each(|at| cluster.spawn(at));
    all.clone().for_each(|at| cluster.wait(at));
    let mut etcdctl = dns.namespace.enter(&reference().etcdctl);
    let put = etcdctl.args(["--discovery-srv=example.com", "put", "a", "1"]).output().expect("etcdctl runs");
    assert_eq!(String::from_utf8_lossy(&put.stdout), "OK\n", "{put:?}\n{}", cluster.logs());
    cluster.wait_equal();
    let list = cluster.ctl(0, &["member", "list"]);
    assert_eq!(list.lines().count(), binaries.len());
    for node in &cluster.nodes {
        // The name is the member's own, the URL that of the record, whatever the member advertises.
        let url = format!(" {}, http://{}.example.com:{},", node.name, node.name, node.peer_port);
        assert!(list.contains(&url), "{list}");
    }

    all.clone().for_each(|at| cluster.kill(at));
    let _server = dns.forget_services(&cluster);
    all.clone().for_each(|at| cluster.spawn(at));
    all.for_each(|at| cluster.wait(at));
    assert!(cluster.ctl(0, &["get", "a"]).contains('1'));
}

#[test]
fn three_members_one_of_them_of_go_etcd_find_each_other_in_dns() {
    let ours = balsa();
    found_in_dns(&[&reference().etcd, &ours, &ours], "etcd-server", &[]);
}

#[test]
fn members_find_each_other_in_the_records_of_another_service() {
    let ours = balsa();
    found_in_dns(&[ours.as_path(); 2], "etcd-server-blue", &["--discovery-srv-name=blue"]);
}
