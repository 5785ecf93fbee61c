//! A machine that is logged in at a LAPI: bans and lifts, also from a thread of its own and during failures of the
//! LAPI.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Ban;
use crate::host::Host;
use crate::http_client::{HttpClient, Reply};
use crate::outcome::{Doing, Failure, Outcome};

/// Decisions in one alert; more in one request make SQLite slow.
const PER_ALERT: usize = 5_000;

/// A machine's login: the LAPI's address and the token.
#[derive(Clone)]
pub struct Machine {
    pub(super) host: Host,
    pub(super) address: SocketAddr,
    pub(super) token: String,
}

/// One manual ban at a real LAPI, which can be lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(pub(super) u64);

impl Machine {
    /// Bans one address or range.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn ban(&self, ban: impl Into<Ban>) -> Outcome<AlertId> {
        let made = self.ban_all([ban.into()])?;
        made.into_iter().next().doing("the LAPI made no alert")
    }

    /// Bans many at once.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn ban_all(&self, bans: impl IntoIterator<Item = Ban>) -> Outcome<Vec<AlertId>> {
        let bans: Vec<Ban> = bans.into_iter().collect();
        let mut made = Vec::new();
        for chunk in bans.chunks(PER_ALERT) {
            let body = serde_json::to_vec(&json!([alert(chunk)]))?;
            let answer = self.ask("POST", "/v1/alerts", Some(&body))?;
            let ids: Vec<String> = serde_json::from_str(&answer).doing("the ids of new alerts")?;
            for id in ids {
                made.push(AlertId(id.parse()?));
            }
        }
        Ok(made)
    }

    /// Tries to ban one address, whatever the LAPI responds.
    ///
    /// # Errors
    /// When it does not respond.
    pub fn try_to_ban(&self, ban: impl Into<Ban>) -> Outcome<Reply> {
        let body = serde_json::to_vec(&json!([alert(&[ban.into()])]))?;
        self.send("POST", "/v1/alerts", Some(&body))
    }

    /// Lifts a ban: its decisions expire, and bouncers get the deletion.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn lift(&self, ban: AlertId) -> Outcome {
        let alert: Value = serde_json::from_str(&self.ask("GET", &format!("/v1/alerts/{}", ban.0), None)?)?;
        for decision in alert["decisions"].as_array().doing("an alert has decisions")? {
            self.ask("DELETE", &format!("/v1/decisions/{}", decision["id"]), None)?;
        }
        Ok(())
    }

    /// Deletes the alert: its decisions are removed from the database. A stock LAPI does not announce that.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn erase(&self, ban: AlertId) -> Outcome {
        self.ask("DELETE", &format!("/v1/alerts/{}", ban.0), None).map(drop)
    }

    /// Sends a request and returns the response's body.
    ///
    /// # Errors
    /// When the LAPI does not respond, or with an error status; quotes it.
    pub fn ask(&self, method: &str, path: &str, body: Option<&[u8]>) -> Outcome<String> {
        let reply = self.send(method, path, body)?;
        if reply.status >= 300 {
            return Err(Failure::new(format!("{method} {path}: status {}: {}", reply.status, reply.text())));
        }
        Ok(reply.text())
    }

    fn send(&self, method: &str, path: &str, body: Option<&[u8]>) -> Outcome<Reply> {
        let headers = [("Authorization", self.token.as_str())];
        let reply = self.host.run(|| HttpClient::new(self.address).ask(method, path, &headers, body));
        reply.doing(format_args!("{method} {path}"))
    }
}

/// An alert that carries these decisions, as cscli sends it.
fn alert(bans: &[Ban]) -> Value {
    let decisions: Vec<Value> = bans
        .iter()
        .map(|ban| {
            json!({
                "duration": format!("{}ms", ban.duration.as_millis()), "origin": ban.origin, "scenario": ban.scenario,
                "scope": ban.scope, "type": ban.kind, "value": ban.value,
            })
        })
        .collect();
    let (scope, value) = bans.first().map_or(("Ip", ""), |ban| (ban.scope.as_str(), ban.value.as_str()));
    // The LAPI counts the duration from `stop_at`.
    let now = jiff::Timestamp::now().to_string();
    json!({
        "capacity": 0, "decisions": decisions, "events": [], "events_count": 1, "leakspeed": "0",
        "message": "by hand", "scenario": "a story bans", "scenario_hash": "", "scenario_version": "",
        "simulated": false, "source": { "scope": scope, "value": value }, "start_at": now, "stop_at": now,
    })
}
