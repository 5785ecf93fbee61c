//! Lists the pages, with the names of their templates.

/// What a page is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// The client is banned.
    Ban,
    /// The client must solve a captcha.
    Captcha,
    /// The client must solve a captcha, which cannot be shown in response to this request.
    CaptchaRequired,
    /// The captcha's provider cannot be asked.
    CaptchaFailed,
    /// The client's rate is limited.
    Throttle,
    /// Decisions are unknown or too old, and the policy is to refuse.
    Unavailable,
    /// No upstream of the route is up.
    Maintenance,
    /// No route is configured for the request.
    NotFound,
    /// The upstream's response could not be used.
    BadGateway,
    /// The upstream did not respond in time.
    GatewayTimeout,
    /// The request is refused for its form or size; the status says why.
    Refused,
}

impl PageKind {
    /// All of them, in the order of their positions in tables.
    pub const ALL: [Self; 11] = [
        Self::Ban,
        Self::Captcha,
        Self::CaptchaRequired,
        Self::CaptchaFailed,
        Self::Throttle,
        Self::Unavailable,
        Self::Maintenance,
        Self::NotFound,
        Self::BadGateway,
        Self::GatewayTimeout,
        Self::Refused,
    ];

    /// The name of its template, without the extension; also the variable `page`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ban => "ban",
            Self::Captcha => "captcha",
            Self::CaptchaRequired => "captcha_required",
            Self::CaptchaFailed => "captcha_failed",
            Self::Throttle => "throttle",
            Self::Unavailable => "unavailable",
            Self::Maintenance => "maintenance",
            Self::NotFound => "not_found",
            Self::BadGateway => "bad_gateway",
            Self::GatewayTimeout => "gateway_timeout",
            Self::Refused => "refused",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// The form of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageFormat {
    /// `text/html`.
    Html,
    /// `application/problem+json` (RFC 9457).
    Json,
    /// `text/plain`.
    Text,
}

impl PageFormat {
    pub(super) const ALL: [Self; 3] = [Self::Html, Self::Json, Self::Text];

    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Json => "json",
            Self::Text => "txt",
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/problem+json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}
