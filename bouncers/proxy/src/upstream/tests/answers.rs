//! Answers that break a rule, and answers at the limit of one.

use http::{Method, StatusCode};

use super::scripted::{Upstream, config, get, start, text};
use crate::upstream::{BadAnswer, ErrorKind};

/// Status and body of a response, or why there is none.
type Outcome = Result<(u16, Result<String, String>), ErrorKind>;

/// Sends a request to an upstream with this answer, and a second one; returns the first outcome, and whether the second
/// used the same connection.
async fn outcome(answer: &str, closes: bool, method: Method) -> (Outcome, bool) {
    let upstream = Upstream::answering(answer, closes).await;
    let mut pool = config(&[&upstream]);
    pool.retries = 0;
    let pools = start(pool);
    let mut request = get("/");
    request.method = method.clone();
    let outcome = match pools.get(0).forward(request).await {
        Ok(forwarded) => Ok((forwarded.response.status().as_u16(), text(forwarded).await)),
        Err(error) => {
            assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
            Err(error.kind)
        }
    };
    // The connection is closed by the upstream at times, which then is no failure of the second request.
    let mut request = get("/");
    request.method = method;
    if let Ok(second) = pools.get(0).forward(request).await {
        let _ = text(second).await;
    }
    (outcome, upstream.connections() == 1)
}

fn body(status: u16, body: &str) -> Outcome {
    Ok((status, Ok(body.to_owned())))
}

fn cut(error: &str) -> Outcome {
    Ok((200, Err(error.to_owned())))
}

fn bad(reason: BadAnswer) -> Outcome {
    Err(ErrorKind::BadAnswer(reason))
}

#[tokio::test]
async fn responses_are_relayed_or_refused_as_the_table_says() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    for (answer, closes, expected, reuses) in [
        ("Content-Length: 2\r\n\r\nhi", false, body(200, "hi"), true),
        ("Content-Length: 2\r\n\r\nhi", true, body(200, "hi"), false),
        ("Content-Length: 0\r\n\r\n", false, body(200, ""), true),
        ("Content-Length: 2\r\nConnection: close\r\n\r\nhi", false, body(200, "hi"), false),
        ("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", false, body(200, "hi"), true),
        ("Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nA: b\r\n\r\n", false, body(200, "hi"), true),
        ("\r\nhi", true, body(200, "hi"), false),
        // Both framings: the length is dropped, and the connection is not believed again.
        (
            "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            false,
            body(200, "hi"),
            false,
        ),
        ("Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", false, body(200, "hi"), true),
        ("Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", false, bad(BadAnswer::ContentLength), false),
        ("Content-Length: 2, 2\r\n\r\nhi", false, bad(BadAnswer::ContentLength), false),
        ("Transfer-Encoding: gzip\r\n\r\nhi", true, bad(BadAnswer::TransferEncoding), false),
        ("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false, bad(BadAnswer::TransferEncoding), false),
        // Bytes after the body: it is right, the connection is not used again.
        ("Content-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n", false, body(200, "hi"), false),
        ("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nmore", false, body(200, "hi"), false),
        ("Content-Length: 0\r\n\r\nmore", false, body(200, ""), false),
        ("Content-Length: 5\r\n\r\nhi", true, cut("Truncated"), false),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhi", true, cut("Truncated"), false),
        ("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", true, cut("Truncated"), false),
        ("Transfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", false, cut("Malformed"), false),
        ("Transfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n", false, cut("Malformed"), false),
        ("A: b\n\r\n", false, bad(BadAnswer::BareLf), false),
        ("A : b\r\n\r\n", false, bad(BadAnswer::Malformed), false),
        ("A: b\r\n c: d\r\n\r\n", false, bad(BadAnswer::Malformed), false),
    ] {
        let (outcome, reused) = outcome(&format!("{OK}{answer}"), closes, Method::GET).await;
        assert_eq!((&outcome, reused), (&expected, reuses), "{answer:?}");
    }
}

#[tokio::test]
async fn statuses_without_a_body_have_none() {
    for (answer, method, expected) in [
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Method::GET, body(204, "")),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Method::GET, body(304, "")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD, body(200, "")),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::HEAD, body(200, "")),
    ] {
        assert_eq!(outcome(answer, false, method).await, (expected, true), "{answer:?}");
    }
    // Bytes after a 204 are no body, and no next response either.
    let (outcome, reused) =
        outcome("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", false, Method::GET).await;
    assert_eq!((outcome, reused), (body(204, ""), false));
}

#[tokio::test]
async fn http_1_0_upstreams_are_understood() {
    for (answer, closes, expected, reuses) in [
        ("HTTP/1.0 200 OK\r\n\r\nhi", true, body(200, "hi"), false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, body(200, "hi"), false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
            false,
            body(200, "hi"),
            true,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            false,
            bad(BadAnswer::TransferEncoding),
            false,
        ),
    ] {
        assert_eq!(outcome(answer, closes, Method::GET).await, (expected, reuses), "{answer:?}");
    }
}

#[tokio::test]
async fn interim_responses_are_swallowed_up_to_a_limit() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let (relayed, _) =
        outcome(&format!("HTTP/1.1 100 Continue\r\n\r\n{hints}{last}"), false, Method::GET).await;
    assert_eq!(relayed, body(200, "hi"));
    let (refused, _) = outcome(&format!("{}{last}", hints.repeat(17)), false, Method::GET).await;
    assert_eq!(refused, bad(BadAnswer::TooManyInterim));
}

#[tokio::test]
async fn a_switch_that_was_not_requested_is_refused() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(outcome(answer, false, Method::GET).await.0, bad(BadAnswer::UnrequestedSwitch));
}

#[tokio::test]
async fn a_reset_in_the_head_or_the_body_is_an_error() {
    let upstream = Upstream::start(|mut peer, number| async move {
        peer.head().await;
        if number == 0 {
            peer.send("HTTP/1.1 200 OK\r\nContent-").await;
        } else {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhi").await;
            // Until the client has read this; a reset would overtake it.
            peer.until(b"x").await;
        }
        peer.reset();
    })
    .await;
    let pools = start(config(&[&upstream]));
    let error = pools.get(0).forward(get("/")).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (ErrorKind::Closed, 1), "part of a response was received");
}
