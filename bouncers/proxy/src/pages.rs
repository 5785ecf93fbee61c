//! Renders the responses to remediated requests: HTML, JSON or text, in the visitor's language.
//!
//! ```text
//! headers ─► accept (form, language) ─┬─ operator's template ─► minijinja, bounded by fuel ─┐
//!                                     └─ built in ─► skeleton (rendered once) ─► fill ──────┴─► headers, policy, body
//! ```

mod accept;
mod context;
mod error;
mod escape;
mod kind;
mod policy;
mod skeleton;
mod templates;
mod texts;
mod variables;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use tracing::error;

pub use self::accept::{format_for, is_page_request};
use self::context::FieldValues;
pub use self::context::PageContext;
pub(crate) use self::context::TaskContext;
pub use self::error::PagesError;
pub use self::kind::{PageFormat, PageKind};
use self::skeleton::Skeleton;
use self::templates::Templates;
pub use self::texts::Language;
use self::variables::{Fixed, Present};
use crate::config::{CaptchaConfig, PagesConfig};

/// All pages, ready to be rendered.
pub struct Pages {
    templates: Templates,
    fixed: Fixed,
    default_language: Language,
    /// By page, form, language and present values; made when first needed.
    skeletons: Box<[OnceLock<Option<Skeleton>>]>,
    plain_policy: HeaderValue,
    /// Without the nonce; `None` without a captcha.
    captcha_policy: Option<String>,
    failure_logged: AtomicBool,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("default_language", &self.default_language).finish_non_exhaustive()
    }
}

impl Pages {
    /// Reads and compiles the templates, and renders each of the operator's once for a usual request.
    ///
    /// # Errors
    /// When a file cannot be read, or a template is wrong: then with its name and line.
    pub fn load(config: &PagesConfig, captcha: Option<&CaptchaConfig>) -> Result<Self, PagesError> {
        let default_language = match config.default_language.as_deref() {
            None => Language::English,
            Some(tag) => {
                Language::from_tag(tag).ok_or_else(|| PagesError::Language { language: tag.to_owned() })?
            }
        };
        let templates = Templates::load(config.directory.as_deref())?;
        let style = templates.style();
        let cells = PageKind::ALL.len() * PageFormat::ALL.len() * Language::ALL.len() * Present::COUNT;
        let pages = Self {
            fixed: Fixed::new(style, &config.contact, captcha),
            default_language,
            skeletons: (0..cells).map(|_| OnceLock::new()).collect(),
            plain_policy: policy::plain(style).unwrap_or(policy::NOTHING),
            captcha_policy: captcha.map(|captcha| policy::captcha(captcha, style)).transpose()?,
            failure_logged: AtomicBool::new(false),
            templates,
        };
        pages.try_operator_files()?;
        Ok(pages)
    }

    /// The response to a request with these headers and method. A HEAD request receives the same head, and no body.
    pub fn render(
        &self,
        kind: PageKind,
        page: &PageContext<'_>,
        headers: &HeaderMap,
        method: &Method,
    ) -> Response<Full<Bytes>> {
        // Without a task the page would be a form that cannot be sent.
        let kind = if kind == PageKind::Captcha { PageKind::CaptchaRequired } else { kind };
        let format = accept::format_for(headers);
        self.respond(kind, format, FieldValues { page, task: TaskContext::default() }, headers, method)
    }

    /// A captcha page with its task.
    pub(crate) fn render_task(
        &self,
        page: &PageContext<'_>,
        task: TaskContext<'_>,
        headers: &HeaderMap,
        method: &Method,
    ) -> Response<Full<Bytes>> {
        self.respond(PageKind::Captcha, PageFormat::Html, FieldValues { page, task }, headers, method)
    }

    fn respond(
        &self,
        kind: PageKind,
        format: PageFormat,
        values: FieldValues<'_>,
        headers: &HeaderMap,
        method: &Method,
    ) -> Response<Full<Bytes>> {
        let language = accept::language_for(headers, self.default_language);
        let (body, is_operators) = self.body(kind, format, language, &values);
        let length = body.len();
        let body = if *method == Method::HEAD { Bytes::new() } else { Bytes::from(body) };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = values.page.status;
        let head = response.headers_mut();
        head.reserve(10);
        head.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        head.insert(CONTENT_LENGTH, HeaderValue::from(length));
        head.insert(CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        head.insert(VARY, HeaderValue::from_static("Accept, Accept-Language, Cookie"));
        head.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let is_captcha = kind == PageKind::Captcha;
        // Captcha services verify the site by the referrer.
        let referrer = if is_captcha { "strict-origin-when-cross-origin" } else { "no-referrer" };
        head.insert(REFERRER_POLICY, HeaderValue::from_static(referrer));
        let policy = match (format, &self.captcha_policy) {
            (PageFormat::Html, Some(policy)) if is_captcha => policy::with_nonce(policy, values.task.nonce),
            (PageFormat::Html, _) if is_operators => policy::OPERATOR,
            (PageFormat::Html, _) => self.plain_policy.clone(),
            _ => policy::NOTHING,
        };
        head.insert(CONTENT_SECURITY_POLICY, policy);
        if let Some(seconds) = values.page.retry_after {
            head.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The body, and whether it is from an operator's template.
    fn body(
        &self,
        kind: PageKind,
        format: PageFormat,
        language: Language,
        values: &FieldValues<'_>,
    ) -> (String, bool) {
        if let Some((name, path)) = self.templates.operator_file(kind, format) {
            match self.templates.render(name, self.fixed.of_request(kind, language, values)) {
                Ok(body) => return (body, true),
                // It passed the check at the start, so this depends on the request; the built-in page replaces it.
                Err(error) if !self.failure_logged.swap(true, Ordering::Relaxed) => {
                    let error = self.templates.error_in(&error, path);
                    error!(%error, "a page cannot be rendered: the built-in one is sent instead");
                }
                Err(_) => {}
            }
        }
        let present = Present::of(values);
        let cell = ((kind.index() * PageFormat::ALL.len() + format.index()) * Language::ALL.len()
            + language.index())
            * Present::COUNT
            + present.index();
        let skeleton = self.skeletons[cell].get_or_init(|| {
            let variables = self.fixed.of_skeleton(kind, language, present);
            match self.templates.render_builtin(format, variables) {
                Ok(rendered) => Some(Skeleton::new(&rendered, format.into())),
                Err(error) => {
                    error!(%error, page = kind.name(), "a built-in page cannot be rendered");
                    None
                }
            }
        });
        (skeleton.as_ref().map_or_else(String::new, |skeleton| skeleton.fill(values)), false)
    }

    /// Renders each of the operator's templates with all values and with the fewest, so that a wrong one is found at the
    /// start.
    fn try_operator_files(&self) -> Result<(), PagesError> {
        for kind in PageKind::ALL {
            // Without a captcha its page is never shown, and its template has no `captcha`.
            if kind == PageKind::Captcha && self.captcha_policy.is_none() {
                continue;
            }
            for format in PageFormat::ALL {
                if let Some((name, path)) = self.templates.operator_file(kind, format) {
                    self.try_file(kind, format, name, path)?;
                }
            }
        }
        Ok(())
    }

    fn try_file(
        &self,
        kind: PageKind,
        format: PageFormat,
        name: &str,
        path: &Path,
    ) -> Result<(), PagesError> {
        for is_full in [true, false] {
            let some = |text: &'static str| is_full.then_some(text);
            let page = PageContext {
                status: StatusCode::FORBIDDEN,
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
                request_id: "0",
                time: Timestamp::UNIX_EPOCH,
                scenario: some("crowdsecurity/http-probing"),
                origin: some("crowdsec"),
                until: is_full.then_some(Timestamp::UNIX_EPOCH),
                host: "example.org",
                path: "/",
                retry_after: is_full.then_some(1),
            };
            let task = TaskContext { token: "t", next: "/", nonce: "n", posted: is_full, failed: is_full };
            let values = FieldValues { page: &page, task };
            let rendered = self
                .templates
                .render(name, self.fixed.of_request(kind, self.default_language, &values))
                .map_err(|error| self.templates.error_in(&error, path))?;
            if format == PageFormat::Json {
                serde_json::from_str::<serde::de::IgnoredAny>(&rendered).map_err(|error| {
                    PagesError::NoJson { path: path.to_owned(), reason: error.to_string() }
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
