//! Makes the variables of templates.

use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::Serde;

use super::context::{Field, FieldValues};
use super::kind::PageKind;
use super::skeleton::mark;
use super::texts::Language;
use crate::captcha;
use crate::config::{CaptchaConfig, CaptchaProvider};

type Map = BTreeMap<&'static str, Value>;

/// Variables that depend on the configuration alone.
pub(super) struct Fixed {
    style: Value,
    contact: Value,
    contact_link: Value,
    captcha: Value,
    /// By language, without the page's heading and message.
    texts: Vec<serde_json::Map<String, serde_json::Value>>,
}

impl Fixed {
    pub(super) fn new(style: &str, contact: &str, captcha: Option<&CaptchaConfig>) -> Self {
        let texts = Language::ALL
            .into_iter()
            .map(|language| match serde_json::to_value(language.texts()) {
                Ok(serde_json::Value::Object(texts)) => texts,
                // A struct of texts is always an object.
                _ => serde_json::Map::new(),
            })
            .collect();
        let some = |text: String| if text.is_empty() { Value::from(()) } else { Value::from(text) };
        Self {
            // Trusted: the operator's own file. A style cannot be escaped for HTML.
            style: Value::from_safe_string(style.to_owned()),
            contact: some(contact.to_owned()),
            contact_link: some(contact_link(contact)),
            captcha: captcha.map_or(Value::from(()), widget),
            texts,
        }
    }

    fn of_page(&self, kind: PageKind, language: Language) -> Map {
        let mut texts = self.texts[language.index()].clone();
        let page = language.texts().page(kind);
        texts.insert("title".into(), page.title.into());
        texts.insert("message".into(), page.message.into());
        Map::from([
            ("page", Value::from(kind.name())),
            ("language", Value::from(language.tag())),
            ("text", Value::from(Serde(texts))),
            ("style", self.style.clone()),
            ("contact", self.contact.clone()),
            ("contact_link", self.contact_link.clone()),
            ("captcha", self.captcha.clone()),
        ])
    }

    /// All variables with the values of a request.
    pub(super) fn of_request(&self, kind: PageKind, language: Language, values: &FieldValues<'_>) -> Value {
        let mut map = self.of_page(kind, language);
        for field in Field::ALL {
            let mut text = String::new();
            let value = match values.write(field, &mut text) {
                false => Value::from(()),
                true if field.is_number() => text.parse::<u64>().map_or(Value::from(()), Value::from),
                true => Value::from(text),
            };
            map.insert(field.name(), value);
        }
        map.insert("posted", values.task.posted.into());
        map.insert("failed", values.task.failed.into());
        Value::from(map)
    }

    /// All variables with marks in place of values.
    pub(super) fn of_skeleton(&self, kind: PageKind, language: Language, present: Present) -> Value {
        let mut map = self.of_page(kind, language);
        for field in Field::ALL {
            let is_present = match field {
                Field::Until | Field::UntilText => present.has(Present::UNTIL),
                Field::RetryAfter => present.has(Present::RETRY_AFTER),
                // The built-in pages do not show them.
                Field::Scenario | Field::Origin => false,
                _ => true,
            };
            let value = match is_present {
                false => Value::from(()),
                // Not to be quoted in JSON.
                true if field.is_number() => Value::from_safe_string(mark(field)),
                true => Value::from(mark(field)),
            };
            map.insert(field.name(), value);
        }
        map.insert("posted", present.has(Present::POSTED).into());
        map.insert("failed", present.has(Present::FAILED).into());
        Value::from(map)
    }
}

/// Which optional values a page has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present(usize);

impl Present {
    pub(super) const COUNT: usize = 16;
    const UNTIL: usize = 1;
    const RETRY_AFTER: usize = 2;
    const POSTED: usize = 4;
    const FAILED: usize = 8;

    pub(super) fn of(values: &FieldValues<'_>) -> Self {
        let flag = |is: bool, flag: usize| if is { flag } else { 0 };
        Self(
            flag(values.page.until.is_some(), Self::UNTIL)
                | flag(values.page.retry_after.is_some(), Self::RETRY_AFTER)
                | flag(values.task.posted, Self::POSTED)
                | flag(values.task.failed, Self::FAILED),
        )
    }

    pub(super) const fn index(self) -> usize {
        self.0
    }

    const fn has(self, flag: usize) -> bool {
        self.0 & flag != 0
    }
}

/// What a contact links to; empty when it is neither a web nor a mail address.
fn contact_link(contact: &str) -> String {
    let is_one_word = !contact.contains(char::is_whitespace);
    if is_one_word && (contact.starts_with("https://") || contact.starts_with("http://")) {
        contact.to_owned()
    } else if is_one_word && contact.contains('@') && !contact.contains([':', '?', '&']) {
        format!("mailto:{contact}")
    } else {
        String::new()
    }
}

fn widget(config: &CaptchaConfig) -> Value {
    // Constants without characters to escape; a slash would be.
    let safe = |text: &str| Value::from_safe_string(text.to_owned());
    let common = [("action", safe(captcha::SOLUTION_PATH)), ("script", safe(captcha::script_url()))];
    let own = match &config.provider {
        CaptchaProvider::ProofOfWork { difficulty } => {
            vec![("kind", Value::from("work")), ("difficulty", Value::from(*difficulty))]
        }
        CaptchaProvider::Service { name, script_url, widget_class, response_field, site_key, .. } => vec![
            ("kind", Value::from("service")),
            ("provider", Value::from(name.clone())),
            ("script_url", Value::from(script_url.clone())),
            ("widget_class", Value::from(widget_class.clone())),
            ("response_field", Value::from(response_field.clone())),
            ("site_key", Value::from(site_key.clone())),
        ],
    };
    Value::from(common.into_iter().chain(own).collect::<Map>())
}
