mod client;
mod exchange;
mod peer;
mod sink;
mod tls;

use std::time::Duration;

use crate::config::{AuthConfig, BodyConfig, ClientTlsConfig, HttpConfig, TemplateSource};

/// An endpoint that may be on this machine.
pub(super) fn config(url: &str) -> HttpConfig {
    HttpConfig {
        url: url.parse().unwrap(),
        method: http::Method::POST,
        headers: Vec::new(),
        body: BodyConfig {
            template: TemplateSource::Ready("json".to_owned()),
            content_type: None,
            options: Default::default(),
        },
        auth: AuthConfig::default(),
        tls: ClientTlsConfig::default(),
        allowed_addresses: ["127.0.0.0/8", "::1/128"]
            .map(|net| palisade_net::parse_prefix(net).unwrap())
            .into_iter()
            .collect(),
        connect_timeout: Duration::from_secs(20),
        timeout: Duration::from_secs(30),
    }
}
