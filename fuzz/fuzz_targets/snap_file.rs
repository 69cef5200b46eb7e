//! Any bytes as a `.snap` file or a peer's message: decoded or refused, never a panic; what was decoded survives being
//! encoded and decoded again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wal::{codec, snap};

fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(snapshot) = snap::decode(bytes.clone()) {
        assert_eq!(snap::decode(snap::encode(&snapshot).into()).as_ref(), Ok(&snapshot));
    }
    if let Ok(message) = codec::decode_message(bytes) {
        assert_eq!(codec::decode_message(codec::encode_message(&message).into()).as_ref(), Ok(&message));
    }
});
