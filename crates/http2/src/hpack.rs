//! Header compression (RFC 7541): a decoder for what a client sends, and writers that leave the client's table alone.

mod huffman;
mod table;
mod write;

use std::fmt;

use table::{Entry, Table};
pub use write::{put_indexed, put_literal, put_named, put_status, put_table_size};

/// Size of either side's dynamic table until SETTINGS say otherwise.
pub const TABLE_DEFAULT_BYTES: usize = 4096;

/// Longer scratch space is given back after a block.
const SCRATCH_KEPT_BYTES: usize = 4096;

/// Most bytes after the prefix of an integer: enough for 32 bits.
const INTEGER_MORE_MAX: u32 = 5;

/// What is wrong with a header block. Both sides' tables differ from here on: the connection must end with
/// COMPRESSION_ERROR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error(&'static str);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Error {}

/// Decodes the header blocks of one connection: each of them, in order.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    table_max_bytes: usize,
    /// A name and a value that came in Huffman code.
    scratch: [Vec<u8>; 2],
}

impl Decoder {
    /// `table_max_bytes` is the SETTINGS_HEADER_TABLE_SIZE announced to the peer, and bounds its size updates. Whatever
    /// it is, the table begins with [`TABLE_DEFAULT_BYTES`]: the peer writes its first blocks before it knows better.
    pub fn new(table_max_bytes: usize) -> Decoder {
        Decoder { table: Table::new(TABLE_DEFAULT_BYTES), table_max_bytes, scratch: Default::default() }
    }

    /// Changes whenever the dynamic table does (insertion, eviction, new size): a block that left it as it was says the
    /// same again as long as it stays.
    pub fn generation(&self) -> u64 {
        self.table.generation()
    }

    /// Decodes one block (HEADERS and its CONTINUATIONs, joined) and hands each field to `each`, in order.
    ///
    /// A byte of a block can stand for a field as large as the table, but costs no copy of it: what bounds the sum is up
    /// to `each`. An indexed name is copied only into the table.
    pub fn decode(&mut self, block: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
        let mut rest = block;
        while let Some(0x20..0x40) = rest.first() {
            let size = integer(&mut rest, 0x1f)?;
            if size > self.table_max_bytes {
                return Err(Error("a dynamic table size above the announced"));
            }
            self.table.resize(size);
        }
        while let Some(first) = rest.first() {
            match first {
                0x80.. => {
                    let (name, value) = self.table.get(integer(&mut rest, 0x7f)?)?;
                    each(name, value);
                }
                0x40.. => {
                    let (name, value) = literal(&mut rest, 0x3f, &self.table, &mut self.scratch)?;
                    each(name, value);
                    let entry = self.table.takes(name, value).then(|| Entry::new(name, value));
                    self.table.insert(entry);
                }
                0x20.. => return Err(Error("a dynamic table size amid fields")),
                // Without indexing, and never indexed: the difference is for proxies.
                _ => {
                    let (name, value) = literal(&mut rest, 0x0f, &self.table, &mut self.scratch)?;
                    each(name, value);
                }
            }
        }
        for scratch in &mut self.scratch {
            if scratch.capacity() > SCRATCH_KEPT_BYTES {
                *scratch = Vec::new();
            }
        }
        Ok(())
    }
}

/// A field spelled out, the name perhaps by index.
fn literal<'a, 'b: 'a>(
    rest: &mut &'b [u8],
    mask: u8,
    table: &'a Table,
    [name, value]: &'a mut [Vec<u8>; 2],
) -> Result<(&'a [u8], &'a [u8]), Error> {
    let name = match integer(rest, mask)? {
        0 => text(rest, name)?,
        index => table.get(index)?.0,
    };
    Ok((name, text(rest, value)?))
}

/// A string: a slice of the block, or decoded into `scratch`.
fn text<'a, 'b: 'a>(rest: &mut &'b [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let len = integer(rest, 0x7f)?;
    let (text, tail) = rest.split_at_checked(len).ok_or(Error("a string longer than its block"))?;
    *rest = tail;
    if !coded {
        return Ok(text);
    }
    scratch.clear();
    huffman::decode(text, scratch)?;
    Ok(scratch)
}

/// The integer whose prefix is the bits `mask` of the next byte.
#[inline]
fn integer(rest: &mut &[u8], mask: u8) -> Result<usize, Error> {
    let (first, tail) = rest.split_first().ok_or(CUT)?;
    *rest = tail;
    let prefix = first & mask;
    if prefix < mask { Ok(usize::from(prefix)) } else { long_integer(rest, mask) }
}

fn long_integer(rest: &mut &[u8], prefix: u8) -> Result<usize, Error> {
    let mut integer = u64::from(prefix);
    for at in 0..INTEGER_MORE_MAX {
        let (byte, tail) = rest.split_first().ok_or(CUT)?;
        *rest = tail;
        integer += u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let integer = u32::try_from(integer).map_err(|_| TOO_LARGE)?;
            return usize::try_from(integer).map_err(|_| TOO_LARGE);
        }
    }
    Err(TOO_LARGE)
}

const CUT: Error = Error("a block cut short");
const TOO_LARGE: Error = Error("an integer too large");
