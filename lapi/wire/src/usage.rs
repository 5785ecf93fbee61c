//! The payload of `POST /v1/usage-metrics` as a bouncer sends it. LAPI 1.6.3 and later shows it in `cscli metrics show
//! bouncers`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::request_body::{list_of_some, null_is_default, required, required_list_of_some, texts};

/// The longest name, unit, label or version that LAPI's validation accepts, in characters.
pub const MAX_METRIC_TEXT: usize = 255;

/// Truncates a text to [`MAX_METRIC_TEXT`] characters.
pub fn clip_metric_text(text: &str) -> &str {
    text.char_indices().nth(MAX_METRIC_TEXT).map_or(text, |(end, _)| &text[..end])
}

/// One report. LAPI requires exactly one component in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageMetrics {
    /// The reporting bouncer, as the only element.
    pub remediation_components: Vec<RemediationComponent>,
}

/// The reporting bouncer and its metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RemediationComponent {
    /// The bouncer's type, as in the User-Agent before the slash.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    pub kind: String,
    /// The bouncer's version, as in the User-Agent after the slash.
    #[serde(deserialize_with = "required")]
    pub version: String,
    /// Always an array, empty for bouncers: an object is refused with 400.
    #[serde(default, deserialize_with = "texts")]
    pub feature_flags: Vec<String>,
    /// When the process started, in seconds since the Unix epoch.
    #[serde(deserialize_with = "required")]
    pub utc_startup_timestamp: i64,
    /// The operating system; if it is absent, LAPI clears what it had stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsInfo>,
    /// Always an array, although the public guide shows an object: an object is refused with 400.
    #[serde(default, deserialize_with = "list_of_some")]
    pub metrics: Vec<MetricsWindow>,
}

/// An operating system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OsInfo {
    /// Such as `debian`.
    #[serde(deserialize_with = "required")]
    pub name: String,
    /// Such as `linux`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub family: String,
    /// Such as `12`.
    #[serde(deserialize_with = "required")]
    pub version: String,
}

/// Measurements of one time window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetricsWindow {
    /// The time window.
    #[serde(deserialize_with = "required")]
    pub meta: MetricMeta,
    /// The measurements.
    #[serde(deserialize_with = "required_list_of_some")]
    pub items: Vec<MetricItem>,
}

/// The time window of a [`MetricsWindow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetricMeta {
    /// Its length in seconds.
    #[serde(deserialize_with = "required")]
    pub window_size_seconds: i64,
    /// Its end, in seconds since the Unix epoch.
    #[serde(deserialize_with = "required")]
    pub utc_now_timestamp: i64,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetricItem {
    /// `dropped`, `processed` (both: the count within the window), `active_decisions` (the count now), or any other.
    #[serde(deserialize_with = "required")]
    pub name: String,
    /// `packet`, `byte`, `request`, `ip`.
    #[serde(deserialize_with = "required")]
    pub unit: String,
    /// The measured number.
    #[serde(deserialize_with = "required")]
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub value: serde_json::Number,
    /// Such as `origin` (for lists `lists:<name>`), `ip_type` (`ipv4`, `ipv6`), `remediation`.
    #[serde(default, deserialize_with = "labels", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Labels, of which each `null` is empty; none for `null`.
fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let labels: BTreeMap<String, Option<String>> = null_is_default(from)?;
    Ok(labels.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_what_the_server_validates() {
        let labels = [("origin", "lists:tor"), ("ip_type", "ipv4")];
        let report = UsageMetrics {
            remediation_components: vec![RemediationComponent {
                kind: "palisade-firewall".into(),
                version: "v0.1.0".into(),
                feature_flags: vec![],
                utc_startup_timestamp: 1_760_000_000,
                os: Some(OsInfo { name: "debian".into(), family: "linux".into(), version: "12".into() }),
                metrics: vec![MetricsWindow {
                    meta: MetricMeta { window_size_seconds: 900, utc_now_timestamp: 1_760_000_900 },
                    items: vec![MetricItem {
                        name: "dropped".into(),
                        unit: "packet".into(),
                        value: 42.into(),
                        labels: labels.map(|(name, value)| (name.into(), value.into())).into(),
                    }],
                }],
            }],
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"remediation_components":[{"type":"palisade-firewall","version":"v0.1.0","feature_flags":[],"#,
                r#""utc_startup_timestamp":1760000000,"os":{"name":"debian","family":"linux","version":"12"},"#,
                r#""metrics":[{"meta":{"window_size_seconds":900,"utc_now_timestamp":1760000900},"#,
                r#""items":[{"name":"dropped","unit":"packet","value":42,"#,
                r#""labels":{"ip_type":"ipv4","origin":"lists:tor"}}]}]}]}"#
            )
        );
        assert_eq!(serde_json::from_str::<UsageMetrics>(&text).unwrap(), report);
    }

    #[test]
    fn texts_are_cut_by_characters_not_bytes() {
        assert_eq!(clip_metric_text("short"), "short");
        assert_eq!(clip_metric_text(&"é".repeat(300)), "é".repeat(255));
    }
}
