//! The stream for clients with a cursor: contents, long polls, and invalid cursors.

use std::time::Duration;

use axum::http::Method;
use palisade_wire::follow::{Content, FullReason};
use tokio::time::timeout;

use crate::test_server::{Answer, TestServer, eventually, told};

/// A timeout that suffices for every request that is not parked.
const SOON: Duration = Duration::from_secs(20);

/// A client that keeps its cursor.
struct Client {
    query: &'static str,
    cursor: String,
    from: [u8; 4],
}

impl Client {
    fn new(query: &'static str) -> Self {
        Self { query, cursor: String::new(), from: [192, 0, 2, 10] }
    }

    fn path(&self, wait: u64) -> String {
        format!("/v1/decisions/stream?cursor={}&wait={wait}&{}", self.cursor, self.query)
    }

    async fn request(&self, server: &TestServer, wait: u64) -> Answer {
        server.send(server.with_key(Method::GET, &self.path(wait), "key-of-door", self.from)).await
    }

    /// Sends a request and stores the cursor: returns the kind of response, and the values of its two lists.
    async fn pull(&mut self, server: &TestServer, wait: u64) -> (Content, Vec<String>, Vec<String>) {
        let answer = timeout(SOON, self.request(server, wait)).await.unwrap();
        let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        self.cursor = header("x-palisade-cursor");
        let (new, deleted) = told(&answer);
        (Content::read(&header("x-palisade-content")).unwrap(), new, deleted)
    }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn the_place_is_the_clients_and_an_answer_that_is_lost_costs_nothing() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    let mut one = Client::new("");
    assert_eq!(
        one.pull(&server, 0).await,
        (Content::Everything(FullReason::Start), words(&["192.0.2.1"]), vec![])
    );
    server.ban("192.0.2.2", "1h").await;
    // Three responses are lost, and a neighbour with the same key behind the same address gets one.
    for _ in 0..3 {
        assert_eq!(told(&one.request(&server, 0).await).0, ["192.0.2.2"]);
    }
    let mut neighbour = Client::new("");
    assert_eq!(neighbour.pull(&server, 0).await.1.len(), 2);
    assert_eq!(one.pull(&server, 0).await, (Content::Changes, words(&["192.0.2.2"]), vec![]));
    assert_eq!(one.pull(&server, 0).await, (Content::Changes, vec![], vec![]));
    // A stock client on that key has a position of its own, which these requests do not move.
    assert_eq!(server.pull("").await.0.len(), 2);
    one.pull(&server, 0).await;
    server.ban("192.0.2.3", "1h").await;
    one.pull(&server, 0).await;
    assert_eq!(server.pull("").await.0, ["192.0.2.3"]);
}

#[tokio::test]
async fn machines_that_share_a_key_behind_one_address_are_listed_one_by_one() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    for name in ["web-1/a", "web-2/b"] {
        let mut client = Client::new("");
        client.pull(&server, 0).await;
        let mut request = server.with_key(Method::GET, &client.path(0), "key-of-door", client.from);
        request.headers_mut().insert("x-palisade-instance", name.parse().unwrap());
        server.send(request).await;
    }
    server.lapi.registry.activity.write_back(server.now()).await.unwrap();
    let listed = server.lapi.store.bouncer_instances(None).await.unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|one| {
            (one.bouncer.as_str(), one.instance.as_str(), one.ip.as_str(), one.version.as_str(), one.commit.0)
        })
        .collect();
    assert_eq!(
        listed,
        [("door", "web-1/a", "192.0.2.10", "v1.0", 1), ("door", "web-2/b", "192.0.2.10", "v1.0", 1)]
    );
    // Prune and autodelete depend on it.
    assert_eq!(server.lapi.registry.bouncer("door").unwrap().live().last_pull, Some(server.now()));
}

#[tokio::test]
async fn every_kind_of_end_is_announced() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    let alert = server.ban("192.0.2.2", "1h").await;
    server.ban("192.0.2.3", "10s").await;
    let mut client = Client::new("");
    client.pull(&server, 0).await;
    server.delete("/v1/decisions?ip=192.0.2.1").await;
    server.delete(&format!("/v1/alerts/{alert}")).await;
    server.pass(Duration::from_secs(11));
    assert_eq!(client.pull(&server, 0).await.2, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
}

#[tokio::test]
async fn a_stock_client_sees_none_of_it() {
    let server = TestServer::new().await;
    let answer = server.bouncer(Method::GET, "/v1/decisions/stream?wait=30").await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("x-palisade")), "{answer:?}");
}

#[tokio::test]
async fn cursors_that_are_no_good_get_everything_and_the_reason() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    let mut client = Client::new("");
    client.pull(&server, 0).await;
    let good = client.cursor.clone();

    let elsewhere = TestServer::new().await;
    let mut stranger = Client::new("");
    // Its signature is valid, because the tests share one key; its database is another.
    stranger.pull(&elsewhere, 0).await;
    let mut bent = good.clone().into_bytes();
    bent[20] = if bent[20] == b'A' { b'B' } else { b'A' };
    for (cursor, query, why) in [
        (String::new(), "", FullReason::Start),
        (good.clone(), "startup=true", FullReason::Start),
        (String::from_utf8(bent).unwrap(), "", FullReason::Forged),
        ("junk%20%FF".to_owned(), "", FullReason::Forged),
        (stranger.cursor, "", FullReason::OtherDatabase),
        (good.clone(), "origins=cscli", FullReason::OtherFilter),
    ] {
        let mut asking = Client { query, cursor, from: [192, 0, 2, 10] };
        let expected = (Content::Everything(why), words(&["192.0.2.1"]), vec![]);
        // Not parked: there are changes.
        assert_eq!(asking.pull(&server, 30).await, expected);
    }
    server.pass(Duration::from_secs(25 * 3600));
    server.ban("192.0.2.9", "1h").await;
    let mut old = Client { query: "", cursor: good, from: [192, 0, 2, 10] };
    assert_eq!(old.pull(&server, 30).await.0, Content::Everything(FullReason::TooOld));
    let bad = server.bouncer(Method::GET, "/v1/decisions/stream?cursor=&wait=soon").await;
    assert_eq!(bad.short().0, 400);
    assert!(bad.short().1.contains("\"soon\""), "{bad:?}");
}

#[tokio::test]
async fn a_database_that_was_put_back_and_went_on_is_not_taken_for_the_one_it_was() {
    let mut server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    let backup = server.backup().await;
    server.ban("192.0.2.2", "1h").await;
    let mut client = Client::new("");
    client.pull(&server, 0).await;
    server = server.restored(backup).await;
    // The new history is as long as the old one was at the cursor.
    server.ban("192.0.2.3", "1h").await;
    let (content, new, _) = client.pull(&server, 30).await;
    assert_eq!(content, Content::Everything(FullReason::OtherDatabase));
    assert_eq!(new, ["192.0.2.1", "192.0.2.3"]);
    // An ordinary restart invalidates nothing.
    let backup = server.backup().await;
    server = server.restored(backup).await;
    assert_eq!(client.pull(&server, 0).await, (Content::Changes, vec![], vec![]));
}

#[tokio::test]
async fn a_request_is_held_until_something_concerns_it() {
    let server = TestServer::new().await;
    let mut all = Client::new("");
    let mut captchas = Client::new("type=captcha");
    all.pull(&server, 0).await;
    captchas.pull(&server, 0).await;
    {
        let held = all.pull(&server, 30);
        let others = captchas.pull(&server, 30);
        tokio::pin!(held, others);
        let banning = async {
            eventually("both wait", || async { server.lapi.long_poll.waiters() == 2 }).await;
            server.ban("192.0.2.1", "1h").await;
        };
        let waiting = async {
            tokio::select! { told = &mut held => told, _ = &mut others => panic!("not theirs") }
        };
        assert_eq!(tokio::join!(banning, waiting).1, (Content::Changes, words(&["192.0.2.1"]), vec![]));
        eventually("one waits on", || async { server.lapi.long_poll.waiters() == 1 }).await;
    }
    eventually("who goes away gives up the seat", || async { server.lapi.long_poll.waiters() == 0 }).await;
    // The client that got no response has its old cursor, which is still valid.
    assert_eq!(captchas.pull(&server, 0).await, (Content::Changes, vec![], vec![]));
    // Expired decisions are sent when the request times out, and wake no request.
    server.pass(Duration::from_secs(60));
    assert_eq!(all.pull(&server, 1).await, (Content::Changes, vec![], vec![]));
}

#[tokio::test]
async fn waiters_of_one_filter_get_one_response_whatever_their_cursors() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "20s").await;
    let mut clients: Vec<Client> = Vec::new();
    for last in 0..20 {
        let mut client = Client { from: [192, 0, 2, 10 + last % 3], ..Client::new("") };
        client.pull(&server, 0).await;
        server.pass(Duration::from_secs(1));
        clients.push(client);
    }
    server.pass(Duration::from_secs(1));
    let waiting = clients.iter_mut().map(|client| client.pull(&server, 30));
    let banning = async {
        eventually("all wait", || async { server.lapi.long_poll.waiters() == 20 }).await;
        server.ban("192.0.2.2", "1h").await;
    };
    let (told, ()) = tokio::join!(futures_all(waiting), banning);
    for (content, new, deleted) in told {
        // The first client has the ban that has ended since; for the others its end does no harm.
        assert_eq!((content, new, deleted), (Content::Changes, words(&["192.0.2.2"]), words(&["192.0.2.1"])));
    }
}

#[tokio::test]
async fn waiters_of_every_batch_are_answered_in_a_storm() {
    const CLIENTS: usize = 300;
    const BANS: u8 = 20;
    let server = TestServer::new().await;
    let follow = |n: usize| {
        let server = &server;
        async move {
            let mut client = Client { from: [192, 0, 2, (n % 3) as u8 + 1], ..Client::new("") };
            let (mut told, mut answers) = (std::collections::BTreeSet::new(), 0);
            client.pull(server, 0).await;
            while told.len() < usize::from(BANS) {
                told.extend(client.pull(server, 30).await.1);
                answers += 1;
            }
            answers
        }
    };
    let banning = async {
        eventually("all wait", || async { server.lapi.long_poll.waiters() == CLIENTS as u64 }).await;
        for n in 0..BANS {
            server.ban(&format!("198.51.100.{n}"), "1h").await;
        }
    };
    let (answers, ()) = tokio::join!(futures_all((0..CLIENTS).map(follow)), banning);
    assert!(answers.iter().all(|count| *count <= usize::from(BANS)), "{answers:?}");
    assert_eq!(server.lapi.long_poll.waiters(), 0);
}

#[tokio::test]
async fn a_bouncer_that_is_deleted_while_it_waits_is_refused_at_once() {
    let server = TestServer::new().await;
    let mut client = Client::new("");
    client.pull(&server, 0).await;
    let deleting = async {
        eventually("it waits", || async { server.lapi.long_poll.waiters() == 1 }).await;
        server.lapi.store.delete_bouncer("door").await.unwrap();
    };
    let (answer, ()) = tokio::join!(timeout(SOON, client.request(&server, 60)), deleting);
    assert_eq!(answer.unwrap().short(), (403, "access forbidden".into()));
}

#[tokio::test]
async fn parked_requests_are_answered_when_the_lapi_closes() {
    let server = TestServer::new().await;
    let mut client = Client::new("");
    client.pull(&server, 0).await;
    let closing = async {
        eventually("it waits", || async { server.lapi.long_poll.waiters() == 1 }).await;
        server.lapi.closing.cancel();
    };
    let (told, ()) = tokio::join!(client.pull(&server, 60), closing);
    assert_eq!(told, (Content::Changes, vec![], vec![]));
    let answer = client.request(&server, 60).await;
    assert!(!answer.headers.contains_key("x-palisade-wait"), "it holds nobody any more");
}

async fn futures_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut out: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, out) in futures.iter_mut().zip(&mut out).filter(|(_, out)| out.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *out = Some(value);
            }
        }
        if out.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    out.into_iter().flatten().collect()
}
