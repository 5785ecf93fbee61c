//! The stock custom bouncer, crowdsec-custom-bouncer 0.0.15, which calls a program for every added and deleted
//! decision.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use crate::host::Host;
use crate::lapi::Access;
use crate::outcome::{Doing, Outcome};
use crate::process::Process;
use crate::tools;
use crate::world::World;

/// A running custom bouncer, with a record of its program's calls.
pub struct CustomBouncer {
    process: Process,
    calls: PathBuf,
}

/// One call of the program.
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

impl CustomBouncer {
    /// Starts it; it polls ten times a second.
    ///
    /// # Errors
    /// When it is not unpacked, or cannot be started.
    pub fn start(world: &World, host: &Host, lapi: &Access) -> Outcome<Self> {
        let folder = world.fresh_path("custom-bouncer");
        std::fs::create_dir_all(&folder)?;
        let calls = folder.join("calls");
        let script = folder.join("program");
        let text = format!("#!/bin/sh\nprintf '%s\\037' \"$@\" >> {0}\necho >> {0}\n", calls.display());
        std::fs::write(&script, text)?;
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o700))?;
        let config = json!({
            "bin_path": script, "feed_via_stdin": false, "piddir": folder, "update_frequency": "100ms",
            "cache_retention_duration": "10s", "daemonize": false, "log_mode": "stdout", "log_level": "info",
            "api_url": lapi.url, "api_key": lapi.key, "prometheus": { "enabled": false },
        });
        let path = folder.join("custom.yaml");
        std::fs::write(&path, serde_json::to_string_pretty(&config)?)?;
        let mut command = tools::command(tools::peer("crowdsec-custom-bouncer")?)?;
        command.arg("-c").arg(path);
        Ok(Self { process: world.start(host, "custom-bouncer", command)?, calls })
    }

    /// Every call so far, oldest first.
    ///
    /// # Errors
    /// When a call cannot be read.
    pub fn calls(&self) -> Outcome<Vec<Call>> {
        let text = match std::fs::read_to_string(&self.calls) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        // The last line may still be written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| {
                let mut words = line.split('\u{1f}').map(str::to_owned);
                let mut word = || words.next().doing(format_args!("the program was called with {line:?}"));
                Ok(Call { verb: word()?, value: word()?, duration: word()?, reason: word()?, json: word()? })
            })
            .collect()
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
