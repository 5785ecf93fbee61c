//! A list at Cloudflare: items are replaced by an asynchronous operation.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use palisade_e2e::{Outcome, ServiceRequest, ServiceResponse, ServiceRules, story};
use serde_json::{Value, json};

use super::ListService;

const ITEMS: &str = "/client/v4/accounts/a1/rules/lists/b2/items";
const OPERATIONS: &str = "/client/v4/accounts/a1/rules/lists/bulk_operations/";

struct Operation {
    /// Questions until it ends.
    polls: usize,
    fails: bool,
}

#[derive(Default)]
pub(super) struct CloudflareRules {
    listed: BTreeSet<String>,
    operations: Vec<Operation>,
    uploads: usize,
    delay: Duration,
    failures: usize,
    client_was_killed: bool,
}

fn envelope(result: &Value) -> ServiceResponse {
    ServiceResponse::json(200, &json!({ "success": true, "errors": [], "messages": [], "result": result }))
}

fn error(status: u16, code: u32, message: &str) -> ServiceResponse {
    let errors = json!([{ "code": code, "message": message }]);
    ServiceResponse::json(
        status,
        &json!({ "success": false, "errors": errors, "messages": [], "result": null }),
    )
}

/// An item's address: IPv4 alone or /8 to /32, IPv6 /12 to /64.
fn address(item: &Value) -> Result<String, String> {
    let object = item.as_object().ok_or("an item is no object")?;
    if let Some(unknown) = object.keys().find(|key| !matches!(key.as_str(), "ip" | "comment")) {
        return Err(format!("an item of addresses has no {unknown}"));
    }
    let comment = object.get("comment").map_or(Some(""), Value::as_str).ok_or("a comment is no text")?;
    if comment.chars().count() > 500 {
        return Err("a comment is too long".to_owned());
    }
    let ip = object.get("ip").and_then(Value::as_str).ok_or("an item has no ip")?;
    let (base, length) =
        ip.split_once('/').map_or((ip, None), |(base, length)| (base, length.parse::<u8>().ok()));
    let is_allowed = match base.parse::<IpAddr>().map_err(|error| format!("{ip}: {error}"))? {
        IpAddr::V4(_) => matches!((ip.contains('/'), length), (false, None) | (true, Some(8..=32))),
        IpAddr::V6(_) => matches!(length, Some(12..=64)),
    };
    if is_allowed { Ok(ip.to_owned()) } else { Err(format!("{ip} is no item of a list")) }
}

impl CloudflareRules {
    fn put(&mut self, request: &ServiceRequest) -> Result<ServiceResponse, String> {
        self.uploads += 1;
        let items: Vec<Value> = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
        let addresses: BTreeSet<String> = items.iter().map(address).collect::<Result<_, _>>()?;
        if addresses.len() != items.len() {
            return Err("an address is listed twice".to_owned());
        }
        if self.operations.iter().any(|operation| operation.polls > 0) {
            if !self.client_was_killed {
                return Err("an operation on the list is under way".to_owned());
            }
            // It ends by itself meanwhile.
            self.operations.iter_mut().for_each(|operation| operation.polls = 0);
            return Ok(error(429, 10043, "too many pending bulk operations").with("Retry-After", "1"));
        }
        let fails = match self.failures.checked_sub(1) {
            None => false,
            Some(left) => {
                self.failures = left;
                match left % 4 {
                    0 => true,
                    1 => return Ok(error(429, 10000, "rate limited").with("Retry-After", "1")),
                    2 => return Ok(ServiceResponse::text(502, "<html>Bad gateway</html>")),
                    _ => return Ok(error(200, 10001, "internal error")),
                }
            }
        };
        if !fails {
            self.listed = addresses;
        }
        self.operations.push(Operation { polls: 2, fails });
        let id = self.operations.len() - 1;
        Ok(envelope(&json!({ "operation_id": format!("op-{id}") })).after(std::mem::take(&mut self.delay)))
    }

    fn poll(&mut self, id: &str) -> Result<ServiceResponse, String> {
        let index: Option<usize> = id.strip_prefix("op-").and_then(|id| id.parse().ok());
        let operation =
            index.and_then(|index| self.operations.get_mut(index)).ok_or("an unknown operation")?;
        if let Some(left) = operation.polls.checked_sub(1) {
            operation.polls = left;
            let status = if left == 1 { "pending" } else { "running" };
            return Ok(envelope(&json!({ "id": id, "status": status })));
        }
        Ok(match operation.fails {
            true => envelope(&json!({ "id": id, "status": "failed", "error": "could not be applied" })),
            false => {
                envelope(&json!({ "id": id, "status": "completed", "completed": "2026-05-01T12:00:00Z" }))
            }
        })
    }
}

impl ServiceRules for CloudflareRules {
    fn respond(&mut self, request: &ServiceRequest) -> Result<ServiceResponse, String> {
        if request.header("authorization") != "Bearer token-of-the-story" {
            return Err("no token".to_owned());
        }
        match (request.method.as_str(), request.target.strip_prefix(OPERATIONS)) {
            ("PUT", None) if request.target == ITEMS => match request.header("content-type") {
                "application/json" => self.put(request),
                other => Err(format!("items of type {other:?}")),
            },
            ("GET", Some(id)) => self.poll(id),
            (method, _) => Err(format!("{method} {}", request.target)),
        }
    }
}

impl ListService for CloudflareRules {
    fn keys(url: &str) -> Value {
        json!({
            "url": format!("{url}/client/v4"), "bearer": "token-of-the-story",
            "replace": { "cloudflare": { "account": "a1", "list": "b2" } },
        })
    }

    fn listed(&self) -> BTreeSet<String> {
        self.listed.clone()
    }

    fn uploads(&self) -> usize {
        self.uploads
    }

    fn hold_next(&mut self, delay: Duration) {
        self.delay = delay;
    }

    fn fail_next(&mut self, count: usize) {
        self.failures = count;
    }

    fn client_was_killed(&mut self) {
        self.client_was_killed = true;
    }
}

#[test]
fn a_cloudflare_list_follows_bans_and_lifts() -> Outcome {
    story(|world| super::follows_bans_and_lifts(world, CloudflareRules::default()))
}

#[test]
fn an_unchanged_cloudflare_list_is_not_uploaded_twice_nor_after_a_restart() -> Outcome {
    story(|world| super::is_not_uploaded_twice(world, CloudflareRules::default()))
}

#[test]
fn a_cloudflare_list_is_uploaded_until_its_operation_is_completed() -> Outcome {
    story(|world| super::is_repeated_until_accepted(world, CloudflareRules::default()))
}

#[test]
fn no_cloudflare_list_is_emptied_before_the_first_decisions() -> Outcome {
    story(|world| super::waits_for_the_first_decisions(world, CloudflareRules::default()))
}

#[test]
fn a_kill_during_an_operation_leaves_the_right_cloudflare_list() -> Outcome {
    story(|world| super::survives_a_kill_during_an_upload(world, CloudflareRules::default()))
}
