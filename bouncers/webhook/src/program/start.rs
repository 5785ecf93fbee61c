//! Starts processes, each in a process group of its own, and classifies why they do not start.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::config::ProgramConfig;
use crate::sink::{Failure, FailureKind};

/// What of the environment a program gets when it does not inherit all.
const BASIC_VARIABLES: [&str; 3] = ["PATH", "HOME", "LANG"];

/// The service manager's variables for this process alone: a program that used them would speak in its name.
const SERVICE_VARIABLES: [&str; 7] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    // The directory has the bouncer's API key.
    "CREDENTIALS_DIRECTORY",
];

/// The program with its environment, to be given arguments and standard streams.
pub(super) fn command(config: &ProgramConfig) -> Command {
    let mut command = Command::new(&config.path);
    if !config.inherit_environment {
        command.env_clear();
        command.envs(BASIC_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    }
    for name in SERVICE_VARIABLES {
        command.env_remove(name);
    }
    // A group of its own, so that what the program starts can be ended with it, and that a terminal's interrupt ends
    // this process only, which then closes the program's input in order.
    command.process_group(0).kill_on_drop(true);
    command
}

/// Starts a command.
pub(super) fn start(mut command: Command) -> io::Result<(Child, ProcessGroup)> {
    // The command is dropped here: while it exists, so do the writing ends of the program's pipes in this process.
    let child = command.spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok((child, ProcessGroup(group)))
}

/// A program's process group; killed when dropped.
#[derive(Debug)]
pub(super) struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// Sends a signal to all processes of the group. A group without processes is fine.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Leaves what is still running alone: a program may start something that stays.
    pub(super) fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Why a program did not start, and what follows from it.
pub(super) fn start_failure(config: &ProgramConfig, error: &io::Error) -> Failure {
    let (kind, advice) = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => {
            (FailureKind::Refusing, "; install it, or the interpreter that its first line names")
        }
        Some(Errno::ACCESS | Errno::PERM) => (FailureKind::Refusing, "; make it executable for this user"),
        Some(Errno::NOEXEC) => (FailureKind::Refusing, "; a script needs a first line such as #!/bin/sh"),
        Some(Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::NAMETOOLONG) => {
            (FailureKind::Refusing, "; correct its path")
        }
        // The arguments are at fault: too long, or with a NUL character.
        Some(Errno::TOOBIG) => (FailureKind::Rejected, ""),
        _ if error.kind() == io::ErrorKind::InvalidInput => (FailureKind::Rejected, ""),
        // Memory, processes, file descriptors, or a program that is being written.
        _ => (FailureKind::Retry, ""),
    };
    let path = config.path.display();
    Failure {
        kind,
        perhaps_received: false,
        reason: format!("starting {path} failed: {error}{advice}"),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::ProgramMode;
    use crate::program::test_support::config;

    #[test]
    fn a_program_that_cannot_start_pauses_the_endpoint_and_bad_arguments_do_not() {
        let mode = ProgramMode::Arguments { timeout: Duration::from_secs(1) };
        let config = config(Path::new("/opt/ban").into(), mode);
        let kind = |errno: Errno| {
            let failure = start_failure(&config, &errno.into());
            assert!(!failure.perhaps_received && failure.reason.contains("/opt/ban"), "{failure:?}");
            failure.kind
        };
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC, Errno::NOTDIR] {
            assert_eq!(kind(errno), FailureKind::Refusing, "{errno}");
        }
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::TXTBSY] {
            assert_eq!(kind(errno), FailureKind::Retry, "{errno}");
        }
        assert_eq!(kind(Errno::TOOBIG), FailureKind::Rejected);
        let nul = io::Error::new(io::ErrorKind::InvalidInput, "nul byte found in provided data");
        assert_eq!(start_failure(&config, &nul).kind, FailureKind::Rejected);
    }
}
