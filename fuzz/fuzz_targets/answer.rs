//! Messages and answers: process connector, helper, events and stored list of an engine.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| safetytwin_agent::fuzzing::answer(bytes));
