//! Checks the `program` block.

use std::time::Duration;

use super::super::file::{ProgramFile, ProgramModeFile};
use super::super::{ProgramConfig, ProgramMode};
use super::{Check, SHORTEST};

/// The longest `stop_timeout`. A reload that ends the program waits for it, and must itself end before the main loop
/// counts as hung (30 s), with the time that deliveries under way are given.
const MAX_STOP_TIMEOUT: Duration = Duration::from_secs(15);

impl Check<'_> {
    pub(super) fn program(&mut self, key: &str, file: ProgramFile) -> Option<ProgramConfig> {
        let Some(path) = file.path else {
            self.wrong.add(format!("{key}.path"), "name the program");
            return None;
        };
        if !path.is_absolute() {
            self.wrong
                .add(format!("{key}.path"), "give the absolute path: a service has no working directory");
        }
        let s = Duration::from_secs;
        let mut duration = |name: &str, given, default| {
            self.wrong.duration(format!("{key}.{name}"), given, default, SHORTEST)
        };
        let timeout = duration("timeout", file.timeout, s(60));
        let restart_wait = duration("restart_wait", file.restart_wait, s(2));
        let stop_timeout = duration("stop_timeout", file.stop_timeout, s(5));
        if stop_timeout > MAX_STOP_TIMEOUT {
            self.wrong.add(format!("{key}.stop_timeout"), format!("it must be at most {MAX_STOP_TIMEOUT:?}"));
        }
        let mode = match file.mode.unwrap_or(ProgramModeFile::Stdin) {
            ProgramModeFile::Arguments => ProgramMode::Arguments { timeout },
            ProgramModeFile::Stdin => {
                ProgramMode::StandardInput { max_starts: file.max_starts, restart_wait, stop_timeout }
            }
        };
        if file.max_starts == Some(0) {
            self.wrong.add(format!("{key}.max_starts"), "it must be at least 1; leave it out for any number");
        }
        let arguments = file.arguments.unwrap_or_default();
        if !arguments.is_empty() && matches!(mode, ProgramMode::Arguments { .. }) {
            self.wrong.add(
                format!("{key}.arguments"),
                "with `mode: arguments` the program gets the event as its arguments; remove the key",
            );
        }
        Some(ProgramConfig {
            path,
            arguments,
            mode,
            inherit_environment: file.inherit_environment.unwrap_or(true),
        })
    }
}
