//! Content of a HostSection: base64, zstd with a bound on what it may grow to, items one by one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use safetytwin_crds::item::{AiItem, ContainerItem, Machine, Observed, ProcessItem, UnitItem};
use safetytwin_crds::section::{MAX_DECODED, compress, decode_items, decompress};
use safetytwin_crds::{digest::PartDigest, manifest::Manifest, section::Encoding, section::decode_data};

fuzz_target!(|text: &str| {
    if let Ok(bytes) = decompress(text) {
        assert!(bytes.len() as u64 <= MAX_DECODED);
    }
    let whole = compress(text.as_bytes()).expect("bytes in memory");
    assert_eq!(decompress(&whole).expect("what was compressed"), text.as_bytes());
    let json = text.as_bytes();
    assert!(decode_data(text, Encoding::Json, PartDigest::of(b"another")).is_err());
    let _ = decode_items::<UnitItem>(json);
    let _ = decode_items::<ContainerItem>(json);
    let _ = decode_items::<ProcessItem>(json);
    let _ = decode_items::<Machine>(json);
    let _ = decode_items::<AiItem>(json);
    let _ = decode_items::<Observed>(json);
    let _ = serde_json::from_slice::<Manifest>(json);
});
