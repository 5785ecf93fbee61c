//! Reads the options of ready templates.

use std::collections::BTreeMap;

use super::TemplateError;
use super::ready::ReadyTemplate;

/// The longest value of an option, in bytes.
const MAX_OPTION_BYTES: usize = 1024;

/// Options with the defaults filled in. Each has been found to be known.
pub(super) struct Options<'a> {
    template: &'static str,
    values: BTreeMap<&'static str, &'a str>,
}

impl<'a> Options<'a> {
    pub(super) fn read(
        ready: &'static ReadyTemplate,
        given: &'a BTreeMap<String, String>,
    ) -> Result<Self, TemplateError> {
        let fail = |option: &str, reason: String| TemplateError::Option {
            template: ready.name.to_owned(),
            option: option.to_owned(),
            reason,
        };
        let mut values = BTreeMap::new();
        for (name, value) in given {
            let Some(known) = ready.options.iter().find(|known| known.name == name) else {
                let names: Vec<&str> = ready.options.iter().map(|option| option.name).collect();
                let known = if names.is_empty() {
                    "has none".to_owned()
                } else {
                    format!("has {}", names.join(", "))
                };
                return Err(fail(name, format!("is unknown; the template {known}")));
            };
            if value.len() > MAX_OPTION_BYTES || value.chars().any(char::is_control) {
                return Err(fail(
                    name,
                    format!("is longer than {MAX_OPTION_BYTES} bytes or has control characters"),
                ));
            }
            values.insert(known.name, value.as_str());
        }
        for option in ready.options {
            values.entry(option.name).or_insert(option.default);
        }
        Ok(Self { template: ready.name, values })
    }

    /// The value; empty when the option was neither given nor has a default.
    pub(super) fn text(&self, name: &str) -> &'a str {
        self.values.get(name).copied().unwrap_or_default()
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<T, TemplateError> {
        let given = self.text(name);
        words.iter().find(|(word, _)| *word == given).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(name, format!("is {given:?}; it can be {}", words.join(" or ")))
        })
    }

    pub(super) fn wrong(&self, name: &str, reason: String) -> TemplateError {
        TemplateError::Option { template: self.template.to_owned(), option: name.to_owned(), reason }
    }

    /// All of them, for the variable `options` of a template.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        self.values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }
}
