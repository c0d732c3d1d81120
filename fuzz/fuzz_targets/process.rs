//! `/proc`: stat, cgroup, cmdline.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| safetytwin_agent::fuzzing::process(bytes));
