//! Lines of both formats.

use std::path::Path;

use palisade_cache::Timestamp;
use serde_json::Value;

use super::*;
use crate::remediation::{DecisionInfo, RemediationKind};

fn entry() -> AccessEntry {
    let at: jiff::Timestamp = "2026-11-27T01:47:14.25Z".parse().unwrap();
    AccessEntry {
        at: at.into(),
        client: Some("192.0.2.7".parse().unwrap()),
        peer: Some("198.51.100.1:4711".parse().unwrap()),
        method: Method::GET,
        host: Some(HeaderValue::from_static("example.org")),
        target: "/a?b=c".parse().unwrap(),
        version: Version::HTTP_11,
        status: StatusCode::OK,
        bytes_in: 0,
        bytes_out: 1024,
        took: Duration::from_micros(1_500_250),
        upstream: Some(UpstreamEntry {
            server: "http://127.0.0.1:9000".into(),
            attempts: 2,
            connect: None,
            head: Some(Duration::from_millis(3)),
        }),
        route: Some("app".into()),
        request_id: None,
        user_agent: Some(HeaderValue::from_static("curl/8")),
        referer: None,
        remediation: None,
        blocked: false,
        refusal: None,
    }
}

fn banned() -> AccessEntry {
    let decision = DecisionInfo {
        id: 9,
        origin: "lists".into(),
        scenario: "tor".into(),
        scope: "Range".into(),
        value: "192.0.2.0/24".into(),
        remediation: "ban".into(),
        until: Timestamp::from_millis(0),
    };
    let remediation =
        Remediation { kind: RemediationKind::Ban, decision: Arc::new(decision), log_only: false };
    AccessEntry {
        remediation: Some(remediation),
        blocked: true,
        status: StatusCode::FORBIDDEN,
        upstream: None,
        ..entry()
    }
}

fn json(entry: &AccessEntry) -> String {
    let mut text = String::new();
    json::push(entry, &mut text);
    text
}

fn combined(entry: &AccessEntry) -> String {
    let mut text = String::new();
    combined::push(entry, &TimeZone::UTC, &mut text);
    text
}

#[test]
fn a_line_of_json_has_all_that_is_known() {
    assert_eq!(
        json(&entry()),
        "{\"time\":\"2026-11-27T01:47:14.250Z\",\"client\":\"192.0.2.7\",\"peer\":\"198.51.100.1:4711\",\
         \"method\":\"GET\",\"host\":\"example.org\",\"target\":\"/a?b=c\",\"version\":\"HTTP/1.1\",\"status\":200,\
         \"bytes_in\":0,\"bytes_out\":1024,\"duration\":1.500250,\"route\":\"app\",\
         \"upstream\":\"http://127.0.0.1:9000\",\"attempts\":2,\"upstream_head\":0.003000,\
         \"user_agent\":\"curl/8\",\"blocked\":false}\n"
    );
    let line: Value = serde_json::from_str(&json(&banned())).unwrap();
    for (field, value) in [
        ("remediation", Value::from("ban")),
        ("origin", "lists:tor".into()),
        ("scenario", "tor".into()),
        ("decision_id", 9.into()),
        ("decision_value", "192.0.2.0/24".into()),
        ("log_only", false.into()),
        ("blocked", true.into()),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
}

#[test]
fn combined_lines_are_nginxs() {
    assert_eq!(
        combined(&entry()),
        "192.0.2.7 - - [27/Nov/2026:01:47:14 +0000] \"GET /a?b=c HTTP/1.1\" 200 1024 \"-\" \"curl/8\"\n"
    );
    let two = AccessEntry { version: Version::HTTP_2, ..entry() };
    assert!(combined(&two).contains("\"GET /a?b=c HTTP/2.0\""));
}

#[test]
fn nothing_of_a_request_forges_a_line_or_is_long() {
    let hostile = AccessEntry {
        user_agent: HeaderValue::from_bytes("x\" \\ \t\u{202e}\u{9b}é".as_bytes()).ok(),
        referer: HeaderValue::from_bytes(b"\xff\xfe\"").ok(),
        host: HeaderValue::from_bytes(&[b'h'; 5000]).ok(),
        target: format!("/{}", "p".repeat(5000)).parse().unwrap(),
        ..entry()
    };
    for line in [json(&hostile), combined(&hostile)] {
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with('\n') && line.len() < 5000, "{}", line.len());
        assert!(!line.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{line}");
    }
    let line: Value = serde_json::from_str(&json(&hostile)).unwrap();
    assert_eq!(line["user_agent"], "x\" \\ \t\u{202e}\u{9b}é");
    assert_eq!(line["host"].as_str().unwrap().len(), 512 + "...".len());
    assert!(combined(&hostile).contains(r#""\xFF\xFE\x22" "x\x22 \x5C \x09\xE2\x80\xAE"#));
}

fn configured(path: &Path, format: AccessLogFormat) -> AccessLog {
    let log = AccessLog::start().unwrap();
    assert!(!log.is_on());
    log.configure(Some(&AccessLogConfig { file: Some(path.to_owned()), format })).unwrap();
    assert!(log.is_on());
    log
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn requests_that_a_decision_refused_are_marked_in_json_and_left_out_of_combined() {
    let dir = tempfile::tempdir().unwrap();
    for (format, count) in [(AccessLogFormat::Json, 3), (AccessLogFormat::Combined, 2)] {
        let path = dir.path().join(format!("{format:?}.log"));
        let log = configured(&path, format);
        log.write(entry());
        log.write(banned());
        // Only logged, so it reached the application and its response is the application's.
        log.write(AccessEntry { blocked: false, status: StatusCode::OK, ..banned() });
        log.flush();
        assert_eq!(lines(&path).len(), count, "{format:?}");
    }
}

#[test]
fn a_file_that_was_moved_aside_is_made_anew_at_the_next_reload() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
    let log = configured(&path, AccessLogFormat::Json);
    log.write(entry());
    log.flush();
    std::fs::rename(&path, &aside).unwrap();
    log.write(entry());
    log.configure(Some(&AccessLogConfig { file: Some(path.clone()), format: AccessLogFormat::Json }))
        .unwrap();
    log.write(entry());
    log.flush();
    assert_eq!((lines(&aside).len(), lines(&path).len()), (2, 1));

    let nowhere = AccessLogConfig { file: Some(path.join("x")), format: AccessLogFormat::Json };
    let error = log.configure(Some(&nowhere)).unwrap_err().to_string();
    assert!(error.contains("cannot write the access log") && error.contains("`access_log.file`"), "{error}");
    log.write(entry());
    log.flush();
    assert_eq!(lines(&path).len(), 2, "the old file stays in use");
    log.configure(None).unwrap();
    log.write(entry());
    log.flush();
    assert!(!log.is_on() && lines(&path).len() == 2);
}

#[test]
fn entries_that_cannot_be_written_are_counted() {
    let log = configured(Path::new("/dev/full"), AccessLogFormat::Json);
    for _ in 0..10 {
        log.write(entry());
    }
    log.flush();
    assert_eq!(log.lost(), 10);
}
