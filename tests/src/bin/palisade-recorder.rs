//! A bouncer that enforces nothing: it appends each address or range that comes (`+`) or goes (`-`) to a file.

use std::{fs::OpenOptions, io::Write as _, path::PathBuf, process::ExitCode};

use palisade_bouncer::control::{Effect, Subject};
use palisade_bouncer::run::{
    Bouncer, CHECK, Checked, Enforcement, InForce, LOOKUP, PROGRAM_FLAGS, ProgramInfo, STATUS, Start,
};
use palisade_cache::Snapshot;
use palisade_client::LapiPool;
use palisade_daemon::file_access::Unit;
use palisade_daemon::{Document, Problems, flags::Program};
use tokio::sync::watch;

struct Recorder {
    config: watch::Sender<Config>,
    status: watch::Receiver<InForce>,
}

#[derive(Clone, serde::Deserialize)]
struct Config {
    record: PathBuf,
}

impl Bouncer for Recorder {
    type Config = Config;
    type Status = InForce;

    const INFO: ProgramInfo = ProgramInfo {
        program: Program {
            name: "palisade-recorder",
            about: "Records what a bouncer would enforce.",
            flags: PROGRAM_FLAGS,
            commands: &[CHECK, LOOKUP, STATUS],
        },
        version: concat!("v", env!("CARGO_PKG_VERSION")),
        stock_name: "crowdsec-recorder",
        unit: Unit {
            name: "palisade-recorder",
            config: "/etc/crowdsec/bouncers/recorder.yaml",
            handed_over: &[],
            own_directories: &[],
        },
        keys: &["record"],
    };

    fn read_config(document: &Document, problems: &mut Problems) -> Option<Checked<Config>> {
        Some(Checked { config: document.parse_into(problems)?, notes: Vec::new() })
    }

    async fn start(start: Start<Config>) -> anyhow::Result<(Self, Enforcement)> {
        let Start { config, cache, first_decisions, stop, .. } = start;
        let (config, current) = watch::channel(config);
        let (in_force, status) = watch::channel(InForce::default());
        let enforcement = async move {
            let mut recorded = Snapshot::default();
            let mut generations = cache.changed();
            while first_decisions.wait().await && !stop.is_cancelled() {
                let snapshot = cache.load();
                let path = current.borrow().record.clone();
                let mut file = OpenOptions::new().append(true).create(true).open(path)?;
                for change in snapshot.diff(&recorded) {
                    writeln!(file, "{} {}", if change.after.is_some() { '+' } else { '-' }, change.net)?;
                }
                let elements = snapshot.len() as u64;
                in_force.send_replace(InForce { generation: Some(snapshot.generation()), elements });
                recorded = snapshot;
                let _ends_too = stop.run_until_cancelled(generations.changed()).await;
            }
            Ok(())
        };
        Ok((Self { config, status }, Box::pin(enforcement)))
    }

    fn status(&self) -> watch::Receiver<InForce> {
        self.status.clone()
    }

    async fn reload(&self, config: Config, _lapis: &LapiPool) -> anyhow::Result<()> {
        self.config.send_replace(config);
        Ok(())
    }

    fn effect(&self, _subject: &Subject, _snapshot: &Snapshot) -> Effect {
        Effect { denied: Some(false), reason: "it is only recorded".to_owned() }
    }
}

fn main() -> ExitCode {
    palisade_bouncer::run::<Recorder>(std::env::args().skip(1))
}
