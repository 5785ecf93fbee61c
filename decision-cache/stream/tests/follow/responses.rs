//! How responses change the decisions held.

use palisade_stream::{Ended, PullKind};
use palisade_wire::follow::{Content, FullReason};

use crate::session::{A, B, Line, Log, RANGE, Response, Session, delta, full};

#[tokio::test(start_paused = true)]
async fn a_start_up_pull_is_followed_by_changes() {
    let later = ("192.0.2.2", "CAPI", "1h", 4);
    let mut session = Session::begin(vec![full(&[A, RANGE]), delta(&[later], &[]), delta(&[], &[A])]);
    use PullKind::{Changes, Everything};
    assert_eq!(session.play_out().await, [Everything, Changes, Changes, Changes]);
    assert_eq!(session.held(), ["192.0.2.2 CAPI", "198.51.100.0/24 lists"]);
    assert_eq!(session.cache.load().generation(), 3);
    session.stop.cancel();
    assert!(matches!(session.task.await.unwrap(), Ended::Stopped));
}

#[tokio::test(start_paused = true)]
async fn an_end_and_a_new_ban_in_one_response_leave_the_ban() {
    let again = ("192.0.2.1", "cscli", "1h", 9);
    let mut session = Session::begin(vec![full(&[A]), delta(&[again], &[A])]);
    session.play_out().await;
    assert_eq!(session.held(), ["192.0.2.1 cscli"]);
    assert_eq!(session.cache.load().decisions().next().unwrap().id, 9);
}

#[tokio::test(start_paused = true)]
async fn an_end_under_an_unknown_id_is_applied_and_may_be_repeated() {
    let other_id = ("192.0.2.1", "cscli", "-1s", 77);
    let mut session =
        Session::begin(vec![full(&[A, B]), delta(&[], &[other_id]), delta(&[], &[other_id, other_id])]);
    session.play_out().await;
    assert_eq!(session.held(), ["192.0.2.2 CAPI"]);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_end_leaves_a_newer_ban() {
    // A stock LAPI repeats the ends of the 2 s before the last request, and identifies addresses by their notation.
    let first = ("::ffff:192.0.2.1", "cscli", "4h", 5);
    let ended = ("::ffff:192.0.2.1", "cscli", "-1s", 5);
    let again = ("192.0.2.1/32", "cscli", "4h", 6);
    let mut session = Session::begin(vec![
        full(&[first]),
        delta(&[], &[ended]),
        delta(&[again], &[ended]),
        delta(&[], &[ended]),
        delta(&[], &[ended]),
    ]);
    session.play_out().await;
    assert_eq!(session.held(), ["192.0.2.1 cscli"], "the new ban holds");

    // The end of the new ban itself lifts it, whatever was repeated before.
    let mut session = Session::begin(vec![
        full(&[first]),
        delta(&[], &[ended]),
        delta(&[again], &[ended]),
        delta(&[], &[ended, ("192.0.2.1/32", "cscli", "-1s", 6)]),
    ]);
    session.play_out().await;
    assert_eq!(session.held().len(), 0);

    // The end may have been in a full response first.
    let old = ("192.0.2.1/32", "cscli", "-2m", 5);
    for (listed, held) in [(ended, 1), (old, 0)] {
        let whole = Response::FullWithEnds(vec![again], vec![listed]);
        let mut session = Session::begin(vec![whole, delta(&[], &[ended])]);
        session.play_out().await;
        assert_eq!(session.held().len(), held, "{listed:?}");
    }

    // A LAPI that keeps cursors repeats nothing.
    let start = Content::Everything(FullReason::Start);
    let mut session = Session::begin(vec![
        Response::WithCursor("T1", start, None, vec![again], vec![]),
        Response::WithCursor("T2", Content::Changes, None, vec![], vec![ended]),
        Response::WithCursor("T3", Content::Changes, None, vec![again], vec![]),
        Response::WithCursor("T4", Content::Changes, None, vec![], vec![ended]),
    ]);
    session.play_out().await;
    assert_eq!(session.held().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn lifting_a_host_leaves_the_range_around_it() {
    let inside = ("198.51.100.9", "cscli", "1h", 4);
    let mut session = Session::begin(vec![full(&[RANGE, inside]), delta(&[], &[inside])]);
    session.play_out().await;
    let snapshot = session.cache.load();
    assert_eq!(snapshot.verdict("198.51.100.9".parse().unwrap()).unwrap().origin, "lists");
}

#[tokio::test(start_paused = true)]
async fn one_empty_response_removes_nothing_and_a_second_everything() {
    let mut session =
        Session::begin(vec![full(&[A, B]), Response::Cut(vec![]), full(&[]), full(&[A, B]), delta(&[], &[])]);
    session.play_out().await;
    assert_eq!((session.held().len(), session.freshness().held_back), (2, 1));
    let mut session =
        Session::begin(vec![full(&[A, B]), Response::Cut(vec![]), full(&[]), full(&[]), delta(&[], &[])]);
    session.play_out().await;
    assert_eq!(session.held().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_database_is_recognised_by_its_ids() {
    let high = ("192.0.2.1", "cscli", "4h", 500);
    let restarted = ("192.0.2.9", "cscli", "4h", 1);
    let mut session =
        Session::begin(vec![full(&[high]), delta(&[restarted], &[]), full(&[restarted]), delta(&[], &[])]);
    use PullKind::{Changes, Everything};
    assert_eq!(session.play_out().await, [Everything, Changes, Everything, Changes, Changes]);
    assert_eq!(session.held(), ["192.0.2.9 cscli"], "what only the old database knew is gone");
}

#[tokio::test(start_paused = true)]
async fn a_blocklist_repeated_under_new_ids_is_no_change() {
    let again = ("198.51.100.0/24", "lists", "24h", 3000);
    let longer = ("192.0.2.1", "cscli", "9h", 3001);
    let mut session = Session::begin(vec![full(&[A, RANGE]), delta(&[again], &[]), delta(&[longer], &[])]);
    let first = async {
        while session.cache.load().generation() < 1 {
            tokio::task::yield_now().await;
        }
        session.cache.load()
    }
    .await;
    session.play_out().await;
    let last = session.cache.load();
    assert_eq!(last.generation(), 2, "the repeated list publishes nothing, the longer ban does");
    let changed: Vec<_> = last.diff(&first).iter().map(|change| change.net.addr().to_string()).collect();
    assert_eq!(changed, ["192.0.2.1"]);
}

#[tokio::test(start_paused = true)]
async fn log_lines_carry_fields_and_one_line_each() {
    let (log, _guard) = Log::begin();
    let mut session = Session::begin(vec![
        full(&[A, B]),
        delta(&[RANGE], &[A]),
        delta(&[], &[]),
        Response::Unreachable,
        Response::Refused,
        full(&[B, RANGE]),
    ]);
    session.play_out().await;
    let one = |part: &str| {
        let lines = log.lines_with(part);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    };
    assert!(log.lines_with("decisions changed").is_empty(), "that is the enforcer's line");
    let pulls = log.lines_with("every decision in force was pulled");
    assert!(pulls[0].ends_with("added=2 renewed=0 removed=0 held=2"), "{pulls:?}");
    assert!(pulls[1].ends_with("added=0 renewed=0 removed=0 held=2"), "{pulls:?}");
    assert!(one("no answer from the LAPI").contains("retry_seconds="));
    let all = log.lines_with("");
    for odd in [" { ", "Some(", "None", "applied=", "retry_in"] {
        assert!(all.iter().all(|line| !line.contains(odd)), "{odd}: {all:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn completeness_is_published_no_earlier_than_the_decisions() {
    const MANY: usize = 50_000;
    let lines = (0..MANY).map(|n| {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(n).unwrap());
        let text: &'static str = address.to_string().leak();
        (text, "CAPI", "4h", i64::try_from(n).unwrap() + 1)
    });
    let mut session = Session::begin(vec![full(&lines.collect::<Vec<Line>>())]);
    let cache = session.cache.clone();
    let reader = std::thread::spawn(move || {
        loop {
            // In this order a snapshot is at least as new as the freshness that was read.
            let complete = cache.freshness().is_complete();
            let held = cache.load().len();
            if complete {
                return held;
            }
        }
    });
    session.play_out().await;
    assert_eq!(reader.join().unwrap(), MANY);
}
