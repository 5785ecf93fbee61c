//! Queries against a scripted LAPI.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use palisade_client::{Auth, Client, ClientConfig, Secret, UserAgent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// What the LAPI does with a request.
#[derive(Debug, Clone)]
enum Reaction {
    Answer(&'static str),
    AnswerAfter(Duration, &'static str),
    Error,
    Silence,
}

struct ScriptedLapi {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

/// Reacts with each reaction once, and with the last one from then on.
async fn scripted(reactions: impl IntoIterator<Item = Reaction>) -> ScriptedLapi {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let script: Arc<Mutex<VecDeque<Reaction>>> = Arc::new(Mutex::new(reactions.into_iter().collect()));
    let (seen, mut tasks) = (Arc::<Mutex<Vec<String>>>::default(), JoinSet::new());
    let log = Arc::clone(&seen);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let (script, log) = (Arc::clone(&script), Arc::clone(&log));
            connections.spawn(async move {
                let mut bytes = vec![0; 8192];
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    let head = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    log.lock().unwrap().push(head.split(' ').nth(1).unwrap_or_default().to_owned());
                    let reaction = {
                        let mut script = script.lock().unwrap();
                        if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
                    };
                    let (status, body) = match reaction.unwrap() {
                        Reaction::Answer(body) => ("200 OK", body),
                        Reaction::AnswerAfter(pause, body) => {
                            tokio::time::sleep(pause).await;
                            ("200 OK", body)
                        }
                        Reaction::Error => ("500 Internal Server Error", "{}"),
                        Reaction::Silence => std::future::pending().await,
                    };
                    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                    if stream.write_all((head + body).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    ScriptedLapi { url, seen, _tasks: tasks }
}

const BAN: &str = r#"[{"duration":"4h","id":9,"origin":"cscli","scenario":"s","scope":"ip","type":"Ban","value":"192.0.2.7"}]"#;

fn config() -> LiveConfig {
    LiveConfig {
        timeout: Duration::from_secs(5),
        hit_ttl: Duration::from_secs(60),
        miss_ttl: Duration::from_secs(60),
        entries: 1000,
        breaker_failures: 3,
        breaker_pause: Duration::from_millis(300),
    }
}

fn live(lapi: &ScriptedLapi, config: LiveConfig) -> Live {
    let client = ClientConfig::new(lapi.url.clone(), Auth::Key(Secret::new("k")));
    let client = Client::new(&client, &UserAgent::new("palisade-test", "v0.1.0").unwrap()).unwrap();
    Live::new(config, LapiPool::from(client))
}

fn address() -> Target {
    Target::Address("192.0.2.7".parse().unwrap())
}

#[tokio::test]
async fn an_answer_is_remembered_for_its_time_and_an_unban_takes_effect_after_it() {
    let lapi = scripted([Reaction::Answer(BAN), Reaction::Answer("null")]).await;
    let live = live(&lapi, LiveConfig { hit_ttl: Duration::from_millis(200), ..config() });
    let began = Instant::now();
    let first = live.decisions_on(address()).await.unwrap();
    let decision = &first.decisions()[0];
    assert_eq!((&*decision.scope, &*decision.value, &*decision.remediation), ("Ip", "192.0.2.7", "ban"));
    while live.decisions_on(address()).await.unwrap().decisions().len() == 1 {
        assert!(began.elapsed() < Duration::from_secs(20), "the ban is never lifted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(lapi.seen.lock().unwrap().len(), 2, "one query for each period");
    // From now on the address is remembered to be free.
    live.decisions_on(address()).await.unwrap();
    assert_eq!(*lapi.seen.lock().unwrap(), ["/v1/decisions?ip=192.0.2.7"; 2]);
}

#[tokio::test]
async fn requests_of_one_client_at_the_same_time_send_one_query() {
    let lapi = scripted([Reaction::AnswerAfter(Duration::from_millis(100), BAN)]).await;
    let live = Arc::new(live(&lapi, config()));
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let live = Arc::clone(&live);
        requests.spawn(async move { live.decisions_on(address()).await.unwrap().decisions().len() });
    }
    assert_eq!(requests.join_all().await, [1; 50]);
    assert_eq!(lapi.seen.lock().unwrap().len(), 1);
    assert_eq!(live.counters().sent.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_failure_is_shared_by_those_that_waited_for_it() {
    let lapi = scripted([Reaction::Silence]).await;
    let live = Arc::new(live(&lapi, LiveConfig { timeout: Duration::from_millis(200), ..config() }));
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let live = Arc::clone(&live);
        requests.spawn(async move { live.decisions_on(address()).await.is_err() });
    }
    assert_eq!(requests.join_all().await, [true; 50]);
    assert!(live.counters().sent.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn a_silent_lapi_costs_a_request_its_deadline_only() {
    let lapi = scripted([Reaction::Silence]).await;
    let live = live(&lapi, LiveConfig { timeout: Duration::from_millis(200), ..config() });
    let began = Instant::now();
    assert_eq!(live.decisions_on(address()).await.unwrap_err(), LiveError::TimedOut);
    // The test may run on a busy machine; a client without a deadline would wait for minutes.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn after_failures_in_a_row_no_query_is_sent_for_a_while() {
    let reactions = [Reaction::Error, Reaction::Error, Reaction::Error, Reaction::Answer(BAN)];
    let lapi = scripted(reactions).await;
    let live = live(&lapi, LiveConfig { breaker_pause: Duration::from_secs(1), ..config() });
    for last in 1..=3u8 {
        let other = Target::Address(IpAddr::from([192, 0, 2, last]));
        assert_eq!(live.decisions_on(other).await.unwrap_err(), LiveError::Failed);
    }
    let began = Instant::now();
    while live.decisions_on(address()).await.is_err_and(|error| error == LiveError::Paused) {
        assert!(began.elapsed() < Duration::from_secs(20), "it never closes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(live.decisions_on(address()).await.unwrap().decisions().len(), 1);
    assert_eq!(lapi.seen.lock().unwrap().len(), 4, "three that failed, and the one after the pause");
    assert!(live.counters().paused.load(Ordering::Relaxed) > 0 && !live.is_paused());
}

#[tokio::test]
async fn a_request_that_is_given_up_leaves_the_next_one_its_turn() {
    let lapi = scripted([Reaction::Silence, Reaction::Answer("[]")]).await;
    let live = live(&lapi, config());
    let given_up = tokio::time::timeout(Duration::from_millis(100), live.decisions_on(address())).await;
    assert!(given_up.is_err());
    assert_eq!(live.decisions_on(address()).await.unwrap().decisions().len(), 0);
}

#[tokio::test]
async fn memory_is_bounded_whatever_addresses_come() {
    let lapi = scripted([Reaction::Answer("[]")]).await;
    let live = live(&lapi, LiveConfig { entries: 20, ..config() });
    for number in 0..200u128 {
        let client = std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | number);
        live.decisions_on(Target::Address(client.into())).await.unwrap();
    }
    assert!(live.slots.len() <= 32, "{}", live.slots.len());
}

#[tokio::test]
async fn countries_and_systems_are_queried_by_name() {
    let lapi = scripted([Reaction::Answer("[]")]).await;
    let live = live(&lapi, config());
    live.decisions_on(Target::Country(CountryCode::new("FR").unwrap())).await.unwrap();
    live.decisions_on(Target::System(SystemNumber(64500))).await.unwrap();
    let expected = ["/v1/decisions?scope=Country&value=FR", "/v1/decisions?scope=AS&value=64500"];
    assert_eq!(*lapi.seen.lock().unwrap(), expected);
}
