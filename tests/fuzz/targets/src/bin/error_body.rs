//! Answers that say no: whatever a proxy sends in a LAPI's place becomes one short line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_wire::ErrorBody;

fuzz_target!(|data: &[u8]| {
    let Some((status, body)) = data.split_first_chunk::<2>() else { return };
    let text = ErrorBody::describe(u16::from_le_bytes(*status), body);
    assert!(!text.is_empty() || !body.is_empty());
    assert!(!text.contains(char::is_control), "{text:?}");
    // Two quotations, in which each character may be written as an escape.
    assert!(text.chars().count() < 4200, "{text:?}");
});
