//! `make run`: one ban, and every door that closes, in a throw-away network.
//!
//! ```text
//!  outside   the temporary folder, signals, the page's port; ends everything
//!     │ starts again in namespaces, and holds a lifeline to it
//!  inside    the network, the programs on its hosts, the steps that are shown
//! ```
//!
//! `--keep` (`make run KEEP=1`) leaves the network up for exploring. Nothing outlives the program: neither processes nor
//! namespaces nor files, except the logs of a run that failed.

mod application;
mod commands;
mod doors;
mod enter;
mod explore;
mod files;
mod http;
mod inside;
mod lifeline;
mod network;
mod outside;
mod page;
mod probe;
mod program;
mod receiver;
mod screen;
mod signals;

use std::process::ExitCode;

use palisade_e2e::Failure;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keep = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--keep"] => true,
        _ => {
            screen::failure(&Failure::new(format!(
                "{}: the only argument is --keep (make run KEEP=1)",
                arguments.join(" ")
            )));
            return ExitCode::from(64);
        }
    };
    let is_inside = std::env::var_os(outside::FOLDER).is_some();
    let ended = if is_inside { inside::run(keep) } else { outside::run(keep) };
    ended.unwrap_or_else(|failure| {
        screen::failure(&failure);
        ExitCode::FAILURE
    })
}
