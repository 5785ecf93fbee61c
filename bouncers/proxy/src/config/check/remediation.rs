//! Checks what decisions do, and the captcha.

use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use palisade_client::Secret;

use super::super::file::{
    BanAction, CaptchaFile, CaptchaOnFailure, DecisionsFile, ProviderName, ThrottleFile,
};
use super::super::{
    CaptchaConfig, CaptchaProvider, DecisionMode, FailurePolicy, Fallback, GeoFiles, RemediationPolicy,
    Scopes, StartPolicy, ThrottleConfig,
};
use super::{Check, SecretReader};

/// Zero bits of a proof of work: a million hashes on average, about a second on a phone.
const DIFFICULTY: u8 = 20;
/// The longest time a proof is valid: a solved captcha must not outlive what led to it by much.
const LONGEST_PROOF: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a known provider has fixed.
struct Known {
    name: &'static str,
    script_url: &'static str,
    widget_class: &'static str,
    response_field: &'static str,
    verify_url: &'static str,
}

const HCAPTCHA: Known = Known {
    name: "hcaptcha",
    script_url: "https://hcaptcha.com/1/api.js",
    widget_class: "h-captcha",
    response_field: "h-captcha-response",
    verify_url: "https://api.hcaptcha.com/siteverify",
};
const RECAPTCHA: Known = Known {
    name: "recaptcha",
    script_url: "https://www.google.com/recaptcha/api.js",
    widget_class: "g-recaptcha",
    response_field: "g-recaptcha-response",
    verify_url: "https://www.google.com/recaptcha/api/siteverify",
};
const TURNSTILE: Known = Known {
    name: "turnstile",
    script_url: "https://challenges.cloudflare.com/turnstile/v0/api.js",
    widget_class: "cf-turnstile",
    response_field: "cf-turnstile-response",
    verify_url: "https://challenges.cloudflare.com/turnstile/v0/siteverify",
};
const CUSTOM: Known =
    Known { name: "custom", script_url: "", widget_class: "", response_field: "", verify_url: "" };

impl Check {
    /// Checks the defaults of all routes even when every route overrides them.
    pub(super) fn policy_alone(&mut self, key: &str, file: &DecisionsFile, geo: &GeoFiles) {
        self.policy(key, DecisionsFile::default(), file, geo);
    }

    /// A route's keys over the defaults.
    pub(super) fn policy(
        &mut self,
        key: &str,
        file: DecisionsFile,
        defaults: &DecisionsFile,
        geo: &GeoFiles,
    ) -> RemediationPolicy {
        let defaults = defaults.clone();
        let exempt = file.exempt.or(defaults.exempt).unwrap_or_default();
        let exempt = self.wrong.prefixes(&format!("{key}.exempt"), &exempt);
        let max_staleness = file.max_staleness.or(defaults.max_staleness);
        let on_failure = file.on_failure.or(defaults.on_failure).unwrap_or(FailurePolicy::Keep);
        let mode = file.mode.or(defaults.mode).unwrap_or(DecisionMode::Stream);
        if on_failure != FailurePolicy::Keep && max_staleness.is_none() && mode == DecisionMode::Stream {
            self.wrong.add(
                format!("{key}.on_failure"),
                "it takes effect only after `max_staleness`, which is missing; for example `max_staleness: 10m`",
            );
        }
        let status = file.ban_status.or(defaults.ban_status).unwrap_or(403);
        let ban_status = self.status(&format!("{key}.ban_status"), status, StatusCode::FORBIDDEN);
        let action = file.ban_action.or(defaults.ban_action).unwrap_or(BanAction::Page);
        let captcha = file.captcha_on_failure.or(defaults.captcha_on_failure);
        RemediationPolicy {
            mode,
            scopes: self.scopes(&format!("{key}.scopes"), file.scopes.or(defaults.scopes), geo),
            origins: file.origins.or(defaults.origins).unwrap_or_default(),
            exempt,
            log_only: file.log_only.or(defaults.log_only).unwrap_or(false),
            fallback: file.fallback.or(defaults.fallback).unwrap_or(Fallback::Ban),
            on_failure,
            max_staleness: max_staleness.map(|given| {
                let least = Duration::from_secs(1);
                self.wrong.duration(format!("{key}.max_staleness"), Some(given), least, least)
            }),
            on_start: file.on_start.or(defaults.on_start).unwrap_or(StartPolicy::Wait),
            ban_status,
            ban_closes: action == BanAction::Close,
            captcha_open_on_failure: captcha == Some(CaptchaOnFailure::Open),
            throttle: self.throttle(
                &format!("{key}.throttle"),
                file.throttle.or(defaults.throttle).unwrap_or_default(),
            ),
        }
    }

    fn status(&mut self, key: &str, given: u16, default: StatusCode) -> StatusCode {
        // Success for a refused request would be cached, or mistaken for the application's; only captcha pages may.
        match StatusCode::from_u16(given) {
            Ok(status)
                if given == default.as_u16() || status.is_client_error() || status.is_server_error() =>
            {
                status
            }
            _ => {
                self.wrong.add(key, "it must be a status from 400 to 599");
                default
            }
        }
    }

    fn scopes(&mut self, key: &str, words: Option<Vec<String>>, geo: &GeoFiles) -> Scopes {
        let (country, asn) = (geo.country.is_some(), geo.asn.is_some());
        let Some(words) = words else {
            return Scopes { ip: true, range: true, country, autonomous_system: asn };
        };
        let mut scopes = Scopes { ip: false, range: false, country: false, autonomous_system: false };
        for (index, word) in words.iter().enumerate() {
            let at = format!("{key}[{index}]");
            match word.to_ascii_lowercase().as_str() {
                "ip" => scopes.ip = true,
                "range" => scopes.range = true,
                "country" if country => scopes.country = true,
                "as" if asn => scopes.autonomous_system = true,
                "country" => self.wrong.add(at, "countries need a database; set `geo.country`"),
                "as" => self.wrong.add(at, "autonomous systems need a database; set `geo.asn`"),
                _ => self.wrong.add(at, "it must be ip, range, country or as"),
            }
        }
        scopes
    }

    fn throttle(&mut self, key: &str, file: ThrottleFile) -> ThrottleConfig {
        let requests = self.wrong.number(format!("{key}.requests"), file.requests, 10, (1, 1_000_000));
        let least = Duration::from_millis(100);
        let period =
            self.wrong.duration(format!("{key}.period"), file.period, Duration::from_secs(60), least);
        let burst = self.wrong.number(format!("{key}.burst"), file.burst, 5, (1, 1_000_000));
        ThrottleConfig { requests, period, burst }
    }

    pub(super) fn captcha(
        &mut self,
        file: CaptchaFile,
        read_secret: SecretReader<'_>,
    ) -> Option<CaptchaConfig> {
        let provider = match file.provider.unwrap_or(ProviderName::ProofOfWork) {
            ProviderName::None => return None,
            ProviderName::ProofOfWork => {
                let difficulty =
                    self.wrong.number("captcha.difficulty", file.difficulty, DIFFICULTY, (8, 28));
                CaptchaProvider::ProofOfWork { difficulty }
            }
            ProviderName::Hcaptcha => self.service(&HCAPTCHA, &file, read_secret),
            ProviderName::Recaptcha => self.service(&RECAPTCHA, &file, read_secret),
            ProviderName::Turnstile => self.service(&TURNSTILE, &file, read_secret),
            ProviderName::Custom => self.service(&CUSTOM, &file, read_secret),
        };
        let (hour, ms) = (Duration::from_secs(3600), Duration::from_millis(10));
        let mut proof_ttl =
            self.wrong.duration("captcha.proof_ttl", file.proof_ttl, hour, Duration::from_secs(10));
        if proof_ttl > LONGEST_PROOF {
            self.wrong.add("captcha.proof_ttl", "it must be at most 168h");
            proof_ttl = hour;
        }
        let keys = file.signing_keys.unwrap_or_default();
        for (index, key) in keys.iter().enumerate() {
            if key.reveal().len() < 32 {
                self.wrong.add(
                    format!("captcha.signing_keys[{index}]"),
                    "it must have at least 32 characters; make one with `openssl rand -hex 32`",
                );
            }
        }
        let bound = file.bound_prefix.unwrap_or_default();
        let bound_prefix = (
            self.wrong.number("captcha.bound_prefix.ipv4", bound.ipv4, 32, (8, 32)),
            self.wrong.number("captcha.bound_prefix.ipv6", bound.ipv6, 64, (16, 128)),
        );
        let status = match file.status {
            None => StatusCode::OK,
            Some(status) => self.status("captcha.status", status, StatusCode::OK),
        };
        let timeout = self.wrong.duration("captcha.timeout", file.timeout, Duration::from_secs(5), ms);
        Some(CaptchaConfig { provider, proof_ttl, signing_keys: keys, timeout, bound_prefix, status })
    }

    fn service(
        &mut self,
        known: &Known,
        file: &CaptchaFile,
        read_secret: SecretReader<'_>,
    ) -> CaptchaProvider {
        let mut text = |key: &str, given: &Option<String>, default: &str| {
            let text = given.clone().unwrap_or_else(|| default.to_owned());
            if text.is_empty() {
                self.wrong.add(format!("captcha.{key}"), format!("the provider {} needs it", known.name));
            }
            text
        };
        let script_url = text("script_url", &file.script_url, known.script_url);
        let widget_class = text("widget_class", &file.widget_class, known.widget_class);
        let response_field = text("response_field", &file.response_field, known.response_field);
        let verify_url = text("verify_url", &file.verify_url, known.verify_url);
        let site_key = text("site_key", &file.site_key, "");
        for (key, url) in [("captcha.script_url", &script_url), ("captcha.verify_url", &verify_url)] {
            let is_url = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
            if !url.is_empty() && !is_url {
                self.wrong.add(key, "it must be a URL that begins with https://");
            }
        }
        CaptchaProvider::Service {
            name: known.name.to_owned(),
            script_url,
            widget_class,
            response_field,
            verify_url,
            site_key,
            secret_key: self.secret(file.secret_key.as_ref(), file.secret_key_file.as_deref(), read_secret),
            ca: file.ca.clone(),
            send_address: file.send_address.unwrap_or(false),
        }
    }

    fn secret(&mut self, given: Option<&Secret>, file: Option<&Path>, read: SecretReader<'_>) -> Secret {
        let result = match (given, file) {
            (Some(_), Some(_)) => {
                Err(("captcha.secret_key_file", "there is a `secret_key` too; keep one".to_owned()))
            }
            (Some(secret), None) if !secret.is_empty() => Ok(secret.clone()),
            (None, Some(file)) => read(file).map_err(|what| ("captcha.secret_key_file", what)),
            _ => Err(("captcha.secret_key", "the provider needs it; it is beside the site key".to_owned())),
        };
        result.unwrap_or_else(|(key, what)| {
            self.wrong.add(key, what);
            Secret::new("")
        })
    }
}
