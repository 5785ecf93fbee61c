//! Lists the reasons for refusing a request.

use http::StatusCode;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({status})")]
pub struct Refusal {
    /// The status of the response.
    pub status: StatusCode,
    /// Label in logs and metrics, and key of the table in `docs/proxy-strictness.md`.
    pub reason: &'static str,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $status:ident $reason:literal;)*) => {
        impl Refusal {
            $($(#[$doc])* pub const $name: Self = Self { status: StatusCode::$status, reason: $reason };)*
        }

        /// All of them.
        pub const REFUSALS: &[Refusal] = &[$(Refusal::$name),*];
    };
}

refusals! {
    /// Neither `Host` nor `:authority`.
    NO_HOST = BAD_REQUEST "no_host";
    /// More than one `Host`.
    SEVERAL_HOSTS = BAD_REQUEST "several_hosts";
    /// A host that is neither a name nor an address, or an invalid port.
    INVALID_HOST = BAD_REQUEST "invalid_host";
    /// `Host` differs from the authority of the target.
    HOST_MISMATCH = BAD_REQUEST "host_mismatch";
    /// `user@host`.
    USERINFO = BAD_REQUEST "userinfo";
    /// A scheme besides `http` and `https`.
    SCHEME = BAD_REQUEST "scheme";
    /// The host is not covered by the certificate of the connection.
    HOST_NOT_COVERED = MISDIRECTED_REQUEST "host_not_covered";
    /// `CONNECT`, except with a protocol (RFC 8441).
    CONNECT = METHOD_NOT_ALLOWED "connect";
    /// An extended `CONNECT` to anything besides `websocket`.
    CONNECT_PROTOCOL = NOT_IMPLEMENTED "connect_protocol";
    /// `TRACE`.
    TRACE = METHOD_NOT_ALLOWED "trace";
    /// A method that is not upper-case, or too long.
    INVALID_METHOD = BAD_REQUEST "invalid_method";
    /// A target that is no path: `*` without `OPTIONS`, or an authority.
    INVALID_TARGET = BAD_REQUEST "invalid_target";
    /// Path and query exceed the limit.
    TARGET_TOO_LONG = URI_TOO_LONG "target_too_long";
    /// A backslash in the path.
    BACKSLASH = BAD_REQUEST "backslash";
    /// An encoded control character in the path, such as `%00`.
    ENCODED_CONTROL = BAD_REQUEST "encoded_control";
    /// `%` without two hexadecimal digits in the path.
    INVALID_ENCODING = BAD_REQUEST "invalid_encoding";
    /// `..` above the root.
    ABOVE_ROOT = BAD_REQUEST "above_root";
    /// Dot segments behind encoded slashes, backslashes or parameters: `..%2F`, `..;`.
    HIDDEN_DOT_SEGMENT = BAD_REQUEST "hidden_dot_segment";
    /// A path that belongs to another route if encoded slashes are decoded, or parameters removed.
    AMBIGUOUS_PATH = BAD_REQUEST "ambiguous_path";
    /// No route is for the host.
    UNKNOWN_HOST = MISDIRECTED_REQUEST "unknown_host";
    /// No route of the host is for the path.
    UNKNOWN_PATH = NOT_FOUND "unknown_path";
    /// The routes for the path have other methods.
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method_not_allowed";
    /// More fields than the limit.
    TOO_MANY_FIELDS = REQUEST_HEADER_FIELDS_TOO_LARGE "too_many_fields";
    /// A value that begins or ends with whitespace.
    PADDED_VALUE = BAD_REQUEST "padded_value";
    /// More than one `Content-Length`.
    SEVERAL_LENGTHS = BAD_REQUEST "several_lengths";
    /// A `Content-Length` that is not one number.
    INVALID_LENGTH = BAD_REQUEST "invalid_length";
    /// `Content-Length` beside `Transfer-Encoding`.
    LENGTH_AND_ENCODING = BAD_REQUEST "length_and_encoding";
    /// `Transfer-Encoding` with HTTP/1.0, or more than one, or `chunked` twice.
    INVALID_TRANSFER_ENCODING = BAD_REQUEST "invalid_transfer_encoding";
    /// A transfer coding besides `chunked`.
    TRANSFER_CODING = NOT_IMPLEMENTED "transfer_coding";
    /// `Connection` that is no list of names.
    INVALID_CONNECTION = BAD_REQUEST "invalid_connection";
    /// `Connection` that names a field which must reach the upstream.
    PROTECTED_FIELD = BAD_REQUEST "protected_field";
    /// A field of the connection with HTTP/2.
    CONNECTION_FIELD = BAD_REQUEST "connection_field";
    /// `Expect` besides `100-continue`.
    EXPECTATION = EXPECTATION_FAILED "expectation";
}
