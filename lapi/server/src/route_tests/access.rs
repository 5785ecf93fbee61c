//! Who may use which route: the table of `docs/security-model.md`.

use super::openapi::ROUTES;
use crate::test_server::{KEY, TestServer};

/// Nobody, a bouncer, a machine at any address, a machine at a trusted address.
const WHO: [&str; 4] = ["nobody", "bouncer", "machine", "trusted machine"];
/// In `trusted_ips`, and not.
const TRUSTED: &str = "192.0.2.1";
const UNTRUSTED: &str = "203.0.113.1";

/// Methods and path of a route, a body, and who of [`WHO`] may use it.
type Access = (&'static [&'static str], &'static str, &'static str, [bool; 4]);

const EVERYBODY: [bool; 4] = [true; 4];
const BOUNCERS: [bool; 4] = [false, true, false, false];
const MACHINES: [bool; 4] = [false, false, true, true];
const BOTH: [bool; 4] = [false, true, true, true];
const TRUSTED_MACHINES: [bool; 4] = [false, false, false, true];

const ACCESS: &[Access] = &[
    (&["get"], "/health", "", EVERYBODY),
    (&["post"], "/v1/watchers", r#"{"machine_id":"NAME","password":"p"}"#, EVERYBODY),
    (&["post"], "/v1/watchers/login", r#"{"machine_id":"m","password":"secret"}"#, EVERYBODY),
    (&["get"], "/v1/refresh_token", "", MACHINES),
    (&["get"], "/v1/heartbeat", "", MACHINES),
    (&["get", "head", "post"], "/v1/alerts", "[]", MACHINES),
    (&["delete"], "/v1/alerts", "", TRUSTED_MACHINES),
    (&["get", "head"], "/v1/alerts/{alert_id}", "", MACHINES),
    (&["delete"], "/v1/alerts/{alert_id}", "", TRUSTED_MACHINES),
    (&["get", "head"], "/v1/decisions", "", BOUNCERS),
    (&["delete"], "/v1/decisions", "", MACHINES),
    (&["delete"], "/v1/decisions/{decision_id}", "", MACHINES),
    (&["get", "head"], "/v1/decisions/stream", "", BOUNCERS),
    (&["post"], "/v1/usage-metrics", "{}", BOTH),
    (&["get"], "/v1/allowlists", "", MACHINES),
    (&["get"], "/v1/allowlists/{allowlist_name}", "", MACHINES),
    (&["get", "head"], "/v1/allowlists/check/{ip_or_range}", "", MACHINES),
    (&["post"], "/v1/allowlists/check", "{}", MACHINES),
    // Last: it removes the machine.
    (&["delete"], "/v1/watchers/self", "", MACHINES),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_route_is_open_to_whom_it_should_be() {
    let server = TestServer::new().await;
    let mut token = server.register("m").await;
    let mut wrong = Vec::new();
    for (methods, path, body, expected) in ACCESS {
        for method in *methods {
            for (number, who) in WHO.iter().enumerate() {
                let credentials = match number {
                    0 => "accept: */*".to_owned(),
                    1 => format!("x-api-key: {KEY}"),
                    _ => format!("authorization: Bearer {token}"),
                };
                let from = if number == 3 { TRUSTED } else { UNTRUSTED };
                let path = path.replace("{alert_id}", "1").replace("{decision_id}", "1");
                let path = path.replace("{allowlist_name}", "x").replace("{ip_or_range}", "192.0.2.9");
                let what = format!("{} {path}", method.to_uppercase());
                let headers = [credentials.as_str(), "user-agent: crowdsec/v1.7.8"];
                let body = body.replace("NAME", &format!("new-{number}"));
                let answer = server.request(from, &what, &headers, body).await;
                if server.lapi.registry.machine("m").is_none() {
                    token = server.register("m").await;
                }
                let is_open = !matches!(answer.status.as_u16(), 401 | 403);
                if is_open != expected[number] {
                    wrong.push(format!("{what} by {who}: {}", answer.status));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_route_is_left_out() {
    for (path, methods) in ROUTES {
        let mut listed: Vec<&str> = ACCESS
            .iter()
            .filter(|(_, listed, ..)| listed == path)
            .flat_map(|(methods, ..)| methods.iter().copied())
            .collect();
        listed.sort_unstable();
        assert_eq!(listed, *methods, "{path}");
    }
}
