//! Names and image references.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| safetytwin_agent::fuzzing::name(text));
