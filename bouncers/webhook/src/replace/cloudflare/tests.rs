use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::*;
use crate::replace::testing::{Act, PlainExchange, Seen, StandIn, all, json as answer, snapshot};

const ACCOUNT: &str = "023e105f4ecef8ad9ca31a8372d0c353";
const LIST: &str = "2c0fc9fa937b11eaa1b71c4d701ab86e";
const OPERATION: &str = "4da8780eeb215e6cb7f48dd981c4ea02";
const TOKEN: &str = "Bearer Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQqnFTOFYY";

fn service(stand_in: &StandIn) -> Cloudflare<PlainExchange> {
    let exchange = PlainExchange { headers: vec![("authorization", TOKEN.to_owned())] };
    let base = stand_in.url.join("client/v4").unwrap();
    let (account, list) = (ACCOUNT.to_owned(), LIST.to_owned());
    Cloudflare { base, account, list, long_ipv6: LongIpv6::Skip, exchange }
}

fn list(service: &Cloudflare<PlainExchange>, decisions: &[(&str, i64)]) -> List {
    List::build(&snapshot(decisions), &all(), &service.shape(10_000, false))
}

fn success(result: &Json) -> Act {
    answer(200, &json!({ "success": true, "errors": [], "messages": [], "result": result }))
}

fn failure(status: u16, code: i64, message: &str) -> Act {
    let errors = json!([{ "code": code, "message": message }]);
    answer(status, &json!({ "success": false, "errors": errors, "messages": [], "result": null }))
}

/// Checks an upload by Cloudflare's documentation, and returns its addresses.
fn uploaded(request: &Seen) -> Result<Vec<String>, String> {
    if request.header("authorization") != Some(TOKEN) {
        return Err("no token".to_owned());
    }
    if request.header("content-type") != Some("application/json") {
        return Err("not sent as JSON".to_owned());
    }
    let body = request.json();
    let items = body.as_array().ok_or("the body is no array")?;
    let mut addresses = Vec::new();
    for item in items {
        let item = item.as_object().ok_or("an item is no object")?;
        let keys: BTreeSet<&str> = item.keys().map(String::as_str).collect();
        if keys != BTreeSet::from(["ip", "comment"]) {
            return Err(format!("keys {keys:?}"));
        }
        let ip = item["ip"].as_str().ok_or("ip is no text")?;
        let (address, length) = ip.split_once('/').map_or((ip, None), |(ip, length)| (ip, Some(length)));
        let length = length.map(|length| length.parse::<u8>().unwrap());
        let is_v4 = address.parse::<std::net::IpAddr>().map_err(|error| error.to_string())?.is_ipv4();
        let fits = match (is_v4, length) {
            (true, None) => true,
            (true, Some(length)) => (8..=32).contains(&length),
            (false, Some(length)) => (12..=64).contains(&length),
            (false, None) => false,
        };
        if !fits {
            return Err(format!("invalid IP: {ip}"));
        }
        if item["comment"].as_str().is_none_or(|comment| comment.chars().count() > 500) {
            return Err("comment".to_owned());
        }
        addresses.push(ip.to_owned());
    }
    let distinct: BTreeSet<&String> = addresses.iter().collect();
    if distinct.len() < addresses.len() { Err("duplicate items".to_owned()) } else { Ok(addresses) }
}

/// Starts the documented operation, with these states in turn; the last one stays.
fn documented(states: &'static [&'static str]) -> impl FnMut(&Seen) -> Act {
    let mut asked = 0;
    move |request| {
        let lists = format!("/client/v4/accounts/{ACCOUNT}/rules/lists");
        if request.method == "PUT" && request.path == format!("{lists}/{LIST}/items") {
            return match uploaded(request) {
                Ok(_) => success(&json!({ "operation_id": OPERATION })),
                Err(reason) => failure(400, 10_001, &reason),
            };
        }
        assert_eq!(
            (&*request.method, &*request.path),
            ("GET", &*format!("{lists}/bulk_operations/{OPERATION}"))
        );
        assert_eq!(request.header("authorization"), Some(TOKEN));
        let state = states[asked.min(states.len() - 1)];
        asked += 1;
        let error = (state == "failed").then_some("list is too long");
        success(&json!({ "id": OPERATION, "status": state, "error": error }))
    }
}

const DECISIONS: &[(&str, i64)] = &[
    ("192.0.2.1/32", 60),
    ("198.51.100.0/24", 60),
    ("8.0.0.0/7", 60),
    ("2001:db8::/48", 60),
    ("2001:db8:1::/64", 60),
    ("2001:db8:2::1/128", 60),
    ("Country:FR", 60),
];

#[tokio::test]
async fn a_list_is_replaced_and_its_operation_awaited() {
    let stand_in = StandIn::start(documented(&["pending", "running", "completed"])).await;
    let mut service = service(&stand_in);
    let list = list(&service, DECISIONS);
    assert_eq!(list.unusable, 2, "a country, and an IPv6 address whose /64 would block more");
    service.replace(&list).await.unwrap();
    let seen = stand_in.seen();
    let wanted =
        ["8.0.0.0/8", "9.0.0.0/8", "192.0.2.1", "198.51.100.0/24", "2001:db8::/48", "2001:db8:1::/64"];
    assert_eq!(uploaded(&seen[0]).unwrap(), wanted);
    assert_eq!(seen[0].json()[2]["comment"], "cscli: manual");
    assert_eq!(seen.len(), 4);
}

#[tokio::test]
async fn an_empty_list_empties_the_receivers() {
    let stand_in = StandIn::start(documented(&["completed"])).await;
    let mut service = service(&stand_in);
    service.replace(&List::default()).await.unwrap();
    assert_eq!(stand_in.seen()[0].body, b"[]");
}

#[tokio::test]
async fn an_operation_that_fails_is_a_failure_with_its_reason() {
    let stand_in = StandIn::start(documented(&["running", "failed"])).await;
    let mut service = service(&stand_in);
    let failure = service.replace(&list(&service, DECISIONS)).await.unwrap_err();
    assert_eq!(failure.reason, "the operation failed: list is too long");
    assert!(failure.perhaps_received);
}

#[tokio::test]
async fn a_question_about_an_operation_is_repeated_when_it_fails() {
    let mut documented = documented(&["completed"]);
    let mut asked = 0;
    let stand_in = StandIn::start(move |request: &Seen| {
        asked += u32::from(request.method == "GET");
        match asked {
            1 => Act::Close,
            2 => failure(503, 0, "busy"),
            3 => Act::Half("{\"success\": true, \"result\": {}}".to_owned()),
            _ => documented(request),
        }
    })
    .await;
    let mut service = service(&stand_in);
    tokio::time::timeout(Duration::from_secs(60), service.replace(&list(&service, DECISIONS)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stand_in.seen().iter().filter(|request| request.method == "PUT").count(), 1);
}

#[tokio::test]
async fn statuses_and_bodies_without_success_are_failures() {
    for (act, kind, reason) in [
        (
            failure(403, 10_000, "Authentication error"),
            FailureKind::Refusing,
            "status 403: Authentication error (code 10000)",
        ),
        (failure(400, 10_001, "bad"), FailureKind::Rejected, "status 400: bad (code 10001)"),
        (
            failure(200, 7, "quota\nexceeded"),
            FailureKind::Rejected,
            "the API reports: quota exceeded (code 7)",
        ),
        (Act::Answer(502, Vec::new(), "<html>".to_owned()), FailureKind::Retry, "status 502"),
        (success(&json!({})), FailureKind::Retry, "unusable response: missing field `operation_id`"),
        (
            success(&json!({ "operation_id": "" })),
            FailureKind::Retry,
            "the response has no usable operation_id",
        ),
        (Act::Hang, FailureKind::Retry, "timeout"),
        (Act::Half("{\"success\": true}".to_owned()), FailureKind::Retry, "half a response"),
        (
            Act::Answer(301, vec![("Location", "http://192.0.2.1/".to_owned())], String::new()),
            FailureKind::Refusing,
            "status 301",
        ),
    ] {
        let stand_in = StandIn::start(move |_: &Seen| act.clone()).await;
        let mut service = service(&stand_in);
        let failure = service.replace(&list(&service, DECISIONS)).await.unwrap_err();
        assert_eq!((failure.kind, &*failure.reason), (kind, reason));
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_to_try_again() {
    let stand_in = StandIn::start(|_: &Seen| {
        let wait = vec![("Retry-After", "90".to_owned())];
        Act::Answer(
            429,
            wait,
            json!({ "success": false, "errors": [{ "code": 971, "message": "slow down" }] }).to_string(),
        )
    })
    .await;
    let mut service = service(&stand_in);
    let failure = service.replace(&list(&service, DECISIONS)).await.unwrap_err();
    assert_eq!((failure.kind, failure.retry_after), (FailureKind::Retry, Some(Duration::from_secs(90))));
}

#[tokio::test]
async fn account_and_list_cannot_lead_to_another_resource() {
    let stand_in = StandIn::start(|_: &Seen| failure(404, 1, "none")).await;
    let mut service =
        Cloudflare { account: "../../user".to_owned(), list: "a/b?c".to_owned(), ..service(&stand_in) };
    let _ = service.replace(&List::default()).await;
    assert_eq!(stand_in.seen()[0].path, "/client/v4/accounts/..%2F..%2Fuser/rules/lists/a%2Fb%3Fc/items");
}

#[tokio::test]
async fn long_ipv6_prefixes_are_sent_or_widened_only_when_that_is_configured() {
    let stand_in = StandIn::start(documented(&["completed"])).await;
    for (long_ipv6, wanted) in
        [(LongIpv6::Skip, &[][..]), (LongIpv6::Send, &["2001:db8::1"]), (LongIpv6::Widen, &["2001:db8::/64"])]
    {
        let service = Cloudflare { long_ipv6, ..service(&stand_in) };
        let list = list(&service, &[("2001:db8::1/128", 60)]);
        let sent: Vec<_> = list.items.iter().map(address).collect();
        assert_eq!(sent, wanted);
    }
}
