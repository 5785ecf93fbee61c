//! Validates the body of `POST /v1/usage-metrics` as the server receives it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::request_body::{
    self, BodyError, Unused, at_most, brief, list_of_some, list_or_empty, null_is_default, required,
    required_list_of_some, texts,
};
use crate::usage::MAX_METRIC_TEXT;
use crate::{MetricsWindow, OsInfo, RemediationComponent};

/// A reporting log processor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogProcessor {
    /// Its version.
    #[serde(deserialize_with = "required")]
    pub version: String,
    /// Names of the experimental features that are on.
    #[serde(default, deserialize_with = "texts")]
    pub feature_flags: Vec<String>,
    /// When the process started, in seconds since the Unix epoch.
    #[serde(deserialize_with = "required")]
    pub utc_startup_timestamp: i64,
    /// The operating system; if it is absent, the stored one is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsInfo>,
    /// The measurements.
    #[serde(default, deserialize_with = "list_of_some")]
    pub metrics: Vec<MetricsWindow>,
    /// The number of data sources per type.
    #[serde(deserialize_with = "required")]
    pub datasources: BTreeMap<String, i64>,
    /// The installed hub items by type (`scenarios`, `parsers`, …).
    #[serde(deserialize_with = "hub_items")]
    pub hub_items: BTreeMap<String, Vec<HubItem>>,
}

/// A hub item installed on a log processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubItem {
    /// Such as `crowdsecurity/ssh-bf`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `official`, `custom` or `tainted`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Such as `0.3`; empty for items of its own.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// A valid report.
#[derive(Debug, Clone, PartialEq)]
pub enum UsageReport {
    /// From a bouncer.
    RemediationComponent(RemediationComponent),
    /// From a log processor.
    LogProcessor(LogProcessor),
}

/// The kind of sender, which decides what the body must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageSender {
    /// Authenticated with a key or a bouncer's certificate.
    Bouncer,
    /// Authenticated with a machine's token.
    Machine,
}

impl UsageReport {
    /// The stored form: JSON with `metrics`, and `type` for a bouncer.
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

/// The lists of a log processor's hub items, without items that are `null`.
fn hub_items<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<HubItem>>, D::Error> {
    #[derive(Deserialize)]
    struct Items(#[serde(deserialize_with = "required_list_of_some")] Vec<HubItem>);

    let lists: BTreeMap<String, Items> = required(from)?;
    Ok(lists.into_iter().map(|(kind, items)| (kind, items.0)).collect())
}

/// Fields of a report about its sender that the LAPI takes from the login instead: checked, and not kept.
#[derive(Deserialize)]
struct BouncerClaims {
    #[serde(default, rename = "name")]
    _name: Unused<String>,
    #[serde(default, rename = "last_pull")]
    _last_pull: Unused<i64>,
}

/// The same of a log processor.
#[derive(Deserialize)]
struct ProcessorClaims {
    #[serde(default, rename = "name")]
    _name: Unused<String>,
    #[serde(default, rename = "last_push")]
    _last_push: Unused<i64>,
    #[serde(default, rename = "last_update")]
    _last_update: Unused<i64>,
}

/// A list of entries of which each has to be there.
#[derive(Default, Deserialize)]
struct Posted {
    #[serde(default, deserialize_with = "list_or_empty")]
    remediation_components: Vec<RemediationComponent>,
    #[serde(default, deserialize_with = "list_or_empty")]
    log_processors: Vec<LogProcessor>,
}

/// The same body again.
#[derive(Default, Deserialize)]
struct PostedClaims {
    #[serde(default, rename = "remediation_components", deserialize_with = "list_of_some")]
    _remediation_components: Vec<BouncerClaims>,
    #[serde(default, rename = "log_processors", deserialize_with = "list_of_some")]
    _log_processors: Vec<ProcessorClaims>,
}

/// Parses and validates the body of `POST /v1/usage-metrics`.
///
/// # Errors
/// The body cannot be parsed, is invalid, or is not of the sender's kind.
pub fn read_usage_metrics(body: &[u8], from: UsageSender) -> Result<UsageReport, BodyError> {
    request_body::read::<PostedClaims>(body)?;
    let posted: Posted = request_body::read(body)?.unwrap_or_default();
    for (at, bouncer) in posted.remediation_components.iter().enumerate() {
        let at = format!("remediation_components.{at}");
        check_lengths(&at, &bouncer.version, bouncer.os.as_ref(), &bouncer.metrics)?;
    }
    for (at, processor) in posted.log_processors.iter().enumerate() {
        let at = format!("log_processors.{at}");
        check_lengths(&at, &processor.version, processor.os.as_ref(), &processor.metrics)?;
    }
    // Entries of the other kind are not the sender's.
    match from {
        UsageSender::Bouncer => only(posted.remediation_components, "remediation component")
            .map(UsageReport::RemediationComponent),
        UsageSender::Machine => only(posted.log_processors, "log processor").map(UsageReport::LogProcessor),
    }
}

/// The only entry of a list.
fn only<T>(mut entries: Vec<T>, kind: &str) -> Result<T, BodyError> {
    match (entries.pop(), entries.is_empty()) {
        (Some(entry), true) => Ok(entry),
        (Some(_), false) => Err(BodyError::Malformed(format!("Payload has more than one {kind}"))),
        (None, _) => Err(BodyError::Malformed(format!("Missing {kind} data"))),
    }
}

/// Bounds the texts that both kinds of reports share.
fn check_lengths(
    at: &str,
    version: &str,
    os: Option<&OsInfo>,
    metrics: &[MetricsWindow],
) -> Result<(), BodyError> {
    let check =
        |name: fmt::Arguments<'_>, text: &str| at_most(format_args!("{at}.{name}"), text, MAX_METRIC_TEXT);
    for (window, metric) in metrics.iter().enumerate() {
        for (index, item) in metric.items.iter().enumerate() {
            for (name, value) in &item.labels {
                let name = brief(name, MAX_METRIC_TEXT);
                check(format_args!("metrics.{window}.items.{index}.labels.{name}"), value)?;
            }
            check(format_args!("metrics.{window}.items.{index}.name"), &item.name)?;
            check(format_args!("metrics.{window}.items.{index}.unit"), &item.unit)?;
        }
    }
    if let Some(os) = os {
        check(format_args!("os.family"), &os.family)?;
        check(format_args!("os.name"), &os.name)?;
        check(format_args!("os.version"), &os.version)?;
    }
    check(format_args!("version"), version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNCER: &str = r#"{"remediation_components":[{"type":"fw","version":"v1","utc_startup_timestamp":1,
        "feature_flags":null,"metrics":[{"meta":{"window_size_seconds":1,"utc_now_timestamp":2},
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
            "hub_items":{"parsers":[],"scenarios":[null,{"name":"a/b","status":"official","version":"0.3"}]},
            "os":{"name":"debian","version":"12"}}]}"#;
        let UsageReport::LogProcessor(lp) = read_usage_metrics(lp.as_bytes(), UsageSender::Machine).unwrap()
        else {
            panic!("a log processor was sent")
        };
        assert_eq!((lp.datasources["file"], &*lp.hub_items["scenarios"][0].name), (2, "a/b"));
        assert_eq!(lp.os.unwrap().name, "debian");
    }

    #[test]
    fn each_fault_has_its_kind_and_names_its_field() {
        use UsageSender::{Bouncer, Machine};
        for (body, from, text) in [
            ("{}", Bouncer, "Missing remediation component data"),
            ("null", Machine, "Missing log processor data"),
            (BOUNCER, Machine, "Missing log processor data"),
            (
                r#"{"remediation_components":[{"version":"v","utc_startup_timestamp":1},
                    {"version":"v","utc_startup_timestamp":1}]}"#,
                Bouncer,
                "Payload has more than one remediation component",
            ),
            (
                r#"{"remediation_components":[{"version":"v","utc_startup_timestamp":1,"last_pull":"x"}]}"#,
                Bouncer,
                "remediation_components.0.last_pull: invalid type: string",
            ),
            (r#"{"log_processors":[["v"]]}"#, Machine, "log_processors.0: invalid type: sequence"),
            ("", Bouncer, "EOF"),
            (
                r#"{"remediation_components":[{"metrics":{"meta":{}}}]}"#,
                Bouncer,
                "remediation_components.0.metrics: invalid type: map",
            ),
        ] {
            let error = read_usage_metrics(body.as_bytes(), from).unwrap_err();
            assert!(
                matches!(&error, BodyError::Malformed(said) if said.starts_with(text)),
                "{body}: {error}"
            );
        }
        let long = "v".repeat(256);
        for (body, text) in [
            (r#"{"version":"v"}"#, "utc_startup_timestamp in body is required"),
            (r#"{"version":null,"utc_startup_timestamp":1}"#, "version in body is required"),
            (
                r#"{"version":"v","utc_startup_timestamp":1,"metrics":[{"meta":{"window_size_seconds":1,
                    "utc_now_timestamp":1},"items":[{"name":"a","unit":"b"}]}]}"#,
                "metrics.0.items.0.value in body is required",
            ),
            (
                r#"{"version":"LONG","utc_startup_timestamp":1}"#,
                "version in body should be at most 255 chars long",
            ),
        ] {
            let body = format!(r#"{{"remediation_components":[{}]}}"#, body.replace("LONG", &long));
            let text = format!("remediation_components.0.{text}");
            let error = read_usage_metrics(body.as_bytes(), Bouncer).unwrap_err();
            assert!(
                matches!(&error, BodyError::Invalid(found) | BodyError::TooLong(found) if *found == text),
                "{error}"
            );
        }
    }
}
