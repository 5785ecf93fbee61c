//! Asks for confirmations and passwords, on standard error and standard input.

use std::io::{self, BufRead as _, Write as _};

use palisade_wire::GoDuration;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;
use crate::output::{line, note};

/// A client that was idle for less is probably active.
pub(crate) const MIN_PRUNE_AGE: GoDuration = GoDuration::from_nanos(120_000_000_000);

/// Prints a question, and reads a line. `None` at the end of the input.
fn ask(question: &str) -> Result<Option<String>, Failure> {
    // On standard error, so that standard output stays parseable.
    let _ = write!(io::stderr(), "? {question} ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let length = io::stdin().lock().read_line(&mut answer)?;
    Ok((length > 0).then_some(answer))
}

/// Asks before a prune. Anything but yes declines, which is reported.
pub(crate) fn confirm_prune(question: &str) -> Result<bool, Failure> {
    let Some(answer) = ask(&format!("{question} Continue? (y/N)"))? else {
        return Err(Failure::Command("unable to ask for confirmation: EOF".to_owned()));
    };
    let confirmed = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if !confirmed {
        line("User aborted prune. No changes were made.")?;
    }
    Ok(confirmed)
}

/// Asks for a password, without echo on a terminal.
pub(crate) fn password() -> Result<String, Failure> {
    let hidden = EchoOff::begin();
    let password = ask("Please provide a password for the machine:")?.unwrap_or_default();
    if hidden.0.is_some() {
        // The newline was not echoed either.
        note("");
    }
    drop(hidden);
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Failure::Command("please specify a password with --password or use --auto".to_owned()));
    }
    Ok(password)
}

/// Disables the terminal's echo until dropped; `None` if there is no terminal.
struct EchoOff(Option<Termios>);

impl EchoOff {
    fn begin() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &quiet);
        }
        Self(before)
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}
