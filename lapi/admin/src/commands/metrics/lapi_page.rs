//! Fetches the metrics page of the LAPI and shows its counters by section.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_go_compat::with_causes;
use serde_json::{Map, Value};

use super::prometheus_text::Sample;
use crate::table::Table;

/// A metrics page is a few hundred kilobytes at most.
const MAX_PAGE: usize = 64 << 20;

pub(super) async fn fetch(url: &str) -> Result<String, String> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        // Such pages are served over HTTP: loading certificates would only take time.
        .tls_certs_only([])
        .no_proxy()
        .build()
        .map_err(|error| error.to_string())?;
    let mut answer = client.get(url).send().await.map_err(|error| with_causes(&error.without_url()))?;
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
pub(super) fn scraped(page: &[Sample], wanted: &[&'static str], all: &mut BTreeMap<&'static str, Value>) {
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
        // Zeros are added, so that each bouncer has both columns.
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

/// One section as a table; `None` if the section is empty and `even_empty` is not set, or has no table.
pub(super) fn human(
    fancy: bool,
    name: &str,
    title: &str,
    content: &Map<String, Value>,
    even_empty: bool,
) -> Option<String> {
    let header: &[&str] = match name {
        "lapi" => &["Route", "Method", "Hits"],
        "lapi-bouncer" => &["Bouncer", "Route", "Method", "Hits"],
        "lapi-machine" => &["Machine", "Route", "Method", "Hits"],
        "lapi-decisions" => &["Bouncer", "Empty answers", "Non-empty answers"],
        "decisions" => &["Reason", "Origin", "Action", "Count"],
        "alerts" => &["Reason", "Count"],
        _ => return None,
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
    let shown = even_empty || !rows.is_empty();
    shown.then(|| Table::framed(fancy).title(title).header(header).rows(rows).render())
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
    use crate::commands::metrics::prometheus_text::samples;

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
        scraped(
            &page,
            &["alerts", "decisions", "lapi", "lapi-bouncer", "lapi-decisions", "lapi-machine"],
            &mut all,
        );
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
            human(false, "lapi", "Local API Metrics", lapi, false).unwrap(),
            concat!(
                "+----------------------------+\n",
                "| Local API Metrics          |\n",
                "+------------+--------+------+\n",
                "| Route      | Method | Hits |\n",
                "+------------+--------+------+\n",
                "| /v1/alerts | GET    | 3    |\n",
                "+------------+--------+------+\n",
            )
        );
        assert_eq!(human(false, "alerts", "x", &Map::new(), false), None);
        let empty = human(false, "alerts", "x", &Map::new(), true).unwrap();
        assert!(empty.contains("| Reason | Count |\n+--------+-------+\n+--------+-------+\n"), "{empty}");
    }
}
