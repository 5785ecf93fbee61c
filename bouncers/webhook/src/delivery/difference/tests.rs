use super::*;

/// `ban@10` is a ban that ends in 10 minutes.
fn entries(texts: &[&str]) -> Vec<Entry> {
    let entry = |text: &&str| {
        let (remediation, end) = text.split_once('@').unwrap();
        Entry {
            remediation: remediation.into(),
            origin: "cscli".into(),
            scenario: "s".into(),
            until: Timestamp::from_millis(end.parse::<i64>().unwrap() * 60_000),
            id: 1,
        }
    };
    texts.iter().map(entry).collect()
}

fn wanted(entries: &[Entry]) -> Wanted<'_> {
    Wanted { entries, has_others: false, grouping: Grouping::Remediation, now: Timestamp::from_millis(0) }
}

fn texts(difference: &Difference) -> Vec<String> {
    let text = |(kind, entry): &(EventKind, Entry)| {
        format!("{} {}@{}", kind.as_str(), entry.remediation, entry.until.as_millis() / 60_000)
    };
    difference.changes.iter().map(text).collect()
}

fn known(certain: &[&str], maybe: &[&str], attempt: Option<&[&str]>) -> Known {
    Known { certain: entries(certain), maybe: entries(maybe), attempt: attempt.map(entries) }
}

#[test]
fn changes_are_what_differs_ends_first() {
    for (held, now, expected) in [
        (&[][..], &["ban@10"][..], &["decision.added ban@10"][..]),
        (&["ban@10"], &["ban@10"], &[]),
        (&["ban@10"], &["ban@20"], &["decision.changed ban@20"]),
        (&["ban@10"], &[], &["decision.lifted ban@10"]),
        (&["ban@10"], &["captcha@10"], &["decision.lifted ban@10", "decision.added captcha@10"]),
        (&["ban@10", "captcha@10"], &["captcha@10", "ban@10"], &[]),
    ] {
        let now = entries(now);
        let (difference, under_way) = known(held, &[], None).difference(wanted(&now));
        assert_eq!(texts(&difference), expected, "{held:?}");
        assert_eq!(
            (under_way.attempt.as_ref(), under_way.certain),
            (Some(&difference.target), entries(held))
        );
        assert!(!difference.is_repeat);
    }
}

#[test]
fn after_an_unconfirmed_message_either_state_is_possible() {
    let every = [
        // (certain, maybe, attempt), now, changes
        // Unchanged since: the same changes again.
        ((&["ban@10"][..], &[][..], &["ban@20"][..]), &["ban@20"][..], &["decision.changed ban@20"][..]),
        ((&[], &[], &["ban@20"]), &["ban@20"], &["decision.added ban@20"]),
        ((&["ban@10"], &[], &[]), &[], &["decision.lifted ban@10"]),
        // Gone since, whether or not it arrived.
        ((&[], &[], &["ban@20"]), &[], &["decision.lifted ban@20"]),
        // Back to what it was.
        ((&["ban@10"], &[], &["ban@20"]), &["ban@10"], &["decision.added ban@10"]),
        ((&["ban@10"], &[], &[]), &["ban@10"], &["decision.added ban@10"]),
        // What both have is certain.
        (
            (&["ban@10", "mfa@5"], &[], &["ban@10", "captcha@5"]),
            &["ban@10"],
            &["decision.lifted mfa@5", "decision.lifted captcha@5"],
        ),
        // After several unconfirmed messages.
        ((&[], &["ban@10"], &[]), &["ban@10"], &["decision.added ban@10"]),
        ((&[], &["ban@10"], &["captcha@5"]), &[], &["decision.lifted ban@10", "decision.lifted captcha@5"]),
    ];
    for ((certain, maybe, attempt), now, expected) in every {
        let now = entries(now);
        let (difference, _) = known(certain, maybe, Some(attempt)).difference(wanted(&now));
        assert_eq!(texts(&difference), expected, "{certain:?} {maybe:?} {attempt:?} {now:?}");
    }
}

#[test]
fn an_unchanged_attempt_is_repeated_with_the_entries_that_were_sent() {
    let before = known(&["ban@10"], &[], Some(&["ban@20"]));
    let mut now = entries(&["ban@20"]);
    now[0].until = now[0].until.saturating_add(SAME_END);
    let (difference, under_way) = before.difference(wanted(&now));
    assert!(difference.is_repeat);
    assert_eq!(difference.target, entries(&["ban@20"]), "a rounded end makes no other event");
    assert_eq!(under_way, before);
    // Another state is another attempt; what the first may have left behind stays known.
    let now = entries(&["captcha@5"]);
    let (difference, under_way) = before.difference(wanted(&now));
    assert!(!difference.is_repeat);
    assert_eq!(texts(&difference), ["decision.lifted ban@20", "decision.added captcha@5"]);
    assert_eq!(under_way, known(&[], &["ban@20"], Some(&["captcha@5"])));
}

#[test]
fn an_attempt_that_did_not_arrive_is_forgotten_unless_there_were_others() {
    assert_eq!(known(&["ban@10"], &[], Some(&[])).without_attempt(), known(&["ban@10"], &[], None));
    let several = known(&[], &["ban@10"], Some(&[]));
    assert_eq!(several.clone().without_attempt(), several);
}

#[test]
fn rounding_neither_makes_events_nor_adds_up() {
    let mut known = known(&["ban@10"], &[], None);
    let mut now = entries(&["ban@10"]);
    let mut events = 0;
    for _ in 0..10 {
        now[0].until = now[0].until.saturating_add(Duration::from_millis(500));
        let (difference, _) = known.difference(wanted(&now));
        events += difference.changes.len();
        known = Known::confirmed(difference.target);
    }
    assert_eq!(events, 2, "five seconds in steps of half a second");
}

#[test]
fn the_cause_of_a_lift_is_found() {
    let held = known(&["ban@10"], &[], None);
    let minutes = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
    let others = entries(&["captcha@10"]);
    for (now, entries, has_others, cause) in [
        (10, &[][..], false, LiftCause::Expired),
        (10, &[], true, LiftCause::Expired),
        (9, &[], false, LiftCause::Deleted),
        (9, &[], true, LiftCause::Superseded),
        (9, &others[..], true, LiftCause::Deleted),
    ] {
        let wanted = Wanted { entries, has_others, grouping: Grouping::Remediation, now: minutes(now) };
        let (difference, _) = held.difference(wanted);
        assert_eq!(difference.changes[0].0, EventKind::Lifted(cause));
    }
}

#[test]
fn a_snapshot_has_what_holds_once_there_is_nothing_to_lift() {
    let now = entries(&["ban@10", "captcha@5"]);
    let (difference, under_way) = known(&["ban@10"], &[], None).present(wanted(&now)).unwrap();
    assert_eq!(texts(&difference), ["decision.present ban@10", "decision.present captcha@5"]);
    assert_eq!(under_way, known(&["ban@10"], &[], Some(&["ban@10", "captcha@5"])));
    assert_eq!(known(&["mfa@10"], &[], None).present(wanted(&now)), None);
}

#[test]
fn a_repeat_changes_nothing_that_is_enforced_until_then() {
    let minutes = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
    for (held, now, is_repeat) in [
        (&["ban@10"][..], &["ban@20"][..], true),
        (&["ban@10"], &["ban@7"], true),
        (&["ban@10", "captcha@10"], &["ban@20", "captcha@30"], true),
        (&["ban@5"], &["ban@20"], false),
        (&["ban@10"], &[], false),
        (&[], &["ban@10"], false),
        (&["ban@10"], &["captcha@10"], false),
        (&["ban@10"], &["ban@20", "captcha@10"], false),
    ] {
        let now = entries(now);
        let (difference, _) = known(held, &[], None).difference(wanted(&now));
        assert_eq!(difference.is_repeat_until(minutes(5)), is_repeat, "{held:?} {now:?}");
    }
    let now = entries(&["captcha@10"]);
    let wanted = Wanted { grouping: Grouping::Value, ..wanted(&now) };
    let (difference, _) = known(&["ban@10"], &[], None).difference(wanted);
    assert_eq!(texts(&difference), ["decision.changed captcha@10"]);
    assert!(!difference.is_repeat_until(minutes(5)), "another remediation is no repeat");
}
