//! Opens the file of a command that imports a list.

use std::fs::File;
use std::io::{self, Read};

use crate::failure::Failure;

/// The named file; `-` is standard input.
pub(super) fn open_input(name: &str) -> Result<Box<dyn Read>, Failure> {
    if name == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file =
        File::open(name).map_err(|error| Failure::Command(format!("unable to open {name}: {error}")))?;
    Ok(Box::new(file))
}
