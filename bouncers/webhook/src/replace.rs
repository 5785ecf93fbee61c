//! Uploads whole lists to services that take nothing else: Cloudflare lists, AWS WAF IP sets, or any HTTP endpoint.

pub mod accepted;
pub mod aws_waf;
pub mod cloudflare;
pub mod exchange;
pub mod generic;
pub mod list;
pub mod service;
pub mod status;
pub mod task;

#[cfg(test)]
pub(crate) mod testing;
