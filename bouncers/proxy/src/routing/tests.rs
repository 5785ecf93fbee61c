use http::{HeaderName, Request, StatusCode, header};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::request_rules::{RequestLimits, check};

/// The hosts, the path prefix and the methods of a route, each list separated by spaces.
#[derive(Debug, Clone)]
struct Route {
    name: String,
    hosts: Vec<String>,
    prefix: String,
    methods: Vec<Method>,
}

fn route(hosts: &str, prefix: &str, methods: &str) -> Route {
    Route {
        name: format!("{hosts}{prefix}{methods}"),
        hosts: hosts.split_whitespace().map(str::to_owned).collect(),
        prefix: prefix.to_owned(),
        methods: methods.split_whitespace().map(|method| method.parse().unwrap()).collect(),
    }
}

fn router(routes: &[Route]) -> Result<Router, AmbiguousRoutes> {
    fn pattern(route: &Route) -> RoutePattern<'_> {
        RoutePattern {
            name: &route.name,
            hosts: &route.hosts,
            path_prefix: &route.prefix,
            methods: &route.methods,
        }
    }
    Router::from_patterns(&routes.iter().map(pattern).collect::<Vec<_>>())
}

/// Routes a target as it is received.
fn request(router: &Router, target: &str) -> Result<usize, NoRoute> {
    let parts = Request::get(target).header(header::HOST, "h").body(()).unwrap().into_parts().0;
    let address_header = HeaderName::from_static("x-forwarded-for");
    let limits = RequestLimits { target_bytes: 8192, fields: 100, address_header };
    router.route_request(&check(&parts, &limits).unwrap())
}

#[test]
fn a_name_comes_before_wildcards_and_those_before_any_host() {
    let routes = [
        route("", "/", ""),
        route("*.example.org", "/", ""),
        route("*.shop.example.org", "/", ""),
        route("a.shop.example.org", "/", ""),
    ];
    let router = router(&routes).unwrap();
    for (host, expected) in [
        ("a.shop.example.org", 3),
        ("b.shop.example.org", 2),
        ("b.c.shop.example.org", 2),
        ("shop.example.org", 1),
        ("example.org", 0),
        (".example.org", 0),
        ("badexample.org", 0),
        ("", 0),
    ] {
        assert_eq!(router.route(host, "/", &Method::GET), Ok(expected), "{host}");
    }
}

#[test]
fn the_longest_prefix_at_a_segment_boundary_wins() {
    let routes =
        [route("h", "/a", ""), route("h", "/a/b", ""), route("h", "/a/b/c/", ""), route("h", "/a-b", "")];
    let router = router(&routes).unwrap();
    for (path, expected) in [
        ("/a", Ok(0)),
        ("/a/", Ok(0)),
        ("/a/bc", Ok(0)),
        ("/a/b", Ok(1)),
        ("/a/b/c", Ok(1)),
        ("/a/b/c/", Ok(2)),
        ("/a/b/c/d", Ok(2)),
        ("/a-b/x", Ok(3)),
        ("/ab", Err(NoRoute::UnknownPath)),
        ("/", Err(NoRoute::UnknownPath)),
        ("*", Err(NoRoute::UnknownPath)),
    ] {
        assert_eq!(router.route("h", path, &Method::GET), expected, "{path}");
    }
    assert_eq!(router.route("other", "/a", &Method::GET), Err(NoRoute::UnknownHost));
}

#[test]
fn a_path_without_route_at_its_host_may_have_one_at_a_less_specific_host() {
    let router = router(&[route("", "/", ""), route("h", "/api", "")]).unwrap();
    assert_eq!(router.route("h", "/api/x", &Method::GET), Ok(1));
    assert_eq!(router.route("h", "/", &Method::GET), Ok(0));
}

#[test]
fn a_method_never_leads_to_the_route_of_a_shorter_prefix() {
    let router =
        router(&[route("", "/", ""), route("", "/admin", "GET HEAD"), route("", "/up", "PUT")]).unwrap();
    assert_eq!(router.route("h", "/admin/x", &Method::HEAD), Ok(1));
    let allow = HeaderValue::from_static("GET, HEAD");
    assert_eq!(router.route("h", "/admin/x", &Method::POST), Err(NoRoute::MethodNotAllowed(allow)));
    assert_eq!(router.route("h", "/", &Method::POST), Ok(0));
}

#[test]
fn a_listed_method_comes_before_a_route_for_any() {
    let router = router(&[route("h", "/a", ""), route("h", "/a", "POST"), route("h", "/", "")]).unwrap();
    assert_eq!(router.route("h", "/a", &Method::POST), Ok(1));
    assert_eq!(router.route("h", "/a", &Method::GET), Ok(0));
}

#[test]
fn the_asterisk_belongs_to_routes_for_any_path() {
    let router = router(&[route("h", "/", ""), route("h", "/a", "")]).unwrap();
    assert_eq!(router.route("h", "*", &Method::OPTIONS), Ok(0));
}

#[test]
fn two_routes_for_the_same_requests_are_an_error() {
    for (one, other) in [
        (route("h", "/a", ""), route("g h", "/a", "")),
        (route("", "/", "GET"), route("", "/", "POST GET")),
        (route("*.h", "/", ""), route("*.h", "/", "")),
    ] {
        let error = router(&[one.clone(), other.clone()]).unwrap_err();
        assert_eq!((&error.first, &error.second), (&one.name, &other.name));
    }
    assert!(router(&[route("h h", "/", ""), route("g g", "/", "GET GET")]).is_ok());
}

#[test]
fn a_path_that_is_another_routes_when_decoded_is_refused() {
    let router = router(&[route("", "/", ""), route("", "/api", "")]).unwrap();
    for target in
        ["/api%2Fx", "/api%5cx", "/api;x/y", "/api;x", "/api%3Bx/y", "/;%2Fapi", "/;/api", "/;%2F/%2Fapi"]
    {
        assert_eq!(request(&router, target), Err(NoRoute::AmbiguousPath), "{target}");
    }
    assert_eq!(request(&router, "/api/group%2Fproject"), Ok(1));
    assert_eq!(request(&router, "/api/x;jsessionid=1"), Ok(1));
    assert_eq!(request(&router, "/x%2Fy"), Ok(0));
    assert_eq!(request(&router, "//api//x"), Ok(1));
    assert_eq!(NoRoute::AmbiguousPath.refusal().status, StatusCode::BAD_REQUEST);
}

/// The rules in words, on a list.
fn scan(routes: &[Route], host: &str, path: &str, method: &Method) -> Result<usize, NoRoute> {
    let specificity = |route: &Route| {
        let matching = route.hosts.iter().filter_map(|pattern| match pattern.strip_prefix('*') {
            Some(suffix) => (host.len() > suffix.len() && host.ends_with(suffix)).then_some(1 + suffix.len()),
            None => (pattern == host).then_some(usize::MAX),
        });
        if route.hosts.is_empty() { Some(0) } else { matching.max() }
    };
    let known = routes.iter().filter_map(specificity).next().is_some();
    let below = |prefix: &str| {
        let folder = format!("{}/", prefix.trim_end_matches('/'));
        prefix == "/" || path == prefix || path.starts_with(&folder)
    };
    let of_path: Vec<_> = (0..routes.len())
        .filter(|at| below(&routes[*at].prefix))
        .filter_map(|at| Some((specificity(&routes[at])?, routes[at].prefix.len(), at)))
        .collect();
    let Some(best) = of_path.iter().map(|(host, prefix, _)| (*host, *prefix)).max() else {
        return Err(if known { NoRoute::UnknownPath } else { NoRoute::UnknownHost });
    };
    let group = of_path.iter().filter(|(host, prefix, _)| (*host, *prefix) == best).map(|(.., at)| *at);
    let listed = group.clone().find(|at| routes[*at].methods.contains(method));
    let any = group.clone().find(|at| routes[*at].methods.is_empty());
    let allow =
        || group.flat_map(|at| &routes[at].methods).map(Method::as_str).collect::<Vec<_>>().join(", ");
    listed.or(any).ok_or_else(|| NoRoute::MethodNotAllowed(allow().parse().unwrap()))
}

fn any_route() -> impl Strategy<Value = Route> {
    let hosts = vec!["a.b", "b", "*.b", "*.a.b", "c.a.b"];
    let prefixes = vec!["/", "/a", "/a/b", "/a/bc", "/a/b/c", "/b", "/a-b", "/ab"];
    let methods = vec!["GET", "POST", "PUT"];
    (subsequence(hosts, 0..3), select(prefixes), subsequence(methods, 0..3))
        .prop_map(|(hosts, prefix, methods)| route(&hosts.join(" "), prefix, &methods.join(" ")))
}

proptest! {
    #[test]
    fn the_router_finds_what_a_scan_of_the_list_finds(
        routes in prop::collection::vec(any_route(), 0..12),
        host in select(vec!["a.b", "b", "x.b", "x.a.b", "c.a.b", "c", "", ".b", "xb"]),
        path in "(\\*|(/[abc-]{0,2}){1,5})",
        method in select(vec![Method::GET, Method::POST, Method::DELETE]),
    ) {
        // Routes that cannot stand beside the earlier ones are left out.
        let mut kept: Vec<Route> = Vec::new();
        for route in routes {
            kept.push(route);
            if router(&kept).is_err() {
                kept.pop();
            }
        }
        let found = router(&kept).unwrap().route(host, &path, &method);
        prop_assert_eq!(found, scan(&kept, host, &path, &method));
    }
}
