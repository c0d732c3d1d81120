//! rpm's database: SQLite pages, its write-ahead log, headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| safetytwin_agent::fuzzing::rpm(bytes));
