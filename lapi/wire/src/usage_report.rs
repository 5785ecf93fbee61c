//! Usage metrics on their way in: the body of `POST /v1/usage-metrics`, what must be in it, and from whom.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::go_json::{self, lenient, without_nulls};
use crate::usage::MAX_METRIC_TEXT;
use crate::validation::Group;
use crate::{MetricItem, MetricMeta, MetricsWindow, OsInfo, RemediationComponent};

/// A log processor that reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogProcessor {
    /// Its version.
    pub version: String,
    /// Names of the experimental features that are on.
    #[serde(default)]
    pub feature_flags: Vec<String>,
    /// When the process started, in seconds since the Unix epoch.
    pub utc_startup_timestamp: i64,
    /// Its machine; without it what was known is blanked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsInfo>,
    /// What it measured.
    #[serde(default)]
    pub metrics: Vec<MetricsWindow>,
    /// How many sources of each type it reads.
    pub datasources: BTreeMap<String, i64>,
    /// What it has installed, by type (`scenarios`, `parsers`, …).
    pub hub_items: BTreeMap<String, Vec<HubItem>>,
}

/// Something installed on a log processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubItem {
    /// Such as `crowdsecurity/ssh-bf`.
    #[serde(default)]
    pub name: String,
    /// `official`, `custom` or `tainted`.
    #[serde(default)]
    pub status: String,
    /// Such as `0.3`.
    #[serde(default)]
    pub version: String,
}

/// A report that may be taken.
#[derive(Debug, Clone, PartialEq)]
pub enum UsageReport {
    /// From a bouncer.
    RemediationComponent(RemediationComponent),
    /// From a log processor.
    LogProcessor(LogProcessor),
}

/// Who sends a report, which decides what must be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageSender {
    /// Authenticated with a key or a bouncer's certificate.
    Bouncer,
    /// Authenticated with a machine's token.
    Machine,
}

/// Why a report is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct UsageError {
    /// The answer's status: 400 or 422.
    pub status: u16,
    /// The stock server's text.
    pub text: String,
}

impl UsageReport {
    /// What is stored of it: JSON with `metrics`, and `type` for a bouncer.
    pub fn payload(&self) -> String {
        #[derive(Serialize)]
        struct Payload<'a> {
            #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
            kind: Option<&'a str>,
            metrics: &'a [MetricsWindow],
        }
        let payload = match self {
            Self::RemediationComponent(bouncer) => {
                Payload { kind: Some(&bouncer.kind), metrics: &bouncer.metrics }
            }
            Self::LogProcessor(processor) => Payload { kind: None, metrics: &processor.metrics },
        };
        serde_json::to_string(&payload).expect("numbers and texts always serialise")
    }
}

lenient! {
    struct PostedAll as "AllMetrics", list "[]models.AllMetrics" {
        remediation_components: Vec<Option<PostedBouncer>> = "remediation_components",
        log_processors: Vec<Option<PostedProcessor>> = "log_processors",
    }
}

lenient! {
    struct PostedBouncer as "RemediationComponentsMetrics", list "[]*models.RemediationComponentsMetrics" {
        kind: String = "type",
        version: String = "version",
        utc_startup_timestamp: i64 = "utc_startup_timestamp",
        os: PostedOs = "os",
        feature_flags: Vec<Option<String>> = "feature_flags",
        metrics: Vec<Option<PostedWindow>> = "metrics",
    }
}

lenient! {
    struct PostedProcessor as "LogProcessorsMetrics", list "[]*models.LogProcessorsMetrics" {
        version: String = "version",
        utc_startup_timestamp: i64 = "utc_startup_timestamp",
        os: PostedOs = "os",
        feature_flags: Vec<Option<String>> = "feature_flags",
        metrics: Vec<Option<PostedWindow>> = "metrics",
        datasources: BTreeMap<String, i64> = "datasources",
        hub_items: BTreeMap<String, Vec<Option<PostedHubItem>>> = "hub_items",
    }
}

lenient! {
    struct PostedOs as "OSversion", list "[]models.OSversion" {
        name: String = "name",
        version: String = "version",
        family: String = "family",
    }
}

lenient! {
    struct PostedWindow as "DetailedMetrics", list "[]*models.DetailedMetrics" {
        meta: PostedSpan = "meta",
        items: Vec<Option<PostedItem>> = "items",
    }
}

lenient! {
    struct PostedSpan as "MetricsMeta", list "[]models.MetricsMeta" {
        window_size_seconds: i64 = "window_size_seconds",
        utc_now_timestamp: i64 = "utc_now_timestamp",
    }
}

lenient! {
    struct PostedItem as "MetricsDetailItem", list "[]*models.MetricsDetailItem" {
        name: String = "name",
        unit: String = "unit",
        value: Number = "value",
        labels: BTreeMap<String, String> = "labels",
    }
}

lenient! {
    struct PostedHubItem as "HubItem", list "[]models.HubItem" {
        name: String = "name",
        status: String = "status",
        version: String = "version",
    }
}

/// Reads the body of `POST /v1/usage-metrics`.
///
/// # Errors
/// It cannot be read (400), is not sound (422), or is not what this sender has to send (400).
pub fn read_usage_metrics(body: &[u8], from: UsageSender) -> Result<UsageReport, UsageError> {
    let bad = |text: String| UsageError { status: 400, text };
    let posted: PostedAll = go_json::read(body).map_err(|error| bad(error.to_string()))?.unwrap_or_default();
    validate(&posted).check().map_err(|failure| UsageError { status: 422, text: failure.collapsed() })?;
    let mut bouncers = posted.remediation_components.unwrap_or_default();
    let mut processors = posted.log_processors.unwrap_or_default();
    let (count, missing, many) = match from {
        UsageSender::Bouncer => (
            bouncers.len(),
            "Missing remediation component data",
            "Payload has more than one remediation component",
        ),
        UsageSender::Machine => {
            (processors.len(), "Missing log processor data", "Payload has more than one log processor")
        }
    };
    match count {
        0 => return Err(bad(missing.to_owned())),
        1 => {}
        _ => return Err(bad(many.to_owned())),
    }
    if !bouncers.is_empty() && !processors.is_empty() {
        return Err(bad("Payload has both LP and RC data".to_owned()));
    }
    match (bouncers.pop().flatten(), processors.pop().flatten()) {
        (Some(bouncer), _) => Ok(UsageReport::RemediationComponent(bouncer.into_report())),
        (None, Some(processor)) => Ok(UsageReport::LogProcessor(processor.into_report())),
        (None, None) => Err(bad(missing.to_owned())),
    }
}

fn validate(posted: &PostedAll) -> Group {
    let mut failures = Group::default();
    // Nested as the stock server nests them, each with a heading of its own.
    for (at, processor) in posted.log_processors.iter().flatten().enumerate() {
        let Some(processor) = processor else { continue };
        let at = format!("log_processors.{at}");
        let mut inner = Group::default();
        inner.nest(base(
            &at,
            processor.metrics.as_deref(),
            processor.os.as_ref(),
            processor.utc_startup_timestamp,
            processor.version.as_deref(),
        ));
        inner.require(format_args!("{at}.datasources"), &processor.datasources);
        inner.require(format_args!("{at}.hub_items"), &processor.hub_items);
        if !inner.is_empty() {
            failures.nest(inner);
            break;
        }
    }
    for (at, bouncer) in posted.remediation_components.iter().flatten().enumerate() {
        let Some(bouncer) = bouncer else { continue };
        let mut inner = Group::default();
        inner.nest(base(
            &format!("remediation_components.{at}"),
            bouncer.metrics.as_deref(),
            bouncer.os.as_ref(),
            bouncer.utc_startup_timestamp,
            bouncer.version.as_deref(),
        ));
        if !inner.is_empty() {
            failures.nest(inner);
            break;
        }
    }
    failures
}

/// What both kinds of reports have in common, in alphabetical order.
fn base(
    at: &str,
    metrics: Option<&[Option<PostedWindow>]>,
    os: Option<&PostedOs>,
    started: Option<i64>,
    version: Option<&str>,
) -> Group {
    let mut failures = Group::default();
    for (index, window) in metrics.unwrap_or_default().iter().enumerate() {
        let Some(window) = window else { continue };
        let inner = window_failures(&format!("{at}.metrics.{index}"), window);
        if !inner.is_empty() {
            failures.nest(inner);
            break;
        }
    }
    if let Some(os) = os {
        let mut inner = Group::default();
        inner.at_most(
            format_args!("{at}.os.family"),
            os.family.as_deref().unwrap_or_default(),
            MAX_METRIC_TEXT,
        );
        text(&mut inner, &format!("{at}.os.name"), os.name.as_deref());
        text(&mut inner, &format!("{at}.os.version"), os.version.as_deref());
        failures.nest(inner);
    }
    failures.require(format_args!("{at}.utc_startup_timestamp"), &started);
    text(&mut failures, &format!("{at}.version"), version);
    failures
}

fn window_failures(at: &str, window: &PostedWindow) -> Group {
    let mut failures = Group::default();
    failures.require(format_args!("{at}.items"), &window.items);
    for (index, item) in window.items.iter().flatten().enumerate() {
        let Some(item) = item else { continue };
        let at = format!("{at}.items.{index}");
        let mut inner = Group::default();
        for (name, value) in item.labels.iter().flatten() {
            inner.at_most(format_args!("{at}.labels.{name}"), value, MAX_METRIC_TEXT);
        }
        text(&mut inner, &format!("{at}.name"), item.name.as_deref());
        text(&mut inner, &format!("{at}.unit"), item.unit.as_deref());
        inner.require(format_args!("{at}.value"), &item.value);
        if !inner.is_empty() {
            failures.nest(inner);
            break;
        }
    }
    failures.require(format_args!("{at}.meta"), &window.meta);
    if let Some(meta) = &window.meta {
        let mut inner = Group::default();
        inner.require(format_args!("{at}.meta.utc_now_timestamp"), &meta.utc_now_timestamp);
        inner.require(format_args!("{at}.meta.window_size_seconds"), &meta.window_size_seconds);
        failures.nest(inner);
    }
    failures
}

/// A text that must be there and not be too long.
fn text(failures: &mut Group, at: &str, text: Option<&str>) {
    failures.require(at, &text);
    failures.at_most(at, text.unwrap_or_default(), MAX_METRIC_TEXT);
}

impl PostedBouncer {
    fn into_report(self) -> RemediationComponent {
        RemediationComponent {
            kind: self.kind.unwrap_or_default(),
            version: self.version.unwrap_or_default(),
            feature_flags: without_nulls(self.feature_flags),
            utc_startup_timestamp: self.utc_startup_timestamp.unwrap_or_default(),
            os: self.os.map(PostedOs::into_report),
            metrics: windows(self.metrics),
        }
    }
}

impl PostedProcessor {
    fn into_report(self) -> LogProcessor {
        let hub_item = |item: PostedHubItem| HubItem {
            name: item.name.unwrap_or_default(),
            status: item.status.unwrap_or_default(),
            version: item.version.unwrap_or_default(),
        };
        LogProcessor {
            version: self.version.unwrap_or_default(),
            feature_flags: without_nulls(self.feature_flags),
            utc_startup_timestamp: self.utc_startup_timestamp.unwrap_or_default(),
            os: self.os.map(PostedOs::into_report),
            metrics: windows(self.metrics),
            datasources: self.datasources.unwrap_or_default(),
            hub_items: self
                .hub_items
                .unwrap_or_default()
                .into_iter()
                .map(|(kind, items)| (kind, items.into_iter().flatten().map(hub_item).collect()))
                .collect(),
        }
    }
}

impl PostedOs {
    fn into_report(self) -> OsInfo {
        OsInfo {
            name: self.name.unwrap_or_default(),
            family: self.family.unwrap_or_default(),
            version: self.version.unwrap_or_default(),
        }
    }
}

fn windows(posted: Option<Vec<Option<PostedWindow>>>) -> Vec<MetricsWindow> {
    let item = |item: PostedItem| MetricItem {
        name: item.name.unwrap_or_default(),
        unit: item.unit.unwrap_or_default(),
        value: item.value.unwrap_or_else(|| 0.into()),
        labels: item.labels.unwrap_or_default(),
    };
    let window = |window: PostedWindow| {
        let meta = window.meta.unwrap_or_default();
        MetricsWindow {
            meta: MetricMeta {
                window_size_seconds: meta.window_size_seconds.unwrap_or_default(),
                utc_now_timestamp: meta.utc_now_timestamp.unwrap_or_default(),
            },
            items: window.items.unwrap_or_default().into_iter().flatten().map(item).collect(),
        }
    };
    posted.unwrap_or_default().into_iter().flatten().map(window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNCER: &str = r#"{"remediation_components":[{"type":"fw","version":"v1","utc_startup_timestamp":1,
        "feature_flags":null,"Metrics":[{"meta":{"window_size_seconds":1,"utc_now_timestamp":2},
        "items":[{"name":"dropped","unit":"packet","value":4.5,"labels":{"origin":"CAPI"}}]}]}]}"#;

    #[test]
    fn what_is_stored_is_type_and_metrics() {
        let report = read_usage_metrics(BOUNCER.as_bytes(), UsageSender::Bouncer).unwrap();
        assert_eq!(
            report.payload(),
            concat!(
                r#"{"type":"fw","metrics":[{"meta":{"window_size_seconds":1,"utc_now_timestamp":2},"#,
                r#""items":[{"name":"dropped","unit":"packet","value":4.5,"labels":{"origin":"CAPI"}}]}]}"#
            )
        );
        let lp = r#"{"log_processors":[{"version":"v1","utc_startup_timestamp":1,"datasources":{"file":2},
            "hub_items":{"scenarios":[{"name":"a/b","status":"official","version":"0.3"}]},
            "os":{"name":"debian","version":"12"}}]}"#;
        let UsageReport::LogProcessor(lp) = read_usage_metrics(lp.as_bytes(), UsageSender::Machine).unwrap()
        else {
            panic!("a log processor was sent")
        };
        assert_eq!((lp.datasources["file"], &*lp.hub_items["scenarios"][0].name), (2, "a/b"));
        assert_eq!(lp.os.unwrap().name, "debian");
    }

    #[test]
    fn each_fault_has_its_status_and_text() {
        use UsageSender::{Bouncer, Machine};
        let heading = "validation failure list:\n";
        for (body, from, status, text) in [
            ("", Bouncer, 400, "EOF".to_owned()),
            ("{}", Bouncer, 400, "Missing remediation component data".into()),
            ("{}", Machine, 400, "Missing log processor data".into()),
            (BOUNCER, Machine, 400, "Missing log processor data".into()),
            (
                r#"{"remediation_components":[{"version":"v"}]}"#,
                Bouncer,
                422,
                format!("{heading}remediation_components.0.utc_startup_timestamp in body is required"),
            ),
            (
                r#"{"log_processors":[{"utc_startup_timestamp":1,"metrics":[{"items":[{"name":"a","unit":"b"}]}]}]}"#,
                Machine,
                422,
                format!(
                    "{heading}log_processors.0.metrics.0.items.0.value in body is required\n\
                     log_processors.0.metrics.0.meta in body is required\n\
                     log_processors.0.version in body is required\n\
                     log_processors.0.datasources in body is required\n\
                     log_processors.0.hub_items in body is required"
                ),
            ),
            (
                r#"{"remediation_components":[{"metrics":{"meta":{}}}]}"#,
                Bouncer,
                400,
                "json: cannot unmarshal object into Go struct field \
                 RemediationComponentsMetrics.remediation_components.metrics of type []*models.DetailedMetrics"
                    .into(),
            ),
            (
                r#"{"remediation_components":[{"version":"v","utc_startup_timestamp":1},
                    {"version":"v","utc_startup_timestamp":1}]}"#,
                Bouncer,
                400,
                "Payload has more than one remediation component".into(),
            ),
            (
                r#"{"remediation_components":[{"version":"v","utc_startup_timestamp":1}],"log_processors":
                    [{"version":"v","utc_startup_timestamp":1,"datasources":{},"hub_items":{}}]}"#,
                Machine,
                400,
                "Payload has both LP and RC data".into(),
            ),
        ] {
            let error = read_usage_metrics(body.as_bytes(), from).unwrap_err();
            assert_eq!((error.status, error.text), (status, text), "{body}");
        }
        let long = format!(
            r#"{{"remediation_components":[{{"version":"{}","utc_startup_timestamp":1}}]}}"#,
            "v".repeat(256)
        );
        assert_eq!(
            read_usage_metrics(long.as_bytes(), Bouncer).unwrap_err().text,
            format!("{heading}remediation_components.0.version in body should be at most 255 chars long")
        );
    }
}
