//! Explains what would happen to a request, and why.
//!
//! ```text
//!  arguments.rs  command line ──► ExplainedRequest
//!  sources.rs    running daemon or persisted decisions, geo databases ──► Knowledge
//!  evaluate.rs   configuration + request + Knowledge ──► Report; pure
//!  print.rs      Report ──► text
//!  effect.rs     the effect on an address, for `lookup`
//! ```
//!
//! The steps are those of [`serve`](crate::serve), and the same functions take them.

mod arguments;
mod decisions;
mod effect;
mod evaluate;
mod print;
mod report;
mod sources;

use std::io::Write;

use anyhow::Context as _;
use palisade_bouncer::run::CommandContext;

pub(crate) use self::arguments::EXPLAIN;
pub(crate) use self::effect::effect;
use crate::proxy::Proxy;

/// Explains the request of the command line, as text or as one line of JSON.
///
/// # Errors
/// The arguments are no request, a geo database cannot be read, or the result cannot be written.
pub(crate) fn explain(context: &CommandContext<'_, Proxy>, out: &mut dyn Write) -> anyhow::Result<()> {
    let request = arguments::parse(context.typed)?;
    let config = &context.loaded.config;
    let report = evaluate::evaluate(config, &request, &mut sources::Daemon::new(context)?)?;
    let text = if context.json() { serde_json::to_string(&report)? + "\n" } else { print::text(&report) };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot print the answer")
}

#[cfg(test)]
mod tests;
