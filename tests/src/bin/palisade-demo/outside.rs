//! The run outside the namespaces: starts the one inside, and ends it with everything.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use palisade_e2e::{Doing as _, Failure, Outcome, Signal, command_inside, eventually_within};
use tempfile::TempDir;

use crate::{lifeline, page, program, screen, signals};

/// The variable with the folder of the run inside.
pub(crate) const FOLDER: &str = "PALISADE_DEMO_FOLDER";
/// How often signals and the run inside are looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Runs the demonstration and returns its exit code.
pub(crate) fn run(keep: bool) -> Outcome<ExitCode> {
    // Started in the background, it ends when whatever started it does.
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    program::are_built()?;
    let signals = signals::terminations()?;
    let folder = tempfile::Builder::new().prefix("palisade-demo-").tempdir().doing("making a folder")?;
    let lifeline = lifeline::Outer::hold(folder.path())?;
    let mut command = command_inside()?;
    command.env(FOLDER, folder.path()).stdin(Stdio::null());
    if keep {
        command.env(page::PORT, page::open_outside(folder.path())?.to_string());
    }
    // Ctrl-C on the terminal reaches this process alone, which then ends the others in order.
    let mut child = command.process_group(0).spawn().doing("starting unshare")?;
    match end_or_signal(&mut child, &signals)? {
        End::Signal(number) => {
            end(&mut child, &lifeline)?;
            folder.close().or_else(is_gone)?;
            screen::line("\n  Ended; the throw-away network is gone.\n");
            let code = 128 + u8::try_from(number).unwrap_or_default();
            Ok(if lifeline.is_exploring() { ExitCode::SUCCESS } else { ExitCode::from(code) })
        }
        End::Exit(status) if status.success() => {
            folder.close().or_else(is_gone)?;
            Ok(ExitCode::SUCCESS)
        }
        End::Exit(status) => {
            keep_logs(folder);
            // With 1 it has told why.
            if status.code() == Some(1) {
                return Ok(ExitCode::FAILURE);
            }
            Err(Failure::new(format!("the run in its namespaces ended with {status}")))
        }
    }
}

enum End {
    Signal(i32),
    Exit(ExitStatus),
}

fn end_or_signal(child: &mut Child, signals: &Receiver<i32>) -> Outcome<End> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Exit(status));
        }
        if let Ok(number) = signals.recv_timeout(INTERVAL) {
            return Ok(End::Signal(number));
        }
    }
}

/// Ends the run inside. It is the first process of its namespace: when it has ended, so have all others there.
fn end(child: &mut Child, lifeline: &lifeline::Outer) -> Outcome {
    let ended = lifeline.cut()
        && eventually_within(Duration::from_secs(5), "the run inside ends", || {
            Ok(child.try_wait()?.is_some())
        })
        .is_ok();
    if !ended {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// The folder may have been removed by the run inside.
fn is_gone(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Keeps the logs of a failed run, and prints where they are.
fn keep_logs(folder: TempDir) {
    if program::logs(folder.path()).next().is_some() {
        let path = folder.keep();
        remove_sockets(&path);
        screen::line(&format!("  Logs and configuration of the programs: {}/*/\n", path.display()));
    }
}

fn remove_sockets(folder: &Path) {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in files.filter(|path| path.extension().is_some_and(|end| end == "sock")) {
        // Only clutter.
        let _ = std::fs::remove_file(file);
    }
}
