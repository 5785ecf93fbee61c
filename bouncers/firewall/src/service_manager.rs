//! Asks systemd whether this stop is part of a restart. What is in the kernel then stays, and the next process adopts
//! it.
//!
//! Runs `systemctl list-jobs`; the unit file passes the unit's name in [`UNIT`]. Without the variable, without systemd,
//! or when it does not answer, a stop is a stop.

use std::env;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// The environment variable that holds the unit's name (`Environment=PALISADE_UNIT=%n`).
const UNIT: &str = "PALISADE_UNIT";

/// Timeout of the question.
// A stop must not hang on the service manager, which waits for the stop itself.
const DEADLINE: Duration = Duration::from_secs(2);

/// Whether the service manager stops this unit in order to start it again.
pub(crate) async fn restarts_us() -> bool {
    let Ok(unit) = env::var(UNIT) else { return false };
    let asked = Command::new("systemctl")
        .args(["list-jobs", "--plain", "--no-legend", "--no-pager"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    // Without a response a stop counts as final, as it does without systemd.
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(output)) => is_restart(&String::from_utf8_lossy(&output.stdout), &unit),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Whether a list of jobs (number, unit, type, state) holds a restart of this unit.
fn is_restart(jobs: &str, unit: &str) -> bool {
    jobs.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(unit)
            && words.next().is_some_and(|kind| kind == "restart" || kind == "try-restart")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_restart_of_this_unit_counts() {
        let unit = "palisade-firewall.service";
        for (jobs, expected) in [
            ("512 palisade-firewall.service restart running\n", true),
            ("511 ssh.service start waiting\n512 palisade-firewall.service try-restart running\n", true),
            ("512 palisade-firewall.service stop running\n", false),
            ("512 other.service restart running\n", false),
            ("", false),
            ("No jobs running.\n", false),
        ] {
            assert_eq!(is_restart(jobs, unit), expected, "{jobs}");
        }
    }
}
