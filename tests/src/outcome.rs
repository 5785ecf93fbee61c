//! The result of a test, and failures with their context.

use std::fmt;

/// The result of a step of a story.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a test failed: the attempted action, and the chain of causes, outermost first.
pub struct Failure {
    chain: Vec<String>,
}

impl Failure {
    /// A failure with our own text.
    pub fn new(text: impl fmt::Display) -> Self {
        Self { chain: vec![text.to_string()] }
    }
}

// libtest prints the `Debug` form of a failed test's error, so it is the readable one.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain.join(": "))
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(palisade_go_compat::with_causes(&error))
    }
}

/// Adds the attempted action to an error.
pub trait Doing<T> {
    /// `file.read().doing("reading the config")?`
    ///
    /// # Errors
    /// The failure, with `what` in front of it.
    fn doing(self, what: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: Into<Failure>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| {
            let mut failure = error.into();
            failure.chain.insert(0, what.to_string());
            failure
        })
    }
}

impl<T> Doing<T> for Option<T> {
    fn doing(self, what: impl fmt::Display) -> Outcome<T> {
        self.ok_or_else(|| Failure::new(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_deed_before_the_cause() {
        let cause: Result<(), _> = Err(std::io::Error::other("disk on fire"));
        let failure = cause.doing("writing the config").unwrap_err();
        assert_eq!(failure.to_string(), "writing the config: disk on fire");
        assert_eq!(None::<u8>.doing("no such set").unwrap_err().to_string(), "no such set");
    }
}
