//! `usagectl`.

fn main() {}
