//! What an evaluation may use up: hostile or careless expressions end with an error.

use crate::{Fault, Value};

/// How deep lists and maps may be nested. Freeing and comparing them is recursive.
const MAX_DEPTH: u16 = 150;

/// Limits of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps of loops, elements made, and some bytes read each cost.
    pub steps: u32,
    /// The longest text that may be made, in bytes.
    pub text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 1_000_000, text: 1 << 20 }
    }
}

/// What is left of the limits while an expression runs. Functions that may take long, or make much, pay here first.
#[derive(Debug)]
pub struct Budget {
    steps: u32,
    text: usize,
}

impl Budget {
    /// Everything is left.
    pub fn new(limits: Limits) -> Self {
        Self { steps: limits.steps, text: limits.text }
    }

    /// Pays for `steps`.
    pub fn spend(&mut self, steps: usize) -> Result<(), Fault> {
        match u32::try_from(steps).ok().and_then(|steps| self.steps.checked_sub(steps)) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(Fault::from("the expression takes too many steps")),
        }
    }

    /// Pays for reading through `bytes`.
    pub fn read(&mut self, bytes: usize) -> Result<(), Fault> {
        // Short texts cost less than the node that reads them.
        if bytes < 64 { Ok(()) } else { self.spend(bytes / 64) }
    }

    /// Pays for a text of `bytes` before it is made.
    pub fn make(&mut self, bytes: usize) -> Result<(), Fault> {
        if bytes > self.text {
            return Err(Fault(format!(
                "a text of {bytes} bytes is too long; at most {} are allowed",
                self.text
            )));
        }
        self.read(bytes)
    }

    /// Takes a value that was just made, unless it is nested too deep.
    pub fn nested<'v>(&self, value: Value<'v>) -> Result<Value<'v>, Fault> {
        if value.depth() > MAX_DEPTH {
            return Err(Fault::from("lists and maps are nested too deep"));
        }
        Ok(value)
    }
}
