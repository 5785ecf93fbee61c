//! Uploads whole lists to services that take nothing else: Cloudflare lists, AWS WAF IP sets, or any HTTP endpoint.

pub mod aws_waf;
pub mod cloudflare;
pub mod exchange;
pub mod list;

#[cfg(test)]
mod testing;
