//! Writes what a receiver of whole lists is sent.

use std::fmt::Write as _;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use palisade_bouncer::control::DecisionView;
use palisade_cache::Timestamp;

use super::decisions::{snapshot_of, snapshot_with};
use super::request::{self, shown_url};
use crate::config::{AwsWafConfig, HttpConfig, ReplaceConfig, ReplaceService};
use crate::event::{Entry, Value};
use crate::filter::{Filter, Takes};
use crate::http::requests::{Signatures, wall_seconds};
use crate::http::{USER_AGENT, fixed_headers, list_id};
use crate::replace::list::List;
use crate::replace::service::{renderer, shape};
use crate::templates::sample;

/// The list of the samples, or of these decisions as if there were no others.
pub(super) fn write(
    out: &mut String,
    config: &ReplaceConfig,
    filter: Filter,
    decisions: Option<&[DecisionView]>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let (snapshot, takes, now): (_, Takes, _) = match decisions {
        // All samples, so that every kind of entry is seen.
        None => (snapshot_with(&sample::entries()), Arc::new(|_| true), sample::NOW),
        Some(decisions) => (snapshot_of(decisions)?, Arc::new(move |decision| filter.matches(decision)), now),
    };
    let list = List::build(&snapshot, &takes, &shape(config));
    match decisions {
        None => out.push_str("# a list of samples\n"),
        Some(decisions) => {
            let (found, held) = (decisions.len(), list.items.len());
            let _ =
                writeln!(out, "# {held} entries of {found} decisions; the list has those of all others too");
        }
    }
    match &config.service {
        ReplaceService::Http(http) => write_request(out, http, &list, now)?,
        ReplaceService::Cloudflare { account, list: name, http, .. } => {
            let api = shown_url(&http.url);
            let _ = writeln!(out, "The items of list {name} of account {account} at {api} are replaced by:");
            write_values(out, &list, |_| true);
        }
        ReplaceService::AwsWaf(config) => write_sets(out, config, &list),
    }
    for (count, why) in [
        (list.unusable, "the receiver cannot hold them"),
        (list.omitted, "there are more than `max_entries`"),
    ] {
        if count > 0 {
            let _ = writeln!(out, "Left out: {count}, because {why}.");
        }
    }
    Ok(())
}

fn write_request(out: &mut String, http: &HttpConfig, list: &List, now: Timestamp) -> anyhow::Result<()> {
    let entries: Vec<(Value, Entry)> =
        list.items.iter().map(|item| (item.value.clone(), item.entry.clone())).collect();
    let (body, content_type) = renderer(http)?(&entries, now).map_err(anyhow::Error::msg)?;
    let mut headers = fixed_headers(http, USER_AGENT)?;
    let signatures = Signatures::new(http, &headers)?;
    headers.insert(CONTENT_TYPE, content_type);
    let signed = signatures.add(&mut headers, list_id(&body, now), wall_seconds(), &body);
    signed.map_err(|failure| anyhow::Error::msg(failure.reason))?;
    request::write(out, http, &headers, &body);
    Ok(())
}

fn write_sets(out: &mut String, config: &AwsWafConfig, list: &List) {
    let scope = if config.cloudfront { "CloudFront" } else { "regional" };
    for (set, is_v4) in [(&config.ipv4, true), (&config.ipv6, false)] {
        let Some((name, id)) = set else { continue };
        let region = &config.region;
        let _ = writeln!(out, "The addresses of IP set {name} ({id}, {scope}, {region}) are replaced by:");
        write_values(out, list, |value| matches!(value, Value::Net(net) if net.addr().is_ipv4() == is_v4));
    }
}

fn write_values(out: &mut String, list: &List, is_shown: impl Fn(&Value) -> bool) {
    let mut is_empty = true;
    for item in list.items.iter().filter(|item| is_shown(&item.value)) {
        is_empty = false;
        let Entry { origin, scenario, .. } = &item.entry;
        // On one line: scenarios may have line ends.
        let scenario: String = scenario.chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
        let _ = writeln!(out, "  {}  ({origin}: {scenario})", item.value);
    }
    if is_empty {
        out.push_str("  nothing\n");
    }
}
