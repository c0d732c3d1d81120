//! A document of `twin-agent --once`, as `twin plan` reads it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(list) = serde_json::from_slice(bytes) {
        let _ = safetytwin::plan::offline::offline(&list);
    }
});
