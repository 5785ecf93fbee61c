//! The LAPI's description of itself, and which clients get it.

use palisade_wire::about::{LapiState, PROBE_QUERY, STATE_HEADER, VERSION_HEADER};

use crate::cli::VERSION;
use crate::test_server::{KEY, TestServer};

#[tokio::test]
async fn only_known_clients_that_ask_are_told() {
    let server = TestServer::new().await;
    server.register_with("web", "a good password").await;
    server.ban("192.0.2.1", "1h").await;
    let (ask, key) = (format!("{VERSION_HEADER}: "), format!("x-api-key: {KEY}"));
    let probe = format!("GET /v1/decisions?{PROBE_QUERY}");
    let login = |password: &str| format!(r#"{{"machine_id":"web","password":"{password}","scenarios":[]}}"#);
    let (right, wrong) = (login("a good password"), login("a wrong password"));
    let agent = "user-agent: palisade/v1";
    for (what, headers, body, status, has_version, has_state) in [
        (&*probe, &[&*ask, &*key][..], "", 500, true, false),
        (&*probe, &[&*key], "", 500, false, false),
        (&*probe, &[&*ask], "", 403, false, false),
        (&*probe, &[&*ask, "x-api-key: wrong"], "", 403, false, false),
        ("GET /v1/decisions", &[&*ask, &*key], "", 200, true, false),
        ("GET /health", &[&*ask], "", 200, false, false),
        ("GET /nowhere", &[&*ask], "", 404, false, false),
        ("POST /v1/watchers/login", &[&*ask, agent], &*right, 200, true, true),
        ("POST /v1/watchers/login", &[agent], &*right, 200, false, false),
        ("POST /v1/watchers/login", &[&*ask, agent], &*wrong, 401, false, false),
    ] {
        let answer = server.request("192.0.2.10", what, headers, body.to_owned()).await;
        assert_eq!(answer.status, status, "{what} {headers:?}: {answer:?}");
        let version = answer.headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok());
        assert_eq!(version, has_version.then_some(VERSION), "{what} {headers:?}");
        let state = answer.headers.get(STATE_HEADER).and_then(|value| value.to_str().ok());
        let held =
            LapiState { database: "sqlite".to_owned(), machines: 2, bouncers: 1, decisions: 1, waiting: 0 };
        assert_eq!(state.map(LapiState::read), has_state.then_some(held), "{what} {headers:?}");
    }
}
