//! Base 64, percent-encoding and URL queries.

use crate::{
    arguments::text_at,
    error::Fault,
    function::{Pure, Signature},
    limits::Budget,
    text::Text,
    value::{Type, Value},
};

const TEXT: Type = Type::Text;
const TEXTS: Type = Type::List(&Type::Text);

pub(super) fn all() -> Vec<(Signature, Pure)> {
    let one = |name| Signature::new(name, &[TEXT], TEXT);
    vec![
        (one("B64Decode"), from_base64 as Pure),
        (one("PathEscape"), |args, budget| escaped(args, budget, b"$&+=:@-_.~", false)),
        (one("QueryEscape"), |args, budget| escaped(args, budget, b"-_.~", true)),
        (one("PathUnescape"), |args, budget| unescaped(args, budget, false)),
        (one("QueryUnescape"), |args, budget| unescaped(args, budget, true)),
        (Signature::new("ParseUri", &[TEXT], Type::Map(&TEXTS)), parse_uri),
        (Signature::new("ParseQuery", &[TEXT], Type::Map(&TEXTS)), parse_query),
        (Signature::new("ExtractQueryParam", &[TEXT, TEXT], TEXTS), extract_query_param),
    ]
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `toBase64`.
pub(crate) fn base64<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    budget.make(text.len() / 3 * 4 + 4)?;
    let mut out = String::with_capacity(text.len() / 3 * 4 + 4);
    for chunk in text.as_bytes().chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    Ok(Value::from(out))
}

/// `fromBase64` and `B64Decode`: the standard alphabet, padded. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn from_base64<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    budget.make(text.len())?;
    let bytes = decode(text).ok_or_else(|| Fault(format!("{:?} is not base 64", shorten(text))))?;
    Ok(Value::from(String::from_utf8_lossy(&bytes).into_owned()))
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    // Go ignores line breaks.
    let bytes: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    if !bytes.len().is_multiple_of(4) {
        return None;
    }
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    if padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len() / 4 * 3);
    for chunk in bytes[..bytes.len() - padding].chunks(4) {
        let mut bits = 0_u32;
        for byte in chunk {
            let value = ALPHABET.iter().position(|known| known == byte)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        bits <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

fn escaped<'v>(args: &[Value<'v>], budget: &mut Budget, kept: &[u8], plus: bool) -> Result<Value<'v>, Fault> {
    use std::fmt::Write as _;
    let text = text_at(args, 0)?;
    budget.make(text.len().saturating_mul(3))?;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' if plus => out.push('+'),
            _ if byte.is_ascii_alphanumeric() || kept.contains(&byte) => out.push(char::from(byte)),
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    Ok(Value::from(out))
}

/// `%41` is `A`; `None` if a percent sign starts no valid escape.
fn percent_decoded(text: &str, plus: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let code =
                    text.get(at..at + 2).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
                out.push(u8::from_str_radix(code, 16).ok()?);
                at += 2;
            }
            b'+' if plus => out.push(b' '),
            _ => out.push(*byte),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// The decoded text, or the text unchanged if it cannot be decoded.
fn unescaped<'v>(args: &[Value<'v>], budget: &mut Budget, plus: bool) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    budget.make(text.len())?;
    Ok(percent_decoded(text, plus).map_or_else(|| Value::Text(text.clone()), Value::from))
}

/// Parses `a=1&b=2&a=3` into values by name, in order of the names. Malformed pairs are skipped, as in Go.
fn query(text: &str, budget: &mut Budget) -> Result<Vec<(String, Vec<String>)>, Fault> {
    budget.read(text.len().saturating_mul(32))?;
    let mut found = std::collections::BTreeMap::<String, Vec<String>>::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(name), Some(value)) = (percent_decoded(name, true), percent_decoded(value, true)) {
            found.entry(name).or_default().push(value);
        }
    }
    Ok(found.into_iter().collect())
}

fn texts<'v>(values: Vec<String>) -> Value<'v> {
    Value::list(values.into_iter().map(Value::from).collect())
}

fn by_name<'v>(found: Vec<(String, Vec<String>)>) -> Value<'v> {
    Value::map(found.into_iter().map(|(name, values)| (Text::Shared(name.into()), texts(values))))
}

/// The part between the question mark and the fragment.
fn query_of(uri: &str) -> &str {
    let uri = uri.split('#').next().unwrap_or_default();
    uri.split_once('?').map_or("", |(_, query)| query)
}

fn parse_uri<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(by_name(query(query_of(text_at(args, 0)?), budget)?))
}

fn parse_query<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(by_name(query(text_at(args, 0)?, budget)?))
}

fn extract_query_param<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let wanted = text_at(args, 1)?;
    let found = query(query_of(text_at(args, 0)?), budget)?;
    let values = found.into_iter().find(|(name, _)| **name == **wanted).map(|(_, values)| values);
    Ok(texts(values.unwrap_or_default()))
}
