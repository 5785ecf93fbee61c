use super::*;
use proptest::prelude::*;

/// Everything that came out, as text, for comparison; or why nothing may be used.
fn decode(pieces: &[&[u8]]) -> Result<Vec<String>, DecodeError> {
    let mut items = Vec::new();
    let mut decoder = StreamDecoder::new();
    for piece in pieces {
        decoder.push(piece, &mut |item| {
            items.push(match item {
                StreamItem::New(d) => {
                    format!("+{} {} {} {} {} {}", d.id, d.kind, d.scope, d.value, d.duration, d.scenario)
                }
                StreamItem::Deleted(d) => {
                    format!("-{} {} {} {} {}", d.id, d.kind, d.scope, d.value, d.duration)
                }
                StreamItem::Unreadable { list, reason, .. } => format!("?{list} {reason}"),
            });
        })?;
    }
    decoder.finish()?;
    Ok(items)
}

/// The same answer however it is cut in two, and byte by byte.
fn decode_in_every_cut(body: &str) -> Result<Vec<String>, DecodeError> {
    let body = body.as_bytes();
    let whole = decode(&[body]);
    for cut in 0..=body.len() {
        assert_eq!(decode(&[&body[..cut], &body[cut..]]).is_ok(), whole.is_ok(), "cut at {cut}");
        if whole.is_ok() {
            assert_eq!(decode(&[&body[..cut], &body[cut..]]), whole, "cut at {cut}");
        }
    }
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(decode(&bytes).is_ok(), whole.is_ok());
    if whole.is_ok() {
        assert_eq!(decode(&bytes), whole);
    }
    whole
}

#[test]
fn answers_of_1_4_6_and_1_7_8_are_read() {
    for empty in
        [include_str!("../fixtures/lapi-1.4.6-empty.json"), include_str!("../fixtures/lapi-1.7.8-empty.json")]
    {
        assert_eq!(decode_in_every_cut(empty), Ok(vec![]));
    }
    assert_eq!(
        decode_in_every_cut(include_str!("../fixtures/lapi-1.4.6-delta.json")).unwrap(),
        [
            "-4 ban Ip 2001:db8::7 -1.198475769s",
            "-1 ban Ip 192.0.2.2 -21.023252ms",
            "+2 ban Range 198.51.100.0/24 3h59m58.301824211s scan <\"&> é",
        ]
    );
    assert_eq!(
        decode_in_every_cut(include_str!("../fixtures/lapi-1.4.6-startup.json")).unwrap(),
        [
            "-4 ban Ip 2001:db8::7 -1.221156274s",
            "-1 ban Ip 192.0.2.2 -43.703716ms",
            "+2 ban Range 198.51.100.0/24 3h59m58.279171829s scan <\"&> é",
            "+3 captcha Country FR 3h59m58.279169735s manual 'captcha' from 'm'",
        ]
    );
    assert_eq!(
        decode_in_every_cut(include_str!("../fixtures/lapi-1.7.8-startup.json")).unwrap(),
        [
            "+11 ban Ip 192.0.2.1 3h59m58s manual \"ban\" <ops>",
            "+12 ban Range 203.0.113.0/26 8759h59m59s tor-exit-nodes",
            "+13 captcha Country ZZ 0s crowdsecurity/http-probing",
            "-4 ban Ip 2001:db8::7 -5m3s",
        ]
    );
}

#[test]
fn every_legal_shape_of_nothing_is_nothing() {
    for body in [
        "{}",
        " { } \n",
        r#"{"new":null}"#,
        r#"{"deleted":[]}"#,
        r#"{"deleted" : [ ] , "new" : null}"#,
        r#"{"links":{"next":[1,{"a":"}"}]},"n":-12.5e3,"t":true,"s":"x\"y","new":[],"z":null}"#,
        r#"{"\u006eew":[]}"#,
    ] {
        assert_eq!(decode_in_every_cut(body), Ok(vec![]), "{body}");
    }
}

#[test]
fn an_element_that_is_no_decision_is_reported_and_the_rest_kept() {
    let good = r#"{"id":1,"origin":"o","scenario":"s","scope":"Ip","type":"ban","value":"192.0.2.1","duration":"1h","x":[{"y":-0.5E+3}]}"#;
    for (bad, reason) in [
        ("{}", "missing field `scope`"),
        ("7", "not an object"),
        ("null", "not an object"),
        ("\"text\"", "not an object"),
        ("[1,2]", "not an object"),
        (r#"[1,"o","s","Ip","ban","192.0.2.1","1h"]"#, "not an object"),
        (r#"{"scope":"Ip","type":"ban","value":7}"#, "invalid type: integer `7`, expected a string"),
        (r#"{"id":1e999,"scope":"Ip","type":"ban","value":"192.0.2.1"}"#, "number out of range"),
        (
            r#"{"id":1.5,"scope":"Ip","type":"ban","value":"192.0.2.1"}"#,
            "invalid type: floating point `1.5`, expected i64",
        ),
        (r#"{"scope":"Ip","scope":"Ip","type":"ban","value":"192.0.2.1"}"#, "duplicate field `scope`"),
        (r#"{"scope":"Ip","type":null,"value":"192.0.2.1"}"#, "invalid type: null, expected a string"),
    ] {
        let items =
            decode_in_every_cut(&format!(r#"{{"deleted":[{bad}, {good}],"new":[{good},{bad}]}}"#)).unwrap();
        assert_eq!(items.len(), 4, "{bad}");
        assert_eq!(items[0], format!("?deleted {reason} (element at byte 12)"));
        assert_eq!(items[1], "-1 ban Ip 192.0.2.1 1h");
        assert_eq!(items[2], "+1 ban Ip 192.0.2.1 1h s");
        assert!(items[3].starts_with("?new "), "{}", items[3]);
    }
}

#[test]
fn anything_that_is_not_this_document_is_refused_whole() {
    for body in [
        "null",
        "[]",
        "7",
        "\u{feff}{}",
        "<html>",
        "{]",
        "{,}",
        r#"{"new":[],}"#,
        r#"{"new":[,]}"#,
        r#"{"new":[{},]}"#,
        r#"{"new":[{} {}]}"#,
        r#"{"new":[{}}}"#,
        r#"{"new":[{"a":]}]}"#,
        r#"{"new":[{"a" 1}]}"#,
        r#"{"new":[tru]}"#,
        r#"{"new":[01]}"#,
        r#"{"new":{}}"#,
        r#"{"new":"x"}"#,
        r#"{"new":false}"#,
        r#"{"new":[],"new":[]}"#,
        r#"{"new" []}"#,
        r#"{new:[]}"#,
        r#"{"x":}"#,
        r#"{"x":1 2}"#,
        "{\"x\":\"\u{1}\"}",
        "{} {}",
        "{}]",
        "{}x",
        r#"{"new":[]}{"new":[]}"#,
    ] {
        let error = decode_in_every_cut(body).unwrap_err();
        assert!(!matches!(error, DecodeError::CutShort { .. }), "{body}: {error}");
    }
}

#[test]
fn a_document_cut_anywhere_is_not_whole() {
    let body = include_bytes!("../fixtures/lapi-1.7.8-startup.json");
    for end in 0..body.len() {
        assert_eq!(decode(&[&body[..end]]), Err(DecodeError::CutShort { received: end as u64 }));
        assert_eq!(
            decode(&[&body[..end / 2], &body[end / 2..end]]),
            Err(DecodeError::CutShort { received: end as u64 })
        );
    }
}

#[test]
fn errors_say_where_in_the_body() {
    let body = r#"{"new":[{"id":1,"scope":"Ip","type":"ban","value":"a"},{"id":x}]}"#;
    for cut in [0, 5, 56, 60, 62] {
        let (head, tail) = body.as_bytes().split_at(cut);
        assert_eq!(
            decode(&[head, tail]).unwrap_err().to_string(),
            "not valid JSON in what begins at byte 55: expected value",
            "cut at {cut}"
        );
    }
}

/// An answer in which everything that can be too long is, between two sound decisions.
fn overlong(length: usize) -> String {
    let long = "x".repeat(length);
    let good = |id: u32| {
        format!(
            r#"{{"id":{id},"scope":"Ip","type":"ban","value":"192.0.2.{id}","duration":"1h","scenario":"s"}}"#
        )
    };
    let bad = format!(r#"{{"id":9,"scope":"Ip","type":"ban","value":"192.0.2.9","scenario":"\"]}}{long}"}}"#);
    let digits = "7".repeat(length);
    format!(
        r#"{{"{long}":1,"x":"{long}","new":[{},{bad},{},"{long}",{digits},{}],"deleted":[{bad}]}}"#,
        good(1),
        good(2),
        good(3)
    )
}

#[test]
fn an_overlong_element_costs_itself_and_the_rest_is_kept() {
    let body = overlong(MAX_VALUE_BYTES + MAX_VALUE_BYTES / 2);
    let whole = decode(&[body.as_bytes()]).unwrap();
    let kinds: Vec<&str> = whole.iter().map(|item| item.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["+1", "?new", "+2", "?new", "?new", "+3", "?deleted"]);
    for item in whole.iter().filter(|item| item.starts_with('?')) {
        assert!(item.contains("at most 1048576 are read"), "{item}");
    }
    for size in [1, 1000, 16 * 1024, MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1, 5_000_011] {
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
        assert_eq!(decode(&pieces), Ok(whole.clone()), "in pieces of {size}");
    }
}

#[test]
fn an_element_of_exactly_the_limit_is_read() {
    for (over, read) in [(0, true), (1, false)] {
        let frame = r#"{"scope":"Ip","type":"ban","value":"192.0.2.1","scenario":""}"#;
        let long = "x".repeat(MAX_VALUE_BYTES - frame.len() + over);
        let element = frame.replace(r#""scenario":"""#, &format!(r#""scenario":"{long}""#));
        let body = format!(r#"{{"new":[{element}]}}"#);
        for size in [4096, body.len()] {
            let pieces: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
            assert_eq!(decode(&pieces).unwrap()[0].starts_with('+'), read, "{over} in pieces of {size}");
        }
    }
}

#[test]
fn text_that_is_no_utf8_and_a_lone_surrogate_cost_one_element() {
    let good = r#"{"scope":"Ip","type":"ban","value":"192.0.2.1","duration":"1h"}"#;
    for bad in [
        b"{\"scope\":\"Ip\",\"type\":\"ban\",\"value\":\"192.0.2.9\",\"scenario\":\"\xff\xfe\"}".as_slice(),
        br#"{"scope":"Ip","type":"ban","value":"192.0.2.9","scenario":"\ud800"}"#,
        br#"{"scope":"Ip","type":"ban","value":"192.0.2.9","id":99999999999999999999999999}"#,
    ] {
        let body = [b"{\"new\":[", bad, b",", good.as_bytes(), b"]}"].concat();
        for size in [1, 7, body.len()] {
            let pieces: Vec<&[u8]> = body.chunks(size).collect();
            let items = decode(&pieces).unwrap();
            assert!(items[0].starts_with("?new") && items[1].starts_with("+0 ban"), "{items:?}");
        }
    }
}

#[test]
fn a_value_without_end_does_not_fill_the_memory() {
    let mut decoder = StreamDecoder::new();
    decoder.push(br#"{"new":[{"value":""#, &mut |_| {}).unwrap();
    let piece = [b'x'; 4096];
    for _ in 0..1000 {
        decoder.push(&piece, &mut |_| {}).unwrap();
        assert!(decoder.carry.capacity() <= 2 * MAX_VALUE_BYTES);
    }
    assert_eq!(decoder.finish(), Err(DecodeError::CutShort { received: 18 + 4096 * 1000 }));
}

#[test]
fn depth_costs_neither_stack_nor_the_document() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"x":{deep},"new":[{deep},{{"y":{deep}}}]}}"#);
    let items = decode(&[body.as_bytes()]).unwrap();
    assert_eq!(items.len(), 2);
    let (head, tail) = body.as_bytes().split_at(500_000);
    assert_eq!(decode(&[head, tail]).unwrap(), items);
}

/// Texts with escapes, brackets and quotes in them, as an operator may type a reason.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z/0-9.:]{1,12}", "[\"\\\\{}\\[\\],:\n\u{e9}\u{1f600} a]{0,12}"]
}

proptest! {
    /// Whatever serde_json makes of the whole document, the decoder makes of its pieces.
    #[test]
    fn pieces_decode_like_the_whole(
        rows in prop::collection::vec((any::<i64>(), any_text(), any_text(), any_text()), 0..8),
        new_first in any::<bool>(),
        pretty in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let rows: Vec<serde_json::Value> = rows
            .iter()
            .map(|(id, scenario, value, duration)| serde_json::json!({
                "id": id, "origin": "o", "scenario": scenario, "scope": "Ip", "type": "ban",
                "value": value, "duration": duration, "score": -1.5e-7
            }))
            .collect();
        let (new, deleted) = rows.split_at(rows.len() / 2);
        let lists = [("new", new), ("deleted", deleted)];
        let lists = if new_first { lists } else { [lists[1], lists[0]] };
        let write = |value: &[serde_json::Value]| {
            if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap()
        };
        let body = format!("{{\"{}\":{},\"{}\":{}}}", lists[0].0, write(lists[0].1), lists[1].0, write(lists[1].1));
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|cut| &body.as_bytes()[cut[0]..cut[1]]).collect();

        let text = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap().to_owned();
        let mut expected = Vec::new();
        for (name, rows) in lists {
            expected.extend(rows.iter().map(|row| match name {
                "new" => format!("+{} ban Ip {} {} {}", row["id"], text(row, "value"), text(row, "duration"), text(row, "scenario")),
                _ => format!("-{} ban Ip {} {}", row["id"], text(row, "value"), text(row, "duration")),
            }));
        }
        prop_assert_eq!(decode(&pieces), Ok(expected));
    }

    /// No bytes panic, and what is accepted is JSON.
    #[test]
    fn only_json_is_accepted(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = include_bytes!("../fixtures/lapi-1.7.8-startup.json").to_vec();
        for (at, byte) in edits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let (head, tail) = body.split_at(cut.index(body.len()));
        let in_pieces = decode(&[head, tail]);
        prop_assert_eq!(in_pieces.is_ok(), decode(&[&body]).is_ok());
        if in_pieces.is_ok() {
            prop_assert!(serde_json::from_slice::<IgnoredAny>(&body).is_ok());
        }
    }
}
