//! The program `palisade-firewall`.

use std::process::ExitCode;

use palisade_firewall::{Firewall, pass_on_net_admin};

fn main() -> ExitCode {
    // Before any thread is started: capabilities belong to threads, and later ones inherit them. Where it is refused,
    // the error of `nft` names what is missing.
    let _best_effort = pass_on_net_admin();
    palisade_bouncer::run::<Firewall>(std::env::args().skip(1))
}
