//! A model encoder: uses all there is to use, as its script says, and keeps the dynamic table the plain way.

use std::collections::VecDeque;

use crate::Field;
use crate::codes::{CODES, STATIC};

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Form {
    /// By index if a table has it whole, else inserted.
    Shortest,
    Insert,
    Without,
    Never,
}

pub struct Encoder {
    pub table: VecDeque<Field>,
    size_max: usize,
    /// Counts insertions, evictions and new sizes.
    pub changes: usize,
}

impl Encoder {
    pub fn new() -> Encoder {
        Encoder { table: VecDeque::new(), size_max: 4096, changes: 0 }
    }

    pub fn resize(&mut self, size_max: usize, out: &mut Vec<u8>) {
        self.changes += usize::from(size_max != self.size_max);
        self.size_max = size_max;
        self.evict(size_max);
        integer(0x20, 5, size_max, out);
    }

    pub fn field(&mut self, form: Form, huffman: [bool; 2], field: &Field, out: &mut Vec<u8>) {
        let named = |(n, v): (&str, &str)| (n.as_bytes().to_vec(), v.as_bytes().to_vec());
        let all: Vec<Field> = STATIC.map(named).into_iter().chain(self.table.iter().cloned()).collect();
        if let (Form::Shortest, Some(at)) = (form, all.iter().position(|known| known == field)) {
            return integer(0x80, 7, at + 1, out);
        }
        let (kind, prefix) = match form {
            Form::Shortest | Form::Insert => (0x40, 6),
            Form::Without => (0, 4),
            Form::Never => (0x10, 4),
        };
        // The last of that name, so that indexes into the dynamic table occur.
        let name = all.iter().rposition(|known| known.0 == field.0).map_or(0, |at| at + 1);
        integer(kind, prefix, name, out);
        if name == 0 {
            text(huffman[0], &field.0, out);
        }
        text(huffman[1], &field.1, out);
        if kind == 0x40 {
            self.evict(self.size_max.saturating_sub(size(field)));
            if size(field) <= self.size_max {
                self.table.push_front(field.clone());
                self.changes += 1;
            }
        }
    }

    fn evict(&mut self, most: usize) {
        while self.table.iter().map(size).sum::<usize>() > most {
            self.table.pop_back();
            self.changes += 1;
        }
    }
}

fn size(field: &Field) -> usize {
    field.0.len() + field.1.len() + 32
}

pub fn integer(kind: u8, prefix: u32, integer: usize, out: &mut Vec<u8>) {
    let most = (1 << prefix) - 1;
    if integer < most {
        return out.push(kind | integer as u8);
    }
    out.push(kind | most as u8);
    let mut rest = integer - most;
    while rest >= 128 {
        out.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    out.push(rest as u8);
}

pub fn text(coded: bool, text: &[u8], out: &mut Vec<u8>) {
    if coded {
        let text = huffman(text);
        integer(0x80, 7, text.len(), out);
        out.extend(text);
    } else {
        integer(0, 7, text.len(), out);
        out.extend(text);
    }
}

pub fn huffman(text: &[u8]) -> Vec<u8> {
    let codes = text.iter().map(|byte| CODES[usize::from(*byte)]);
    let mut bits: Vec<bool> =
        codes.flat_map(|(code, length)| (0..length).rev().map(move |at| code >> at & 1 == 1)).collect();
    bits.resize(bits.len().next_multiple_of(8), true);
    bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
}
