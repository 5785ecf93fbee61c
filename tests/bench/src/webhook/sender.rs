//! Starts `palisade-webhook` or the stock custom bouncer on a scripted LAPI, and measures it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade_e2e::{Access, Doing, Failure, Outcome, tools};

use crate::proxy::cores::processor_seconds_with_children;
use crate::report;
use crate::scripted::ScriptedStream;

/// Files of a run.
const CONFIG: &str = "config.yaml";
const LOG: &str = "log";
const STATE: &str = "state";

/// Which program sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Ours,
    /// crowdsec-custom-bouncer.
    Stock,
}

/// A running program; killed at the end.
pub(super) struct Sender {
    process: Child,
    started: Instant,
    folder: PathBuf,
}

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// From the last byte of the LAPI's response until the receiver had everything.
    pub(super) seconds: f64,
    /// Processor time from the program's start, with its ended children.
    pub(super) processor: f64,
}

impl Sender {
    /// Starts a program with this configuration file and nothing remembered.
    pub(super) fn start(program: Program, config: &str) -> Outcome<Self> {
        let folder = folder()?;
        let state = folder.join(STATE);
        match std::fs::remove_dir_all(&state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => std::fs::create_dir_all(&state)?,
        }
        let (file, log) = (folder.join(CONFIG), folder.join(LOG));
        std::fs::write(&file, config)?;
        let binary = match program {
            Program::Ours => tools::ours("palisade-webhook")?,
            Program::Stock => tools::peer("crowdsec-custom-bouncer")?,
        };
        let mut command = tools::command(binary)?;
        command.arg("-c").arg(&file).env("STATE_DIRECTORY", &state);
        if program == Program::Ours {
            // As in the packaged unit.
            command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_TRIM_THRESHOLD_", "131072");
        }
        let output = File::create(&log)?;
        command.stdout(output.try_clone()?).stderr(output).stdin(Stdio::null());
        let started = Instant::now();
        Ok(Self { process: command.spawn().doing("starting a bouncer")?, started, folder })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What waits for the endpoint, by its own account.
    pub(super) fn waiting(&self) -> Outcome<u64> {
        let mut command = tools::command(tools::ours("palisade-webhook")?)?;
        command.arg("-c").arg(self.folder.join(CONFIG)).env("STATE_DIRECTORY", self.folder.join(STATE));
        let output = tools::run(command.args(["status", "-json"]), "")?.into_stdout()?;
        let status: serde_json::Value = serde_json::from_str(&output).doing("reading the status")?;
        status["enforcement"]["endpoints"][0]["waiting"].as_u64().doing("reading what waits")
    }

    /// Its log, for an error.
    pub(super) fn failed(&self, failure: &Failure) -> Failure {
        let log = std::fs::read_to_string(self.folder.join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        Failure::new(format!("{failure}; the last lines of its log, newest first: {lines:?}"))
    }

    /// When the LAPI had sent all decisions to this program.
    pub(super) fn response_sent(&self, lapi: &ScriptedStream) -> Option<Instant> {
        lapi.startup_sent().filter(|sent| *sent >= self.started)
    }

    /// To be called when the receiver has everything.
    pub(super) fn measured(&self, lapi: &ScriptedStream, complete_at: Instant) -> Outcome<Measured> {
        let processor = processor_seconds_with_children(self.process.id())?;
        let sent = self.response_sent(lapi).doing("the LAPI has sent all decisions")?;
        Ok(Measured { seconds: complete_at.saturating_duration_since(sent).as_secs_f64(), processor })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where files of these comparisons are; not in memory, so that syncing costs what it costs.
pub(super) fn folder() -> Outcome<PathBuf> {
    let folder = report::folder().join("webhook-deliveries");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.canonicalize()?)
}

/// The file of the stock custom bouncer, which both programs read.
pub(super) fn stock_file(lapi: &Access, program: &Path, is_fed: bool) -> Outcome<String> {
    let file = serde_json::json!({
        "bin_path": program, "feed_via_stdin": is_fed,
        "total_retries": 1, "cache_retention_duration": "10s", "update_frequency": "10s",
        "daemonize": false, "log_mode": "stdout", "log_level": "info",
        "api_url": lapi.url, "api_key": lapi.key, "prometheus": { "enabled": false },
    });
    Ok(serde_json::to_string_pretty(&file)?)
}

/// A file of ours with one HTTP endpoint.
pub(super) fn http_file(lapi: &Access, url: &str, more: &str, frequency: Duration) -> String {
    format!(
        "api_url: {}\napi_key: {}\nupdate_frequency: {}ms\nlog_mode: stdout\nprometheus: {{enabled: false}}\n\
         endpoints:\n  - name: bench\n    url: {url}\n    allow_addresses: [127.0.0.1]\n{more}",
        lapi.url,
        lapi.key,
        frequency.as_millis()
    )
}

/// Bans of these as a LAPI sends them.
pub(super) fn decisions(nets: &[IpNet]) -> impl Iterator<Item = String> {
    nets.iter().enumerate().map(|(at, net)| {
        let is_host = net.prefix_len() == net.max_prefix_len();
        let (scope, value) = if is_host { ("Ip", net.addr().to_string()) } else { ("Range", net.to_string()) };
        let (origin, scenario) = match at % 10 {
            0 => ("crowdsec", "crowdsecurity/ssh-bf"),
            1..=4 => ("CAPI", "http:scan"),
            _ => ("lists", "firehol_botscout_7d"),
        };
        let (hours, id) = (3 + at % 160, at + 1);
        format!(
            r#"{{"duration":"{hours}h59m58s","id":{id},"origin":"{origin}","scenario":"{scenario}","scope":"{scope}","type":"ban","uuid":"3f2504e0-4f89-41d3-9a0c-{id:012x}","value":"{value}"}}"#
        )
    })
}
