//! A bouncer that delivers decisions: to HTTP endpoints as signed messages, to programs, and as lists over HTTP.
//!
//! ```text
//!                                    ┌─ filter, grouping ─► delivery ─► sink ─┬─► http (templates, signatures)
//! CacheHandle ── changed targets ──► │                        ▲               ├─► program (arguments, standard input)
//!  (palisade_stream)                 │                        ▼               └─► replace (whole lists: Cloudflare, AWS)
//!                                    │                      store (what each endpoint holds, on disk)
//!                                    └─ mirror ─► lists over HTTP
//! ```
//!
//! Each endpoint is a task of its own: what it holds is stored, and what it is sent is the difference between that
//! and the current snapshot. [`Config`](config::Config) is the checked configuration.

mod adopt;
mod commands;
pub mod config;
pub mod delivery;
#[cfg(test)]
mod documentation;
pub mod endpoints;
pub mod event;
pub mod filter;
pub mod http;
pub mod mirror;
pub mod program;
pub mod render;
pub mod replace;
pub mod sink;
pub mod store;
pub mod templates;
pub mod view;
mod webhook;

pub use self::webhook::{Webhook, WebhookStatus};
