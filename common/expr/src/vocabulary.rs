//! The names an expression may use: the host's variables and functions, the built-in functions, and refused names.

use std::{collections::HashMap, fmt};

use crate::{
    ast::Loop,
    crowdsec_functions,
    function::{Body, Pure, Signature},
    language_functions,
    value::Type,
};

/// The names known to expressions. Built once by the host; programs compiled with it do not refer to it.
#[derive(Clone, Default)]
pub struct Vocabulary {
    variables: HashMap<&'static str, (usize, Type)>,
    functions: HashMap<&'static str, (Signature, Body)>,
    refused: HashMap<&'static str, &'static str>,
}

impl Vocabulary {
    /// The language's built-in functions, such as `len` and `lower`, and nothing else.
    pub fn new() -> Self {
        let mut vocabulary = Self::default();
        for (signature, body) in language_functions::all() {
            vocabulary.pure(signature, body);
        }
        let now = Signature::new("now", &[Type::Zone], Type::Time).with_optional(1);
        vocabulary.functions.insert(now.name, (now, Body::Now { utc: false }));
        vocabulary
    }

    /// Adds CrowdSec's functions that need no external data, such as `Upper`, `Sprintf` and `IpInRange`.
    pub fn with_library(mut self) -> Self {
        for (signature, body) in crowdsec_functions::all() {
            self.pure(signature, body);
        }
        let now = Signature::new("TimeNow", &[], Type::Time);
        self.functions.insert(now.name, (now, Body::Now { utc: true }));
        self
    }

    /// Adds a variable of the host, which is read by `number`.
    pub fn variable(&mut self, name: &'static str, number: usize, kind: Type) {
        self.variables.insert(name, (number, kind));
    }

    /// Adds a function that does not need the host, replacing one of the same name.
    pub fn pure(&mut self, signature: Signature, body: Pure) {
        self.functions.insert(signature.name, (signature, Body::Pure(body)));
    }

    /// Adds a function of the host, which is called by `number`, replacing one of the same name.
    pub fn host(&mut self, signature: Signature, number: usize) {
        self.functions.insert(signature.name, (signature, Body::Host(number)));
    }

    /// Adds a function of the reference that is not available here: calling it fails with this reason, and
    /// [`Program::unavailable`](crate::Program::unavailable) lists them beforehand.
    pub fn refuse(&mut self, name: &'static str, reason: &'static str) {
        self.functions.remove(name);
        self.refused.insert(name, reason);
    }

    pub(crate) fn variable_named(&self, name: &str) -> Option<(usize, Type)> {
        self.variables.get(name).copied()
    }

    pub(crate) fn function_named(&self, name: &str) -> Option<&(Signature, Body)> {
        self.functions.get(name)
    }

    pub(crate) fn refusal(&self, name: &str) -> Option<&'static str> {
        self.refused.get(name).copied()
    }

    /// The known name most similar to an unknown one, if any is close.
    pub(crate) fn nearest(&self, name: &str, functions: bool) -> Option<&'static str> {
        let names: Vec<&'static str> = if functions {
            self.functions.keys().copied().chain(Loop::ALL.map(|(name, _)| name)).collect()
        } else {
            self.variables.keys().copied().collect()
        };
        nearest(name, names)
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary")
            .field("variables", &self.variables.len())
            .field("functions", &self.functions.len())
            .finish_non_exhaustive()
    }
}

/// The most similar name, ignoring letter case, at an edit distance of at most two.
pub(crate) fn nearest(name: &str, known: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    let wanted: String = name.to_lowercase().chars().take(64).collect();
    known
        .into_iter()
        .map(|known| (strsim::levenshtein(&wanted, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= 2 && *distance < known.len().min(wanted.len()))
        // Among equals, one that begins with the same letter in the same case.
        .min_by_key(|(distance, known)| (*distance, known.chars().next() != name.chars().next(), *known))
        .map(|(_, known)| known)
}
