//! Normalises paths, and finds what else an upstream could see in one.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{Method, Uri};

use super::Refusal;

/// The path for matching, and what differs from it.
pub(super) struct NormalPath<'a> {
    pub(super) matched: Cow<'a, str>,
    pub(super) other: Option<Box<Readings>>,
}

/// What else the path can be.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// The path with its duplicate slashes, if it has any.
    pub(super) with_duplicate_slashes: Option<String>,
    /// What upstreams make of it that decode slashes or remove parameters.
    pub(super) readings: Vec<String>,
}

/// Normalises the path of a target.
pub(super) fn normalise<'a>(uri: &'a Uri, method: &Method) -> Result<NormalPath<'a>, Refusal> {
    let target = uri.path_and_query().ok_or(Refusal::INVALID_TARGET)?;
    let path = target.path();
    let plain = |matched| Ok(NormalPath { matched: Cow::Borrowed(matched), other: None });
    match path.as_bytes() {
        [b'*'] if *method == Method::OPTIONS && target.query().is_none() => return plain(path),
        [b'/', ..] => {}
        _ => return Err(Refusal::INVALID_TARGET),
    }
    if is_plain(path.as_bytes()) {
        return plain(path);
    }
    let decoded = decode(path)?;
    let (matched, kept) = resolve(&decoded)?;
    let readings = other_readings(&matched)?;
    let other = match (kept, readings.is_empty()) {
        (None, true) => None,
        (with_duplicate_slashes, _) => Some(Box::new(Readings { with_duplicate_slashes, readings })),
    };
    let matched = if matched == path { Cow::Borrowed(path) } else { Cow::Owned(matched) };
    Ok(NormalPath { matched, other })
}

/// Path and query of `received`, with `path` instead of its own.
pub(super) fn join(received: &Uri, path: &str) -> Result<PathAndQuery, Refusal> {
    let target = received.path_and_query().ok_or(Refusal::INVALID_TARGET)?;
    // The received text has no slash if it is a query only, after an authority.
    let unchanged = target.path() == path && !target.as_str().starts_with('?');
    if unchanged {
        return Ok(target.clone());
    }
    let mut text = String::with_capacity(path.len() + 1 + target.query().map_or(0, str::len));
    text.push_str(path);
    if let Some(query) = target.query() {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map_err(|_| Refusal::INVALID_TARGET)
}

/// Whether there is nothing to normalise.
fn is_plain(path: &[u8]) -> bool {
    let mut slash = false;
    for byte in path {
        match byte {
            b'%' | b';' | b'\\' => return false,
            b'/' | b'.' if slash => return false,
            _ => slash = *byte == b'/',
        }
    }
    true
}

/// Decodes unreserved characters (RFC 3986, 2.3), which mean the same in both forms.
fn decode(path: &str) -> Result<String, Refusal> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(['%', '\\']) {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('\\') {
            return Err(Refusal::BACKSLASH);
        }
        let triplet = rest.get(..3).ok_or(Refusal::INVALID_ENCODING)?;
        match decoded_byte(triplet.as_bytes()).ok_or(Refusal::INVALID_ENCODING)? {
            0..=31 | 127 => return Err(Refusal::ENCODED_CONTROL),
            byte @ (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => {
                decoded.push(char::from(byte));
            }
            _ => decoded.push_str(triplet),
        }
        rest = &rest[3..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

fn decoded_byte(triplet: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match triplet {
        [b'%', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// The path without dot segments and duplicate slashes, and the one with duplicate slashes if it may be forwarded. Beside
/// dot segments it may not: whether `/a//../b` is `/a/b` or `/b` is for upstreams not to decide.
fn resolve(path: &str) -> Result<(String, Option<String>), Refusal> {
    let mut resolved = String::with_capacity(path.len());
    let (mut dots, mut duplicates) = (false, false);
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => dots = true,
            ".." => {
                dots = true;
                let parent = resolved.rfind('/').ok_or(Refusal::ABOVE_ROOT)?;
                resolved.truncate(parent);
            }
            "" if !last => {
                duplicates = true;
                continue;
            }
            "" => {}
            _ => {
                resolved.push('/');
                resolved.push_str(segment);
                continue;
            }
        }
        // A dot segment or nothing at the end stands for the folder.
        if last {
            resolved.push('/');
        }
    }
    Ok((resolved, (duplicates && !dots).then(|| path.to_owned())))
}

/// What upstreams see that take `%2F` and `%5C` for slashes, that remove `;` parameters, or that do both in either order.
fn other_readings(path: &str) -> Result<Vec<String>, Refusal> {
    let slashes = decode_slashes(path);
    let parameters = remove_parameters(path);
    let mut readings = Vec::new();
    // In either order: a slash inside a parameter ends it, or goes with it.
    readings.extend(slashes.as_deref().and_then(remove_parameters));
    readings.extend(parameters.as_deref().and_then(decode_slashes));
    readings.extend(slashes.into_iter().chain(parameters));
    for reading in &mut readings {
        if reading.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(Refusal::HIDDEN_DOT_SEGMENT);
        }
        *reading = resolve(reading)?.0;
    }
    Ok(readings)
}

fn decode_slashes(path: &str) -> Option<String> {
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    let mut found = false;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let triplet = &rest[at..rest.len().min(at + 3)];
        let slash = matches!(decoded_byte(triplet.as_bytes()), Some(b'/' | b'\\'));
        found |= slash;
        text.push_str(if slash { "/" } else { triplet });
        rest = &rest[at + triplet.len()..];
    }
    text.push_str(rest);
    found.then_some(text)
}

fn remove_parameters(path: &str) -> Option<String> {
    let start = |segment: &str| {
        let encoded = segment.as_bytes().windows(3).position(|triplet| decoded_byte(triplet) == Some(b';'));
        segment.find(';').into_iter().chain(encoded).min()
    };
    path.split('/').any(|segment| start(segment).is_some()).then(|| {
        let bare = path.split('/').map(|segment| &segment[..start(segment).unwrap_or(segment.len())]);
        bare.collect::<Vec<_>>().join("/")
    })
}
