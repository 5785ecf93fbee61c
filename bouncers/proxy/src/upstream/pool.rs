//! Forwards a request to one of the upstreams of a pool, and to others when that fails.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::EXPECT;
use http_body::Body;
use smallvec::SmallVec;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::attempt::{Answered, Attempt, Request};
use super::balance::{Balancer, Candidates};
use super::connect::TlsMaterial;
use super::error::{BoxError, ErrorKind, ForwardError};
use super::message::{Forwarded, Outgoing};
use super::retry::{self, RequestBody};
use super::server::{self, InFlight, Server};
use crate::config::PoolConfig;

/// A pool of upstreams.
#[derive(Debug)]
pub struct Pool {
    pub(crate) config: Arc<PoolConfig>,
    pub(crate) material: TlsMaterial,
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) balancer: Balancer,
    /// Stops the pool's tasks.
    pub(crate) _stop: DropGuard,
}

impl Pool {
    /// The configuration.
    pub fn config(&self) -> &Arc<PoolConfig> {
        &self.config
    }

    /// The upstreams, in the order of the configuration.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// Whether any upstream is up.
    pub fn is_up(&self) -> bool {
        self.servers.iter().any(|server| server.is_up())
    }

    pub(crate) fn has_other_up(&self, server: &Arc<Server>) -> bool {
        self.servers.iter().any(|other| !Arc::ptr_eq(other, server) && other.is_up())
    }

    /// Sends a request and returns the response as soon as its head is there.
    pub async fn forward<B>(&self, outgoing: Outgoing<B>) -> Result<Forwarded<B>, ForwardError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let (mut request, client, mut body) = self.prepare(outgoing);
        let mut now = Instant::now();
        let give_up = now + self.config.timeouts.connect + self.config.timeouts.head;
        let mut tried = SmallVec::<[usize; 8]>::new();
        let mut fresh = false;
        let mut last_error = None;
        loop {
            let Some((index, in_flight)) = self.choose(client, &tried, now) else {
                return Err(last_error.unwrap_or_else(|| ForwardError::new(ErrorKind::NoneUp, None)));
            };
            let server = Arc::clone(in_flight.server());
            if !tried.is_empty() {
                server.metrics().retries.inc();
            }
            tried.push(index);
            let attempts = u8::try_from(tried.len()).unwrap_or(u8::MAX);
            let is_last = attempts > self.config.retries;
            let attempt =
                Attempt { pool: self, request: &mut request, in_flight, start: now, fresh, is_last };
            let failure = match attempt.run(body).await {
                Ok(Answered { response, tunnel, connect, head }) => {
                    let server = Arc::clone(server.name());
                    return Ok(Forwarded { response, tunnel, server, attempts, connect, head });
                }
                Err(failure) => failure,
            };
            now = Instant::now();
            let may_repeat = !is_last
                && now < give_up
                && !failure.kind.is_client()
                && retry::may_repeat(&request.method, failure.progress);
            let (kind, source) = (failure.kind, failure.source);
            let error = ForwardError { kind, source, server: Some(Arc::clone(server.name())), attempts };
            match failure.body {
                Some(unused) if may_repeat => {
                    body = unused;
                    // Where one idle connection was closed, the others may be too.
                    fresh |= failure.stale;
                    last_error = Some(error);
                }
                _ => return Err(error),
            }
        }
    }

    fn prepare<B: Body<Data = Bytes>>(
        &self,
        outgoing: Outgoing<B>,
    ) -> (Request, Option<IpAddr>, RequestBody<B>) {
        let Outgoing { method, target, headers, body, body_is_empty, client, peer, local, upgrade } =
            outgoing;
        let without_body = body_is_empty || upgrade.is_some();
        let length = if without_body { Some(0) } else { body.size_hint().exact() };
        let announced = self.config.send_proxy_protocol.and_then(|_| server::announced(client, peer, local));
        let expects_continue = !without_body
            && headers
                .get(EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let body = if without_body { RequestBody::Empty } else { RequestBody::Stream(Box::new(body)) };
        (Request { method, target, headers, length, announced, expects_continue, upgrade }, client, body)
    }

    /// An upstream that was not tried yet, or else any that is up.
    fn choose(&self, client: Option<IpAddr>, tried: &[usize], now: Instant) -> Option<(usize, InFlight)> {
        let mut refused = SmallVec::<[usize; 8]>::new();
        for excluded in [tried, &[]] {
            loop {
                let view = View { servers: &self.servers, excluded, refused: &refused, now };
                let Some(index) = self.balancer.choose(client, &view) else { break };
                match self.servers[index].admit(now) {
                    Some(in_flight) => return Some((index, in_flight)),
                    // Another request took the trial meanwhile.
                    None => refused.push(index),
                }
            }
            if tried.is_empty() {
                break;
            }
        }
        None
    }
}

/// The upstreams of a pool, as the balancer sees them for one request.
struct View<'a> {
    servers: &'a [Arc<Server>],
    excluded: &'a [usize],
    refused: &'a [usize],
    now: Instant,
}

impl Candidates for View<'_> {
    fn is_eligible(&self, index: usize) -> bool {
        !self.excluded.contains(&index)
            && !self.refused.contains(&index)
            && self.servers[index].is_eligible(self.now)
    }

    fn in_flight(&self, index: usize) -> usize {
        self.servers[index].in_flight()
    }
}
