//! Checks the configuration file and completes it with defaults.
//!
//! Pure, except that secrets and templates may be read from files of their own.

mod endpoint;
mod http;
mod mirror;
mod program;
mod replace;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use palisade_client::Secret;
use palisade_daemon::Problems;

use super::file::{ConfigFile, FilterFile};
use super::{Config, FilterConfig};

/// The most endpoints. Each has a task, a file and connections of its own.
pub const MAX_ENDPOINTS: usize = 100;
/// The most entries of a list within an endpoint: headers, secrets, filters.
const MAX_ENTRIES: usize = 1000;
/// The longest template, in bytes.
const MAX_TEMPLATE_BYTES: u64 = 256 * 1024;
/// The shortest timeout or wait that is accepted.
const SHORTEST: Duration = Duration::from_millis(10);

/// The program's name, also the default type shown by `cscli bouncers list`.
const NAME: &str = "palisade-webhook";

/// What a check may read beside the file.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    /// Reads a secret from a file, or from a systemd credential.
    pub secret: &'a dyn Fn(&Path) -> Result<Secret, String>,
    /// Reads a text file, such as a template.
    pub text: &'a dyn Fn(&Path) -> Result<String, String>,
}

impl std::fmt::Debug for Files<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

/// Reads a template file.
///
/// # Errors
/// What is wrong with it.
pub fn read_text(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    // Bounded, in case the path names a device or a log.
    let mut bounded = std::io::Read::take(file, MAX_TEMPLATE_BYTES + 1);
    std::io::Read::read_to_string(&mut bounded, &mut text).map_err(failed)?;
    match text.len() as u64 > MAX_TEMPLATE_BYTES {
        true => Err(format!("{} is longer than {MAX_TEMPLATE_BYTES} bytes", path.display())),
        false => Ok(text),
    }
}

impl ConfigFile {
    /// Checks everything and reports all problems at once, or returns the configuration.
    ///
    /// # Errors
    /// All problems, with their keys.
    pub fn check(self, files: Files<'_>) -> Result<Config, Problems> {
        let mut check = Check { wrong: Problems::new(), files };
        let entries = self.endpoints.unwrap_or_default();
        if entries.is_empty() && self.mirror.is_none() {
            check.wrong.add(
                "endpoints",
                "config does not contain 'endpoints'; name a receiver, for example `endpoints: [{name: soar, url: \
                 \"https://soar.example.org/hook\"}]`",
            );
        }
        if entries.len() > MAX_ENDPOINTS {
            check.wrong.add("endpoints", format!("there may be at most {MAX_ENDPOINTS}"));
        }
        let (mut endpoints, mut names) = (Vec::new(), BTreeSet::new());
        for (index, file) in entries.into_iter().enumerate().take(MAX_ENDPOINTS) {
            let key = format!("endpoints[{index}]");
            if let Some(endpoint) = check.endpoint(&key, file) {
                // Names differ in more than letter case, because they are file names.
                if !names.insert(endpoint.name.to_ascii_lowercase()) {
                    check.wrong.add(
                        format!("{key}.name"),
                        "another endpoint has this name; give each one of its own",
                    );
                }
                endpoints.push(Arc::new(endpoint));
            }
        }
        let mirror = self.mirror.map(|file| Arc::new(check.mirror(file)));
        let present_as = self.present_as.unwrap_or_else(|| NAME.to_owned());
        if present_as.is_empty()
            || !present_as.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            check.wrong.add("present_as", "it must consist of letters, digits and hyphens");
        }
        check.wrong.or(Config { endpoints, mirror, present_as })
    }
}

impl Config {
    /// The scopes that a filter names and a LAPI does not send unless it is asked for them: such a filter finds nothing.
    pub fn scopes_to_ask_for(&self) -> BTreeSet<String> {
        const SENT: [&str; 2] = ["ip", "range"];
        let of_endpoints = self.endpoints.iter().map(|endpoint| &endpoint.filter);
        let of_lists = self.mirror.iter().flat_map(|mirror| &mirror.lists).map(|list| &list.filter);
        let named = of_endpoints.chain(of_lists).flat_map(|filter| &filter.scopes);
        let asked = named.filter(|scope| !SENT.iter().any(|known| scope.eq_ignore_ascii_case(known)));
        asked.map(|scope| scope.to_lowercase()).collect()
    }
}

struct Check<'a> {
    wrong: Problems,
    files: Files<'a>,
}

impl Check<'_> {
    /// Reports the keys that are given although they have no effect.
    fn refuse(&mut self, key: &str, keys: &[(&str, bool)], why: &str) {
        for (name, _) in keys.iter().filter(|(_, is_given)| *is_given) {
            self.wrong.add(format!("{key}.{name}"), format!("{why}; remove the key"));
        }
    }

    /// A secret that is written in the file or in a file of its own; `None` for neither.
    fn secret(&mut self, key: &str, given: Option<Secret>, file: Option<PathBuf>) -> Option<Secret> {
        match (given, file) {
            (Some(_), Some(_)) => {
                self.wrong.add(format!("{key}_file"), format!("`{key}` is given too; remove one of them"));
                None
            }
            (Some(secret), None) if secret.reveal().is_empty() => {
                self.wrong.add(key, "it is empty");
                None
            }
            (given, None) => given,
            (None, Some(path)) => match (self.files.secret)(&path) {
                Ok(secret) => Some(secret),
                Err(text) => {
                    self.wrong.add(format!("{key}_file"), text);
                    None
                }
            },
        }
    }

    fn filter(&mut self, key: &str, file: Option<FilterFile>) -> FilterConfig {
        let file = file.unwrap_or_default();
        let mut texts = |name: &str, given: Option<Vec<String>>| {
            let given = given.unwrap_or_default();
            if given.len() > MAX_ENTRIES {
                self.wrong.add(format!("{key}.{name}"), format!("there may be at most {MAX_ENTRIES}"));
            }
            if given.iter().any(String::is_empty) {
                self.wrong.add(format!("{key}.{name}"), "an entry is empty");
            }
            given
        };
        let filter = FilterConfig {
            scopes: texts("scopes", file.scopes),
            types: texts("types", file.types),
            origins: texts("origins", file.origins),
            scenarios: texts("scenarios", file.scenarios),
            not_scenarios: texts("not_scenarios", file.not_scenarios),
            expression: file.expression,
        };
        self.check_expression(&format!("{key}.expression"), &filter);
        filter
    }
}
