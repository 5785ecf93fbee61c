use std::path::Path;

use palisade_cache::Snapshot;
use palisade_client::LapiPool;
use palisade_daemon::flags::Program;
use palisade_daemon::{Document, Problems};
use tokio::sync::watch;

use super::*;
use crate::control::{Effect, Subject};

/// A program that only has a configuration.
#[derive(Debug)]
pub(super) struct Sample;

impl Bouncer for Sample {
    type Config = String;
    type Status = InForce;

    const INFO: ProgramInfo = ProgramInfo {
        program: Program {
            name: "palisade-sample",
            about: "Has a configuration.",
            flags: PROGRAM_FLAGS,
            commands: &[CHECK, LOOKUP, STATUS],
        },
        version: "v0",
        stock_name: "crowdsec-sample-bouncer",
        packaged_config: "/etc/sample.yaml",
        log_file: "sample.log",
        keys: &["colour"],
    };

    fn read_config(document: &Document, problems: &mut Problems) -> Option<Checked<String>> {
        #[derive(serde::Deserialize)]
        struct Keys {
            colour: Option<String>,
        }
        let colour = document.parse_into::<Keys>(problems)?.colour;
        if colour.as_deref() == Some("red") {
            problems.add("colour", "must not be red");
        }
        Some(Checked { config: colour?, notes: vec![Note::info("a note")] })
    }

    async fn start(_start: Start<String>) -> anyhow::Result<(Self, Enforcement)> {
        Ok((Self, Box::pin(std::future::ready(Ok(())))))
    }

    fn status(&self) -> watch::Receiver<InForce> {
        watch::channel(InForce::default()).1
    }

    async fn reload(&self, _config: String, _lapis: &LapiPool) -> anyhow::Result<()> {
        Ok(())
    }

    fn effect(&self, _subject: &Subject, _snapshot: &Snapshot) -> Effect {
        Effect { denied: None, reason: String::new() }
    }
}

fn loaded(text: &str, strict: bool) -> Result<Loaded<String>, String> {
    let document = Document::from_text(Path::new("/etc/s.yaml"), text, None, &|_| None).unwrap();
    check::<Sample>(document, Overrides { strict, verbose: false }).map_err(|error| error.to_string())
}

#[test]
fn keys_of_all_bouncers_and_of_one_are_read_from_one_file() {
    let text = "colour: blue\nlog_level: debug\nprometheus: {enabled: true, listen_port: 1}\nsize: 1\n";
    let found = loaded(text, false).unwrap();
    assert_eq!((found.config.as_str(), found.prometheus.map(|listen| listen.port)), ("blue", Some(1)));
    let texts: Vec<_> = found.notes.iter().map(|note| (note.level, note.text.contains("size"))).collect();
    assert_eq!(texts, [(NoteLevel::Warn, true), (NoteLevel::Info, false)]);
}

#[test]
fn problems_of_all_readers_are_listed_at_once() {
    let text = "colour: red\nlog_mode: paper\nprometheus: {enabled: true, listen_port: x}\nsize: 1\n";
    let error = loaded(text, true).unwrap_err();
    for expected in ["must not be red", "log_mode", "prometheus.listen_port", "size"] {
        assert!(error.contains(expected), "{expected} is missing in {error}");
    }
    assert!(loaded("strict: true\ncolour: blue\nsize: 1\n", false).unwrap_err().contains("size"));
}
