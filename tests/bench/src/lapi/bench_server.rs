//! A LAPI under measurement: started fresh, with one registered machine and bouncer, and helpers for their requests.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use ipnet::IpNet;
use palisade_e2e::{Failure, HttpClient, LapiProcess, Make, Outcome, Reply, Setup, World};
use serde_json::{Value, json};

use crate::data;

/// The bouncer's key.
pub(super) const KEY: &str = "key-of-the-bench";
/// The machine, and its password.
pub(super) const MACHINE: (&str, &str) = ("bench", "password-of-the-bench");
/// Decisions in one alert; the body of more would be larger than LAPIs take.
const PER_ALERT: usize = 100_000;

/// A running LAPI.
pub(super) struct BenchServer {
    pub(super) process: LapiProcess,
    pub(super) token: String,
}

impl BenchServer {
    /// Starts one on an empty database.
    pub(super) fn start(world: &World, make: Make) -> Outcome<Self> {
        Self::start_with(world, make, |_| Ok(()))
    }

    /// Starts one after more was prepared with its administration tool.
    pub(super) fn start_with(
        world: &World,
        make: Make,
        prepare: impl FnOnce(&LapiProcess) -> Outcome,
    ) -> Outcome<Self> {
        Self::start_server(world, make, json!({}), prepare)
    }

    /// Starts one that is reached from other hosts too.
    pub(super) fn start_for_hosts(
        world: &World,
        make: Make,
        prepare: impl FnOnce(&LapiProcess) -> Outcome,
    ) -> Outcome<Self> {
        let everywhere = format!("0.0.0.0:{}", world.router.free_port()?);
        Self::start_server(world, make, json!({ "listen_uri": everywhere }), prepare)
    }

    fn start_server(
        world: &World,
        make: Make,
        mut server: Value,
        prepare: impl FnOnce(&LapiProcess) -> Outcome,
    ) -> Outcome<Self> {
        // As benches are run on machines with a terminal to read, not to log at.
        server["log_level"] = "error".into();
        let config = json!({ "api": { "server": server }, "common": { "log_level": "error" } });
        let setup = Setup { config, ..Setup::default() };
        let mut process = LapiProcess::prepare(world, make, &setup)?;
        process.add_machine(MACHINE.0, MACHINE.1)?;
        process.add_bouncer("bench", KEY)?;
        prepare(&process)?;
        process.up(world)?;
        let token = process.log_in(MACHINE.0, MACHINE.1)?;
        Ok(Self { process, token })
    }

    /// Posts so many decisions, as an import does, and returns how long the answers took.
    pub(super) fn import(&self, count: usize, timeout: Duration) -> Outcome<Duration> {
        self.import_nets(&data::v4(count, 1), timeout)
    }

    /// Posts a decision on each of these.
    pub(super) fn import_nets(&self, nets: &[IpNet], timeout: Duration) -> Outcome<Duration> {
        let mut took = Duration::ZERO;
        let mut caller = self.process.http_client().with_timeout(timeout);
        for chunk in nets.chunks(PER_ALERT) {
            let values = chunk.iter().map(ToString::to_string);
            let body = import_body(values, &format!("import bench: {} IPs", chunk.len()));
            took += self.post(&mut caller, body.as_bytes())?.whole;
        }
        Ok(took)
    }

    /// Posts alerts.
    pub(super) fn post(&self, caller: &mut HttpClient, body: &[u8]) -> Outcome<Reply> {
        let headers = [("Authorization", self.token.as_str()), ("User-Agent", "crowdsec/v1.4.6")];
        let reply = caller.ask("POST", "/v1/alerts", &headers, Some(body))?;
        wanted(&reply, 201)?;
        Ok(reply)
    }

    /// Pulls the stream with this query.
    pub(super) fn pull(caller: &mut HttpClient, query: &str) -> io::Result<Reply> {
        let path = format!("/v1/decisions/stream{query}");
        let reply = caller.ask("GET", &path, &[("X-Api-Key", KEY), ("User-Agent", "bench/v1")], None)?;
        if reply.status == 200 {
            Ok(reply)
        } else {
            Err(io::Error::other(format!("status {}: {}", reply.status, reply.text())))
        }
    }
}

/// Fails unless the answer has this status.
pub(super) fn wanted(reply: &Reply, status: u16) -> Outcome {
    if reply.status == status {
        return Ok(());
    }
    Err(Failure::new(format!("status {} instead of {status}: {}", reply.status, reply.text())))
}

/// One alert with a decision on each value.
pub(super) fn import_body(values: impl Iterator<Item = String>, scenario: &str) -> String {
    let mut decisions = String::new();
    for value in values {
        let (scope, value) = match value.strip_suffix("/32").or_else(|| value.strip_suffix("/128")) {
            Some(host) => ("Ip", host),
            None if value.contains('/') => ("Range", value.as_str()),
            None => ("Ip", value.as_str()),
        };
        let comma = if decisions.is_empty() { "" } else { "," };
        let _ = write!(
            decisions,
            r#"{comma}{{"duration":"400h","origin":"cscli-import","scenario":"{scenario}","scope":"{scope}","type":"ban","value":"{value}"}}"#
        );
    }
    let now = jiff::Timestamp::now();
    format!(
        r#"[{{"capacity":0,"decisions":[{decisions}],"events":[],"events_count":1,"leakspeed":"","message":"","scenario":"{scenario}","scenario_hash":"","scenario_version":"","simulated":false,"source":{{"scope":"","value":""}},"start_at":"{now}","stop_at":"{now}"}}]"#
    )
}

/// A ban as an operator's tool posts it.
pub(super) fn ban_body(value: &str) -> String {
    let now = jiff::Timestamp::now();
    format!(
        r#"[{{"capacity":0,"decisions":[{{"duration":"4h","origin":"cscli","scenario":"manual 'ban' from 'bench'","scope":"Ip","type":"ban","value":"{value}"}}],"events":[],"events_count":1,"leakspeed":"0","message":"manual 'ban' from 'bench'","scenario":"manual 'ban' from 'bench'","scenario_hash":"","scenario_version":"","simulated":false,"source":{{"scope":"Ip","value":"{value}","ip":"{value}"}},"start_at":"{now}","stop_at":"{now}"}}]"#
    )
}

/// An alert without a decision, as a log processor posts it; the shipped profiles ban its source.
pub(super) fn alert_body(value: &str) -> String {
    let now = jiff::Timestamp::now();
    format!(
        r#"[{{"capacity":5,"events":[{{"timestamp":"{now}","meta":[{{"key":"source_ip","value":"{value}"}},{{"key":"log_type","value":"ssh_failed-auth"}}]}}],"events_count":6,"leakspeed":"10s","message":"Ip {value} performed crowdsecurity/ssh-bf","remediation":true,"scenario":"crowdsecurity/ssh-bf","scenario_hash":"4441dcff","scenario_version":"0.1","simulated":false,"source":{{"scope":"Ip","value":"{value}","ip":"{value}","cn":"FR","as_number":"64500"}},"start_at":"{now}","stop_at":"{now}"}}]"#
    )
}
