//! The configuration reader: two files, variables in both, every concern reading the same text. Nothing panics, secrets
//! stay out of messages, and what is printed for `-T` reads as the same document.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use palisade_bouncer::settings::{LAPI_KEYS, LapiSettings, ProcessEnv};
use palisade_client::ProxyConfig;
use palisade_daemon::logs::{LOG_KEYS, LogKeys};
use palisade_daemon::metrics::{PROMETHEUS_KEYS, PrometheusKeys};
use palisade_daemon::{Document, Problems};
use serde::Deserialize;

// A zero byte ends the main file and begins the `.local` one.
fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (base, local) = text.split_once('\0').map_or((text, None), |(base, local)| (base, Some(local)));
    let variables = |name: &str| match name {
        "A" => Some("value".to_owned()),
        "B" => Some("$A ${A} $".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let Ok(document) = Document::from_text(Path::new("x.yaml"), base, local, &variables) else { return };
    let _ = document.parse::<Keys>().map(Keys::check);
    let known: Vec<&str> = [LAPI_KEYS, LOG_KEYS, PROMETHEUS_KEYS].concat();
    document.unknown_keys(&known);
    let around = ProcessEnv {
        credentials: None,
        state_dir: None,
        proxy: ProxyConfig::default(),
        read: &|_| Err(std::io::ErrorKind::NotFound.into()),
    };
    if let Err(error) = LapiSettings::of(&document, &around) {
        assert!(!error.to_string().is_empty());
    }
    // What `-T` prints is a document, and printing it again changes nothing.
    let printed = document.merged_text();
    let again = Document::from_text(Path::new("x.yaml"), printed, None, &|_| None);
    assert_eq!(again.expect("what was merged reads").merged_text(), printed);
});

#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    #[serde(flatten)]
    logs: Logs,
    prometheus: PrometheusKeys,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Logs {
    log_mode: Option<String>,
}

impl Keys {
    fn check(self) {
        let mut wrong = Problems::new();
        self.prometheus.check(&mut wrong);
        LogKeys { log_mode: self.logs.log_mode, ..LogKeys::default() }.check("x.log", false, &mut wrong);
        let _ = wrong.to_string();
    }
}
