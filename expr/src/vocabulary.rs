//! The names an expression may use: the host's variables and functions, the built-in ones, and those that are refused.

use std::{collections::HashMap, fmt};

use crate::{Budget, Fault, Value, types::Type};

/// How a function that needs nothing of the host runs.
pub type Pure = for<'v> fn(&[Value<'v>], &mut Budget) -> Result<Value<'v>, Fault>;

/// A function as the checker sees it.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// What it takes. When it takes any number, the last is what all further ones are.
    pub params: &'static [Type],
    /// How many of `params`, from the end, may be left out.
    pub optional: usize,
    /// Whether it takes any number of arguments, none in place of the last of `params` included.
    pub variadic: bool,
    /// What it returns.
    pub returns: Type,
}

impl Signature {
    /// A function that takes exactly `params`.
    pub const fn new(name: &'static str, params: &'static [Type], returns: Type) -> Self {
        Self { name, params, optional: 0, variadic: false, returns }
    }

    /// The same with the last `count` arguments optional.
    pub const fn with_optional(self, count: usize) -> Self {
        Self { optional: count, ..self }
    }

    /// The same with any number of arguments like the last.
    pub const fn any_number(self) -> Self {
        Self { variadic: true, ..self }
    }
}

/// What runs when a function is called.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    Pure(Pure),
    /// The host's function of this number.
    Host(usize),
    /// The host's clock, in UTC or not.
    Now {
        utc: bool,
    },
}

/// What expressions know. Made once by the host; programs that were compiled with it run without it.
#[derive(Clone, Default)]
pub struct Vocabulary {
    variables: HashMap<&'static str, (usize, Type)>,
    functions: HashMap<&'static str, (Signature, Body)>,
    refused: HashMap<&'static str, &'static str>,
}

impl Vocabulary {
    /// The language's own functions, such as `len` and `lower`, and nothing else.
    pub fn new() -> Self {
        let mut vocabulary = Self::default();
        for (signature, body) in crate::builtins::all() {
            vocabulary.pure(signature, body);
        }
        let now = Signature::new("now", &[Type::Zone], Type::Time).with_optional(1);
        vocabulary.functions.insert(now.name, (now, Body::Now { utc: false }));
        vocabulary
    }

    /// Adds CrowdSec's functions that need no data from outside, such as `Upper`, `Sprintf` and `IpInRange`.
    pub fn with_library(mut self) -> Self {
        for (signature, body) in crate::library::all() {
            self.pure(signature, body);
        }
        let now = Signature::new("TimeNow", &[], Type::Time);
        self.functions.insert(now.name, (now, Body::Now { utc: true }));
        self
    }

    /// A variable of the host; it is asked for by `number`.
    pub fn variable(&mut self, name: &'static str, number: usize, kind: Type) {
        self.variables.insert(name, (number, kind));
    }

    /// A function that needs nothing of the host. It replaces one of the same name.
    pub fn pure(&mut self, signature: Signature, body: Pure) {
        self.functions.insert(signature.name, (signature, Body::Pure(body)));
    }

    /// A function of the host; it is called by `number`. It replaces one of the same name.
    pub fn host(&mut self, signature: Signature, number: usize) {
        self.functions.insert(signature.name, (signature, Body::Host(number)));
    }

    /// A function that expressions written for the reference may use and that cannot run here: a compile error with
    /// this reason.
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

    /// The known name most like one that is not known, if any is near.
    pub(crate) fn nearest(&self, name: &str, functions: bool) -> Option<&'static str> {
        let names: Vec<&'static str> = if functions {
            self.functions.keys().copied().chain(crate::ast::Loop::ALL.map(|(name, _)| name)).collect()
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

/// The name that differs least, letter case aside, if it differs by two letters at most.
pub(crate) fn nearest(name: &str, known: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    let wanted: Vec<char> = name.to_lowercase().chars().take(64).collect();
    known
        .into_iter()
        .map(|known| (distance(&wanted, &known.to_lowercase().chars().collect::<Vec<_>>()), known))
        .filter(|(distance, known)| *distance <= 2 && *distance < known.len().min(wanted.len()))
        // Among equals, one that begins with the same letter in the same case.
        .min_by_key(|(distance, known)| (*distance, known.chars().next() != name.chars().next(), *known))
        .map(|(_, known)| known)
}

/// How many letters must be changed, added or left out.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What gives an expression its data while it runs.
///
/// Values may borrow from it, so what functions change must be behind a cell, and be shared ([`crate::Text::Shared`])
/// or copied out of it.
pub trait Host {
    /// The value of the variable of this number.
    fn variable<'v>(&'v self, number: usize) -> Value<'v>;

    /// Calls the function of this number. The arguments' count and, where it was known, their kinds are checked.
    fn call<'v>(
        &'v self,
        number: usize,
        arguments: &[Value<'v>],
        budget: &mut Budget,
    ) -> Result<Value<'v>, Fault>;

    /// The time, in the zone that `now()` is to be in.
    fn now(&self) -> jiff::Zoned {
        jiff::Zoned::now()
    }
}
