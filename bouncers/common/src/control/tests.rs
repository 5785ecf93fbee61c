//! Commands and server together, over a real socket.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
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
        None => {
            let running = query.status(&mut out)?;
            let text = String::from_utf8_lossy(&out);
            assert_ne!(running, text.contains("is not running") || text.contains(r#""source":"remembered""#));
        }
    }
    Ok(String::from_utf8(out).unwrap())
}

/// Fails for an unknown name, otherwise returns the arguments.
fn act(name: &str, arguments: &[String]) -> Result<serde_json::Value, String> {
    match name {
        "echo" => Ok(serde_json::json!({ "echo": arguments })),
        _ => Err(format!("no endpoint is called {name}; see `status`")),
    }
}

fn request(
    settings: &LapiSettings,
    name: &str,
    arguments: &[String],
) -> Result<serde_json::Value, LocalQueryError> {
    let query = LocalQuery { about: about(), settings, types: None, policy: Policy::default(), json: false };
    query.act(name, arguments)
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
    let report = Box::new(|| Some(serde_json::json!({ "endpoints": 2 })));
    let view = View { about: about(), cache, enforcer, report, effect, act: Box::new(act) };
    let control = Control::bind(&settings.control_socket().unwrap()).unwrap();
    tasks.spawn(control.serve(view, stop.clone()));
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
        assert!(text.ends_with("\"enforcement\":{\"endpoints\":2}}\n"), "{text}");
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
        let silent: Vec<_> = (0..100).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        let begun = std::time::Instant::now();
        inquire(&settings, false, None).unwrap();
        // Less than the time they are given to send a request.
        assert!(begun.elapsed() < std::time::Duration::from_millis(900), "{:?}", begun.elapsed());
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

#[test]
fn a_bouncer_that_does_not_answer_is_not_taken_for_a_stopped_one() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let mut ledger = Ledger::new(Policy::default(), 0);
    settings.state_file(None).unwrap().save(&ledger.snapshot(), now()).unwrap();
    assert!(inquire(&settings, false, None).unwrap().contains("is not running"));
    let listener = std::os::unix::net::UnixListener::bind(settings.control_socket().unwrap()).unwrap();
    let peer = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
    });
    let error = inquire(&settings, false, None).unwrap_err();
    peer.join().unwrap();
    assert!(matches!(error, LocalQueryError::Busy { .. }));
    let text = error.to_string();
    assert!(text.contains("is running, but does not answer (it hung up without an answer)"), "{text}");
}

#[tokio::test]
async fn what_is_no_socket_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    std::fs::write(&path, "notes").unwrap();
    assert!(Control::bind(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_carried_out_or_refused_with_its_reason_alone() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let serving = serve(&settings);
    tokio::task::spawn_blocking(move || {
        let words = ["a".to_owned(), "1 \"2\"\n".to_owned()];
        assert_eq!(request(&settings, "echo", &words).unwrap(), serde_json::json!({ "echo": words }));
        let error = request(&settings, "x", &[]).unwrap_err();
        assert!(matches!(error, LocalQueryError::Refused(_)));
        assert_eq!(error.to_string(), "no endpoint is called x; see `status`");
    })
    .await
    .unwrap();
    serving.stop.cancel();
    serving.tasks.wait().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_request_is_served_and_a_longer_one_names_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let serving = serve(&settings);
    tokio::task::spawn_blocking(move || {
        let frame = r#"{"ask":"action","name":"echo","arguments":[""]}"#.len() + 1;
        let longest = "x".repeat(MAX_REQUEST_BYTES as usize - frame);
        assert_eq!(request(&settings, "echo", std::slice::from_ref(&longest)).unwrap()["echo"][0], longest);
        let error = request(&settings, "echo", &[longest + "x"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the request has 4097 bytes, and a bouncer takes at most 4096 at once: give fewer arguments, and repeat \
             the command for the others"
        );

        let mut stream = UnixStream::connect(settings.control_socket().unwrap()).unwrap();
        stream.write_all(&[b'x'; MAX_REQUEST_BYTES as usize]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("it is longer than 4096 bytes"), "{answer}");
    })
    .await
    .unwrap();
    serving.stop.cancel();
    serving.tasks.wait().await;
}

#[test]
fn an_action_needs_a_running_bouncer() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let socket = settings.control_socket().unwrap();
    let error = request(&settings, "resume", &[]).unwrap_err().to_string();
    let expected = format!(
        "no bouncer answers at {} (there is no socket: is it running?); start it first, or check `state_dir`",
        socket.display()
    );
    assert_eq!(error, expected);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = request(&settings, "resume", &[]).unwrap_err().to_string();
    assert!(error.contains("nobody listens there any more") && error.contains("start it first"), "{error}");
    let without = LapiSettings { state_dir: None, ..settings };
    assert!(matches!(request(&without, "resume", &[]), Err(LocalQueryError::NoState)));
}

/// The error of a command whose bouncer reads the request and answers with this text.
fn error_at_an_answer(answer: &'static str) -> LocalQueryError {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let listener = std::os::unix::net::UnixListener::bind(settings.control_socket().unwrap()).unwrap();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let error = request(&settings, "resume", &[]).unwrap_err();
    peer.join().unwrap();
    error
}

#[test]
fn a_bouncer_of_an_older_version_is_named_as_the_reason() {
    // The answer of versions without actions.
    let error = error_at_an_answer(
        "{\"answer\":\"refused\",\"reason\":\"not a question: unknown variant `action`, expected `lookup` or `status` at line 1 column 15\"}\n",
    );
    assert!(matches!(error, LocalQueryError::NotUnderstood { .. }));
    let text = error.to_string();
    assert!(text.contains("does not understand the request") && text.contains("restart it"), "{text}");
    for answer in ["junk\n", "{\"answer\":\"later\"}\n"] {
        assert!(matches!(error_at_an_answer(answer), LocalQueryError::Strange { .. }), "{answer}");
    }
}

#[test]
fn an_action_without_an_answer_may_have_been_carried_out() {
    let error = error_at_an_answer("");
    assert!(matches!(error, LocalQueryError::Unanswered { .. }));
    let text = error.to_string();
    assert!(text.contains("it hung up") && text.contains("may still be carried out"), "{text}");
}
