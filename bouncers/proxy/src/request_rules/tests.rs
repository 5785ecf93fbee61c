use http::{HeaderValue, Request, StatusCode};
use hyper::ext::Protocol;

use super::*;

fn limits() -> RequestLimits {
    RequestLimits {
        target_bytes: 8192,
        fields: MAX_FIELDS,
        address_header: HeaderName::from_static("x-custom-ip"),
    }
}

/// A request line and fields, as a hyper service gets them.
fn parts(version: Version, line: &str, lines: &[(&'static str, &str)]) -> Parts {
    let (method, target) = line.split_once(' ').unwrap();
    let mut request = Request::builder().version(version).method(method).uri(target).body(()).unwrap();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    request.into_parts().0
}

fn refused(version: Version, line: &str, lines: &[(&'static str, &str)]) -> Option<Refusal> {
    check(&parts(version, line, lines), &limits()).err()
}

/// With HTTP/1.1 and a host.
fn with(line: &str, lines: &[(&'static str, &str)]) -> Option<Refusal> {
    let mut all = vec![("host", "example.org")];
    all.extend_from_slice(lines);
    refused(Version::HTTP_11, line, &all)
}

/// With HTTP/2 and an authority.
fn with_h2(lines: &[(&'static str, &str)]) -> Option<Refusal> {
    refused(Version::HTTP_2, "GET https://example.org/", lines)
}

fn host(text: &str) -> Result<(String, Option<u16>), Refusal> {
    let parts = parts(Version::HTTP_11, "GET /", &[("host", text)]);
    check(&parts, &limits()).map(|checked| (checked.host.clone().into_owned(), checked.port))
}

/// The path for matching, and the target to forward for the route `/`.
fn path(target: &str) -> Result<(String, String), Refusal> {
    let parts = parts(Version::HTTP_11, &format!("GET {target}"), &[("host", "h")]);
    let checked = check(&parts, &limits())?;
    Ok((checked.path.clone().into_owned(), checked.target("/")?.to_string()))
}

#[test]
fn a_host_is_required_once() {
    assert_eq!(refused(Version::HTTP_11, "GET /", &[]), Some(Refusal::NO_HOST));
    assert_eq!(refused(Version::HTTP_10, "GET /", &[]), Some(Refusal::NO_HOST));
    assert_eq!(refused(Version::HTTP_11, "GET http://example.org/", &[]), Some(Refusal::NO_HOST));
    assert_eq!(refused(Version::HTTP_2, "GET /", &[]), Some(Refusal::NO_HOST));
    assert_eq!(refused(Version::HTTP_2, "GET /", &[("host", "h")]), None);
    assert_eq!(with("GET /", &[("host", "example.org")]), Some(Refusal::SEVERAL_HOSTS));
    assert_eq!(with_h2(&[("host", "example.org"), ("host", "example.org")]), Some(Refusal::SEVERAL_HOSTS));
}

#[test]
fn hosts_are_names_or_addresses_with_a_port() {
    for (text, name, port) in [
        ("Example.ORG", "example.org", None),
        ("example.org.", "example.org", None),
        ("example.org.:8080", "example.org", Some(8080)),
        ("my_app-1:80", "my_app-1", Some(80)),
        ("192.0.2.1", "192.0.2.1", None),
        ("[2001:DB8::1]:443", "[2001:db8::1]", Some(443)),
        ("[::1]", "[::1]", None),
    ] {
        assert_eq!(host(text), Ok((name.into(), port)), "{text}");
    }
    let long = "a".repeat(254);
    for text in [
        "",
        ".",
        "a..b",
        ".a",
        "a:",
        "a:0",
        "a:65536",
        "a:+80",
        "a:80:80",
        "a b",
        "a/b",
        "x/y@z",
        "a?b",
        "a#b",
        "a%62",
        "[::1",
        "::1",
        "[::1]x",
        "[fe80::1%25eth0]",
        "[a]",
        "a,b",
        "\u{e4}.org",
        "a\\b",
        "a;b",
        &long,
    ] {
        let reason = host(text).unwrap_err();
        assert!([Refusal::INVALID_HOST, Refusal::USERINFO].contains(&reason), "{text}: {reason}");
    }
}

#[test]
fn userinfo_is_refused() {
    assert_eq!(host("user@example.org"), Err(Refusal::USERINFO));
    assert_eq!(refused(Version::HTTP_2, "GET https://u@example.org/", &[]), Some(Refusal::USERINFO));
}

#[test]
fn host_and_authority_are_the_same() {
    let absolute = |host| refused(Version::HTTP_11, "GET http://example.org:80/a", &[("host", host)]);
    assert_eq!(absolute("Example.org:80"), None);
    for other in ["example.net", "example.org", "example.org:81"] {
        assert_eq!(absolute(other), Some(Refusal::HOST_MISMATCH), "{other}");
    }
    assert_eq!(with_h2(&[("host", "example.org")]), None);
    assert_eq!(with_h2(&[("host", "example.net")]), Some(Refusal::HOST_MISMATCH));
}

#[test]
fn schemes_besides_http_are_refused() {
    assert_eq!(refused(Version::HTTP_2, "GET ftp://example.org/", &[]), Some(Refusal::SCHEME));
    assert_eq!(with("GET ftp://example.org/", &[]), Some(Refusal::SCHEME));
    assert_eq!(with("GET HTTPS://example.org/", &[]), None);
}

#[test]
fn targets_are_paths_or_the_asterisk_of_options() {
    assert_eq!(with("OPTIONS *", &[]), None);
    assert_eq!(with("GET *", &[]), Some(Refusal::INVALID_TARGET));
    assert_eq!(with("GET example.org", &[]), Some(Refusal::INVALID_TARGET));
    assert_eq!(with("GET example.org:80", &[]), Some(Refusal::INVALID_TARGET));
    let parts = parts(Version::HTTP_11, "GET http://h?q=1", &[("host", "h")]);
    assert_eq!(check(&parts, &limits()).unwrap().target("/").unwrap(), "/?q=1");
}

#[test]
fn long_targets_are_refused() {
    assert_eq!(with(&format!("GET /{}", "a".repeat(8191)), &[]), None);
    assert_eq!(
        with(&format!("GET /{}?{}", "a".repeat(8000), "q".repeat(191)), &[]),
        Some(Refusal::TARGET_TOO_LONG)
    );
    assert_eq!(Refusal::TARGET_TOO_LONG.status, StatusCode::URI_TOO_LONG);
}

#[test]
fn connect_is_refused_without_a_protocol() {
    assert_eq!(refused(Version::HTTP_11, "CONNECT h:443", &[("host", "h:443")]), Some(Refusal::CONNECT));
    assert_eq!(refused(Version::HTTP_2, "CONNECT h:443", &[]), Some(Refusal::CONNECT));
    for (protocol, refusal) in [("websocket", None), ("connect-udp", Some(Refusal::CONNECT_PROTOCOL))] {
        let mut parts = parts(Version::HTTP_2, "CONNECT https://h/chat", &[]);
        parts.extensions.insert(Protocol::from(protocol));
        let checked = check(&parts, &limits());
        assert_eq!(checked.as_ref().err().copied(), refusal);
        if let Ok(checked) = checked {
            assert_eq!(checked.upgrade, Some(Upgrade::ExtendedConnect("websocket")));
            assert_eq!((checked.method, &*checked.path), (&Method::GET, "/chat"));
        }
    }
}

#[test]
fn methods_are_upper_case_and_trace_is_refused() {
    for method in ["GET", "PROPFIND", "M-SEARCH", "VERSION_CONTROL", "X1"] {
        assert_eq!(with(&format!("{method} /"), &[]), None, "{method}");
    }
    let long = "A".repeat(MAX_METHOD_BYTES + 1);
    for method in ["get", "Get", "1GET", "G!T", "PRI", &long] {
        assert_eq!(with(&format!("{method} /"), &[]), Some(Refusal::INVALID_METHOD), "{method}");
    }
    assert_eq!(with("TRACE /", &[]), Some(Refusal::TRACE));
}

#[test]
fn lengths_are_one_number() {
    assert_eq!(with("POST /", &[("content-length", "5")]), None);
    for length in ["", "+1", "-1", "0x1", "1, 1", "1 ", "99999999999999999999"] {
        let refusal = with("POST /", &[("content-length", length)]);
        assert_eq!(refusal, Some(Refusal::INVALID_LENGTH), "{length}");
    }
}

#[test]
fn two_equal_lengths_are_refused() {
    let two = [("content-length", "5"), ("content-length", "5")];
    assert_eq!(with("POST /", &two), Some(Refusal::SEVERAL_LENGTHS));
    assert_eq!(with_h2(&two), Some(Refusal::SEVERAL_LENGTHS));
}

#[test]
fn chunked_is_the_only_transfer_coding() {
    let coding = |value| with("POST /", &[("transfer-encoding", value)]);
    assert_eq!(coding("Chunked"), None);
    for (value, refusal) in [
        ("gzip, chunked", Refusal::TRANSFER_CODING),
        ("identity", Refusal::TRANSFER_CODING),
        ("xchunked", Refusal::TRANSFER_CODING),
        ("", Refusal::TRANSFER_CODING),
        ("chunked, chunked", Refusal::INVALID_TRANSFER_ENCODING),
    ] {
        assert_eq!(coding(value), Some(refusal), "{value}");
    }
    let two = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
    assert_eq!(with("POST /", &two), Some(Refusal::INVALID_TRANSFER_ENCODING));
    let old = [("host", "h"), ("transfer-encoding", "chunked")];
    assert_eq!(refused(Version::HTTP_10, "POST /", &old), Some(Refusal::INVALID_TRANSFER_ENCODING));
    let both = [("transfer-encoding", "chunked"), ("content-length", "5")];
    assert_eq!(with("POST /", &both), Some(Refusal::LENGTH_AND_ENCODING));
}

#[test]
fn too_many_fields_are_refused_with_crumbs_counted() {
    let crumbs = vec![("cookie", "a=b"); MAX_FIELDS];
    assert_eq!(with_h2(&crumbs), None);
    assert_eq!(with("GET /", &crumbs), Some(Refusal::TOO_MANY_FIELDS));
}

#[test]
fn values_of_http2_are_not_padded() {
    for value in [" a", "a ", "\ta", "a\t", " "] {
        assert_eq!(with_h2(&[("x-a", value)]), Some(Refusal::PADDED_VALUE), "{value:?}");
    }
    assert_eq!(with_h2(&[("x-a", "a b"), ("x-b", "")]), None);
}

#[test]
fn http2_has_no_connection_fields() {
    for name in
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings"]
    {
        assert_eq!(with_h2(&[(name, "close")]), Some(Refusal::CONNECTION_FIELD), "{name}");
    }
}

#[test]
fn connection_names_no_protected_field() {
    for names in ["close", "keep-alive, x-mine", "Upgrade, HTTP2-Settings", "TE", "", ",,", "x-mine"] {
        assert_eq!(with("GET /", &[("connection", names)]), None, "{names}");
    }
    for name in [
        "X-Forwarded-For",
        "x-forwarded-anything",
        "X-Real-IP",
        "Forwarded",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Cookie",
        "Authorization",
        "CF-Connecting-IP",
        "X-Custom-Ip",
        "X-Crowdsec-Appsec-Ip",
    ] {
        let refusal = with("GET /", &[("connection", "close"), ("connection", &format!("te, {name}"))]);
        assert_eq!(refusal, Some(Refusal::PROTECTED_FIELD), "{name}");
    }
    for list in ["a b", "x-a;q=1", "\"close\"", "\u{e4}"] {
        assert_eq!(with("GET /", &[("connection", list)]), Some(Refusal::INVALID_CONNECTION), "{list}");
    }
}

#[test]
fn the_only_expectation_is_100_continue() {
    let expects = |version, lines: &[(&'static str, &str)]| {
        let mut all = vec![("host", "h")];
        all.extend_from_slice(lines);
        check(&parts(version, "POST /", &all), &limits()).map(|checked| checked.expect_continue)
    };
    assert_eq!(expects(Version::HTTP_11, &[("expect", "100-Continue")]), Ok(true));
    assert_eq!(expects(Version::HTTP_10, &[("expect", "100-continue")]), Ok(false));
    assert_eq!(expects(Version::HTTP_11, &[]), Ok(false));
    for lines in
        [&[("expect", "foo")][..], &[("expect", "100-continue"); 2], &[("expect", "100-continue, foo")]]
    {
        assert_eq!(expects(Version::HTTP_11, lines), Err(Refusal::EXPECTATION));
    }
}

#[test]
fn upgrades_need_http_1_1_and_no_body() {
    let upgrade = |version, lines: &[(&'static str, &str)]| {
        let mut all = vec![("host", "h")];
        all.extend_from_slice(lines);
        let parts = parts(version, "GET /", &all);
        let checked = check(&parts, &limits()).unwrap();
        checked.upgrade.map(|upgrade| upgrade.protocol().to_owned())
    };
    let asked = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
    assert_eq!(upgrade(Version::HTTP_11, &asked).as_deref(), Some("WebSocket"));
    assert_eq!(upgrade(Version::HTTP_10, &asked), None);
    for more in [("content-length", "5"), ("transfer-encoding", "chunked"), ("upgrade", "x")] {
        assert_eq!(upgrade(Version::HTTP_11, &[asked[0], asked[1], more]), None, "{more:?}");
    }
    assert!(upgrade(Version::HTTP_11, &[asked[0], asked[1], ("content-length", "0")]).is_some());
    assert_eq!(upgrade(Version::HTTP_11, &asked[1..]), None);
    for protocol in ["h2c", "H2C", "HTTP/2.0", "TLS/1.3", "h2c, websocket", "", "a b"] {
        assert_eq!(upgrade(Version::HTTP_11, &[asked[0], ("upgrade", protocol)]), None, "{protocol}");
    }
}

#[test]
fn trailers_are_accepted_when_te_says_so() {
    let accepts = |lines: &[(&'static str, &str)]| {
        let mut all = vec![("host", "h")];
        all.extend_from_slice(lines);
        check(&parts(Version::HTTP_11, "GET /", &all), &limits()).unwrap().accepts_trailers
    };
    assert!(accepts(&[("te", "gzip, Trailers"), ("connection", "TE")]));
    assert!(!accepts(&[("te", "trailers")]) && !accepts(&[("te", "gzip"), ("connection", "TE")]));
}

#[test]
fn odd_field_names_are_counted() {
    let lines =
        [("host", "h"), ("x_forwarded_for", "1"), ("content_length", "1"), ("x.y", "1"), ("x-y", "1")];
    let parts = parts(Version::HTTP_11, "GET /", &lines);
    assert_eq!(check(&parts, &limits()).unwrap().odd_names, 3);
}

#[test]
fn plain_paths_are_borrowed() {
    let parts = parts(Version::HTTP_11, "GET /a/b.c/d-e~f?x=../%00//\\", &[("host", "example.org")]);
    let checked = check(&parts, &limits()).unwrap();
    assert!(matches!((&checked.path, &checked.host), (Cow::Borrowed("/a/b.c/d-e~f"), Cow::Borrowed(_))));
    assert_eq!(checked.target("/").unwrap(), "/a/b.c/d-e~f?x=../%00//\\");
}

#[test]
fn paths_are_forwarded_as_they_are_matched() {
    for (target, expected) in [
        ("/a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/a/b/..?q", "/a/"),
        ("/%61/%2e%2E/%7Eb", "/~b"),
        ("/.a/..b/c.", "/.a/..b/c."),
        ("/%20%C3%a4", "/%20%C3%a4"),
        ("/a%2Fb%5Cc%25%23%3f", "/a%2Fb%5Cc%25%23%3f"),
        ("/\u{e4}", "/\u{e4}"),
        // Beside dot segments, duplicate slashes are merged first.
        ("/a//../b", "/b"),
        ("/a;x=1/b", "/a;x=1/b"),
    ] {
        let (matched, forwarded) = path(target).unwrap();
        assert_eq!(matched, expected, "{target}");
        assert_eq!(forwarded.split('?').next().unwrap(), expected, "{target}");
        assert_eq!(forwarded.contains('?'), target.contains('?'));
    }
}

#[test]
fn duplicate_slashes_are_merged_for_matching_and_within_the_prefix() {
    let parts = parts(Version::HTTP_11, "GET //api//x//?q", &[("host", "h")]);
    let checked = check(&parts, &limits()).unwrap();
    assert_eq!(checked.path, "/api/x/");
    assert_eq!(checked.target("/").unwrap(), "//api//x//?q");
    assert_eq!(checked.target("/api").unwrap(), "/api/x/?q");
    assert_eq!(path("/p/https://h/%41").unwrap(), ("/p/https:/h/A".into(), "/p/https://h/A".into()));
}

#[test]
fn paths_with_hidden_meanings_are_refused() {
    for (target, refusal) in [
        ("/a\\b", Refusal::BACKSLASH),
        ("/a%00", Refusal::ENCODED_CONTROL),
        ("/a%0d%0Ab", Refusal::ENCODED_CONTROL),
        ("/a%7f", Refusal::ENCODED_CONTROL),
        ("/a%", Refusal::INVALID_ENCODING),
        ("/a%4", Refusal::INVALID_ENCODING),
        ("/a%zz", Refusal::INVALID_ENCODING),
        ("/a%\u{e4}", Refusal::INVALID_ENCODING),
        ("/..", Refusal::ABOVE_ROOT),
        ("/a/../../b", Refusal::ABOVE_ROOT),
        ("/a/..%2fb", Refusal::HIDDEN_DOT_SEGMENT),
        ("/a%2f..", Refusal::HIDDEN_DOT_SEGMENT),
        ("/a/..%5Cb", Refusal::HIDDEN_DOT_SEGMENT),
        ("/a/..;/b", Refusal::HIDDEN_DOT_SEGMENT),
        ("/a/%2e.;x=1/b", Refusal::HIDDEN_DOT_SEGMENT),
        ("/a/..%3b/b", Refusal::HIDDEN_DOT_SEGMENT),
        ("/a/.;%2Fb", Refusal::HIDDEN_DOT_SEGMENT),
        ("/a;%2F../b", Refusal::HIDDEN_DOT_SEGMENT),
    ] {
        assert_eq!(path(target), Err(refusal), "{target}");
    }
}

#[test]
fn other_readings_of_a_path_are_listed() {
    let readings = |target: &str| -> Vec<String> {
        let parts = parts(Version::HTTP_11, &format!("GET {target}"), &[("host", "h")]);
        check(&parts, &limits()).unwrap().other_readings().map(str::to_owned).collect()
    };
    assert_eq!(readings("/a%2fb"), ["/a/b"]);
    assert_eq!(readings("/a;x=1/b"), ["/a/b"]);
    assert_eq!(readings("/a;%2Fz/b"), ["/a/z/b", "/a;/z/b", "/a/b"]);
    assert!(readings("/a/b%20c").is_empty());
}

#[test]
fn a_host_the_certificate_does_not_cover_is_misdirected() {
    assert_eq!(check_server_name("a.example", None, |_| false), Ok(()));
    assert_eq!(check_server_name("a.example", Some("A.example."), |_| false), Ok(()));
    assert_eq!(check_server_name("b.example", Some("a.example"), |host| host == "b.example"), Ok(()));
    let refused = check_server_name("b.example", Some("a.example"), |_| false).unwrap_err();
    assert_eq!(refused.status, StatusCode::MISDIRECTED_REQUEST);
}

#[test]
fn the_documentation_has_a_row_for_each_refusal() {
    let page = include_str!("../../../../docs/proxy-strictness.md");
    for Refusal { status, reason } in REFUSALS {
        let row = format!("| `{reason}` | {} |", status.as_u16());
        assert!(page.contains(&row), "{row}");
    }
}
