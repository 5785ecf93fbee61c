//! Limits the cost of an evaluation: hostile or careless expressions end with an error.

use crate::error::Fault;

/// Limits of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum cost: loop iterations, created elements, and read bytes (in blocks) each count.
    pub steps: u32,
    /// Maximum length of a created text, in bytes.
    pub text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 1_000_000, text: 1 << 20 }
    }
}

/// The remaining budget during an evaluation. Functions that may take long or create large values charge it first.
#[derive(Debug)]
pub struct Budget {
    steps: u32,
    text: usize,
}

impl Budget {
    /// A full budget.
    pub fn new(limits: Limits) -> Self {
        Self { steps: limits.steps, text: limits.text }
    }

    /// Charges `steps`.
    pub fn spend(&mut self, steps: usize) -> Result<(), Fault> {
        match u32::try_from(steps).ok().and_then(|steps| self.steps.checked_sub(steps)) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(Fault::from("the expression takes too many steps")),
        }
    }

    /// Charges for reading `bytes`.
    pub fn read(&mut self, bytes: usize) -> Result<(), Fault> {
        // Short texts cost less than the node that reads them.
        if bytes < 64 { Ok(()) } else { self.spend(bytes / 64) }
    }

    /// Charges for a text of `bytes` before it is created.
    pub fn make(&mut self, bytes: usize) -> Result<(), Fault> {
        if bytes > self.text {
            return Err(Fault(format!(
                "a text of {bytes} bytes is too long; at most {} are allowed",
                self.text
            )));
        }
        self.read(bytes)
    }
}
