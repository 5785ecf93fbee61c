//! `palisade`: the admin CLI of the LAPI.

fn main() {}
