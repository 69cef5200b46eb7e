//! `cargo xtask cluster`: three members on loopback, and a prompt that kills, pauses and cuts off.
use std::io::BufRead;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cluster::{Cluster, Setup};

const HELP: &str = "\
commands (members are 1, 2, 3):
  status               who leads, and how far everybody is
  kill N               SIGKILL, as in a crash       start N   run it again
  stop N               SIGTERM                      pause N, resume N
  cut A B              nothing from A reaches B     isolate N  cut N off, both ways
  delay A B MS         from A to B it takes longer  heal       all links are whole again
  help, quit           (Ctrl-C stops all members, too)";

type Error = Box<dyn std::error::Error>;

/// Builds server and etcdctl, starts the members, and carries out what is typed.
pub fn run(mut args: impl Iterator<Item = String>) -> Result<(), Error> {
    let count = match args.next() {
        None => 3,
        Some(count) => count.parse().map_err(|_| format!("{count}: how many members?"))?,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    build(&root)?;
    let release = root.join("target/release");
    let dir = std::env::temp_dir().join(format!("balsa-cluster-{}", std::process::id()));
    let mut cluster = Cluster::start(Setup::of(&release.join("etcd"), count, &dir))?;
    let etcdctl = release.join("etcdctl");
    println!("{count} members run; their data and logs are in {}", dir.display());
    for (at, member) in cluster.members.iter().enumerate() {
        println!("  {}  clients http://{}  peers {}", at + 1, member.endpoint(), member.peer_url);
    }
    println!("\ntry, in another terminal:");
    println!("  export ETCDCTL_ENDPOINTS={}", cluster.endpoints());
    for line in ["put greeting hello", "get greeting", "endpoint status -w table", "member list -w table"] {
        println!("  {} {line}", etcdctl.display());
    }
    println!("\n{HELP}");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["quit" | "exit"] => break,
            [] => {}
            words => match carry_out(&mut cluster, &etcdctl, words) {
                Ok(()) => println!("ok"),
                Err(why) => println!("{why}"),
            },
        }
    }
    drop(cluster);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn build(root: &Path) -> Result<(), Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--quiet", "-p", "balsa-server", "-p", "balsa-etcdctl"]);
    let status = build.current_dir(root).status()?;
    if status.success() { Ok(()) } else { Err(format!("the build failed: {status}").into()) }
}

fn carry_out(cluster: &mut Cluster, etcdctl: &Path, words: &[&str]) -> Result<(), String> {
    let count = cluster.members.len();
    let place = |word: &str| match word.parse::<usize>() {
        Ok(number @ 1..) if number <= count => Ok(number - 1),
        _ => Err(format!("{word}: members are 1 to {count}")),
    };
    match words {
        ["status"] => {
            let args = ["endpoint", "status", "-w", "table", "--endpoints", &cluster.endpoints()];
            Command::new(etcdctl).args(args).status().map_err(|e| e.to_string())?;
        }
        ["kill", n] => cluster.members[place(n)?].kill(),
        ["stop", n] => cluster.members[place(n)?].stop()?,
        ["start", n] if cluster.members[place(n)?].pid().is_some() => return Err("it runs".into()),
        ["start", n] => cluster.restart(place(n)?)?,
        ["pause", n] => cluster.members[place(n)?].pause(),
        ["resume", n] => cluster.members[place(n)?].resume(),
        ["cut", a, b] => cluster.links.cut(place(a)?, place(b)?),
        ["isolate", n] => cluster.links.isolate(place(n)?),
        ["delay", a, b, ms] => {
            let ms = ms.parse().map_err(|_| format!("{ms}: how many milliseconds?"))?;
            cluster.links.delay(place(a)?, place(b)?, Duration::from_millis(ms));
        }
        ["heal"] => cluster.links.heal(),
        _ => return Err(HELP.into()),
    }
    Ok(())
}
