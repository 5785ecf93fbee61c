//! What the follower requests after failures, and when.

use std::time::Duration;

use palisade_stream::{Ended, Peer, PullKind};
use palisade_wire::follow::{Content, FullReason};

use crate::session::{A, B, Log, RANGE, Response, Session, delta, full};

#[tokio::test(start_paused = true)]
async fn a_cut_response_is_discarded_and_followed_by_a_full_pull() {
    let mut session =
        Session::begin(vec![full(&[A]), Response::Cut(vec![B]), full(&[A, RANGE]), delta(&[], &[])]);
    use PullKind::{Changes, Everything};
    assert_eq!(session.play_out().await, [Everything, Changes, Everything, Changes, Changes]);
    assert_eq!(session.held(), ["192.0.2.1 cscli", "198.51.100.0/24 lists"]);
    assert_eq!((session.freshness().failed_requests, session.freshness().failures_in_a_row), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_lapi_has_lost_no_delta() {
    let mut session = Session::begin(vec![full(&[A]), Response::Unreachable, delta(&[B], &[])]);
    use PullKind::{Changes, Everything};
    assert_eq!(session.play_out().await, [Everything, Changes, Changes, Changes]);
}

#[tokio::test(start_paused = true)]
async fn decisions_stay_while_the_lapi_is_unreachable() {
    let away = (0..40).map(|_| Response::Unreachable);
    let responses = [full(&[A, B])].into_iter().chain(away).chain([full(&[A, B])]).collect();
    let mut session = Session::begin(responses);
    // Paused time advances, the boot clock does not: gaps are covered by the schedule's own tests.
    session.responses.lock().unwrap().truncate(30);
    for _ in 0..30 {
        session.pulls.recv().await.unwrap();
    }
    assert_eq!(session.held().len(), 2);
    assert!(session.freshness().failures_in_a_row > 20);
    assert!(session.freshness().failing.as_deref().is_some_and(|text| text.contains("unreachable")));
}

#[tokio::test(start_paused = true)]
async fn the_last_cursor_is_sent_again_after_any_failure() {
    let start = Content::Everything(FullReason::Start);
    let mut session = Session::begin(vec![
        Response::WithCursor("T1", start, Some(60), vec![A], vec![]),
        Response::WithCursor("T2", Content::Changes, Some(60), vec![B], vec![]),
        Response::Cut(vec![RANGE]),
        Response::Unreachable,
        Response::WithCursor("T3", Content::Changes, Some(60), vec![], vec![A]),
        // Changes were requested, and the LAPI sends a full response.
        Response::WithCursor("T4", Content::Everything(FullReason::TooOld), Some(60), vec![B, RANGE], vec![]),
    ]);
    use PullKind::{Changes, Everything};
    let mut asked = Vec::new();
    while asked.len() < 7 {
        asked.push(session.pulls.recv().await.unwrap());
    }
    assert_eq!(asked, [Everything, Changes, Changes, Changes, Changes, Changes, Changes]);
    assert_eq!(session.held(), ["192.0.2.2 CAPI", "198.51.100.0/24 lists"]);
    let requests = session.requests.lock().unwrap().clone();
    let cursors: Vec<_> = requests.iter().map(|request| request.cursor.as_str()).collect();
    assert_eq!(cursors, ["", "T1", "T2", "T2", "T2", "T3", "T4"]);
    assert!(requests[0].wait.is_zero() && requests[1].wait == Duration::from_secs(25), "{requests:?}");
    let state = session.freshness();
    assert_eq!((state.peer, state.push, state.missed), (Peer::KeepsCursors, true, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lapi_that_stops_sending_cursors_gets_a_full_pull() {
    let start = Content::Everything(FullReason::Start);
    let mut session = Session::begin(vec![
        Response::WithCursor("T1", start, None, vec![A], vec![]),
        delta(&[B], &[]),
        full(&[A, B, RANGE]),
        delta(&[], &[]),
    ]);
    use PullKind::{Changes, Everything};
    assert_eq!(session.play_out().await, [Everything, Changes, Everything, Changes, Changes]);
    assert_eq!(session.held().len(), 3);
    assert_eq!(session.freshness().peer, Peer::Stock);
}

#[tokio::test(start_paused = true)]
async fn a_key_refused_twice_at_the_start_ends_the_follower_if_configured() {
    let mut session = Session::with(vec![Response::Refused, Response::Refused], true);
    assert!(matches!((&mut session.task).await.unwrap(), Ended::GaveUp(fault) if fault.refused));
    let mut session = Session::with(
        vec![Response::Refused, full(&[A]), Response::Refused, Response::Refused, full(&[A])],
        true,
    );
    session.play_out().await;
    assert_eq!(session.held().len(), 1, "a key that once worked is asked with again");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_does_not_begin_is_logged_once_after_ten_seconds() {
    let (log, _guard) = Log::begin();
    let mut session = Session::begin(vec![]);
    session.pulls.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(log.lines_with("has not begun").len(), 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let lines = log.lines_with("has not begun");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(r#"lapi="the script" seconds=10"#), "{lines:?}");

    // A request that may be held for 25 s is slow after 35.
    let (log, _guard) = Log::begin();
    let first = Response::WithCursor("T1", Content::Everything(FullReason::Start), Some(25), vec![A], vec![]);
    let mut session = Session::begin(vec![first]);
    session.pulls.recv().await.unwrap();
    session.pulls.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(34)).await;
    assert_eq!(log.lines_with("has not begun").len(), 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(log.lines_with("has not begun").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_added_again_is_tried_within_seconds() {
    let begun = tokio::time::Instant::now();
    let refused = (0..20).map(|_| Response::Refused);
    let responses = [full(&[A])].into_iter().chain(refused).chain([full(&[A])]).collect();
    let mut session = Session::begin(responses);
    let mut asked = Vec::new();
    while asked.len() < 22 {
        session.pulls.recv().await.unwrap();
        asked.push(begun.elapsed());
    }
    let apart: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).skip(1).collect();
    assert!(apart.iter().all(|apart| *apart <= Duration::from_millis(10_010)), "{apart:?}");
    assert!(apart[..3].iter().sum::<Duration>() <= Duration::from_secs(13), "{apart:?}");
}
