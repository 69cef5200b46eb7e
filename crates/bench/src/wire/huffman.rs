//! HPACK's Huffman code. It is canonical, so the lengths of the codes are all there is to know.

const SYMBOLS: usize = 256;
const LENGTH_MAX: usize = 30;

/// Length in bits of the code of each byte (RFC 7541, appendix B).
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
];

/// The bytes behind `coded`; the ones that fill the last byte are no code.
pub fn decode(coded: &[u8]) -> Result<Vec<u8>, String> {
    let mut order: Vec<u8> = (0..=u8::MAX).collect();
    order.sort_by_key(|symbol| LENGTHS[usize::from(*symbol)]);
    let mut of_length = [0u32; LENGTH_MAX + 1];
    for length in LENGTHS {
        of_length[usize::from(length)] += 1;
    }

    let mut decoded = Vec::new();
    // The bits of the code so far; the first code of this length; how many symbols have shorter codes.
    let (mut code, mut first, mut shorter, mut length) = (0u32, 0u32, 0u32, 0usize);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |shift| u32::from(byte >> shift & 1))) {
        length += 1;
        if length > LENGTH_MAX {
            return Err("a Huffman code longer than any".into());
        }
        (code, first) = (code << 1 | bit, first << 1);
        match order.get((shorter + (code - first)) as usize) {
            Some(symbol) if code - first < of_length[length] => {
                decoded.push(*symbol);
                (code, first, shorter, length) = (0, 0, 0, 0);
            }
            _ => {
                first += of_length[length];
                shorter += of_length[length];
            }
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let example = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&example).unwrap(), b"www.example.com");
        assert_eq!(decode(&[0x64, 0x02]).unwrap(), b"302");
    }

    #[test]
    fn a_code_without_end_is_refused() {
        assert!(decode(&[0xff; 5]).is_err());
    }
}
