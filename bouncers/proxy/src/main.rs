//! The program `palisade-proxy`.

fn main() {}
