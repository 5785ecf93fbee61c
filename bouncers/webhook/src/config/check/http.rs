//! Checks the keys of HTTP endpoints: where messages go, what they are made from, and how they are signed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use palisade_client::Secret;
use url::Url;

use super::super::file::{BasicFile, EndpointFile, HmacFile, TlsFile};
use super::super::{
    AuthConfig, BodyConfig, ClientTlsConfig, HmacAlgorithm, HmacConfig, HmacEncoding, HttpConfig,
    TemplateSource,
};
use super::endpoint::ReceiverDefaults;
use super::{Check, MAX_ENTRIES, SHORTEST};
use crate::event::Grouping;
use crate::templates::{READY, Template};

/// Headers that the program sets itself.
const RESERVED_HEADERS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

impl Check<'_> {
    pub(super) fn http(
        &mut self,
        key: &str,
        file: &mut EndpointFile,
    ) -> Option<(HttpConfig, ReceiverDefaults)> {
        let url = match (file.url.take(), file.url_file.take()) {
            (None, None) => self.url(key, None),
            // As a secret: a file of its own is for URLs that are one.
            (given, file) => self
                .secret(&format!("{key}.url"), given.map(Secret::new), file)
                .and_then(|url| self.url(key, Some(url.reveal()))),
        };
        let mut defaults = ReceiverDefaults::http();
        let mut headers = Vec::new();
        let mut method = Method::POST;
        let grouping = file.events.unwrap_or(Grouping::Value);
        let (body, max_events) = self.body(key, file, grouping);
        if let TemplateSource::Ready(name) = &body.template
            && let Some(ready) = READY.iter().find(|ready| ready.name == name)
        {
            defaults.initial = ready.initial;
            defaults.events = ready.events;
            defaults.wait = ready.wait;
            method = ready.method();
        }
        if let Some(most) = max_events {
            defaults.max_events = most;
            defaults.events = defaults.events.min(most);
        }
        self.headers(key, file, &mut headers);
        if let Some(given) = file.method.take() {
            match Method::from_bytes(given.as_bytes()) {
                Ok(given) if ![Method::CONNECT, Method::TRACE, Method::HEAD].contains(&given) => {
                    method = given
                }
                _ => self
                    .wrong
                    .add(format!("{key}.method"), "it must be a method with a body, such as POST or PUT"),
            }
        }
        let auth = self.auth(key, file);
        let config = HttpConfig {
            url: url?,
            method,
            headers,
            body,
            auth,
            tls: self.client_tls(&format!("{key}.tls"), file.tls.take().unwrap_or_default()),
            allowed_addresses: self.wrong.prefixes(
                &format!("{key}.allow_addresses"),
                &file.allow_addresses.take().unwrap_or_default(),
            ),
            connect_timeout: self.wrong.duration(
                format!("{key}.connect_timeout"),
                file.connect_timeout.take(),
                Duration::from_secs(5),
                SHORTEST,
            ),
            timeout: self.wrong.duration(
                format!("{key}.timeout"),
                file.timeout.take(),
                Duration::from_secs(15),
                SHORTEST,
            ),
        };
        Some((config, defaults))
    }

    fn url(&mut self, key: &str, given: Option<&str>) -> Option<Url> {
        let Some(given) = given else {
            self.wrong.add(
                format!("{key}.url"),
                "name the receiver: `url` for HTTP, `program` for a program, or `replace` for a service that takes \
                 whole lists",
            );
            return None;
        };
        let mut wrong = |text: &str| self.wrong.add(format!("{key}.url"), text);
        match Url::parse(given) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host().is_none() => {
                wrong("it must begin with http:// or https:// and name a host");
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                wrong("it must not hold a name or password; use `basic`");
            }
            Ok(url) if url.fragment().is_some() => wrong("a part after # is never sent; remove it"),
            Ok(url) => return Some(url),
            Err(error) => wrong(&format!("it is not a URL: {error}")),
        }
        None
    }

    /// Reports keys of HTTP endpoints in one that is something else.
    pub(super) fn refuse_http_keys(&mut self, key: &str, file: &EndpointFile, why: &str) {
        let keys = [
            ("url", file.url.is_some()),
            ("url_file", file.url_file.is_some()),
            ("method", file.method.is_some()),
            ("headers", file.headers.is_some()),
            ("header_files", file.header_files.is_some()),
            ("template", file.template.is_some()),
            ("template_file", file.template_file.is_some()),
            ("body", file.body.is_some()),
            ("content_type", file.content_type.is_some()),
            ("options", file.options.is_some()),
            ("signing_secrets", file.signing_secrets.is_some()),
            ("signing_secret_files", file.signing_secret_files.is_some()),
            ("hmac", file.hmac.is_some()),
            ("bearer", file.bearer.is_some()),
            ("bearer_file", file.bearer_file.is_some()),
            ("basic", file.basic.is_some()),
            ("tls", file.tls.is_some()),
            ("allow_addresses", file.allow_addresses.is_some()),
            ("connect_timeout", file.connect_timeout.is_some()),
            ("timeout", file.timeout.is_some()),
        ];
        self.refuse(key, &keys, why);
    }

    /// With the most events that the template takes.
    fn body(
        &mut self,
        key: &str,
        file: &mut EndpointFile,
        grouping: Grouping,
    ) -> (BodyConfig, Option<usize>) {
        let template = self.template(key, file);
        let options: BTreeMap<_, _> = file.options.take().unwrap_or_default();
        let body = BodyConfig { template, content_type: file.content_type.take(), options };
        let loaded = Template::load(&body, grouping);
        if let Err(error) = &loaded {
            let name = match (&body.template, &file.template_file) {
                (TemplateSource::Ready(_), _) => "template",
                (_, Some(_)) => "template_file",
                _ => "body",
            };
            self.wrong.add(format!("{key}.{name}"), error.to_string());
        }
        (body, loaded.ok().and_then(|template| template.max_events()))
    }

    fn template(&mut self, key: &str, file: &mut EndpointFile) -> TemplateSource {
        let given = [file.template.is_some(), file.template_file.is_some(), file.body.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            self.wrong.add(format!("{key}.template"), "give one of `template`, `template_file` and `body`");
        }
        if let Some(path) = &file.template_file {
            let text = (self.files.text)(path).unwrap_or_else(|text| {
                self.wrong.add(format!("{key}.template_file"), text);
                String::new()
            });
            return TemplateSource::Custom { origin: path.display().to_string(), text };
        }
        if let Some(text) = file.body.take() {
            return TemplateSource::Custom { origin: format!("{key}.body"), text };
        }
        TemplateSource::Ready(file.template.take().unwrap_or_else(|| "json".to_owned()))
    }

    fn headers(&mut self, key: &str, file: &mut EndpointFile, headers: &mut Vec<(HeaderName, HeaderValue)>) {
        let written = file.headers.take().unwrap_or_default();
        let mut all: Vec<(String, String, Secret)> = Vec::new();
        for (name, value) in written {
            all.push((format!("{key}.headers.{name}"), name, value));
        }
        for (name, path) in file.header_files.take().unwrap_or_default() {
            let key = format!("{key}.header_files.{name}");
            match (self.files.secret)(&path) {
                Ok(value) => all.push((key, name, value)),
                Err(text) => self.wrong.add(key, text),
            }
        }
        if all.len() > MAX_ENTRIES {
            self.wrong.add(format!("{key}.headers"), format!("there may be at most {MAX_ENTRIES}"));
        }
        for (key, name, value) in all.into_iter().take(MAX_ENTRIES) {
            let (Ok(name), Ok(mut value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value.reveal()))
            else {
                self.wrong.add(key, "it is not a header with a value of visible characters");
                continue;
            };
            if RESERVED_HEADERS.contains(&name.as_str()) {
                self.wrong.add(key, "the program sets this header itself; remove the key");
            }
            value.set_sensitive(true);
            headers.push((name, value));
        }
    }

    pub(super) fn auth(&mut self, key: &str, file: &mut EndpointFile) -> AuthConfig {
        let mut signing_secrets = file.signing_secrets.take().unwrap_or_default();
        for (index, path) in file.signing_secret_files.take().unwrap_or_default().into_iter().enumerate() {
            match (self.files.secret)(&path) {
                Ok(secret) => signing_secrets.push(secret),
                Err(text) => self.wrong.add(format!("{key}.signing_secret_files[{index}]"), text),
            }
        }
        if let Err(error) = crate::http::Signer::new(&signing_secrets) {
            self.wrong.add(format!("{key}.signing_secrets"), error.to_string());
        }
        let bearer = self.secret(&format!("{key}.bearer"), file.bearer.take(), file.bearer_file.take());
        let basic = file.basic.take().and_then(|basic| self.basic(&format!("{key}.basic"), basic));
        if bearer.is_some() && basic.is_some() {
            self.wrong.add(format!("{key}.basic"), "there is `bearer` too; both need the same header");
        }
        let hmac = file.hmac.take().and_then(|hmac| self.hmac(&format!("{key}.hmac"), hmac));
        AuthConfig { signing_secrets, hmac, bearer, basic }
    }

    fn basic(&mut self, key: &str, file: BasicFile) -> Option<(String, Secret)> {
        let user = file.user.unwrap_or_default();
        if user.contains(':') || user.is_empty() {
            self.wrong.add(format!("{key}.user"), "give a name without a colon");
        }
        let password = self.secret(&format!("{key}.password"), file.password, file.password_file);
        if password.is_none() {
            self.wrong.add(format!("{key}.password"), "give a password, or `password_file`");
        }
        Some((user, password?))
    }

    fn hmac(&mut self, key: &str, file: HmacFile) -> Option<HmacConfig> {
        let algorithm = file.algorithm.unwrap_or(HmacAlgorithm::Sha256);
        let prefix = file.prefix.unwrap_or_else(|| {
            let name = match algorithm {
                HmacAlgorithm::Sha256 => "sha256=",
                HmacAlgorithm::Sha384 => "sha384=",
                HmacAlgorithm::Sha512 => "sha512=",
            };
            name.to_owned()
        });
        if HeaderValue::from_str(&prefix).is_err() {
            self.wrong.add(format!("{key}.prefix"), "it must consist of visible characters");
        }
        let header = file.header.unwrap_or_else(|| "X-Hub-Signature-256".to_owned());
        let header = HeaderName::from_bytes(header.as_bytes());
        if header.is_err() {
            self.wrong.add(format!("{key}.header"), "it is not a header name");
        }
        let secret = self.secret(&format!("{key}.secret"), file.secret, file.secret_file);
        if secret.is_none() {
            self.wrong.add(format!("{key}.secret"), "give the key of the HMAC, or `secret_file`");
        }
        let encoding = file.encoding.unwrap_or(HmacEncoding::Hex);
        Some(HmacConfig { header: header.ok()?, algorithm, prefix, encoding, secret: secret? })
    }

    pub(super) fn client_tls(&mut self, key: &str, file: TlsFile) -> ClientTlsConfig {
        let certificate = self.certificate(key, file.certificate, file.key);
        ClientTlsConfig {
            ca: file.ca,
            certificate,
            insecure_skip_verify: file.insecure_skip_verify.unwrap_or(false),
        }
    }

    /// A certificate with its key; a problem when one of them is missing.
    pub(super) fn certificate(
        &mut self,
        key: &str,
        certificate: Option<PathBuf>,
        private: Option<PathBuf>,
    ) -> Option<(PathBuf, PathBuf)> {
        match (certificate, private) {
            (Some(certificate), Some(private)) => Some((certificate, private)),
            (None, None) => None,
            (Some(_), None) => {
                self.wrong.add(format!("{key}.key"), "the certificate's key is missing");
                None
            }
            (None, Some(_)) => {
                self.wrong.add(format!("{key}.certificate"), "the key's certificate is missing");
                None
            }
        }
    }
}
