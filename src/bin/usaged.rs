//! `usaged`.

fn main() {}
