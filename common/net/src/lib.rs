//! Addresses, prefixes and tables of prefixes. No I/O.
//!
//! ```
//! use palisade_net::{PrefixSet, parse_prefix};
//!
//! assert_eq!(parse_prefix("::ffff:192.0.2.9/120")?.to_string(), "192.0.2.0/24");
//! let trusted: PrefixSet = [parse_prefix("10.0.0.0/8")?].into_iter().collect();
//! assert!(trusted.contains("::ffff:10.1.2.3".parse()?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod prefix;
mod table;

pub use prefix::{InvalidAddress, canonical, parse_prefix};
pub use table::{PrefixSet, PrefixTable};
