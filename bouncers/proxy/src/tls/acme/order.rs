//! One order: from its request to the certificate.
//!
//! The order's URL and the key of its certificate are written before the certificate is requested, and the order is
//! continued after a restart: otherwise a certificate that was issued could be lost with its key, and public directories
//! issue only a few for one name and week.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Identifier,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::challenges::{Challenges, Published};
use super::failure::OrderError;
use super::placeholder;
use super::storage::{Kind, Storage};
use crate::config::AcmeChallenge;
use crate::tls::certificate::{Certificate, unix_now};

/// How the state of an order is polled; directories slow it down by `Retry-After`.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(180));
/// For an order in all; above the sum of what its parts may take.
pub(super) const ORDER_TIMEOUT: Duration = Duration::from_secs(600);

/// An order under way, as kept in a file.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    url: String,
    /// PKCS #8, PEM.
    key: String,
}

/// What an order is made with.
#[derive(Clone, Copy)]
pub(super) struct OrderContext<'a> {
    pub(super) account: &'a Account,
    pub(super) storage: &'a Storage,
    pub(super) challenges: &'a Challenges,
    pub(super) challenge: AcmeChallenge,
    pub(super) name: &'a str,
}

impl OrderContext<'_> {
    /// Obtains a certificate and keeps it. `replaced` is the one it follows, if the directory wants to know it.
    pub(super) async fn obtain(
        self,
        replaced: Option<CertificateIdentifier<'static>>,
    ) -> Result<Certificate, OrderError> {
        let (mut order, key) = match self.resume().await? {
            Some(resumed) => resumed,
            None => self.begin(replaced).await?,
        };
        if order.state().status == OrderStatus::Pending {
            self.prove(&mut order).await?;
        }
        let mut params = CertificateParams::new([self.name.to_owned()]).map_err(local)?;
        params.distinguished_name = DistinguishedName::new();
        if order.state().status == OrderStatus::Ready {
            let request = params.serialize_request(&key).map_err(local)?;
            order.finalize_csr(request.der()).await?;
        }
        let chain = match order.poll_certificate(&POLLING).await {
            Ok(chain) => chain,
            // Not to be continued: it would fail for ever.
            Err(instant_acme::Error::Api(problem)) => return self.give_up(OrderError::from(&problem)),
            Err(cause) => return Err(cause.into()),
        };
        self.keep(&chain, &key)
    }

    /// The order that was under way when the program ended, unless it failed since.
    async fn resume(self) -> Result<Option<(Order, KeyPair)>, OrderError> {
        let kept = self.storage.read(Kind::Order(self.name)).map_err(|cause| OrderError::storage(&cause))?;
        let Some(pending) = kept.and_then(|text| serde_json::from_str::<Pending>(&text).ok()) else {
            return Ok(None);
        };
        let Ok(key) = KeyPair::from_pem(&pending.key) else { return Ok(None) };
        let problem = match self.account.order(pending.url).await {
            Ok(mut order) => {
                if order.state().status != OrderStatus::Invalid {
                    debug!(name = self.name, "continuing the order that was under way");
                    return Ok(Some((order, key)));
                }
                "it failed".to_owned()
            }
            // Expired, or of an account that is not the current one.
            Err(instant_acme::Error::Api(problem)) => problem.to_string(),
            Err(cause) => return Err(cause.into()),
        };
        debug!(name = self.name, problem, "the order that was under way is replaced by a new one");
        self.forget()?;
        Ok(None)
    }

    async fn begin(
        self,
        replaced: Option<CertificateIdentifier<'static>>,
    ) -> Result<(Order, KeyPair), OrderError> {
        let identifiers = [Identifier::Dns(self.name.to_owned())];
        let plain = NewOrder::new(&identifiers);
        let order = match replaced {
            Some(replaced) => {
                match self.account.new_order(&NewOrder::new(&identifiers).replaces(replaced)).await {
                    Ok(order) => order,
                    // It is only a hint for the directory, which refuses it for a certificate replaced before.
                    Err(_) => self.account.new_order(&plain).await?,
                }
            }
            None => self.account.new_order(&plain).await?,
        };
        let key = KeyPair::generate().map_err(local)?;
        let pending = Pending { url: order.url().to_owned(), key: key.serialize_pem() };
        let text = serde_json::to_string(&pending).map_err(|cause| OrderError::refused(cause.to_string()))?;
        self.storage.write(Kind::Order(self.name), &text).map_err(|cause| OrderError::storage(&cause))?;
        Ok((order, key))
    }

    /// Answers the challenges until the order is ready.
    async fn prove(self, order: &mut Order) -> Result<(), OrderError> {
        // Withdrawn when this function ends.
        let mut published = Vec::new();
        let wanted = match self.challenge {
            AcmeChallenge::Http01 => ChallengeType::Http01,
            AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let Some(mut challenge) = authorization.challenge(wanted.clone()) else {
                return self.give_up(OrderError::refused(
                    "the directory does not offer the configured challenge; set the other one as `challenge`",
                ));
            };
            published.push(self.publish(&challenge)?);
            // After a restart it may be under way already.
            if challenge.status == ChallengeStatus::Pending {
                challenge.set_ready().await?;
            }
        }
        match order.poll_ready(&POLLING).await {
            Ok(OrderStatus::Invalid) => {}
            Ok(_) => return Ok(()),
            Err(instant_acme::Error::Api(problem)) => {
                let problem = OrderError::from(&problem);
                let reason = failed_challenge(order).await.unwrap_or(problem);
                return self.give_up(reason);
            }
            Err(cause) => return Err(cause.into()),
        }
        let unknown = || OrderError::refused("the directory could not validate the name, and gave no reason");
        let reason = failed_challenge(order).await.unwrap_or_else(unknown);
        self.give_up(reason)
    }

    fn publish(self, challenge: &instant_acme::ChallengeHandle<'_>) -> Result<Published, OrderError> {
        let answer = challenge.key_authorization();
        Ok(match self.challenge {
            AcmeChallenge::Http01 => self.challenges.publish_response(&challenge.token, answer.as_str()),
            AcmeChallenge::TlsAlpn01 => {
                let digest = answer.digest();
                let digest =
                    digest.as_ref().try_into().map_err(|_| OrderError::refused("no SHA-256 digest"))?;
                let certificate = placeholder::challenge(self.name, digest)
                    .map_err(|cause| OrderError::refused(cause.to_string()))?;
                self.challenges.publish_certificate(self.name, certificate)
            }
        })
    }

    fn keep(self, chain: &str, key: &KeyPair) -> Result<Certificate, OrderError> {
        let text = key.serialize_pem() + chain;
        let certificate = match parse(&text) {
            Ok(certificate) => certificate,
            Err(reason) => return self.give_up(OrderError::refused(reason)),
        };
        if !certificate.names.covers(self.name) {
            return self.give_up(OrderError::refused("the certificate issued is for another name"));
        }
        self.storage
            .write(Kind::Certificate(self.name), &text)
            .map_err(|cause| OrderError::storage(&cause))?;
        // After the certificate: the order is not needed any more once that is on the disk.
        self.forget()?;
        if certificate.validity.until <= unix_now() {
            return Err(OrderError::refused("the certificate issued has expired already; check the clock"));
        }
        Ok(certificate)
    }

    /// The order failed for good, and is not to be continued.
    fn give_up<T>(self, reason: OrderError) -> Result<T, OrderError> {
        self.forget()?;
        Err(reason)
    }

    fn forget(self) -> Result<(), OrderError> {
        self.storage.remove(Kind::Order(self.name)).map_err(|cause| OrderError::storage(&cause))
    }
}

/// Why a challenge failed, which the state of the order may not say.
async fn failed_challenge(order: &mut Order) -> Option<OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await
            && let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref())
        {
            return Some(OrderError::from(problem));
        }
    }
    None
}

/// A key and its chain in one PEM text.
pub(super) fn parse(text: &str) -> Result<Certificate, String> {
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|cause| cause.to_string())?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.map_err(|cause| cause.to_string())?;
    Certificate::new(chain, key, &aws_lc_rs::default_provider()).map_err(|cause| cause.to_string())
}

fn local(cause: rcgen::Error) -> OrderError {
    OrderError::refused(cause.to_string())
}
