//! Requests in flight, and what ends them.

use std::time::Duration;

use palisade_cache::{Batch, Ledger, Mode, Reason, Timestamp};
use palisade_daemon::listen::{Connections, Limits};
use palisade_net::PrefixSet;
use palisade_stream::{Freshness, channel_with, now};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::remediation::tests::route;
use crate::remediation::{Decider, policy};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_request_is_woken_when_it_is_ended_and_others_are_not() {
    let requests = Arc::new(OpenRequests::default());
    let route = Arc::new(route());
    let mut banned = requests.open(ip("192.0.2.7"), Arc::clone(&route));
    let mut other = requests.open(ip("192.0.2.8"), route);
    assert_eq!(requests.len(), 2);
    let waiting = async {
        banned.ended().await;
        // It stays ended for later polls.
        banned.ended().await;
    };
    let ending = async {
        tokio::task::yield_now().await;
        assert_eq!(requests.end_where(|client, _| client == ip("192.0.2.7")), 1);
        assert_eq!(requests.end_where(|client, _| client == ip("192.0.2.7")), 0, "it is ended already");
    };
    timeout(Duration::from_secs(20), async { tokio::join!(waiting, ending) }).await.unwrap();
    assert!(timeout(Duration::from_millis(20), other.ended()).await.is_err());
    drop((banned, other));
    assert!(requests.is_empty());
}

#[tokio::test]
async fn one_that_is_ended_before_it_is_polled_knows() {
    let requests = Arc::new(OpenRequests::default());
    let mut request = requests.open(ip("192.0.2.7"), Arc::new(route()));
    assert!(!request.was_swept());
    requests.end_where(|_, _| true);
    assert!(request.was_swept());
    timeout(Duration::from_secs(20), request.ended()).await.unwrap();
}

#[test]
fn places_are_used_again() {
    let requests = Arc::new(OpenRequests::default());
    let route = Arc::new(route());
    for _ in 0..10_000 {
        drop(requests.open(ip("192.0.2.7"), Arc::clone(&route)));
    }
    let slots: usize = (0..SHARDS).map(|shard| requests.shard(shard).slots.len()).sum();
    assert!(slots <= SHARDS && requests.is_empty());
}

#[tokio::test]
async fn a_published_ban_ends_what_its_routes_would_refuse_and_nothing_else() {
    let ban = |value: &str| {
        let mut ledger = Ledger::new(policy(), 0);
        let mut batch = Batch::new();
        let until = Timestamp::from_millis(now().as_millis() + 3_600_000);
        let reason = Reason { remediation: "ban", origin: "cscli", scenario: "why" };
        batch.announce_net(value.parse().unwrap(), reason, until, 1);
        ledger.apply(Mode::Everything, batch);
        ledger.snapshot()
    };
    let (publisher, cache) = channel_with(Default::default(), Freshness::default());
    let decider = Decider::new(cache, Default::default(), true);
    let scope = SweepScope::of(decider, [Arc::new(route())], PrefixSet::default());
    let (scope, requests) = (Arc::new(scope), Arc::new(OpenRequests::default()));
    let exempt = ["192.0.2.7/32".parse::<ipnet::IpNet>().unwrap()].into_iter().collect();
    let routes = [
        route(),
        RemediationPolicy { log_only: true, ..route() },
        RemediationPolicy { mode: crate::config::DecisionMode::Off, ..route() },
        RemediationPolicy { exempt, ..route() },
    ];
    let mut open = routes.map(|route| requests.open(ip("::ffff:192.0.2.7"), Arc::new(route)));
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let counted = Arc::default();
    let connections = Connections::new(Limits::default());
    let following = end_banned(
        move || Arc::clone(&scope),
        Arc::clone(&requests),
        connections,
        Arc::clone(&counted),
        stop.clone(),
    );
    tasks.spawn(following);
    tokio::task::yield_now().await;
    publisher.publish(ban("192.0.2.0/24"));
    timeout(Duration::from_secs(20), open[0].ended()).await.unwrap();
    // After the second sweep too.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for request in &mut open[1..] {
        assert!(timeout(Duration::from_millis(10), request.ended()).await.is_err());
    }
    assert_eq!(counted.load(Ordering::Relaxed), 1);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}
