use super::*;
use proptest::prelude::*;

const S: i64 = SECOND as i64;
const H: i64 = HOUR as i64;

/// The cases of Go's own test of `ParseDuration`, and CrowdSec's days.
#[test]
fn reads_what_go_reads() {
    for (text, nanos) in [
        ("0", 0),
        ("5s", 5 * S),
        ("30s", 30 * S),
        ("1478s", 1478 * S),
        ("-5s", -5 * S),
        ("+5s", 5 * S),
        ("-0", 0),
        ("+0", 0),
        ("5.0s", 5 * S),
        ("5.6s", 5_600_000_000),
        ("5.s", 5 * S),
        (".5s", 500_000_000),
        ("1.0s", S),
        ("1.00s", S),
        ("1.004s", 1_004_000_000),
        ("1.0040s", 1_004_000_000),
        ("100.00100s", 100_001_000_000),
        ("10ns", 10),
        ("11us", 11_000),
        ("12µs", 12_000),
        ("12μs", 12_000),
        ("13ms", 13_000_000),
        ("14s", 14 * S),
        ("15m", 900 * S),
        ("16h", 16 * H),
        ("3h30m", 12_600 * S),
        ("10.5s4m", 250_500_000_000),
        ("-2m3.4s", -123_400_000_000),
        ("1h2m3s4ms5us6ns", 3_723_004_005_006),
        ("39h9m14.425s", 140_954_425_000_000),
        ("52763797000ns", 52_763_797_000),
        ("0.3333333333333333333h", 1_200 * S),
        ("9007199254740993ns", (1 << 53) + 1),
        ("9223372036854775807ns", i64::MAX),
        ("9223372036854775.807us", i64::MAX),
        ("9223372036s854ms775us807ns", i64::MAX),
        ("-9223372036854775808ns", i64::MIN),
        ("-9223372036854775.808us", i64::MIN),
        ("-9223372036s854ms775us808ns", i64::MIN),
        ("-2562047h47m16.854775808s", i64::MIN),
        ("0.100000000000000000000h", 360 * S),
        ("0.830103483285477580700h", 2_988_372_539_827),
        ("8759h59m59s", 8759 * H + 3599 * S),
        ("2d", 48 * H),
        ("2d12h", 60 * H),
        ("-1d", -24 * H),
        ("106751d", 106_751 * 24 * H),
    ] {
        assert_eq!(text.parse(), Ok(GoDuration(nanos)), "{text}");
    }
}

#[test]
fn refuses_with_the_messages_of_go() {
    for text in [
        "-",
        "+",
        "s",
        ".",
        "-.",
        ".s",
        "+.s",
        "\u{85}\u{85}",
        "\u{ff}ff",
        "hello \u{ff}ff world",
        "9223372036854775810ns",
        "9223372036854775808ns",
        "-9223372036854775809ns",
        "9223372036854776us",
        "3000000h",
        "9223372036854775.808us",
        "9223372036854ms775us808ns",
        "1s ",
        " 1s",
        "106752d",
        "9223372036854775808ns9223372036854775808ns",
    ] {
        let error = text.parse::<GoDuration>().unwrap_err();
        let expected = match text {
            "1s " => format!("time: unknown unit {:?} in duration {text:?}", "s "),
            _ => format!("time: invalid duration {text:?}"),
        };
        assert_eq!(error.to_string(), expected);
    }
    for (text, message) in [
        ("3", "time: missing unit in duration \"3\""),
        ("1.5", "time: missing unit in duration \"1.5\""),
        ("1x", "time: unknown unit \"x\" in duration \"1x\""),
        ("", "empty duration string"),
        ("--1h", "misplaced negative sign in duration \"--1h\""),
        ("1h-5m", "misplaced negative sign in duration \"1h-5m\""),
        ("1h2d", "invalid day value in duration \"1h2d\""),
        ("1.5d", "invalid day value in duration \"1.5d\""),
        ("1S", "time: unknown unit \"S\" in duration \"1S\""),
    ] {
        assert_eq!(text.parse::<GoDuration>().unwrap_err().to_string(), message);
    }
}

/// The cases of Go's own test of `Duration.String`.
#[test]
fn writes_as_go_writes() {
    for (nanos, text) in [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (245 * S, "4m5s"),
        (245_001_000_000, "4m5.001s"),
        (18_367_001_000_000, "5h6m7.001s"),
        (480_000_000_001, "8m0.000000001s"),
        (4 * H, "4h0m0s"),
        (-202_249_309, "-202.249309ms"),
        (-303 * S, "-5m3s"),
        (i64::MAX, "2562047h47m16.854775807s"),
        (i64::MIN, "-2562047h47m16.854775808s"),
    ] {
        assert_eq!(GoDuration(nanos).to_string(), text);
    }
    assert_eq!(format!("{:>6}|", GoDuration(S)), "    1s|");
}

#[test]
fn is_text_in_json() {
    let span: GoDuration = serde_json::from_str("\"1h0m1s\"").unwrap();
    assert_eq!(span.to_std(), Some(Duration::from_secs(3601)));
    assert_eq!(serde_json::to_string(&span).unwrap(), "\"1h0m1s\"");
    assert!(serde_json::from_str::<GoDuration>("10").unwrap_err().to_string().contains("such as 10s"));
    assert_eq!(GoDuration(-1).to_std(), None);
    assert_eq!(GoDuration::from(Duration::MAX), GoDuration(i64::MAX));
}

/// A long text from a peer does not fill the log.
#[test]
fn errors_quote_only_the_beginning() {
    assert!("x".repeat(10_000).parse::<GoDuration>().unwrap_err().to_string().len() < 200);
    assert!(format!("1{}", "é".repeat(10_000)).parse::<GoDuration>().unwrap_err().to_string().len() < 400);
}

proptest! {
    #[test]
    fn what_is_written_reads_back(nanos in any::<i64>(), shift in 0_u32..63) {
        let span = GoDuration(nanos >> shift);
        prop_assert_eq!(span.to_string().parse(), Ok(span));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,24}") {
        let _ = text.parse::<GoDuration>();
    }

    #[test]
    fn no_text_of_the_right_letters_panics(text in "[-+0-9.nuµmshd]{0,24}") {
        if let Ok(span) = text.parse::<GoDuration>() {
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
