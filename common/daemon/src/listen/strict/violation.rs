//! What is wrong with a request, and the response to it.

use hyper::StatusCode;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A line ends in LF without CR.
    BareLineFeed,
    /// An empty line before the request.
    EmptyLine,
    /// Not method, target and `HTTP/1.0` or `HTTP/1.1`, with one space between them.
    RequestLine,
    /// The target has a fragment.
    Fragment,
    /// The target is longer than its limit.
    TargetTooLong,
    /// The head is larger than its limit.
    HeadTooLarge,
    /// More than 100 fields.
    TooManyFields,
    /// No `Host` line.
    NoHost,
    /// Several `Host` lines.
    SeveralHosts,
    /// A `Content-Length` that is no number.
    InvalidLength,
    /// Several `Content-Length` lines.
    SeveralLengths,
    /// `Content-Length` beside `Transfer-Encoding`.
    LengthAndCoding,
    /// A `Transfer-Encoding` in which `chunked` is not the only and last coding, several lines, or one in HTTP/1.0.
    TransferCoding,
    /// A transfer coding other than `chunked`.
    UnknownCoding,
    /// A chunk with a malformed size, a long line of extensions, or a wrong end.
    Chunk,
    /// Trailers that are malformed, too many or too large.
    Trailers,
}

impl Violation {
    /// The status of the response.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// What is wrong, for the response.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BareLineFeed => "line feed without carriage return",
            Self::EmptyLine => "empty line before the request",
            Self::RequestLine => "malformed request line",
            Self::Fragment => "fragment in the target",
            Self::TargetTooLong => "target too long",
            Self::HeadTooLarge => "head too large",
            Self::TooManyFields => "too many fields",
            Self::NoHost => "no Host",
            Self::SeveralHosts => "several Host fields",
            Self::InvalidLength => "malformed Content-Length",
            Self::SeveralLengths => "several Content-Length fields",
            Self::LengthAndCoding => "Content-Length beside Transfer-Encoding",
            Self::TransferCoding => "malformed Transfer-Encoding",
            Self::UnknownCoding => "unknown transfer coding",
            Self::Chunk => "malformed chunk",
            Self::Trailers => "malformed trailers",
        }
    }

    /// The name in access logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::BareLineFeed => "bare_line_feed",
            Self::EmptyLine => "empty_line",
            Self::RequestLine => "request_line",
            Self::Fragment => "fragment",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::NoHost => "no_host",
            Self::SeveralHosts => "several_hosts",
            Self::InvalidLength => "invalid_length",
            Self::SeveralLengths => "several_lengths",
            Self::LengthAndCoding => "length_and_encoding",
            Self::TransferCoding => "invalid_transfer_encoding",
            Self::UnknownCoding => "transfer_coding",
            Self::Chunk => "invalid_chunk",
            Self::Trailers => "invalid_trailers",
        }
    }
}
