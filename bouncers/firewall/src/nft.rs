//! Runs the `nft` program, for structure only; elements go over netlink. No other file runs it.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use nftables::schema::NfObject;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command as Process;

/// A command in `nft`'s JSON form.
pub(crate) type Command = Value;

/// Converts a typed command into a [`Command`].
pub(crate) fn command(object: NfObject<'_>) -> Command {
    serde_json::to_value(object).expect("commands are made of strings and numbers only")
}

/// Timeout of one run of `nft`.
// A transaction of structure takes milliseconds; only a stuck system comes near this.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why `nft` failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NftError {
    /// It could not be run.
    #[error("cannot run nft: {0}; install the package nftables, and make sure that nft is in PATH")]
    Missing(#[source] io::Error),
    /// It exited with an error.
    #[error("nft refuses to {what}: {stderr}")]
    Refused {
        /// The operation.
        what: &'static str,
        /// Its error output.
        stderr: String,
    },
    /// It did not end in time.
    #[error("nft did not {what} within {} s and was stopped; is the system overloaded?", DEADLINE.as_secs())]
    Stuck {
        /// The operation.
        what: &'static str,
    },
}

impl NftError {
    /// Whether an object that the commands refer to does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        // `nft` exits with 1 for every refusal; only its text distinguishes them.
        matches!(self, Self::Refused { stderr, .. } if stderr.contains("No such file or directory"))
    }
}

/// Runs commands as one transaction. Without commands nothing is run.
pub(crate) async fn apply(what: &'static str, commands: Vec<Command>) -> Result<(), NftError> {
    if commands.is_empty() {
        return Ok(());
    }
    // The output is not read: `nft` 1.0.6 prints garbage as soon as a table of others has a flag. The result is read
    // over netlink, see `clause.rs`.
    run(what, &["-j", "-f", "-"], &script(commands)).await
}

/// Checks commands in `nft` and the kernel without carrying them out.
pub(crate) async fn check(what: &'static str, commands: Vec<Command>) -> Result<(), NftError> {
    run(what, &["-c", "-j", "-f", "-"], &script(commands)).await
}

fn script(commands: Vec<Command>) -> String {
    json!({ "nftables": commands }).to_string()
}

async fn run(what: &'static str, arguments: &[&str], stdin: &str) -> Result<(), NftError> {
    let mut child = Process::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A run that exceeds the timeout must not change the ruleset later, when the enforcer has gone on.
        .kill_on_drop(true)
        .spawn()
        .map_err(NftError::Missing)?;
    let pipe = child.stdin.take();
    let talk = async {
        let feed = async {
            if let Some(mut pipe) = pipe {
                // `nft` may stop reading because it refuses the first line; its exit status is checked below.
                let _broken_pipe = pipe.write_all(stdin.as_bytes()).await;
            }
        };
        // Side by side: if `nft` filled its pipe for errors while we only write, both would wait for ever.
        tokio::join!(feed, child.wait_with_output()).1
    };
    let output = match tokio::time::timeout(DEADLINE, talk).await {
        Err(_elapsed) => return Err(NftError::Stuck { what }),
        Ok(output) => output.map_err(NftError::Missing)?,
    };
    if output.status.success() {
        return Ok(());
    }
    let stderr = plain(&String::from_utf8_lossy(&output.stderr));
    Err(NftError::Refused { what, stderr })
}

/// The errors of `nft` in one line: each message once, without positions in a script that is not stored.
fn plain(stderr: &str) -> String {
    let mut complaints: Vec<&str> = Vec::new();
    for line in stderr.lines() {
        let line = line.strip_prefix("internal:0:0-0: ").unwrap_or(line).trim();
        if !line.is_empty() && !complaints.contains(&line) {
            complaints.push(line);
        }
    }
    let mut text = complaints.join("; ");
    // With one message per command a long script would fill the log.
    if text.len() > 2000 {
        let cut = (0..=2000).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn each_complaint_is_told_once() {
        let said = "internal:0:0-0: Error: Could not process rule: Operation not permitted\n\n\n".repeat(9);
        assert_eq!(plain(&said), "Error: Could not process rule: Operation not permitted");
        assert_eq!(plain("Error: a\nError: b\n"), "Error: a; Error: b");
        assert!(plain(&"ä".repeat(3000)).len() <= 2000);
    }
}
