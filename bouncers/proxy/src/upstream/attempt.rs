//! One attempt of a request at one upstream: a connection, the exchange, the response.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::body::UpstreamBody;
use super::bridge;
use super::connect::{ConnectError, Offer};
use super::error::{BadAnswer, BoxError, ErrorKind};
use super::exchange::Failure;
use super::h1::{self, Announced, Connection, H1Body, RequestWriter};
use super::h2::{self, H2Body, H2Tunnel, StreamSlot};
use super::message::Upgrade;
use super::metrics::OpenConnection;
use super::pool::Pool;
use super::retry::{Progress, RequestBody};
use super::server::{InFlight, Server};
use super::tunnel::UpstreamTunnel;
use crate::config::{HostHeader, PoolConfig, UpstreamProtocol};

/// What all attempts of a request share.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) length: Option<u64>,
    pub(crate) announced: Option<Announced>,
    pub(crate) expects_continue: bool,
    pub(crate) upgrade: Option<Upgrade>,
}

/// A response, and how long it took.
pub(crate) struct Answered<B> {
    pub(crate) response: Response<UpstreamBody<B>>,
    pub(crate) tunnel: Option<UpstreamTunnel>,
    pub(crate) connect: Duration,
    pub(crate) head: Duration,
}

/// A connection for one request.
enum Acquired {
    Http1(Box<Connection>),
    Http2(StreamSlot),
}

impl Acquired {
    fn is_new(&self) -> bool {
        match self {
            Self::Http1(connection) => !connection.reused,
            Self::Http2(slot) => !slot.reused,
        }
    }
}

/// One attempt.
pub(crate) struct Attempt<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) request: &'a mut Request,
    pub(crate) in_flight: InFlight,
    pub(crate) start: Instant,
    /// Use no connection that was idle.
    pub(crate) fresh: bool,
    /// No other attempt follows.
    pub(crate) is_last: bool,
}

impl Attempt<'_> {
    pub(crate) async fn run<B>(mut self, body: RequestBody<B>) -> Result<Answered<B>, Failure<B>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let acquired = match self.acquire().await {
            Ok(acquired) => acquired,
            Err(error) => return Err(self.connect_failure(error, body)),
        };
        let connect = if acquired.is_new() { self.start.elapsed() } else { Duration::ZERO };
        let exchanged = match acquired {
            Acquired::Http1(connection) => self.exchange_h1(connection, body).await.map(Exchanged::Http1),
            Acquired::Http2(slot) => self.exchange_h2(slot, body).await.map(Exchanged::Http2),
        };
        match exchanged {
            Ok(exchanged) => {
                let now = Instant::now();
                let head = now - self.start;
                let (response, tunnel) = self.respond(exchanged, now);
                Ok(Answered { response, tunnel, connect, head })
            }
            Err(failure) => {
                self.in_flight.server().metrics().failures.inc();
                // Connections that fail mean that it is down. Requests that fail may be what one client sends: they take
                // an upstream out of use only where another one takes over.
                if failure.counts && self.pool.has_other_up(self.in_flight.server()) {
                    self.in_flight.failed(failure.kind.as_str());
                }
                Err(failure)
            }
        }
    }

    fn connect_failure<B>(&mut self, error: ConnectError, body: RequestBody<B>) -> Failure<B> {
        self.in_flight.server().metrics().connect_failures.inc();
        if !error.local {
            self.in_flight.failed(error.kind.as_str());
        }
        let progress = Progress { sent: false, received: false, died: true, refused: false };
        Failure {
            kind: error.kind,
            source: error.source,
            progress,
            stale: false,
            counts: false,
            body: Some(body),
        }
    }

    async fn acquire(&self) -> Result<Acquired, ConnectError> {
        let server = self.in_flight.server();
        let announces = self.pool.config.send_proxy_protocol.is_some();
        let choice = match self.pool.config.protocol {
            UpstreamProtocol::Http1 => false,
            // Without TLS there is no ALPN; and few upstreams have WebSockets over HTTP/2.
            UpstreamProtocol::Auto => server.target.is_tls() && !announces && self.request.upgrade.is_none(),
            UpstreamProtocol::Http2 => return self.acquire_h2(server).await,
        };
        if !self.fresh
            && let Some(connection) = server.take_idle(self.request.announced, self.start)
        {
            return Ok(Acquired::Http1(connection));
        }
        if choice { self.acquire_h2(server).await } else { self.connect_h1(server).await }
    }

    async fn connect_h1(&self, server: &Server) -> Result<Acquired, ConnectError> {
        let announced = self.request.announced;
        let transport =
            server.target.connect(announced, Offer::Http1, self.pool.config.timeouts.connect).await?;
        let open = OpenConnection::new(server.metrics());
        Ok(Acquired::Http1(Box::new(Connection::new(transport, announced, open))))
    }

    /// A stream on a connection with HTTP/2; with `protocol: auto` it may come out as HTTP/1.1.
    async fn acquire_h2(&self, server: &Server) -> Result<Acquired, ConnectError> {
        use std::sync::atomic::Ordering::Relaxed;
        let is_auto = self.pool.config.protocol == UpstreamProtocol::Auto;
        if is_auto && server.chose_http1.load(Relaxed) {
            // Connections need not wait for one another, as nothing will be shared.
            return self.connect_h1(server).await;
        }
        let limit = self.pool.config.timeouts.connect;
        let connect = async {
            let transport = server.target.connect(None, Offer::Configured, limit).await?;
            let open = OpenConnection::new(server.metrics());
            if transport.is_http2() || !server.target.is_tls() {
                return Ok(Ok((transport, open)));
            }
            if is_auto {
                server.chose_http1.store(true, Relaxed);
                return Ok(Err((transport, open)));
            }
            let source = Some("the upstream does not offer HTTP/2 in the TLS handshake".into());
            Err(ConnectError { kind: ErrorKind::Tls, source, local: false })
        };
        let acquired = tokio::time::timeout(limit, server.http2.take_or_connect(self.fresh, connect)).await;
        let acquired = acquired.unwrap_or_else(|_| {
            Err(ConnectError { kind: ErrorKind::ConnectTimeout, source: None, local: false })
        });
        Ok(match acquired? {
            Ok(slot) => Acquired::Http2(slot),
            Err((transport, open)) => Acquired::Http1(Box::new(Connection::new(transport, None, open))),
        })
    }

    fn host<'a>(config: &'a PoolConfig, request: &'a Request, server: &'a Server) -> &'a HeaderValue {
        let host = match &config.host {
            HostHeader::Preserve => request.headers.get(HOST),
            HostHeader::Upstream => None,
            HostHeader::Fixed(host) => Some(host),
        };
        host.unwrap_or(&server.host)
    }

    /// The length of the body of this attempt, as far as it is known.
    fn length<B>(&self, body: &RequestBody<B>) -> Option<u64> {
        match body {
            RequestBody::Empty => Some(0),
            RequestBody::Stream(_) => self.request.length,
            RequestBody::Replay(bytes) => Some(bytes.len() as u64),
        }
    }

    async fn exchange_h1<B>(
        &mut self,
        mut connection: Box<Connection>,
        body: RequestBody<B>,
    ) -> Result<h1::Answer<B>, Failure<B>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let length = self.length(&body);
        let is_bridged = self.request.upgrade.as_ref().is_some_and(|upgrade| upgrade.extended_connect);
        if is_bridged {
            self.request.method = Method::GET;
            bridge::add_key(&mut self.request.headers);
        }
        let accept = if is_bridged { bridge::expected_accept(&self.request.headers) } else { None };
        let request = &mut *self.request;
        let framing = match &request.upgrade {
            Some(_) => h1::BodyFraming::None,
            None => h1::framing_of(&request.method, length),
        };
        let upgrade = request.upgrade.as_ref().map(|upgrade| &upgrade.protocol);
        let head = h1::RequestHead {
            method: &request.method,
            target: &request.target,
            host: Self::host(&self.pool.config, request, self.in_flight.server()),
            headers: &request.headers,
            framing,
            upgrade,
        };
        h1::encode_head(&mut connection.write, head);
        let writer = RequestWriter::new(body, framing, request.expects_continue);
        let (to_head, upgrade) = (request.method == Method::HEAD, upgrade.cloned());
        let timeouts = self.pool.config.timeouts;
        let exchange =
            h1::Exchange::new(connection, writer, timeouts, to_head, upgrade, &mut request.headers);
        let answer = exchange.run().await?;
        let switched = answer.head.status == StatusCode::SWITCHING_PROTOCOLS;
        if switched && accept.is_some() && accept.as_ref() != answer.head.headers.get(SEC_WEBSOCKET_ACCEPT) {
            let kind = ErrorKind::BadAnswer(BadAnswer::UnrequestedSwitch);
            let progress = Progress { sent: true, received: true, died: false, refused: false };
            return Err(Failure { kind, source: None, progress, stale: false, counts: false, body: None });
        }
        Ok(answer)
    }

    async fn exchange_h2<B>(
        &mut self,
        slot: StreamSlot,
        body: RequestBody<B>,
    ) -> Result<h2::Answer<B>, Failure<B>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let unsent = |kind, body| {
            let progress = Progress { sent: true, received: false, died: false, refused: false };
            Err(Failure { kind, source: None, progress, stale: false, counts: false, body: Some(body) })
        };
        let upgrade = self.request.upgrade.as_ref().map(|upgrade| &upgrade.protocol);
        // An upgrade to any other protocol may be ignored (RFC 9110, section 7.8).
        let upgrade = upgrade.filter(|protocol| bridge::is_websocket(protocol));
        if upgrade.is_some() && !slot.send.is_extended_connect_protocol_enabled() {
            return unsent(ErrorKind::UpgradeUnsupported, body);
        }
        let length = self.length(&body);
        let has_body = !matches!(body, RequestBody::Empty);
        let announces_empty =
            upgrade.is_none() && [Method::POST, Method::PUT, Method::PATCH].contains(&self.request.method);
        let host = Self::host(&self.pool.config, self.request, self.in_flight.server()).clone();
        let head = h2::RequestHead {
            method: &self.request.method,
            target: &self.request.target,
            host: &host,
            tls: self.in_flight.server().target.is_tls(),
            length: length.filter(|_| has_body || announces_empty),
            upgrade,
        };
        // Needed again for another attempt, and for the answer to a WebSocket handshake.
        let keeps_headers = !self.is_last || upgrade.is_some();
        let headers = &mut self.request.headers;
        let mut headers = if keeps_headers { headers.clone() } else { std::mem::take(headers) };
        if upgrade.is_some() {
            headers.remove(SEC_WEBSOCKET_KEY);
        }
        let Some(request) = h2::request(head, headers) else { return unsent(ErrorKind::ClientHost, body) };
        let exchange = h2::Exchange {
            slot,
            body,
            length,
            timeouts: self.pool.config.timeouts,
            expects_continue: self.request.expects_continue,
            to_head: self.request.method == Method::HEAD,
            tunnels: upgrade.is_some(),
        };
        exchange.run(request).await
    }

    fn respond<B>(
        mut self,
        exchanged: Exchanged<B>,
        now: Instant,
    ) -> (Response<UpstreamBody<B>>, Option<UpstreamTunnel>)
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        match exchanged {
            Exchanged::Http1(answer) => {
                self.in_flight.succeeded(answer.head.status);
                self.respond_h1(answer, now)
            }
            Exchanged::Http2(answer) => {
                self.in_flight.succeeded(answer.response.status());
                self.respond_h2(answer)
            }
        }
    }

    fn respond_h1<B>(
        self,
        answer: h1::Answer<B>,
        now: Instant,
    ) -> (Response<UpstreamBody<B>>, Option<UpstreamTunnel>)
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let h1::Answer { head, mut connection, writer } = answer;
        let h1::Head { mut status, mut headers, framing } = head;
        let is_complete = writer.is_none() && framing.keep_alive;
        let mut tunnel = None;
        let body = match framing.framing {
            _ if status == StatusCode::SWITCHING_PROTOCOLS => {
                if self.request.upgrade.as_ref().is_some_and(|upgrade| upgrade.extended_connect) {
                    bridge::to_extended_connect(&mut status, &mut headers);
                }
                tunnel = Some(UpstreamTunnel::h1(*connection, self.in_flight));
                UpstreamBody::empty()
            }
            // The usual small response is complete now; its connection serves the next request before this response
            // has reached the client.
            h1::Framing::Empty if is_complete && connection.read.is_empty() => {
                self.in_flight.server().park(connection, now);
                UpstreamBody::empty()
            }
            h1::Framing::Length(length) if is_complete && connection.read.len() as u64 == length => {
                let data = connection.read.split().freeze();
                self.in_flight.server().park(connection, now);
                UpstreamBody::whole(data)
            }
            _ => {
                let idle = self.pool.config.timeouts.idle;
                UpstreamBody::h1(H1Body::new(connection, writer, framing, idle, self.in_flight))
            }
        };
        let mut response = Response::new(body);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        (response, tunnel)
    }

    fn respond_h2<B>(self, answer: h2::Answer<B>) -> (Response<UpstreamBody<B>>, Option<UpstreamTunnel>)
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let h2::Answer { response, slot, sender, tunnel, timer } = answer;
        let (mut head, stream) = response.into_parts();
        head.version = http::Version::HTTP_11;
        if let Some(send) = tunnel
            && head.status.is_success()
        {
            if self.request.upgrade.as_ref().is_some_and(|upgrade| !upgrade.extended_connect) {
                let accept = bridge::expected_accept(&self.request.headers);
                bridge::to_upgrade(&mut head.status, &mut head.headers, accept);
            }
            let tunnel = UpstreamTunnel::h2(H2Tunnel::new(send, stream, slot), self.in_flight);
            return (Response::from_parts(head, UpstreamBody::empty()), Some(tunnel));
        }
        if stream.is_end_stream() && sender.is_none() {
            return (Response::from_parts(head, UpstreamBody::empty()), None);
        }
        let length = head.headers.get(http::header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let idle = self.pool.config.timeouts.idle;
        let body = H2Body::new(stream, sender, length, idle, timer, (slot, self.in_flight));
        (Response::from_parts(head, UpstreamBody::h2(body)), None)
    }
}

enum Exchanged<B> {
    Http1(h1::Answer<B>),
    Http2(h2::Answer<B>),
}
