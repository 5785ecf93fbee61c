//! `palisade-lapi`: the companion Local API.

fn main() {}
