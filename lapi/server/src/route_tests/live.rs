//! Live queries.

use axum::http::Method;
use serde_json::json;

use crate::test_server::{Answer, TestServer};

#[tokio::test]
async fn a_live_query_returns_what_covers_an_address() {
    let server = TestServer::new().await;
    assert_eq!(server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1").await.short(), (200, "null".into()));
    server.ban("192.0.2.1", "1h").await;
    server.ban("192.0.2.0/24", "2h").await;
    let answer = server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1").await;
    assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(
        answer.json()[1],
        json!({"duration": "1h0m0s", "id": 1, "origin": "cscli", "scenario": "manual", "scope": "Ip",
               "type": "ban", "value": "192.0.2.1"})
    );
    assert_eq!(answer.json().as_array().map(Vec::len), Some(2));
    let other = server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.2&type=ban").await;
    assert_eq!(other.json()[0]["value"], "192.0.2.0/24");
}

#[tokio::test]
async fn the_severest_comes_first_and_then_the_longest() {
    let server = TestServer::new().await;
    for (id, value, kind, duration) in [
        (1, "192.0.2.1", "throttle", "9h"),
        (2, "192.0.2.0/24", "captcha", "8h"),
        (3, "192.0.2.1", "ban", "1h"),
        (4, "192.0.2.0/25", "ban", "4h"),
        (5, "192.0.2.1", "captcha", "10h"),
        (6, "192.0.2.1", "ban", "4h"),
    ] {
        let mut decision = server.decision(value, duration);
        decision["type"] = kind.into();
        assert_eq!(server.post_alerts(&[server.by_hand(&[decision])]).await, [format!("{id}")]);
    }
    for (query, expected) in [
        ("ip=192.0.2.1", &[4, 6, 3, 5, 2, 1][..]),
        ("", &[4, 6, 3, 5, 2, 1]),
        ("value=192.0.2.1", &[6, 3, 5, 1]),
        // Pages follow each other by id.
        ("ip=192.0.2.1&limit=3", &[1, 2, 3]),
        ("ip=192.0.2.1&id_gt=3", &[4, 5, 6]),
    ] {
        let answer = server.bouncer(Method::GET, &format!("/v1/decisions?{query}")).await.json();
        let ids: Vec<i64> =
            answer.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, expected, "{query}");
    }
}

#[tokio::test]
async fn a_short_response_has_its_length_and_a_long_one_is_sent_in_chunks() {
    let server = TestServer::new().await;
    let length =
        |answer: &Answer| answer.headers.get("content-length").map(|text| text.to_str().unwrap().to_owned());
    let none = server.bouncer(Method::GET, "/v1/decisions").await;
    assert_eq!((none.text.as_str(), length(&none).as_deref()), ("null", Some("4")));
    server.ban("192.0.2.1", "1h").await;
    let short = server.bouncer(Method::GET, "/v1/decisions").await;
    assert_eq!(length(&short), Some(short.text.len().to_string()));
    for n in 0..20 {
        server.ban(&format!("198.51.100.{n}"), "1h").await;
    }
    let long = server.bouncer(Method::GET, "/v1/decisions").await;
    assert!(long.text.len() > 2048 && length(&long).is_none(), "{long:?}");
    for path in ["/v1/decisions", "/v1/decisions/stream"] {
        assert_eq!(length(&server.bouncer(Method::HEAD, path).await), None, "{path}");
    }
    let stream = server.bouncer(Method::GET, "/v1/decisions/stream").await;
    assert!(
        stream.text.starts_with("{\"new\": [{\"duration\":\"1h0m0s\",\"id\":1,\"origin\":"),
        "{stream:?}"
    );
    assert!(stream.text.ends_with("}], \"deleted\": []}") && length(&stream).is_none(), "{stream:?}");
}

#[tokio::test]
async fn parameters_are_read_as_by_the_stock_server() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    let mut country = server.decision("FR", "1h");
    country["scope"] = "country".into();
    server.post_alerts(&[server.by_hand(&[country])]).await;
    let number = |name: &str, text: &str, why: &str| {
        format!("invalid {name} value: strconv.Atoi: parsing \"{text}\": {why}: invalid filter")
    };
    for (query, expected) in [
        ("limit=x", number("limit", "x", "invalid syntax")),
        ("limit=1.5", number("limit", "1.5", "invalid syntax")),
        ("offset=", number("offset", "", "invalid syntax")),
        ("id_gt=99999999999999999999", number("id_gt", "99999999999999999999", "value out of range")),
        (
            "contains=maybe",
            "invalid contains value: strconv.ParseBool: parsing \"maybe\": invalid syntax: invalid filter"
                .into(),
        ),
        (
            "ip=zz",
            "unable to convert 'zz' to int: invalid ip address 'zz': invalid ip address / range".into(),
        ),
        ("ip=", "unable to convert '' to int: invalid ip address '': invalid ip address / range".into()),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = server.bouncer(method.clone(), &format!("/v1/decisions?{query}")).await;
            let text = if method == Method::HEAD { String::new() } else { expected.clone() };
            assert_eq!(answer.short(), (500, text), "{method} {query}");
        }
    }
    for (query, ids) in [
        ("unknown=1&startup=x&dedup=x", &[1, 2][..]),
        ("scope=country&value=FR", &[2]),
        ("scopes=COUNTRY", &[2]),
        ("scopes=Ip,Country&scope=ip", &[1]),
        ("scopes=ip,%20country", &[1]),
        ("value=fr", &[]),
        ("type=Ban", &[]),
        ("origins=cscli,x", &[1, 2]),
        ("origins=CSCLI", &[]),
        ("scenarios_containing=MAN", &[1, 2]),
        ("scenarios_not_containing=", &[]),
        ("ip=::ffff:192.0.2.1", &[1]),
        ("range=192.0.2.0/24", &[]),
        ("range=192.0.2.0/24&contains=false", &[1]),
        ("range=192.0.2.0/24&contains=F", &[1]),
        ("limit=1", &[1]),
        ("limit=0", &[]),
        ("limit=-1", &[1, 2]),
        ("offset=1&limit=5", &[2]),
        ("id_gt=1", &[2]),
    ] {
        let answer = server.bouncer(Method::GET, &format!("/v1/decisions?{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        let found = answer.json();
        let found: Vec<i64> =
            found.as_array().into_iter().flatten().filter_map(|row| row["id"].as_i64()).collect();
        assert_eq!(found, ids, "{query}");
        assert_eq!(answer.text == "null", ids.is_empty(), "{query}");
    }
}

#[tokio::test]
async fn head_has_the_status_of_get_and_no_body() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    for (path, status) in [("/v1/decisions?ip=192.0.2.1", 200), ("/v1/decisions?ip=zz", 500)] {
        let answer = server.bouncer(Method::HEAD, path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, ""), "{path}");
    }
    let bad = server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1&contains=maybe").await;
    assert!(bad.short().1.ends_with("invalid filter"), "{bad:?}");
}

#[tokio::test]
async fn a_live_query_moves_the_last_pull_and_no_place_in_the_stream() {
    let server = TestServer::new().await;
    let door = || {
        let door = server.lapi.registry.bouncer("door").unwrap();
        (door.last_pull(), door.stream_cursor())
    };
    server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1").await;
    assert_eq!(door(), (Some(server.now()), None));
    server.pull("").await;
    let streamed = door();
    assert!(streamed.1.is_some());
    server.pass(std::time::Duration::from_secs(3600));
    server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1").await;
    assert_eq!(door(), (Some(server.now()), streamed.1));
}
