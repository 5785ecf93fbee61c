//! Sums up what a log processor reports to have read and parsed.

use std::collections::BTreeMap;

use palisade_store::UsageRow;
use palisade_wire::MetricItem;
use serde::Serialize;

use crate::commands::usage_reports::{count, label, windows};

/// The lines of no source.
const NO_SOURCE: &str = "(no source)";
/// Parsers of overflows, which have no source any more; listed last.
const POSTOVERFLOWS: &str = "Postoverflows";

/// The reads and parses of a log processor, summed over its reports.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counters {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) acquisition: Vec<Acquisition>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) parsers: Vec<Parser>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Acquisition {
    pub(super) source: String,
    pub(super) read: i64,
    pub(super) parsed: i64,
    pub(super) unparsed: i64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Parser {
    pub(super) source: String,
    pub(super) parser: String,
    pub(super) stage: String,
    pub(super) parsed: i64,
    pub(super) unparsed: i64,
}

/// `file:/var/log/auth.log (syslog)`, as far as known: two kinds of reader, or two types of line, are two sources.
fn source(item: &MetricItem) -> Option<String> {
    let of = |name| item.labels.get(name).filter(|text| !text.is_empty());
    let (reader, source, lines) = (of("datasource_type"), of("source"), of("acquis_type"));
    let name = match (reader, source) {
        (Some(reader), source) => format!("{reader}:{}", source.map_or("", String::as_str)),
        (None, Some(source)) => source.clone(),
        (None, None) => String::new(),
    };
    match lines {
        Some(lines) => Some(format!("{name} ({lines})").trim_start().to_owned()),
        None => Some(name).filter(|name| !name.is_empty()),
    }
}

impl Counters {
    /// Aggregates reports. One that cannot be parsed is ignored.
    pub(super) fn of(reports: &[UsageRow]) -> Self {
        let mut sources: BTreeMap<String, [i64; 3]> = BTreeMap::new();
        // Whether it has no source comes first: those are listed last.
        let mut parsers: BTreeMap<(bool, String, String, String), [i64; 2]> = BTreeMap::new();
        for item in reports.iter().flat_map(windows).flat_map(|window| window.items) {
            let (count, source) = (count(&item), source(&item));
            let by_parser = item.labels.contains_key("parser_name");
            let column = match item.name.as_str() {
                "read" => 0,
                // A log processor counts each line once more for each parser that it passes.
                "parsed" | "unparsed" if by_parser => {
                    let name = source.clone().unwrap_or_else(|| POSTOVERFLOWS.to_owned());
                    let (stage, parser) = (label(&item, "parser_stage"), label(&item, "parser_name"));
                    let counts = parsers.entry((source.is_none(), name, stage, parser)).or_default();
                    counts[usize::from(item.name == "unparsed")] += count;
                    continue;
                }
                "global_parsed" | "parsed" => 1,
                "global_unparsed" | "unparsed" => 2,
                _ => continue,
            };
            sources.entry(source.unwrap_or_else(|| NO_SOURCE.to_owned())).or_default()[column] += count;
        }
        Self {
            acquisition: sources
                .into_iter()
                .map(|(source, [read, parsed, unparsed])| Acquisition { source, read, parsed, unparsed })
                .collect(),
            parsers: parsers
                .into_iter()
                .map(|((_, source, stage, parser), [parsed, unparsed])| Parser {
                    source,
                    parser,
                    stage,
                    parsed,
                    unparsed,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_store::UsageKind;
    use palisade_wire::UnixMillis;
    use serde_json::{Value, json};

    fn report(items: &Value) -> UsageRow {
        let window = json!({"meta": {"window_size_seconds": 1800, "utc_now_timestamp": 1}, "items": items});
        UsageRow {
            kind: UsageKind::LogProcessor,
            producer: "m".into(),
            received_at: UnixMillis(0),
            payload: json!({"metrics": [window]}).to_string(),
        }
    }

    fn item(name: &str, value: f64, labels: &[(&str, &str)]) -> Value {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        json!({"name": name, "unit": "line", "value": value, "labels": labels})
    }

    const SYSLOG: [(&str, &str); 3] =
        [("datasource_type", "file"), ("source", "/var/log/auth.log"), ("acquis_type", "syslog")];

    #[test]
    fn a_report_of_a_log_processor_is_summed_by_source_and_parser() {
        let parser = |name, stage| [&SYSLOG[..], &[("parser_name", name), ("parser_stage", stage)]].concat();
        let sshd = parser("crowdsecurity/sshd-logs", "s01-parse");
        let syslog = parser("crowdsecurity/syslog-logs", "s00-raw");
        let geo = parser("crowdsecurity/a-enrich", "s02-enrich");
        let rdns = [("parser_name", "crowdsecurity/rdns"), ("parser_stage", "s00-enrich")];
        let one = report(&json!([
            item("read", 20.0, &SYSLOG),
            item("global_parsed", 12.9, &SYSLOG),
            item("global_unparsed", 8.0, &SYSLOG),
            item("parsed", 20.0, &syslog),
            item("parsed", 12.0, &sshd),
            item("unparsed", 8.0, &sshd),
            item("parsed", 12.0, &geo),
            item("whitelisted", 3.0, &geo),
            item("parsed", 1.0, &rdns),
        ]));
        let two = report(&json!([
            item("read", 9.0, &SYSLOG),
            item("global_parsed", 8.0, &SYSLOG),
            item("global_unparsed", 1.0, &SYSLOG),
            item("unparsed", 1.0, &sshd),
        ]));
        let broken = UsageRow { payload: "{".into(), ..report(&json!([])) };
        let auth = "file:/var/log/auth.log (syslog)";
        assert_eq!(
            serde_json::to_value(Counters::of(&[one, broken, two])).unwrap(),
            json!({
                "acquisition": [{"source": auth, "read": 29, "parsed": 20, "unparsed": 9}],
                "parsers": [
                    {"source": auth, "parser": "crowdsecurity/syslog-logs", "stage": "s00-raw",
                        "parsed": 20, "unparsed": 0},
                    {"source": auth, "parser": "crowdsecurity/sshd-logs", "stage": "s01-parse",
                        "parsed": 12, "unparsed": 9},
                    {"source": auth, "parser": "crowdsecurity/a-enrich", "stage": "s02-enrich",
                        "parsed": 12, "unparsed": 0},
                    {"source": "Postoverflows", "parser": "crowdsecurity/rdns", "stage": "s00-enrich",
                        "parsed": 1, "unparsed": 0},
                ],
            })
        );
    }

    #[test]
    fn one_source_read_in_two_ways_is_two_lines() {
        let labels =
            |reader, lines| [("datasource_type", reader), ("source", "/var/log/x"), ("acquis_type", lines)];
        let all = report(&json!([
            item("read", 1.0, &labels("file", "syslog")),
            item("read", 2.0, &labels("file", "nginx")),
            item("read", 4.0, &labels("s3", "nginx")),
            item("read", 8.0, &[("source", "/var/log/x")]),
            item("read", 16.0, &[]),
            // From before there were totals.
            item("parsed", 5.0, &[("source", "/var/log/x")]),
        ]));
        let counters = Counters::of(&[all]);
        let lines: Vec<_> =
            counters.acquisition.iter().map(|row| (row.source.as_str(), row.read, row.parsed)).collect();
        assert_eq!(
            lines,
            [
                ("(no source)", 16, 0),
                ("/var/log/x", 8, 5),
                ("file:/var/log/x (nginx)", 2, 0),
                ("file:/var/log/x (syslog)", 1, 0),
                ("s3:/var/log/x (nginx)", 4, 0),
            ]
        );
        assert_eq!(serde_json::to_string(&Counters::of(&[])).unwrap(), "{}");
    }
}
