//! Texts as Go reads and writes them: durations, time layouts, regular expressions, booleans, quotes. No I/O.
//!
//! CrowdSec is written in Go, and its users' files, scripts and expressions depend on these forms.

mod duration;
pub mod layout;
pub mod pattern;
mod rfc3339;
mod text;

pub use duration::{DurationError, GoDuration};
pub use rfc3339::parse_rfc3339;
pub use text::{go_errors, parse_bool, quote, unset_variable, with_causes};
