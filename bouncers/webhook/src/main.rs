//! The program `palisade-webhook`.

use std::process::ExitCode;

use palisade_webhook::Webhook;

fn main() -> ExitCode {
    palisade_bouncer::run::<Webhook>(std::env::args().skip(1))
}
