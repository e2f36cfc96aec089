#![no_main]

#[path = "../../tests/fuzzed/api.rs"]
mod api;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| api::ask(bytes));
