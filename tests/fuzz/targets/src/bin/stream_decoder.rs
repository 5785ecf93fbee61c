//! The stream decoder: however a body is cut, the same comes out; what `serde_json` reads whole, it reads too; and
//! what it accepts is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_wire::{DecodeError, StreamDecoder, StreamItem};
use serde::Deserialize;
use serde::de::IgnoredAny;

// The first byte selects how the rest is cut.
fuzz_target!(|data: &[u8]| {
    let Some((cut, body)) = data.split_first() else { return };
    let whole = decode(&[body]);
    let size = usize::from(*cut % 64) + 1;
    let pieces: Vec<&[u8]> = body.chunks(size).collect();
    let cut = decode(&pieces);
    assert_eq!(whole.is_ok(), cut.is_ok(), "{whole:?} {cut:?}");
    if let Ok(items) = &whole {
        assert_eq!(items, &cut.expect("just compared"));
        assert!(serde_json::from_slice::<IgnoredAny>(body).is_ok());
    }
    if let (Ok(document), Some(b'{')) =
        (serde_json::from_slice::<Document>(body), body.iter().find(|byte| !byte.is_ascii_whitespace()))
    {
        let expected = [document.new, document.deleted].into_iter().flatten().flatten().count();
        assert_eq!(whole.expect("serde_json reads it").len(), expected);
    }
});

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    new: Option<Vec<serde_json::Value>>,
    #[serde(default)]
    deleted: Option<Vec<serde_json::Value>>,
}

fn decode(pieces: &[&[u8]]) -> Result<Vec<String>, DecodeError> {
    let mut items = Vec::new();
    let mut decoder = StreamDecoder::new();
    for piece in pieces {
        decoder.push(piece, &mut |item: StreamItem<'_>| items.push(format!("{item:?}")))?;
    }
    decoder.finish()?;
    Ok(items)
}
