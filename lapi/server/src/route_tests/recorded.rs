//! Plays the requests recorded in `tests/golden/lapi-1.7.8` and compares every response with the recorded one.
//!
//! A recording is a list of exchanges in order, made against CrowdSec 1.7.8 from the state that [`world`] builds. The
//! clock of the server stands at the time of each exchange, so times and durations need no translation. Identifiers
//! that are drawn at random (UUIDs, tokens) may differ, durations by two seconds, times by five, because the recorded
//! server wrote them a moment later; everything else is compared: status, headers, body, and the order of its keys.
//! What differs on purpose is in [`accepted`].

mod accepted;
mod compare;
mod exchange;
mod ids;
mod play;
mod world;

use std::collections::BTreeMap;

use accepted::ACCEPTED;
use compare::Mismatch;
use play::Player;

/// Plays a group and checks every response.
async fn compare_group(group: &str) {
    let exchanges = exchange::read(group);
    let server = world::prepared().await;
    let mut player = Player::new(&server).await;
    let accepted: Vec<_> = ACCEPTED.iter().filter(|entry| entry.groups.contains(&group)).collect();
    let mut counts: BTreeMap<&str, usize> = accepted.iter().map(|entry| (entry.reason, 0)).collect();
    let (mut equal, mut otherwise) = (0, Vec::new());
    let mut missing = 0;
    for exchange in &exchanges {
        if exchange.path().is_some_and(|path| player.ids.is_missing(path)) {
            missing += 1;
            continue;
        }
        if !server.has(exchange.from) {
            continue;
        }
        let answer = player.play(exchange).await;
        let Some(mismatch) = Mismatch::of(exchange, &answer, &mut player.ids) else {
            equal += 1;
            continue;
        };
        match accepted.iter().find(|entry| (entry.holds)(&mismatch)) {
            Some(entry) => *counts.entry(entry.reason).or_default() += 1,
            None => otherwise.push(mismatch.to_string()),
        }
    }
    let listed: usize = counts.values().sum();
    let mut summary = format!("{group}: {} exchanges, {equal} equal, {listed} accepted", exchanges.len());
    if missing > 0 {
        summary.push_str(&format!(", {missing} of alerts that were refused before"));
    }
    for (reason, count) in &counts {
        summary.push_str(&format!("\n  {count:4} {reason}"));
    }
    println!("{summary}");
    assert!(otherwise.is_empty(), "{} responses differ:\n{}", otherwise.len(), otherwise.join("\n"));
    let unused: Vec<_> = counts.iter().filter(|(_, count)| **count == 0).map(|(reason, _)| reason).collect();
    assert!(unused.is_empty(), "accepted differences that no longer occur in {group}: {unused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_and_login_answer_as_recorded() {
    compare_group("watchers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn allowlists_answer_as_recorded() {
    compare_group("allow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_reports_answer_as_recorded() {
    compare_group("usage").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posted_alerts_answer_as_recorded() {
    compare_group("post").await;
}
