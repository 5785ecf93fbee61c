//! Our LAPI under faults: each story makes one fault, expects a clear error, and requires that the server stays and
//! that another client does not notice.

mod bodies;
mod bystander;
mod clients;
mod disk;
mod fuzz;
mod read_only;
mod refused;
mod shares;

use palisade_e2e::{LapiProcess, Make, Outcome, Reply, Setup, World};
use serde_json::{Value, json};

/// The bouncer's key.
const KEY: &str = "key-of-the-story";
const MACHINE: (&str, &str) = ("harness", "password");

/// A started LAPI, and the header value of a machine that is logged in.
fn start(world: &World, setup: &Setup) -> Outcome<(LapiProcess, String)> {
    let mut lapi = LapiProcess::prepare(world, make(), setup)?;
    lapi.add_machine(MACHINE.0, MACHINE.1)?;
    lapi.add_bouncer("harness", KEY)?;
    lapi.add_bouncer("bystander", bystander::KEY)?;
    lapi.up(world)?;
    let token = lapi.log_in(MACHINE.0, MACHINE.1)?;
    Ok((lapi, token))
}

/// Ours; `PALISADE_LAPI=stock` shows what becomes of CrowdSec's.
fn make() -> Make {
    if std::env::var_os("PALISADE_LAPI").is_some_and(|make| make == "stock") {
        Make::Stock
    } else {
        Make::Ours
    }
}

/// An alert with these decisions, in a list of one.
fn bans(values: &[String], message: &str) -> Value {
    let now = jiff::Timestamp::now().to_string();
    let decisions: Vec<Value> = values
        .iter()
        .map(|value| {
            json!({
                "duration": "4h", "origin": "cscli", "scenario": message, "scope": "Ip", "type": "ban", "value": value,
            })
        })
        .collect();
    json!([{
        "capacity": 0, "decisions": decisions, "events": [], "events_count": 1, "leakspeed": "0", "message": message,
        "scenario": message, "scenario_hash": "", "scenario_version": "", "simulated": false,
        "source": { "scope": "Ip", "value": values.first() }, "start_at": now, "stop_at": now,
    }])
}

/// Posts alerts.
fn post(lapi: &LapiProcess, token: &str, body: &[u8]) -> Outcome<Reply> {
    Ok(lapi.http_client().ask("POST", "/v1/alerts", &as_machine(token), Some(body))?)
}

fn as_machine(token: &str) -> [(&str, &str); 2] {
    [("Authorization", token), ("User-Agent", "crowdsec/v1.4.6")]
}

/// The text of an error answer, which must be there.
fn message(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = body["message"].as_str().unwrap_or_default().to_owned();
    assert!(!text.is_empty(), "no message in {reply:?}");
    text
}

/// The addresses in a startup pull.
fn active_decisions(lapi: &LapiProcess) -> Outcome<Vec<String>> {
    let reply =
        lapi.http_client().ask("GET", "/v1/decisions/stream?startup=true", &[("X-Api-Key", KEY)], None)?;
    let answer: Value = serde_json::from_slice(&reply.body)?;
    let decisions = answer["new"].as_array().cloned().unwrap_or_default();
    Ok(decisions.iter().filter_map(|one| one["value"].as_str().map(str::to_owned)).collect())
}
