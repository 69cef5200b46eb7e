//! `cargo xtask tidy`: the rules of the house that no compiler holds. Also run as a test.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which rooms a room may use (ARCHITECTURE.md, "Rooms and arrows").
const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("raft", &[]),
    ("node", &["raft"]),
    ("disk", &[]),
    ("wal", &["disk", "raft", "proto"]),
    ("backend", &["disk"]),
    ("mvcc", &["backend", "proto"]),
    ("store", &["mvcc", "backend", "proto"]),
    ("server", &["client", "http2", "node", "store", "mvcc", "backend", "wal", "disk", "raft", "proto"]),
    ("client", &["proto"]),
    ("http2", &[]),
    ("etcdctl", &["client", "proto"]),
    ("sim", &["node", "store", "mvcc", "backend", "wal", "disk", "raft", "proto"]),
    ("bench", &["http2", "node", "store", "mvcc", "backend", "wal", "disk", "raft", "proto"]),
    ("cluster", &[]),
    ("xtask", &["cluster"]),
];

/// Rooms in which `async` may occur.
const ASYNC: &[&str] = &["server", "client", "etcdctl"];

/// Rooms that may use the file system as they like.
const FILES: &[&str] = &["disk", "server", "client", "etcdctl", "bench", "cluster", "xtask"];

/// The only file with `unsafe`.
const UNSAFE: &str = "crates/disk/src/map.rs";

/// Longest a source file may be; longer ones hide a second noun.
const LINES_MAX: usize = 1000;

/// Licences a dependency may have (`deny.toml` lists the same).
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CC0-1.0",
    "MIT-0",
    "CDLA-Permissive-2.0",
    "0BSD",
    "BSL-1.0",
    "Unlicense",
];

/// Checks the source tree and lists everything found, one line each.
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let metadata = metadata(&root)?;
    let mut found = Vec::new();
    arrows(&metadata, &mut found);
    licences(&metadata, &mut found);
    let mut files = Vec::new();
    sources(&root.join("crates"), &mut files)?;
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let name = file.strip_prefix(&root)?.display().to_string();
        source(&name, &text, &mut found);
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("{} findings\n{}", found.len(), found.join("\n")).into())
}

fn metadata(root: &Path) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(["metadata", "--format-version=1"]).current_dir(root).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Every arrow between rooms is in the table; tests may look further.
fn arrows(metadata: &serde_json::Value, found: &mut Vec<String>) {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(room) = package["name"].as_str().and_then(|n| n.strip_prefix("balsa-")) else { continue };
        let Some(may) = allowed.get(room) else {
            found.push(format!("crates/{room}: a room without a row in xtask's arrow table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().and_then(|n| n.strip_prefix("balsa-"));
            let normal = dependency["kind"].is_null();
            if let Some(target) = target.filter(|t| normal && !may.contains(t)) {
                found.push(format!("crates/{room}: arrow to {target} is not allowed"));
            }
        }
    }
}

fn licences(metadata: &serde_json::Value, found: &mut Vec<String>) {
    let mut bad = BTreeSet::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let licence = package["license"].as_str().unwrap_or("");
        if !licence_allowed(licence) {
            bad.insert(format!("{} {}: licence {licence:?}", package["name"], package["version"]));
        }
    }
    found.extend(bad);
}

/// An SPDX expression without parentheses nesting: every AND part needs one allowed OR part.
fn licence_allowed(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    flat.split(" AND ").all(|part| {
        part.split(" OR ").any(|one| LICENCES.contains(&one.split(" WITH ").next().unwrap_or("").trim()))
    })
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("gen") && !path.ends_with("target") {
                sources(&path, files)?;
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// Rules for one file; `name` is relative to the root.
fn source(name: &str, text: &str, found: &mut Vec<String>) {
    let room = name.split('/').nth(1).unwrap_or("");
    if !text.starts_with("//!") {
        found.push(format!("{name}: begins without a `//!` line that says what it is"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{name}: {lines} lines; look for the second noun inside"));
    }
    let test = name.contains("/tests/");
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        let word = |w: &str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|x| x == w);
        let at = |what: &str| format!("{name}:{}: {what}", number + 1);
        if room != "xtask" && !test && !ASYNC.contains(&room) && word("async") {
            found.push(at("async outside server, client and tools"));
        }
        let unsafe_code =
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|u| code.contains(u));
        if room != "xtask" && name != UNSAFE && unsafe_code {
            found.push(at("unsafe outside the map module"));
        }
        if !test && !FILES.contains(&room) && code.contains("std::fs::") {
            let in_tests = text[..text.find(line).unwrap_or(0)].contains("#[cfg(test)]");
            if !in_tests {
                found.push(at("the file system outside disk"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        run().unwrap_or_else(|e| panic!("{e}"));
    }

    fn findings(name: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        source(name, text, &mut found);
        found
    }

    #[test]
    fn a_file_without_a_headline_is_found() {
        assert_eq!(findings("crates/raft/src/x.rs", "fn a() {}\n").len(), 1);
    }

    #[test]
    fn async_in_a_pure_room_is_found_but_not_in_a_comment() {
        assert_eq!(findings("crates/raft/src/x.rs", "//! x\nasync fn a() {}\n").len(), 1);
        assert_eq!(findings("crates/raft/src/x.rs", "//! x\n// async\n").len(), 0);
        assert_eq!(findings("crates/server/src/x.rs", "//! x\nasync fn a() {}\n").len(), 0);
    }

    #[test]
    fn a_pure_room_that_opens_files_is_found() {
        assert_eq!(findings("crates/wal/src/x.rs", "//! x\nfn a() { std::fs::read(\"x\"); }\n").len(), 1);
    }

    #[test]
    fn a_very_long_file_is_found() {
        let text = format!("//! x\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(findings("crates/raft/src/x.rs", &text).len(), 1);
    }

    #[test]
    fn licences_are_read_as_expressions() {
        assert!(licence_allowed("MIT OR Apache-2.0"));
        assert!(licence_allowed("MIT/Apache-2.0"));
        assert!(licence_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(licence_allowed("Apache-2.0 WITH LLVM-exception"));
        assert!(!licence_allowed("GPL-3.0"));
        assert!(!licence_allowed("MIT AND GPL-3.0"));
        assert!(!licence_allowed(""));
    }
}
