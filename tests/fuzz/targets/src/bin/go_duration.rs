//! Durations: what is read is written in a form that reads back as the same, and is the form Go would write.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_go_compat::GoDuration;

fuzz_target!(|data: &[u8]| {
    if let Some(bytes) = data.first_chunk::<8>() {
        round_trip(GoDuration::from_nanos(i64::from_le_bytes(*bytes)));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        match text.parse::<GoDuration>() {
            Ok(span) => round_trip(span),
            Err(error) => assert!(error.to_string().len() < 4096),
        }
    }
});

fn round_trip(span: GoDuration) {
    let text = span.to_string();
    assert_eq!(text.parse(), Ok(span), "{text}");
    assert!(text.ends_with('s') && text.len() < 32, "{text}");
    assert_eq!(span.to_std().is_none(), span.nanos() < 0);
}
