//! The `.proto` files against the tables of etcd's public surface, row by row and both ways; and the generated code
//! against the `.proto` files it was made from.
#![allow(clippy::unwrap_used, reason = "a file of the repository that cannot be read fails the test")]
mod parse;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(root().join("proto"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "proto"))
        .collect();
    files.sort();
    files
}

fn parsed() -> Vec<parse::Row> {
    sources().iter().flat_map(|p| parse::file(&std::fs::read_to_string(p).unwrap())).collect()
}

/// Rows of 3.7, and of older versions: a log written by one of those may still hold what only it knew.
fn table(name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("testdata").join(name)).unwrap();
    text.lines().skip(1).map(|l| l.split('\t').map(Into::into).collect()).collect()
}

fn differences(ours: &BTreeSet<String>, wanted: &BTreeSet<String>) {
    let list = |set: Vec<&String>| set.into_iter().map(|r| format!("  {r}\n")).collect::<String>();
    let missing = list(wanted.difference(ours).collect());
    let extra = list(ours.difference(wanted).collect());
    assert!(missing.is_empty() && extra.is_empty(), "missing:\n{missing}not in the table:\n{extra}");
}

#[test]
fn every_method_has_its_kind_and_types() {
    let wanted =
        table("grpc.tsv").iter().map(|r| format!("{} {} {} {} {}", r[0], r[1], r[2], r[3], r[4])).collect();
    let ours = parsed()
        .into_iter()
        .filter_map(|row| match row {
            parse::Row::Method { service, name, kind, request, response } => {
                Some(format!("{service} {name} {kind} {request} {response}"))
            }
            _ => None,
        })
        .collect();
    differences(&ours, &wanted);
}

#[test]
fn every_field_and_enum_value_has_its_number_type_and_label() {
    let mut wanted = BTreeSet::new();
    for r in table("grpc-fields.tsv") {
        let [message, row, name, number, kind, label] = &r[..6] else { panic!("{r:?}") };
        match label.as_str() {
            // 3.7 reserves the number of a request that older logs still hold: the field stays here.
            "reserved" => continue,
            "map" => wanted.insert(format!("{message} field {name} {number} {kind} ")),
            _ => wanted.insert(format!("{message} {row} {name} {number} {kind} {label}")),
        };
    }
    let rows = parsed();
    let with_fields: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| match row {
            parse::Row::Field { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect();
    let ours = rows
        .iter()
        .filter_map(|row| match row {
            parse::Row::Field { message, name, number, kind, label } => {
                Some(format!("{message} field {name} {number} {kind} {label}"))
            }
            parse::Row::Value { name, of, number } => Some(format!("{of} enum_value {name} {number}  ")),
            parse::Row::Message { name } if !with_fields.contains(name.as_str()) => {
                Some(format!("{name} field (none)   "))
            }
            parse::Row::Message { .. } | parse::Row::Method { .. } => None,
        })
        .collect();
    differences(&ours, &wanted);
}

/// FNV-1a over names and contents. Also computed by `cargo xtask generate`, which writes it down.
fn fingerprint() -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for path in sources() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for byte in name.bytes().chain(std::fs::read(&path).unwrap()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[test]
fn generated_code_was_made_from_these_sources() {
    let stored = std::fs::read_to_string(root().join("src/gen/SOURCES.fnv")).unwrap_or_default();
    assert_eq!(
        stored.trim(),
        format!("{:016x}", fingerprint()),
        "a .proto file changed: run `cargo run -p balsa-xtask --features generate -- generate`"
    );
}
