use std::fs;

use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_SECURITY_POLICY};
use http_body_util::BodyExt as _;
use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::config::CaptchaProvider;

fn context() -> PageContext<'static> {
    PageContext {
        status: StatusCode::FORBIDDEN,
        client: "192.0.2.7".parse().unwrap(),
        request_id: "req-1",
        time: "2026-03-01T14:05:09.123456Z".parse().unwrap(),
        scenario: Some("crowdsecurity/http-probing"),
        origin: Some("crowdsec"),
        until: Some("2026-03-01T18:05:09Z".parse().unwrap()),
        host: "example.org",
        path: "/a",
        retry_after: None,
    }
}

fn captcha() -> CaptchaConfig {
    CaptchaConfig {
        provider: CaptchaProvider::ProofOfWork { difficulty: 12 },
        proof_ttl: std::time::Duration::from_secs(3600),
        signing_keys: Vec::new(),
        timeout: std::time::Duration::from_secs(5),
        bound_prefix: (32, 64),
        status: StatusCode::OK,
    }
}

fn pages() -> Pages {
    Pages::load(&PagesConfig::default(), Some(&captcha())).unwrap()
}

fn accepting(accept: &str, language: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, accept.parse().unwrap());
    headers.insert(ACCEPT_LANGUAGE, language.parse().unwrap());
    headers
}

fn text_of(response: Response<Full<Bytes>>) -> String {
    let body =
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(response.collect()).unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

fn rendered(pages: &Pages, kind: PageKind, page: &PageContext<'_>, accept: &str, language: &str) -> String {
    text_of(pages.render(kind, page, &accepting(accept, language), &Method::GET))
}

#[test]
fn each_page_exists_in_each_form_and_language() {
    let pages = pages();
    for language in Language::ALL {
        // The page with a task needs one.
        for kind in PageKind::ALL.into_iter().filter(|kind| *kind != PageKind::Captcha) {
            let title = language.texts().page(kind).title;
            let html = rendered(&pages, kind, &context(), "text/html", language.tag());
            assert!(html.contains(&format!("<html lang=\"{}\">", language.tag())), "{html}");
            assert!(html.contains(&title.replace('\'', "&#x27;")), "{html}");
            let text = rendered(&pages, kind, &context(), "text/plain", language.tag());
            assert!(text.starts_with(&format!("403 {title}\n\n")), "{text}");
            assert!(!text.contains("\n\n\n") && text.ends_with('\n'), "{text:?}");
            let json: serde_json::Value =
                serde_json::from_str(&rendered(&pages, kind, &context(), "application/json", language.tag()))
                    .unwrap();
            assert_eq!(json["title"], title);
            assert_eq!(json["status"], 403);
            assert_eq!(json["page"], kind.name());
        }
    }
}

#[test]
fn the_ban_page_shows_the_details_and_not_what_was_detected() {
    let pages = pages();
    for accept in ["text/html", "application/json", "text/plain"] {
        let body = rendered(&pages, PageKind::Ban, &context(), accept, "en");
        for shown in ["192.0.2.7", "req-1", "2026-03-01", "18:05"] {
            assert!(body.contains(shown), "{shown}: {body}");
        }
        for hidden in ["http-probing", "crowdsec", "\u{e000}", "<script"] {
            assert!(!body.contains(hidden), "{hidden}: {body}");
        }
    }
    let json: serde_json::Value =
        serde_json::from_str(&rendered(&pages, PageKind::Ban, &context(), "application/json", "en")).unwrap();
    assert_eq!(json["time"], "2026-03-01T14:05:09Z");
    assert_eq!(json["until"], "2026-03-01T18:05:09Z");
}

#[test]
fn optional_values_appear_when_they_are_there() {
    let pages = pages();
    let throttled = PageContext { retry_after: Some(30), until: None, ..context() };
    let response = pages.render(PageKind::Throttle, &throttled, &accepting("text/html", "en"), &Method::GET);
    assert_eq!(response.headers()[RETRY_AFTER], "30");
    assert!(text_of(response).contains("<dd>30 seconds</dd>"));
    let json: serde_json::Value =
        serde_json::from_str(&rendered(&pages, PageKind::Throttle, &throttled, "application/json", "en"))
            .unwrap();
    assert_eq!(json["retry_after"], 30);
    assert_eq!(json.get("until"), None);
    let contact = PagesConfig { contact: "help@example.org".into(), ..PagesConfig::default() };
    let with_contact = Pages::load(&contact, None).unwrap();
    let html = rendered(&with_contact, PageKind::Ban, &context(), "text/html", "en");
    assert!(html.contains("<a href=\"mailto:help@example.org\">help@example.org</a>"), "{html}");
    let script = PagesConfig { contact: "javascript:alert(1)".into(), ..PagesConfig::default() };
    let html = rendered(&Pages::load(&script, None).unwrap(), PageKind::Ban, &context(), "text/html", "en");
    assert!(!html.contains("href"), "{html}");
}

#[test]
fn responses_are_never_stored_and_have_a_strict_policy() {
    let response = pages().render(PageKind::Ban, &context(), &accepting("text/html", "en"), &Method::GET);
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let headers = response.headers().clone();
    assert_eq!(headers[CACHE_CONTROL], "no-store");
    assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(headers[REFERRER_POLICY], "no-referrer");
    assert_eq!(headers[CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(headers.get(http::header::ETAG).is_none() && headers.get(http::header::LAST_MODIFIED).is_none());
    let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("script-src"),
        "{policy}"
    );
    let body = text_of(response);
    assert_eq!(headers[CONTENT_LENGTH], body.len().to_string());
    let style = body.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let expected = policy::plain(style).unwrap();
    assert_eq!(policy, expected, "the hash is of what the page contains");
}

#[test]
fn a_head_request_receives_the_same_head_and_no_body() {
    let pages = pages();
    let headers = accepting("text/html", "en");
    let get = pages.render(PageKind::Ban, &context(), &headers, &Method::GET);
    let head = pages.render(PageKind::Ban, &context(), &headers, &Method::HEAD);
    assert_eq!(get.headers(), head.headers());
    assert_eq!(text_of(head), "");
}

#[test]
fn values_from_the_client_are_escaped_in_built_in_and_operators_pages() {
    let attack = "\"><script>alert('1')</script>\r\nX: y";
    let hostile =
        PageContext { request_id: attack, host: attack, path: attack, scenario: Some(attack), ..context() };
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("ban.html"),
        "<p title=\"{{ host }}\">{{ path }} {{ scenario }} {{ request_id }}</p>",
    )
    .unwrap();
    fs::write(directory.path().join("ban.json"), r#"{"host":{{ host }},"path":{{ path }}}"#).unwrap();
    let config = PagesConfig { directory: Some(directory.path().to_owned()), ..PagesConfig::default() };
    for pages in [pages(), Pages::load(&config, None).unwrap()] {
        let html = rendered(&pages, PageKind::Ban, &hostile, "text/html", "en");
        assert!(!html.contains("<script") && !html.contains("\">&lt;script\">"), "{html}");
        assert!(html.contains("&lt;script&gt;"), "{html}");
        let json = rendered(&pages, PageKind::Ban, &hostile, "application/json", "en");
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
}

#[test]
fn operators_files_replace_built_in_ones_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("ban.html", "{% extends \"page.html\" %}{% block main %}<h1>Ours {{ client }}</h1>{% endblock %}");
    write("page.txt", "all {{ page }} {% if until %}{{ until }}{% endif %}");
    write("style.css", "body{color:red}");
    write(".hidden", "");
    write("ban.html~", "{{");
    let config = PagesConfig { directory: Some(directory.path().to_owned()), ..PagesConfig::default() };
    let pages = Pages::load(&config, None).unwrap();
    let html = rendered(&pages, PageKind::Ban, &context(), "text/html", "en");
    assert!(html.contains("<h1>Ours 192.0.2.7</h1>") && html.contains("body{color:red}"), "{html}");
    assert_eq!(
        rendered(&pages, PageKind::Ban, &context(), "text/plain", "en"),
        "all ban 2026-03-01T18:05:09Z"
    );
    assert_eq!(
        rendered(&pages, PageKind::NotFound, &PageContext { until: None, ..context() }, "text/plain", "en"),
        "all not_found "
    );
    let built_in = rendered(&pages, PageKind::NotFound, &context(), "text/html", "en");
    assert!(built_in.contains("body{color:red}") && built_in.contains("Page not found"), "{built_in}");
}

#[test]
fn a_wrong_file_is_refused_with_its_name_and_line() {
    for (name, text, expected) in [
        ("ban.html", "line\n{{ client }", "ban.html, line 2: "),
        ("ban.html", "\n\n{{ clint }}", "ban.html, line 3: "),
        ("ban.html", "{% if until %}\n{% if x %}{% endif %}", "ban.html, line "),
        (
            "ban.html",
            "{% for x in range(10000) %}{% for y in range(10000) %}{% endfor %}{% endfor %}",
            "ban.html, line ",
        ),
        ("ban.html", "{% include \"other.html\" %}", "ban.html, line 1: "),
        ("ban.json", "{\"a\": \"{{ client }}\"}", "ban.json does not produce JSON"),
        ("bann.html", "", "bann.html replaces no page"),
        ("ban.xml", "", "ban.xml replaces no page"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), text).unwrap();
        let config = PagesConfig { directory: Some(directory.path().to_owned()), ..PagesConfig::default() };
        let error = Pages::load(&config, None).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ban.html"), "a".repeat(300_000)).unwrap();
    let config = PagesConfig { directory: Some(directory.path().to_owned()), ..PagesConfig::default() };
    assert!(matches!(Pages::load(&config, None), Err(PagesError::TooLarge { .. })));
    let config = PagesConfig { directory: Some("/nonexistent".into()), ..PagesConfig::default() };
    assert!(matches!(Pages::load(&config, None), Err(PagesError::Read { .. })));
    let config = PagesConfig { default_language: Some("tlh".into()), ..PagesConfig::default() };
    assert!(matches!(Pages::load(&config, None), Err(PagesError::Language { .. })));
}

#[test]
fn a_page_that_fails_for_one_request_is_replaced_by_the_built_in_one() {
    let directory = tempfile::tempdir().unwrap();
    // Works with the values of the check at the start.
    fs::write(
        directory.path().join("ban.txt"),
        "{% if host != \"example.org\" %}{{ missing }}{% endif %}own",
    )
    .unwrap();
    let config = PagesConfig { directory: Some(directory.path().to_owned()), ..PagesConfig::default() };
    let pages = Pages::load(&config, None).unwrap();
    assert_eq!(rendered(&pages, PageKind::Ban, &context(), "*/*", "en"), "own");
    let other = PageContext { host: "other", ..context() };
    assert!(rendered(&pages, PageKind::Ban, &other, "*/*", "en").starts_with("403 Access denied"));
}

#[test]
fn a_captcha_service_gets_its_own_sources_alone() {
    let service = |script_url: &str| CaptchaConfig {
        provider: CaptchaProvider::Service {
            name: "custom".into(),
            script_url: script_url.into(),
            widget_class: "w".into(),
            response_field: "r".into(),
            verify_url: "https://verify.example/".into(),
            site_key: "k".into(),
            secret_key: palisade_client::Secret::new("s"),
            ca: None,
            send_address: false,
        },
        ..captcha()
    };
    for (url, source) in [
        ("https://js.hcaptcha.com/1/api.js", "https://*.hcaptcha.com"),
        ("https://www.google.com/recaptcha/api.js", "https://www.gstatic.com/recaptcha/"),
        ("https://challenges.cloudflare.com/turnstile/v0/api.js", "https://challenges.cloudflare.com"),
        ("http://127.0.0.1:8080/w.js", "http://127.0.0.1:8080"),
    ] {
        let policy = policy::captcha(&service(url), "").unwrap();
        assert!(policy.contains(source), "{policy}");
    }
    for url in
        ["", "/w.js", "ftp://a/w.js", "https://a;script-src/w.js", "https://a b/w.js", "https://*/w.js"]
    {
        assert!(policy::captcha(&service(url), "").is_err(), "{url}");
    }
}

/// `cargo test --release -p palisade-proxy -- --ignored --nocapture cost_of` prints what a page costs.
#[test]
#[ignore = "a measurement"]
fn cost_of_rendering() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ban.html"), "{% extends \"page.html\" %}").unwrap();
    let own = PagesConfig { directory: Some(directory.path().to_owned()), ..PagesConfig::default() };
    for (what, pages) in [("built in", pages()), ("operator's", Pages::load(&own, None).unwrap())] {
        for accept in ["text/html", "application/json", "*/*"] {
            let headers = accepting(accept, "de-DE,de;q=0.9,en;q=0.8");
            let page = context();
            // Of this thread, so that other load does not count.
            let used = || clock_gettime(ClockId::ThreadCPUTime);
            let start = used();
            let rounds = 50_000;
            let mut bytes = 0;
            for _ in 0..rounds {
                let response = pages.render(PageKind::Ban, &page, &headers, &Method::GET);
                bytes += http_body::Body::size_hint(response.body()).lower();
            }
            let end = used();
            let nanoseconds = (end.tv_sec - start.tv_sec) * 1_000_000_000 + end.tv_nsec - start.tv_nsec;
            println!("{what} {accept}: {} ns, {} bytes", nanoseconds / rounds, bytes / rounds.unsigned_abs());
        }
    }
}
