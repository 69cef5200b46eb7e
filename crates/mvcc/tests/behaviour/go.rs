//! The same history written by Go etcd and by us must hash alike at every revision, before and after compactions, and
//! we must read Go's file. Runs only with `ETCD_GO=<directory with etcd>`; talks to it through its JSON gateway by `curl`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use backend::{Backend, Options};
use mvcc::Kv;

use crate::fixture::{Dice, Store};

struct Etcd {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Etcd {
    fn start(binaries: &str) -> Etcd {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let peer_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
        let child = Command::new(Path::new(binaries).join("etcd"))
            .args(["--data-dir", dir.path().to_str().unwrap(), "--unsafe-no-fsync", "--log-level", "error"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Etcd { child, port, dir };
        for _ in 0..100 {
            if etcd.call("kv/range", "{\"key\":\"YQ==\"}").contains("revision") {
                return etcd;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("etcd does not answer");
    }

    fn call(&self, path: &str, body: &str) -> String {
        let url = format!("http://127.0.0.1:{}/v3/{path}", self.port);
        let output = Command::new("curl").args(["-s", "-X", "POST", "-d", body, &url]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The hash at a revision and its compact revision; none if refused.
    fn hash(&self, revision: i64) -> Option<(u32, i64)> {
        let answer = self.call("maintenance/hashkv", &format!("{{\"revision\":\"{revision}\"}}"));
        let field = |name: &str| {
            let (_, rest) = answer.split_once(&format!("\"{name}\":"))?;
            let number: String =
                rest.chars().filter(|c| *c != '"').take_while(|c| "-0123456789".contains(*c)).collect();
            number.parse::<i64>().ok()
        };
        Some((u32::try_from(field("hash")?).ok()?, field("compact_revision").unwrap_or(0)))
    }

    fn stop(mut self) -> tempfile::TempDir {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.child.wait().unwrap();
        self.dir
    }
}

/// Base64 of a key or value.
fn base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |chunk: &[u8]| {
        let bits = (0..3).fold(0u32, |bits, place| bits << 8 | u32::from(*chunk.get(place).unwrap_or(&0)));
        let letter = |place: usize| match place <= chunk.len() {
            true => ALPHABET[(bits >> (18 - 6 * place) & 63) as usize] as char,
            false => '=',
        };
        (0..4).map(letter).collect::<String>()
    };
    text.as_bytes().chunks(3).map(encode).collect()
}

fn compare_hashes(etcd: &Etcd, store: &Store, why: &str) {
    for revision in 0..=store.kv.current_revision() + 1 {
        let ours = store.reader().hash_kv(revision).ok().map(|hash| (hash.hash, hash.compact_revision));
        assert_eq!(ours, etcd.hash(revision), "{why}, revision {revision}");
    }
}

#[test]
fn hashes_are_those_of_go_etcd_through_a_random_history() {
    let Ok(binaries) = std::env::var("ETCD_GO") else { return };
    let etcd = Etcd::start(&binaries);
    let mut store = Store::new();
    let mut dice = Dice::new(7);
    for round in 0..6 {
        for _ in 0..25 {
            let (key, end) = (dice.key(), dice.end());
            if dice.one_in(4) {
                let body = format!("{{\"key\":\"{}\",\"range_end\":\"{}\"}}", base64(&key), base64(&end));
                etcd.call("kv/deleterange", &body);
                store.delete_range(&key, &end);
            } else {
                let value = dice.below(100).to_string();
                etcd.call(
                    "kv/put",
                    &format!("{{\"key\":\"{}\",\"value\":\"{}\"}}", base64(&key), base64(&value)),
                );
                store.put(&key, &value);
            }
        }
        compare_hashes(&etcd, &store, &format!("round {round}, written"));
        let newest = store.kv.current_revision();
        let at = newest - dice.below(15) as i64;
        let answer = etcd.call("kv/compaction", &format!("{{\"revision\":\"{at}\",\"physical\":true}}"));
        assert!(answer.contains("header"), "{answer}");
        store.compact(at);
        compare_hashes(&etcd, &store, &format!("round {round}, compacted at {at}"));
    }
    let current = store.kv.current_revision();
    let expected = store.hash(current);
    let dir = etcd.stop();
    let path = dir.path().join("member/snap/db");
    let mut backend = Backend::open(Arc::new(disk::OsDisk), &path, Options::default()).unwrap();
    let (kv, _) = Kv::open(&mut backend).unwrap();
    let hash = kv.reader(&backend).hash_kv(current).unwrap();
    assert_eq!(
        (kv.current_revision(), (hash.hash, hash.compact_revision)),
        (current, expected),
        "Go's own file"
    );
}
