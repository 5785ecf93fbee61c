//! The `prometheus` block of a configuration file.

use serde::Deserialize;

use crate::config::Problems;

/// The keys read here, for [`Document::unknown_keys`](crate::Document::unknown_keys).
pub const PROMETHEUS_KEYS: &[&str] =
    &["prometheus.enabled", "prometheus.listen_addr", "prometheus.listen_port"];

/// The default of `listen_port`, from the stock bouncer's packaged file.
const DEFAULT_PORT: u16 = 60601;

/// Where `/metrics` is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Address or host name; empty means every address.
    pub addr: String,
    /// TCP port.
    pub port: u16,
}

/// The block as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PrometheusKeys {
    /// Serve metrics for Prometheus at `/metrics`.
    ///
    /// - default: `false`
    /// - example: `true`
    pub enabled: Option<bool>,
    /// Address or host name to listen on; empty for every address.
    ///
    /// - default: `""`
    /// - with: `enabled: true`
    /// - example: `127.0.0.1`
    pub listen_addr: Option<String>,
    /// The port.
    ///
    /// - value: port, as number or text
    /// - default: `60601`
    /// - with: `enabled: true`
    /// - example: `60602`
    pub listen_port: Option<Port>,
}

/// A port as written: `60601` or `"60601"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a port number from 1 to 65535")]
pub enum Port {
    /// Without quotes.
    Number(u16),
    /// With quotes.
    Text(String),
}

impl PrometheusKeys {
    /// Checks the block; `None` when metrics are not served.
    pub fn check(self, wrong: &mut Problems) -> Option<Listen> {
        let port = match self.listen_port {
            None => Some(DEFAULT_PORT),
            Some(Port::Number(port)) => Some(port),
            // An empty text is the stock bouncer's own default.
            Some(Port::Text(text)) if text.is_empty() => Some(DEFAULT_PORT),
            Some(Port::Text(text)) => text.parse().ok(),
        };
        // Before a wrong port is reported: in a block that is off it does no harm.
        if !self.enabled.unwrap_or(false) {
            return None;
        }
        if port.is_none() {
            wrong.add("prometheus.listen_port", "expected a port number from 1 to 65535");
        }
        Some(Listen { addr: self.listen_addr.unwrap_or_default(), port: port? })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Document;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct File {
        prometheus: PrometheusKeys,
    }

    fn check(text: &str) -> Result<Option<Listen>, String> {
        let doc = Document::from_text(Path::new("x.yaml"), text, None, &|_| None).unwrap();
        let mut wrong = Problems::new();
        let file = doc.parse::<File>().map_err(|error| error.to_string())?;
        let listen = file.prometheus.check(&mut wrong);
        wrong.or(listen).map_err(|wrong| doc.locate(wrong).to_string())
    }

    #[test]
    fn port_may_be_number_or_text() {
        let listen = |addr: &str, port| Ok(Some(Listen { addr: addr.into(), port }));
        assert_eq!(
            check("prometheus: {enabled: yes, listen_addr: 127.0.0.1, listen_port: 60601}"),
            listen("127.0.0.1", 60601)
        );
        assert_eq!(check("prometheus: {enabled: yes, listen_port: '6060'}"), listen("", 6060));
        assert_eq!(check("prometheus: {enabled: true}"), listen("", 60601));
        assert_eq!(check("prometheus: {listen_port: 1}"), Ok(None));
        assert_eq!(check(""), Ok(None));
        for bad in ["lots", "70000", "[1]"] {
            let error = check(&format!("prometheus: {{enabled: on, listen_port: {bad}}}")).unwrap_err();
            assert!(
                error.contains("expected a port number from 1 to 65535 (prometheus.listen_port at x.yaml:1"),
                "{error}"
            );
        }
    }
}
