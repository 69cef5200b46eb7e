//! `etcdctl snapshot`: the group, and `snapshot save`.
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use client::Client;
use sha2::{Digest, Sha256};

use crate::call::Call;
use crate::command::{Command, PLAIN};
use crate::failure::{Failure, code};
use crate::{golang, help, log};

const CALLER: &str = "cmd/snapshot.rs";
/// Pages of the file are a multiple of this, so a trailing checksum shows in the length (formats: client snapshot).
const SECTOR_BYTES: u64 = 512;
const CHECKSUM_BYTES: usize = 32;

pub static COMMAND: Command = Command {
    usage: "snapshot",
    group: help::MAINTENANCE,
    about: "Snapshots of a member's data",
    below: &[&SAVE],
    ..PLAIN
};

static SAVE: Command = Command {
    usage: "save <filename>",
    about: "Store the data of one member in a file",
    details: "Store the data of one member in a file.\n\n\
              The file grows under the name <filename>.part and gets its own name once it is complete and checked.\n\
              etcdctl snapshot save --endpoints=127.0.0.1:2379 /backup/etcd.db",
    run: Some(|call| Box::pin(save(call))),
    ..PLAIN
};

async fn save(mut call: Call) -> Result<(), Failure> {
    if call.args.len() != 1 {
        return Err(Failure::args("snapshot save expects one argument <filename>"));
    }
    let session = call.session().await.map_err(|failure| match failure.code {
        code::CONNECTION => failure.with_code(code::INTERRUPTED),
        _ => failure,
    })?;
    let path = call.text(0);
    let endpoints = session.client.endpoints();
    if endpoints.len() != 1 {
        let list = endpoints.join(" ");
        let text = format!("snapshot must be requested to one selected node, not multiple [{list}]");
        return Err(Failure::new(code::INTERRUPTED, text));
    }
    let limit = call.flags.changed("command-timeout").then_some(session.command_timeout);
    let client = session.client.clone().with_timeout(limit);
    let fetching = fetch(&client, &path);
    let fetched = match limit {
        Some(limit) => tokio::time::timeout(limit, fetching)
            .await
            .unwrap_or_else(|_| Err(client::Error::Deadline.to_string())),
        None => fetching.await,
    };
    let version = fetched.map_err(|text| Failure::new(code::INTERRUPTED, text))?;
    println!("Snapshot saved at {path}");
    if !version.is_empty() {
        println!("Server version {version}");
    }
    Ok(())
}

/// Downloads to `<path>.part`, checks, syncs, renames. Returns the server's storage version.
async fn fetch(client: &Client, path: &str) -> Result<String, String> {
    let endpoint = client.endpoints().first().map_or("", String::as_str);
    let part = format!("{path}.part");
    let start = Instant::now();
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&part);
    let mut file =
        opened.map_err(|error| format!("could not open {part} (open {part}: {})", os_text(&error)))?;
    info(None, "created temporary db file", &[("path", &part)]);
    let downloaded = download(client, &mut file, endpoint).await;
    let checked = downloaded.and_then(|(size, version)| {
        check(&mut file, size)?;
        file.sync_all().map_err(|error| format!("could not sync {part} ({})", os_text(&error)))?;
        Ok((size, version))
    });
    let (size, version) = match checked {
        Ok(done) => done,
        Err(error) => {
            // The error matters more than what is left behind.
            let _ = fs::remove_file(&part);
            return Err(error);
        }
    };
    let (size, took) = (golang::size(size), golang::duration(start.elapsed()));
    let fields = [("endpoint", endpoint), ("size", &size), ("took", &took), ("etcd-version", &version)];
    info(None, "fetched snapshot", &fields);
    fs::rename(&part, path)
        .and_then(|()| sync_parent(path))
        .map_err(|error| format!("could not rename {part} to {path} ({})", os_text(&error)))?;
    info(None, "saved", &[("path", path)]);
    Ok(version)
}

async fn download(client: &Client, file: &mut File, endpoint: &str) -> Result<(u64, String), String> {
    let mut incoming = client.snapshot().await.map_err(|error| error.to_string())?;
    info(Some("client"), "opened snapshot stream; downloading", &[]);
    info(None, "fetching snapshot", &[("endpoint", endpoint)]);
    let (mut size, mut version) = (0, String::new());
    while let Some(piece) = incoming.next().await.map_err(|error| error.to_string())? {
        file.write_all(&piece.blob)
            .map_err(|error| format!("could not write the snapshot ({})", os_text(&error)))?;
        size += piece.blob.len() as u64;
        version = piece.version;
    }
    info(Some("client"), "completed snapshot read; closing", &[]);
    Ok((size, version))
}

/// The file must end with the SHA-256 of all before.
fn check(file: &mut File, size: u64) -> Result<(), String> {
    if size % SECTOR_BYTES != CHECKSUM_BYTES as u64 {
        return Err(format!("sha256 checksum not found [bytes: {size}]"));
    }
    let content_bytes = size - CHECKSUM_BYTES as u64;
    let read = || -> std::io::Result<bool> {
        let mut file = &*file;
        std::io::Seek::rewind(&mut file)?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut hash = Sha256::new();
        let mut left = content_bytes;
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            reader.read_exact(&mut buffer[..wanted])?;
            hash.update(&buffer[..wanted]);
            left -= wanted as u64;
        }
        let mut trailer = [0; CHECKSUM_BYTES];
        reader.read_exact(&mut trailer)?;
        Ok(hash.finalize()[..] == trailer)
    };
    match read() {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err("the snapshot does not match its sha256 checksum: it was damaged on the way".to_owned())
        }
        Err(error) => Err(format!("could not read the snapshot back ({})", os_text(&error))),
    }
}

/// Makes the rename itself durable.
fn sync_parent(path: &str) -> std::io::Result<()> {
    let parent = Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// The operating system's words without its number.
fn os_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn info(logger: Option<&str>, msg: &str, fields: &[(&str, &str)]) {
    log::line("info", logger, CALLER, msg, fields);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(content: &[u8], trailer: &[u8]) -> Result<(), String> {
        let path =
            std::env::temp_dir().join(format!("etcdctl-check-{}-{}", std::process::id(), trailer.len()));
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all(content).unwrap();
        file.write_all(trailer).unwrap();
        fs::remove_file(&path).unwrap();
        check(&mut file, (content.len() + trailer.len()) as u64)
    }

    #[test]
    fn a_snapshot_is_taken_only_with_the_checksum_of_its_content() {
        let content = vec![7; 1024];
        let sum = Sha256::digest(&content);
        assert_eq!(checked(&content, &sum), Ok(()));
        let mut damaged = content.clone();
        damaged[1000] ^= 1;
        assert!(checked(&damaged, &sum).unwrap_err().contains("does not match"));
        assert_eq!(checked(&content, &[]).unwrap_err(), "sha256 checksum not found [bytes: 1024]");
    }
}
