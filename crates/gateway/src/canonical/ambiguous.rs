//! Why a request cannot be read in exactly one way.

use http::StatusCode;

/// A request that two servers could read differently, and is therefore decided
/// by nobody.
///
/// [`Ambiguous::code`] is stable and for programs, `Display` is a sentence for
/// people. Neither repeats what was sent, so nothing a client wrote can reach a
/// log line or a page this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ambiguous {
    // The request line.
    /// The first line is not a method, a target and a version with one space
    /// between them (RFC 9112, section 3).
    #[error("the request line is malformed")]
    RequestLine,
    /// The method is not one of the seven that the gate forwards (RFC 9110, section 9).
    #[error("the method is not one of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS")]
    Method,
    /// CONNECT asks for a tunnel; only WebSocket over HTTP/2 (RFC 8441) may.
    #[error("CONNECT is not served here")]
    Connect,
    /// The target is `*`, an authority, or has no path (RFC 9112, section 3.2).
    #[error("the request target is not an absolute path")]
    TargetForm,
    /// The target's scheme is neither `http` nor `https`.
    #[error("the request target's scheme is neither http nor https")]
    Scheme,
    /// The target is longer than [`super::MAX_TARGET_BYTES`].
    #[error("the request target is too long")]
    TargetTooLong,

    // The path.
    /// Two slashes follow each other.
    #[error("the path contains an empty segment")]
    EmptySegment,
    /// A segment is `.` or `..`, plain or encoded.
    #[error("the path contains a dot segment")]
    DotSegment,
    /// A backslash, plain or encoded.
    #[error("the path contains a backslash")]
    Backslash,
    /// An encoded slash.
    #[error("the path contains an encoded slash")]
    EncodedSlash,
    /// A control character, NUL included, plain, encoded or as a Unicode control.
    #[error("the path contains a control character")]
    ControlInPath,
    /// A `;`, which some servers cut off together with what follows.
    #[error("the path contains a path parameter")]
    PathParameter,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("the path contains an invalid percent-encoding")]
    PercentEncoding,
    /// A letter, digit, `-`, `.`, `_` or `~` that is percent-encoded.
    #[error("the path percent-encodes a character that needs no encoding")]
    UnneededEncoding,
    /// What is decoded once could be decoded again.
    #[error("the path is percent-encoded twice")]
    DoubleEncoding,
    /// The decoded path is not UTF-8, or is overlong UTF-8.
    #[error("the decoded path is not UTF-8")]
    PathNotUtf8,
    /// A character that a URI's path must not contain (RFC 3986, section 3.3).
    #[error("the path contains a character that must be percent-encoded")]
    PathCharacter,
    /// A `#`: fragments are never sent.
    #[error("the request target contains a fragment")]
    Fragment,

    /// A lax upstream could take the path for that of a declared operation.
    #[error("the path is another spelling of a declared operation's path")]
    NearOperation,

    // The query.
    /// The query cannot be read as declared inputs.
    #[error("the query contains an invalid percent-encoding or is not UTF-8")]
    QueryEncoding,
    /// A `;` in a query that is read: some servers take it for `&`.
    #[error("the query contains a semicolon, which some servers read as a separator")]
    QuerySeparator,
    /// One parameter twice, or twice under names that servers take for one.
    #[error("a query parameter is given more than once")]
    QueryDuplicate,

    // The host.
    /// There is neither a Host header nor an authority.
    #[error("the request names no host")]
    NoHost,
    /// More than one Host header.
    #[error("the request names more than one host")]
    TwoHosts,
    /// The authority of the target is not the one of the Host header.
    #[error("the request target and the Host header name different hosts")]
    HostMismatch,
    /// The host is not a name or an address with an optional port.
    #[error("the host is malformed")]
    Host,
    /// The target's authority has user information.
    #[error("the request target contains user information")]
    UserInfo,
    /// The host's name ends with a dot.
    #[error("the host name ends with a dot")]
    TrailingDot,

    /// The connection is not for this host: one of them asks for client certificates, and what a
    /// connection showed counts for the host of its TLS hello alone.
    #[error("this host is reached on a connection of its own")]
    Misdirected,

    // The headers.
    /// A line ends with LF alone, or a CR stands alone (RFC 9112, section 2.2).
    #[error("a line does not end with CR and LF")]
    LineEnd,
    /// A header line without a plain name and its colon, or a folded one (RFC 9112,
    /// sections 5.1 and 5.2).
    #[error("a header line is malformed")]
    HeaderLine,
    /// The end of the head did not come in time.
    #[error("the head of the request did not arrive in time")]
    HeadTimeout,
    /// A header that may stand once stands twice.
    #[error("a header that may be given once is given more than once")]
    DuplicateHeader,
    /// A header whose name some servers take for another's.
    #[error("a header name differs from a meaningful one only in punctuation")]
    HeaderTwin,
    /// A header's value has control characters or is not UTF-8.
    #[error("a header value contains control characters or is not UTF-8")]
    HeaderValue,
    /// More headers than [`super::MAX_HEADERS`].
    #[error("the request has too many headers")]
    TooManyHeaders,
    /// More bytes of headers than [`super::MAX_HEADER_BYTES`].
    #[error("the request's headers are too large")]
    HeadersTooLarge,
    /// `Connection` names a header that belongs to the message.
    #[error("the Connection header names a header that is not its to name")]
    ConnectionHeader,
    /// A header, or the query parameter `_method`, asks the upstream to use another method.
    #[error("a header or parameter overrides the method")]
    MethodOverride,
    /// An expectation other than `100-continue`.
    #[error("the expectation is not 100-continue")]
    Expectation,
    /// A trusted hop forwards something that cannot be read.
    #[error("a forwarded header from a trusted hop cannot be read")]
    Forwarded,

    // The framing.
    /// Content-Length is not one number.
    #[error("the Content-Length is not one number")]
    ContentLength,
    /// Both Content-Length and Transfer-Encoding.
    #[error("the request has both a Content-Length and a Transfer-Encoding")]
    TwoFramings,
    /// A Transfer-Encoding other than exactly `chunked`, or where there can be none.
    #[error("the Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    /// GET and HEAD have no body here: an upstream that ignores it leaves it on
    /// the connection.
    #[error("the method has no body")]
    UnexpectedBody,
    /// An HTTP version other than 1.0, 1.1 and 2.
    #[error("the HTTP version is not supported")]
    Version,

    // The upgrade.
    /// An upgrade to something other than WebSocket.
    #[error("the request asks for an upgrade other than websocket")]
    Upgrade,
    /// A WebSocket handshake that RFC 6455 does not allow.
    #[error("the WebSocket handshake is malformed")]
    WebSocketHandshake,
}

impl Ambiguous {
    /// The stable, machine-readable name.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::RequestLine => "request_line",
            Self::Method => "method",
            Self::Connect => "connect",
            Self::TargetForm => "target_form",
            Self::Scheme => "scheme",
            Self::TargetTooLong => "target_too_long",
            Self::EmptySegment => "empty_segment",
            Self::DotSegment => "dot_segment",
            Self::Backslash => "backslash",
            Self::EncodedSlash => "encoded_slash",
            Self::ControlInPath => "control_in_path",
            Self::PathParameter => "path_parameter",
            Self::PercentEncoding => "percent_encoding",
            Self::UnneededEncoding => "unneeded_encoding",
            Self::DoubleEncoding => "double_encoding",
            Self::PathNotUtf8 => "path_not_utf8",
            Self::PathCharacter => "path_character",
            Self::Fragment => "fragment",
            Self::NearOperation => "near_operation",
            Self::QueryEncoding => "query_encoding",
            Self::QuerySeparator => "query_separator",
            Self::QueryDuplicate => "query_duplicate",
            Self::NoHost => "no_host",
            Self::TwoHosts => "two_hosts",
            Self::HostMismatch => "host_mismatch",
            Self::Host => "host",
            Self::UserInfo => "user_info",
            Self::TrailingDot => "trailing_dot",
            Self::Misdirected => "misdirected",
            Self::LineEnd => "line_end",
            Self::HeaderLine => "header_line",
            Self::HeadTimeout => "head_timeout",
            Self::DuplicateHeader => "duplicate_header",
            Self::HeaderTwin => "header_twin",
            Self::HeaderValue => "header_value",
            Self::TooManyHeaders => "too_many_headers",
            Self::HeadersTooLarge => "headers_too_large",
            Self::ConnectionHeader => "connection_header",
            Self::MethodOverride => "method_override",
            Self::Expectation => "expectation",
            Self::Forwarded => "forwarded",
            Self::ContentLength => "content_length",
            Self::TwoFramings => "two_framings",
            Self::TransferEncoding => "transfer_encoding",
            Self::UnexpectedBody => "unexpected_body",
            Self::Version => "version",
            Self::Upgrade => "upgrade",
            Self::WebSocketHandshake => "websocket_handshake",
        }
    }

    /// The status of the answer: 414 and 431 where only the size is at fault
    /// (RFC 9110 section 15.5.15, RFC 6585 section 5), 408 where only the time is
    /// (RFC 9110 section 15.5.9), 421 where the connection is at fault (section 15.5.20), 400 for all else.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::TooManyHeaders | Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
