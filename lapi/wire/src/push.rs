//! Writes a decision of a stream as JSON, quickly: a full response has a hundred thousand.

use crate::GoDuration;

/// A decision as sent in streams and by `GET /v1/decisions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamObject<'a> {
    /// The time left; written in whole seconds.
    pub duration: GoDuration,
    /// Its number.
    pub id: i64,
    /// Who decided.
    pub origin: &'a str,
    /// Why.
    pub scenario: &'a str,
    /// What `value` is.
    pub scope: &'a str,
    /// What to do.
    pub kind: &'a str,
    /// Omitted when `None`, as in responses to `GET /v1/decisions`.
    pub uuid: Option<&'a str>,
    /// To whom.
    pub value: &'a str,
}

/// Appends `{"duration":…,"id":…,"origin":…,"scenario":…,"scope":…,"type":…,"uuid":…,"value":…}`.
pub fn push_stream_decision(out: &mut Vec<u8>, decision: &StreamObject<'_>) {
    out.extend_from_slice(b"{\"duration\":\"");
    push_seconds(out, decision.duration);
    out.extend_from_slice(b"\",\"id\":");
    if decision.id < 0 {
        out.push(b'-');
    }
    push_number(out, decision.id.unsigned_abs());
    out.extend_from_slice(b",\"origin\":");
    push_text(out, decision.origin);
    out.extend_from_slice(b",\"scenario\":");
    push_text(out, decision.scenario);
    out.extend_from_slice(b",\"scope\":");
    push_text(out, decision.scope);
    out.extend_from_slice(b",\"type\":");
    push_text(out, decision.kind);
    if let Some(uuid) = decision.uuid {
        out.extend_from_slice(b",\"uuid\":");
        push_text(out, uuid);
    }
    out.extend_from_slice(b",\"value\":");
    push_text(out, decision.value);
    out.push(b'}');
}

/// A duration rounded to seconds, in Go's form: `3h59m58s`, `-5m3s`, `0s`.
fn push_seconds(out: &mut Vec<u8>, duration: GoDuration) {
    let seconds = duration.rounded_seconds();
    let total = seconds.unsigned_abs();
    if seconds < 0 {
        out.push(b'-');
    }
    let (hours, minutes) = (total / 3600, total / 60 % 60);
    if hours > 0 {
        push_number(out, hours);
        out.push(b'h');
    }
    if hours > 0 || minutes > 0 {
        push_number(out, minutes);
        out.push(b'm');
    }
    push_number(out, total % 60);
    out.push(b's');
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // The remainder of ten fits into a byte.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A quoted JSON string.
fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (usize::from(control >> 4), usize::from(control & 15));
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[high], HEX[low]]);
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object<'a>(duration: i64, text: &'a str) -> StreamObject<'a> {
        StreamObject {
            duration: GoDuration::from_nanos(duration),
            id: 7,
            origin: "cscli",
            scenario: text,
            scope: "Ip",
            kind: "ban",
            uuid: None,
            value: "192.0.2.1",
        }
    }

    #[test]
    fn durations_are_whole_seconds_in_go_form() {
        for (nanos, text) in [
            (0, "0s"),
            (-202_249_309, "0s"),
            (499_999_999, "0s"),
            (500_000_000, "1s"),
            (-500_000_000, "-1s"),
            (59_700_000_000, "1m0s"),
            (14_398_172_934_512, "3h59m58s"),
            (-303_000_000_000, "-5m3s"),
            (i64::MAX, "2562047h47m16s"),
            (i64::MIN, "-2562047h47m16s"),
        ] {
            let mut out = Vec::new();
            push_stream_decision(&mut out, &object(nanos, ""));
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(read["duration"], text, "{nanos}");
        }
    }

    #[test]
    fn the_names_come_in_their_order() {
        let mut out = Vec::new();
        let decision = StreamObject { uuid: Some("u-1"), id: i64::MIN, ..object(1_000_000_000, "s") };
        push_stream_decision(&mut out, &decision);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"duration":"1s","id":-9223372036854775808,"origin":"cscli","scenario":"s","scope":"Ip","type":"ban","uuid":"u-1","value":"192.0.2.1"}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_and_number_survive(text in any::<String>(), id: i64, nanos: i64) {
            let mut out = Vec::new();
            push_stream_decision(&mut out, &StreamObject { id, ..object(nanos, &text) });
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read["scenario"].as_str(), Some(&*text));
            prop_assert_eq!(read["id"].as_i64(), Some(id));
            let rounded = GoDuration::from_nanos(nanos).rounded();
            prop_assert_eq!(read["duration"].as_str(), Some(&*rounded.to_string()));
        }
    }
}
