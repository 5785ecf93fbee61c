//! Aggregates the usage metrics of bouncers as `cscli metrics show bouncers` does.

use std::collections::{BTreeMap, BTreeSet};

use palisade_store::UsageRow;
use palisade_wire::UnixMillis;
use serde_json::{Map, Value};

use crate::commands::usage_reports::{count, label, windows};
use crate::output::light_table;

/// One measurement of a report. Equal ones are one: a report that was sent again counts once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    time: i64,
    bouncer: String,
    ip_type: String,
    origin: String,
    name: String,
    unit: String,
    value: i64,
}

/// Values by origin, name and unit.
type Numbers = BTreeMap<(String, String, String), i64>;

#[derive(Debug, Default)]
pub(super) struct Report {
    by_origin: BTreeMap<String, Numbers>,
    /// Totals by name and unit, measurements without an origin included.
    totals: BTreeMap<String, BTreeMap<(String, String), i64>>,
    oldest: BTreeMap<String, i64>,
}

fn is_gauge(name: &str) -> bool {
    name == "active_decisions" || name.ends_with("_gauge")
}

impl Report {
    /// Aggregates reports. One that cannot be parsed is ignored.
    pub(super) fn of(rows: &[UsageRow]) -> Self {
        let mut points = BTreeSet::new();
        for row in rows {
            for window in windows(row) {
                points.extend(window.items.into_iter().map(|item| Point {
                    time: window.meta.utc_now_timestamp,
                    bouncer: row.producer.clone(),
                    ip_type: label(&item, "ip_type"),
                    origin: label(&item, "origin"),
                    value: count(&item),
                    unit: item.unit,
                    name: item.name,
                }));
            }
        }
        let mut report = Self::default();
        // In chronological order, so that a later gauge replaces an earlier one.
        let mut numbers: BTreeMap<(String, String, String, String, String), i64> = BTreeMap::new();
        for point in points {
            let oldest = report.oldest.entry(point.bouncer.clone()).or_insert(point.time);
            *oldest = point.time.min(*oldest);
            let gauge = is_gauge(&point.name);
            let key = (point.bouncer, point.origin, point.name, point.unit, point.ip_type);
            let number = numbers.entry(key).or_default();
            *number = if gauge { point.value } else { number.saturating_add(point.value) };
        }
        for ((bouncer, origin, name, unit, _), value) in numbers {
            let total = report.totals.entry(bouncer.clone()).or_default();
            *total.entry((name.clone(), unit.clone())).or_default() += value;
            let own = report.by_origin.entry(bouncer).or_default();
            // What has no origin, such as processed packets, appears in the totals only.
            if !origin.is_empty() {
                *own.entry((origin, name, unit)).or_default() += value;
            }
        }
        report
    }

    /// The JSON form: bouncer, origin, metric, unit, number.
    pub(super) fn json(&self) -> Value {
        let mut all = Map::new();
        for (bouncer, numbers) in &self.by_origin {
            let mut origins = Map::new();
            for ((origin, name, unit), value) in numbers {
                let at = |map: &mut Map<String, Value>, name: &str| -> Map<String, Value> {
                    match map.remove(name) {
                        Some(Value::Object(inner)) => inner,
                        _ => Map::new(),
                    }
                };
                let mut metrics = at(&mut origins, origin);
                let mut units = at(&mut metrics, name);
                units.insert(unit.clone(), Value::from(*value));
                metrics.insert(name.clone(), Value::Object(units));
                origins.insert(origin.clone(), Value::Object(metrics));
            }
            all.insert(bouncer.clone(), Value::Object(origins));
        }
        Value::Object(all)
    }

    /// One table per bouncer.
    pub(super) fn human(&self, units: bool) -> String {
        if self.totals.is_empty() {
            return "No bouncer metrics found.\n\n".to_owned();
        }
        let mut text = String::new();
        for (bouncer, totals) in &self.totals {
            let columns: Vec<&(String, String)> = totals.keys().collect();
            let header: Vec<String> = std::iter::once("Origin".to_owned())
                .chain(columns.iter().map(|(name, unit)| format!("{name} ({})", plural(unit))))
                .collect();
            let own = &self.by_origin[bouncer];
            let origins: BTreeSet<&String> = own.keys().map(|(origin, ..)| origin).collect();
            let mut rows: Vec<Vec<String>> = origins
                .into_iter()
                .map(|origin| {
                    let cell = |(name, unit): &&(String, String)| {
                        let key = (origin.clone(), name.clone(), unit.clone());
                        own.get(&key).map_or_else(|| "-".to_owned(), |value| number(*value, unit, units))
                    };
                    std::iter::once(origin_name(origin)).chain(columns.iter().map(cell)).collect()
                })
                .collect();
            let total = |column: &&(String, String)| number(totals[*column], &column.1, units);
            rows.push(std::iter::once("Total".to_owned()).chain(columns.iter().map(total)).collect());
            let since = self.oldest.get(bouncer).copied().unwrap_or_default();
            let since =
                UnixMillis(since.saturating_mul(1000)).rfc3339().replace('T', " ").replace('Z', " +0000 UTC");
            let title = format!("Bouncer Metrics ({bouncer}) since {since}");
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            text.push_str(&light_table(&title, &header, rows));
            text.push('\n');
        }
        text
    }
}

fn origin_name(origin: &str) -> String {
    match origin {
        "CAPI" => "CAPI (community blocklist)".to_owned(),
        "cscli" => "cscli (manual decisions)".to_owned(),
        "crowdsec" => "crowdsec (security engine)".to_owned(),
        other => other.to_owned(),
    }
}

fn plural(unit: &str) -> String {
    match unit {
        "ip" => "IPs".to_owned(),
        other => format!("{other}s"),
    }
}

/// A number, shortened if wanted: `1.2k`, `3.4M`; bytes by 1024.
fn number(value: i64, unit: &str, short: bool) -> String {
    let step = if unit == "byte" { 1024.0 } else { 1000.0 };
    if !short || value.unsigned_abs() < 1000 {
        return value.to_string();
    }
    let mut rest = value as f64;
    for suffix in ["", "k", "M", "G", "T", "P"] {
        if rest.abs() < step {
            return if suffix.is_empty() { value.to_string() } else { format!("{rest:.2}{suffix}") };
        }
        rest /= step;
    }
    format!("{rest:.2}E")
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_store::UsageKind;

    fn row(time: i64, items: &str) -> UsageRow {
        UsageRow {
            kind: UsageKind::RemediationComponent,
            producer: "fw".into(),
            received_at: UnixMillis(0),
            payload: format!(
                r#"{{"type":"t","metrics":[{{"meta":{{"window_size_seconds":1,"utc_now_timestamp":{time}}},"items":[{items}]}}]}}"#
            ),
        }
    }

    #[test]
    fn counters_add_up_gauges_stay_and_repeats_count_once() {
        let dropped =
            r#"{"name":"dropped","unit":"packet","value":600,"labels":{"origin":"CAPI","ip_type":"ipv4"}}"#;
        let six =
            r#"{"name":"dropped","unit":"packet","value":1,"labels":{"origin":"CAPI","ip_type":"ipv6"}}"#;
        let processed = r#"{"name":"processed","unit":"packet","value":5000,"labels":{"ip_type":"ipv4"}}"#;
        let active = |count: i32| {
            format!(
                r#"{{"name":"active_decisions","unit":"ip","value":{count}.7,"labels":{{"origin":"lists:tor","ip_type":"ipv4"}}}}"#
            )
        };
        let first = row(100, &format!("{dropped},{processed},{}", active(9)));
        let rows = [row(200, &format!("{dropped},{six},{}", active(7))), first.clone(), first, row(0, "{")];
        let report = Report::of(&rows);
        assert_eq!(
            report.json(),
            serde_json::json!({"fw": {
                "CAPI": {"dropped": {"packet": 1201}},
                "lists:tor": {"active_decisions": {"ip": 7}},
            }})
        );
        let text = report.human(true);
        assert!(text.starts_with("Bouncer Metrics (fw) since 1970-01-01 00:01:40 +0000 UTC\n"), "{text}");
        assert!(text.contains("CAPI (community blocklist) | -                      | 1.20k"), "{text}");
        assert!(
            text.contains(" Total                      | 7                      | 1.20k             | 5.00k"),
            "{text}"
        );
        assert!(report.human(false).contains("| 5000"));
        assert_eq!(Report::of(&[]).human(true), "No bouncer metrics found.\n\n");
    }
}
