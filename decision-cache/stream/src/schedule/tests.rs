//! The rules, one by one, against a LAPI that is a table.

use palisade_wire::follow::{Content, FullReason};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(10);
const NONE: Applied = Applied { added: 0, renewed: 0, unchanged: 0, removed: 0 };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn head(cursor: &str, content: Content, wait: u64) -> Option<Continuation> {
    let wait = (wait > 0).then(|| Duration::from_secs(wait));
    Some(Continuation { cursor: cursor.to_owned(), content, wait })
}

const EVERYTHING: Content = Content::Everything(FullReason::Start);

/// Simulates one exchange: a request at one time and its response at another. Returns the request and the next delay.
fn exchange(
    schedule: &mut Schedule,
    (asked, answered): (i64, i64),
    head: Option<Continuation>,
    (announced, held): (usize, usize),
) -> (Request, Mode, Next) {
    let request = schedule.next_request(at(asked));
    let highest_id = (announced > 0).then_some(100);
    let summary = ResponseSummary { head, items: announced, announced, highest_id };
    let mode = schedule.mode(&request, summary.head.as_ref(), announced, held);
    let next = schedule.on_response(at(answered), &request, &summary, mode, NONE, 0.0);
    (request, mode, next)
}

fn shown(request: &Request) -> (PullKind, Option<ResyncReason>, &str, u64) {
    (request.ask, request.resync_reason, request.cursor.as_str(), request.wait.as_secs())
}

/// After the first full pull from a stock LAPI.
fn stock() -> Schedule {
    let mut schedule = Schedule::new(Cadence::default());
    let (request, mode, next) = exchange(&mut schedule, (0, 0), None, (5, 0));
    assert_eq!(shown(&request), (PullKind::Everything, Some(ResyncReason::Start), "", 0));
    assert_eq!((mode, next.wait), (Mode::Everything, INTERVAL));
    assert_eq!((schedule.peer(), schedule.cursor(), schedule.long_polls()), (Peer::Stock, "", false));
    schedule
}

/// After the first full pull from a LAPI that keeps cursors and holds requests.
fn ours() -> Schedule {
    let mut schedule = Schedule::new(Cadence::default());
    let (request, mode, next) = exchange(&mut schedule, (0, 0), head("T1", EVERYTHING, 25), (5, 0));
    assert_eq!(shown(&request), (PullKind::Everything, Some(ResyncReason::Start), "", 0));
    assert_eq!((mode, next.wait), (Mode::Everything, Duration::ZERO));
    assert_eq!((schedule.peer(), schedule.cursor(), schedule.long_polls()), (Peer::KeepsCursors, "T1", true));
    schedule
}

const LOST: Failure = Failure { may_have_reached_lapi: true, may_end_a_hold: true, elsewhere: false };
const UNREACHABLE: Failure =
    Failure { may_have_reached_lapi: false, may_end_a_hold: false, elsewhere: false };

fn fail(schedule: &mut Schedule, asked: i64, failed: i64, failure: Failure) -> Request {
    let request = schedule.next_request(at(asked));
    schedule.failed(at(failed), &request, failure);
    request
}

#[test]
fn changes_of_a_stock_lapi_follow_its_first_list_at_the_interval() {
    let mut schedule = stock();
    for second in [10, 20, 30] {
        let (request, mode, next) = exchange(&mut schedule, (second, second), None, (1, 5));
        assert_eq!(shown(&request), (PullKind::Changes, None, "", 0));
        assert_eq!((mode, next.wait), (Mode::Changes, INTERVAL));
    }
}

#[test]
fn a_doubt_about_a_stock_lapi_is_answered_with_everything() {
    let elsewhere = Failure { elsewhere: true, ..UNREACHABLE };
    for (failure, asked, expected) in [
        (LOST, 11, (PullKind::Everything, Some(ResyncReason::LostAnswer), "", 0)),
        (UNREACHABLE, 11, (PullKind::Changes, None, "", 0)),
        (UNREACHABLE, 50, (PullKind::Everything, Some(ResyncReason::Gap), "", 0)),
        (elsewhere, 11, (PullKind::Everything, Some(ResyncReason::OtherLapi), "", 0)),
    ] {
        let mut schedule = stock();
        fail(&mut schedule, 10, 10, failure);
        assert_eq!(shown(&schedule.next_request(at(asked))), expected, "{failure:?}");
    }
    let mut restored = stock();
    let request = restored.next_request(at(10));
    let summary =
        ResponseSummary { items: 1, announced: 1, highest_id: Some(3), ..ResponseSummary::default() };
    let next = restored.on_response(at(10), &request, &summary, Mode::Changes, NONE, 0.0);
    assert_eq!(next.wait, Duration::ZERO);
    assert_eq!(
        shown(&restored.next_request(at(10))),
        (PullKind::Everything, Some(ResyncReason::OtherDatabase), "", 0)
    );
}

#[test]
fn one_empty_response_is_not_applied_and_a_second_is() {
    let mut schedule = stock();
    schedule.resync_reason = Some(ResyncReason::Gap);
    let request = schedule.next_request(at(10));
    assert_eq!(schedule.mode(&request, None, 0, 5), Mode::Additions);
    assert_eq!(schedule.mode(&request, None, 1, 5), Mode::Everything, "small tables change fast");
    assert_eq!(schedule.mode(&request, None, 400, 1000), Mode::Additions);
    let (_, mode, next) = exchange(&mut schedule, (10, 10), None, (0, 5));
    assert_eq!((mode, next.wait), (Mode::Additions, Duration::from_secs(5)));
    let request = schedule.next_request(at(15));
    assert_eq!(shown(&request), (PullKind::Everything, Some(ResyncReason::Unconfirmed), "", 0));
    assert_eq!(schedule.mode(&request, None, 0, 5), Mode::Everything);
    assert_eq!(schedule.mode(&request, None, 900, 1000), Mode::Everything, "recovered on the second try");
}

#[test]
fn stolen_deltas_are_logged_once_and_shorten_the_resync() {
    let mut schedule = stock();
    let stolen = Applied { added: 2, ..NONE };
    let full = ResponseSummary { items: 5, announced: 5, highest_id: Some(9), ..ResponseSummary::default() };
    let mut warnings = 0;
    for hour in 1..4 {
        let now = at(hour * 3600);
        schedule.last_answer = Some(now);
        let request = schedule.next_request(now);
        assert_eq!(request.ask, PullKind::Changes);
        let next = schedule.on_response(now, &request, &ResponseSummary::default(), Mode::Changes, NONE, 0.0);
        assert_eq!(next.wait, Duration::ZERO);
        let request = schedule.next_request(now);
        assert_eq!(shown(&request), (PullKind::Everything, Some(ResyncReason::Timer), "", 0));
        let next = schedule.on_response(now, &request, &full, Mode::Everything, stolen, 0.0);
        assert!(next.compared);
        warnings += u32::from(next.warn_of_theft);
    }
    assert_eq!(warnings, 1);
    assert_eq!(schedule.resync_interval(), Duration::from_secs(60));
    schedule.comparing = true;
    let request = schedule.next_request(at(20_000));
    schedule.on_response(at(20_000), &request, &full, Mode::Everything, NONE, 0.0);
    assert_eq!(
        schedule.resync_interval(),
        Duration::from_secs(60),
        "the gap was the reason, so it says nothing"
    );
    schedule.comparing = true;
    let request = schedule.next_request(at(20_001));
    schedule.on_response(at(20_001), &request, &full, Mode::Everything, NONE, 0.0);
    assert!(schedule.resync_interval() > Duration::from_secs(60), "trust returns slowly");
}

#[test]
fn a_response_buffered_during_sleep_is_requested_again() {
    let mut schedule = ours();
    let request = schedule.next_request(at(100));
    assert_eq!(request.wait, Duration::from_secs(25));
    assert!(!schedule.is_stale(at(130), &request) && !schedule.is_stale(at(185), &request));
    assert!(schedule.is_stale(at(186), &request) && schedule.is_stale(at(3700), &request));
    fail(&mut schedule, 100, 3700, LOST);
    assert_eq!(shown(&schedule.next_request(at(3700))), (PullKind::Changes, None, "T1", 0));
    let list = Schedule::new(Cadence::default()).next_request(at(0));
    assert!(!schedule.is_stale(at(300), &list) && schedule.is_stale(at(3600), &list));
}

#[test]
fn with_a_cursor_no_failure_causes_a_full_pull() {
    let elsewhere = Failure { elsewhere: true, ..LOST };
    for failure in [LOST, UNREACHABLE, elsewhere] {
        let mut schedule = ours();
        fail(&mut schedule, 0, 0, failure);
        // A day later, and again, with the same cursor, and first without a long poll, to detect another LAPI.
        assert_eq!(
            shown(&schedule.next_request(at(86_000))),
            (PullKind::Changes, None, "T1", 0),
            "{failure:?}"
        );
        assert_eq!(schedule.cursor(), "T1");
        let (_, mode, next) =
            exchange(&mut schedule, (80_000, 80_000), head("T2", Content::Changes, 25), (1, 5));
        assert_eq!((mode, next.wait, next.compared), (Mode::Changes, Duration::ZERO, false));
        assert_eq!(shown(&schedule.next_request(at(80_000))), (PullKind::Changes, None, "T2", 25));
    }
    // Lower ids mean nothing here: the cursor identifies the database.
    let mut schedule = ours();
    let request = schedule.next_request(at(1));
    let summary = ResponseSummary {
        head: head("T2", Content::Changes, 25),
        items: 1,
        announced: 1,
        highest_id: Some(3),
    };
    let next = schedule.on_response(at(1), &request, &summary, Mode::Changes, NONE, 0.0);
    assert_eq!(
        (next.wait, schedule.next_request(at(1)).ask, schedule.cursor()),
        (Duration::ZERO, PullKind::Changes, "T2")
    );
}

#[test]
fn a_routine_full_pull_is_no_sign_of_theft() {
    let mut schedule = ours();
    let nothing = || head("T2", Content::Changes, 25);
    let (request, _, next) = exchange(&mut schedule, (86_000, 86_025), nothing(), (0, 5));
    assert_eq!((request.ask, next.wait), (PullKind::Changes, Duration::ZERO));
    assert_eq!(schedule.next_request(at(86_025)).ask, PullKind::Changes);
    exchange(&mut schedule, (86_375, 86_400), nothing(), (0, 5));
    let request = schedule.next_request(at(86_400));
    assert_eq!(shown(&request), (PullKind::Everything, Some(ResyncReason::Timer), "T2", 0));
    let summary =
        ResponseSummary { head: head("T3", EVERYTHING, 25), items: 9, announced: 9, highest_id: Some(100) };
    let added = Applied { added: 4, ..NONE };
    let next = schedule.on_response(at(86_400), &request, &summary, Mode::Everything, added, 0.0);
    assert_eq!((next.compared, next.warn_of_theft, schedule.theft_signs), (false, false, 0));
    assert_eq!(shown(&schedule.next_request(at(86_400))), (PullKind::Changes, None, "T3", 25));
}

#[test]
fn a_full_response_is_applied_as_full_even_if_changes_were_requested() {
    for why in [FullReason::TooOld, FullReason::OtherDatabase, FullReason::OtherFilter, FullReason::Forged] {
        let mut schedule = ours();
        let told = head("N1", Content::Everything(why), 25);
        let (request, mode, _) = exchange(&mut schedule, (1, 2), told, (5, 5));
        assert_eq!(
            (request.ask, mode, schedule.cursor()),
            (PullKind::Changes, Mode::Everything, "N1"),
            "{why:?}"
        );
    }
}

#[test]
fn an_unconfirmed_list_does_not_move_the_cursor() {
    let mut schedule = ours();
    let told = |cursor| head(cursor, Content::Everything(FullReason::OtherDatabase), 25);
    let (_, mode, next) = exchange(&mut schedule, (1, 1), told("N1"), (0, 5));
    assert_eq!((mode, next.wait), (Mode::Additions, Duration::from_secs(5)));
    assert_eq!(schedule.cursor(), "", "no cursor belongs to what is held now");
    let (request, mode, _) = exchange(&mut schedule, (6, 6), told("N2"), (0, 5));
    assert_eq!(shown(&request), (PullKind::Everything, Some(ResyncReason::Unconfirmed), "T1", 0));
    assert_eq!((mode, schedule.cursor()), (Mode::Everything, "N2"));
}

#[test]
fn a_stock_lapi_in_place_of_ours_gets_a_full_pull_at_once() {
    let mut schedule = ours();
    let (request, mode, next) = exchange(&mut schedule, (1, 1), None, (3, 5));
    assert_eq!(shown(&request), (PullKind::Changes, None, "T1", 25));
    assert_eq!((mode, next.wait, schedule.peer()), (Mode::Changes, Duration::ZERO, Peer::Stock));
    let (request, mode, next) = exchange(&mut schedule, (1, 1), None, (5, 5));
    assert_eq!(shown(&request), (PullKind::Everything, Some(ResyncReason::NoCursor), "", 0));
    assert_eq!((mode, next.wait, schedule.long_polls()), (Mode::Everything, INTERVAL, false));
    assert_eq!(shown(&schedule.next_request(at(11))), (PullKind::Changes, None, "", 0));
}

#[test]
fn an_upgraded_lapi_is_noticed_by_its_head() {
    let mut schedule = stock();
    let (request, mode, next) = exchange(&mut schedule, (10, 10), head("T1", EVERYTHING, 25), (5, 5));
    assert_eq!(shown(&request), (PullKind::Changes, None, "", 0));
    assert_eq!((mode, next.compared, next.wait), (Mode::Everything, false, Duration::ZERO));
    assert_eq!(shown(&schedule.next_request(at(10))), (PullKind::Changes, None, "T1", 25));
}

#[test]
fn changes_from_nowhere_are_not_taken_for_a_place() {
    let mut schedule = stock();
    let odd = || head("T1", Content::Changes, 25);
    let (_, mode, next) = exchange(&mut schedule, (10, 10), odd(), (1, 5));
    assert_eq!((mode, next.wait, schedule.cursor()), (Mode::Changes, Duration::ZERO, ""));
    let (request, _, next) = exchange(&mut schedule, (10, 10), odd(), (1, 5));
    assert_eq!(shown(&request), (PullKind::Everything, Some(ResyncReason::NoPlace), "", 0));
    assert_eq!(next.wait, INTERVAL, "what does not help is not done at full speed");
}

#[test]
fn lapis_of_different_databases_behind_one_address_are_polled_slowly() {
    let mut schedule = ours();
    let mut waits = Vec::new();
    for (second, cursor) in [(1, "A"), (2, "B"), (12, "A")] {
        let told = head(cursor, Content::Everything(FullReason::OtherDatabase), 25);
        waits.push(exchange(&mut schedule, (second, second), told, (5, 5)).2.wait);
    }
    assert_eq!(waits, [Duration::ZERO, INTERVAL, INTERVAL]);
    exchange(&mut schedule, (22, 23), head("A2", Content::Changes, 25), (1, 5));
    let told = head("B", Content::Everything(FullReason::OtherDatabase), 25);
    assert_eq!(exchange(&mut schedule, (23, 24), told, (5, 5)).2.wait, Duration::ZERO);
}

#[test]
fn restored_decisions_need_only_the_changes() {
    let mut schedule = Schedule::resume(Cadence::default(), "T7".to_owned());
    assert_eq!(schedule.cursor(), "T7");
    let (request, mode, next) = exchange(&mut schedule, (0, 0), head("T8", Content::Changes, 25), (1, 5));
    assert_eq!(
        shown(&request),
        (PullKind::Changes, None, "T7", 0),
        "not held: somebody waits for the answer"
    );
    assert_eq!((mode, next.wait, schedule.cursor()), (Mode::Changes, Duration::ZERO, "T8"));
    assert_eq!(shown(&schedule.next_request(at(0))), (PullKind::Changes, None, "T8", 25));

    let mut schedule = Schedule::resume(Cadence::default(), "T7".to_owned());
    exchange(&mut schedule, (0, 0), None, (1, 5));
    assert_eq!(
        shown(&schedule.next_request(at(0))),
        (PullKind::Everything, Some(ResyncReason::NoCursor), "", 0)
    );
}

#[test]
fn a_lapi_without_long_polls_is_polled_at_the_interval() {
    // The head of a response to a request that was not a long poll carries no wait yet.
    let mut schedule = Schedule::new(Cadence::default());
    let (_, _, next) = exchange(&mut schedule, (0, 0), head("T1", EVERYTHING, 0), (5, 0));
    assert_eq!(next.wait, Duration::ZERO);
    let (request, _, next) = exchange(&mut schedule, (0, 0), head("T2", Content::Changes, 0), (0, 5));
    assert_eq!((request.wait, next.wait, schedule.long_polls()), (25 * SECOND, INTERVAL, false));
    // Each request offers a long poll, so the LAPI may accept it later.
    let (request, _, next) = exchange(&mut schedule, (10, 12), head("T3", Content::Changes, 25), (1, 5));
    assert_eq!((request.wait, next.wait, schedule.long_polls()), (25 * SECOND, Duration::ZERO, true));
}

#[test]
fn a_long_poll_is_limited_by_the_configuration_and_by_the_lapi() {
    for (wanted, granted, wait) in [(25, 60, 25), (60, 20, 20), (2, 60, 2), (0, 60, 0)] {
        let mut schedule =
            Schedule::new(Cadence { max_wait: Duration::from_secs(wanted), ..Cadence::default() });
        let (_, _, next) = exchange(&mut schedule, (0, 0), head("T1", EVERYTHING, granted), (5, 0));
        assert_eq!(next.wait, if wanted == 0 { INTERVAL } else { Duration::ZERO });
        assert_eq!(schedule.next_request(at(0)).wait.as_secs(), wait, "{wanted} {granted}");
        assert_eq!(schedule.long_polls(), wanted > 0);
    }
}

#[test]
fn an_empty_answer_at_once_is_answered_with_a_pause() {
    for (took_ms, items, spread, wait) in
        [(10, 0, 0.0, 1000), (10, 0, 1.0, 1500), (199, 0, 0.0, 1000), (200, 0, 0.0, 0), (10, 1, 0.0, 0)]
    {
        let mut schedule = ours();
        let request = schedule.next_request(at(1));
        // Items that are not admitted count as well: the response was not empty.
        let summary =
            ResponseSummary { head: head("T2", Content::Changes, 25), items, ..ResponseSummary::default() };
        let now = at(1).saturating_add(Duration::from_millis(took_ms));
        let next = schedule.on_response(now, &request, &summary, Mode::Changes, NONE, spread);
        assert_eq!(next.wait, Duration::from_millis(wait), "{took_ms} ms, {items} items");
    }
}

#[test]
fn holds_that_are_ended_on_the_way_get_shorter_and_longer_again() {
    let mut schedule = ours();
    let mut now = 0;
    let mut waits = Vec::new();
    // A proxy that bears nine seconds, then four, then nothing.
    for bears in [9, 9, 4, 4, 1, 1] {
        let (_, _, next) = exchange(&mut schedule, (now, now), head("T", Content::Changes, 25), (1, 5));
        assert_eq!(next.wait, if waits.len() < 5 { Duration::ZERO } else { INTERVAL });
        let wait = schedule.next_request(at(now)).wait.as_secs();
        waits.push(wait);
        if wait > bears {
            fail(&mut schedule, now, now + i64::try_from(bears).unwrap(), LOST);
        }
        now += 20;
    }
    now -= 39;
    assert_eq!(waits, [25, 6, 6, 2, 2, 0]);
    assert!(!schedule.long_polls());
    // Ten minutes after the last one.
    exchange(&mut schedule, (now, now), head("T", Content::Changes, 25), (1, 5));
    assert_eq!(schedule.next_request(at(now + 590)).wait, Duration::ZERO);
    assert_eq!(schedule.next_request(at(now + 600)).wait, 25 * SECOND);
}

#[test]
fn only_what_was_held_counts_as_ended_by_being_held() {
    let early = Failure { may_end_a_hold: true, ..LOST };
    let refused = Failure { may_end_a_hold: false, ..LOST };
    for (failure, after, wait) in [(early, 0, 25), (refused, 20, 25), (early, 20, 12)] {
        let mut schedule = ours();
        fail(&mut schedule, 1, 1 + after, failure);
        exchange(&mut schedule, (30, 30), head("T", Content::Changes, 25), (1, 5));
        assert_eq!(schedule.next_request(at(30)).wait.as_secs(), wait, "{failure:?} after {after} s");
    }
    // Decisions missing afterwards have ended; no proxy timed out.
    let mut schedule = ours();
    fail(&mut schedule, 1, 21, LOST);
    fail(&mut schedule, 21, 21, UNREACHABLE);
    exchange(&mut schedule, (30, 30), head("T", Content::Changes, 25), (1, 5));
    assert_eq!(schedule.next_request(at(30)).wait.as_secs(), 25);
}

/// Plays one exchange with a stock LAPI, after which the next decision ends at `end`.
fn stock_exchange(
    schedule: &mut Schedule,
    now: i64,
    end: Option<i64>,
    entries: usize,
    applied: Applied,
) -> (PullKind, Next) {
    let request = schedule.next_request(at(now));
    let mode = if request.ask == PullKind::Everything { Mode::Everything } else { Mode::Changes };
    let items = if mode == Mode::Everything { entries } else { 0 };
    let summary = ResponseSummary { items, announced: items, highest_id: Some(100), head: None };
    schedule.set_next_end(end.map(at));
    let next = schedule.on_response(at(now), &request, &summary, mode, applied, 0.0);
    (request.ask, next)
}

/// When full pulls are made, with requests every `step` seconds for a while and decisions that end at `ends`.
fn full_pulls(cadence: Cadence, entries: usize, ends: &[i64], seconds: i64) -> Vec<i64> {
    let step = i64::try_from(cadence.interval.as_secs()).unwrap();
    let mut schedule = Schedule::new(cadence);
    let mut pulls = Vec::new();
    for now in (0..seconds).step_by(usize::try_from(step).unwrap()) {
        loop {
            let end = ends.iter().copied().filter(|end| *end > now).min();
            let (ask, next) = stock_exchange(&mut schedule, now, end, entries, NONE);
            pulls.extend((ask == PullKind::Everything).then_some(now));
            if !next.wait.is_zero() {
                break;
            }
        }
    }
    pulls
}

#[test]
fn a_stock_lapi_gets_full_pulls_before_and_after_an_end() {
    let hourly = Cadence { resync_by_size: false, ..Cadence::default() };
    // Within an interval and a half of the end, and at the first request after it.
    assert_eq!(full_pulls(hourly.clone(), 5, &[605], 1000), [0, 590, 610]);
    assert_eq!(full_pulls(hourly.clone(), 5, &[600], 1000), [0, 590, 600]);
    // Too late to be sure of an answer before the end: the look afterwards has it.
    assert_eq!(full_pulls(hourly.clone(), 5, &[12], 100), [0, 20]);
    // Ends close to each other share their pulls.
    let many: Vec<i64> = (600..620).collect();
    assert_eq!(full_pulls(hourly.clone(), 5, &many, 1000), [0, 590, 600, 610, 620]);
    let quick = Cadence { interval: SECOND, ..hourly };
    assert_eq!(full_pulls(quick, 5, &[600], 1000), [0, 597, 600]);
}

#[test]
fn ends_do_not_have_a_long_list_pulled_without_pause() {
    let hourly = Cadence { resync_by_size: false, ..Cadence::default() };
    let ends: Vec<i64> = (0..3600).collect();
    for (entries, pulls) in [(5, 360), (1_000, 360), (15_000, 24), (100_000, 4), (1_000_000, 1)] {
        assert_eq!(full_pulls(hourly.clone(), entries, &ends, 3600).len(), pulls, "{entries} entries");
    }
}

#[test]
fn a_short_list_of_a_stock_lapi_is_pulled_every_two_minutes_and_a_long_one_every_hour() {
    for (entries, every) in [(0, 120), (6_000, 120), (30_000, 600), (180_000, 3600), (5_000_000, 3600)] {
        let pulls = full_pulls(Cadence::default(), entries, &[], 8000);
        assert!(pulls.windows(2).all(|pair| pair[1] - pair[0] == every), "{entries}: {pulls:?}");
        assert!(pulls.len() >= 3, "{entries}: {pulls:?}");
    }
    // The key, where it is set, and machines spread out.
    let set = Cadence { resync: Duration::from_secs(300), resync_by_size: false, ..Cadence::default() };
    assert_eq!(full_pulls(set, 5, &[], 700), [0, 300, 600]);
    let mut schedule = Schedule::new(Cadence::default());
    let request = schedule.next_request(at(0));
    schedule.on_response(at(0), &request, &ResponseSummary::default(), Mode::Everything, NONE, 1.0);
    assert_eq!(schedule.next_full, Some(at(90)));
}

#[test]
fn an_end_causes_no_full_pull_from_a_lapi_with_cursors() {
    let mut schedule = ours();
    for second in 1..100 {
        schedule.set_next_end(Some(at(second + 10)));
        let (request, ..) =
            exchange(&mut schedule, (second, second), head("T2", Content::Changes, 25), (0, 5));
        assert_eq!(request.ask, PullKind::Changes, "{second}");
    }
}

#[test]
fn losses_of_a_stock_lapi_itself_are_no_sign_of_theft() {
    // (announced by changes, missed by them, because of an end, whether it is suspicious)
    for (announced, missed, for_end, suspicious) in [
        (0, 1, false, true),
        (1, 1, false, true),
        (1000, 1, false, false),
        (1000, 200, false, true),
        (0, 1, true, false),
        (0, 2, true, true),
    ] {
        let mut schedule = stock();
        schedule.announced_since = announced;
        (schedule.comparing, schedule.for_end) = (true, for_end);
        let applied = Applied { added: missed, ..NONE };
        let (ask, next) = stock_exchange(&mut schedule, 10, None, 5, applied);
        assert_eq!((ask, next.compared), (PullKind::Everything, true));
        assert_eq!(schedule.theft_signs, u32::from(suspicious), "{announced} {missed} {for_end}");
    }
}
