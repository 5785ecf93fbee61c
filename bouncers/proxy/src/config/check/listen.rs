//! Checks listeners, their certificates, and how the client's address is found.

use std::collections::HashSet;

use http::HeaderName;
use palisade_bouncer::run::Note;

use super::super::file::{AcmeFile, AddressForm, CertificateFile, ListenFile, TlsFile};
use super::super::{
    AcmeChallenge, AcmeConfig, AddressSource, CertificateFiles, ClientAddressConfig, ListenAddress,
    ListenerConfig, TlsConfig,
};
use super::{Check, MAX_ENTRIES, storage, words};
use crate::client_address::MAX_HOPS;

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Headers that have one address by custom.
const SINGLE_HEADERS: [&str; 5] =
    ["cf-connecting-ip", "true-client-ip", "x-real-ip", "fly-client-ip", "x-client-ip"];

impl Check {
    pub(super) fn listeners(&mut self, files: Vec<ListenFile>) -> Vec<ListenerConfig> {
        if files.is_empty() {
            self.wrong.add(
                "listen",
                "config does not contain 'listen'; for example `listen: [{address: \":80\"}]`",
            );
        }
        let mut listeners: Vec<ListenerConfig> = Vec::new();
        for (index, file) in files.into_iter().enumerate().take(MAX_ENTRIES) {
            let key = format!("listen[{index}]");
            let Some(listener) = self.listener(&key, file) else { continue };
            if listeners.iter().any(|other| other.address == listener.address) {
                self.wrong
                    .add(format!("{key}.address"), "another entry of `listen` has this address; remove one");
            }
            listeners.push(listener);
        }
        listeners
    }

    fn listener(&mut self, key: &str, file: ListenFile) -> Option<ListenerConfig> {
        let address = file.address.as_deref().and_then(words::listen_address);
        if address.is_none() {
            self.wrong.add(
                format!("{key}.address"),
                "write it as HOST:PORT such as 0.0.0.0:443 or :80, as unix:/PATH, or as systemd:NAME",
            );
        }
        let tls = file.tls.map(|tls| self.tls(&format!("{key}.tls"), tls));
        let redirect_to_https = file.redirect_to_https.unwrap_or(false);
        if redirect_to_https && tls.is_some() {
            self.wrong.add(
                format!("{key}.redirect_to_https"),
                "this listener has TLS, so that redirects would never end; set it on the plain one",
            );
        }
        let proxy_protocol_from = self
            .wrong
            .prefixes(&format!("{key}.proxy_protocol_from"), &file.proxy_protocol_from.unwrap_or_default());
        let address = address?;
        if matches!(address, ListenAddress::Unix(_)) && tls.is_some() {
            self.wrong.add(format!("{key}.tls"), "a unix socket has no TLS; remove it");
        }
        Some(ListenerConfig {
            address,
            tls,
            http2: file.http2.unwrap_or(true),
            proxy_protocol_from,
            refuse_at_accept: file.refuse_at_accept.unwrap_or(false),
            redirect_to_https,
        })
    }

    fn tls(&mut self, key: &str, file: TlsFile) -> TlsConfig {
        let mut certificates = Vec::new();
        for (index, file) in file.certificates.unwrap_or_default().into_iter().enumerate() {
            match file {
                CertificateFile { certificate: Some(certificate), key, ocsp } => {
                    // One file often holds both.
                    let key = key.unwrap_or_else(|| certificate.clone());
                    certificates.push(CertificateFiles { certificate, key, ocsp });
                }
                CertificateFile { certificate: None, .. } => {
                    self.wrong.add(format!("{key}.certificates[{index}]"), "name the file in `certificate`");
                }
            }
        }
        let mut acme_names = Vec::new();
        for (index, name) in file.acme.unwrap_or_default().into_iter().enumerate() {
            match words::host_pattern(&name) {
                Some(name) if !name.starts_with(['*', '[']) => acme_names.push(name),
                _ => self.wrong.add(
                    format!("{key}.acme[{index}]"),
                    "it must be a host name; wildcards need a DNS challenge, which is not supported",
                ),
            }
        }
        if certificates.is_empty() && acme_names.is_empty() {
            self.wrong
                .add(key, "there is no certificate; name files in `certificates`, or host names in `acme`");
        }
        TlsConfig { certificates, acme_names, client_ca: file.client_ca, tls12: file.tls12.unwrap_or(true) }
    }

    pub(super) fn acme(
        &mut self,
        file: Option<AcmeFile>,
        listeners: &[ListenerConfig],
    ) -> Option<AcmeConfig> {
        let mut seen = HashSet::new();
        let names =
            listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(|tls| &tls.acme_names);
        let names: Vec<String> = names.filter(|name| seen.insert(name.as_str())).cloned().collect();
        if names.is_empty() {
            if file.is_some() {
                self.notes.push(Note::warn("acme has no effect: no listener has names under `tls.acme`"));
            }
            return None;
        }
        let file = file.unwrap_or_default();
        let challenge = file.challenge.unwrap_or(AcmeChallenge::Http01);
        let has_plain = listeners.iter().any(|listener| listener.tls.is_none());
        if challenge == AcmeChallenge::Http01 && !has_plain {
            self.wrong.add(
                "acme.challenge",
                "http-01 needs a listener without TLS, on port 80; add one, or set `challenge: tls-alpn-01`",
            );
        }
        let directory = file.directory.unwrap_or_else(|| LETS_ENCRYPT.to_owned());
        if !directory.starts_with("https://") {
            self.wrong.add("acme.directory", "it must be a URL that begins with https://");
        }
        let email = file.email.unwrap_or_default();
        Some(AcmeConfig { directory, email, storage: storage(file.storage), ca: file.ca, challenge, names })
    }

    pub(super) fn client_address(
        &mut self,
        trusted: Vec<String>,
        header: Option<String>,
        form: Option<AddressForm>,
        trusted_hops: Option<u8>,
    ) -> ClientAddressConfig {
        let trusted_proxies = self.wrong.prefixes("trusted_proxies", &trusted);
        let header = header.unwrap_or_else(|| "X-Forwarded-For".to_owned());
        let source = match HeaderName::from_bytes(header.as_bytes()) {
            Ok(name) if name == "forwarded" => AddressSource::Forwarded,
            Ok(name) => {
                let is_single = SINGLE_HEADERS.contains(&name.as_str());
                match form.unwrap_or(if is_single { AddressForm::Single } else { AddressForm::List }) {
                    AddressForm::Single => AddressSource::Single(name),
                    AddressForm::List => AddressSource::List(name),
                }
            }
            Err(_) => {
                self.wrong
                    .add("client_address_header", "this is not a header name; for example X-Forwarded-For");
                AddressSource::List(HeaderName::from_static("x-forwarded-for"))
            }
        };
        if trusted_hops.is_some_and(|hops| hops == 0 || usize::from(hops) > MAX_HOPS) {
            let text = format!(
                "it must be at least 1 and at most {MAX_HOPS}; remove it when there is no proxy in front"
            );
            self.wrong.add("trusted_hops", text);
        }
        if trusted_hops.is_some() && trusted_proxies.is_empty() {
            self.notes.push(Note::warn(
                "trusted_hops without trusted_proxies believes the header of every peer; make sure that only the proxy \
                 can connect",
            ));
        }
        if trusted_hops.is_some() && matches!(source, AddressSource::Single(_)) {
            self.wrong.add("trusted_hops", "a header with one address has no hops; remove the key");
        }
        ClientAddressConfig { trusted_proxies, source, trusted_hops }
    }
}
