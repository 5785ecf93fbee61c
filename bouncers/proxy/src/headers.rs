//! Rewrites the header fields of forwarded requests and responses. Pure.
//!
//! Maps are changed in place. Fields of the connection end here, fields that tell who the client is are written anew, and
//! the length of a body is what was parsed.
//!
//! No `Via` is added: nginx compresses nothing for requests that have one (`gzip_proxied`), and it tells clients of the
//! upstream what stands before it. Requests that loop end at the limit of header fields or of connections.

pub mod names;
mod request;
mod response;
mod trailers;

pub use self::request::{Dropped, Forwarding, PeerAddressValue, rewrite_request};
pub use self::response::{
    BadUpstreamResponse, BodyRule, MAX_RESPONSE_FIELDS, MAX_RESPONSE_HEADER_BYTES, ResponseContext,
    rewrite_response,
};
pub use self::trailers::filter_trailers;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
