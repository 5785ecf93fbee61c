//! The service that an endpoint's list is kept at.

use std::sync::Arc;

use super::aws_waf::AwsWaf;
use super::cloudflare::Cloudflare;
use super::exchange::Exchange;
use super::generic::{Generic, Render};
use super::list::{List, Shape};
use super::task::Replacer;
use crate::config::{HttpConfig, ReplaceService};
use crate::sink::Failure;

/// One of the services.
pub enum Service<E> {
    /// Any HTTP endpoint.
    Http(Generic<E>),
    /// A Cloudflare list.
    Cloudflare(Cloudflare<E>),
    /// AWS WAF IP sets.
    AwsWaf(AwsWaf<E>),
}

impl<E: Exchange> Service<E> {
    /// The service that is configured. `exchange` makes the sender of its requests, `render` the template of an HTTP
    /// endpoint.
    ///
    /// # Errors
    /// Those of `exchange` and `render`.
    pub fn new<F>(
        config: &ReplaceService,
        exchange: impl FnOnce(Arc<HttpConfig>) -> Result<E, F>,
        render: impl FnOnce(&HttpConfig) -> Result<Render, F>,
    ) -> Result<Self, F> {
        Ok(match config {
            ReplaceService::Http(http) => Self::Http(Generic {
                method: http.method.clone(),
                url: http.url.clone(),
                template: format!("{:?}", http.body),
                render: render(http)?,
                exchange: exchange(Arc::clone(http))?,
            }),
            ReplaceService::Cloudflare { account, list, long_ipv6, http } => Self::Cloudflare(Cloudflare {
                base: http.url.clone(),
                account: account.clone(),
                list: list.clone(),
                long_ipv6: *long_ipv6,
                exchange: exchange(Arc::clone(http))?,
            }),
            ReplaceService::AwsWaf(config) => {
                let exchange = exchange(Arc::clone(&config.http))?;
                Self::AwsWaf(AwsWaf { config: Arc::clone(config), exchange })
            }
        })
    }
}

impl<E: Exchange> Replacer for Service<E> {
    fn shape(&self, max_entries: usize, aggregate: bool) -> Shape {
        match self {
            Self::Http(service) => service.shape(max_entries, aggregate),
            Self::Cloudflare(service) => service.shape(max_entries, aggregate),
            Self::AwsWaf(service) => service.shape(max_entries, aggregate),
        }
    }

    fn digest(&self, list: &List) -> [u8; 32] {
        match self {
            Self::Http(service) => service.digest(list),
            Self::Cloudflare(service) => service.digest(list),
            Self::AwsWaf(service) => service.digest(list),
        }
    }

    async fn replace(&mut self, list: &List) -> Result<(), Failure> {
        match self {
            Self::Http(service) => service.replace(list).await,
            Self::Cloudflare(service) => service.replace(list).await,
            Self::AwsWaf(service) => service.replace(list).await,
        }
    }
}
