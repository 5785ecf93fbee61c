//! Decides what a request receives: the application, the captcha page, or a refusal.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, LOCATION, SET_COOKIE, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::binding::{Binding, ClientPrefix, without_port};
use super::form::{Form, FormError, drain};
use super::provider::Verdict;
use super::target::safe_target;
use super::task::Task;
use super::{Captcha, SCRIPT_PATH, SOLUTION_PATH, cookie, is_reserved, proof, script, task, work};
use crate::config::CaptchaProvider;
use crate::pages::{PageContext, PageKind, Pages, TaskContext, is_page_request};

/// Seconds for which a proof counts that was given because the provider failed.
const UNVERIFIED_PROOF_SECONDS: u64 = 300;

/// A request whose remediation is captcha.
#[derive(Debug)]
pub struct CaptchaRequest<'a, B> {
    /// Its head.
    pub parts: &'a Parts,
    /// Its body; read or drained unless the outcome is [`Outcome::Solved`].
    pub body: &'a mut B,
    /// Whether the client uses HTTPS: then the cookie is restricted to it.
    pub is_https: bool,
    /// Identifies the decision: a proof is valid for one.
    pub decision: u64,
    /// Let clients through when the provider cannot be asked.
    pub open_on_failure: bool,
    /// Renders pages.
    pub pages: &'a Pages,
    /// What pages show. Client, host and time are also what proofs are bound to; the status is replaced.
    pub page: PageContext<'a>,
}

/// What a request receives.
#[derive(Debug)]
pub enum Outcome {
    /// The application: the client has a valid proof. The body is untouched.
    Solved,
    /// This response.
    Respond(Response<Full<Bytes>>),
    /// This response, because the provider cannot be asked.
    ProviderFailed(Response<Full<Bytes>>),
}

/// What happened since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) shown: AtomicU64,
    pub(super) solved: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Captcha {
    /// Handles a request whose remediation is captcha.
    pub async fn handle<B: Body + Unpin>(&self, request: CaptchaRequest<'_, B>) -> Outcome {
        let path = request.parts.uri.path();
        let method = &request.parts.method;
        if path == SCRIPT_PATH && matches!(*method, Method::GET | Method::HEAD) {
            return Outcome::Respond(script::respond(method));
        }
        if self.has_proof(&request) {
            if !is_reserved(path) {
                return Outcome::Solved;
            }
            return Outcome::Respond(leave(request.parts, request.body).await);
        }
        if path == SOLUTION_PATH && *method == Method::POST {
            return self.solve(request).await;
        }
        let posted = !request.body.is_end_stream();
        drain(&request.parts.headers, &mut *request.body).await;
        let is_shown = matches!(*method, Method::GET | Method::HEAD | Method::POST)
            && path != "/favicon.ico"
            && is_page_request(&request.parts.headers);
        if !is_shown {
            return Outcome::Respond(request.refuse(StatusCode::FORBIDDEN, PageKind::CaptchaRequired));
        }
        let next = request.parts.uri.path_and_query().map_or("/", |target| target.as_str());
        Outcome::Respond(self.show(&request, safe_target(next), posted, false))
    }

    /// Handles a request for a reserved path when no captcha applies to its client any more: a decision may end while a
    /// task is being solved.
    pub async fn handle_lifted<B: Body + Unpin>(&self, parts: &Parts, body: &mut B) -> Response<Full<Bytes>> {
        if parts.uri.path() == SCRIPT_PATH {
            return script::respond(&parts.method);
        }
        leave(parts, body).await
    }

    fn has_proof<B>(&self, request: &CaptchaRequest<'_, B>) -> bool {
        let mut binding = None;
        cookie::proofs(&request.parts.headers, request.is_https).any(|proof| {
            let binding = binding.get_or_insert_with(|| self.binding(request));
            proof::verify(&self.keys, binding, proof, request.now(), self.proof_seconds())
        })
    }

    fn binding<'a, B>(&self, request: &CaptchaRequest<'a, B>) -> Binding<'a> {
        Binding {
            prefix: ClientPrefix::new(request.page.client, self.config.bound_prefix),
            user_agent: request.parts.headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default(),
            host: without_port(request.page.host),
            decision: request.decision,
        }
    }

    /// The captcha page with a new task.
    fn show<B>(
        &self,
        request: &CaptchaRequest<'_, B>,
        next: &str,
        posted: bool,
        failed: bool,
    ) -> Response<Full<Bytes>> {
        let issued = task::random().zip(task::random()).and_then(|(number, nonce)| {
            let task = Task { number, issued: request.now(), difficulty: self.difficulty() };
            Some((task::issue(&self.keys, &self.binding(request), &task)?, BASE64.encode(nonce)))
        });
        let Some((token, nonce)) = issued else {
            return request.refuse(StatusCode::SERVICE_UNAVAILABLE, PageKind::CaptchaFailed);
        };
        self.memory.counters.shown.fetch_add(1, Ordering::Relaxed);
        let page = PageContext { status: self.config.status, ..request.page };
        let task = TaskContext { token: &token, next, nonce: &nonce, posted, failed };
        request.pages.render_task(&page, task, &request.parts.headers, &request.parts.method)
    }

    /// Consumes a solution.
    async fn solve<B: Body + Unpin>(&self, mut request: CaptchaRequest<'_, B>) -> Outcome {
        let now = request.now();
        let binding = self.binding(&request);
        if !self.memory.attempts.admit(binding.prefix, now) {
            request.page.retry_after = Some(60 - now % 60);
            return Outcome::Respond(request.refuse(StatusCode::TOO_MANY_REQUESTS, PageKind::Throttle));
        }
        let form = match Form::read(&request.parts.headers, &mut *request.body).await {
            Ok(form) => form,
            Err(FormError::TooLarge) => {
                return Outcome::Respond(request.refuse(StatusCode::PAYLOAD_TOO_LARGE, PageKind::Refused));
            }
            Err(FormError::Incomplete | FormError::WrongType) => {
                return Outcome::Respond(request.refuse(StatusCode::BAD_REQUEST, PageKind::Refused));
            }
        };
        let next = form.field("next");
        let next = safe_target(next.as_deref().unwrap_or("/"));
        match self.verdict(&form, &binding, &request).await {
            Verdict::Passed => {
                self.memory.counters.solved.fetch_add(1, Ordering::Relaxed);
                Outcome::Respond(self.pass(&request, &binding, next, self.proof_seconds()))
            }
            Verdict::Refused => {
                self.memory.counters.refused.fetch_add(1, Ordering::Relaxed);
                Outcome::Respond(self.show(&request, next, false, true))
            }
            Verdict::Busy => {
                request.page.retry_after = Some(5);
                Outcome::Respond(request.refuse(StatusCode::SERVICE_UNAVAILABLE, PageKind::CaptchaFailed))
            }
            Verdict::Failed(_) if request.open_on_failure => {
                let seconds = self.proof_seconds().min(UNVERIFIED_PROOF_SECONDS);
                Outcome::ProviderFailed(self.pass(&request, &binding, next, seconds))
            }
            Verdict::Failed(_) => {
                request.page.retry_after = Some(60);
                Outcome::ProviderFailed(
                    request.refuse(StatusCode::SERVICE_UNAVAILABLE, PageKind::CaptchaFailed),
                )
            }
        }
    }

    async fn verdict<B>(
        &self,
        form: &Form,
        binding: &Binding<'_>,
        request: &CaptchaRequest<'_, B>,
    ) -> Verdict {
        let now = request.now();
        let Some(token) = form.field("token") else { return Verdict::Refused };
        let Some(task) = task::verify(&self.keys, binding, token.as_bytes(), now) else {
            return Verdict::Refused;
        };
        // Solved tasks were forgotten by the last stop. After the clock was set back the comparison means nothing.
        let is_older_than_memory =
            !self.keys.are_shared && now >= self.memory.started && task.issued < self.memory.started;
        if is_older_than_memory {
            return Verdict::Refused;
        }
        let verdict = match &self.service {
            None => {
                let solution = form.field("solution").unwrap_or_default();
                // As the task was shown, which a reload may have changed since.
                let is_solved = task.difficulty > 0 && work::is_solved(&token, &solution, task.difficulty);
                if is_solved { Verdict::Passed } else { Verdict::Refused }
            }
            Some(service) => {
                let response = form.field(&service.response_field).unwrap_or_default();
                service.verify(&response, request.page.client, binding.host).await
            }
        };
        let counts = matches!(verdict, Verdict::Passed | Verdict::Failed(_));
        if counts && !self.memory.used.mark(task.number, now) {
            return Verdict::Refused;
        }
        verdict
    }

    /// Sends the client on with a proof.
    fn pass<B>(
        &self,
        request: &CaptchaRequest<'_, B>,
        binding: &Binding<'_>,
        next: &str,
        seconds: u64,
    ) -> Response<Full<Bytes>> {
        let cookie = proof::issue(&self.keys, binding, request.now().saturating_add(seconds))
            .and_then(|proof| cookie::set(&proof, seconds, request.is_https));
        let mut response = see_other(next);
        if let Some(cookie) = cookie {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }

    fn proof_seconds(&self) -> u64 {
        self.config.proof_ttl.as_secs().max(1)
    }

    fn difficulty(&self) -> u8 {
        match self.config.provider {
            CaptchaProvider::ProofOfWork { difficulty } => difficulty,
            CaptchaProvider::Service { .. } => 0,
        }
    }
}

impl<B> CaptchaRequest<'_, B> {
    /// Seconds since 1970.
    fn now(&self) -> u64 {
        u64::try_from(self.page.time.as_second()).unwrap_or(0)
    }

    fn refuse(&self, status: StatusCode, kind: PageKind) -> Response<Full<Bytes>> {
        let page = PageContext { status, ..self.page };
        self.pages.render(kind, &page, &self.parts.headers, &self.parts.method)
    }
}

/// Sends a client that needs no captcha away from a reserved path.
async fn leave<B: Body + Unpin>(parts: &Parts, body: &mut B) -> Response<Full<Bytes>> {
    let next = match parts.method {
        Method::POST => Form::read(&parts.headers, body).await.ok().and_then(|form| form.field("next")),
        _ => {
            drain(&parts.headers, body).await;
            None
        }
    };
    see_other(safe_target(next.as_deref().unwrap_or("/")))
}

/// A redirect that is followed with GET, within the same origin.
fn see_other(target: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::SEE_OTHER;
    let head = response.headers_mut();
    let location = HeaderValue::from_str(target).unwrap_or(HeaderValue::from_static("/"));
    head.insert(LOCATION, location);
    head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    head.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
