//! Writers of header fields that never touch the peer's dynamic table: what they write can be kept and sent anywhere.

use bytes::BufMut;

use super::table::STATIC;

/// A field that the static table has whole; `static_index` is 1 to 61.
pub fn put_indexed(out: &mut impl BufMut, static_index: u8) {
    debug_assert!((1..=STATIC.len()).contains(&usize::from(static_index)));
    put_integer(out, 0x80, 0x7f, usize::from(static_index));
}

/// `:status`, of three digits.
pub fn put_status(out: &mut impl BufMut, status: u16) {
    const NAME: u8 = 8;
    let digits = [status / 100, status / 10, status].map(|n| b'0' + (n % 10) as u8);
    match (1..).zip(&STATIC).find(|(_, (name, value))| *value == digits && *name == b":status") {
        Some((index, _)) => put_indexed(out, index),
        None => put_named(out, NAME, &digits),
    }
}

/// A field without indexing, its name by its index in the static table if that has it. Neither is compressed.
pub fn put_literal(out: &mut impl BufMut, name: &[u8], value: &[u8]) {
    match (1..).zip(&STATIC).find(|(_, (known, _))| *known == name) {
        Some((index, _)) => put_named(out, index, value),
        None => {
            out.put_u8(0);
            put_text(out, name);
            put_text(out, value);
        }
    }
}

/// A field without indexing, with the name of an entry of the static table: saves [`put_literal`] the search.
pub fn put_named(out: &mut impl BufMut, static_index: u8, value: &[u8]) {
    debug_assert!((1..=STATIC.len()).contains(&usize::from(static_index)));
    put_integer(out, 0, 0x0f, usize::from(static_index));
    put_text(out, value);
}

/// A new size of the dynamic table, before the first field of a block. A peer whose SETTINGS_HEADER_TABLE_SIZE is below
/// [`TABLE_DEFAULT_BYTES`](super::TABLE_DEFAULT_BYTES) expects one in the first block after our acknowledgement; 0 is
/// always right here.
pub fn put_table_size(out: &mut impl BufMut, size: usize) {
    put_integer(out, 0x20, 0x1f, size);
}

fn put_text(out: &mut impl BufMut, text: &[u8]) {
    put_integer(out, 0, 0x7f, text.len());
    out.put_slice(text);
}

fn put_integer(out: &mut impl BufMut, kind: u8, mask: u8, integer: usize) {
    if integer < usize::from(mask) {
        return out.put_u8(kind | integer as u8);
    }
    out.put_u8(kind | mask);
    let mut rest = integer - usize::from(mask);
    while rest >= 0x80 {
        out.put_u8(0x80 | rest as u8);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}
