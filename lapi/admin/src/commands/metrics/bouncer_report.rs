//! Aggregates the usage metrics of bouncers as `cscli metrics show bouncers` does.

use std::collections::{BTreeMap, BTreeSet};

use palisade_store::UsageRow;
use palisade_wire::{MetricItem, UnixMillis};
use serde_json::{Map, Value};

use super::number::number;
use crate::commands::usage_reports::{count, windows};
use crate::table::{Align, Column, Table};

/// What a number is about. Two that differ in any label are two numbers, also where the label is not shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    bouncer: String,
    name: String,
    unit: String,
    labels: BTreeMap<String, String>,
}

/// One measurement of a report. Equal ones are one: a report that was sent again counts once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    time: i64,
    series: Series,
    /// As it was sent: the counts of 2.7 and 2.9 are equal.
    written: String,
    count: i64,
}

impl Point {
    fn new(bouncer: &str, time: i64, item: MetricItem) -> Self {
        let (written, count) = (item.value.to_string(), count(&item));
        let series =
            Series { bouncer: bouncer.to_owned(), name: item.name, unit: item.unit, labels: item.labels };
        Self { time, series, written, count }
    }
}

/// Values by origin, name and unit.
type Numbers = BTreeMap<(String, String, String), i64>;

#[derive(Debug, Default)]
pub(super) struct Report {
    /// Without an origin under the empty one.
    by_origin: BTreeMap<String, Numbers>,
    /// Totals by name and unit.
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
                let time = window.meta.utc_now_timestamp;
                points.extend(window.items.into_iter().map(|item| Point::new(&row.producer, time, item)));
            }
        }
        let mut report = Self::default();
        // In chronological order, so that a later gauge replaces an earlier one.
        let mut numbers: BTreeMap<Series, i64> = BTreeMap::new();
        for Point { time, series, count, .. } in points {
            let oldest = report.oldest.entry(series.bouncer.clone()).or_insert(time);
            *oldest = time.min(*oldest);
            let gauge = is_gauge(&series.name);
            let number = numbers.entry(series).or_default();
            *number = if gauge { count } else { number.saturating_add(count) };
        }
        for (Series { bouncer, name, unit, mut labels }, value) in numbers {
            let add = |number: &mut i64| *number = number.saturating_add(value);
            let origin = labels.remove("origin").unwrap_or_default();
            let total = report.totals.entry(bouncer.clone()).or_default();
            add(total.entry((name.clone(), unit.clone())).or_default());
            add(report.by_origin.entry(bouncer).or_default().entry((origin, name, unit)).or_default());
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

    /// One table per bouncer; empty if there is none.
    pub(super) fn human(&self, fancy: bool, units: bool) -> String {
        self.totals.keys().map(|bouncer| self.table(fancy, units, bouncer)).collect()
    }

    fn table(&self, fancy: bool, units: bool, bouncer: &str) -> String {
        let (own, totals) = (&self.by_origin[bouncer], &self.totals[bouncer]);
        let first = |text: &str| std::iter::once(text.to_owned());
        let names = totals.keys().map(|(name, _)| name.strip_suffix("_gauge").unwrap_or(name).to_owned());
        let shown_units: Vec<&str> = totals.keys().map(|(_, unit)| plural(unit)).collect();
        // What has no origin, such as processed packets, is shown in the totals only.
        let origins: BTreeSet<&String> =
            own.keys().map(|(origin, ..)| origin).filter(|origin| !origin.is_empty()).collect();
        let rows = origins.into_iter().map(|origin| {
            let cell = |(name, unit): &(String, String)| {
                let value = own.get(&(origin.clone(), name.clone(), unit.clone()));
                value.map_or_else(|| "-".to_owned(), |value| number(*value, units))
            };
            first(origin_name(origin).as_str()).chain(totals.keys().map(cell)).collect()
        });
        let sums = first("Total").chain(totals.values().map(|value| number(*value, units)));
        let since = UnixMillis(self.oldest[bouncer].saturating_mul(1000));
        let since = since.rfc3339().replace('T', " ").replace('Z', " +0000 UTC");
        Table::framed(fancy)
            .title(&format!("Bouncer Metrics ({bouncer}) since {since}"))
            .columns(vec![
                Column { footer: Align::Right, ..Column::LEFT },
                Column { header: Align::Center, ..Column::RIGHT },
            ])
            .merged_header(first("Origin").chain(names).collect())
            .header(&[&[""], &shown_units[..]].concat())
            .rows(rows)
            .footer(sums.collect())
            .render()
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

/// Other units stay as they are.
fn plural(unit: &str) -> &str {
    match unit {
        "byte" => "bytes",
        "packet" => "packets",
        "ip" => "IPs",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_store::UsageKind;
    use serde_json::json;

    fn row(time: i64, items: &Value) -> UsageRow {
        let window = json!({"meta": {"window_size_seconds": 1, "utc_now_timestamp": time}, "items": items});
        UsageRow {
            kind: UsageKind::RemediationComponent,
            producer: "fw".into(),
            received_at: UnixMillis(0),
            payload: json!({"type": "t", "metrics": [window]}).to_string(),
        }
    }

    fn item(name: &str, unit: &str, value: f64, labels: &[(&str, &str)]) -> Value {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        json!({"name": name, "unit": unit, "value": value, "labels": labels})
    }

    #[test]
    fn counters_add_up_gauges_stay_and_repeats_count_once() {
        let four = [("origin", "CAPI"), ("ip_type", "ipv4")];
        let dropped = item("dropped", "packet", 600.0, &four);
        let six = item("dropped", "packet", 1.0, &[("origin", "CAPI"), ("ip_type", "ipv6")]);
        let processed = item("processed", "packet", 5000.0, &[("ip_type", "ipv4")]);
        let active = |count| item("active_decisions", "ip", count, &[("origin", "lists:tor")]);
        let first = row(100, &json!([dropped, processed, active(9.7)]));
        let broken = UsageRow { payload: "{".into(), ..row(0, &json!([])) };
        let rows = [row(200, &json!([dropped, six, active(7.7)])), first.clone(), first, broken];
        let report = Report::of(&rows);
        assert_eq!(
            report.json(),
            json!({"fw": {
                "": {"processed": {"packet": 5000}},
                "CAPI": {"dropped": {"packet": 1201}},
                "lists:tor": {"active_decisions": {"ip": 7}},
            }})
        );
        assert_eq!(
            report.human(false, true),
            concat!(
                "+---------------------------------------------------------------------+\n",
                "| Bouncer Metrics (fw) since 1970-01-01 00:01:40 +0000 UTC            |\n",
                "+----------------------------+------------------+---------+-----------+\n",
                "| Origin                     | active_decisions | dropped | processed |\n",
                "|                            |        IPs       | packets |  packets  |\n",
                "+----------------------------+------------------+---------+-----------+\n",
                "| CAPI (community blocklist) |                - |   1.20k |         - |\n",
                "| lists:tor                  |                7 |       - |         - |\n",
                "+----------------------------+------------------+---------+-----------+\n",
                "|                      Total |                7 |   1.20k |     5.00k |\n",
                "+----------------------------+------------------+---------+-----------+\n",
            )
        );
        assert!(report.human(false, false).contains("|      5000 |"));
        assert_eq!(Report::of(&[]).human(false, true), "");
    }

    #[test]
    fn a_number_is_identified_by_all_its_labels() {
        let by = |label: &str, value: &str| {
            vec![("origin".to_owned(), "o".to_owned()), (label.into(), value.into())]
        };
        let of = |name: &str, count: f64, labels: &[(String, String)]| {
            let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            item(name, "ip", count, &labels)
        };
        let mut items = vec![
            of("active_decisions", 9.0, &by("scope", "ip")),
            of("active_decisions", 2.0, &by("scope", "range")),
            // The same count twice, and counts that are equal but for the fraction.
            of("twice", 2.7, &by("x", "")),
            of("twice", 2.7, &by("x", "")),
            of("twice", 2.9, &by("x", "")),
        ];
        for label in ["remediation", "server", "type"] {
            items.extend(["a", "b"].map(|value| of(label, 5.0, &by(label, value))));
        }
        let earlier = row(50, &json!([of("active_decisions", 100.0, &by("scope", "ip"))]));
        let report = Report::of(&[row(100, &json!(items)), earlier]);
        assert_eq!(
            report.json(),
            json!({"fw": {"o": {
                "active_decisions": {"ip": 11}, "twice": {"ip": 4},
                "remediation": {"ip": 10}, "server": {"ip": 10}, "type": {"ip": 10},
            }}})
        );
    }

    #[test]
    fn names_and_units_are_those_of_cscli() {
        let cscli = [("origin", "cscli")];
        let items = json!([
            item("ima_gauge", "second", 30.0, &cscli),
            item("notagauge", "inch", 25.0, &cscli),
            item("foo", "byte", 12_340.0, &cscli),
            item("foo", "request", 3800.0, &cscli),
        ]);
        let report = Report::of(&[row(1_707_450_000, &items)]);
        assert_eq!(report.json()["fw"]["cscli"]["ima_gauge"], json!({"second": 30}), "whole in JSON");
        assert_eq!(
            report.human(false, true),
            concat!(
                "+------------------------------------------------------------------+\n",
                "| Bouncer Metrics (fw) since 2024-02-09 03:40:00 +0000 UTC         |\n",
                "+--------------------------+------------------+--------+-----------+\n",
                "| Origin                   |        foo       |   ima  | notagauge |\n",
                "|                          |  bytes | request | second |    inch   |\n",
                "+--------------------------+--------+---------+--------+-----------+\n",
                "| cscli (manual decisions) | 12.34k |   3.80k |     30 |        25 |\n",
                "+--------------------------+--------+---------+--------+-----------+\n",
                "|                    Total | 12.34k |   3.80k |     30 |        25 |\n",
                "+--------------------------+--------+---------+--------+-----------+\n",
            )
        );
    }
}
