//! Plays what upstreams may make of a forwarded target, and compares it with the route that was chosen.

use http::Request;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::routing::{RoutePattern, Router};

const PREFIXES: &[&str] = &["/", "/a", "/a/b", "/b", "/a%2Fb", "/b/"];

fn router() -> Router {
    let pattern = |path_prefix| RoutePattern { name: "", hosts: &[], path_prefix, methods: &[] };
    Router::from_patterns(&PREFIXES.iter().copied().map(pattern).collect::<Vec<_>>()).unwrap()
}

fn parts(target: &str) -> Parts {
    Request::get(target).header(header::HOST, "h").body(()).unwrap().into_parts().0
}

fn limits() -> RequestLimits {
    RequestLimits { target_bytes: 8192, fields: MAX_FIELDS, address_header: header::FORWARDED }
}

fn percent_decoded(path: &str, slashes: bool) -> String {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
    if slashes {
        return decoded.replace('\\', "/");
    }
    // As Tomcat does by default: `%2F` stays as it is.
    let kept =
        path.replace("%2F", "%252F").replace("%2f", "%252f").replace("%5C", "%255C").replace("%5c", "%255c");
    percent_encoding::percent_decode_str(&kept).decode_utf8_lossy().into_owned()
}

fn without_parameters(path: &str) -> String {
    path.split('/').map(|segment| segment.split(';').next().unwrap()).collect::<Vec<_>>().join("/")
}

fn merged(path: &str) -> String {
    let mut path = path.to_owned();
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    path
}

fn resolved(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    out.pop();
                }
                if at + 1 == segments.len() {
                    out.push("");
                }
            }
            other => out.push(other),
        }
    }
    format!("/{}", out.join("/"))
}

/// What upstreams see: each step done or not, parameters removed before or after decoding.
fn upstream_views(path: &str) -> Vec<String> {
    let mut views = Vec::new();
    for choice in 0..64 {
        let done = |bit: u32| choice & (1 << bit) != 0;
        let mut view = path.to_owned();
        if done(0) {
            view = without_parameters(&view);
        }
        if done(1) {
            view = percent_decoded(&view, done(2));
        }
        if done(3) {
            view = without_parameters(&view);
        }
        if done(4) {
            view = merged(&view);
        }
        if done(5) {
            view = resolved(&view);
        }
        views.push(view);
    }
    views
}

fn any_path() -> impl Strategy<Value = String> {
    let pieces = vec![
        "/", "/", "/", "a", "b", "a", "b", ".", "..", "%2e", "%2E", "%2F", "%2f", "%5C", "%5c", ";", "%3b",
        "%3B", "%61", "%62", "%25", "x", "%20", "-",
    ];
    prop::collection::vec(select(pieces), 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_view_of_the_forwarded_path_belongs_to_the_chosen_route(path in any_path()) {
        let (router, received) = (router(), parts(&format!("{path}?q=/../%00;")));
        let Ok(checked) = check(&received, &limits()) else { return Ok(()) };
        let Ok(route) = router.route_request(&checked) else { return Ok(()) };
        let target = checked.target(PREFIXES[route]).unwrap();
        prop_assert_eq!(target.query(), Some("q=/../%00;"));
        for view in upstream_views(target.path()) {
            let seen = router.route("h", &view, &Method::GET);
            prop_assert_eq!(seen, Ok(route), "{} forwarded as {} and seen as {}", path, target, view);
        }
    }

    #[test]
    fn a_forwarded_target_is_not_changed_again(path in any_path()) {
        let received = parts(&path);
        let Ok(checked) = check(&received, &limits()) else { return Ok(()) };
        for prefix in ["/", "/a", "/a/b"] {
            let forwarded = checked.target(prefix).unwrap();
            let again = parts(forwarded.as_str());
            let checked_again = check(&again, &limits()).unwrap();
            prop_assert_eq!(&checked_again.path, &checked.path);
            prop_assert_eq!(checked_again.target(prefix).unwrap(), forwarded);
        }
    }

    #[test]
    fn a_host_that_passes_is_read_in_one_way(text in "(\\[)?[a-zA-Z0-9.:@%_\\[\\]/-]{0,12}(:[0-9]{0,6})?") {
        let Ok(received) = Request::get("/").header(header::HOST, &text).body(()) else { return Ok(()) };
        let received = received.into_parts().0;
        let Ok(checked) = check(&received, &limits()) else { return Ok(()) };
        prop_assert_eq!(checked.authority, &text);
        let authority: http::uri::Authority = text.parse().unwrap();
        prop_assert_eq!(authority.host().trim_end_matches('.').to_ascii_lowercase(), checked.host.as_ref());
        prop_assert_eq!(authority.port_u16(), checked.port);
    }
}
