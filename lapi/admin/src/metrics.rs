//! `metrics`: shows the counters of the LAPI (from its metrics page) and of bouncers (from the database).

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Command;
use palisade_lapi_config::Output;
use serde_json::{Map, Value};

use crate::bouncer_metrics;
use crate::cli::{Args, group, leaf, switch, value};
use crate::failure::Failure;
use crate::output::{json, light_table, line, print};
use crate::scrape::{Sample, samples};
use crate::session::Session;

/// The sections in display order, with their descriptions for `metrics list`.
const SECTIONS: [(&str, &str, &str); 16] = [
    ("acquisition", "Acquisition Metrics", "Measures the lines read, parsed, and unparsed per datasource."),
    (
        "alerts",
        "Local API Alerts",
        "Tracks the total number of past and present alerts for the installed scenarios.",
    ),
    ("appsec-challenge", "Appsec Challenge Metrics", "Measures the challenges of the application firewall."),
    ("appsec-challenge-infra", "Appsec Challenge Infra Metrics", "Measures the machinery of the challenges."),
    (
        "appsec-engine",
        "Appsec Metrics",
        "Measures the number of parsed and blocked requests by the AppSec Component.",
    ),
    (
        "appsec-rule",
        "Appsec Rule Metrics",
        "Provides “per AppSec Component” information about the number of matches for loaded AppSec Rules.",
    ),
    ("bouncers", "Bouncer Metrics", "Network traffic blocked by bouncers."),
    ("decisions", "Local API Decisions", "Provides information about all currently active decisions."),
    ("lapi", "Local API Metrics", "Monitors the requests made to local API routes."),
    (
        "lapi-bouncer",
        "Local API Bouncers Metrics",
        "Tracks total hits to remediation component related API routes.",
    ),
    (
        "lapi-decisions",
        "Local API Bouncers Decisions",
        "Tracks the number of empty/non-empty answers from LAPI to bouncers that are working in \"live\" mode.",
    ),
    (
        "lapi-machine",
        "Local API Machines Metrics",
        "Tracks the number of calls to the local API from each registered machine.",
    ),
    (
        "parsers",
        "Parser Metrics",
        "Tracks the number of events processed by each parser and indicates success of failure.",
    ),
    ("scenarios", "Scenario Metrics", "Measure events in different scenarios."),
    (
        "stash",
        "Parser Stash Metrics",
        "Tracks the status of stashes that might be created by various parsers and scenarios.",
    ),
    (
        "whitelists",
        "Whitelist Metrics",
        "Tracks the number of events processed and possibly whitelisted by each parser whitelist.",
    ),
];

/// Aliases for several sections.
const ALIASES: [(&str, &[&str]); 4] = [
    ("engine", &["acquisition", "parsers", "scenarios", "stash", "whitelists"]),
    ("lapi", &["alerts", "decisions", "lapi", "lapi-bouncer", "lapi-decisions", "lapi-machine"]),
    ("appsec", &["appsec-engine", "appsec-rule"]),
    ("bot-detection", &["appsec-challenge", "appsec-challenge-infra"]),
];

/// A metrics page is a few hundred kilobytes at most.
const MAX_PAGE: usize = 64 << 20;

pub(crate) fn command() -> Command {
    let flags = || {
        [
            value("url", 'u', "Prometheus url: http://<ip>:<port>/metrics"),
            switch("no-unit", '\0', "Show the real number instead of formatted with units"),
        ]
    };
    group("metrics", "Display crowdsec prometheus metrics.")
        .args(flags())
        .subcommand(leaf("show", "Display all or part of the available metrics.", "SECTION").args(flags()))
        .subcommand(leaf("list", "List available types of metrics.", ""))
}

/// Shows all sections for `metrics` alone.
pub(crate) async fn run(session: &Session, name: &str, args: &Args<'_>) -> Result<(), Failure> {
    if name == "list" {
        args.exactly::<0>()?;
        return list(session);
    }
    let wanted = if name == "show" { sections(&args.any())? } else { sections(&[])? };
    session.no_raw()?;
    show(session, args, &wanted).await
}

fn list(session: &Session) -> Result<(), Failure> {
    match session.output {
        Output::Json => {
            let list: Vec<Value> = SECTIONS
                .iter()
                .map(|(kind, title, description)| {
                    serde_json::json!({"type": kind, "title": title, "description": description})
                })
                .collect();
            line(&json(&list, 2))
        }
        Output::Raw => {
            let list: Vec<BTreeMap<&str, &str>> = SECTIONS
                .iter()
                .map(|(kind, title, description)| {
                    BTreeMap::from([("type", *kind), ("title", *title), ("description", *description)])
                })
                .collect();
            print(&serde_saphyr::to_string(&list).map_err(|error| Failure::Command(error.to_string()))?)
        }
        Output::Human => {
            let rows = SECTIONS.iter().map(|(kind, title, description)| {
                vec![(*kind).to_owned(), (*title).to_owned(), (*description).to_owned()]
            });
            print(&crate::output::table(session.fancy, &["Type", "Title", "Description"], rows))
        }
    }
}

/// The sections for the given names; all for none.
fn sections(words: &[&str]) -> Result<Vec<&'static str>, Failure> {
    let mut wanted = Vec::new();
    for word in words {
        let alias = ALIASES.iter().find(|(name, _)| name == word).map(|(_, list)| list.to_vec());
        let section = SECTIONS.iter().find(|(name, ..)| name == word).map(|(name, ..)| vec![*name]);
        wanted.extend(
            alias.or(section).ok_or_else(|| Failure::Command(format!("unknown metrics type: {word}")))?,
        );
    }
    if words.is_empty() {
        wanted.extend(SECTIONS.iter().map(|(name, ..)| *name));
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(wanted)
}

async fn show(session: &Session, args: &Args<'_>, wanted: &[&'static str]) -> Result<(), Failure> {
    let units = !args.is_set("no-unit")?;
    let mut all: BTreeMap<&str, Value> = BTreeMap::new();
    if wanted.contains(&"bouncers") && session.server().is_ok() && session.config.database.is_some() {
        let store = session.store().await?;
        let reports = store.usage(palisade_store::UsageKind::RemediationComponent, None).await?;
        store.close().await;
        let report = bouncer_metrics::Report::of(&reports);
        if session.output == Output::Human {
            print(&report.human(units))?;
        }
        all.insert("bouncers", report.json());
    }
    if wanted.iter().any(|section| *section != "bouncers") {
        let url = page(session, args);
        match fetch(&url).await {
            Ok(text) => scraped(&samples(&text), wanted, &mut all),
            Err(reason) => session.log.warn(&format!("unable to retrieve metrics from {url}: {reason}")),
        }
    }
    if session.output == Output::Json {
        return line(&json(&all, 1));
    }
    for (name, title, _) in SECTIONS.iter().filter(|(name, ..)| *name != "bouncers") {
        if let Some(Value::Object(content)) = all.get(name).filter(|_| wanted.contains(name)) {
            print(&human(name, title, content))?;
        }
    }
    Ok(())
}

/// The URL of the metrics page: from the flag, from the configuration, or where the LAPI of this host serves it.
fn page(session: &Session, args: &Args<'_>) -> String {
    let told = args.text("url").map(str::to_owned).filter(|url| !url.is_empty());
    let told = told.or_else(|| session.config.prometheus_uri.clone());
    told.unwrap_or_else(|| match &session.config.prometheus {
        Some(metrics) => {
            let host = match metrics.listen.addr.as_str() {
                "" | "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
                addr if addr.contains(':') => format!("[{addr}]"),
                addr => addr.to_owned(),
            };
            format!("http://{host}:{}/metrics", metrics.listen.port)
        }
        None => "http://127.0.0.1:6060/metrics".to_owned(),
    })
}

async fn fetch(url: &str) -> Result<String, String> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .tls_certs_only([])
        .no_proxy()
        .build()
        .map_err(|error| error.to_string())?;
    let mut answer = client.get(url).send().await.map_err(|error| error.without_url().to_string())?;
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status()));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| error.without_url().to_string())? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MAX_PAGE {
            return Err("the page is too long".to_owned());
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Maps a sample's name to its section and the labels that form the path to the number.
const LAPI: [(&str, &str, &[&str]); 5] = [
    ("cs_lapi_route_requests_total", "lapi", &["route", "method"]),
    ("cs_lapi_bouncer_requests_total", "lapi-bouncer", &["bouncer", "route", "method"]),
    ("cs_lapi_machine_requests_total", "lapi-machine", &["machine", "route", "method"]),
    ("cs_active_decisions", "decisions", &["reason", "origin", "action"]),
    ("cs_alerts", "alerts", &["reason"]),
];

/// Sorts the page's samples into sections.
fn scraped(page: &[Sample], wanted: &[&'static str], all: &mut BTreeMap<&'static str, Value>) {
    for section in wanted.iter().filter(|section| **section != "bouncers") {
        all.insert(section, Value::Object(Map::new()));
    }
    for sample in page {
        // Counters are integers.
        let count = sample.value as i64;
        if let Some((_, section, labels)) = LAPI.iter().find(|(name, ..)| *name == sample.name) {
            let path: Vec<&str> = labels.iter().map(|label| sample.label(label)).collect();
            add(all.get_mut(section), &path, count);
        }
        let answer = match sample.name.as_str() {
            "cs_lapi_decisions_ok_total" => "NonEmpty",
            "cs_lapi_decisions_ko_total" => "Empty",
            _ => continue,
        };
        for (answer, count) in [(answer, count), ("NonEmpty", 0), ("Empty", 0)] {
            add(all.get_mut("lapi-decisions"), &[sample.label("bouncer"), answer], count);
        }
    }
}

/// Adds a number to the one at the end of a path.
fn add(section: Option<&mut Value>, path: &[&str], count: i64) {
    let Some(mut place) = section else { return };
    for name in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = match place {
            Value::Object(map) => map.entry((*name).to_owned()).or_insert(Value::Null),
            _ => return,
        };
    }
    *place = Value::from(place.as_i64().unwrap_or_default() + count);
}

/// One section as a table; empty if the section is.
fn human(name: &str, title: &str, content: &Map<String, Value>) -> String {
    let header: &[&str] = match name {
        "lapi" => &["Route", "Method", "Hits"],
        "lapi-bouncer" => &["Bouncer", "Route", "Method", "Hits"],
        "lapi-machine" => &["Machine", "Route", "Method", "Hits"],
        "lapi-decisions" => &["Bouncer", "Empty answers", "Non-empty answers"],
        "decisions" => &["Reason", "Origin", "Action", "Count"],
        "alerts" => &["Reason", "Count"],
        _ => return String::new(),
    };
    let rows = if name == "lapi-decisions" {
        content
            .iter()
            .map(|(bouncer, counts)| {
                let count = |answer: &str| counts[answer].as_i64().unwrap_or_default().to_string();
                vec![bouncer.clone(), count("Empty"), count("NonEmpty")]
            })
            .collect()
    } else {
        let mut rows = Vec::new();
        flatten(content, &mut Vec::new(), &mut rows);
        rows
    };
    if rows.is_empty() { String::new() } else { format!("{}\n", light_table(title, header, rows)) }
}

/// One row per number, with the path to it.
fn flatten(map: &Map<String, Value>, path: &mut Vec<String>, rows: &mut Vec<Vec<String>>) {
    for (name, value) in map {
        path.push(name.clone());
        match value {
            Value::Object(inner) => flatten(inner, path, rows),
            number => rows.push([&path[..], &[number.to_string()]].concat()),
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_sections() {
        assert_eq!(sections(&["alerts", "alerts"]).unwrap(), ["alerts"]);
        assert_eq!(sections(&["lapi"]).unwrap().len(), 6);
        assert_eq!(sections(&[]).unwrap().len(), SECTIONS.len());
        assert_eq!(sections(&["foo"]).unwrap_err().to_string(), "unknown metrics type: foo");
    }

    #[test]
    fn the_page_becomes_sections() {
        let page = samples(concat!(
            "# TYPE cs_alerts gauge\n",
            "cs_lapi_route_requests_total{method=\"GET\",route=\"/v1/alerts\"} 3\n",
            "cs_lapi_machine_requests_total{machine=\"m\",method=\"GET\",route=\"/v1/alerts\"} 3\n",
            "cs_lapi_decisions_ko_total{bouncer=\"b\"} 2\n",
            "cs_active_decisions{action=\"ban\",origin=\"cscli\",reason=\"manual \\\"x\\\"\"} 1\n",
            "cs_alerts{reason=\"a/b\"} 1e+06\n",
        ));
        let mut all = BTreeMap::new();
        scraped(&page, &sections(&["lapi"]).unwrap(), &mut all);
        assert_eq!(
            serde_json::to_value(&all).unwrap(),
            serde_json::json!({
                "alerts": {"a/b": 1_000_000},
                "decisions": {"manual \"x\"": {"cscli": {"ban": 1}}},
                "lapi": {"/v1/alerts": {"GET": 3}},
                "lapi-bouncer": {},
                "lapi-decisions": {"b": {"Empty": 2, "NonEmpty": 0}},
                "lapi-machine": {"m": {"/v1/alerts": {"GET": 3}}},
            })
        );
        let Value::Object(lapi) = &all["lapi"] else { panic!("an object") };
        assert_eq!(
            human("lapi", "Local API Metrics", lapi),
            "Local API Metrics\n----------------------------\n Route      | Method | Hits\n------------+--------+------\n /v1/alerts | GET    | 3\n\n"
        );
        assert_eq!(human("alerts", "x", &Map::new()), "");
    }
}
