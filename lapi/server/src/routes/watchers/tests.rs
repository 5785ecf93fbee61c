//! The life cycle of machines, through the router.

use palisade_wire::UnixMillis;

use crate::{auth::throttle::REMOTE, test_server::TestServer};

const AUTO: &str = "    disable_remote_lapi_registration: false\n    auto_registration:\n      enabled: true\n      \
                    token: 0123456789abcdef0123456789abcdef\n      allowed_ranges: [192.0.2.0/24]\n";

#[tokio::test(flavor = "multi_thread")]
async fn registration_answers_as_the_stock_server() {
    let lapi = TestServer::configured(AUTO).await;
    let long = format!(r#"{{"machine_id":"long","password":"{}"}}"#, "x".repeat(73));
    let token = |name: &str, token: &str| {
        format!(r#"{{"machine_id":"{name}","password":"p","registration_token":"{token}"}}"#)
    };
    let good = "0123456789abcdef0123456789abcdef";
    let text = "validation failure list:\nmachine_id in body is required";
    for (from, body, expected) in [
        ("192.0.2.1", r#"{"machine_id":"a","password":"p"}"#.to_owned(), (201, "")),
        (
            "192.0.2.1",
            r#"{"machine_id":"a","password":"p"}"#.to_owned(),
            (403, "user 'a': user already exist"),
        ),
        ("192.0.2.1", token("b", good), (202, "")),
        ("198.51.100.1", token("c", good), (401, "IP not in allowed range for auto registration")),
        ("192.0.2.1", token("c", &good.replace('0', "1")), (401, "invalid token for auto registration")),
        (
            "192.0.2.1",
            token("c", "short"),
            (422, "validation failure list:\nregistration_token in body should be at least 32 chars long"),
        ),
        ("192.0.2.1", "{}".to_owned(), (422, text)),
        ("192.0.2.1", String::new(), (400, "EOF while parsing a value at line 1 column 0")),
        ("192.0.2.1", long, (400, "unable to hash")),
    ] {
        let answer = lapi.request(from, "POST /v1/watchers", &[], body.clone()).await;
        assert_eq!(answer.short(), (expected.0, expected.1.to_owned()), "{body}");
    }
    let large = format!(r#"{{"machine_id":"{}"}}"#, "x".repeat(2 << 20));
    let answer = lapi.request("192.0.2.1", "POST /v1/watchers", &[], large).await;
    assert_eq!(answer.short(), (400, "http: request body too large".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_registration_can_be_off() {
    let lapi = TestServer::configured("    disable_remote_lapi_registration: true\n").await;
    let body = r#"{"machine_id":"a","password":"p"}"#;
    let remote = lapi.request("192.0.2.1", "POST /v1/watchers", &[], body).await;
    assert_eq!(remote.short(), (403, "access forbidden".to_owned()));
    assert_eq!(lapi.request("127.0.0.1", "POST /v1/watchers", &[], body).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn login_answers_as_the_stock_server() {
    let lapi = TestServer::configured("").await;
    lapi.register("m").await;
    lapi.request("127.0.0.1", "POST /v1/watchers", &[], r#"{"machine_id":"pending","password":"p"}"#).await;
    let agent = "user-agent: crowdsec/v1.7.8-linux";
    let sound = r#"{"machine_id":"m","password":"secret","scenarios":["a","b"]}"#;
    for (agent, body, expected) in [
        (agent, r#"{"machine_id":"nobody","password":"p"}"#, "ent: machine not found"),
        (agent, r#"{"machine_id":"pending","password":"wrong"}"#, "machine pending not validated"),
        (agent, r#"{"machine_id":"m","password":"wrong"}"#, "incorrect Username or Password"),
        ("user-agent: curl", sound, "incorrect Username or Password"),
        ("user-agent: a/b/c", sound, "incorrect Username or Password"),
        (agent, "", "missing: EOF while parsing a value at line 1 column 0"),
        (agent, r#"{"machine_id":"m"}"#, "validation failure list:\npassword in body is required"),
    ] {
        let answer = lapi.request("192.0.2.7", "POST /v1/watchers/login", &[agent], body).await;
        assert_eq!(answer.short(), (401, expected.to_owned()), "{agent} {body}");
        assert!(answer.text.starts_with(r#"{"code":401,"#), "{answer:?}");
        assert_eq!(answer.headers["www-authenticate"], "JWT realm=Crowdsec API local");
    }
    let answer = lapi.request("192.0.2.7", "POST /v1/watchers/login", &[agent], sound).await;
    assert!(answer.text.starts_with(r#"{"code":200,"expire":""#), "{answer:?}");
    lapi.lapi.registry.activity.write_back(UnixMillis::now()).await.unwrap();
    let stored = lapi.lapi.store.machine("m").await.unwrap().unwrap();
    assert_eq!(
        (stored.ip.as_str(), stored.version.as_str(), stored.scenarios.as_str()),
        ("192.0.2.7", "v1.7.8-linux", "a,b")
    );
    let large = format!(r#"{{"machine_id":"{}"}}"#, "x".repeat(2 << 20));
    let answer = lapi.request("192.0.2.7", "POST /v1/watchers/login", &[agent], large).await;
    assert_eq!(answer.short(), (401, "missing: http: request body too large".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_as_long_as_its_machine() {
    let lapi = TestServer::configured("").await;
    let token = lapi.register("m").await;
    let bearer = format!("authorization: Bearer {token}");
    let cookie = format!("cookie: a=b; jwt={token}");
    let heartbeat = "GET /v1/heartbeat";
    assert_eq!(lapi.request("192.0.2.1", heartbeat, &[&bearer], "").await.short(), (200, String::new()));
    assert_eq!(lapi.request("192.0.2.1", heartbeat, &[&cookie], "").await.status, 200);
    for (header, text) in [
        ("x-api-key: k", "cookie token is empty"),
        ("authorization: bearer x", "cookie token is empty"),
        ("authorization: Bearer x", "token contains an invalid number of segments"),
    ] {
        assert_eq!(lapi.request("192.0.2.1", heartbeat, &[header], "").await.short(), (401, text.to_owned()));
    }
    let refreshed = lapi.request("192.0.2.1", "GET /v1/refresh_token", &[&bearer], "").await.token();
    let again = format!("authorization: Bearer {refreshed}");
    assert_eq!(lapi.request("192.0.2.1", heartbeat, &[&again], "").await.status, 200);
    lapi.lapi.registry.activity.write_back(UnixMillis::now()).await.unwrap();
    assert!(lapi.lapi.store.machine("m").await.unwrap().unwrap().last_heartbeat.is_some());
    // A token on a route for keys.
    let stream = lapi.request("192.0.2.1", "GET /v1/decisions/stream", &[&bearer], "").await;
    assert_eq!(stream.short(), (403, "access forbidden".to_owned()));

    let leave = lapi.request("192.0.2.1", "DELETE /v1/watchers/self", &[&bearer], "").await;
    assert_eq!(leave.short(), (204, String::new()));
    assert_eq!(
        lapi.request("192.0.2.1", heartbeat, &[&again], "").await.short(),
        (401, "ent: machine not found".to_owned())
    );
    assert_eq!(lapi.request("192.0.2.1", "GET /v1/refresh_token", &[&bearer], "").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down_and_a_neighbour_is_not() {
    let lapi = TestServer::configured(AUTO).await;
    lapi.register("m").await;
    lapi.register("n").await;
    let (agent, from) = ("user-agent: crowdsec/v1", "192.0.2.1");
    let login = "POST /v1/watchers/login";
    let wrong = |name: &str| format!(r#"{{"machine_id":"{name}","password":"wrong"}}"#);
    for name in ["gone", "m"] {
        let mut guesses = 0;
        let refused = loop {
            let answer = lapi.request(from, login, &[agent], wrong(name)).await;
            if answer.status != 401 {
                break answer;
            }
            guesses += 1;
            // More than the burst, because the bucket refills while a slow machine hashes.
            assert!(guesses < 3 * REMOTE.burst, "nothing slows the guesses down");
        };
        assert_eq!(refused.status, 429);
        assert!(guesses >= REMOTE.burst);
        assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    }
    // Right passwords from the same address: of another machine, and of the same one, which logged in before.
    for name in ["n", "m"] {
        let sound = format!(r#"{{"machine_id":"{name}","password":"secret"}}"#);
        assert_eq!(lapi.request(from, login, &[agent], sound).await.status, 200, "{name}");
    }
    let registration = "POST /v1/watchers";
    let without = |number: u32| format!(r#"{{"machine_id":"r{number}","password":"p"}}"#);
    let mut registered = 0;
    let refused = loop {
        let answer = lapi.request(from, registration, &[], without(registered)).await;
        if answer.status != 201 {
            break answer;
        }
        registered += 1;
        assert!(registered < 3 * REMOTE.burst, "nothing slows the registrations down");
    };
    assert!(refused.status == 429 && registered >= REMOTE.burst, "{refused:?} after {registered}");
    let token =
        r#"{"machine_id":"t","password":"p","registration_token":"0123456789abcdef0123456789abcdef"}"#;
    assert_eq!(lapi.request(from, registration, &[], token).await.status, 202);
    assert!(lapi.metrics.text().contains("palisade_lapi_throttled_total 3"), "{}", lapi.metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_bound_to_the_credentials_of_its_login() {
    let lapi = TestServer::configured("").await;
    let store = lapi.lapi.store.clone();
    let heartbeat = "GET /v1/heartbeat";
    let refresh = "GET /v1/refresh_token";
    let status = async |what: &str, token: &str| {
        lapi.request("192.0.2.1", what, &[&format!("authorization: Bearer {token}")], "")
            .await
            .status
            .as_u16()
    };
    // A new password.
    let token = lapi.register("m").await;
    let refreshed =
        lapi.request("192.0.2.1", refresh, &[&format!("authorization: Bearer {token}")], "").await.token();
    let hash = palisade_store::hash_password("other").unwrap();
    store.set_machine_password(UnixMillis::now(), "m", &hash).await.unwrap();
    lapi.lapi.registry.refresh_if_stale().await.unwrap();
    for old in [&token, &refreshed] {
        assert_eq!((status(heartbeat, old).await, status(refresh, old).await), (401, 401));
    }
    // Deleted and added again, with the same password.
    let token = lapi.register("n").await;
    store.delete_machine("n").await.unwrap();
    lapi.lapi.registry.refresh_if_stale().await.unwrap();
    let again = lapi.register("n").await;
    assert_eq!((status(heartbeat, &token).await, status(heartbeat, &again).await), (401, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_another_cost_is_replaced_at_the_next_login() {
    let lapi = TestServer::configured("").await;
    let store = lapi.lapi.store.clone();
    lapi.register("m").await;
    let cheap = bcrypt::hash("secret", 4).unwrap();
    store.set_machine_password(UnixMillis::now(), "m", &cheap).await.unwrap();
    lapi.lapi.registry.refresh_if_stale().await.unwrap();
    let body = r#"{"machine_id":"m","password":"secret"}"#;
    let agent = "user-agent: crowdsec/v1";
    let token = lapi.request("192.0.2.1", "POST /v1/watchers/login", &[agent], body).await.token();
    let stored = store.machine("m").await.unwrap().unwrap().password;
    assert!(stored.starts_with("$2b$10$") && palisade_store::password_matches("secret", &stored), "{stored}");
    let bearer = format!("authorization: Bearer {token}");
    assert_eq!(lapi.request("192.0.2.1", "GET /v1/heartbeat", &[&bearer], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_machines_behind_one_address_get_in() {
    let lapi = TestServer::configured("").await;
    lapi.register("m").await;
    let sound = r#"{"machine_id":"m","password":"secret"}"#;
    let logins = (0..REMOTE.burst + 40)
        .map(|_| lapi.request("192.0.2.1", "POST /v1/watchers/login", &["user-agent: crowdsec/v1"], sound));
    for answer in together(logins).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// Awaits all futures concurrently.
pub(super) async fn together<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (one, output) in &mut waiting {
            if output.is_none() {
                match one.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_key_has_a_row_per_address_from_the_first_contact() {
    let lapi = TestServer::configured("").await;
    lapi.add_bouncer("fw", "key").await;
    let key = ["x-api-key: key", "user-agent: crowdsec-firewall-bouncer/v0.0.25"];
    let stream = "GET /v1/decisions/stream";
    // Checking the key leaves no row.
    assert_eq!(lapi.request("192.0.2.9", "HEAD /v1/decisions/stream", &key, "").await.status, 200);
    assert_eq!(lapi.lapi.registry.bouncer("fw").unwrap().live().ip, "");

    // Many concurrent first requests from two addresses: none is refused.
    let asked = (0..40).map(|number| {
        let from = if number % 2 == 0 { "192.0.2.1" } else { "192.0.2.2" };
        lapi.request(from, stream, &key, "")
    });
    for answer in together(asked).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    lapi.lapi.registry.activity.write_back(UnixMillis::now()).await.unwrap();
    let mut rows = lapi.lapi.store.bouncers().await.unwrap();
    rows.sort_by_key(|row| row.id);
    assert_eq!(rows.len(), 2, "{rows:?}");
    let (first, second) = (&rows[0], &rows[1]);
    assert_eq!((first.name.as_str(), first.auto_created), ("fw", false));
    assert_eq!((second.name.clone(), second.auto_created), (format!("fw@{}", second.ip), true));
    assert_ne!(first.ip, second.ip);
    for row in &rows {
        assert_eq!((row.kind.as_str(), row.version.as_str()), ("crowdsec-firewall-bouncer", "v0.0.25"));
        assert!(row.last_pull.is_some() && row.cursor.is_some(), "{row:?}");
    }
    // A header of another form is stored unchanged.
    lapi.request("192.0.2.1", stream, &["x-api-key: key", "user-agent: curl"], "").await;
    let odd =
        lapi.lapi.registry.bouncer_at(UnixMillis::now(), &first.key_hash, "192.0.2.1").await.unwrap().live();
    assert_eq!((odd.kind.as_str(), odd.version.as_str()), ("curl", "N/A"));

    for headers in [&["x-api-key: other"][..], &[], &["x-api-key: "]] {
        for what in [stream, "HEAD /v1/decisions/stream"] {
            let answer = lapi.request("192.0.2.1", what, headers, "").await;
            assert_eq!(answer.status, 403, "{what} {headers:?}");
        }
    }
    // A new key works at once; a deleted one is refused at once.
    lapi.add_bouncer("new", "fresh").await;
    assert_eq!(lapi.request("192.0.2.1", stream, &["x-api-key: fresh"], "").await.status, 200);
    lapi.lapi.store.delete_bouncer("new").await.unwrap();
    lapi.lapi.registry.refresh_if_stale().await.unwrap();
    assert_eq!(lapi.request("192.0.2.1", stream, &["x-api-key: fresh"], "").await.status, 403);
}
