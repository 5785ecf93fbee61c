//! Answers a request: all steps in their order.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::upgrade::OnUpgrade;
use palisade_daemon::listen::{HttpService, Peer, ReceivedBody};

use super::body::{Content, RequestBody, ResponseBody};
use super::listeners::ListenerState;
use super::record::Record;
use super::refusal::{self, Refused, page_context};
use super::request_id::{RequestId, X_REQUEST_ID};
use super::shared::Shared;
use super::site::{Site, SiteRoute};
use super::tunnel;
use crate::access_log::UpstreamEntry;
use crate::captcha::{self, CaptchaRequest};
use crate::client_address::{ClientAddress, client_address};
use crate::config::{DecisionMode, HostHeader, UpstreamProtocol};
use crate::headers::{Forwarding, PeerAddressValue, ResponseContext, rewrite_request, rewrite_response};
use crate::remediation::open_requests::OpenRequest;
use crate::remediation::{Outcome, Remediation, RemediationKind, Throttled};
use crate::request_rules::{Refusal, Upgrade, check, check_server_name};
use crate::upstream::{self, Forwarded, Outgoing};

/// Answers the requests of a listener.
#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) listener: Arc<ArcSwap<ListenerState>>,
}

impl HttpService for Handler {
    type Body = ResponseBody;

    async fn respond(self, mut request: Request<ReceivedBody>) -> Response<ResponseBody> {
        let (site, listener) = (self.shared.site(), self.listener.load_full());
        let extensions = request.extensions_mut();
        let peer = extensions.remove::<Peer>().unwrap_or_else(|| Peer::plain(None));
        let on_upgrade = extensions.remove::<OnUpgrade>();
        let (parts, body) = request.into_parts();
        let address = peer.address.map(|peer| peer.ip());
        let client = client_address(&site.config.client_address, address, &parts.headers);
        if let Some(cut) = client.cut {
            self.shared.metrics.address_cut(cut);
        }
        let received = client.peer_is_trusted.then(|| RequestId::received(&parts.headers)).flatten();
        let id = received.unwrap_or_else(RequestId::new);
        let mut record = Record::begin(&self.shared, &parts, &peer, client.client, &id);
        let exchange =
            Exchange { shared: &self.shared, site: &site, listener: &listener, peer: &peer, client, id };
        let mut response = match exchange.answer(parts, body, on_upgrade, &mut record).await {
            Ok(response) => response,
            Err(refused) => *refused,
        };
        record.responded(response.status());
        if site.config.debug_headers {
            record.show_remediation(response.headers_mut());
        }
        response.map(|content| ResponseBody::new(content, record))
    }
}

/// A response that ends the steps early.
type Early = Box<Response<Content>>;

/// What a request is answered with.
struct Exchange<'a> {
    shared: &'a Arc<Shared>,
    site: &'a Site,
    listener: &'a ListenerState,
    peer: &'a Peer,
    client: ClientAddress,
    id: RequestId,
}

/// What is known of a request once it has a route.
struct Plan {
    route: Arc<SiteRoute>,
    /// As received.
    authority: Box<str>,
    host: Box<str>,
    target: PathAndQuery,
    upgrade: Option<PlannedUpgrade>,
    accepts_trailers: bool,
}

/// A protocol to switch to.
struct PlannedUpgrade {
    protocol: Box<str>,
    extended_connect: bool,
}

impl PlannedUpgrade {
    fn as_upgrade(&self) -> Upgrade<'_> {
        match self.extended_connect {
            true => Upgrade::ExtendedConnect(&self.protocol),
            false => Upgrade::Http1(&self.protocol),
        }
    }
}

impl Exchange<'_> {
    async fn answer(
        &self,
        mut parts: Parts,
        body: ReceivedBody,
        on_upgrade: Option<OnUpgrade>,
        record: &mut Record,
    ) -> Result<Response<Content>, Early> {
        if let Some(answer) = self.acme_challenge(&parts) {
            return Ok(answer);
        }
        let plan = self.plan(&parts, record)?;
        if self.listener.config.redirect_to_https {
            return Ok(refusal::redirect_to_https(&plan.host, &plan.target));
        }
        let mut body = body;
        self.remediate(&plan, &mut parts, &mut body, record).await?;
        self.forward(plan, parts, body, on_upgrade, record).await
    }

    /// Before everything else, so that decisions and redirects never lock out the authority that validates a name.
    fn acme_challenge(&self, parts: &Parts) -> Option<Response<Content>> {
        if self.peer.info().tls || parts.method != Method::GET {
            return None;
        }
        let token = parts.uri.path().strip_prefix("/.well-known/acme-challenge/")?;
        self.shared.acme.challenges().response(token).map(|text| refusal::plain(&text))
    }

    /// Checks the request and finds its route.
    fn plan(&self, parts: &Parts, record: &mut Record) -> Result<Plan, Early> {
        let mut refuse = |refusal: Refusal| self.refuse(parts, Refused::Rule(refusal), record);
        let checked = check(parts, &self.site.request_limits).map_err(&mut refuse)?;
        if let Some(certificates) = &self.listener.certificates {
            let name = self.peer.info().server_name.as_deref();
            let covered = |host: &str| certificates.same_certificate(name.unwrap_or_default(), host);
            check_server_name(&checked.host, name, covered).map_err(&mut refuse)?;
        }
        let route = self
            .site
            .router
            .route_request(&checked)
            .map_err(|no_route| self.refuse(parts, Refused::Route(no_route), record))?;
        let route = Arc::clone(&self.site.routes[route]);
        record.routed(&route, self.client.client);
        let target = checked
            .target(&route.config.path_prefix)
            .map_err(|refusal| self.refuse(parts, Refused::Rule(refusal), record))?;
        if let (Some(limit), Some(length)) = (route.config.max_body, checked.content_length)
            && length > limit
        {
            return Err(self.refuse(parts, Refused::BodyTooLarge, record));
        }
        let upgrade = checked.upgrade.map(|upgrade| PlannedUpgrade {
            protocol: upgrade.protocol().into(),
            extended_connect: matches!(upgrade, Upgrade::ExtendedConnect(_)),
        });
        Ok(Plan {
            route,
            authority: checked.authority.into(),
            host: checked.host.as_ref().into(),
            target,
            upgrade,
            accepts_trailers: checked.accepts_trailers,
        })
    }

    fn refuse(&self, parts: &Parts, refused: Refused, record: &mut Record) -> Early {
        match (&refused, refused.remediation()) {
            (_, Some(remediation)) => record.remediated(remediation, true),
            (Refused::Unavailable(_), None) => record.blocked(refused.reason()),
            (_, None) => {
                self.shared.metrics.refused(refused.reason());
                record.refused(refused.reason());
            }
        }
        Box::new(refusal::respond(self.site, parts, self.client.client, self.id.as_str(), &refused))
    }

    /// Applies decisions.
    async fn remediate(
        &self,
        plan: &Plan,
        parts: &mut Parts,
        body: &mut ReceivedBody,
        record: &mut Record,
    ) -> Result<(), Early> {
        if let Some(client) = self.client.client {
            self.decide(plan, client, parts, body, record).await?;
        }
        if let Some(captcha) = &self.site.captcha {
            // The decision may have ended while its task was being solved; the application must not see the solution.
            if captcha::is_reserved(parts.uri.path()) {
                return Err(Box::new(captcha.handle_lifted(parts, body).await.map(Content::Page)));
            }
            // A proof outlives its decision, too.
            captcha::strip_cookie(&mut parts.headers);
        }
        Ok(())
    }

    /// Looks the client up and does what applies to it.
    async fn decide(
        &self,
        plan: &Plan,
        client: IpAddr,
        parts: &Parts,
        body: &mut ReceivedBody,
        record: &mut Record,
    ) -> Result<(), Early> {
        let policy = &plan.route.config.remediation;
        let decider = &self.site.decider;
        let outcome = match policy.mode {
            DecisionMode::Live => decider.decide_live(policy, client).await,
            DecisionMode::Stream | DecisionMode::Off => decider.decide(policy, client),
        };
        match outcome {
            Outcome::Pass(_) => {}
            Outcome::Unavailable(reason) => {
                plan.route.metrics.unavailable(reason);
                return Err(self.refuse(parts, Refused::Unavailable(reason), record));
            }
            Outcome::Remediate(remediation) if remediation.log_only => record.remediated(&remediation, true),
            Outcome::Remediate(remediation) => {
                record.remediated(&remediation, false);
                self.apply(plan, remediation, client, parts, body, record).await?;
            }
        }
        Ok(())
    }

    async fn apply(
        &self,
        plan: &Plan,
        remediation: Remediation,
        client: IpAddr,
        parts: &Parts,
        body: &mut ReceivedBody,
        record: &mut Record,
    ) -> Result<(), Early> {
        let policy = &plan.route.config.remediation;
        match remediation.kind {
            RemediationKind::Ban if policy.ban_closes => {
                record.remediated(&remediation, true);
                Err(abort(policy.ban_status))
            }
            RemediationKind::Ban => {
                let refused = Refused::Banned { status: policy.ban_status, remediation };
                Err(self.refuse(parts, refused, record))
            }
            RemediationKind::Throttle => match self.shared.throttle.check(&policy.throttle, client) {
                Throttled::Within => Ok(()),
                Throttled::Exceeded { retry_after } => {
                    let refused = Refused::Throttled { retry_after, remediation };
                    Err(self.refuse(parts, refused, record))
                }
            },
            RemediationKind::Captcha => self.captcha(plan, remediation, client, parts, body, record).await,
        }
    }

    /// Whether the client uses HTTPS: on this connection, or as a trusted proxy in front says.
    fn is_https(&self, parts: &Parts) -> bool {
        self.peer.info().tls
            || (self.client.peer_is_trusted
                && parts.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https"))
    }

    async fn captcha(
        &self,
        plan: &Plan,
        remediation: Remediation,
        client: IpAddr,
        parts: &Parts,
        body: &mut ReceivedBody,
        record: &mut Record,
    ) -> Result<(), Early> {
        let policy = &plan.route.config.remediation;
        let Some(captcha) = &self.site.captcha else {
            // The decider replaces captchas that cannot be shown.
            let refused = Refused::Banned { status: policy.ban_status, remediation };
            return Err(self.refuse(parts, refused, record));
        };
        let request = CaptchaRequest {
            parts,
            body,
            is_https: self.is_https(parts),
            decision: remediation.decision.id.cast_unsigned(),
            open_on_failure: policy.captcha_open_on_failure,
            pages: &self.site.pages,
            page: page_context(parts, Some(client), self.id.as_str(), Some(&remediation.decision)),
        };
        match captcha.handle(request).await {
            captcha::Outcome::Solved => Ok(()),
            captcha::Outcome::Respond(page) | captcha::Outcome::ProviderFailed(page) => {
                record.remediated(&remediation, true);
                Err(Box::new(page.map(Content::Page)))
            }
        }
    }

    async fn forward(
        &self,
        plan: Plan,
        parts: Parts,
        body: ReceivedBody,
        on_upgrade: Option<OnUpgrade>,
        record: &mut Record,
    ) -> Result<Response<Content>, Early> {
        let pool = self.site.pools.get(plan.route.config.pool);
        let config = pool.config();
        let Parts { method, version, uri, mut headers, .. } = parts;
        let language = Negotiation::of(&headers);
        let peer = self.peer.address.map(|peer| PeerAddressValue::new(peer.ip()));
        let dropped = rewrite_request(
            &mut headers,
            &Forwarding {
                client: &self.client,
                peer: peer.as_ref(),
                source: &self.site.config.client_address.source,
                tls: self.peer.info().tls,
                authority: &plan.authority,
                host: match &config.host {
                    HostHeader::Fixed(host) => Some(host),
                    HostHeader::Preserve | HostHeader::Upstream => None,
                },
                write_forwarded: config.send_forwarded,
                upgrade: plan.upgrade.as_ref().map(PlannedUpgrade::as_upgrade),
                upstream: match config.protocol {
                    UpstreamProtocol::Http1 => Version::HTTP_11,
                    // HTTP/1.1 removes what only HTTP/2 may have, but cannot bring it back.
                    UpstreamProtocol::Http2 | UpstreamProtocol::Auto => Version::HTTP_2,
                },
            },
        );
        self.shared.metrics.dropped_fields(dropped);
        // The pool makes `:authority` of it where the upstream speaks HTTP/2.
        if !headers.contains_key(header::HOST)
            && let Ok(authority) = HeaderValue::from_str(&plan.authority)
        {
            headers.insert(header::HOST, authority);
        }
        headers.insert(X_REQUEST_ID, self.id.value().clone());
        let body = RequestBody::new(body, plan.route.config.max_body, record.received());
        let outgoing = Outgoing {
            method: match &plan.upgrade {
                Some(upgrade) if upgrade.extended_connect => Method::GET,
                _ => method.clone(),
            },
            target: plan.target.clone(),
            headers,
            body_is_empty: hyper::body::Body::is_end_stream(&body),
            body,
            client: self.client.client,
            peer: self.peer.address,
            local: self.peer.info().local_address,
            upgrade: plan.upgrade.as_ref().and_then(|upgrade| {
                Some(upstream::Upgrade {
                    protocol: HeaderValue::from_str(&upgrade.protocol).ok()?,
                    extended_connect: upgrade.extended_connect,
                })
            }),
        };
        let client = self.client.client;
        let policy = &plan.route.config.remediation;
        let mut open = client.map(|client| self.shared.requests.open(client, Arc::clone(policy)));
        let result = tokio::select! {
            // In this order: what has been answered is not taken back.
            biased;
            result = pool.forward(outgoing) => match result {
                Ok(forwarded) => {
                    record.forwarded(|| UpstreamEntry {
                        server: Arc::clone(&forwarded.server),
                        attempts: forwarded.attempts,
                        connect: (!forwarded.connect.is_zero()).then_some(forwarded.connect),
                        head: Some(forwarded.head),
                    });
                    self.relay(&plan, &method, version, forwarded, on_upgrade, open)
                }
                Err(error) => Err(Refused::Upstream(error)),
            },
            () = tunnel::ended(&mut open) => {
                record.blocked("banned_meanwhile");
                return Err(abort(policy.ban_status));
            }
        };
        result.map_err(|refused| {
            let parts = language.parts(method, uri, version, &plan.authority);
            self.refuse(&parts, refused, record)
        })
    }

    fn relay(
        &self,
        plan: &Plan,
        method: &Method,
        version: Version,
        forwarded: Forwarded<RequestBody>,
        on_upgrade: Option<OnUpgrade>,
        mut open: Option<OpenRequest>,
    ) -> Result<Response<Content>, Refused> {
        let Forwarded { response, tunnel, .. } = forwarded;
        let (mut head, body) = response.into_parts();
        let context = ResponseContext {
            method,
            client: version,
            upgrade: plan.upgrade.as_ref().map(PlannedUpgrade::as_upgrade),
            accepts_trailers: plan.accepts_trailers,
        };
        rewrite_response(&mut head, &context).map_err(Refused::BadResponse)?;
        if let (Some(upstream), Some(client)) = (tunnel, on_upgrade) {
            let idle = self.site.pools.get(plan.route.config.pool).config().timeouts.tunnel_idle;
            tunnel::spawn(&self.shared.tasks, client, upstream, idle, self.peer.hold(), open.take());
        }
        Ok(Response::from_parts(head, Content::Upstream { body, open }))
    }
}

/// No response. HTTP/2 may send the head before the stream is reset, which must not be a success.
fn abort(status: StatusCode) -> Early {
    let mut response = Response::new(Content::Abort);
    *response.status_mut() = status;
    Box::new(response)
}

/// The fields that choose a page's form and language. Kept while the request's fields are the upstream's.
struct Negotiation {
    accept: Option<HeaderValue>,
    language: Option<HeaderValue>,
}

impl Negotiation {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            accept: headers.get(header::ACCEPT).cloned(),
            language: headers.get(header::ACCEPT_LANGUAGE).cloned(),
        }
    }

    /// A head with what pages read of it.
    fn parts(self, method: Method, uri: Uri, version: Version, authority: &str) -> Parts {
        let mut request = Request::new(());
        (*request.method_mut(), *request.uri_mut(), *request.version_mut()) = (method, uri, version);
        let fields = [
            (header::ACCEPT, self.accept),
            (header::ACCEPT_LANGUAGE, self.language),
            (header::HOST, HeaderValue::from_str(authority).ok()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                request.headers_mut().insert(name, value);
            }
        }
        request.into_parts().0
    }
}
