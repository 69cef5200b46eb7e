//! HPACK's Huffman code (RFC 7541, section 5.2). It is canonical: the lengths of the codes are all there is to know.

use super::Error;

/// Bytes, and the end of a string.
const SYMBOLS: usize = 257;
const END: u16 = 256;
const LENGTH_MAX: usize = 30;

/// Length in bits of the code of each symbol (RFC 7541, appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// What the first 8 bits of a code tell: symbol and length, or length 0 for a longer code.
static SHORT: [(u8, u8); 256] = short();

/// The longer codes by length; the unused lengths among them end where the one before does.
static LONG: [Long; LENGTH_MAX + 1] = long();

/// Symbols by length, then value: the order of their codes.
static ORDER: [u16; SYMBOLS] = order();

/// The codes of one length, as the first bits of a word.
#[derive(Clone, Copy)]
struct Long {
    /// Above the last of them, and of all shorter ones.
    end: u64,
    first: u32,
    /// Where `ORDER` has the first.
    at: u16,
}

const fn order() -> [u16; SYMBOLS] {
    let mut order = [0; SYMBOLS];
    let mut at = 0;
    let mut length = 0;
    while length <= LENGTH_MAX {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                order[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    order
}

const fn long() -> [Long; LENGTH_MAX + 1] {
    let mut long = [Long { end: 0, first: 0, at: 0 }; LENGTH_MAX + 1];
    let order = order();
    let mut end = 0u64;
    let mut at = 0;
    let mut length = 1;
    while length <= LENGTH_MAX {
        long[length] = Long { end, first: end as u32, at: at as u16 };
        while at < SYMBOLS && LENGTHS[order[at] as usize] as usize == length {
            end += 1 << (32 - length);
            at += 1;
        }
        long[length].end = end;
        length += 1;
    }
    // Every bit string begins with a code.
    assert!(end == 1 << 32);
    long
}

const fn short() -> [(u8, u8); 256] {
    let mut short = [(0, 0); 256];
    let order = order();
    let mut byte = 0;
    let mut at = 0;
    while LENGTHS[order[at] as usize] <= 8 {
        let length = LENGTHS[order[at] as usize];
        let mut same = 0;
        while same < 1 << (8 - length) {
            short[byte] = (order[at] as u8, length);
            byte += 1;
            same += 1;
        }
        at += 1;
    }
    short
}

/// Appends the bytes behind `coded`.
pub fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    // No code is shorter than 5 bits.
    out.reserve(coded.len() * 8 / 5);
    let mut rest = coded;
    // The next `held` bits, from the top; ones behind them.
    let (mut bits, mut held) = (u64::MAX, 0u32);
    loop {
        if held < 32 {
            if let Some((four, tail)) = rest.split_first_chunk::<4>() {
                let below = u64::from(!u32::from_be_bytes(*four)) << 32;
                bits &= !(below >> held);
                held += 32;
                rest = tail;
            } else {
                for byte in rest {
                    bits &= !((u64::from(!byte) << 56) >> held);
                    held += 8;
                }
                rest = &[];
            }
        }
        // Four short codes at most until the next look at the input.
        for _ in 0..4 {
            let (symbol, length) = SHORT[usize::from(bits.to_be_bytes()[0])];
            let length = u32::from(length);
            if length == 0 || length > held {
                break;
            }
            out.push(symbol);
            bits = !(!bits << length);
            held -= length;
        }
        let (symbol, length) = match SHORT[usize::from(bits.to_be_bytes()[0])] {
            (_, 0) => long_code((bits >> 32) as u32)?,
            (symbol, length) => (u16::from(symbol), u32::from(length)),
        };
        if length > held {
            if !rest.is_empty() {
                continue;
            }
            // The rest of the last byte must be the beginning of the end's code, which is ones.
            let padding = held < 8 && bits == u64::MAX;
            return if padding { Ok(()) } else { Err(Error("a Huffman code cut short")) };
        }
        if symbol == END {
            return Err(Error("an end within a string in Huffman code"));
        }
        out.push(symbol as u8);
        bits = !(!bits << length);
        held -= length;
    }
}

/// Symbol and length of the code of more than 8 bits at the top of `bits`.
fn long_code(bits: u32) -> Result<(u16, u32), Error> {
    const NONE: Error = Error("no Huffman code");
    let length = (9..=LENGTH_MAX).find(|length| u64::from(bits) < LONG[*length].end).ok_or(NONE)?;
    let Long { first, at, .. } = LONG[length];
    let nth = (bits.wrapping_sub(first)) >> (32 - length);
    let symbol = ORDER.get(usize::from(at) + nth as usize).ok_or(NONE)?;
    Ok((*symbol, length as u32))
}
