//! Any bytes as the header blocks of a connection: refused or read, never a panic; and a block that leaves the table as
//! it was says the same again. The first byte picks the table's size; a block is a length byte and that many bytes.
#![no_main]

use http2::hpack::Decoder;
use libfuzzer_sys::fuzz_target;

fn fields(decoder: &mut Decoder, block: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| fields.push((name.to_vec(), value.to_vec()))).ok()?;
    Some(fields)
}

fuzz_target!(|input: &[u8]| {
    let Some((size, mut rest)) = input.split_first() else { return };
    let mut decoder = Decoder::new(usize::from(*size) * 64);
    while let Some((len, tail)) = rest.split_first() {
        let (block, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        let before = decoder.generation();
        let Some(said) = fields(&mut decoder, block) else { return };
        if decoder.generation() == before {
            assert_eq!(fields(&mut decoder, block), Some(said));
            assert_eq!(decoder.generation(), before);
        }
    }
});
