//! Holds the texts of the pages in each language. A struct of constants, so that a missing translation does not compile.

mod de;
mod en;
mod es;
mod fr;
mod ja;

use serde::Serialize;

use super::kind::PageKind;

/// The texts of one language.
#[derive(Debug, Serialize)]
pub(super) struct Texts {
    /// Headings and explanations, by page.
    #[serde(skip)]
    pub(super) pages: PageTexts,
    /// Labels of the details.
    pub(super) details: &'static str,
    pub(super) address: &'static str,
    pub(super) request: &'static str,
    pub(super) time: &'static str,
    pub(super) until: &'static str,
    pub(super) wait: &'static str,
    pub(super) seconds: &'static str,
    pub(super) contact: &'static str,
    pub(super) contact_hint: &'static str,
    /// The captcha page.
    pub(super) work_start: &'static str,
    pub(super) work_running: &'static str,
    pub(super) work_done: &'static str,
    pub(super) work_privacy: &'static str,
    pub(super) service_hint: &'static str,
    pub(super) send: &'static str,
    pub(super) no_script: &'static str,
    pub(super) no_cookies: &'static str,
    pub(super) post_lost: &'static str,
    pub(super) try_again: &'static str,
}

/// Heading and explanation of each page.
#[derive(Debug)]
pub(super) struct PageTexts {
    pub(super) ban: PageText,
    pub(super) captcha: PageText,
    pub(super) captcha_required: PageText,
    pub(super) captcha_failed: PageText,
    pub(super) throttle: PageText,
    pub(super) unavailable: PageText,
    pub(super) maintenance: PageText,
    pub(super) not_found: PageText,
    pub(super) bad_gateway: PageText,
    pub(super) gateway_timeout: PageText,
    pub(super) refused: PageText,
}

/// Heading and explanation of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageText {
    pub(super) title: &'static str,
    pub(super) message: &'static str,
}

impl Texts {
    pub(super) fn page(&self, kind: PageKind) -> PageText {
        let pages = &self.pages;
        match kind {
            PageKind::Ban => pages.ban,
            PageKind::Captcha => pages.captcha,
            PageKind::CaptchaRequired => pages.captcha_required,
            PageKind::CaptchaFailed => pages.captcha_failed,
            PageKind::Throttle => pages.throttle,
            PageKind::Unavailable => pages.unavailable,
            PageKind::Maintenance => pages.maintenance,
            PageKind::NotFound => pages.not_found,
            PageKind::BadGateway => pages.bad_gateway,
            PageKind::GatewayTimeout => pages.gateway_timeout,
            PageKind::Refused => pages.refused,
        }
    }
}

/// The languages with texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// `en`.
    English,
    /// `de`.
    German,
    /// `fr`.
    French,
    /// `es`.
    Spanish,
    /// `ja`.
    Japanese,
}

impl Language {
    /// All of them, in the order of their positions in tables.
    pub const ALL: [Self; 5] = [Self::English, Self::German, Self::French, Self::Spanish, Self::Japanese];

    /// Its primary subtag (BCP 47).
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Japanese => "ja",
        }
    }

    /// The language of a tag such as `de-CH`.
    pub fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary))
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    pub(super) const fn texts(self) -> &'static Texts {
        match self {
            Self::English => &en::TEXTS,
            Self::German => &de::TEXTS,
            Self::French => &fr::TEXTS,
            Self::Spanish => &es::TEXTS,
            Self::Japanese => &ja::TEXTS,
        }
    }
}
