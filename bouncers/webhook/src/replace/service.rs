//! The service that an endpoint's list is kept at.

use std::sync::Arc;

use http::header::CONTENT_TYPE;

use super::aws_waf::{self, AwsWaf};
use super::cloudflare::{self, Cloudflare};
use super::exchange::Exchange;
use super::generic::{Generic, Render};
use super::list::{List, Shape};
use super::task::Replacer;
use crate::config::{HttpConfig, ReplaceConfig, ReplaceService};
use crate::event::Grouping;
use crate::http::{ClientExchange, ConnectError};
use crate::sink::Failure;
use crate::templates::{Template, TemplateError};

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

/// The service that is configured, with a client of its own. Reads certificates and compiles the template; opens no
/// connection.
///
/// # Errors
/// When the configuration cannot be used.
pub fn connect(config: &ReplaceService, user_agent: &str) -> Result<Service<ClientExchange>, ConnectError> {
    let is_api = !matches!(config, ReplaceService::Http(_));
    let exchange = |http| match is_api {
        true => Ok(ClientExchange::new(http, user_agent)?),
        false => Ok(ClientExchange::signing(http, user_agent)?),
    };
    Service::new(config, exchange, |http| Ok(renderer(http)?))
}

/// What the configured service can represent.
pub(crate) fn shape(config: &ReplaceConfig) -> Shape {
    let ReplaceConfig { max_entries, aggregate, .. } = *config;
    match &config.service {
        ReplaceService::Http(_) => Shape::any(max_entries, aggregate),
        ReplaceService::Cloudflare { long_ipv6, .. } => cloudflare::shape(*long_ipv6, max_entries, aggregate),
        ReplaceService::AwsWaf(config) => aws_waf::shape(config, max_entries, aggregate),
    }
}

/// What makes the body of a list with the endpoint's template.
///
/// # Errors
/// When the template cannot be used.
pub fn renderer(http: &HttpConfig) -> Result<Render, TemplateError> {
    // A list has one entry for each value.
    let template = Template::load(&http.body, Grouping::Value)?;
    let configured = http.headers.iter().find(|(name, _)| *name == CONTENT_TYPE);
    let configured = configured.map(|(_, value)| value.clone());
    Ok(Arc::new(move |entries, now| {
        let rendered = template.render_list(entries, now).map_err(|error| error.to_string())?;
        // A header of the configuration wins.
        Ok((rendered.body, configured.clone().unwrap_or(rendered.content_type)))
    }))
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
