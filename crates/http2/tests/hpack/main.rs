//! Header compression: the examples of the RFC, a model encoder with random headers, hostile blocks.
#![allow(clippy::unwrap_used)]

mod codes;
mod encoder;
mod hostile;
mod rfc;
mod round_trip;
mod table;
mod writers;

use http2::hpack::{Decoder, Error};

type Field = (Vec<u8>, Vec<u8>);

fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, Error> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| fields.push((name.to_vec(), value.to_vec())))?;
    Ok(fields)
}

/// `name: value` lines.
fn lines(decoder: &mut Decoder, block: &[u8]) -> Result<String, Error> {
    let mut lines = String::new();
    decoder.decode(block, |name, value| {
        lines += &format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    })?;
    Ok(lines)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}
