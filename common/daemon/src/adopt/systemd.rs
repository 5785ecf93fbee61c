//! Runs `systemctl`: the state of services; starting, stopping, enabling and disabling them.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::geteuid;

/// Exists while systemd is the init of this host, see sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

/// How often a starting service is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Lines of a failed service's log that an error shows.
const LOG_LINES: usize = 8;
/// Longest line shown of it, in characters.
const LOG_WIDTH: usize = 300;

/// Why the service manager did not do what it was to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemdError {
    /// This host is not run by systemd.
    #[error(
        "systemd does not run here (no {BOOTED}): a container or another init; stop the stock program and start this one in the way it is done here"
    )]
    Absent,
    /// Only root may.
    #[error("only root can change services: run it with sudo")]
    NotRoot,
    /// `systemctl` cannot be run.
    #[error("cannot run systemctl: {0}")]
    NotRun(#[from] io::Error),
    /// `systemctl` failed.
    #[error("systemctl {arguments}: {said}")]
    Failed {
        /// Its arguments.
        arguments: String,
        /// Its error output.
        said: String,
    },
    /// A service did not become active.
    #[error("{service} did not start ({state}){log}")]
    NotStarted {
        /// The service.
        service: &'static str,
        /// Its state.
        state: String,
        /// The end of its log.
        log: String,
    },
}

/// Whether systemd runs this host.
pub fn is_systemd_here() -> bool {
    Path::new(BOOTED).is_dir()
}

/// Checks that services can be changed: systemd runs, and this is root.
///
/// # Errors
/// Which of both is not so.
pub fn require_systemd() -> Result<(), SystemdError> {
    if !is_systemd_here() {
        return Err(SystemdError::Absent);
    }
    if !geteuid().is_root() {
        return Err(SystemdError::NotRoot);
    }
    Ok(())
}

/// Loads changed units (`systemctl daemon-reload`).
///
/// # Errors
/// It fails.
pub fn reload_units() -> Result<(), SystemdError> {
    systemctl(&["daemon-reload"]).map(|_| ())
}

/// A service, by the name of its unit with `.service`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service(pub &'static str);

/// What systemd reports about a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// Whether there is a unit file.
    pub is_installed: bool,
    /// Whether it runs and is ready.
    pub is_active: bool,
    /// Whether it runs, or is about to: active, starting, or between two attempts.
    pub is_running: bool,
    /// Whether it starts at boot.
    pub is_enabled: bool,
    /// Its state and its sub-state.
    pub state: String,
    /// How often systemd has restarted it.
    pub restarts: u32,
}

impl ServiceState {
    fn parse(text: &str) -> Self {
        let values: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let value = |key: &str| values.get(key).copied().unwrap_or_default();
        let active = value("ActiveState");
        Self {
            is_installed: value("LoadState") == "loaded",
            is_active: active == "active",
            is_running: matches!(active, "active" | "activating" | "reloading"),
            is_enabled: value("UnitFileState").starts_with("enabled"),
            state: format!("{active}, {}", value("SubState")),
            restarts: value("NRestarts").parse().unwrap_or(0),
        }
    }
}

impl Service {
    /// Its state.
    ///
    /// # Errors
    /// `systemctl` fails.
    pub fn state(self) -> Result<ServiceState, SystemdError> {
        let properties = "--property=LoadState,ActiveState,SubState,UnitFileState,NRestarts";
        Ok(ServiceState::parse(&systemctl(&["show", properties, self.0])?))
    }

    /// A property of it, as systemd prints it.
    ///
    /// # Errors
    /// `systemctl` fails.
    pub fn property(self, name: &str) -> Result<String, SystemdError> {
        let text = systemctl(&["show", &format!("--property={name}"), self.0])?;
        Ok(text.trim_end().strip_prefix(&format!("{name}=")).unwrap_or_default().to_owned())
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, systemd restarts it, or it is not ready in time.
    pub fn start(self, timeout: Duration) -> Result<(), SystemdError> {
        // The counter of the attempts before.
        self.reset_failed();
        let begun = SystemTime::now();
        // Not waited for by systemctl: a service may wait for ever, and a failed start with Restart= is one job.
        systemctl(&["start", "--no-block", self.0])?;
        let until = Instant::now() + timeout;
        let mut queued = true;
        loop {
            let state = self.state()?;
            if state.is_active {
                return Ok(());
            }
            // Until its job runs it is as before; other units that have to stop first take their time.
            queued = queued && !state.is_running && self.has_job()?;
            let ended = !state.is_running && !queued;
            if ended || state.restarts > 0 || state.state.ends_with("auto-restart") || Instant::now() >= until
            {
                return Err(SystemdError::NotStarted {
                    service: self.0,
                    state: state.state,
                    log: self.log_since(begun),
                });
            }
            sleep(POLL);
        }
    }

    /// Stops it, and waits until it has ended.
    ///
    /// # Errors
    /// `systemctl` fails.
    pub fn stop(self) -> Result<(), SystemdError> {
        systemctl(&["stop", self.0])?;
        self.reset_failed();
        Ok(())
    }

    /// Starts it at each boot.
    ///
    /// # Errors
    /// `systemctl` fails.
    pub fn enable(self) -> Result<(), SystemdError> {
        systemctl(&["enable", "--quiet", self.0]).map(|_| ())
    }

    /// No longer starts it at boot.
    ///
    /// # Errors
    /// `systemctl` fails.
    pub fn disable(self) -> Result<(), SystemdError> {
        systemctl(&["disable", "--quiet", self.0]).map(|_| ())
    }

    fn has_job(self) -> Result<bool, SystemdError> {
        // 0 for none; of systemd 252 an empty value.
        let job = self.property("Job")?;
        Ok(!matches!(job.as_str(), "" | "0"))
    }

    fn reset_failed(self) {
        // Fails when systemd has not loaded the unit, which then has not failed.
        let _not_loaded = systemctl(&["reset-failed", self.0]);
    }

    /// The end of its log since a moment, with what systemd logged about it, for an error; empty when there is none.
    fn log_since(self, begun: SystemTime) -> String {
        // The last lines may not be written yet.
        let _synced = command("journalctl").arg("--sync").output();
        let begun = begun.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let output = command("journalctl")
            .args(["--quiet", "--no-pager", "--output=cat", "--lines=20", &format!("--since=@{begun:.6}")])
            .args(["--unit", self.0])
            .output();
        let Ok(output) = output else { return String::new() };
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let end = lines.iter().skip(lines.len().saturating_sub(LOG_LINES));
        end.map(|line| format!("\n  {}", line.chars().take(LOG_WIDTH).collect::<String>())).collect()
    }
}

fn systemctl(arguments: &[&str]) -> Result<String, SystemdError> {
    let Output { status, stdout, stderr } =
        command("systemctl").args(["--no-pager", "--no-ask-password"]).args(arguments).output()?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(SystemdError::Failed { arguments: arguments.join(" "), said })
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    // Ctrl-C ends this program's wait, and not a step that has begun.
    command.process_group(0);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read() {
        let text = "NRestarts=2\nLoadState=loaded\nActiveState=activating\nSubState=auto-restart\nUnitFileState=enabled-runtime\n";
        let expected = ServiceState {
            is_installed: true,
            is_active: false,
            is_running: true,
            is_enabled: true,
            state: "activating, auto-restart".into(),
            restarts: 2,
        };
        assert_eq!(ServiceState::parse(text), expected);
        let text = "LoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\n";
        let none = ServiceState { state: "inactive, dead".into(), ..ServiceState::default() };
        assert_eq!(ServiceState::parse(text), none);
    }
}
