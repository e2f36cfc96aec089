#![no_main]

#[path = "../../tests/fuzzed/ledger.rs"]
mod ledger;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ledger::read(bytes));
