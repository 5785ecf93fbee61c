//! Forwards a request to one of the upstreams of a pool, and to others when that fails.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{EXPECT, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;
use smallvec::SmallVec;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::balance::{Balancer, Candidates};
use super::body::UpstreamBody;
use super::connect::{ConnectError, TlsMaterial};
use super::error::{BoxError, ErrorKind, ForwardError};
use super::exchange::Failure;
use super::h1::{
    self, Announced, Answer, BodyFraming, Connection, Exchange, H1Body, RequestHead, RequestWriter,
};
use super::message::{Forwarded, Outgoing};
use super::metrics::OpenConnection;
use super::retry::{self, Progress, RequestBody};
use super::server::{self, InFlight, Server};
use super::tunnel::UpstreamTunnel;
use crate::config::{HostHeader, PoolConfig};

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

/// What all attempts of a request share.
struct Request {
    method: Method,
    target: PathAndQuery,
    headers: HeaderMap,
    length: Option<u64>,
    announced: Option<Announced>,
    expects_continue: bool,
    upgrade: Option<super::Upgrade>,
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
        loop {
            let Some((index, in_flight)) = self.choose(client, &tried, now) else {
                return Err(ForwardError::new(ErrorKind::NoneUp, None));
            };
            let server = Arc::clone(in_flight.server());
            if !tried.is_empty() {
                server.metrics().retries.inc();
            }
            tried.push(index);
            let attempts = u8::try_from(tried.len()).unwrap_or(u8::MAX);
            let failure = match self.attempt(in_flight, &mut request, body, now, fresh).await {
                Ok((response, tunnel, connect, head)) => {
                    return Ok(Forwarded {
                        response,
                        tunnel,
                        server: Arc::clone(server.name()),
                        attempts,
                        connect,
                        head,
                    });
                }
                Err(failure) => failure,
            };
            now = Instant::now();
            let may_repeat = attempts <= self.config.retries
                && now < give_up
                && failure.kind != ErrorKind::ClientBody
                && retry::may_repeat(&request.method, failure.progress);
            match failure.body {
                Some(unused) if may_repeat => {
                    body = unused;
                    // Where one idle connection was closed, the others may be too.
                    fresh |= failure.stale;
                }
                _ => {
                    let (kind, source) = (failure.kind, failure.source);
                    return Err(ForwardError {
                        kind,
                        source,
                        server: Some(Arc::clone(server.name())),
                        attempts,
                    });
                }
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
        let body = if without_body { RequestBody::Empty } else { RequestBody::Stream(body) };
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

    async fn attempt<B>(
        &self,
        mut in_flight: InFlight,
        request: &mut Request,
        body: RequestBody<B>,
        start: Instant,
        fresh: bool,
    ) -> Result<(Response<UpstreamBody<B>>, Option<UpstreamTunnel>, Duration, Duration), Failure<B>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let server = Arc::clone(in_flight.server());
        let idle = if fresh { None } else { server.take_idle(request.announced) };
        let (connection, connect) = match idle {
            Some(connection) => (connection, Duration::ZERO),
            None => match self.connect(&server, request.announced).await {
                Ok(connection) => (connection, start.elapsed()),
                Err(error) => return Err(connect_failure(&mut in_flight, error, body)),
            },
        };
        match self.exchange_h1(&server, connection, request, body).await {
            Ok(answer) => {
                let head = start.elapsed();
                in_flight.succeeded(answer.head.status);
                let (response, tunnel) = self.respond(answer, in_flight);
                Ok((response, tunnel, connect, head))
            }
            Err(failure) => {
                server.metrics().failures.inc();
                if failure.kind.is_failure_of_upstream() && !failure.stale {
                    in_flight.failed(failure.kind.as_str());
                }
                Err(failure)
            }
        }
    }

    async fn connect(
        &self,
        server: &Server,
        announced: Option<Announced>,
    ) -> Result<Box<Connection>, ConnectError> {
        let transport = server.target.connect(announced, self.config.timeouts.connect).await?;
        Ok(Box::new(Connection::new(transport, announced, OpenConnection::new(server.metrics()))))
    }

    async fn exchange_h1<B>(
        &self,
        server: &Server,
        mut connection: Box<Connection>,
        request: &mut Request,
        body: RequestBody<B>,
    ) -> Result<Answer<B>, Failure<B>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let length = match &body {
            RequestBody::Empty => Some(0),
            RequestBody::Stream(_) => request.length,
            RequestBody::Replay(bytes) => Some(bytes.len() as u64),
        };
        let framing = match &request.upgrade {
            Some(_) => BodyFraming::None,
            None => h1::framing_of(&request.method, length),
        };
        let host = match &self.config.host {
            HostHeader::Preserve => request.headers.get(HOST),
            HostHeader::Upstream => None,
            HostHeader::Fixed(host) => Some(host),
        };
        let upgrade = request.upgrade.as_ref().map(|upgrade| &upgrade.protocol);
        let head = RequestHead {
            method: &request.method,
            target: &request.target,
            host: host.unwrap_or(&server.host),
            headers: &request.headers,
            framing,
            upgrade,
        };
        h1::encode_head(&mut connection.write, head);
        connection.last_write = Instant::now();
        let writer = RequestWriter::new(body, framing, request.expects_continue);
        let to_head = request.method == Method::HEAD;
        Exchange::new(connection, writer, self.config.timeouts, to_head, upgrade.cloned()).run().await
    }

    fn respond<B>(
        &self,
        answer: Answer<B>,
        in_flight: InFlight,
    ) -> (Response<UpstreamBody<B>>, Option<UpstreamTunnel>)
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let Answer { head, mut connection, writer } = answer;
        let h1::Head { status, headers, framing } = head;
        let respond = |body| {
            let mut response = Response::new(body);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        };
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return (respond(UpstreamBody::empty()), Some(UpstreamTunnel::h1(*connection, in_flight)));
        }
        let is_complete = writer.is_none() && framing.keep_alive;
        match framing.framing {
            // The usual small response is complete now; its connection serves the next request before this response
            // has reached the client.
            h1::Framing::Empty if is_complete && connection.read.is_empty() => {
                in_flight.server().park(connection);
                (respond(UpstreamBody::empty()), None)
            }
            h1::Framing::Length(length) if is_complete && connection.read.len() as u64 == length => {
                let data = connection.read.split().freeze();
                in_flight.server().park(connection);
                (respond(UpstreamBody::whole(data)), None)
            }
            _ => {
                let body = H1Body::new(connection, writer, framing, self.config.timeouts.idle, in_flight);
                (respond(UpstreamBody::h1(body)), None)
            }
        }
    }
}

fn connect_failure<B>(in_flight: &mut InFlight, error: ConnectError, body: RequestBody<B>) -> Failure<B> {
    in_flight.server().metrics().connect_failures.inc();
    if !error.local {
        in_flight.failed(error.kind.as_str());
    }
    let progress = Progress { sent: false, received: false, died: true, refused: false };
    Failure { kind: error.kind, source: error.source, progress, stale: false, body: Some(body) }
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
