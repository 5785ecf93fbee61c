//! The program `palisade-webhook`.

fn main() {}
