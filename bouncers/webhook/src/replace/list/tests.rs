use super::*;
use crate::replace::testing::{all, snapshot, snapshot_of};

fn values(list: &List) -> Vec<String> {
    list.items.iter().map(|item| item.value.to_string()).collect()
}

fn addresses(v4: RangeInclusive<u8>, v6: RangeInclusive<u8>) -> Shape {
    Shape { names: false, v4: Some(v4), v6: Some(v6), ..Shape::any(100, false) }
}

#[test]
fn a_list_is_sorted_and_has_each_value_once() {
    let held = snapshot_of(&[
        ("2001:db8::1/128", "ban", 60),
        ("192.0.2.9/32", "captcha", 60),
        ("192.0.2.9/32", "ban", 50),
        ("Country:FR", "ban", 60),
        ("10.0.0.0/8", "ban", 60),
    ]);
    let list = List::build(&held, &all(), &Shape::any(100, false));
    assert_eq!(values(&list), ["10.0.0.0/8", "192.0.2.9", "2001:db8::1", "FR"]);
    assert_eq!((&*list.items[1].entry.remediation, list.items[1].entry.until.as_millis()), ("ban", 50_000));
    let captchas: Takes = Arc::new(|decision: &Decision<'_>| decision.remediation == "captcha");
    assert_eq!(values(&List::build(&held, &captchas, &Shape::any(100, false))), ["192.0.2.9"]);
}

#[test]
fn what_a_receiver_cannot_represent_is_counted_and_never_widened() {
    let held = snapshot(&[
        ("2001:db8::1/128", 60),
        ("2001:db8:1::/64", 60),
        ("2001:db8:2::/65", 60),
        ("Country:FR", 60),
        ("192.0.2.9/32", 60),
    ]);
    let list = List::build(&held, &all(), &addresses(8..=32, 12..=64));
    assert_eq!(values(&list), ["192.0.2.9", "2001:db8:1::/64"]);
    assert_eq!((list.unusable, list.omitted), (3, 0));
}

#[test]
fn prefixes_are_widened_only_when_asked_for_and_then_come_once() {
    let held = snapshot(&[("2001:db8::1/128", 60), ("2001:db8::2/128", 90), ("2001:db8::/64", 30)]);
    let shape = Shape { widen: true, ..addresses(8..=32, 12..=64) };
    let list = List::build(&held, &all(), &shape);
    assert_eq!(values(&list), ["2001:db8::/64"]);
    assert_eq!(list.items[0].entry.until.as_millis(), 90_000);
}

#[test]
fn ranges_that_are_too_short_are_sent_as_their_parts() {
    let held = snapshot(&[("10.0.0.0/6", 60)]);
    let list = List::build(&held, &all(), &addresses(8..=32, 12..=64));
    assert_eq!(values(&list), ["8.0.0.0/8", "9.0.0.0/8", "10.0.0.0/8", "11.0.0.0/8"]);
    let shape = addresses(1..=32, 1..=128);
    let parts: Vec<_> = shape.fit("0.0.0.0/0".parse().unwrap()).iter().map(ToString::to_string).collect();
    assert_eq!(parts, ["0.0.0.0/1", "128.0.0.0/1"]);
    assert!(addresses(8..=32, 12..=64).fit("::/0".parse().unwrap()).is_empty(), "4096 parts are too many");
}

#[test]
fn those_that_end_last_are_kept_and_the_rest_is_counted() {
    let ends: Vec<(String, i64)> =
        (0..5000).map(|n| (format!("10.0.{}.{}/32", n / 256, n % 256), 60 + (n * 7919) % 5000)).collect();
    let ends: Vec<(&str, i64)> = ends.iter().map(|(value, end)| (value.as_str(), *end)).collect();
    let list = List::build(&snapshot(&ends), &all(), &Shape::any(100, false));
    assert_eq!((list.items.len(), list.omitted), (100, 4900));
    assert!(list.items.iter().all(|item| item.entry.until.as_millis() >= (60 + 4900) * 1000));
    assert!(list.items.is_sorted_by(|a, b| a.value < b.value));
}

#[test]
fn each_family_has_a_bound_of_its_own() {
    let mut decisions: Vec<(String, i64)> = (0..20).map(|n| (format!("192.0.2.{n}/32"), 1000 + n)).collect();
    decisions.extend((0..20).map(|n| (format!("2001:db8::{n}/128"), 60 + n)));
    let decisions: Vec<(&str, i64)> = decisions.iter().map(|(value, end)| (value.as_str(), *end)).collect();
    let shape = Shape { max_of_family: 5, ..addresses(1..=32, 1..=128) };
    let list = List::build(&snapshot(&decisions), &all(), &shape);
    let v6 = list.items.iter().filter(|item| item.value.to_string().contains(':')).count();
    assert_eq!((list.items.len(), v6, list.omitted), (10, 5, 30));
}

#[test]
fn merged_ranges_cover_exactly_what_was_decided() {
    let held = snapshot(&[
        ("192.0.2.0/32", 60),
        ("192.0.2.1/32", 90),
        ("192.0.2.2/31", 70),
        ("192.0.2.5/32", 60),
        ("198.51.100.0/24", 60),
        ("198.51.100.7/32", 999),
    ]);
    let list = List::build(&held, &all(), &Shape { aggregate: true, ..addresses(1..=32, 1..=128) });
    assert_eq!(values(&list), ["192.0.2.0/30", "192.0.2.5", "198.51.100.0/24"]);
    assert_eq!(list.items[0].entry.until.as_millis(), 90_000);
    assert_eq!(list.omitted, 0);
}

#[test]
fn the_digest_changes_with_values_and_with_what_is_fed_for_them() {
    let list = |decisions| List::build(&snapshot(decisions), &all(), &Shape::any(10, false));
    let plain = |list: &List| list.digest("x", |_, _| {});
    let one = list(&[("192.0.2.1/32", 60)]);
    assert_eq!(plain(&one), plain(&list(&[("192.0.2.1/32", 90)])), "ends are not fed");
    assert_ne!(plain(&one), plain(&list(&[("192.0.2.2/32", 60)])));
    assert_ne!(plain(&one), one.digest("y", |_, _| {}));
    assert_ne!(plain(&one), one.digest("x", |_, feed| feed(b"more")));
}
