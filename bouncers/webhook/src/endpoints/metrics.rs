//! Exports the state of endpoints to Prometheus.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{EndpointView, Endpoints, StateView};
use crate::delivery::circuit::CircuitState;

/// Reads the state of all endpoints at each scrape. Holds nothing of them.
#[derive(Debug)]
pub struct EndpointCollector(Weak<Endpoints>);

impl EndpointCollector {
    /// A collector of these endpoints.
    pub fn new(endpoints: &Arc<Endpoints>) -> Self {
        Self(Arc::downgrade(endpoints))
    }
}

/// A metric: name, help, whether it only grows, and its value; `None` where an endpoint has none.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    help: &'static str,
    pub(crate) is_counter: bool,
    value: fn(&EndpointView) -> Option<f64>,
}

pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: "palisade_webhook_waiting",
        help: "Values or queued events that wait to be delivered",
        is_counter: false,
        value: |view| {
            Some(match &view.state {
                StateView::Delivery(one) => one.waiting as f64,
                StateView::Replace(one) => f64::from(u8::from(one.waiting)),
            })
        },
    },
    Metric {
        name: "palisade_webhook_delivered",
        help: "Events, or lists, that the receiver has accepted",
        is_counter: true,
        value: |view| {
            Some(match &view.state {
                StateView::Delivery(one) => one.delivered as f64,
                StateView::Replace(one) => one.accepted as f64,
            })
        },
    },
    Metric {
        name: "palisade_webhook_failed_attempts",
        help: "Attempts to deliver that failed, since the start",
        is_counter: true,
        value: |view| {
            Some(match &view.state {
                StateView::Delivery(one) => one.failed_attempts as f64,
                StateView::Replace(one) => one.failed as f64,
            })
        },
    },
    Metric {
        name: "palisade_webhook_dead_letters",
        help: "Events that the receiver has rejected, kept",
        is_counter: false,
        value: |view| delivery(view).map(|one| one.dead_letters as f64),
    },
    Metric {
        name: "palisade_webhook_dropped",
        help: "Events and dead letters dropped because of a bound",
        is_counter: true,
        value: |view| {
            let dropped = delivery(view)?.dropped;
            Some((dropped.too_old + dropped.no_room + dropped.dead_letters) as f64)
        },
    },
    Metric {
        name: "palisade_webhook_failing_since_seconds",
        help: "Since when every attempt has failed, in seconds since the Unix epoch; absent while deliveries succeed",
        is_counter: false,
        value: |view| {
            let since = match &view.state {
                StateView::Delivery(one) => one.failing_since,
                StateView::Replace(one) => one.failing_since,
            };
            Some(since?.as_millis() as f64 / 1000.0)
        },
    },
    Metric {
        name: "palisade_webhook_last_success_seconds",
        help: "When a message was last accepted, in seconds since the Unix epoch",
        is_counter: false,
        value: |view| {
            let at = match &view.state {
                StateView::Delivery(one) => one.last_success,
                StateView::Replace(one) => one.last_accepted,
            };
            Some(at?.as_millis() as f64 / 1000.0)
        },
    },
    Metric {
        name: "palisade_webhook_paused",
        help: "1 while the receiver refuses this sender (403, for example) or asked for no more (410)",
        is_counter: false,
        value: |view| {
            let state = match &view.state {
                StateView::Delivery(one) => one.circuit,
                StateView::Replace(one) => one.state,
            };
            Some(f64::from(u8::from(matches!(state, CircuitState::Refused | CircuitState::Stopped))))
        },
    },
    Metric {
        name: "palisade_webhook_store_failing",
        help: "1 while the endpoint's store cannot be written",
        is_counter: false,
        value: |view| delivery(view).map(|one| f64::from(u8::from(one.store_problem.is_some()))),
    },
    Metric {
        name: "palisade_webhook_filter_errors",
        help: "Evaluations of the endpoint's filter expression that failed",
        is_counter: true,
        value: |view| Some(view.filter_errors as f64),
    },
];

fn delivery(view: &EndpointView) -> Option<&crate::delivery::status::EndpointStatus> {
    match &view.state {
        StateView::Delivery(status) => Some(status),
        StateView::Replace(_) => None,
    }
}

impl Collector for EndpointCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(endpoints) = self.0.upgrade() else { return Ok(()) };
        let views = endpoints.views();
        for metric in METRICS {
            let samples: Vec<(&str, f64)> =
                views.iter().filter_map(|view| Some((&*view.name, (metric.value)(view)?))).collect();
            if samples.is_empty() {
                continue;
            }
            let kind = if metric.is_counter { MetricType::Counter } else { MetricType::Gauge };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for (name, value) in samples {
                let labels = [("endpoint", name)];
                let sample = family.encode_family(&labels)?;
                match metric.is_counter {
                    true => ConstCounter::new(value).encode(sample)?,
                    false => ConstGauge::new(value).encode(sample)?,
                }
            }
        }
        Ok(())
    }
}
