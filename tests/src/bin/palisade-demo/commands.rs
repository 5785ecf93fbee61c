//! Commands on hosts, as they are printed.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use palisade_e2e::{Failure, Host, Outcome, tools};

use crate::program::folder_of;
use crate::screen;

/// The search path of a host: its own programs, then the tools.
pub(crate) fn search_path(folder: &Path, host: &Host) -> Outcome<OsString> {
    let mut path = folder_of(folder, host).join("bin").into_os_string();
    path.push(":");
    path.push(tools::search_path()?);
    Ok(path)
}

/// A line for the shell of a host; to be started there.
pub(crate) fn prepare(folder: &Path, host: &Host, line: &str) -> Outcome<Command> {
    let mut command = tools::command("sh")?;
    command.args(["-c", line]).env("PATH", search_path(folder, host)?);
    Ok(command)
}

/// Prints a command, runs it on a host to its end, and returns what it printed.
pub(crate) fn run(folder: &Path, host: &Host, line: &str) -> Outcome<String> {
    screen::command(host.name(), line);
    run_quietly(folder, host, line)
}

/// As [`run`], without printing it.
pub(crate) fn run_quietly(folder: &Path, host: &Host, line: &str) -> Outcome<String> {
    let mut command = prepare(folder, host, line)?;
    let output = host.run(|| tools::run(&mut command, ""))?;
    if output.code != 0 {
        let said = if output.err.is_empty() { output.out } else { output.err };
        return Err(Failure::new(format!(
            "on {}: {line}: exit code {}: {}",
            host.name(),
            output.code,
            said.trim()
        )));
    }
    Ok(output.out)
}
