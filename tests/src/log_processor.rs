//! A log processor: CrowdSec's own, from Debian's package with that package's parsers and scenarios, with its LAPI
//! disabled.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::host::Host;
use crate::lapi::Make;
use crate::outcome::{Doing, Outcome};
use crate::process::Process;
use crate::tools::{self, ToolOutput};
use crate::wait::eventually;
use crate::world::World;

/// Its parsers and scenarios: stage and file, below the package's hub.
const PARSERS: [(&str, &str); 3] = [
    ("s00-raw", "syslog-logs.yaml"),
    ("s01-parse", "sshd-logs.yaml"),
    ("s02-enrich", "dateparse-enrich.yaml"),
];

/// A host with CrowdSec on it: its configuration, its credentials and the log it reads.
pub struct LogProcessor {
    host: Host,
    folder: PathBuf,
    process: Option<Process>,
}

impl LogProcessor {
    /// Writes its files; no LAPI is configured yet.
    ///
    /// # Errors
    /// When CrowdSec is not unpacked, or its files cannot be written.
    pub fn prepare(world: &World, host: &Host) -> Outcome<Self> {
        let folder = world.fresh_path(&format!("crowdsec-on-{}", host.name()));
        let path = |name: &str| folder.join(name);
        let package = tools::peers_dir()?.join("root");
        let hub = package.join("usr/share/crowdsec/hub");
        std::fs::create_dir_all(path("data"))?;
        for (stage, file) in PARSERS {
            std::fs::create_dir_all(path("parsers").join(stage))?;
            let from = hub.join("parsers").join(stage).join("crowdsecurity").join(file);
            std::os::unix::fs::symlink(&from, path("parsers").join(stage).join(file))?;
        }
        std::fs::create_dir_all(path("scenarios"))?;
        let scenario = "ssh-bf.yaml";
        let from = hub.join("scenarios/crowdsecurity").join(scenario);
        std::os::unix::fs::symlink(from, path("scenarios").join(scenario))?;
        std::os::unix::fs::symlink(package.join("etc/crowdsec/patterns"), path("patterns"))?;
        let processor = Self { host: host.clone(), folder: folder.clone(), process: None };
        // JSON is YAML.
        let config = json!({
            "common": { "daemonize": false, "log_media": "stdout", "log_level": "info", "working_dir": "." },
            "config_paths": {
                "config_dir": folder, "data_dir": path("data"), "simulation_path": path("simulation.yaml"),
                "hub_dir": hub, "index_path": hub.join(".index.json"),
                "notification_dir": path("notifications"), "plugin_dir": path("plugins"),
            },
            "crowdsec_service": { "acquisition_path": path("acquis.yaml"), "parser_routines": 1 },
            "cscli": { "output": "human" },
            "db_config": { "type": "sqlite", "db_path": path("data/crowdsec.db") },
            "api": { "client": { "credentials_path": processor.credentials() } },
            "prometheus": { "enabled": false },
        });
        std::fs::write(processor.config(), serde_json::to_string_pretty(&config)?)?;
        std::fs::write(path("simulation.yaml"), "simulation: off\n")?;
        let acquisition = json!({ "filenames": [processor.log_file()], "labels": { "type": "syslog" } });
        std::fs::write(path("acquis.yaml"), acquisition.to_string())?;
        std::fs::write(processor.log_file(), "")?;
        // As the package ships it: the LAPI of this host.
        processor.write_credentials(&json!({ "url": "http://127.0.0.1:8080/" }))?;
        Ok(processor)
    }

    /// Makes it read the access log of a web server too, with CrowdSec's parser for `nginx` or one of ours, and look for
    /// scans in it. To be called before it starts.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn watch_web_log(&self, log: &Path, kind: &str, parser: Option<&Path>) -> Outcome {
        let hub = tools::peers_dir()?.join("root/usr/share/crowdsec/hub");
        let mut shipped = vec![("parsers/s02-enrich", "http-logs.yaml"), ("scenarios", "http-probing.yaml")];
        match parser {
            // A link is taken for a part of the hub, and ignored if it does not lead there.
            Some(ours) => _ = std::fs::copy(ours, self.folder.join("parsers/s01-parse/ours.yaml"))?,
            None => shipped.push(("parsers/s01-parse", "nginx-logs.yaml")),
        }
        for (stage, file) in shipped {
            let from = hub.join(stage).join("crowdsecurity").join(file);
            std::os::unix::fs::symlink(from, self.folder.join(stage).join(file))?;
        }
        std::fs::File::options().append(true).create(true).open(log)?;
        let documents = [(self.log_file(), "syslog"), (log.to_owned(), kind)]
            .map(|(file, kind)| json!({ "filenames": [file], "labels": { "type": kind } }).to_string());
        Ok(std::fs::write(self.folder.join("acquis.yaml"), documents.join("\n---\n"))?)
    }

    /// The host it runs on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("config.yaml")
    }

    /// Its credentials file.
    pub fn credentials(&self) -> PathBuf {
        self.folder.join("credentials.yaml")
    }

    /// The log it watches.
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("auth.log")
    }

    /// Overwrites its credentials file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_credentials(&self, keys: &Value) -> Outcome {
        Ok(std::fs::write(self.credentials(), keys.to_string())?)
    }

    /// Runs an administration tool here, the stock one or ours, with this configuration.
    ///
    /// # Errors
    /// When it cannot be started; a failure of the tool is in its output.
    pub fn tool(&self, make: Make, words: &[&str]) -> Outcome<ToolOutput> {
        self.tool_fed(make, words, "")
    }

    /// As [`tool`](Self::tool), with this on its standard input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn tool_fed(&self, make: Make, words: &[&str], input: &str) -> Outcome<ToolOutput> {
        let mut command = tools::command(make.admin()?)?;
        command.arg("-c").arg(self.config()).args(words).current_dir(&self.folder);
        self.host.run(|| tools::run(&mut command, input))
    }

    /// Starts it watching its log, and returns once it does.
    ///
    /// # Errors
    /// When it does not come up, for instance because the LAPI refuses it.
    pub fn start(&mut self, world: &World) -> Outcome {
        let mut process = world.start(&self.host, "log-processor", self.command()?)?;
        process.wait_for_log("Starting processing data")?;
        // It reads the log from its end as of the moment it opens it, which is after that message: lines that are
        // written before are never read.
        let log = self.log_file();
        eventually("the log processor has opened the log", || Ok(has_open(process.id(), &log)))?;
        self.process = Some(process);
        Ok(())
    }

    /// Makes it read a log file from the beginning to the end and report its findings. At the end this version may skip
    /// what it found in the last second, or hang. So a test supplies a log that continues after the relevant lines, see
    /// [`quiet_hours`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn replay(&self, world: &World, file: &Path) -> Outcome<Process> {
        let mut command = self.command()?;
        command.arg("-dsn").arg(format!("file://{}", file.display())).args(["-type", "syslog"]);
        world.start(&self.host, "log-processor", command)
    }

    /// The running process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn process(&mut self) -> Outcome<&mut Process> {
        self.process.as_mut().doing("the log processor is not running")
    }

    /// Appends sshd's messages about password guessing by `from` to the log it watches.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn is_attacked_by(&self, from: IpAddr) -> Outcome {
        let mut log = std::fs::File::options().append(true).open(self.log_file())?;
        Ok(log.write_all(guesses(from).as_bytes())?)
    }

    fn command(&self) -> Outcome<std::process::Command> {
        let mut command = tools::command(tools::peer("crowdsec")?)?;
        command.arg("-c").arg(self.config()).args(["-no-api", "-no-capi"]).current_dir(&self.folder);
        Ok(command)
    }
}

/// Whether a process has this file open.
fn has_open(process: u32, file: &Path) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    descriptors.flatten().any(|one| std::fs::read_link(one.path()).is_ok_and(|target| target == file))
}

/// That many irrelevant lines.
pub fn quiet_hours(lines: usize) -> String {
    let now = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    format!("{now} web-1 CRON[777]: pam_unix(cron:session): session opened for user root\n").repeat(lines)
}

/// sshd's messages when `from` guesses twelve passwords within a second, just now.
pub fn guesses(from: IpAddr) -> String {
    let now = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    (1..=12)
        .map(|n| {
            format!(
                "{now} web-1 sshd[{}]: Failed password for invalid user admin{n} from {from} port {} ssh2\n",
                1000 + n,
                40000 + n
            )
        })
        .collect()
}
