//! Blocks nobody should send: refused, never a panic, never dear.

use http2::hpack::Decoder;
use proptest::prelude::*;

use crate::codes::CODES;
use crate::encoder::{Encoder, huffman, integer};
use crate::rfc::{REQUESTS, REQUESTS_HUFFMAN, RESPONSES, RESPONSES_HUFFMAN};
use crate::round_trip::blocks;
use crate::{fields, hex, lines};

/// A literal whose value is `coded`, said to be Huffman code.
fn coded(coded: &[u8]) -> Vec<u8> {
    let mut block = vec![0x04];
    integer(0x80, 7, coded.len(), &mut block);
    block.extend(coded);
    block
}

fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    fields(&mut Decoder::new(4096), &coded(text)).ok().map(|mut fields| fields.remove(0).1)
}

#[test]
fn every_pair_of_bytes_is_read_from_huffman_code() {
    for a in 0..=255 {
        assert_eq!(decoded(&huffman(&[a])), Some(vec![a]));
        for b in 0..=255 {
            assert_eq!(decoded(&huffman(&[a, b, a])), Some(vec![a, b, a]));
        }
    }
    assert_eq!(decoded(&[]), Some(vec![]));
}

#[test]
fn huffman_padding_is_less_than_a_byte_of_ones() {
    let bits = |codes: &[(u32, u32)], padding: (u32, u32)| {
        let all = codes.iter().chain([&padding]);
        let bits: Vec<u32> =
            all.flat_map(|(code, len)| (0..*len).rev().map(move |at| code >> at & 1)).collect();
        assert_eq!(bits.len() % 8, 0);
        bits.chunks(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8))
            .collect::<Vec<u8>>()
    };
    for symbol in 0..=255u8 {
        let code = CODES[usize::from(symbol)];
        let len = (8 - code.1 % 8) % 8;
        let ones = (1 << len) - 1;
        assert_eq!(decoded(&bits(&[code], (ones, len))), Some(vec![symbol]));
        assert_eq!(decoded(&bits(&[code], ((1 << (len + 8)) - 1, len + 8))), None, "a byte too much");
        for wrong in 0..ones {
            // Fewer than 8 bits other than ones may be a code of their own.
            let more = decoded(&bits(&[code], (wrong, len)));
            assert!(more.is_none_or(|text| text.len() == 2), "{symbol} {wrong:b}");
        }
    }
    assert_eq!(decoded(&[0xff]), None);
    assert_eq!(decoded(&[0b0000_0000]), None, "three zeros");
    assert_eq!(decoded(&[0b0000_0110]), None);
    assert_eq!(decoded(&[0b0000_0111]), Some(b"0".to_vec()));
}

#[test]
fn the_end_of_a_string_in_huffman_code_is_refused() {
    assert_eq!(decoded(&[0xff; 4]), None);
    // The end, then "0" and padding.
    assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc, 0x1f]), None);
    // "0", the end, padding.
    assert_eq!(decoded(&[0x07, 0xff, 0xff, 0xff, 0xff]), None);
}

#[test]
fn integers_are_bounded() {
    let string = |integer: &str, len| [hex("04"), hex(integer), vec![b'a'; len]].concat();
    let read = |block: Vec<u8>| lines(&mut Decoder::new(4096), &block);
    assert!(read(string("7f 00", 127)).is_ok());
    assert!(read(string("7f 80 80 80 80 00", 127)).is_ok(), "zeros behind");
    assert!(read(string("7f 80 80 80 80 80 00", 127)).is_err(), "too many of them");
    assert!(read(string("7f 00", 126)).is_err(), "cut short");
    for large in
        ["7f ff ff ff ff 0f", "7f 80 ff ff ff 0f", "7f ff ff ff ff 7f", "7f ff ff ff ff ff ff ff ff ff 7f"]
    {
        assert!(read(string(large, 200)).is_err(), "{large}");
    }
    assert!(read(hex("3f ff ff ff ff 7f")).is_err());
    assert!(read(hex("ff")).is_err());
    assert!(read(hex("ff 80")).is_err());
}

#[test]
fn large_fields_by_index_are_not_copied() {
    let decoder = &mut Decoder::new(4096);
    let mut block = vec![0x44];
    integer(0, 7, 4000, &mut block);
    block.extend([b'v'; 4000]);
    fields(decoder, &block).unwrap();
    let mut places = Vec::new();
    decoder.decode(&[0xbe; 1000], |_, value| places.push(value.as_ptr())).unwrap();
    places.dedup();
    assert_eq!(places.len(), 1);
}

/// Every beginning and every flipped bit of the last block, each after the ones before it, and one more block behind.
fn survives(blocks: &[Vec<u8>]) {
    let (last, before) = blocks.split_last().unwrap();
    let run = |block: &[u8]| {
        let mut decoder = Decoder::new(4096);
        for block in before {
            decoder.decode(block, |_, _| {}).unwrap();
        }
        let _ = decoder.decode(block, |_, _| {});
        let _ = decoder.decode(last, |_, _| {});
    };
    (0..last.len()).for_each(|end| run(&last[..end]));
    let mut flipped = last.clone();
    for bit in 0..last.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        run(&flipped);
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn blocks_of_the_rfc_cut_short_or_with_a_flipped_bit_do_no_harm() {
    for examples in [REQUESTS, REQUESTS_HUFFMAN, RESPONSES, RESPONSES_HUFFMAN] {
        let blocks = examples.map(hex);
        (1..=blocks.len()).for_each(|end| survives(&blocks[..end]));
    }
}

#[test]
fn a_literal_cut_anywhere_is_refused() {
    let block = hex(REQUESTS_HUFFMAN[0]);
    for end in 4..block.len() {
        assert!(lines(&mut Decoder::new(4096), &block[..end]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn random_blocks_cut_short_or_with_a_flipped_bit_do_no_harm(blocks in blocks()) {
        let mut encoder = Encoder::new();
        let blocks = blocks.iter().map(|block| block.encode(&mut encoder));
        let blocks: Vec<Vec<u8>> = blocks.take_while(|block| block.len() < 400).collect();
        if !blocks.is_empty() {
            survives(&blocks);
        }
    }

    #[test]
    fn any_bytes_do_no_harm(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..8)) {
        let mut decoder = Decoder::new(4096);
        for block in blocks {
            let _ = decoder.decode(&block, |_, _| {});
        }
    }
}
