use std::path::Path;
use std::time::Duration;

use palisade_bouncer::run::NoteLevel;
use palisade_bouncer::settings::{LAPI_KEYS, LapiFile};
use palisade_daemon::logs::{LOG_KEYS, LogKeys, LogTarget};
use palisade_daemon::metrics::PROMETHEUS_KEYS;

use super::*;
use crate::config::{EndpointConfig, Initial, ProgramMode, Receiver};
use crate::event::Grouping;

/// The file of Debian's package, with a program and a key.
const PACKAGED: &str = "bin_path: /bin/true
feed_via_stdin: false # Invokes binary once and feeds incoming decisions to it's stdin.
total_retries: 0 # number of times to restart binary. relevant if feed_via_stdin=true . Set to -1 for infinite retries.
scenarios_containing: []
scenarios_not_containing: []
origins: []
piddir: /var/run/
update_frequency: 10s
cache_retention_duration: 10s
daemonize: true
log_mode: file
log_dir: /var/log/
log_level: info
log_compression: true
log_max_size: 100
log_max_backups: 3
log_max_age: 30
api_url: http://localhost:8080/
api_key: k3y

prometheus:
  enabled: true
  listen_addr: 127.0.0.1
  listen_port: 60602 
";

/// The keys that the stock program reads besides.
const FURTHER: &str = "bin_args: []
scopes: [ip]
include_scenarios_containing: []
exclude_scenarios_containing: []
only_include_decisions_from: []
retry_initial_connect: true
insecure_skip_verify: false
cert_path: ''
key_path: ''
ca_cert_path: ''
log_max_files: 3
compress_logs: true
";

fn document(text: &str) -> Document {
    let document = Document::from_text(Path::new("c.yaml"), text, None, &|_| None).unwrap();
    assert!(is_stock_custom(&document));
    translate(document)
}

fn checked(text: &str) -> Result<(Config, Vec<Note>), String> {
    let document = document(text);
    let mut problems = Problems::new();
    match check(&document, &mut problems) {
        Some(Checked { config, notes }) if problems.is_empty() => Ok((config, notes)),
        _ => Err(document.locate(problems).to_string()),
    }
}

fn endpoint(text: &str) -> EndpointConfig {
    let (config, _) = checked(text).unwrap();
    assert_eq!(config.endpoints.len(), 1);
    EndpointConfig::clone(&config.endpoints[0])
}

fn mode(text: &str) -> ProgramMode {
    let Receiver::Program(program) = endpoint(text).receiver else { panic!("it is a program") };
    program.mode
}

#[test]
fn the_packaged_file_is_one_endpoint_that_is_called_as_by_the_stock_program() {
    let (config, notes) = checked(PACKAGED).unwrap();
    assert!(notes.iter().all(|note| note.level == NoteLevel::Debug), "{notes:?}");
    assert_eq!((config.present_as.as_str(), config.mirror), ("crowdsec-custom-bouncer", None));
    let made = endpoint(PACKAGED);
    assert_eq!((made.name.as_str(), made.grouping, made.parallel), ("custom", Grouping::Remediation, 1));
    assert_eq!((made.initial, made.replay_at_start, made.history), (Initial::Snapshot, true, None));
    let s = Duration::from_secs;
    assert_eq!((made.hold_repeats, made.retry.max, made.batch.wait), (s(10), s(30), s(0)));
    let Receiver::Program(program) = made.receiver else { panic!("it is a program") };
    assert_eq!((program.path.as_path(), program.inherit_environment), (Path::new("/bin/true"), true));
    assert_eq!(program.mode, ProgramMode::Arguments { timeout: s(600) });
}

#[test]
fn every_key_of_the_stock_program_is_known() {
    let known = [STOCK_CUSTOM_KEYS, LAPI_KEYS, LOG_KEYS, PROMETHEUS_KEYS].concat();
    let text = format!("{PACKAGED}{FURTHER}");
    assert_eq!(document(&text).unknown_keys(&known), []);
    checked(&text).unwrap();
}

#[test]
fn keys_of_the_lapi_and_of_logs_reach_their_readers() {
    let document = document(PACKAGED);
    let lapi: LapiFile = document.parse().unwrap();
    assert_eq!(lapi.api_url.as_deref(), Some("http://localhost:8080/"));
    assert_eq!((lapi.api_key.unwrap().reveal(), lapi.update_frequency.as_deref()), ("k3y", Some("10s")));
    let max_bytes = |text: &str| {
        let document = self::document(text);
        let logs = document.parse::<LogKeys>().unwrap().check("x.log", false, &mut Problems::new());
        let LogTarget::File { rotation, .. } = logs.target else { panic!("no file") };
        rotation.max_bytes
    };
    assert_eq!(max_bytes(PACKAGED), 100 << 20);
    assert_eq!(max_bytes("bin_path: /bin/true\nlog_mode: file\n"), 40 << 20);
}

#[test]
fn a_program_that_reads_lines_is_started_as_often_as_the_stock_program_starts_it() {
    let fed = |more: &str| mode(&format!("bin_path: /bin/cat\nfeed_via_stdin: true\n{more}\n"));
    let starts = |total: i64| match fed(&format!("total_retries: {total}")) {
        ProgramMode::StandardInput { max_starts, restart_wait, .. } => {
            assert_eq!(restart_wait, Duration::from_secs(2));
            max_starts
        }
        ProgramMode::Arguments { .. } => panic!("it reads lines"),
    };
    assert_eq!([-1, 0, 1, 3].map(starts), [None, Some(1), Some(1), Some(3)]);
    assert!(matches!(fed(""), ProgramMode::StandardInput { max_starts: Some(1), .. }));
    let text = "bin_path: /bin/cat\nfeed_via_stdin: true\nbin_args: [-n, 80]\n";
    let Receiver::Program(program) = endpoint(text).receiver else { panic!("it is a program") };
    assert_eq!(program.arguments, ["-n", "80"]);
}

#[test]
fn keys_without_effect_are_noted_and_have_none() {
    let notes = |more: &str| -> Vec<String> {
        let (_, notes) = checked(&format!("bin_path: /bin/true\n{more}\n")).unwrap();
        notes.into_iter().filter(|note| note.level != NoteLevel::Debug).map(|note| note.text).collect()
    };
    assert_eq!(notes(""), ["cache_retention_duration defaults to 10 seconds"]);
    assert_eq!(notes("cache_retention_duration: 0"), ["cache_retention_duration defaults to 10 seconds"]);
    let kept = "cache_retention_duration: 1m\n";
    assert_eq!(notes(kept), [""; 0]);
    for (key, expected) in [
        (
            "only_include_decisions_from: [cscli]",
            "only_include_decisions_from has no effect, as in crowdsec-custom-bouncer; use origins",
        ),
        (
            "include_scenarios_containing: [ssh]",
            "include_scenarios_containing has no effect, as in crowdsec-custom-bouncer; use scenarios_containing",
        ),
        (
            "exclude_scenarios_containing: [ssh]",
            "exclude_scenarios_containing has no effect, as in crowdsec-custom-bouncer; use scenarios_not_containing",
        ),
        ("bin_args: [x]", "bin_args has no effect without feed_via_stdin, as in crowdsec-custom-bouncer"),
    ] {
        assert_eq!(notes(&format!("{kept}{key}")), [expected]);
    }
    let file = "bin_path: /bin/true\norigins: [cscli]\nonly_include_decisions_from: [CAPI]\n";
    let made = endpoint(file);
    assert_eq!(made.filter, crate::config::FilterConfig::default());
    assert_eq!(document(file).parse::<LapiFile>().unwrap().origins.unwrap(), ["cscli"]);
}

#[test]
fn errors_have_the_words_of_the_stock_program() {
    for (text, expected) in [
        ("feed_via_stdin: true\n", "bin_path is not set (bin_path)"),
        ("bin_path: ''\n", "bin_path is not set (bin_path at c.yaml:1, now \"\")"),
        (
            "bin_path: /no/such/program\n",
            "binary '/no/such/program' doesn't exist (bin_path at c.yaml:1, now \"/no/such/program\")",
        ),
        (
            "bin_path: /bin/true\ntotal_retries: -2\ncache_retention_duration: -1s\n",
            "it must be the number of times that the program is started in all, or -1 for any number \
             (total_retries at c.yaml:2, now \"-2\"); it must not be negative (cache_retention_duration at c.yaml:3, \
             now \"-1s\")",
        ),
        (
            "bin_path: /bin/true\nendpoints: []\n",
            "it has no effect beside `bin_path`; make the program an entry of `endpoints`, with its path as \
             `program.path` (endpoints at c.yaml:2)",
        ),
    ] {
        assert_eq!(checked(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn a_relative_path_is_that_of_the_working_directory() {
    let Receiver::Program(program) = endpoint("bin_path: Cargo.toml\n").receiver else { panic!("a program") };
    assert_eq!(program.path, std::env::current_dir().unwrap().join("Cargo.toml"));
}
