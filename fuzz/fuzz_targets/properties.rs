//! D-Bus properties → item.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| safetytwin_agent::fuzzing::properties(bytes));
