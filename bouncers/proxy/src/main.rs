//! The program `palisade-proxy`.

use std::process::ExitCode;

use palisade_proxy::Proxy;

fn main() -> ExitCode {
    palisade_bouncer::run::<Proxy>(std::env::args().skip(1))
}
