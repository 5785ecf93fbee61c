//! Writes a script for MikroTik's RouterOS (7 and later), run by `POST /rest/execute`, that keeps address lists.
//!
//! Each event is a command that may fail alone; the output names those that did, and ends with a line that shows that
//! the script was run to its end:
//!
//! ```text
//! :do {/ip/firewall/address-list/add list="crowdsec" address=192.0.2.7 timeout=4h comment="…"} on-error={
//!   :do {remove [find list="crowdsec" address="192.0.2.7"]; add …} on-error={:put "failed 0"}}
//! :put "done 1"
//! ```
//!
//! An entry that is there already is replaced, since RouterOS refuses to add it twice; a new one is added without a
//! moment in which it is missing.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::response::{failure, not_the_service};
use super::{Body, Format};
use crate::event::{Event, Value};
use crate::sink::{FailureKind, Outcome};
use crate::templates::TemplateError;
use crate::templates::batch::{Batch, seconds_left};
use crate::templates::json;
use crate::templates::options::Options;
use crate::templates::text;

/// The longest timeout of an entry: 35 weeks, as RouterOS counts hundredths of a second in 31 bits.
const MAX_TIMEOUT_SECONDS: u64 = 21_474_836;
/// The longest comment, in UTF-16 units before quoting.
const MAX_COMMENT: usize = 100;

/// Scripts for RouterOS.
#[derive(Debug)]
pub(in crate::templates) struct MikroTik {
    /// In quotes.
    list: String,
    /// In quotes.
    list6: String,
}

impl MikroTik {
    pub(in crate::templates) fn new(options: &Options<'_>) -> Result<Self, TemplateError> {
        let list = options.text("list");
        if list.is_empty() {
            return Err(options.wrong("list", "is empty; name an address list".to_owned()));
        }
        let list6 = match options.text("list6") {
            "" => list,
            other => other,
        };
        Ok(Self { list: text::routeros(list), list6: text::routeros(list6) })
    }

    fn command(&self, index: usize, event: &Event, batch: &Batch<'_>) -> Option<String> {
        // Address lists hold addresses and ranges only.
        let Value::Net(net) = event.value else { return None };
        let (menu, list) = match net {
            IpNet::V4(_) => ("/ip/firewall/address-list", &self.list),
            IpNet::V6(_) => ("/ipv6/firewall/address-list", &self.list6),
        };
        let address = shown(net);
        let remove = format!("{menu}/remove [find list={list} address=\"{address}\"]");
        let fail = format!("on-error={{:put \"failed {index}\"}}");
        let seconds = seconds_left(event, batch.now).min(MAX_TIMEOUT_SECONDS);
        // An entry without a timeout would stay for ever.
        if seconds == 0 {
            return Some(format!(":do {{{remove}}} {fail}\n"));
        }
        let entry = &event.entry;
        let comment =
            text::limit(&format!("{} {} {}", entry.remediation, entry.origin, entry.scenario), MAX_COMMENT);
        let add = format!(
            "{menu}/add list={list} address={address} timeout={} comment={}",
            timeout(seconds),
            text::routeros(&comment)
        );
        Some(format!(":do {{{add}}} on-error={{:do {{{remove};{add}}} {fail}}}\n"))
    }
}

/// As RouterOS stores it: an IPv4 address alone, anything else with its length.
fn shown(net: IpNet) -> String {
    match net {
        IpNet::V4(net) if net.prefix_len() == 32 => net.addr().to_string(),
        _ => net.to_string(),
    }
}

/// `1d2h3m4s`, without parts that are zero.
fn timeout(seconds: u64) -> String {
    let parts =
        [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect()
}

#[derive(Serialize)]
struct Execute {
    script: String,
    /// Run to the end and return the output, instead of in the background.
    #[serde(rename = "as-string")]
    as_string: &'static str,
}

impl Format for MikroTik {
    fn render(&self, batch: &Batch<'_>) -> Result<Option<Body>, TemplateError> {
        let commands = batch.events.iter().enumerate();
        let mut script: String =
            commands.filter_map(|(index, event)| self.command(index, event, batch)).collect();
        if script.is_empty() {
            return Ok(None);
        }
        script.push_str(&format!(":put \"done {}\"", batch.events.len()));
        let mut bytes = Vec::new();
        json::write(&mut bytes, &Execute { script, as_string: "" });
        Ok(Some(Body { bytes, content_type: "application/json" }))
    }

    fn check(&self, body: &[u8], events: usize) -> Outcome {
        #[derive(Deserialize)]
        struct Answer {
            ret: String,
        }
        let answer = match serde_json::from_slice(body) {
            Ok(Answers::One(answer)) => Some(answer),
            Ok(Answers::Several(answers)) => answers.into_iter().next(),
            Err(_) => None,
        };
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Answers {
            One(Answer),
            Several(Vec<Answer>),
        }
        let Some(Answer { ret }) = answer else { return not_the_service("RouterOS' /rest/execute") };
        if !ret.lines().any(|line| line.trim() == format!("done {events}")) {
            let reason = format!("RouterOS did not run the script to its end; its output: {ret:?}");
            return Outcome::Failed(failure(FailureKind::Retry, &reason));
        }
        let failed: Vec<_> = ret
            .lines()
            .filter_map(|line| line.trim().strip_prefix("failed ")?.parse::<usize>().ok())
            .filter(|index| *index < events)
            .map(|index| {
                (index, failure(FailureKind::Rejected, "RouterOS did not take the entry; see its log"))
            })
            .collect();
        if failed.is_empty() { Outcome::Delivered } else { Outcome::Partly(failed) }
    }

    fn response_bytes_per_event(&self) -> usize {
        16
    }
}
