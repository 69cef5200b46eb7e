//! What the writers write, the decoder reads, and its table does not change.

use http2::hpack::{Decoder, put_indexed, put_literal, put_named, put_status, put_table_size};

use crate::codes::STATIC;
use crate::lines;

/// The lines of a block that must not change the table, and its length.
fn read(write: impl FnOnce(&mut Vec<u8>)) -> (String, usize) {
    let mut block = Vec::new();
    write(&mut block);
    let mut decoder = Decoder::new(4096);
    let before = decoder.generation();
    let lines = lines(&mut decoder, &block).unwrap();
    assert_eq!(decoder.generation(), before);
    (lines, block.len())
}

#[test]
fn static_fields_and_names_are_written_by_index() {
    for (index, (name, value)) in (1..).zip(STATIC) {
        assert_eq!(read(|out| put_indexed(out, index)), (format!("{name}: {value}\n"), 1));
        let head = if index < 15 { 2 } else { 3 };
        assert_eq!(read(|out| put_named(out, index, b"else")), (format!("{name}: else\n"), head + 4));
        let literal = |out: &mut Vec<u8>| put_literal(out, name.as_bytes(), b"else");
        // The first of several with this name may be another.
        assert_eq!(read(literal), (format!("{name}: else\n"), head + 4));
    }
}

#[test]
fn every_status_is_written_by_index_or_in_five_bytes() {
    for status in 100..1000 {
        let length = if [200, 204, 206, 304, 400, 404, 500].contains(&status) { 1 } else { 5 };
        assert_eq!(read(|out| put_status(out, status)), (format!(":status: {status}\n"), length));
    }
}

#[test]
fn other_fields_are_spelled_out() {
    assert_eq!(read(|out| put_literal(out, b"grpc-status", b"0")), ("grpc-status: 0\n".into(), 15));
    assert_eq!(read(|out| put_literal(out, b"", b"")), (": \n".into(), 3));
    for len in [1, 126, 127, 128, 254, 255, 256, 16_509, 16_510, 16_511, 70_000] {
        let text = "x".repeat(len);
        assert_eq!(
            read(|out| put_literal(out, text.as_bytes(), text.as_bytes())).0,
            format!("{text}: {text}\n")
        );
    }
}

#[test]
fn a_table_size_is_written_before_fields() {
    let mut decoder = Decoder::new(4096);
    for size in [0, 1, 30, 31, 32, 4096] {
        let mut block = Vec::new();
        put_table_size(&mut block, size);
        put_status(&mut block, 200);
        assert_eq!(lines(&mut decoder, &block).unwrap(), ":status: 200\n");
    }
}
