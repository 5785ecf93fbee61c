use std::borrow::Cow;

use super::*;

const OPTIONS: FormatOptions<'static> =
    FormatOptions { list_name: None, ipv6_only: false, ipv4_only: false, now: Timestamp::from_millis(1_000) };

fn entry<'a>(value: &'a str, scenario: &'a str) -> ListEntry<'a> {
    let target = palisade_net::parse_prefix(value).map_or(Target::Name(value), Target::Net);
    let until = Timestamp::from_millis(1_000 + 4 * 3_600_000);
    ListEntry { target, scenario: Cow::Borrowed(scenario), until, as_prefix: false }
}

fn sample() -> Vec<ListEntry<'static>> {
    vec![
        entry("192.0.2.0/24", "crowdsecurity/ssh-bf"),
        entry("192.0.2.7", "manual ban"),
        entry("2001:db8::1", "a/b/c"),
        entry("2001:db8:1::/48", "x"),
        entry("FR", "geo"),
    ]
}

#[test]
fn plain_text_is_a_value_on_each_line() {
    let expected = "192.0.2.0/24\n192.0.2.7\n2001:db8::1\n2001:db8:1::/48\nFR\n";
    assert_eq!(write(ListFormat::PlainText, &sample(), &OPTIONS), expected);
    let merged = ListEntry { as_prefix: true, ..entry("192.0.2.7", "aggregated") };
    assert_eq!(write(ListFormat::PlainText, &[merged], &OPTIONS), "192.0.2.7/32\n");
    assert_eq!(write(ListFormat::PlainText, &[entry("F\nR", "s")], &OPTIONS), "FR\n");
}

#[test]
fn f5_has_length_and_category_and_only_addresses_and_ranges() {
    assert_eq!(
        write(ListFormat::F5, &sample(), &OPTIONS),
        "192.0.2.0,24,bl,ssh-bf\n192.0.2.7,32,bl,manual ban\n2001:db8::1,128,bl,b\n2001:db8:1::,48,bl,x\n"
    );
    let hostile = [entry("192.0.2.7", "a,b\n1.1.1.1,32,wl,x")];
    assert_eq!(write(ListFormat::F5, &hostile, &OPTIONS), "192.0.2.7,32,bl,a_b_1.1.1.1_32_wl_x\n");
}

#[test]
fn juniper_is_a_prefix_on_each_line() {
    assert_eq!(
        write(ListFormat::Juniper, &sample(), &OPTIONS),
        "192.0.2.0/24\n192.0.2.7/32\n2001:db8::1/128\n2001:db8:1::/48\n"
    );
}

#[test]
fn mikrotik_is_a_script_that_replaces_both_lists() {
    assert_eq!(
        write(ListFormat::Mikrotik, &sample()[1..3], &OPTIONS),
        r#"
/ip/firewall/address-list/remove [ find where list="CrowdSec" ];
:global CrowdSecAddIP;
:set CrowdSecAddIP do={
    :do { /ip/firewall/address-list/add list=CrowdSec address=$1 comment="$2" timeout=$3; } on-error={ }
}

/ipv6/firewall/address-list/remove [ find where list="CrowdSec" ];
:global CrowdSecAddIPv6;
:set CrowdSecAddIPv6 do={
    :do { /ipv6/firewall/address-list/add list=CrowdSec address=$1 comment="$2" timeout=$3; } on-error={ }
}

$CrowdSecAddIP "192.0.2.7" "manual ban" "4h0m0s"
$CrowdSecAddIPv6 "2001:db8::1" "a/b/c" "4h0m0s"
:set CrowdSecAddIP;
:set CrowdSecAddIPv6;
"#
    );
    let four = write(ListFormat::Mikrotik, &sample()[1..2], &FormatOptions { ipv4_only: true, ..OPTIONS });
    assert!(four.starts_with("\n/ip/") && !four.contains("v6"), "{four}");
    let six = write(ListFormat::Mikrotik, &sample()[2..3], &FormatOptions { ipv6_only: true, ..OPTIONS });
    assert!(
        six.starts_with("\n/ipv6/") && !six.contains("/ip/") && six.ends_with("\n:set CrowdSecAddIPv6;\n"),
        "{six}"
    );
    assert_eq!(write(ListFormat::Mikrotik, &[], &OPTIONS), "");
}

#[test]
fn nothing_in_a_scenario_or_list_name_is_executed_by_a_router() {
    let hostile = [entry("192.0.2.7", "x\"; /system reset; $y \\ [:put 1]\n/quit?é")];
    let script = write(
        ListFormat::Mikrotik,
        &hostile,
        &FormatOptions { list_name: Some("a\" ]; /quit; {"), ..OPTIONS },
    );
    assert!(
        script.contains(r#""x\"; /system reset; \$y \\ [:put 1]\0A/quit\3F\C3\A9" "4h0m0s""#),
        "{script}"
    );
    assert!(script.contains(r#"[ find where list="a\" ]; /quit; {" ];"#), "{script}");
    assert!(script.contains(r#"add list="a\" ]; /quit; {" address"#), "{script}");
}

#[test]
fn an_end_that_is_near_or_past_leaves_a_second() {
    for (now, expected) in [(1_000, "4h0m0s"), (14_400_500, "1s"), (99_000_000, "1s")] {
        let options = FormatOptions { now: Timestamp::from_millis(now), ..OPTIONS };
        let script = write(ListFormat::Mikrotik, &sample()[1..2], &options);
        assert!(script.contains(&format!("\"{expected}\"")), "{script}");
    }
}
