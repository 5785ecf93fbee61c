use std::sync::Arc;
use std::time::Duration;

use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Timestamp};
use palisade_daemon::metrics::Metrics;
use palisade_stream::{CacheHandle, Freshness, Publisher, channel, channel_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Mirror;
use crate::config::{FilterConfig, ListAccess, ListConfig, ListFormat, MirrorConfig};

fn list(path: &str, format: ListFormat) -> ListConfig {
    ListConfig {
        path: path.to_owned(),
        format,
        access: ListAccess::Open,
        filter: FilterConfig::default(),
        aggregate: false,
    }
}

fn config(port: u16, lists: Vec<ListConfig>) -> Arc<MirrorConfig> {
    Arc::new(MirrorConfig {
        listen: format!("127.0.0.1:{port}"),
        tls: None,
        lists,
        metrics_path: Some("/metrics".to_owned()),
        access_log: None,
        empty_is_not_found: true,
    })
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn far() -> Timestamp {
    Timestamp::from_millis(4_000_000_000_000)
}

fn ledger(nets: impl IntoIterator<Item = (String, &'static str)>) -> Ledger {
    let mut ledger = Ledger::new(Policy::longest_wins(), 0);
    let mut batch = Batch::new();
    for ((net, remediation), id) in nets.into_iter().zip(1..) {
        let reason = Reason { remediation, origin: "cscli", scenario: "test/scan" };
        batch.announce_net(palisade_net::parse_prefix(&net).unwrap(), reason, far(), id);
    }
    ledger.apply(Mode::Everything, batch);
    ledger
}

struct Running {
    mirror: Mirror,
    port: u16,
    stop: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Running {
    async fn start(cache: CacheHandle, lists: Vec<ListConfig>) -> Self {
        let (port, stop) = (free_port(), CancellationToken::new());
        let (mirror, task) =
            Mirror::start(config(port, lists), cache, &Metrics::new(), stop.clone()).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(task);
        Self { mirror, port, stop, _tasks: tasks }
    }

    async fn get(&self, target: &str, headers: &str) -> String {
        String::from_utf8_lossy(&self.get_bytes(target, headers).await).into_owned()
    }

    async fn get_bytes(&self, target: &str, headers: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let method = if headers.contains("HEAD") { "HEAD" } else { "GET" };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn published(nets: &[(&str, &'static str)]) -> (Publisher, CacheHandle) {
    channel(ledger(nets.iter().map(|(net, kind)| ((*net).to_owned(), *kind))).snapshot())
}

#[tokio::test]
async fn lists_are_served_with_a_version_and_queries_select() {
    let (_publisher, cache) =
        published(&[("192.0.2.1", "ban"), ("192.0.2.0/31", "captcha"), ("2001:db8::1", "ban")]);
    let merged = ListConfig { aggregate: true, ..list("/merged", ListFormat::PlainText) };
    let running = Running::start(cache, vec![list("/plain", ListFormat::PlainText), merged]).await;
    let answer = running.get("/plain", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; charset=utf-8\r\n"), "{answer}");
    assert_eq!(body(&answer), "192.0.2.0/31\n192.0.2.1\n2001:db8::1\n");
    for (query, expected) in [
        ("ipv4only", "192.0.2.0/31\n192.0.2.1\n"),
        ("ipv6only", "2001:db8::1\n"),
        ("origin=CSCLI", "192.0.2.0/31\n192.0.2.1\n2001:db8::1\n"),
        ("supported_decisions_types=captcha", "192.0.2.0/31\n"),
        ("origin=other", "no decisions available\n"),
    ] {
        assert_eq!(body(&running.get(&format!("/plain?{query}"), "").await), expected, "{query}");
    }
    assert_eq!(body(&running.get("/merged", "").await), "192.0.2.0/31\n2001:db8::1/128\n");
    let etag = answer.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let same = running.get("/plain", &format!("If-None-Match: {etag}\r\n")).await;
    assert!(same.starts_with("HTTP/1.1 304") && body(&same).is_empty(), "{same}");
    let head = running.get("/plain", "X-Method: HEAD\r\n").await;
    assert!(head.contains("content-length: 35\r\n") && body(&head).is_empty(), "{head}");
    let small = running.get("/plain", "Accept-Encoding: gzip\r\n").await;
    assert!(small.contains("content-encoding: gzip\r\n"), "{small}");
    assert!(running.get("/other", "").await.starts_with("HTTP/1.1 404"));
    let metrics = running.get("/metrics", "").await;
    assert!(metrics.contains("blocklist_requests_total{route=\"/merged\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\nactive_decision_count 3\n"), "{metrics}");
}

#[tokio::test]
async fn before_decisions_are_known_no_list_is_served() {
    let (publisher, cache) = channel(Ledger::new(Policy::longest_wins(), 0).snapshot());
    let running = Running::start(cache, vec![list("/plain", ListFormat::PlainText)]).await;
    let answer = running.get("/plain", "").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 10\r\n"), "{answer}");
    publisher.publish(ledger([("192.0.2.1".to_owned(), "ban")]).snapshot());
    assert_eq!(body(&running.get("/plain", "").await), "192.0.2.1\n");
}

#[tokio::test]
async fn a_list_known_to_be_empty_is_not_found_or_empty() {
    let complete = Freshness { last_full: Some(far()), ..Freshness::default() };
    let (_publisher, cache) = channel_with(Ledger::new(Policy::longest_wins(), 0).snapshot(), complete);
    let lists = vec![list("/plain", ListFormat::PlainText), list("/m", ListFormat::Mikrotik)];
    let running = Running::start(cache, lists.clone()).await;
    for path in ["/plain", "/m"] {
        let answer = running.get(path, "").await;
        assert!(
            answer.starts_with("HTTP/1.1 404") && body(&answer) == "no decisions available\n",
            "{answer}"
        );
    }
    let other = MirrorConfig { empty_is_not_found: false, ..(*config(running.port, lists)).clone() };
    running.mirror.reload(Arc::new(other)).await.unwrap();
    let answer = running.get("/plain", "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && body(&answer).is_empty(), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_share_one_rendering() {
    let nets = (0..20_000_u32).map(|n| (std::net::Ipv4Addr::from(n * 7 + (10 << 24)).to_string(), "ban"));
    let (_publisher, cache) = channel(ledger(nets).snapshot());
    let running = Arc::new(Running::start(cache, vec![list("/plain", ListFormat::PlainText)]).await);
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        let running = Arc::clone(&running);
        clients.spawn(async move { body(&running.get("/plain", "").await).lines().count() });
    }
    assert!(clients.join_all().await.into_iter().all(|lines| lines == 20_000));
    let status = running.mirror.status().lists["/plain"];
    assert_eq!((status.requests, status.rendered, status.variants), (200, 1, 1));
}

#[tokio::test]
async fn the_number_of_variants_is_bounded() {
    let (_publisher, cache) = published(&[("192.0.2.1", "ban")]);
    let running = Running::start(cache, vec![list("/plain", ListFormat::PlainText)]).await;
    for n in 0..40 {
        running.get(&format!("/plain?origin=o{n}"), "").await;
    }
    assert_eq!(running.mirror.status().lists["/plain"].variants, 16);
}

#[tokio::test]
async fn a_reload_moves_the_listener_and_changes_lists() {
    let mut ledger = ledger([("192.0.2.1".to_owned(), "ban")]);
    let (publisher, cache) = channel(ledger.snapshot());
    let mut running = Running::start(cache, vec![list("/plain", ListFormat::PlainText)]).await;
    let port = free_port();
    running.mirror.reload(config(port, vec![list("/j", ListFormat::Juniper)])).await.unwrap();
    running.port = port;
    assert_eq!(body(&running.get("/j", "").await), "192.0.2.1/32\n");
    assert!(running.get("/plain", "").await.starts_with("HTTP/1.1 404"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = config(taken.local_addr().unwrap().port(), vec![]);
    assert!(running.mirror.reload(taken).await.is_err());
    assert_eq!(body(&running.get("/j", "").await), "192.0.2.1/32\n", "all goes on as before");
    let mut added = Batch::new();
    let reason = Reason { remediation: "ban", origin: "cscli", scenario: "s" };
    added.announce_net(palisade_net::parse_prefix("192.0.2.2").unwrap(), reason, far(), 9);
    ledger.apply(Mode::Additions, added);
    publisher.publish(ledger.snapshot());
    let shows_change = async {
        while body(&running.get("/j", "").await) != "192.0.2.1/32\n192.0.2.2/32\n" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), shows_change).await.unwrap();
}

#[tokio::test]
async fn a_compressed_answer_is_the_same_list_under_another_version() {
    let (_publisher, cache) = published(&[("192.0.2.1", "ban"), ("::ffff:192.0.2.9", "ban")]);
    let running = Running::start(cache, vec![list("/plain", ListFormat::PlainText)]).await;
    let answer = running.get_bytes("/plain", "Accept-Encoding: gzip\r\n").await;
    let start = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&answer[start..]), &mut text).unwrap();
    assert_eq!(text, "192.0.2.1\n192.0.2.9\n", "IPv4-mapped addresses are IPv4");
    let head = String::from_utf8_lossy(&answer[..start]).into_owned();
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    assert!(etag.ends_with("-gzip\"") && head.contains("vary: accept-encoding\r\n"), "{head}");
    assert!(running.get("/plain", &format!("If-None-Match: {etag}\r\n")).await.starts_with("HTTP/1.1 304"));
}

#[tokio::test]
async fn refusals_have_the_words_of_the_stock_program_and_are_not_counted() {
    let (_publisher, cache) = published(&[("192.0.2.1", "ban")]);
    let basic = ListAccess::Basic { user: "u".to_owned(), password: palisade_client::Secret::new("p") };
    let nobody = ListAccess::Addresses(Box::default());
    let lists = vec![
        ListConfig { access: basic, ..list("/basic", ListFormat::PlainText) },
        ListConfig { access: nobody, ..list("/nobody", ListFormat::PlainText) },
    ];
    let running = Running::start(cache, lists).await;
    let asked = running.get("/basic", "").await;
    assert!(asked.starts_with("HTTP/1.1 401") && body(&asked) == "access denied\n", "{asked}");
    assert!(asked.contains("www-authenticate: Basic realm=\"crowdsec-blocklist-mirror\"\r\n"), "{asked}");
    for (path, headers) in
        [("/basic", "Authorization: Basic dTp4\r\n"), ("/nobody", "X-Forwarded-For: ::1\r\n")]
    {
        let refused = running.get(path, headers).await;
        assert!(refused.starts_with("HTTP/1.1 403") && body(&refused) == "access denied\n", "{refused}");
    }
    assert_eq!(body(&running.get("/basic", "Authorization: Basic dTpw\r\n").await), "192.0.2.1\n");
    let lists = running.mirror.status().lists;
    assert_eq!((lists["/basic"].requests, lists["/nobody"].requests), (1, 0));
}

#[tokio::test]
async fn requests_are_logged_in_combined_form() {
    let (_publisher, cache) = published(&[("192.0.2.1", "ban")]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let lists = vec![list("/plain", ListFormat::PlainText)];
    let running = Running::start(cache, lists.clone()).await;
    let logged =
        MirrorConfig { access_log: Some(path.clone()), ..(*config(running.port, lists.clone())).clone() };
    running.mirror.reload(Arc::new(logged)).await.unwrap();
    running.get("/plain?nosort", "User-Agent: x\"y\r\nReferer: r\r\n").await;
    let written = async {
        while !std::fs::read_to_string(&path).unwrap_or_default().contains('\n') {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), written).await.unwrap();
    let line = std::fs::read_to_string(&path).unwrap();
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.ends_with("] \"GET /plain?nosort HTTP/1.1\" 200 10 \"r\" \"x\\x22y\"\n"), "{line}");
}

#[tokio::test]
async fn a_value_removed_and_added_in_one_response_stays_on_the_list() {
    let mut ledger = ledger([("192.0.2.1".to_owned(), "ban")]);
    let (publisher, cache) = channel(ledger.snapshot());
    let running = Running::start(cache, vec![list("/plain", ListFormat::PlainText)]).await;
    let reason = Reason { remediation: "ban", origin: "cscli", scenario: "test/scan" };
    let address = palisade_net::parse_prefix("192.0.2.1").unwrap();
    let mut both = Batch::new();
    both.lift_net(address, "ban");
    both.announce_net(address, reason, far(), 2);
    ledger.apply(Mode::Changes, both);
    publisher.publish(ledger.snapshot());
    assert_eq!(body(&running.get("/plain", "").await), "192.0.2.1\n");
}
