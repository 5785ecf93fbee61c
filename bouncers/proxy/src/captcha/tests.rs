use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use palisade_client::Secret;

use super::*;
use crate::config::PagesConfig;
use crate::pages::{PageContext, Pages};

const NOW: i64 = 1_800_000_000;
const DIFFICULTY: u8 = 8;

fn config() -> CaptchaConfig {
    CaptchaConfig {
        provider: CaptchaProvider::ProofOfWork { difficulty: DIFFICULTY },
        proof_ttl: Duration::from_secs(3600),
        signing_keys: Vec::new(),
        timeout: Duration::from_secs(5),
        bound_prefix: (32, 64),
        status: StatusCode::OK,
    }
}

/// A client and the proxy before it.
struct World {
    captcha: Captcha,
    pages: Pages,
    client: &'static str,
    host: &'static str,
    decision: u64,
    now: i64,
    open_on_failure: bool,
}

impl World {
    fn new() -> Self {
        Self::of(&config())
    }

    fn of(config: &CaptchaConfig) -> Self {
        let started = Timestamp::from_second(NOW - 10).unwrap();
        Self {
            captcha: Captcha::new_at(config, None, started).unwrap(),
            pages: Pages::load(&PagesConfig::default(), Some(config)).unwrap(),
            client: "192.0.2.7",
            host: "example.org",
            decision: 7,
            now: NOW,
            open_on_failure: false,
        }
    }

    async fn send(&self, request: Request<&str>) -> Outcome {
        let (parts, body) = request.into_parts();
        self.handle(&parts, body).await
    }

    async fn handle(&self, parts: &Parts, body: &str) -> Outcome {
        let mut body = Full::new(Bytes::from(body.to_owned()));
        let page = PageContext {
            status: StatusCode::FORBIDDEN,
            client: self.client.parse().unwrap(),
            request_id: "r1",
            time: Timestamp::from_second(self.now).unwrap(),
            scenario: None,
            origin: None,
            until: None,
            host: self.host,
            path: parts.uri.path(),
            retry_after: None,
        };
        self.captcha
            .handle(CaptchaRequest {
                parts,
                body: &mut body,
                is_https: false,
                decision: self.decision,
                open_on_failure: self.open_on_failure,
                pages: &self.pages,
                page,
            })
            .await
    }

    /// The page for a path, and the token in it.
    async fn task(&self, path: &str) -> (String, String) {
        let page = text(respond(self.send(browser(Method::GET, path).body("").unwrap()).await)).await;
        let token = field(&page, "token");
        (page, token)
    }

    async fn post(&self, form: &str) -> Outcome {
        let request = browser(Method::POST, SOLUTION_PATH)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .unwrap();
        self.send(request).await
    }

    /// The cookie of a client that solved its task.
    async fn proof(&self) -> String {
        let (_, token) = self.task("/").await;
        let solution = work::solve(&token, DIFFICULTY);
        let response = respond(self.post(&format!("token={token}&next=%2F&solution={solution}")).await);
        let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    async fn is_solved(&self, cookie: &str, user_agent: &str) -> bool {
        let request = Request::get("/").header("cookie", cookie).header("user-agent", user_agent);
        matches!(self.send(request.body("").unwrap()).await, Outcome::Solved)
    }
}

const BROWSER: &str = "Browser/1.0";

fn browser(method: Method, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("accept", "text/html,*/*;q=0.8")
        .header("user-agent", BROWSER)
}

fn respond(outcome: Outcome) -> Response<Full<Bytes>> {
    match outcome {
        Outcome::Respond(response) => response,
        other => panic!("{other:?}"),
    }
}

async fn text(response: Response<Full<Bytes>>) -> String {
    String::from_utf8(response.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn field(page: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let rest = page.split_once(&start).unwrap_or_else(|| panic!("no {name} in {page}")).1;
    rest.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn a_solved_task_leads_back_to_the_page_with_its_query() {
    let world = World::new();
    let (page, token) = world.task("/shop/\"a?b=c&d='%20").await;
    // As the browser decodes it.
    let next = field(&page, "next").replace("&amp;", "&").replace("&quot;", "\"").replace("&#x27;", "'");
    let solution = work::solve(&token, DIFFICULTY);
    let form = format!(
        "token={token}&solution={solution}&next={}",
        percent_encoding::utf8_percent_encode(&next, percent_encoding::NON_ALPHANUMERIC)
    );
    let response = respond(world.post(&form).await);
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()[LOCATION], "/shop/\"a?b=c&d='%20");
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
    assert!(world.is_solved(cookie.split(';').next().unwrap(), BROWSER).await);
    assert_eq!(
        world.captcha.counts(),
        CaptchaCounts { shown: 1, solved: 1, refused: 0, failures: Vec::new() }
    );
}

#[tokio::test]
async fn a_proof_is_useless_to_others() {
    let mut world = World::new();
    let cookie = world.proof().await;
    assert!(world.is_solved(&cookie, BROWSER).await);
    assert!(!world.is_solved(&cookie, "Other/1.0").await, "another user agent");
    world.client = "192.0.2.8";
    assert!(!world.is_solved(&cookie, BROWSER).await, "another address");
    world.client = "192.0.2.7";
    world.host = "example.com";
    assert!(!world.is_solved(&cookie, BROWSER).await, "another host");
    world.host = "example.org:8080";
    assert!(world.is_solved(&cookie, BROWSER).await, "another port has the same cookies");
    world.decision = 8;
    assert!(!world.is_solved(&cookie, BROWSER).await, "another decision");
    world.decision = 7;
    world.now += 3600;
    assert!(!world.is_solved(&cookie, BROWSER).await, "later");
    world.now = NOW;
    world.captcha = World::new().captcha;
    assert!(!world.is_solved(&cookie, BROWSER).await, "another key");
}

#[tokio::test]
async fn a_proof_survives_restarts_with_the_state_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let restart =
        || Captcha::new_at(&config(), Some(directory.path()), Timestamp::from_second(NOW).unwrap()).unwrap();
    world.captcha = restart();
    let cookie = world.proof().await;
    for _ in 0..3 {
        world.captcha = restart();
        assert!(world.is_solved(&cookie, BROWSER).await);
    }
}

#[tokio::test]
async fn a_task_is_solved_once() {
    let world = World::new();
    let (_, token) = world.task("/").await;
    let form = format!("token={token}&next=/&solution={}", work::solve(&token, DIFFICULTY));
    assert_eq!(respond(world.post(&form).await).status(), StatusCode::SEE_OTHER);
    let again = respond(world.post(&form).await);
    assert!(again.headers().get(SET_COOKIE).is_none());
    let page = text(again).await;
    assert!(page.contains("role=\"alert\"") && field(&page, "token") != token, "a new task: {page}");
}

#[tokio::test]
async fn a_solution_counts_for_the_client_that_was_shown_the_task() {
    let mut world = World::new();
    let (_, token) = world.task("/").await;
    let solution = work::solve(&token, DIFFICULTY);
    let form = format!("token={token}&next=/&solution={solution}");
    world.client = "192.0.2.8";
    assert_eq!(respond(world.post(&form).await).status(), StatusCode::OK, "another address");
    world.client = "192.0.2.7";
    world.now += 600;
    assert_eq!(respond(world.post(&form).await).status(), StatusCode::OK, "too late");
    world.now = NOW;
    for wrong in [
        format!("token={token}&next=/&solution={}", u64::MAX),
        format!("token={token}&next=/"),
        "next=/".into(),
        format!("token=x{token}&solution={solution}"),
        format!("token={token}&token=x&solution={solution}"),
    ] {
        assert_eq!(respond(world.post(&wrong).await).status(), StatusCode::OK, "{wrong}");
    }
    assert_eq!(respond(world.post(&form).await).status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_task_from_before_a_restart_is_not_accepted_again() {
    let directory = tempfile::tempdir().unwrap();
    let at = |now| {
        Captcha::new_at(&config(), Some(directory.path()), Timestamp::from_second(now).unwrap()).unwrap()
    };
    let mut world = World::new();
    world.captcha = at(NOW);
    let (_, token) = world.task("/").await;
    let form = format!("token={token}&next=/&solution={}", work::solve(&token, DIFFICULTY));
    assert_eq!(respond(world.post(&form).await).status(), StatusCode::SEE_OTHER);
    world.now += 5;
    world.captcha = at(NOW + 5);
    assert_eq!(respond(world.post(&form).await).status(), StatusCode::OK, "the solved tasks were forgotten");
}

#[tokio::test]
async fn a_reload_of_the_configuration_forgets_no_task_and_refuses_none() {
    let directory = tempfile::tempdir().unwrap();
    let at = |now| {
        Captcha::new_at(&config(), Some(directory.path()), Timestamp::from_second(now).unwrap()).unwrap()
    };
    let mut world = World::new();
    world.captcha = at(NOW);
    let (_, first) = world.task("/").await;
    let (_, second) = world.task("/").await;
    let form = |token: &str| format!("token={token}&next=/&solution={}", work::solve(token, DIFFICULTY));
    assert_eq!(respond(world.post(&form(&first)).await).status(), StatusCode::SEE_OTHER);
    world.now += 5;
    world.captcha = at(NOW + 5).succeeding(Some(&world.captcha));
    assert_eq!(respond(world.post(&form(&first)).await).status(), StatusCode::OK, "solved before");
    assert_eq!(respond(world.post(&form(&second)).await).status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_posted_body_stays_out_of_the_application_and_the_page_says_so() {
    let world = World::new();
    let request = browser(Method::POST, "/comment?x=1").body("text=hello").unwrap();
    let page = text(respond(world.send(request).await)).await;
    assert!(page.contains("What you have just sent was not accepted"), "{page}");
    assert!(!page.contains("hello"));
    assert_eq!(field(&page, "next"), "/comment?x=1");
    let (page, _) = world.task("/").await;
    assert!(!page.contains("What you have just sent"));
}

#[tokio::test]
async fn only_pages_are_replaced_by_a_captcha() {
    let world = World::new();
    let refused = |request: http::request::Builder| {
        let request = request.body("").unwrap();
        async { respond(world.send(request).await) }
    };
    for (what, request) in [
        ("curl", Request::get("/").header("accept", "*/*")),
        ("no accept", Request::get("/")),
        ("json", Request::get("/api").header("accept", "application/json")),
        ("xhr", browser(Method::GET, "/").header("x-requested-with", "XMLHttpRequest")),
        (
            "fetch",
            browser(Method::GET, "/").header("sec-fetch-mode", "cors").header("sec-fetch-dest", "empty"),
        ),
        (
            "image",
            browser(Method::GET, "/").header("sec-fetch-mode", "no-cors").header("sec-fetch-dest", "image"),
        ),
        ("icon", browser(Method::GET, "/favicon.ico")),
        ("options", browser(Method::OPTIONS, "/")),
        ("put", browser(Method::PUT, "/")),
    ] {
        let response = refused(request).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{what}");
        assert!(!text(response).await.contains("<form"), "{what}");
    }
    let json = refused(Request::get("/api").header("accept", "application/json")).await;
    assert_eq!(json.headers()[CONTENT_TYPE], "application/problem+json");
    let head = refused(browser(Method::HEAD, "/")).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(text(head).await, "");
}

#[tokio::test]
async fn the_page_allows_its_own_script_alone() {
    let world = World::new();
    let response = respond(world.send(browser(Method::GET, "/").body("").unwrap()).await);
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let page = text(response).await;
    let nonce = page.split_once("nonce=\"").unwrap().1.split_once('"').unwrap().0;
    assert!(policy.ends_with(&format!("script-src 'nonce-{nonce}'")), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let (other, _) = world.task("/").await;
    assert!(!other.contains(nonce));
    let script = page.split_once("\" src=\"").unwrap().1.split_once('"').unwrap().0;
    let response = respond(world.send(Request::get(script).body("").unwrap()).await);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/javascript; charset=utf-8");
}

#[tokio::test]
async fn a_hostile_path_stays_text() {
    let world = World::new();
    let (page, _) = world.task("/\"onfocus=alert(1)?'onfocus=alert(1)&lt;").await;
    assert!(page.contains("value=\"/&quot;onfocus=alert(1)?&#x27;onfocus=alert(1)&amp;lt;\""), "{page}");
    let (page, _) = world.task("//evil.example/x").await;
    assert_eq!(field(&page, "next"), "/");
    let (_, token) = world.task("/").await;
    let solution = work::solve(&token, DIFFICULTY);
    let response =
        respond(world.post(&format!("token={token}&next=//evil.example&solution={solution}")).await);
    assert_eq!(response.headers()[LOCATION], "/");
}

#[tokio::test]
async fn solutions_are_bounded_in_size_and_number() {
    let world = World::new();
    let large = format!("token={}", "a".repeat(MAX_FORM));
    assert_eq!(respond(world.post(&large).await).status(), StatusCode::PAYLOAD_TOO_LARGE);
    let request =
        browser(Method::POST, SOLUTION_PATH).header(CONTENT_TYPE, "application/json").body("{}").unwrap();
    assert_eq!(respond(world.send(request).await).status(), StatusCode::BAD_REQUEST);
    for _ in 2..attempts::ATTEMPTS_PER_MINUTE {
        assert_eq!(respond(world.post("token=x").await).status(), StatusCode::OK);
    }
    let refused = respond(world.post("token=x").await);
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn reserved_paths_never_reach_the_application() {
    let world = World::new();
    let cookie = world.proof().await;
    let request = browser(Method::GET, SOLUTION_PATH).header("cookie", &cookie).body("").unwrap();
    assert_eq!(respond(world.send(request).await).headers()[LOCATION], "/", "solved already");
    let page = text(respond(world.send(browser(Method::GET, SOLUTION_PATH).body("").unwrap()).await)).await;
    assert_eq!(field(&page, "next"), "/");
    let (parts, ()) = browser(Method::POST, SOLUTION_PATH)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(())
        .unwrap()
        .into_parts();
    let mut body = Full::new(Bytes::from_static(b"next=%2Fa%3Fb"));
    let lifted = world.captcha.handle_lifted(&parts, &mut body).await;
    assert_eq!(
        (lifted.status(), &lifted.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/a?b".parse().unwrap())
    );
}

#[test]
fn a_difficulty_out_of_range_is_refused() {
    for difficulty in [0, 7, 29, 255] {
        let config = CaptchaConfig { provider: CaptchaProvider::ProofOfWork { difficulty }, ..config() };
        assert!(matches!(Captcha::new(&config, None), Err(CaptchaError::Difficulty { .. })));
    }
}

mod services;
