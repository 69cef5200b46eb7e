//! Random headers through the model encoder and back.

use http2::hpack::Decoder;
use proptest::prelude::*;

use crate::encoder::{Encoder, Form};
use crate::{Field, fields};

#[derive(Clone, Debug)]
pub struct Block {
    sizes: Vec<usize>,
    fields: Vec<(Form, [bool; 2], Field)>,
}

impl Block {
    pub fn encode(&self, encoder: &mut Encoder) -> Vec<u8> {
        let mut out = Vec::new();
        self.sizes.iter().for_each(|size| encoder.resize(*size, &mut out));
        self.fields.iter().for_each(|(form, huffman, field)| encoder.field(*form, *huffman, field, &mut out));
        out
    }

    fn says(&self) -> Vec<Field> {
        self.fields.iter().map(|(_, _, field)| field.clone()).collect()
    }
}

fn a_name() -> impl Strategy<Value = Vec<u8>> {
    let known = [":path", ":status", "www-authenticate", "te", "grpc-timeout", "x", ""];
    prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(|name| name.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn a_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec!["200", "/", "trailers", "1S", ""]).prop_map(|name| name.as_bytes().to_vec()),
        4 => prop::collection::vec(any::<u8>(), 0..200),
        1 => prop::collection::vec(any::<u8>(), 3000..5000),
    ]
}

fn a_field() -> impl Strategy<Value = (Form, [bool; 2], Field)> {
    let form = prop_oneof![
        4 => Just(Form::Shortest), 2 => Just(Form::Insert), 1 => Just(Form::Without), 1 => Just(Form::Never),
    ];
    (form, any::<[bool; 2]>(), (a_name(), a_value()))
}

fn a_block() -> impl Strategy<Value = Block> {
    let size = prop_oneof![0..300usize, 0..=4096usize];
    let sizes = prop_oneof![8 => Just(vec![]), 1 => prop::collection::vec(size, 1..3)];
    (sizes, prop::collection::vec(a_field(), 0..12)).prop_map(|(sizes, fields)| Block { sizes, fields })
}

pub fn blocks() -> impl Strategy<Value = Vec<Block>> {
    prop::collection::vec(a_block(), 1..10)
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_and_the_generation_tells_of_every_change(blocks in blocks()) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        for block in blocks {
            let (changes, generation) = (encoder.changes, decoder.generation());
            let encoded = block.encode(&mut encoder);
            prop_assert_eq!(fields(&mut decoder, &encoded).unwrap(), block.says());
            prop_assert_eq!(changes == encoder.changes, generation == decoder.generation());
            if generation == decoder.generation() {
                prop_assert_eq!(fields(&mut decoder, &encoded).unwrap(), block.says());
            }
            // The tables are the same to the last entry.
            let all: Vec<u8> = (0..encoder.table.len().min(65)).map(|at| 0x80 | (62 + at) as u8).collect();
            let table: Vec<Field> = encoder.table.iter().take(65).cloned().collect();
            prop_assert_eq!(fields(&mut decoder, &all).unwrap(), table);
        }
    }
}
