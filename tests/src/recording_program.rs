//! Programs that a custom bouncer calls or feeds, and that record their calls and lines.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::lapi::Access;
use crate::outcome::{Doing, Failure, Outcome};
use crate::world::World;

/// A shell script with a record.
pub struct RecordingProgram {
    script: PathBuf,
    record: PathBuf,
}

/// One call of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `add` or `del`.
    pub verb: String,
    /// The decision's value.
    pub value: String,
    /// Seconds, as text.
    pub duration: String,
    /// The decision's scenario.
    pub reason: String,
    /// The whole decision.
    pub json: String,
}

/// One process that read its standard input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FedProcess {
    /// Its process id.
    pub id: i32,
    /// The lines it read.
    pub lines: Vec<Value>,
    /// Whether it read to the end of its input.
    pub has_ended: bool,
}

impl FedProcess {
    /// `kill -9`.
    ///
    /// # Errors
    /// When it has already ended, or there was none.
    pub fn kill(&self) -> Outcome {
        let pid = Pid::from_raw(self.id).doing("there is no process")?;
        kill_process(pid, Signal::KILL).doing(format_args!("killing process {}", self.id))
    }

    /// The scenario of the decision on each value that it is to enforce.
    pub fn holds(&self) -> BTreeMap<String, String> {
        let mut holds = BTreeMap::new();
        for line in &self.lines {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            match line["action"].as_str() {
                Some("add") => _ = holds.insert(text("value"), text("scenario")),
                _ => _ = holds.remove(&text("value")),
            }
        }
        holds
    }
}

impl RecordingProgram {
    /// A program that is called for each change.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn called(world: &World) -> Outcome<Self> {
        Self::called_then(world, "")
    }

    /// The same, with shell commands that come after the call is recorded.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn called_then(world: &World, commands: &str) -> Outcome<Self> {
        Self::script(world, |record| {
            format!("printf '%s\\037' \"$@\" >> {record}\necho >> {record}\n{commands}\n")
        })
    }

    /// A program that reads lines until its input ends.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn fed(world: &World) -> Outcome<Self> {
        Self::script(world, |record| {
            // Each in one write, so that a kill does not cut it.
            format!(
                "echo \"$$ started $*\" >> {record}\nwhile IFS= read -r line; do printf '%s %s\\n' \"$$\" \"$line\" >> \
                 {record}; done\necho \"$$ ended\" >> {record}\n"
            )
        })
    }

    /// A script that is given the path of its record.
    fn script(world: &World, text: impl FnOnce(&str) -> String) -> Outcome<Self> {
        let folder = world.fresh_path("program");
        std::fs::create_dir_all(&folder)?;
        let (script, record) = (folder.join("program"), folder.join("record"));
        std::fs::write(&script, format!("#!/bin/sh\n{}", text(&record.display().to_string())))?;
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o700))?;
        Ok(Self { script, record })
    }

    /// The script.
    pub fn path(&self) -> &Path {
        &self.script
    }

    /// The stock custom bouncer's file with this program; `keys` are added to it, or replace what it has.
    pub fn stock_file(&self, lapi: &Access, keys: &Value) -> String {
        let folder = self.script.parent();
        let mut config = json!({
            "bin_path": self.script, "feed_via_stdin": false, "total_retries": 0, "scenarios_containing": [],
            "scenarios_not_containing": [], "origins": [], "piddir": folder, "update_frequency": "100ms",
            "cache_retention_duration": "10s", "daemonize": false, "log_mode": "stdout", "log_level": "info",
            "api_url": lapi.url, "api_key": lapi.key, "prometheus": { "enabled": false },
        });
        for (key, value) in keys.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        format!("{config:#}")
    }

    /// Every call so far, oldest first.
    ///
    /// # Errors
    /// When a call cannot be read.
    pub fn calls(&self) -> Outcome<Vec<Call>> {
        let call = |line: &str| {
            let mut words = line.split('\u{1f}').map(str::to_owned);
            let mut word = || words.next().doing(format_args!("the program was called with {line:?}"));
            Ok(Call { verb: word()?, value: word()?, duration: word()?, reason: word()?, json: word()? })
        };
        self.lines()?.iter().map(|line| call(line)).collect()
    }

    /// Every process so far that read lines, oldest first.
    ///
    /// # Errors
    /// When a line is no JSON, or is of no process.
    pub fn processes(&self) -> Outcome<Vec<FedProcess>> {
        let mut processes: Vec<FedProcess> = Vec::new();
        for line in self.lines()? {
            let (id, text) = line.split_once(' ').doing(format_args!("no process in {line:?}"))?;
            let id = id.parse()?;
            if text.starts_with("started") {
                processes.push(FedProcess { id, ..FedProcess::default() });
                continue;
            }
            // An id may be used again, so the last one is meant.
            let process = processes.iter_mut().rfind(|process| process.id == id);
            let process = process.doing(format_args!("process {id} has not started"))?;
            match text {
                "ended" => process.has_ended = true,
                text => process.lines.push(
                    serde_json::from_str(text).map_err(|error| Failure::new(format!("{error}: {text:?}")))?,
                ),
            }
        }
        Ok(processes)
    }

    /// The process that was started last; an empty one when there is none.
    ///
    /// # Errors
    /// As [`processes`](Self::processes).
    pub fn newest(&self) -> Outcome<FedProcess> {
        Ok(self.processes()?.pop().unwrap_or_default())
    }

    fn lines(&self) -> Outcome<Vec<String>> {
        let text = match std::fs::read_to_string(&self.record) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        // The last line may still be written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        Ok(whole.lines().map(str::to_owned).collect())
    }
}
