#![no_main]

#[path = "../../tests/fuzzed/provider.rs"]
mod provider;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| provider::read(bytes));
