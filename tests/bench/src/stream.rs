//! The start-up stream: from a loopback server's bytes to a published snapshot, against plain decoding.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_cache::{Ledger, Policy};
use palisade_client::{Auth, Backoff, Client, ClientConfig, RetryPolicy, Secret, StreamQuery, UserAgent};
use palisade_stream::{Admission, Cadence, Follower, Lapi, channel};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::data;
use crate::report::{BenchRow, Target, median};

const MILLION: usize = 1_000_000;
const RUNS: usize = 5;

/// What a client that keeps everything as text decodes into.
#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are what is decoded")]
struct PlainDecision {
    duration: String,
    id: i64,
    origin: String,
    scenario: String,
    scope: String,
    r#type: String,
    uuid: String,
    value: String,
}

#[derive(Deserialize)]
struct PlainStream {
    new: Vec<PlainDecision>,
}

/// Seconds for one million decisions.
pub(crate) fn startup() -> Vec<BenchRow> {
    let nets = [data::v4(MILLION / 2, 1), data::v6(MILLION / 2, 2)].concat();
    let body: Arc<Vec<u8>> = Arc::new(body(&nets));
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let url = format!("http://{}/", listener.local_addr().expect("a bound socket has an address"));
    let served = Arc::clone(&body);
    std::thread::spawn(move || serve(&listener, &served));

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let start = Instant::now();
        let plain: PlainStream = serde_json::from_slice(&body).expect("the body is a decision stream");
        theirs.push(start.elapsed().as_secs_f64());
        assert_eq!(black_box(plain).new.len(), MILLION);
        ours.push(pull(&url));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    vec![BenchRow::new(
        format!(
            "one million decisions ({} MB) from loopback to a published snapshot",
            body.len() / 1_000_000
        ),
        "s",
        ours,
        Some((theirs, "serde_json decoding the same bytes, already in memory")),
        Target::WithinTimes(3.0),
    )]
}

/// From the request to the first generation with everything in it.
fn pull(url: &str) -> f64 {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let config = ClientConfig::new(url, Auth::Key(Secret::new("key")));
        let agent = UserAgent::new("palisade-bench", "v0").expect("the agent has one slash");
        let client = Client::new(&config, &agent).expect("the configuration is whole");
        let mut ledger = Ledger::new(Policy::default(), 1);
        let (publisher, cache) = channel(ledger.snapshot());
        let mut follower = Follower {
            source: Lapi::new(client, StreamQuery::default()),
            cadence: Cadence::default(),
            backoff: Backoff::new(RetryPolicy::for_interval(Duration::from_secs(10))),
            admission: Admission::new(None),
            ledger,
            cursor: String::new(),
            publisher,
            state: palisade_stream::Freshness::default(),
        };
        let stop = CancellationToken::new();
        let mut changed = cache.changed();
        let start = Instant::now();
        let full = async {
            changed.wait_for(|generation| *generation > 0).await.expect("the follower is alive");
            let seconds = start.elapsed().as_secs_f64();
            stop.cancel();
            seconds
        };
        let (_, seconds) = tokio::join!(follower.run(false, stop.clone()), full);
        assert_eq!(cache.load().len(), MILLION);
        seconds
    })
}

fn body(nets: &[ipnet::IpNet]) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut out = br#"{"new": ["#.to_vec();
    for (id, net) in nets.iter().enumerate() {
        let host = net.prefix_len() == net.max_prefix_len();
        let (scope, value) = if host { ("Ip", net.addr().to_string()) } else { ("Range", net.to_string()) };
        let (origin, scenario) = match id % 10 {
            0 => ("crowdsec", "crowdsecurity/ssh-bf"),
            1..=4 => ("CAPI", "http:scan"),
            _ => ("lists", "firehol_botscout_7d"),
        };
        let comma = if id == 0 { "" } else { "," };
        let (h, m, s) = (random.u32(1..160), random.u32(0..60), random.u32(0..60));
        write!(
            out,
            r#"{comma}{{"duration":"{h}h{m}m{s}s","id":{id},"origin":"{origin}","scenario":"{scenario}","scope":"{scope}","type":"ban","uuid":"3f2504e0-4f89-41d3-9a0c-{id:012x}","value":"{value}"}}"#
        )
        .expect("a vector takes all that is written");
    }
    out.extend_from_slice(br#"], "deleted": []}"#);
    out
}

fn serve(listener: &TcpListener, body: &[u8]) {
    for mut connection in listener.incoming().flatten() {
        let mut request = [0u8; 4096];
        let _ = connection.read(&mut request);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body));
    }
}
