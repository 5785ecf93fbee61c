//! Replaces the addresses of AWS WAF (v2) IP sets, one for each family.
//!
//! ```text
//!   GetIPSet ──► addresses, LockToken ──► equal: done
//!      ▲                            └───► UpdateIPSet with that token
//!      └────── WAFOptimisticLockException ───┘
//! ```
//!
//! A set takes all prefix lengths but /0, which is sent as two ranges of /1, and at most 10,000 entries.

mod errors;
mod signing;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::exchange::{Answer, Call, Exchange, failed};
use super::list::{List, Shape};
use crate::config::AwsWafConfig;
use crate::event::Value;
use crate::sink::{Failure, FailureKind};
use errors::{is_lock_conflict, refused};
pub use signing::{SigningError, sign};

/// Most entries of a set.
pub const MAX_SET_ENTRIES: usize = 10_000;
/// How often a set is read again because another client has changed it meanwhile.
const MAX_LOCK_CONFLICTS: u32 = 5;

/// The IP sets of one endpoint.
#[derive(Debug)]
pub struct AwsWaf<E> {
    /// Region, sets and credentials.
    pub config: Arc<AwsWafConfig>,
    /// Sends the requests.
    pub exchange: E,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetIpSet<'a> {
    name: &'a str,
    scope: &'a str,
    id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateIpSet<'a> {
    name: &'a str,
    scope: &'a str,
    id: &'a str,
    /// Sent back as it was: the service replaces it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    addresses: Vec<String>,
    lock_token: &'a str,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "IPSet")]
    set: IpSet,
    #[serde(rename = "LockToken")]
    lock_token: String,
}

#[derive(Deserialize)]
struct IpSet {
    #[serde(rename = "IPAddressVersion")]
    version: String,
    #[serde(rename = "Description", default)]
    description: Option<String>,
    #[serde(rename = "Addresses", default)]
    addresses: Vec<String>,
}

/// What the sets of an endpoint can represent.
pub(super) fn shape(config: &AwsWafConfig, max_entries: usize, aggregate: bool) -> Shape {
    Shape {
        names: false,
        v4: config.ipv4.is_some().then_some(1..=32),
        v6: config.ipv6.is_some().then_some(1..=128),
        widen: false,
        aggregate,
        max_entries,
        max_of_family: max_entries.min(MAX_SET_ENTRIES),
    }
}

impl<E: Exchange> AwsWaf<E> {
    /// What the sets can represent.
    pub fn shape(&self, max_entries: usize, aggregate: bool) -> Shape {
        shape(&self.config, max_entries, aggregate)
    }

    /// A digest of the addresses.
    pub fn digest(&self, list: &List) -> [u8; 32] {
        let AwsWafConfig { region, cloudfront, ipv4, ipv6, http, .. } = &*self.config;
        let identity = format!("aws-waf {region} {cloudfront} {ipv4:?} {ipv6:?} {}", http.url);
        list.digest(&identity, |_, _| {})
    }

    /// Replaces the addresses of both sets.
    ///
    /// # Errors
    /// When that was not done, or is not known.
    pub async fn replace(&mut self, list: &List) -> Result<(), Failure> {
        let config = Arc::clone(&self.config);
        for (set, is_v4) in [(&config.ipv4, true), (&config.ipv6, false)] {
            let Some((name, id)) = set else { continue };
            let nets = list.items.iter().filter_map(|item| match &item.value {
                Value::Net(net) if net.addr().is_ipv4() == is_v4 => Some(*net),
                _ => None,
            });
            self.replace_set(name, id, is_v4, nets.collect()).await?;
        }
        Ok(())
    }

    async fn replace_set(
        &mut self,
        name: &str,
        id: &str,
        is_v4: bool,
        wanted: Vec<IpNet>,
    ) -> Result<(), Failure> {
        let scope = if self.config.cloudfront { "CLOUDFRONT" } else { "REGIONAL" };
        for _ in 0..=MAX_LOCK_CONFLICTS {
            let answer = self.call("GetIPSet", &GetIpSet { name, scope, id }).await?;
            let found: Found = succeeded(&answer)?;
            let version = if is_v4 { "IPV4" } else { "IPV6" };
            if found.set.version != version {
                let reason = format!("the IP set {name} is not one of {version}: name a set of that version");
                return Err(failed(FailureKind::Refusing, reason, None));
            }
            if holds_exactly(&found.set.addresses, &wanted) {
                return Ok(());
            }
            let update = UpdateIpSet {
                name,
                scope,
                id,
                description: found.set.description.as_deref().filter(|text| !text.is_empty()),
                addresses: wanted.iter().map(ToString::to_string).collect(),
                lock_token: &found.lock_token,
            };
            let answer = self.call("UpdateIPSet", &update).await?;
            if is_lock_conflict(&answer) {
                continue;
            }
            // Its content is the next lock token, which is read anew each time; half a response is repeated.
            return succeeded::<serde_json::Value>(&answer).map(drop);
        }
        let reason = format!("another client keeps changing the IP set {name}: let one program manage it");
        Err(failed(FailureKind::Retry, reason, None))
    }

    async fn call(&mut self, action: &str, body: &impl Serialize) -> Result<Answer, Failure> {
        let unsendable = |what: String| failed(FailureKind::Refusing, what, None);
        let body = serde_json::to_vec(body)
            .map_err(|error| unsendable(format!("cannot write a request: {error}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
        let target = HeaderValue::try_from(format!("AWSWAF_20190729.{action}"));
        headers.insert("x-amz-target", target.map_err(|error| unsendable(error.to_string()))?);
        let mut call = Call {
            method: Method::POST,
            url: self.config.http.url.clone(),
            headers,
            body: Bytes::from(body),
        };
        sign(&mut call, &self.config, std::time::SystemTime::now())
            .map_err(|error| unsendable(error.to_string()))?;
        self.exchange.call(call).await
    }
}

fn succeeded<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    if answer.status.is_success() { answer.json() } else { Err(refused(answer)) }
}

/// Whether a set has these addresses, which it writes in its own way, in any order.
fn holds_exactly(addresses: &[String], wanted: &[IpNet]) -> bool {
    let held: Option<Vec<IpNet>> = addresses.iter().map(|text| text.parse().ok()).collect();
    let Some(mut held) = held else { return false };
    let mut wanted = wanted.to_vec();
    held.sort_unstable();
    wanted.sort_unstable();
    held == wanted
}

#[cfg(test)]
mod tests;
