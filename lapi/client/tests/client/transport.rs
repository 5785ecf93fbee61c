//! The client against peers that behave, misbehave and vanish.

use std::io::Write;
use std::time::Duration;

use crate::peer::{Answer, Peer, chunked, chunks, sized};
use palisade_client::{
    Auth, Client, ClientConfig, Continuation, ProxyConfig, PullError, PushError, Secret, StreamAnswer,
    StreamItem, StreamQuery, UsageMetrics, UserAgent,
};
use palisade_wire::follow::Content;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const EMPTY: &str = r#"{"new": [], "deleted": []}"#;
const ONE: &str = r#"{"deleted":[{"duration":"-1s","id":1,"origin":"cscli","scenario":"s","scope":"Ip","type":"ban","value":"192.0.2.9"}],"new":[{"duration":"4h","id":2,"origin":"cscli","scenario":"s","scope":"Ip","type":"ban","value":"192.0.2.1"},{"bad":1}]}"#;

fn agent() -> UserAgent {
    UserAgent::new("palisade-test", "v0.1.0").unwrap()
}

fn config(url: impl Into<String>) -> ClientConfig {
    ClientConfig {
        idle_timeout: Duration::from_millis(300),
        startup_idle_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_secs(2),
        ..ClientConfig::new(url, Auth::Key(Secret::new("secret-key")))
    }
}

fn client_of(peer: &Peer) -> Client {
    Client::new(&config(format!("http://{}", peer.at())), &agent()).unwrap()
}

async fn pull(client: &Client) -> (Result<StreamAnswer, PullError>, Vec<String>) {
    let mut seen = Vec::new();
    let query = StreamQuery { startup: true, ..StreamQuery::default() };
    let answer = client
        .decision_stream(&query, &mut |item: StreamItem<'_>| {
            seen.push(match item {
                StreamItem::New(decision) => format!("+{}", decision.value),
                StreamItem::Deleted(decision) => format!("-{}", decision.value),
                StreamItem::Unreadable { list, .. } => format!("?{list}"),
            });
        })
        .await;
    (answer, seen)
}

async fn pull_one(answer: Answer) -> Result<StreamAnswer, PullError> {
    let peer = Peer::on_tcp(vec![answer]).await;
    pull(&client_of(&peer)).await.0
}

#[tokio::test]
async fn a_request_looks_as_lapi_expects_it() {
    let peer = Peer::on_tcp(vec![chunked(&[EMPTY]), chunked(&[EMPTY])]).await;
    let client = client_of(&peer);
    assert_eq!(client.peer_address(), None);
    pull(&client).await.0.unwrap();
    client.decision_stream(&StreamQuery::default(), &mut |_: StreamItem<'_>| {}).await.unwrap();
    assert_eq!(client.peer_address(), peer.address);

    let requests = peer.requests();
    assert!(requests[0].starts_with("get /v1/decisions/stream?startup=true http/1.1\r\n"), "{}", requests[0]);
    for line in ["x-api-key: secret-key", "user-agent: palisade-test/v0.1.0", "accept-encoding: gzip"] {
        assert!(requests[0].contains(&format!("\r\n{line}\r\n")), "{line} in {}", requests[0]);
    }
    assert!(requests[1].starts_with("get /v1/decisions/stream http/1.1\r\n"), "{}", requests[1]);
}

#[tokio::test]
async fn sized_chunked_closed_and_compressed_answers_are_read_alike() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(ONE.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let (head, tail) = ONE.split_at(100);
    let until_closed = format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{ONE}");
    for answer in [
        sized("200 OK", "Content-Type: application/json; charset=utf-8\r\n", ONE),
        sized("200 OK", "Content-Encoding: gzip\r\n", &gzip),
        chunked(&[head, tail]),
        Answer::ThenClose(until_closed.into_bytes()),
    ] {
        let peer = Peer::on_tcp(vec![answer]).await;
        let (answer, seen) = pull(&client_of(&peer)).await;
        let answer = answer.unwrap();
        assert_eq!(seen, ["-192.0.2.9", "+192.0.2.1", "?new"]);
        assert_eq!((answer.items_new, answer.items_deleted, answer.items_unreadable), (1, 1, 1));
        assert_eq!(answer.bytes, ONE.len() as u64);
        assert_eq!(answer.peer, peer.address);
    }
}

#[tokio::test]
async fn a_decision_with_a_scenario_of_megabytes_costs_itself_only() {
    let long = "x".repeat(1_500_000);
    let bad = format!(r#"{{"id":3,"scope":"Ip","type":"ban","value":"192.0.2.3","scenario":"{long}"}}"#);
    let body = ONE.replace(r#""new":["#, &format!(r#""new":[{bad},"#));
    let peer = Peer::on_tcp(vec![sized("200 OK", "", body)]).await;
    let (answer, seen) = pull(&client_of(&peer)).await;
    assert_eq!(answer.unwrap().items_unreadable, 2);
    assert_eq!(seen, ["-192.0.2.9", "?new", "+192.0.2.1", "?new"]);
}

#[tokio::test]
async fn a_cut_answer_is_an_error_however_it_is_cut() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(ONE.as_bytes()).unwrap();
    let mut gzip = gzip.finish().unwrap();
    gzip.truncate(gzip.len() / 2);
    let Answer::Whole(mut half_sized) = sized("200 OK", "", ONE) else { unreachable!() };
    half_sized.truncate(half_sized.len() - 40);
    for answer in [
        Answer::ThenClose(half_sized),
        Answer::ThenClose(chunks(&[&ONE[..100]])),
        // The document is whole, the transfer is not: LAPI would not have moved the cursor.
        Answer::ThenClose(chunks(&[ONE])),
        // The transfer is whole, the document is not.
        sized("200 OK", "", &ONE[..100]),
        sized("200 OK", "", ""),
        sized("200 OK", "Content-Encoding: gzip\r\n", &gzip),
    ] {
        let error = pull_one(answer).await.unwrap_err();
        assert!(matches!(error, PullError::CutShort { .. }), "{error:?}");
        assert!(error.may_have_reached_lapi());
    }
}

#[tokio::test]
async fn silence_ends_with_the_deadline_at_every_stage() {
    for (answer, stage) in [
        (Answer::ThenSilence(vec![]), "before the answer began"),
        (Answer::ThenSilence(b"HTTP/1.1 200 OK\r\nContent-".to_vec()), "before the answer began"),
        (Answer::ThenSilence(chunks(&[])), "in the middle of an answer"),
        (Answer::ThenSilence(chunks(&[&ONE[..100]])), "in the middle of an answer"),
    ] {
        let error = pull_one(answer).await.unwrap_err();
        assert!(
            matches!(error, PullError::TimedOut { while_awaiting, .. } if while_awaiting == stage),
            "{error:?}"
        );
        assert!(error.may_have_reached_lapi());
        assert_eq!(error.stock_text(), "API error: context deadline exceeded");
    }
}

/// One chunk of a chunked body.
fn chunk(body: &str) -> Vec<u8> {
    format!("{:x}\r\n{body}\r\n", body.len()).into_bytes()
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up() {
    let refusal = b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for (answer, expected) in [
        (Answer::ThenDrips(chunks(&["{"]), chunk(" "), 20), "brought less than 4096 bytes"),
        (Answer::ThenDrips(chunks(&["{"]), chunk(" "), 0), "brought less than 4096 bytes"),
        (Answer::ThenDrips(chunks(&[r#"{"x":""#]), chunk("y"), 20), "brought less than 4096 bytes"),
        (Answer::ThenDrips(b"HTTP/1.1 200 OK\r\nX-A: ".to_vec(), b"a".to_vec(), 20), "sent nothing"),
        // The status counts, whatever becomes of the body.
        (Answer::ThenDrips(refusal, chunk("y"), 20), "answered 500"),
    ] {
        let begun = std::time::Instant::now();
        let error = pull_one(answer).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error:?}");
        assert!(error.may_have_reached_lapi());
        // 300 ms here, 30 s by default.
        assert!(begun.elapsed() < Duration::from_millis(1500), "{expected}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_slow_answer_that_makes_progress_is_read_to_its_end() {
    // A decision of 5 KiB every 100 ms for longer than the deadline: the document ends with the 12th.
    let scenario = "x".repeat(5000);
    let one = format!(r#",{{"scope":"Ip","type":"ban","value":"192.0.2.1","scenario":"{scenario}"}}"#);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&config(listener.local_addr().unwrap().to_string()), &agent()).unwrap();
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(&chunks(&[&format!(r#"{{"new":[{}"#, &one[1..])])).await.unwrap();
        for _ in 0..11 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stream.write_all(&chunk(&one)).await.unwrap();
        }
        stream.write_all(&chunk("]}")).await.unwrap();
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        stream
    };
    let ((answer, _), _stream) = tokio::join!(pull(&client), serving);
    assert_eq!(answer.unwrap().items_new, 12);
}

#[tokio::test]
async fn usage_metrics_do_not_wait_for_a_dripping_answer() {
    let peer = Peer::on_tcp(vec![Answer::ThenDrips(chunks(&[]), chunk(" "), 20)]).await;
    let pushed = client_of(&peer).push_usage_metrics(&UsageMetrics { remediation_components: vec![] }).await;
    assert!(matches!(pushed, Err(PushError::Failed(PullError::TooSlow { .. }))), "{pushed:?}");
}

#[tokio::test]
async fn a_full_pull_that_hangs_is_given_up_like_any_other_request() {
    let hung = || Answer::ThenSilence(vec![]);
    let peer = Peer::on_tcp(vec![hung(), hung(), hung(), chunked(&[EMPTY])]).await;
    let url = format!("http://{}", peer.at());
    let patient = ClientConfig { startup_idle_timeout: Duration::from_secs(60), ..config(url) };
    let client = Client::new(&patient, &agent()).unwrap();
    for within in [300..550, 300..550, 600..1000] {
        let begun = std::time::Instant::now();
        let error = pull(&client).await.0.unwrap_err();
        assert!(matches!(error, PullError::TimedOut { .. }), "{error:?}");
        let took = begun.elapsed().as_millis();
        assert!(within.contains(&took), "{took} ms, expected {within:?}");
    }
    pull(&client).await.0.unwrap();
}

#[tokio::test]
async fn a_refusal_carries_its_status_and_retry_after() {
    for status in ["403 Forbidden", "401 Unauthorized"] {
        let error = pull_one(sized(status, "", r#"{"message":"access forbidden"}"#)).await.unwrap_err();
        assert!(error.is_refusal() && error.shortest_retry() <= Duration::from_secs(2));
        assert!(error.settled_retry() >= Duration::from_secs(60));
        assert_eq!(error.stock_text(), "API error: access forbidden");
        assert!(error.to_string().contains("refused the key in `api_key`"), "{error}");
        assert!(
            error.to_string().contains("cscli bouncers add") && !error.to_string().contains("secret-key")
        );
    }
}

#[tokio::test]
async fn failures_keep_the_message_of_the_lapi() {
    let body = r#"{"message":"get all decisions with filters: unable to query"}"#;
    let error = pull_one(sized("500 Internal Server Error", "", body)).await.unwrap_err();
    assert!(!error.is_refusal() && error.shortest_retry() < Duration::from_secs(1));
    assert_eq!(error.stock_text(), "API error: get all decisions with filters: unable to query");

    let error = pull_one(sized("503 Service Unavailable", "Retry-After: 17\r\n", "busy")).await.unwrap_err();
    assert!(matches!(&error, PullError::Status { status: 503, .. }));
    assert_eq!(error.shortest_retry(), Duration::from_secs(17));
    assert_eq!(error.stock_text(), "API error: http code 503, response: busy");

    let error = pull_one(sized("403 Forbidden", "Retry-After: 30\r\n", "later")).await.unwrap_err();
    assert_eq!((error.is_refusal(), error.shortest_retry()), (true, Duration::from_secs(30)));

    let error = pull_one(sized("404 Not Found", "", "")).await.unwrap_err();
    assert!(error.to_string().contains("does `api_url` lead to the LAPI's root?"), "{error}");
    assert_eq!(error.stock_text(), "API error: http code 404, no response body");

    let peer = Peer::on_tcp(vec![sized("404 Not Found", "", "")]).await;
    let client = Client::new(&config(format!("http://{}/v1", peer.at())), &agent()).unwrap();
    let error = pull(&client).await.0.unwrap_err();
    assert!(error.to_string().contains("leave `/v1` out of `api_url`"), "{error}");

    let go = "Client sent an HTTP request to an HTTPS server.\n";
    let error = pull_one(sized("400 Bad Request", "", go)).await.unwrap_err();
    assert!(error.to_string().ends_with("`api_url` must begin with https://"), "{error}");

    // The status counts even when its body never ends.
    let endless = Answer::ThenSilence(b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\nhalf".to_vec());
    let error = pull_one(endless).await.unwrap_err();
    assert_eq!(error.stock_text(), "API error: http code 500, response: half");
}

#[tokio::test]
async fn what_is_no_lapi_is_called_so() {
    let error = pull_one(sized("200 OK", "", "<html>Welcome</html>")).await.unwrap_err();
    assert!(matches!(error, PullError::Malformed { .. }), "{error:?}");
    let error = pull_one(sized("200 OK", "", r#"{"new":[{]}"#)).await.unwrap_err();
    assert!(matches!(error, PullError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_named_and_never_followed() {
    let elsewhere = Peer::on_tcp(vec![]).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("Location: http://{}/v1/decisions/stream\r\n", elsewhere.at());
        let error = pull_one(sized(status, &location, "")).await.unwrap_err();
        assert!(matches!(&error, PullError::Redirected { .. }), "{error:?}");
        assert!(error.to_string().contains(&elsewhere.at().to_string()), "{error}");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_refused_connection_is_distinguished_from_an_aborted_one() {
    let vacant = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = Client::new(&config(vacant.to_string()), &agent()).unwrap();
    let error = pull(&client).await.0.unwrap_err();
    assert!(
        !error.may_have_reached_lapi() && error.shortest_retry() < Duration::from_millis(500),
        "{error:?}"
    );
    let text = error.stock_text();
    assert!(text.starts_with("auth-api: auth with api key failed return nil response, error: "), "{text}");
    assert!(text.to_lowercase().contains("connection refused"), "{text}");

    let error = pull_one(Answer::ThenClose(vec![])).await.unwrap_err();
    assert!(error.may_have_reached_lapi(), "{error:?}");
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lapi.sock");
    let peer = Peer::on_socket(vec![chunked(&[EMPTY]), chunked(&[EMPTY])], &path).await;
    for url in [path.display().to_string(), format!("unix://{}", path.display())] {
        let client = Client::new(&config(url), &agent()).unwrap();
        pull(&client).await.0.unwrap();
        assert_eq!(client.peer_address(), None);
    }
    assert!(peer.requests()[0].contains("\r\nhost: unix\r\n"), "{}", peer.requests()[0]);
}

#[tokio::test]
async fn a_proxy_is_used_only_for_other_hosts_over_plain_http() {
    let proxy = Peer::on_tcp(vec![chunked(&[EMPTY])]).await;
    let lapi = Peer::on_tcp(vec![chunked(&[EMPTY])]).await;
    let through = |url: String, except: Option<&str>| {
        let url_of_proxy = Some(Secret::new(proxy.at().to_string()));
        let proxy = ProxyConfig { url: url_of_proxy, except: except.map(str::to_owned) };
        Client::new(&ClientConfig { proxy, ..config(url) }, &agent()).unwrap()
    };
    pull(&through(format!("http://{}", lapi.at()), None)).await.0.unwrap();
    assert_eq!((lapi.requests().len(), proxy.requests().len()), (1, 0));
    pull(&through("http://lapi.invalid:8080".into(), None)).await.0.unwrap();
    assert!(proxy.requests()[0].starts_with("get http://lapi.invalid:8080/v1/decisions/stream"));
    assert!(pull(&through("http://lapi.invalid:8080".into(), Some("lapi.invalid"))).await.0.is_err());
    assert!(pull(&through("https://lapi.invalid:8080".into(), None)).await.0.is_err());
    assert_eq!(proxy.requests().len(), 1);
}

#[tokio::test]
async fn usage_metrics_are_posted_uncompressed() {
    let created = || sized("201 Created", "", "");
    let peer = Peer::on_tcp(vec![created(), sized("404 Not Found", "", ""), sized("500 Oops", "", "")]).await;
    let client = client_of(&peer);
    let metrics = UsageMetrics { remediation_components: vec![] };
    client.push_usage_metrics(&metrics).await.unwrap();
    let request = &peer.requests()[0];
    assert!(request.starts_with("post /v1/usage-metrics http/1.1\r\n"), "{request}");
    assert!(request.ends_with(r#"{"remediation_components":[]}"#), "{request}");
    assert!(request.contains("content-type: application/json") && !request.contains("content-encoding"));

    let error = client.push_usage_metrics(&metrics).await.unwrap_err();
    assert!(matches!(error, PushError::Unsupported { .. }), "{error:?}");
    let error = client.push_usage_metrics(&metrics).await.unwrap_err();
    assert!(matches!(error, PushError::Failed(PullError::Status { status: 500, .. })), "{error:?}");
}

#[tokio::test]
async fn a_lapi_that_keeps_cursors_is_understood() {
    let head = "X-Palisade-Cursor: T2\r\nX-Palisade-Content: changes\r\nX-Palisade-Wait: 60\r\n";
    let peer = Peer::on_tcp(vec![sized("200 OK", head, ONE), sized("200 OK", "", EMPTY)]).await;
    let config =
        ClientConfig { instance: Some("web-1/0a1b2c3d".into()), ..config(format!("http://{}", peer.at())) };
    let client = Client::new(&config, &agent()).unwrap();
    let query = StreamQuery { cursor: Some("T1".into()), wait: 30, ..StreamQuery::default() };
    let mut ignore = |_: StreamItem<'_>| {};
    let told = client.decision_stream(&query, &mut ignore).await.unwrap().continuation;
    let expected =
        Continuation { cursor: "T2".into(), content: Content::Changes, wait: Some(Duration::from_secs(60)) };
    assert_eq!(told, Some(expected));
    let stock = client.decision_stream(&query, &mut ignore).await.unwrap();
    assert_eq!(stock.continuation, None, "a stock LAPI says nothing of it");
    let request = &peer.requests()[0];
    assert!(request.contains("cursor=t1") && request.contains("wait=30"), "{request}");
    assert!(request.contains("\r\nx-palisade-instance: web-1/0a1b2c3d\r\n"), "{request}");
}

#[tokio::test]
async fn a_head_that_cannot_be_understood_is_named() {
    for (head, name) in [
        ("X-Palisade-Cursor: \r\n", "x-palisade-cursor"),
        ("X-Palisade-Cursor: T2\r\n", "x-palisade-content"),
        ("X-Palisade-Cursor: T2\r\nX-Palisade-Content: some\r\n", "x-palisade-content"),
        (
            "X-Palisade-Cursor: T2\r\nX-Palisade-Content: changes\r\nX-Palisade-Wait: long\r\n",
            "x-palisade-wait",
        ),
    ] {
        let error = pull_one(sized("200 OK", head, ONE)).await.unwrap_err();
        assert!(matches!(&error, PullError::Header { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_request_that_may_be_held_is_waited_for_that_much_longer() {
    let peer = Peer::on_tcp(vec![Answer::ThenSilence(vec![])]).await;
    let query = StreamQuery { cursor: Some("T1".into()), wait: 1, ..StreamQuery::default() };
    let begun = std::time::Instant::now();
    let error = client_of(&peer).decision_stream(&query, &mut |_: StreamItem<'_>| {}).await.unwrap_err();
    assert!(matches!(error, PullError::TimedOut { .. }), "{error:?}");
    assert!(begun.elapsed() >= Duration::from_millis(1300), "{:?}", begun.elapsed());
}
