use std::path::Path;

use palisade_cache::Snapshot;
use palisade_client::LapiPool;
use palisade_daemon::file_access::Unit;
use palisade_daemon::flags::{Flag, Program};
use palisade_daemon::logs::{LogLevel, LogTarget};
use palisade_daemon::{Document, Problems};
use tokio::sync::watch;

use super::*;
use crate::control::{Effect, Subject};

const FLAGS: &[Flag] = &[
    PROGRAM_FLAGS[0],
    PROGRAM_FLAGS[1],
    PROGRAM_FLAGS[2],
    PROGRAM_FLAGS[3],
    PROGRAM_FLAGS[4],
    PROGRAM_FLAGS[5],
    PROGRAM_FLAGS[6],
    PROGRAM_FLAGS[7],
    DEBUG_FLAG,
    TRACE_FLAG,
];

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
            flags: FLAGS,
            commands: &[CHECK, LOOKUP, STATUS],
        },
        version: "v0",
        stock_name: "crowdsec-sample-bouncer",
        unit: Unit {
            name: "palisade-sample",
            config: "/etc/sample.yaml",
            handed_over: &[],
            own_directories: &[],
        },
        keys: &["colour", "other.colour"],
    };

    fn translate(document: Document) -> Document {
        document.with_renamed(&[("other.colour", "colour")])
    }

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
    check::<Sample>(document, Overrides { strict, ..Overrides::default() }).map_err(|error| error.to_string())
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
fn the_log_file_has_the_name_of_the_stock_program() {
    let logs = loaded("colour: blue\nlog_mode: file\nlog_dir: /logs\n", true).unwrap().logs;
    let LogTarget::File { path, .. } = logs.target else { panic!("no file") };
    assert_eq!(path, Path::new("/logs/crowdsec-sample-bouncer.log"));
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

#[test]
fn a_document_is_translated_before_anything_is_read() {
    let found = loaded("other: {colour: blue}\n", true).unwrap();
    assert_eq!(found.config, "blue");
    let error = loaded("other: {colour: red}\n", false).unwrap_err();
    assert!(error.contains("must not be red (other.colour at /etc/s.yaml:1, now \"red\")"), "{error}");
}

#[test]
fn trace_and_debug_raise_the_level() {
    let level = |overrides| {
        let document =
            Document::from_text(Path::new("/etc/s.yaml"), "colour: blue\n", None, &|_| None).unwrap();
        check::<Sample>(document, overrides).unwrap().logs.level
    };
    assert_eq!(level(Overrides { trace: true, ..Overrides::default() }), LogLevel::Trace);
    assert_eq!(level(Overrides { verbose: true, ..Overrides::default() }), LogLevel::Debug);
}

#[test]
fn a_program_without_actions_refuses_every_action() {
    let refused = Sample.act(&"resume\n".repeat(1000), &[]).unwrap_err();
    assert!(
        refused.starts_with(r#"unknown action "resume\nresume"#)
            && refused.ends_with("palisade-sample has no such action"),
        "{refused}"
    );
    assert!(refused.len() < 200, "{}", refused.len());
    assert_eq!(InForce::default().report(), None);
}
