//! Names the settings of the file that the user edits, for messages.

use std::path::Path;

/// How messages name the settings of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingNames {
    url: String,
    file: Option<String>,
}

impl SettingNames {
    /// A bouncer's configuration file.
    pub fn bouncer() -> Self {
        Self { url: "`api_url`".to_owned(), file: None }
    }

    /// The same for an address of the list `api_urls`.
    pub fn bouncer_list() -> Self {
        Self { url: "`api_urls`".to_owned(), file: None }
    }

    /// A machine's credentials file.
    pub fn credentials(file: Option<&Path>) -> Self {
        let file = file.map(|path| path.display().to_string());
        Self { url: named("url", file.as_deref()), file }
    }

    /// The URL comes from a flag of the command line, such as `--url`.
    #[must_use]
    pub fn with_url_flag(self, flag: &str) -> Self {
        Self { url: format!("`{flag}`"), ..self }
    }

    /// The setting of the LAPI's address, quoted.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Another key of the same file, quoted.
    pub(crate) fn key(&self, key: &str) -> String {
        named(key, self.file.as_deref())
    }
}

fn named(key: &str, file: Option<&str>) -> String {
    match file {
        Some(file) => format!("`{key}` in {file}"),
        None => format!("`{key}`"),
    }
}
