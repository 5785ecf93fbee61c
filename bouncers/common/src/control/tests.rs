//! Commands and server together, over a real socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Snapshot, Timestamp};
use palisade_client::{Auth, ClientConfig, Secret};
use palisade_stream::{Cadence, channel, now};
use palisade_wire::StreamQuery;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::tests::{about, snapshot};
use super::*;
use crate::settings::LapiSettings;

fn settings(folder: &Path) -> LapiSettings {
    LapiSettings {
        client: ClientConfig::new("http://127.0.0.1:8080", Auth::Key(Secret::new("k"))),
        urls: vec!["http://127.0.0.1:8080".to_owned()],
        query: StreamQuery::default(),
        cadence: Cadence::default(),
        usage_interval: std::time::Duration::ZERO,
        retry_initial_connect: None,
        state_dir: Some(folder.to_owned()),
        warnings: Vec::new(),
    }
}

fn inquire(settings: &LapiSettings, json: bool, subject: Option<&str>) -> Result<String, LocalQueryError> {
    let query = LocalQuery { about: about(), settings, types: None, policy: Policy::default(), json };
    let mut out = Vec::new();
    match subject {
        Some(subject) => query.lookup(subject, &mut out)?,
        None => query.status(&mut out)?,
    }
    Ok(String::from_utf8(out).unwrap())
}

struct Serving {
    stop: CancellationToken,
    tasks: TaskTracker,
}

fn serve(settings: &LapiSettings) -> Serving {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (_, cache) = channel(snapshot());
    let enforcer = Box::new(|| BTreeMap::from([("backend".to_owned(), "none".to_owned())]));
    let effect = Box::new(|subject: &Subject, _: &Snapshot| Effect {
        denied: Some(false),
        reason: format!("{subject} is exempt"),
    });
    let control = Control::bind(&settings.control_socket().unwrap()).unwrap();
    tasks.spawn(control.serve(View { about: about(), cache, enforcer, effect }, stop.clone()));
    tasks.close();
    Serving { stop, tasks }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_bouncer_answers_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("state"));
    let socket = settings.control_socket().unwrap();
    // What a killed process left is no hindrance.
    std::fs::create_dir(folder.path().join("state")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let serving = serve(&settings);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    tokio::task::spawn_blocking(move || {
        let text = inquire(&settings, false, Some("192.0.2.8")).unwrap();
        assert!(
            text.starts_with("192.0.2.8: let through: 192.0.2.8 is exempt\n192.0.2.8: ban for "),
            "{text}"
        );
        let text = inquire(&settings, false, None).unwrap();
        assert!(text.contains("4 decisions") && text.contains("backend: none"), "{text}");
        let text = inquire(&settings, true, None).unwrap();
        assert!(text.starts_with(r#"{"answer":"status","state":{"program":"palisade-test""#), "{text}");
        assert!(matches!(inquire(&settings, false, Some("example.org")), Err(LocalQueryError::Subject(_))));

        for question in ["", "junk\n", "{\"ask\":\"lookup\",\"subject\":\"x\"}\n", &"x".repeat(5000)] {
            let mut stream = UnixStream::connect(settings.control_socket().unwrap()).unwrap();
            // The server may hang up before it has read all of a question that is too long.
            let _ = stream.write_all(question.as_bytes());
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            assert!(answer.starts_with(r#"{"answer":"refused""#), "{question:.20}: {answer}");
        }
    })
    .await
    .unwrap();

    serving.stop.cancel();
    serving.tasks.wait().await;
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_askers_do_not_keep_others_from_asking() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let serving = serve(&settings);
    tokio::task::spawn_blocking(move || {
        let socket = settings.control_socket().unwrap();
        let silent: Vec<_> = (0..12).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        inquire(&settings, false, None).unwrap();
        drop(silent);
    })
    .await
    .unwrap();
    serving.stop.cancel();
    serving.tasks.wait().await;
}

#[tokio::test]
async fn a_successor_keeps_its_socket_when_the_predecessor_ends() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let first = serve(&settings);
    let second = serve(&settings);
    first.stop.cancel();
    first.tasks.wait().await;
    assert!(settings.control_socket().unwrap().exists());
    second.stop.cancel();
    second.tasks.wait().await;
    assert!(!settings.control_socket().unwrap().exists());
}

#[test]
fn without_a_bouncer_the_state_file_is_read_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let error = inquire(&settings, false, None).unwrap_err().to_string();
    assert!(error.contains("is it running?") && error.contains("nothing is remembered"), "{error}");

    let mut ledger = Ledger::new(Policy::default(), 0);
    let mut batch = Batch::new();
    let until = Timestamp::from_millis(now().as_millis() + 3_600_000);
    let reason = Reason { remediation: "ban", origin: "cscli", scenario: "why" };
    batch.announce_net("192.0.2.0/24".parse().unwrap(), reason, until, 1);
    ledger.apply(Mode::Everything, batch);
    settings.state_file(None).unwrap().save(&ledger.snapshot(), now()).unwrap();

    let text = inquire(&settings, false, Some("192.0.2.9")).unwrap();
    assert!(
        text.starts_with("192.0.2.9: effect unknown: no bouncer is running\n192.0.2.9: ban for")
            && text.contains("is not running: 1 decision, remembered 0s ago"),
        "{text}"
    );
    assert!(inquire(&settings, true, None).unwrap().contains(r#""source":"remembered""#));

    std::fs::write(settings.state_file(None).unwrap().path(), "junk").unwrap();
    let error = inquire(&settings, false, None).unwrap_err().to_string();
    assert!(error.contains("is not a file of remembered decisions"), "{error}");

    let without = LapiSettings { state_dir: None, ..settings };
    assert!(matches!(inquire(&without, false, None), Err(LocalQueryError::NoState)));
}

#[tokio::test]
async fn what_is_no_socket_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    std::fs::write(&path, "notes").unwrap();
    assert!(Control::bind(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
}
