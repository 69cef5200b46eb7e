//! Both tables: what is in them, when the dynamic one changes, and size updates.

use http2::hpack::Decoder;

use crate::codes::STATIC;
use crate::encoder::{Encoder, Form, integer, text};
use crate::{fields, hex, lines};

fn insertion(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    Encoder::new().field(Form::Insert, [false; 2], &(name.to_vec(), value.to_vec()), &mut block);
    block
}

fn size_update(size: usize) -> Vec<u8> {
    let mut block = Vec::new();
    integer(0x20, 5, size, &mut block);
    block
}

#[test]
fn every_static_entry_is_what_the_rfc_says() {
    let decoder = &mut Decoder::new(4096);
    for (at, (name, value)) in STATIC.iter().enumerate() {
        let index = at + 1;
        assert_eq!(lines(decoder, &[0x80 | index as u8]).unwrap(), format!("{name}: {value}\n"));
        for (kind, prefix) in [(0x00, 4), (0x10, 4)] {
            let mut block = Vec::new();
            integer(kind, prefix, index, &mut block);
            text(false, b"else", &mut block);
            assert_eq!(lines(decoder, &block).unwrap(), format!("{name}: else\n"));
        }
    }
    assert_eq!(decoder.generation(), Decoder::new(4096).generation());
}

#[test]
fn indexes_into_nowhere_are_refused() {
    for block in ["80", "be", "7e 00", "0f 2f 00", "1f 2f 00", "ff ff ff ff ff 0f"] {
        assert!(lines(&mut Decoder::new(4096), &hex(block)).is_err(), "{block}");
    }
}

#[test]
fn a_field_larger_than_the_table_empties_it() {
    let decoder = &mut Decoder::new(4096);
    let large = insertion(b"large", &[b'x'; 4096]);
    fields(decoder, &large).unwrap();
    let empty = decoder.generation();
    fields(decoder, &large).unwrap();
    assert_eq!(decoder.generation(), empty, "nothing to evict");
    fields(decoder, &insertion(b"a", b"b")).unwrap();
    assert_ne!(decoder.generation(), empty);
    assert_eq!(fields(decoder, &large).unwrap()[0].1.len(), 4096);
    assert!(fields(decoder, &[0xbe]).is_err());
}

#[test]
fn an_entry_may_fill_the_table_to_the_last_byte() {
    let decoder = &mut Decoder::new(4096);
    fields(decoder, &insertion(b"name", &[b'x'; 4096 - 32 - 4])).unwrap();
    assert_eq!(fields(decoder, &[0xbe]).unwrap()[0].1.len(), 4060);
    fields(decoder, &insertion(b"name", &[b'x'; 4096 - 32 - 3])).unwrap();
    assert!(fields(decoder, &[0xbe]).is_err());
}

#[test]
fn a_name_may_come_from_the_entry_that_leaves_for_it() {
    let decoder = &mut Decoder::new(4096);
    fields(decoder, &insertion(&[b'n'; 3000], b"1")).unwrap();
    let mut block = vec![0x40 | 62];
    text(false, &[b'v'; 1000], &mut block);
    let field = (vec![b'n'; 3000], vec![b'v'; 1000]);
    for block in [&block[..], &[0xbe]] {
        assert_eq!(fields(decoder, block).unwrap(), std::slice::from_ref(&field));
    }
    assert!(fields(decoder, &[0xbf]).is_err());
}

#[test]
fn only_changes_of_the_table_change_the_generation() {
    let decoder = &mut Decoder::new(4096);
    let mut changes = |block: &[u8]| {
        let before = decoder.generation();
        fields(decoder, block).unwrap();
        decoder.generation() != before
    };
    assert!(changes(&insertion(b"a", b"b")));
    assert!(!changes(&[0x82, 0xbe]), "indexed");
    assert!(!changes(&hex("00 01 61 01 62")), "without indexing");
    assert!(!changes(&hex("10 01 61 01 62")), "never indexed");
    assert!(!changes(&size_update(4096)), "the size it has");
    assert!(changes(&size_update(4000)), "a size without eviction");
    assert!(changes(&size_update(0)));
    assert!(!changes(&insertion(b"a", b"b")), "no room, and nothing to evict");
    assert!(changes(&size_update(34)));
    assert!(changes(&insertion(b"a", b"b")));
    assert!(changes(&insertion(b"a", b"b")), "the same in the place of the same");
    assert!(changes(&insertion(b"a", b"bc")), "eviction alone");
}

#[test]
fn size_updates_begin_a_block_and_stay_below_the_announced_size() {
    let entry = insertion(b"a", b"b");
    let shrink_and_grow = [size_update(0), size_update(4096), vec![0x82]].concat();
    let decoder = &mut Decoder::new(4096);
    fields(decoder, &entry).unwrap();
    assert_eq!(lines(decoder, &shrink_and_grow).unwrap(), ":method: GET\n");
    assert!(lines(decoder, &[0xbe]).is_err(), "evicted");

    let after_a_field = [vec![0x82], size_update(100)].concat();
    assert!(lines(&mut Decoder::new(4096), &after_a_field).is_err());
    let after_a_literal = [entry, size_update(100)].concat();
    assert!(lines(&mut Decoder::new(4096), &after_a_literal).is_err());

    for most in [0, 30, 31, 100, 4096, 65536] {
        assert_eq!(lines(&mut Decoder::new(most), &size_update(most)).unwrap(), "");
        assert!(lines(&mut Decoder::new(most), &size_update(most + 1)).is_err());
    }
}

#[test]
fn the_table_begins_with_the_default_size_whatever_was_announced() {
    for announced in [0, 256, 4096, 65536] {
        let decoder = &mut Decoder::new(announced);
        fields(decoder, &insertion(b"name", &[b'x'; 4096 - 32 - 4])).unwrap();
        assert_eq!(fields(decoder, &[0xbe]).unwrap().len(), 1, "{announced}");
        fields(decoder, &insertion(b"name", &[b'x'; 4096 - 32 - 3])).unwrap();
        assert!(fields(decoder, &[0xbe]).is_err(), "{announced}");
    }
}
