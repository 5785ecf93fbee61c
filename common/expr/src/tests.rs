//! Tests of the language through its public API: compile, evaluate, compare.

mod bounds;
mod errors;
mod host;
mod hostile;
mod semantics;

use crate::{Limits, Program, Value, Vocabulary};
use host::{Event, vocabulary};

/// The value of an expression in `%v` form, or the error.
fn run(source: &str) -> Result<String, String> {
    run_on(source, &Event::example())
}

fn run_on(source: &str, event: &Event) -> Result<String, String> {
    let program = Program::compile(source, &vocabulary()).map_err(|error| format!("compile: {error}"))?;
    match program.evaluate(event, Limits::default()) {
        Ok(value) => Ok(crate::shown::shown(&value)),
        Err(error) => Err(error.to_string()),
    }
}

/// Compares each expression's value with the expected one.
fn check(cases: &[(&str, &str)]) {
    for (source, meant) in cases {
        assert_eq!(run(source).as_deref(), Ok(*meant), "{source}");
    }
}

#[test]
fn programs_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Program>();
    shared::<Vocabulary>();
    // Values are cheap to move.
    assert!(size_of::<Value<'_>>() <= 40);
}
