//! The client side of HTTP/1.1: one request at a time on a connection, driven by the request's own future.

mod body;
mod chunked;
mod connection;
mod encode;
mod exchange;
mod framing;
mod head;
mod writer;

pub(crate) use self::body::H1Body;
pub(crate) use self::chunked::may_trail;
pub(crate) use self::connection::{Announced, Connection};
pub(crate) use self::encode::{BodyFraming, RequestHead, framing_of, head as encode_head};
pub(crate) use self::exchange::{Answer, Exchange};
pub(crate) use self::framing::{Framing, of_response};
pub(crate) use self::head::{Head, HeadScanner};
pub(crate) use self::writer::{LengthMismatch, RequestWriter};

/// The largest head of a response, in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most fields of a response's head.
pub(crate) const MAX_FIELDS: usize = 100;
/// The most interim responses (1xx) to one request.
pub(crate) const MAX_INTERIM: u8 = 16;
/// The most bytes of a trailer section, and of the extensions of all chunks together.
pub(crate) const MAX_CHUNK_METADATA: usize = 16 * 1024;
