//! Collects the logs and the ruleset of a failed test and prints them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::host::Host;

/// Number of lines shown of each log.
const TAIL: usize = 60;
/// Number of logs kept per name: of a process that was started two hundred times the last are enough.
const STARTS: usize = 6;

/// The logs of a world's processes and its router, shown if the test fails.
#[derive(Clone)]
pub(crate) struct Evidence {
    router: Host,
    logs: Arc<Mutex<Vec<(String, PathBuf)>>>,
}

impl Evidence {
    pub(crate) fn new(router: &Host) -> Self {
        Self { router: router.clone(), logs: Arc::default() }
    }

    /// Adds a log; a process restarted on the same log is added once.
    pub(crate) fn keep(&self, name: &str, log: &Path) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if !logs.iter().any(|(_, kept)| kept == log) {
            logs.push((name.to_owned(), log.to_path_buf()));
            if logs.iter().filter(|(known, _)| known == name).count() > STARTS
                && let Some(oldest) = logs.iter().position(|(known, _)| known == name)
            {
                logs.remove(oldest);
            }
        }
    }

    /// Prints the ruleset and the tail of every log.
    #[expect(clippy::print_stderr, reason = "a failed story is read by a person")]
    pub(crate) fn show(&self) {
        match self.router.tool(["nft", "-nn", "list", "ruleset"]) {
            Ok(rules) => eprintln!("\n--- ruleset of the router\n{}", tail(&rules, 3 * TAIL)),
            Err(failure) => eprintln!("\n--- no ruleset: {failure}"),
        }
        for (name, log) in self.logs.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let text = std::fs::read(log).unwrap_or_default();
            eprintln!("\n--- {name} ({})\n{}", log.display(), tail(&String::from_utf8_lossy(&text), TAIL));
        }
    }

    /// Prints everything and ends the program: the test exceeded its time limit.
    #[expect(clippy::print_stderr, reason = "a failed story is read by a person")]
    pub(crate) fn give_up(&self, limit: Duration) {
        self.show();
        eprintln!("\n{}the story was not over after {limit:?}", crate::namespaces::FAILED);
        std::process::exit(1);
    }
}

/// The last `lines` of `text`, each cut to a readable length.
fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let skipped = all.len().saturating_sub(lines);
    let mut shown = if skipped > 0 { format!("[{skipped} lines before]\n") } else { String::new() };
    for line in &all[skipped..] {
        let cut: String = line.chars().take(400).collect();
        shown.push_str(&cut);
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn a_tail_names_the_number_of_omitted_lines() {
        assert_eq!(tail("a\nb\nc", 2), "[1 lines before]\nb\nc\n");
        assert_eq!(tail("a", 2), "a\n");
    }
}
