//! Unit files: reading and redaction.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| safetytwin_agent::fuzzing::unit_text(text));
