#![no_main]

#[path = "../../tests/fuzzed/webhook.rs"]
mod webhook;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webhook::take(bytes));
