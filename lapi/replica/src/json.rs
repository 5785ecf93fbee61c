//! The JSON form of a decision, appended to a body from labels that are escaped already.

use palisade_model::json_text::push_number;
use palisade_wire::UnixMillis;

use crate::packed::Packed;

/// Appends a duration in milliseconds as a Go duration, rounded to whole seconds, halves away from zero.
pub(crate) fn push_duration(out: &mut Vec<u8>, millis: i64) {
    // As stock servers since 1.6.3 round.
    let seconds = (millis.unsigned_abs() + 500) / 1000;
    // Go prints no `-0s`.
    if millis < 0 && seconds > 0 {
        out.push(b'-');
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60);
    if hours > 0 {
        push_number(out, hours);
        out.push(b'h');
    }
    if minutes > 0 {
        push_number(out, minutes % 60);
        out.push(b'm');
    }
    push_number(out, seconds % 60);
    out.push(b's');
}

/// Appends a decision as streams and live queries send it; live queries omit the `uuid`, as the stock server does. A
/// decision that has ended never shows time left, even when it was ended early.
pub(crate) fn push_decision(out: &mut Vec<u8>, row: &Packed, now: UnixMillis, with_uuid: bool) {
    out.extend_from_slice(b"{\"duration\":\"");
    let left = row.until().0.saturating_sub(now.0);
    // After the clock was set back, the end of a deleted row may lie in the future.
    push_duration(out, if row.label.gone { left.min(0) } else { left });
    out.extend_from_slice(b"\",\"id\":");
    push_number(out, row.shown_id().unsigned_abs());
    out.extend_from_slice(&row.label.json);
    if let Some(uuid) = row.uuid().filter(|_| with_uuid) {
        out.extend_from_slice(b",\"uuid\":\"");
        let mut text = uuid::Uuid::encode_buffer();
        out.extend_from_slice(uuid.hyphenated().encode_lower(&mut text).as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"value\":");
    row.value.push_json(out);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_seconds_in_go_s_words() {
        for (millis, text) in [
            (0, "0s"),
            (499, "0s"),
            (-499, "0s"),
            (500, "1s"),
            (-500, "-1s"),
            (7_000, "7s"),
            (12 * 60_000, "12m0s"),
            (3 * 3_600_000 + 59 * 60_000 + 57_600, "3h59m58s"),
            (8_760 * 3_600_000, "8760h0m0s"),
            (-303_000, "-5m3s"),
            (59_999, "1m0s"),
        ] {
            let mut out = Vec::new();
            push_duration(&mut out, millis);
            assert_eq!(String::from_utf8(out).unwrap(), text, "{millis}");
        }
        push_duration(&mut Vec::new(), i64::MIN);
    }

    #[test]
    fn a_decision_is_one_object_with_its_names_in_the_stock_server_s_order() {
        const UUID: &str = "0b4c2f50-2a6e-4b0d-8c3e-0a4b5c6d7e8f";
        let now = UnixMillis(1_750_000_000_000);
        for (value, left, uuid, duration, shown) in [
            ("192.0.2.1", 3_599_600, Some(UUID), "1h0m0s", r#""192.0.2.1""#),
            ("192.0.2.0/24", -1_500, None, "-2s", r#""192.0.2.0/24""#),
            ("2001:db8::/32", 0, Some(UUID), "0s", r#""2001:db8::/32""#),
            ("quoted \"text\"", 31_536_000_000, None, "8760h0m0s", r#""quoted \"text\"""#),
        ] {
            let row = palisade_model::StoredDecision {
                id: 4711,
                commit: palisade_model::Commit(1),
                until: UnixMillis(now.0 + left),
                alert: 1,
                simulated: false,
                uuid: uuid.map(|uuid| uuid.parse().unwrap()),
                origin: "cscli".into(),
                scenario: "typed \\ by hand".into(),
                target: palisade_model::Target::stored("session", value),
                remediation: "ban".into(),
            };
            let packed = Packed::new(&row, crate::label::Labels::default().of(&row, false));
            for with_uuid in [true, false] {
                let mut out = Vec::new();
                push_decision(&mut out, &packed, now, with_uuid);
                let uuid = uuid.filter(|_| with_uuid);
                let uuid = uuid.map_or(String::new(), |uuid| format!(r#","uuid":"{uuid}""#));
                assert_eq!(
                    String::from_utf8(out).unwrap(),
                    format!(
                        r#"{{"duration":"{duration}","id":4711,"origin":"cscli","scenario":"typed \\ by hand","scope":"session","type":"ban"{uuid},"value":{shown}}}"#
                    )
                );
            }
        }
    }
}
