//! Billing in virtual time: the real store, jobs, outbox and HTTP client against the real sandbox, on a clock that tests
//! move. An independent model, written from the rules alone, says what is right.

mod closing;
mod faults;
mod month;
mod vm;
