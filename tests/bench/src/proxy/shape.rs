//! The cells of the comparison: how clients speak, and how large responses are.

use std::fmt;

/// How clients use connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Http {
    /// HTTP/1.1 with keep-alive.
    KeepAlive,
    /// HTTP/1.1 with one connection for each request.
    Close,
    /// HTTP/2 with several streams at once on each connection.
    Two,
}

/// The body of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    K1,
    K64,
}

impl Body {
    pub(super) const ALL: [Self; 2] = [Self::K1, Self::K64];

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::K1 => 1024,
            Self::K64 => 65536,
        }
    }

    /// The path at the origin.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::K1 => "/1k",
            Self::K64 => "/64k",
        }
    }
}

/// A cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) tls: bool,
    pub(super) http: Http,
    pub(super) body: Body,
}

impl Shape {
    pub(super) const fn new(tls: bool, http: Http, body: Body) -> Self {
        Self { tls, http, body }
    }

    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for tls in [false, true] {
            for http in [Http::KeepAlive, Http::Close, Http::Two] {
                all.extend(Body::ALL.map(|body| Self { tls, http, body }));
            }
        }
        all
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let http = match self.http {
            Http::KeepAlive => "HTTP/1.1 keep-alive",
            Http::Close => "HTTP/1.1 close",
            Http::Two => "HTTP/2",
        };
        write!(f, "{} {http} {} KB", if self.tls { "TLS" } else { "plain" }, self.body.bytes() / 1024)
    }
}
