//! The programs of the suite: where they are, how they are called, and the running ones.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_e2e::{Doing as _, Failure, Host, Notify, Outcome, Process, eventually_within, tools};

use crate::commands;

const PROGRAMS: [&str; 5] =
    ["palisade-lapi", "palisade", "palisade-firewall", "palisade-proxy", "palisade-webhook"];
/// How long a program may take to start.
const START: Duration = Duration::from_secs(20);

/// Fails when a program is not built; the message names the command that builds it.
pub(crate) fn are_built() -> Outcome {
    PROGRAMS.iter().try_for_each(|name| tools::ours(name).map(drop))
}

/// The folder of a host: configuration, data, logs, and `bin` with its programs.
pub(crate) fn folder_of(folder: &Path, host: &Host) -> PathBuf {
    folder.join(host.name())
}

/// Makes a program callable on a host by its name alone, with this configuration file.
pub(crate) fn install(folder: &Path, host: &Host, name: &str, config: &str) -> Outcome {
    let folder = folder_of(folder, host);
    // One by one: the folder above is not made again when it is being removed.
    for path in [folder.clone(), folder.join("bin"), folder.join("data")] {
        match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).doing(format_args!("making {}", path.display()));
            }
            _ => {}
        }
    }
    let path = folder.join("bin").join(name);
    let program = tools::ours(name)?;
    let text =
        format!("#!/bin/sh\nexec '{}' -c '{}' \"$@\"\n", program.display(), folder.join(config).display());
    write_executable(&path, &text)
}

/// Writes a configuration file of a host, readable for its owner alone as it has keys.
pub(crate) fn configure(folder: &Path, host: &Host, name: &str, text: &str) -> Outcome {
    let path = folder_of(folder, host).join(name);
    fs::write(&path, text).doing(format_args!("writing {}", path.display()))?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?)
}

/// Writes a script.
pub(crate) fn write_executable(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).doing(format_args!("writing {}", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// The logs of all programs.
pub(crate) fn logs(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let hosts = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = hosts.flat_map(|host| fs::read_dir(host.path()).into_iter().flatten().flatten());
    files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "log"))
}

/// A running program; killed when dropped.
pub(crate) struct Program {
    name: String,
    process: Process,
    notify: Notify,
}

impl Program {
    /// Starts an installed program. Its log is `NAME.log` in its host's folder.
    pub(crate) fn start(folder: &Path, host: &Host, name: &str) -> Outcome<Self> {
        let socket = folder.join(format!("ready-{}.sock", host.name()));
        let notify = Notify::bind(socket)?;
        let mut command = commands::prepare(folder, host, &format!("exec {name}"))?;
        command.env("NOTIFY_SOCKET", notify.path());
        let log = folder_of(folder, host).join(format!("{name}.log"));
        let process = Process::start(host, name, command, &log)?;
        Ok(Self { name: name.to_owned(), process, notify })
    }

    /// Waits until it reports that it is ready.
    pub(crate) fn ready(&mut self) -> Outcome {
        let name = self.name.clone();
        let mut ended = None;
        let ready = eventually_within(START, &format!("{name} is ready"), || {
            ended = self.process.exited();
            let notifications = self.notify.notifications()?;
            Outcome::Ok(ended.is_some() || notifications.iter().any(|line| line == "READY=1"))
        });
        match (ready, ended) {
            (Ok(_), None) => Ok(()),
            (Err(failure), None) => Err(Failure::new(format!("{failure}; {}", self.log_end()))),
            (_, Some(status)) => Err(Failure::new(format!("{name} ended with {status}; {}", self.log_end()))),
        }
    }

    fn log_end(&self) -> String {
        let log = self.process.log();
        format!("the end of its log: {}", log.lines().last().unwrap_or("it is empty"))
    }
}
