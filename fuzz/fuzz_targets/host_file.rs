//! A file of a host, read as on a host: tables of the kernel, configuration, packages, crontabs, presets, runit.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| safetytwin_agent::fuzzing::host_file(bytes));
