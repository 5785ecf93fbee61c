use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use palisade_client::Secret;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::replace::testing::{
    Act, PlainExchange, Seen, StandIn, all, http_config, json as answer, snapshot,
};

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn service(stand_in: &StandIn, token: Option<&str>) -> AwsWaf<PlainExchange> {
    let config = AwsWafConfig {
        region: "eu-west-1".to_owned(),
        cloudfront: false,
        ipv4: Some(("bans".to_owned(), "id-of-four".to_owned())),
        ipv6: Some(("bans6".to_owned(), "id-of-six".to_owned())),
        access_key_id: KEY_ID.to_owned(),
        secret_access_key: Secret::new(SECRET),
        session_token: token.map(Secret::new),
        http: http_config(stand_in.url.clone()),
    };
    AwsWaf { config: Arc::new(config), exchange: PlainExchange::default() }
}

/// One IP set of the stand-in.
struct Set {
    name: &'static str,
    id: &'static str,
    version: &'static str,
    addresses: Vec<String>,
    lock: u32,
}

struct Sets {
    sets: Vec<Set>,
    updates: u32,
    /// How many times another client changes a set right after it was read.
    conflicts: u32,
}

fn sets() -> Arc<Mutex<Sets>> {
    let set = |name, id, version| Set { name, id, version, addresses: Vec::new(), lock: 1 };
    let sets = vec![set("bans", "id-of-four", "IPV4"), set("bans6", "id-of-six", "IPV6")];
    Arc::new(Mutex::new(Sets { sets, updates: 0, conflicts: 0 }))
}

fn error(kind: &str, message: &str) -> Act {
    answer(400, &json!({ "__type": kind, "message": message }))
}

/// Answers as the service is documented to.
fn documented(sets: &Arc<Mutex<Sets>>) -> impl FnMut(&Seen) -> Act + use<> {
    let sets = Arc::clone(sets);
    move |request| {
        if let Err(reason) = check_signature(request) {
            return error("InvalidSignatureException", &reason);
        }
        assert_eq!((&*request.method, &*request.path), ("POST", "/"));
        assert_eq!(request.header("content-type"), Some("application/x-amz-json-1.1"));
        let body = request.json();
        assert_eq!(body["Scope"], "REGIONAL");
        let mut all = sets.lock().unwrap();
        let Sets { sets, updates, conflicts } = &mut *all;
        let Some(set) = sets.iter_mut().find(|set| body["Name"] == set.name && body["Id"] == set.id) else {
            return error("WAFNonexistentItemException", "AWS WAF couldn't perform the operation");
        };
        match request.header("x-amz-target") {
            Some("AWSWAF_20190729.GetIPSet") => {
                let token = set.lock.to_string();
                if *conflicts > 0 {
                    *conflicts -= 1;
                    set.lock += 1;
                }
                let found = json!({
                    "Name": set.name, "Id": set.id, "ARN": "arn:aws:wafv2:eu-west-1:1:regional/ipset/x/y",
                    "Description": "by hand", "IPAddressVersion": set.version, "Addresses": set.addresses,
                });
                answer(200, &json!({ "IPSet": found, "LockToken": token }))
            }
            Some("AWSWAF_20190729.UpdateIPSet") => update(set, updates, &body),
            other => panic!("an undocumented action: {other:?}"),
        }
    }
}

fn update(set: &mut Set, updates: &mut u32, body: &Json) -> Act {
    assert_eq!(body["Description"], "by hand");
    if body["LockToken"].as_str() != Some(&*set.lock.to_string()) {
        return error("WAFOptimisticLockException", "Your lock token is stale");
    }
    let addresses: Vec<String> = serde_json::from_value(body["Addresses"].clone()).unwrap();
    let is_valid = |text: &String| {
        let net: Option<IpNet> = text.contains('/').then(|| text.parse().ok()).flatten();
        net.is_some_and(|net| net.prefix_len() > 0 && net.addr().is_ipv4() == (set.version == "IPV4"))
    };
    if !addresses.iter().all(is_valid) {
        return error(
            "WAFInvalidParameterException",
            "Error reason: The parameter contains formatting that is not valid.",
        );
    }
    if addresses.len() > 10_000 {
        return error("WAFLimitsExceededException", "You exceeded the limit of addresses");
    }
    // As the service shows them: IPv6 without abbreviation, in an order of its own.
    set.addresses = addresses.into_iter().rev().map(|text| expanded(&text)).collect();
    set.lock += 1;
    *updates += 1;
    answer(200, &json!({ "NextLockToken": set.lock.to_string() }))
}

fn expanded(text: &str) -> String {
    match text.parse().unwrap() {
        IpNet::V4(_) => text.to_owned(),
        IpNet::V6(net) => {
            let groups: Vec<_> = net.addr().segments().iter().map(|group| format!("{group:04x}")).collect();
            format!("{}/{}", groups.join(":"), net.prefix_len())
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Computes the signature by the published algorithm and compares it.
fn check_signature(request: &Seen) -> Result<(), String> {
    let authorization = request.header("authorization").ok_or("no authorization")?;
    let parameters = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("another algorithm")?;
    let parameter = |name: &str| {
        let found = parameters.split(',').find_map(|part| part.trim().strip_prefix(&format!("{name}=")));
        found.ok_or_else(|| format!("no {name}"))
    };
    let time = request.header("x-amz-date").ok_or("no date")?;
    let scope = format!("{}/eu-west-1/wafv2/aws4_request", &time[..8]);
    if parameter("Credential")? != format!("{KEY_ID}/{scope}") {
        return Err("another credential".to_owned());
    }
    let signed = parameter("SignedHeaders")?;
    let names: Vec<&str> = signed.split(';').collect();
    let mut needed = vec!["content-type", "host", "x-amz-date", "x-amz-target"];
    if request.header("x-amz-security-token").is_some() {
        needed.push("x-amz-security-token");
    }
    if needed.iter().any(|name| !names.contains(name)) || !names.is_sorted() {
        return Err(format!("signed headers {signed}"));
    }
    let mut canonical = format!("{}\n{}\n\n", request.method, request.path);
    for name in &names {
        let _ = writeln!(canonical, "{name}:{}", request.header(name).ok_or("a signed header is missing")?);
    }
    let _ = write!(canonical, "\n{signed}\n{}", hex(&Sha256::digest(&request.body)));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = hmac(format!("AWS4{SECRET}").as_bytes(), &time[..8]);
    for part in ["eu-west-1", "wafv2", "aws4_request"] {
        key = hmac(&key, part);
    }
    if parameter("Signature")? == hex(&hmac(&key, &to_sign)) {
        Ok(())
    } else {
        Err("The request signature we calculated does not match the signature you provided.".to_owned())
    }
}

const DECISIONS: &[(&str, i64)] =
    &[("192.0.2.1/32", 60), ("198.51.100.0/24", 60), ("2001:db8::1/128", 60), ("2001:db8:1::/48", 60)];

fn list(service: &AwsWaf<PlainExchange>, decisions: &[(&str, i64)]) -> List {
    List::build(&snapshot(decisions), &all(), &service.shape(20_000, false))
}

#[tokio::test]
async fn both_sets_get_their_family_signed_and_with_the_lock_token() {
    for token in [None, Some("a/session+token=")] {
        let sets = sets();
        let stand_in = StandIn::start(documented(&sets)).await;
        let mut service = service(&stand_in, token);
        let list = list(&service, DECISIONS);
        service.replace(&list).await.unwrap();
        assert!(stand_in.seen().iter().all(|request| request.header("x-amz-security-token") == token));
        {
            let sets = sets.lock().unwrap();
            assert_eq!(sets.sets[0].addresses, ["198.51.100.0/24", "192.0.2.1/32"]);
            assert_eq!(sets.sets[1].addresses.len(), 2);
            assert_eq!(sets.updates, 2);
        }
        service.replace(&list).await.unwrap();
        assert_eq!(sets.lock().unwrap().updates, 2, "equal sets are not written again");
        service.replace(&List::default()).await.unwrap();
        assert!(sets.lock().unwrap().sets.iter().all(|set| set.addresses.is_empty()));
    }
}

#[tokio::test]
async fn a_set_that_was_changed_meanwhile_is_read_again() {
    let sets = sets();
    sets.lock().unwrap().conflicts = 2;
    let stand_in = StandIn::start(documented(&sets)).await;
    let mut service = service(&stand_in, None);
    let list = list(&service, DECISIONS);
    service.replace(&list).await.unwrap();
    assert_eq!(sets.lock().unwrap().updates, 2);
    sets.lock().unwrap().conflicts = u32::MAX;
    let failure = service.replace(&List::default()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retry);
    assert_eq!(failure.reason, "another client keeps changing the IP set bans: let one program manage it");
}

#[tokio::test]
async fn the_bounds_of_a_set_are_kept() {
    let sets = sets();
    let stand_in = StandIn::start(documented(&sets)).await;
    let mut service = service(&stand_in, None);
    let mut decisions: Vec<(String, i64)> =
        (0..12_000).map(|n| (format!("10.{}.{}.1/32", n / 256, n % 256), 60 + n)).collect();
    decisions.push(("2001:db8::1/128".to_owned(), 60));
    let decisions: Vec<(&str, i64)> = decisions.iter().map(|(value, end)| (value.as_str(), *end)).collect();
    let list = list(&service, &decisions);
    assert_eq!(list.omitted, 2000);
    service.replace(&list).await.unwrap();
    assert_eq!(sets.lock().unwrap().sets[0].addresses.len(), 10_000);
    assert_eq!(sets.lock().unwrap().sets[1].addresses.len(), 1);
}

#[tokio::test]
async fn a_wrong_clock_is_named() {
    let stand_in = StandIn::start(|_: &Seen| {
        let then = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(3600));
        let body = json!({ "__type": "InvalidSignatureException", "message": "Signature not yet current: 1 is still later than 2" });
        Act::Answer(400, vec![("Date", then)], body.to_string())
    })
    .await;
    let failure = service(&stand_in, None).replace(&List::default()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refusing);
    let expected = "seconds ahead of that of AWS: correct it";
    assert!(
        failure.reason.ends_with(expected) && failure.reason.contains("the clock of this machine"),
        "{}",
        failure.reason
    );
}

#[tokio::test]
async fn each_documented_error_has_its_consequence() {
    for (act, kind, reason) in [
        (
            error("com.amazonaws.wafv2#ThrottlingException", "Rate exceeded"),
            FailureKind::Retry,
            "ThrottlingException: Rate exceeded",
        ),
        (error("WAFInternalErrorException", "later"), FailureKind::Retry, "WAFInternalErrorException: later"),
        (
            error("AccessDeniedException", "not authorized"),
            FailureKind::Refusing,
            "AccessDeniedException: not authorized",
        ),
        (error("ExpiredTokenException", "expired"), FailureKind::Refusing, "ExpiredTokenException: expired"),
        (
            error("WAFNonexistentItemException", "none"),
            FailureKind::Refusing,
            "WAFNonexistentItemException: none",
        ),
        (
            error("WAFLimitsExceededException", "many"),
            FailureKind::Rejected,
            "WAFLimitsExceededException: many",
        ),
        (
            Act::Answer(
                400,
                vec![("x-amzn-ErrorType", "ValidationException:http://x/".to_owned())],
                String::new(),
            ),
            FailureKind::Rejected,
            "ValidationException: ",
        ),
        (Act::Answer(500, Vec::new(), "<html>".to_owned()), FailureKind::Retry, "status 500"),
        (Act::Close, FailureKind::Retry, "half a response"),
        (
            Act::Half("{\"IPSet\": {}, \"LockToken\": \"x\"}".to_owned()),
            FailureKind::Retry,
            "half a response",
        ),
    ] {
        let stand_in = StandIn::start(move |_: &Seen| act.clone()).await;
        let failure = service(&stand_in, None).replace(&List::default()).await.unwrap_err();
        assert_eq!((failure.kind, &*failure.reason), (kind, reason));
        assert!(failure.perhaps_received);
    }
}

#[tokio::test]
async fn a_set_of_the_other_family_is_not_written() {
    let sets = sets();
    sets.lock().unwrap().sets[0].version = "IPV6";
    let stand_in = StandIn::start(documented(&sets)).await;
    let mut service = service(&stand_in, None);
    let failure = service.replace(&list(&service, DECISIONS)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refusing);
    assert_eq!(sets.lock().unwrap().updates, 0);
}

#[test]
fn secrets_are_in_no_error_and_signatures_are_marked_sensitive() {
    let mut call = Call {
        method: Method::POST,
        url: "https://wafv2.eu-west-1.amazonaws.com/".parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
    };
    let config = AwsWafConfig {
        region: "eu-west-1".to_owned(),
        cloudfront: false,
        ipv4: None,
        ipv6: None,
        access_key_id: KEY_ID.to_owned(),
        secret_access_key: Secret::new(SECRET),
        session_token: Some(Secret::new("line\nbreak")),
        http: http_config(call.url.clone()),
    };
    let error = sign(&mut call, &config, SystemTime::now()).unwrap_err().to_string();
    assert!(!error.contains("line") && !error.contains(SECRET));
    let config = AwsWafConfig { session_token: None, ..config };
    sign(&mut call, &config, SystemTime::now()).unwrap();
    assert!(call.headers["authorization"].is_sensitive());
    assert!(!format!("{call:?}{config:?}").contains(SECRET));
}
