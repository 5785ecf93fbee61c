//! Computes the amounts of a time window from counters that grow and may restart at zero. Pure.

use std::collections::BTreeMap;

use palisade_cache::Snapshot;
use palisade_wire::{MetricItem, MetricMeta, MetricsWindow, clip_metric_text};

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Counts up; reported as the increase since the last report.
    Counter,
    /// Goes up and down; reported as its last value.
    Gauge,
}

/// A metric value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading {
    /// `dropped`, `processed`, `active_decisions`, …
    pub name: &'static str,
    /// `packet`, `byte`, `ip`, …
    pub unit: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// `origin`, `ip_type`, `remediation`.
    pub labels: BTreeMap<&'static str, String>,
    /// Its value.
    pub value: u64,
}

impl Reading {
    /// A counter, such as `Reading::counter("dropped", "packet", [("origin", "CAPI"), ("ip_type", "ipv4")], 7)`.
    pub fn counter<'a>(
        name: &'static str,
        unit: &'static str,
        labels: impl IntoIterator<Item = (&'static str, &'a str)>,
        value: u64,
    ) -> Self {
        let labels = labels.into_iter().map(|(label, text)| (label, text.to_owned())).collect();
        Self { name, unit, kind: Kind::Counter, labels, value }
    }

    /// A gauge.
    pub fn gauge<'a>(
        name: &'static str,
        unit: &'static str,
        labels: impl IntoIterator<Item = (&'static str, &'a str)>,
        value: u64,
    ) -> Self {
        Self { kind: Kind::Gauge, ..Self::counter(name, unit, labels, value) }
    }

    /// The gauges `active_decisions` of a snapshot, by origin (or list) and IP family.
    pub fn active_decisions(snapshot: &Snapshot) -> Vec<Self> {
        let mut sums: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
        for count in snapshot.counts() {
            for (family, decisions) in [("ipv4", count.v4), ("ipv6", count.v6)] {
                if decisions > 0 {
                    *sums.entry((count.source(), family)).or_default() += u64::from(decisions);
                }
            }
        }
        sums.into_iter()
            .map(|((origin, family), decisions)| {
                Self::gauge(
                    "active_decisions",
                    "ip",
                    [("origin", origin.as_str()), ("ip_type", family)],
                    decisions,
                )
            })
            .collect()
    }
}

/// The identity of a metric.
type Series = (&'static str, &'static str, BTreeMap<&'static str, String>);

/// Accumulates readings into reports.
///
/// ```
/// use palisade_bouncer::usage::{Accumulator, Reading};
///
/// let packets = |value| vec![Reading::counter("processed", "packet", [("ip_type", "ipv4")], value)];
/// let mut accumulator = Accumulator::new(1_000);
/// accumulator.begin(packets(500));          // counted before the start
/// accumulator.read(packets(530));
/// accumulator.read(packets(4));             // restarted at zero
/// let window = accumulator.window(1_900);
/// assert_eq!(window.items[0].value, 34.into());
/// assert_eq!(window.meta.window_size_seconds, 900);
/// // Not delivered: the next window includes it.
/// accumulator.read(packets(5));
/// assert_eq!(accumulator.window(2_800).items[0].value, 35.into());
/// accumulator.delivered(2_800);
/// assert_eq!(accumulator.window(3_700).items[0].value, 0.into());
/// ```
#[derive(Debug, Clone)]
pub struct Accumulator {
    /// When the current window began, in seconds since the Unix epoch.
    since: i64,
    /// The last reading of each counter.
    last: BTreeMap<Series, u64>,
    /// The increase of each counter in the current window.
    counted: BTreeMap<Series, u64>,
    gauges: BTreeMap<Series, u64>,
}

impl Accumulator {
    /// Begins a window at `now`, in seconds since the Unix epoch.
    pub fn new(now: i64) -> Self {
        Self { since: now, last: BTreeMap::new(), counted: BTreeMap::new(), gauges: BTreeMap::new() }
    }

    /// Takes the initial values of the counters of a restarted bouncer. Counters that appear later start from zero.
    pub fn begin(&mut self, readings: impl IntoIterator<Item = Reading>) {
        // An earlier process has reported these.
        for (series, sum) in sums(readings, Kind::Counter) {
            self.last.insert(series, sum);
        }
    }

    /// Takes new readings. A missing counter is unchanged; gauges replace all earlier gauges.
    pub fn read(&mut self, readings: impl IntoIterator<Item = Reading> + Clone) {
        for (series, sum) in sums(readings.clone(), Kind::Counter) {
            let before = self.last.insert(series.clone(), sum).unwrap_or(0);
            // A counter below its last value has restarted (its table was rebuilt), so all of it counts.
            let more = if sum >= before { sum - before } else { sum };
            let counted = self.counted.entry(series).or_default();
            *counted = counted.saturating_add(more);
        }
        // Replaced, not merged: a source without decisions is no longer listed.
        self.gauges = sums(readings, Kind::Gauge);
    }

    /// The metrics since the last delivered window.
    pub fn window(&self, now: i64) -> MetricsWindow {
        let items = self.counted.iter().chain(&self.gauges).map(|((name, unit, labels), value)| MetricItem {
            name: (*name).to_owned(),
            unit: (*unit).to_owned(),
            value: (*value).into(),
            labels: labels.iter().map(|(label, text)| ((*label).to_owned(), text.clone())).collect(),
        });
        MetricsWindow {
            meta: MetricMeta {
                window_size_seconds: now.saturating_sub(self.since).max(0),
                utc_now_timestamp: now,
            },
            items: items.collect(),
        }
    }

    /// The window that ended at `now` was delivered: begins the next one.
    pub fn delivered(&mut self, now: i64) {
        self.since = now;
        // Unchanged counters are reported as zero, as the stock bouncers do.
        self.counted.values_mut().for_each(|counted| *counted = 0);
    }
}

/// Adds up readings of the same series.
fn sums(readings: impl IntoIterator<Item = Reading>, kind: Kind) -> BTreeMap<Series, u64> {
    let mut sums: BTreeMap<Series, u64> = BTreeMap::new();
    for reading in readings.into_iter().filter(|reading| reading.kind == kind) {
        let labels =
            reading.labels.into_iter().map(|(label, text)| (label, clip_metric_text(&text).to_owned()));
        // Truncation to the LAPI's limit may have made labels equal.
        let sum = sums.entry((reading.name, reading.unit, labels.collect())).or_default();
        *sum = sum.saturating_add(reading.value);
    }
    sums
}

#[cfg(test)]
mod tests {
    use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Timestamp};

    use super::*;

    fn dropped(origin: &str, value: u64) -> Reading {
        Reading::counter("dropped", "packet", [("origin", origin), ("ip_type", "ipv4")], value)
    }

    fn shown(accumulator: &Accumulator, now: i64) -> Vec<String> {
        let item = |item: &MetricItem| format!("{} {} {}", item.name, item.labels["origin"], item.value);
        accumulator.window(now).items.iter().map(item).collect()
    }

    #[test]
    fn a_window_holds_what_was_counted_in_it() {
        let mut accumulator = Accumulator::new(0);
        accumulator.begin([dropped("CAPI", 100)]);
        accumulator.read([dropped("CAPI", 150), dropped("cscli", 3)]);
        assert_eq!(shown(&accumulator, 900), ["dropped CAPI 50", "dropped cscli 3"]);
        accumulator.delivered(900);
        accumulator.read([dropped("CAPI", 151)]);
        assert_eq!(shown(&accumulator, 1800), ["dropped CAPI 1", "dropped cscli 0"]);
        assert_eq!(
            accumulator.window(1800).meta,
            MetricMeta { window_size_seconds: 900, utc_now_timestamp: 1800 }
        );
    }

    /// The stock bouncer reports 990 here.
    #[test]
    fn after_a_reset_the_new_value_counts() {
        let mut accumulator = Accumulator::new(0);
        accumulator.read([dropped("CAPI", 1000)]);
        accumulator.delivered(900);
        accumulator.read([dropped("CAPI", 10)]);
        assert_eq!(shown(&accumulator, 1800), ["dropped CAPI 10"]);
        accumulator.read([dropped("CAPI", 12)]);
        assert_eq!(shown(&accumulator, 1800), ["dropped CAPI 12"]);
    }

    #[test]
    fn an_undelivered_report_is_sent_again_with_the_larger_window() {
        let mut accumulator = Accumulator::new(0);
        accumulator.read([dropped("CAPI", 7)]);
        accumulator.read([dropped("CAPI", 9)]);
        accumulator.read([]); // could not be read
        accumulator.read([dropped("CAPI", 20)]);
        assert_eq!(shown(&accumulator, 2700), ["dropped CAPI 20"]);
        assert_eq!(accumulator.window(2700).meta.window_size_seconds, 2700);
    }

    #[test]
    fn gauges_are_as_last_read() {
        let gauge = |value| Reading::gauge("active_decisions", "ip", [("origin", "CAPI")], value);
        let mut accumulator = Accumulator::new(0);
        accumulator.read([gauge(5)]);
        accumulator.read([gauge(3)]);
        accumulator.delivered(1);
        assert_eq!(shown(&accumulator, 2), ["active_decisions CAPI 3"]);
        accumulator.read([]);
        assert_eq!(shown(&accumulator, 2), [] as [&str; 0]);
    }

    #[test]
    fn labels_that_become_alike_are_added_up_and_nothing_overflows() {
        let long = |tail: &str| dropped(&format!("{}{tail}", "x".repeat(300)), u64::MAX - 1);
        let mut accumulator = Accumulator::new(0);
        accumulator.read([long("a"), long("b")]);
        accumulator.read([long("a")]);
        let window = accumulator.window(i64::MIN);
        assert_eq!(window.items.len(), 1);
        assert_eq!(window.items[0].labels["origin"].len(), 255);
        assert_eq!(window.items[0].value, u64::MAX.into());
        assert_eq!(window.meta.window_size_seconds, 0);
    }

    #[test]
    fn active_decisions_are_counted_by_origin_list_and_family() {
        let mut ledger = Ledger::new(Policy::default(), 0);
        let mut batch = Batch::new();
        let until = Timestamp::from_millis(1_000_000);
        for (net, origin, scenario) in [
            ("192.0.2.1/32", "cscli", "a"),
            ("192.0.2.2/32", "cscli", "b"),
            ("2001:db8::/32", "cscli", "a"),
            ("198.51.100.0/24", "lists", "tor"),
        ] {
            batch.announce_net(
                net.parse().unwrap(),
                Reason { remediation: "ban", origin, scenario },
                until,
                1,
            );
        }
        ledger.apply(Mode::Everything, batch);
        let shown: Vec<String> = Reading::active_decisions(&ledger.snapshot())
            .iter()
            .map(|reading| {
                format!("{} {} {}", reading.labels["origin"], reading.labels["ip_type"], reading.value)
            })
            .collect();
        assert_eq!(shown, ["cscli ipv4 2", "cscli ipv6 1", "lists:tor ipv4 1"]);
    }
}
