//! Formats entries as nginx's `combined` format does. Pure.

use std::fmt::Write as _;

use http::HeaderValue;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::text::{MAX_FIELD_BYTES, MAX_TARGET_BYTES, push_nginx};
use super::{AccessEntry, ClientText};

pub(super) fn push(entry: &AccessEntry, zone: &TimeZone, text: &mut String) {
    let at = Timestamp::try_from(entry.at).unwrap_or_default().to_zoned(zone.clone());
    // Writing to a String cannot fail.
    let _ = write!(text, "{} - - [{}] \"", ClientText(entry), at.strftime("%d/%b/%Y:%H:%M:%S %z"));
    push_nginx(text, entry.method.as_str().as_bytes(), MAX_FIELD_BYTES);
    text.push(' ');
    push_nginx(text, entry.path_and_query().as_bytes(), MAX_TARGET_BYTES);
    let _ = write!(text, " {}\" {} {} \"", entry.version_text(), entry.status.as_u16(), entry.bytes_out);
    push_header(text, entry.referer.as_ref());
    text.push_str("\" \"");
    push_header(text, entry.user_agent.as_ref());
    text.push_str("\"\n");
}

fn push_header(text: &mut String, value: Option<&HeaderValue>) {
    match value {
        Some(value) => push_nginx(text, value.as_bytes(), MAX_FIELD_BYTES),
        None => text.push('-'),
    }
}
