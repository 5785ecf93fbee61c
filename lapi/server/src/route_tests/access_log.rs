//! The access log: a line for each request, without secrets, and limited for unauthenticated clients.

use axum::http::Method;
use palisade_daemon::logs::{LogConfig, LogLevel, LogTarget, Rotation};

use crate::test_server::{KEY, TestServer};

/// Logs to a file of the server's folder; returns its text so far.
fn log(server: &TestServer, level: LogLevel) -> impl Fn() -> String {
    let path = server.folder.path().join("crowdsec_api.log");
    let rotation = Rotation { max_bytes: 1 << 20, max_files: 1, max_age_days: 1, compress: false };
    let target = LogTarget::File { path: path.clone(), rotation };
    let access = server.lapi.access.clone();
    access.configure(&LogConfig { level, target, media_key: "common.log_media" }).unwrap();
    move || {
        access.flush();
        std::fs::read_to_string(&path).unwrap_or_default()
    }
}

#[tokio::test]
async fn each_request_is_one_line_in_the_stock_servers_words() {
    let server = TestServer::configured("    trusted_proxies: [192.0.2.99]\n").await;
    server.add_bouncer("door", KEY).await;
    let text = log(&server, LogLevel::Info);
    server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.7").await;
    server.get("/v1/heartbeat").await;
    server.get("/v1/alerts/999999").await;
    let headers = ["x-forwarded-for: 198.51.100.7", "user-agent: a \"b\""];
    server.request("192.0.2.99", "GET /nothing", &headers, "").await;
    let text = text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    for (line, client, request, agent) in [
        (lines[0], "192.0.2.10", "GET /v1/decisions?ip=192.0.2.7 HTTP/1.1 200", "test-bouncer/v1.0"),
        (lines[1], "127.0.0.1", "GET /v1/heartbeat HTTP/1.1 200", "crowdsec/v1.7.8-linux"),
        (lines[2], "127.0.0.1", "GET /v1/alerts/999999 HTTP/1.1 404", "crowdsec/v1.7.8-linux"),
        (lines[3], "198.51.100.7", "GET /nothing HTTP/1.1 404", r#"a \\\"b\\\""#),
    ] {
        assert!(line.contains(&format!("level=info msg=\"{client} - [")), "{line}");
        assert!(line.contains(&format!("] \\\"{request} ")), "{line}");
        let agent = agent.replace(r#"\\\""#, r#"\""#);
        assert!(line.ends_with(&format!(" \\\"{agent}\\\" \\\"\"")), "{line}");
    }
}

#[tokio::test]
async fn no_line_has_a_secret_and_strangers_get_few() {
    let server = TestServer::new().await;
    let text = log(&server, LogLevel::Info);
    let token = server.register("machine").await;
    server.request("127.0.0.1", "GET /v1/heartbeat", &[&format!("authorization: Bearer {token}")], "").await;
    server.request("127.0.0.1", &format!("GET /v1/heartbeat?token={token}"), &[], "").await;
    server.bouncer(Method::GET, "/v1/decisions").await;
    for _ in 0..500 {
        server.request("203.0.113.7", "GET /v1/decisions", &["x-api-key: guessed-wrong"], "").await;
        server.request("203.0.113.7", "GET /v1/no-such-route", &[], "").await;
    }
    server.bouncer(Method::GET, "/v1/decisions/stream?startup=true").await;
    let text = text();
    for secret in [&*token, KEY, "guessed-wrong", "\"secret\""] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let strangers = text.lines().filter(|line| line.contains("203.0.113.7")).count();
    // As many again in each minute that the loop took.
    assert!((1..600).contains(&strangers), "{strangers}");
    assert!(text.contains("/v1/decisions/stream?startup=true HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn a_higher_level_switches_it_off() {
    let server = TestServer::new().await;
    let text = log(&server, LogLevel::Warn);
    server.bouncer(Method::GET, "/v1/decisions").await;
    assert_eq!(text(), "");
}
