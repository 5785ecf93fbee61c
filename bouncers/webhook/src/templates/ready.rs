//! Lists the ready templates with what an endpoint for each is best configured with.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;

use super::TemplateError;
use super::engine::Engine;
use super::formats::Format;
use super::formats::cloud_events::CloudEvents;
use super::formats::elasticsearch::Elasticsearch;
use super::formats::mikrotik::MikroTik;
use super::formats::ndjson::NdJson;
use super::formats::plain_json::PlainJson;
use super::formats::response::{check_slack, check_teams};
use super::formats::splunk::Splunk;
use super::options::Options;
use crate::config::Initial;
use crate::event::Grouping;
use crate::sink::Outcome;

type Make = fn(&'static ReadyTemplate, &Options<'_>, Grouping) -> Result<Box<dyn Format>, TemplateError>;

/// A ready template.
#[derive(Debug)]
pub struct ReadyTemplate {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub about: &'static str,
    /// The content type of a message with several events.
    pub content_type: &'static str,
    /// The most events that the service takes in one message.
    pub max_events: Option<usize>,
    /// The batch size unless the endpoint names another.
    pub events: usize,
    /// How long a batch waits for more events unless the endpoint names another time.
    pub wait: Duration,
    /// What a new endpoint is sent unless it names something else.
    pub initial: Initial,
    /// Its options.
    pub options: &'static [ReadyOption],
    /// The minijinja source; `None` for formats that are written by code.
    pub source: Option<&'static str>,
    make: Make,
}

/// An option of a ready template.
#[derive(Debug)]
pub struct ReadyOption {
    /// Its name.
    pub name: &'static str,
    /// Its value when it is not given; empty for none.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

const fn option(name: &'static str, default: &'static str, about: &'static str) -> ReadyOption {
    ReadyOption { name, default, about }
}

const BATCH_OPTION: ReadyOption =
    option("batch", "auto", "`always` writes a message with one event in the shape for several, too");

impl ReadyTemplate {
    /// The one with this name.
    ///
    /// # Errors
    /// When there is none; the error suggests a similar name.
    pub fn named(name: &str) -> Result<&'static Self, TemplateError> {
        READY.iter().find(|ready| ready.name == name).ok_or_else(|| {
            let near = READY.iter().find(|ready| {
                let (known, given) = (ready.name, name.to_lowercase());
                known == given || (given.len() > 2 && (known.starts_with(&given) || given.starts_with(known)))
            });
            TemplateError::Unknown {
                name: name.chars().take(64).collect(),
                suggestion: near.map_or(String::new(), |ready| format!("; did you mean {}?", ready.name)),
                known: READY.iter().map(|ready| ready.name).collect::<Vec<_>>().join(", "),
            }
        })
    }

    /// The method of requests.
    pub fn method(&self) -> Method {
        Method::POST
    }

    pub(super) fn check_options<'a>(
        &'static self,
        given: &'a BTreeMap<String, String>,
    ) -> Result<Options<'a>, TemplateError> {
        Options::read(self, given)
    }

    pub(super) fn format(
        &'static self,
        options: &Options<'_>,
        grouping: Grouping,
    ) -> Result<Box<dyn Format>, TemplateError> {
        (self.make)(self, options, grouping)
    }

    fn engine(&'static self, options: &Options<'_>) -> Result<Engine, TemplateError> {
        let source = self.source.unwrap_or_default();
        Engine::compile(self.name, source, self.content_type, &options.all())
    }
}

const JSON: &str = "application/json";
const NONE: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);
/// Chat services limit messages to about one a second; what comes together is shown together.
const CHAT_WAIT: Duration = Duration::from_secs(5);

/// All ready templates.
pub static READY: &[ReadyTemplate] = &[
    ReadyTemplate {
        name: "json",
        about: "JSON in the shape of Standard Webhooks.",
        content_type: JSON,
        max_events: None,
        events: 100,
        wait: NONE,
        initial: Initial::Snapshot,
        options: &[BATCH_OPTION],
        source: None,
        make: |_, options, _| Ok(Box::new(PlainJson::new(options)?)),
    },
    ReadyTemplate {
        name: "ndjson",
        about: "An event on each line, for log shippers and queues.",
        content_type: "application/x-ndjson",
        max_events: None,
        events: 1000,
        wait: SECOND,
        initial: Initial::Snapshot,
        options: &[],
        source: None,
        make: |_, _, _| Ok(Box::new(NdJson)),
    },
    ReadyTemplate {
        name: "cloudevents",
        about: "CloudEvents 1.0 in structured mode, and batches of them.",
        content_type: "application/cloudevents-batch+json; charset=UTF-8",
        max_events: None,
        events: 100,
        wait: NONE,
        initial: Initial::Snapshot,
        options: &[
            BATCH_OPTION,
            option("source", "/palisade-webhook", "the attribute `source`, a URI reference"),
            option("type_prefix", "palisade.", "stands before the event's type in the attribute `type`"),
        ],
        source: None,
        make: |_, options, _| Ok(Box::new(CloudEvents::new(options)?)),
    },
    ReadyTemplate {
        name: "slack",
        about: "Messages for Slack: incoming webhooks, or chat.postMessage with `channel`.",
        content_type: JSON,
        max_events: Some(40),
        events: 40,
        wait: CHAT_WAIT,
        initial: Initial::Skip,
        options: &[option("channel", "", "a channel's id, for chat.postMessage")],
        source: Some(include_str!("ready/slack.json.j2")),
        make: |ready, options, _| Ok(Box::new(ready.engine(options)?.with_check(check_slack))),
    },
    ReadyTemplate {
        name: "discord",
        about: "Messages for Discord's webhooks, an embed for each event.",
        content_type: JSON,
        max_events: Some(10),
        events: 10,
        wait: CHAT_WAIT,
        initial: Initial::Skip,
        options: &[option("username", "", "the name that messages appear under")],
        source: Some(include_str!("ready/discord.json.j2")),
        make: |ready, options, _| Ok(Box::new(ready.engine(options)?.with_check(delivered))),
    },
    ReadyTemplate {
        name: "teams",
        about: "Adaptive Cards for the webhooks of Workflows in Microsoft Teams.",
        content_type: JSON,
        max_events: Some(20),
        events: 20,
        wait: CHAT_WAIT,
        initial: Initial::Skip,
        options: &[],
        source: Some(include_str!("ready/teams.json.j2")),
        make: |ready, options, _| Ok(Box::new(ready.engine(options)?.with_check(check_teams))),
    },
    ReadyTemplate {
        name: "alertmanager",
        about: "Alerts for Prometheus' Alertmanager (POST /api/v2/alerts), resolved when a decision is lifted.",
        content_type: JSON,
        max_events: None,
        events: 100,
        wait: SECOND,
        initial: Initial::Snapshot,
        options: &[
            option("alertname", "CrowdSecDecision", "the label `alertname`"),
            option("severity", "info", "the label `severity`"),
        ],
        source: Some(include_str!("ready/alertmanager.json.j2")),
        make: |ready, options, _| Ok(Box::new(ready.engine(options)?.with_check(delivered))),
    },
    ReadyTemplate {
        name: "elasticsearch",
        about: "Elasticsearch and OpenSearch (POST /_bulk): an index with the decisions in force, or a log of events.",
        content_type: "application/x-ndjson",
        max_events: None,
        events: 500,
        wait: SECOND,
        initial: Initial::Snapshot,
        options: &[
            option("index", "crowdsec-decisions", "the index, or with `mode: log` the data stream"),
            option(
                "mode",
                "state",
                "`state`: a document for each decision in force; `log`: one for each event",
            ),
        ],
        source: None,
        make: |_, options, grouping| Ok(Box::new(Elasticsearch::new(options, grouping)?)),
    },
    ReadyTemplate {
        name: "splunk",
        about: "Splunk's HTTP Event Collector (POST /services/collector/event).",
        content_type: JSON,
        max_events: None,
        events: 500,
        wait: SECOND,
        initial: Initial::Skip,
        options: &[
            option("host", "", "the field `host` of events"),
            option("source", "palisade-webhook", "the field `source` of events"),
            option("sourcetype", "crowdsec:decision", "the field `sourcetype` of events"),
            option("index", "", "the index; empty for the token's own"),
        ],
        source: None,
        make: |_, options, _| Ok(Box::new(Splunk::new(options)?)),
    },
    ReadyTemplate {
        name: "mikrotik",
        about: "Address lists of MikroTik RouterOS 7 (POST /rest/execute).",
        content_type: JSON,
        max_events: Some(100),
        events: 100,
        wait: SECOND,
        initial: Initial::Snapshot,
        options: &[
            option("list", "crowdsec", "the list of IPv4 addresses and ranges"),
            option("list6", "", "the list of IPv6 addresses and ranges; empty for the same name"),
        ],
        source: None,
        make: |_, options, _| Ok(Box::new(MikroTik::new(options)?)),
    },
];

fn delivered(_: &[u8], _: usize) -> Outcome {
    Outcome::Delivered
}
