//! A scripted captcha service on loopback.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// Answers each call with the same bytes, and keeps what it was sent.
struct Scripted {
    url: String,
    calls: Arc<Mutex<Vec<String>>>,
    /// Stops the service when it is dropped.
    _task: JoinSet<()>,
}

impl Scripted {
    /// `None` to never answer.
    async fn start(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/siteverify", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&calls);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(answer) = &answer else {
                    silent.push(stream);
                    continue;
                };
                let mut request = vec![0; 8192];
                let mut length = 0;
                // The form ends with the site key or the address.
                while !String::from_utf8_lossy(&request[..length]).contains("remoteip=") {
                    length += stream.read(&mut request[length..]).await.unwrap();
                }
                kept.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).into_owned());
                // The client may close early when the answer is too large.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, calls, _task: task }
    }

    async fn json(body: &str) -> Self {
        Self::start(Some(answer(200, "application/json", body))).await
    }

    fn config(&self) -> CaptchaConfig {
        CaptchaConfig {
            provider: CaptchaProvider::Service {
                name: "custom".into(),
                script_url: "https://captcha.example/widget.js".into(),
                widget_class: "widget-class".into(),
                response_field: "x-response".into(),
                verify_url: self.url.clone(),
                site_key: "site".into(),
                secret_key: Secret::new("s&cr=t"),
                ca: None,
                send_address: true,
            },
            timeout: Duration::from_millis(1500),
            ..config()
        }
    }
}

fn answer(status: u16, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn solve(world: &World) -> Outcome {
    let (page, token) = world.task("/a?b=c").await;
    assert!(page.contains("class=\"widget widget-class\" data-sitekey=\"site\""), "{page}");
    let page = page.replace("&#x2f;", "/");
    assert!(page.contains("src=\"https://captcha.example/widget.js\""), "{page}");
    assert!(!page.contains("s&amp;cr=t") && !page.contains("s&cr=t"), "the secret is not shown");
    world.post(&format!("token={token}&next=%2Fa%3Fb%3Dc&x-response=an%26swer")).await
}

#[tokio::test]
async fn a_right_response_is_verified_by_the_service() {
    let service = Scripted::json(r#"{"success":true,"hostname":"example.org"}"#).await;
    let world = World::of(&service.config());
    let response = respond(solve(&world).await);
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()[LOCATION], "/a?b=c");
    let calls = service.calls.lock().unwrap();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].ends_with("secret=s%26cr%3Dt&response=an%26swer&sitekey=site&remoteip=192%2E0%2E2%2E7"));
}

#[tokio::test]
async fn a_wrong_response_leads_to_another_task() {
    for body in [
        r#"{"success":false,"error-codes":["invalid-input-response"]}"#,
        r#"{"success":true,"hostname":"other"}"#,
    ] {
        let service = Scripted::json(body).await;
        let response = respond(solve(&World::of(&service.config())).await);
        assert_eq!(response.status(), StatusCode::OK, "{body}");
        assert!(response.headers().get(SET_COOKIE).is_none());
    }
}

#[tokio::test]
async fn a_task_cannot_be_sent_to_the_service_without_a_valid_token_or_response() {
    let service = Scripted::json(r#"{"success":true}"#).await;
    let world = World::of(&service.config());
    let (_, token) = world.task("/").await;
    for form in
        ["token=x&x-response=y".to_owned(), format!("token={token}"), format!("token={token}&x-response=")]
    {
        assert_eq!(respond(world.post(&form).await).status(), StatusCode::OK);
    }
    assert!(service.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_failing_service_closes_unless_the_route_is_open() {
    let large = format!(r#"{{"success":true,"x":"{}"}}"#, "a".repeat(70_000));
    for (kind, script) in [
        (FailureKind::Timeout, None),
        (FailureKind::Status, Some(answer(500, "application/json", "{}"))),
        (
            FailureKind::Status,
            Some("HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".into()),
        ),
        (FailureKind::NotJson, Some(answer(200, "text/html", r#"{"success":true}"#))),
        (FailureKind::NotJson, Some(answer(200, "application/json", "success"))),
        (FailureKind::TooLarge, Some(answer(200, "application/json", &large))),
        (
            FailureKind::Misconfigured,
            Some(answer(
                200,
                "application/json",
                r#"{"success":false,"error-codes":["invalid-input-secret"]}"#,
            )),
        ),
    ] {
        let service = Scripted::start(script).await;
        let mut world = World::of(&service.config());
        let Outcome::ProviderFailed(closed) = solve(&world).await else { panic!("{kind:?}") };
        assert_eq!(closed.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(closed.headers().get(SET_COOKIE).is_none());
        assert!(world.captcha.counts().failures.contains(&(kind, 1)), "{:?}", world.captcha.counts());
        world.open_on_failure = true;
        let Outcome::ProviderFailed(open) = solve(&world).await else { panic!("{kind:?}") };
        assert_eq!(open.status(), StatusCode::SEE_OTHER);
        assert!(open.headers()[SET_COOKIE].to_str().unwrap().contains("Max-Age=300"));
    }
}

#[tokio::test]
async fn a_service_that_is_down_is_a_failure() {
    let mut service = Scripted::json("").await;
    service.url = "http://127.0.0.1:1/".into();
    let world = World::of(&service.config());
    assert!(matches!(solve(&world).await, Outcome::ProviderFailed(_)));
    assert!(world.captcha.counts().failures.contains(&(FailureKind::Unreachable, 1)));
}
