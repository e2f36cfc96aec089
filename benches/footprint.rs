//! `footprint`.

fn main() {}
