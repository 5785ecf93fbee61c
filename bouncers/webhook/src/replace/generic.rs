//! Sends a whole list to any HTTP endpoint as one body made from a template.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use palisade_cache::Timestamp;
use tokio::task::spawn_blocking;
use url::Url;

use super::exchange::{Call, Exchange, failed};
use super::list::{List, Shape};
use crate::event::{Entry, Value};
use crate::sink::{Failure, FailureKind};

/// Makes a body and its content type from a list at a given time, or says why it cannot.
pub type Render =
    Arc<dyn Fn(&[(Value, Entry)], Timestamp) -> Result<(Bytes, HeaderValue), String> + Send + Sync>;

/// Any HTTP endpoint.
pub struct Generic<E> {
    /// The method.
    pub method: Method,
    /// The endpoint.
    pub url: Url,
    /// What makes the template another one: its text and options.
    pub template: String,
    /// The template.
    pub render: Render,
    /// Sends the requests, with the endpoint's credentials.
    pub exchange: E,
}

impl<E: Exchange> Generic<E> {
    /// What a template can represent.
    pub fn shape(&self, max_entries: usize, aggregate: bool) -> Shape {
        Shape::any(max_entries, aggregate)
    }

    /// A digest of everything that a template can show of a decision.
    pub fn digest(&self, list: &List) -> [u8; 32] {
        let identity = format!("http {} {} {}", self.method, self.url, self.template);
        list.digest(&identity, |item, feed| {
            let entry = &item.entry;
            for text in [&entry.remediation, &entry.origin, &entry.scenario] {
                feed(text.as_bytes());
            }
            feed(&entry.until.as_millis().to_be_bytes());
        })
    }

    /// Sends the list.
    ///
    /// # Errors
    /// When it was not accepted, or that is not known.
    pub async fn replace(&mut self, list: &List) -> Result<(), Failure> {
        let entries: Vec<_> =
            list.items.iter().map(|item| (item.value.clone(), item.entry.clone())).collect();
        let rejected = |reason| failed(FailureKind::Rejected, reason, None);
        let render = Arc::clone(&self.render);
        // A list may have a million entries, and the runtime has one thread.
        let rendered = spawn_blocking(move || render(&entries, palisade_stream::now())).await;
        let (body, content_type) = rendered
            .unwrap_or_else(|_| Err("the template failed unexpectedly".to_owned()))
            .map_err(rejected)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type);
        let call = Call { method: self.method.clone(), url: self.url.clone(), headers, body };
        let answer = self.exchange.call(call).await?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(answer.failure(&String::from_utf8_lossy(&answer.body)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replace::testing::{Act, PlainExchange, Seen, StandIn, all, snapshot};

    fn service(stand_in: &StandIn) -> Generic<PlainExchange> {
        let render: Render = Arc::new(|entries, _| {
            let lines: Vec<_> = entries.iter().map(|(value, _)| value.to_string()).collect();
            if lines.len() > 5 {
                return Err("template: too much".to_owned());
            }
            Ok((lines.join("\n").into(), HeaderValue::from_static("text/plain")))
        });
        let (url, template) = (stand_in.url.join("list").unwrap(), "x".to_owned());
        Generic { method: Method::PUT, url, template, render, exchange: PlainExchange::default() }
    }

    #[tokio::test]
    async fn the_rendered_list_is_sent_with_the_configured_method() {
        let stand_in = StandIn::start(|request: &Seen| {
            let status = if request.body.is_empty() { 503 } else { 204 };
            Act::Answer(status, Vec::new(), String::new())
        })
        .await;
        let mut service = service(&stand_in);
        let held = snapshot(&[("192.0.2.1/32", 60), ("Country:FR", 60)]);
        let list = List::build(&held, &all(), &service.shape(10, false));
        service.replace(&list).await.unwrap();
        let seen = stand_in.seen();
        assert_eq!(
            (&*seen[0].method, &*seen[0].path, &*seen[0].body),
            ("PUT", "/list", &b"192.0.2.1\nFR"[..])
        );
        assert_eq!(seen[0].header("content-type"), Some("text/plain"));
        assert_eq!(service.replace(&List::default()).await.unwrap_err().kind, FailureKind::Retry);
    }

    #[tokio::test]
    async fn a_template_that_fails_sends_nothing() {
        let stand_in = StandIn::start(|_: &Seen| Act::Close).await;
        let mut service = service(&stand_in);
        let decisions: Vec<(String, i64)> = (0..6).map(|n| (format!("192.0.2.{n}/32"), 60)).collect();
        let decisions: Vec<(&str, i64)> =
            decisions.iter().map(|(value, end)| (value.as_str(), *end)).collect();
        let list = List::build(&snapshot(&decisions), &all(), &service.shape(10, false));
        let failure = service.replace(&list).await.unwrap_err();
        assert_eq!((failure.kind, &*failure.reason), (FailureKind::Rejected, "template: too much"));
        assert!(stand_in.seen().is_empty());
    }
}
