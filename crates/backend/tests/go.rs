//! The real thing: files of Go etcd under our engine, and files of our engine under Go etcd.
//!
//! Runs when `ETCD_GO` names one or more Go etcds (separated by `:`), the program or its directory, with `etcdutl` beside it.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::{Backend, Bucket, Options, ReadTx};
use bytes::Bytes;
use disk::OsDisk;

/// A running Go etcd, killed on drop.
struct Etcd {
    child: Child,
    port: u16,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let word =
            part.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for at in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * at)) as usize & 63] as char;
            out.push(if at <= part.len() { digit } else { '=' });
        }
    }
    out
}

impl Etcd {
    fn start(bin: &Path, data: &Path) -> Etcd {
        let (port, peer) = (free_port(), free_port());
        let url = |port| format!("http://127.0.0.1:{port}");
        let mut command = Command::new(bin.join("etcd"));
        command.env_remove("ETCD_GO");
        command.arg("--data-dir").arg(data);
        command.args(["--listen-client-urls", &url(port), "--advertise-client-urls", &url(port)]);
        command.args(["--listen-peer-urls", &url(peer), "--log-level", "error"]);
        command.args(["--initial-advertise-peer-urls", &url(peer)]);
        command.args(["--initial-cluster", &format!("default={}", url(peer))]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut etcd = Etcd { child, port };
        let started = Instant::now();
        while !etcd.healthy() {
            assert!(started.elapsed() < Duration::from_secs(60), "etcd does not start");
            assert!(etcd.child.try_wait().unwrap().is_none(), "etcd has ended");
            std::thread::sleep(Duration::from_millis(100));
        }
        etcd
    }

    fn healthy(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        socket.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).is_ok() && answer.contains("\"true\"")
    }

    fn connect(&self) -> Gateway {
        Gateway { socket: BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).unwrap()) }
    }
}

/// One connection to the JSON gateway.
struct Gateway {
    socket: BufReader<TcpStream>,
}

impl Gateway {
    fn call(&mut self, path: &str, body: &str) -> String {
        let request =
            format!("POST /v3/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.socket.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut len) = (String::new(), 0);
        self.socket.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{path} {body}: {line}");
        while line.trim() != "" {
            line.clear();
            self.socket.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                len = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; len];
        self.socket.read_exact(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn put(&mut self, key: &str, value: &[u8]) {
        let (key, value) = (base64(key.as_bytes()), base64(value));
        self.call("kv/put", &format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}"));
    }
}

/// A number of a flat JSON object, whether quoted or not.
fn number(json: &str, name: &str) -> u64 {
    let at = json.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {json}"));
    let rest = json[at + name.len() + 3..].trim_start_matches('"');
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap()
}

/// What `etcdutl snapshot status` (with bbolt's own check of the file) says.
fn status(bin: &Path, file: &Path) -> String {
    let mut command = Command::new(bin.join("etcdutl"));
    let out = command.args(["snapshot", "status", "-w", "json"]).arg(file).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{} {}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// The hash of all records of all buckets, and how many there are.
fn hash(read: &ReadTx) -> (u64, u64) {
    let (mut hash, mut count) = (0, 0);
    for bucket in Bucket::BY_NAME {
        hash = crc32c::crc32c_append(hash, bucket.name().as_bytes());
        for record in read.range(bucket, b"", None) {
            let (key, value) = record.unwrap();
            hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, &key), &value);
            count += 1;
        }
    }
    (u64::from(hash), count)
}

fn open(file: &Path) -> Backend {
    Backend::open(Arc::new(OsDisk), file, Options::default()).unwrap()
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A revision's key and its `mvccpb.KeyValue`, created at that revision.
fn record(revision: u64, key: &str, value: &[u8]) -> (Bytes, Bytes) {
    let mut bucket_key = revision.to_be_bytes().to_vec();
    bucket_key.extend_from_slice(b"_\0\0\0\0\0\0\0\0");
    let mut out = vec![0x0a];
    varint(key.len() as u64, &mut out);
    out.extend_from_slice(key.as_bytes());
    for (tag, number) in [(0x10, revision), (0x18, revision), (0x20, 1)] {
        out.push(tag);
        varint(number, &mut out);
    }
    out.push(0x2a);
    varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    (Bytes::from(bucket_key), Bytes::from(out))
}

fn fill_with_go(bin: &Path, data: &Path) {
    let etcd = Etcd::start(bin, data);
    let mut gateway = etcd.connect();
    for n in 0..3000_usize {
        gateway.put(&format!("key{:04}", n % 1200), &vec![b'v'; n * 7 % 900]);
        if n % 10 == 0 {
            let key = base64(format!("key{:04}", n * 31 % 1200).as_bytes());
            gateway.call("kv/deleterange", &format!("{{\"key\":\"{key}\"}}"));
        }
        if n == 2000 {
            gateway.call("kv/compaction", "{\"revision\":\"1500\",\"physical\":true}");
        }
    }
    gateway.put("large", &vec![7; 100_000]);
    std::thread::sleep(Duration::from_millis(300));
}

/// Writes new revisions, removes many of them and some old ones, defragments, writes again.
fn write_with_ours(file: &Path, first: u64) {
    let mut backend = open(file);
    let put = |backend: &mut Backend, n: u64| {
        let (key, value) = record(first + n, &format!("ours{n:06}"), &vec![b'w'; (n * 13 % 1500) as usize]);
        backend.put(Bucket::Key, key, value);
    };
    for n in 0..20_000 {
        put(&mut backend, n);
        if n % 5000 == 0 {
            backend.commit().unwrap();
        }
    }
    backend.commit().unwrap();
    for n in (0..20_000).filter(|n| n % 10 != 0) {
        backend.delete(Bucket::Key, &record(first + n, "", b"").0);
    }
    backend.put(
        Bucket::Lease,
        Bytes::from_static(b"\0\0\0\0\0\0\0\x07"),
        Bytes::from_static(b"\x08\x07\x10\xf0\x01"),
    );
    backend.commit().unwrap();
    let before = backend.size();
    backend.defragment().unwrap();
    assert!(backend.size() < before / 3, "{} of {before} left", backend.size());
    assert!(std::fs::metadata(file).unwrap().len() < before / 2);
    (20_000..20_500).for_each(|n| put(&mut backend, n));
    backend.commit().unwrap();
    assert_eq!(backend.check().len(), 0);
}

fn both_ways(bin: &Path, data: &Path) {
    fill_with_go(bin, data);
    let file = data.join("member/snap/db");
    let theirs = status(bin, &file);
    let backend = open(&file);
    assert_eq!(backend.check().len(), 0);
    let (found, count) = hash(&backend.read());
    assert_eq!(found, number(&theirs, "hash"), "{theirs}");
    assert!(count > 1200);
    assert_eq!(backend.size(), number(&theirs, "totalSize"));
    drop(backend);

    write_with_ours(&file, number(&theirs, "revision") + 1000);
    let ours = hash(&open(&file).read());
    assert_eq!(ours.0, number(&status(bin, &file), "hash"));
    copy_is_whole(bin, &file, data, ours);

    let etcd = Etcd::start(bin, data);
    let mut gateway = etcd.connect();
    let range = format!(
        "{{\"key\":\"{}\",\"range_end\":\"{}\",\"count_only\":true}}",
        base64(b"ours"),
        base64(b"ourt")
    );
    assert_eq!(number(&gateway.call("kv/range", &range), "count"), 2500);
    gateway.put("after", b"the end");
    std::thread::sleep(Duration::from_millis(300));
    drop(etcd);
    let theirs = status(bin, &file);
    let backend = open(&file);
    assert_eq!(backend.check().len(), 0);
    assert_eq!(hash(&backend.read()).0, number(&theirs, "hash"));
}

/// A consistent copy is a file of its own with the same contents.
fn copy_is_whole(bin: &Path, file: &Path, dir: &Path, expected: (u64, u64)) {
    let backend = open(file);
    let source = backend.read().copy();
    let mut copy = vec![0; source.len() as usize];
    for (at, chunk) in copy.chunks_mut(32768).enumerate() {
        assert_eq!(source.read_at(chunk, at as u64 * 32768).unwrap(), chunk.len());
    }
    let path = dir.join("copy.db");
    std::fs::write(&path, &copy).unwrap();
    assert_eq!(number(&status(bin, &path), "hash"), expected.0);
    assert_eq!(hash(&open(&path).read()), expected);
}

#[test]
fn go_etcd_and_this_engine_read_and_write_each_others_files() {
    let Ok(dirs) = std::env::var("ETCD_GO") else {
        println!("ETCD_GO is not set: not run");
        return;
    };
    // The program itself is named for the other tests; its tools are beside it.
    let beside =
        |path: &str| Path::new(path).parent().filter(|_| Path::new(path).is_file()).map(Path::to_owned);
    let dirs = dirs.split(':').map(|path| beside(path).unwrap_or_else(|| path.into()));
    for (n, bin) in dirs.enumerate() {
        let data = std::env::temp_dir().join(format!("balsa-backend-{}-{n}", std::process::id()));
        both_ways(&bin, &data);
        std::fs::remove_dir_all(&data).unwrap();
    }
}
