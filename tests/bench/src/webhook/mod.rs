//! The webhook bouncer beside its peers.

pub(crate) mod deliveries;
mod http_receiver;
pub(crate) mod memory;
pub(crate) mod mirror;
mod program_receiver;
mod sender;

/// The children of these comparisons; returns whether it succeeded.
pub(crate) fn child(words: &[String]) -> bool {
    match words {
        [what, port, lines] if what == "reader" => program_receiver::child(port, lines),
        _ => mirror::child(words),
    }
}
