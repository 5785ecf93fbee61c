//! The common parts of the command `adopt`, by which a program takes the place of a stock service, and goes back.
//!
//! ```text
//!  plan ──► approved() ──► steps: systemd::Service, drop_in, the role's own ──► or back to where it began
//! ```
//!
//! There is no record of how far a run has come: each step looks at what systemd reports and does what is missing, so a
//! second run goes on where a killed one has ended.

mod drop_in;
mod systemd;

use std::fmt::{self, Display, Write as _};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

pub use self::drop_in::{DropIn, write_file};
pub use self::systemd::{
    Service, ServiceState, SystemdError, is_systemd_here, reload_units, require_systemd,
};
use crate::flags::{Command, Flag};

/// The command `adopt` of a program.
pub const fn adopt_command(help: &'static str) -> Command {
    Command { name: "adopt", words: &[], flags: ADOPT_FLAGS, help }
}

/// `-yes`: do it without asking.
const YES: &str = "yes";
/// `-undo`: go back.
const UNDO: &str = "undo";

const ADOPT_FLAGS: &[Flag] = &[
    Flag::switch(YES, "do it; without it the steps are shown, and a terminal is asked"),
    Flag::switch(UNDO, "go back to the stock service"),
];

/// The flags of one run of `adopt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdoptFlags {
    /// Do it without asking.
    pub yes: bool,
    /// Go back to the stock service.
    pub undo: bool,
}

impl AdoptFlags {
    /// The flags on a command line.
    pub fn of(typed: &crate::flags::Typed) -> Self {
        Self { yes: typed.switch(YES), undo: typed.switch(UNDO) }
    }
}

/// What a run would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is found, one line.
    pub found: String,
    /// What will be done, in order, one line each.
    pub steps: Vec<String>,
    /// What to know before, one line each.
    pub notes: Vec<String>,
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.found)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {}. {step}", number + 1)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "Note: {note}"))
    }
}

/// Prints the plan, and returns whether to carry it out: with `-yes`, or when a terminal answers so.
///
/// # Errors
/// Nothing can be printed.
pub fn approved(plan: &Plan, flags: AdoptFlags) -> io::Result<bool> {
    say(plan.to_string().trim_end())?;
    if flags.yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        say("Nothing is changed. With -yes these steps are carried out.")?;
        return Ok(false);
    }
    let mut out = io::stdout().lock();
    write!(out, "Carry them out? [y/N] ")?;
    out.flush()?;
    drop(out);
    let mut answer = String::new();
    // A line of a terminal is bounded by the kernel.
    io::stdin().lock().read_line(&mut answer)?;
    let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if !yes {
        say("Nothing is changed.")?;
    }
    Ok(yes)
}

/// Prints a line of progress.
///
/// # Errors
/// Nothing can be printed.
pub fn say(line: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The errors of a failed run: what failed, and what came of going back.
pub fn rolled_back(cause: &anyhow::Error, stock: &str, back: Result<(), anyhow::Error>) -> anyhow::Error {
    let mut text = format!("{cause:#}; ");
    // Writing to a string cannot fail.
    let _ = match back {
        Ok(()) => write!(text, "everything is as before, and {stock} runs"),
        Err(error) => write!(
            text,
            "going back failed too: {error:#}. Start {stock} by hand: systemctl enable --now {stock}"
        ),
    };
    anyhow::Error::msg(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_numbered_lines() {
        let plan = Plan {
            found: "a runs.".into(),
            steps: vec!["stop a".into(), "start b".into()],
            notes: vec!["b is better".into()],
        };
        assert_eq!(plan.to_string(), "a runs.\n  1. stop a\n  2. start b\nNote: b is better\n");
    }

    #[test]
    fn a_failure_names_where_things_stand() {
        let cause = anyhow::Error::msg("no");
        assert_eq!(
            rolled_back(&cause, "x.service", Ok(())).to_string(),
            "no; everything is as before, and x.service runs"
        );
        let text = rolled_back(&cause, "x.service", Err(anyhow::Error::msg("neither"))).to_string();
        assert!(
            text.ends_with("neither. Start x.service by hand: systemctl enable --now x.service"),
            "{text}"
        );
    }
}
