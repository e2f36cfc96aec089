#![no_main]

#[path = "../../tests/fuzzed/config.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| config::read(bytes));
