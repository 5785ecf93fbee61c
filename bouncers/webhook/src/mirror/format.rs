//! Writes lists in the formats of crowdsec-blocklist-mirror. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use ipnet::IpNet;
use palisade_cache::{Target, Timestamp};
use palisade_go_compat::GoDuration;

use super::entries::ListEntry;
use crate::config::ListFormat;

/// The name of the address list in a RouterOS script, unless the request has another.
const DEFAULT_LIST_NAME: &str = "CrowdSec";
/// The helper function that a RouterOS script defines; `v6` is appended for IPv6.
const ADD_FUNCTION: &str = "CrowdSecAddIP";
/// Guess of the length of a line, for the first allocation.
const LINE_BYTES: usize = 24;

/// What a list is written for.
#[derive(Debug, Clone, Copy)]
pub struct FormatOptions<'a> {
    /// The name of the address list in a RouterOS script; the stock default when `None`.
    pub list_name: Option<&'a str>,
    /// Whether the IPv4 part of a RouterOS script is left out.
    pub ipv6_only: bool,
    /// Whether the IPv6 part of a RouterOS script is left out.
    pub ipv4_only: bool,
    /// The time that durations count from.
    pub now: Timestamp,
}

/// The list as text; empty when nothing on it can be written in the format.
pub fn write(format: ListFormat, entries: &[ListEntry<'_>], options: &FormatOptions<'_>) -> String {
    let mut text = String::with_capacity(entries.len() * LINE_BYTES);
    match format {
        ListFormat::PlainText => entries.iter().for_each(|entry| {
            push_value(&mut text, entry);
            text.push('\n');
        }),
        ListFormat::Mikrotik => push_mikrotik(&mut text, entries, options),
        ListFormat::F5 => entries.iter().for_each(|entry| push_f5(&mut text, entry)),
        ListFormat::Juniper => entries.iter().for_each(|entry| {
            if let Target::Net(net) = entry.target {
                let _ = writeln!(text, "{net}");
            }
        }),
    }
    text
}

// Writing to a String cannot fail, here and below.
fn push_value(text: &mut String, entry: &ListEntry<'_>) {
    match entry.target {
        Target::Net(net) if entry.as_prefix => _ = write!(text, "{net}"),
        // A name with a line feed would be several entries.
        Target::Name(name) => text.extend(name.chars().filter(|c| !c.is_control())),
        target @ Target::Net(_) => _ = write!(text, "{target}"),
    }
}

/// `address,length,bl,category`. Only addresses and ranges can be written.
fn push_f5(text: &mut String, entry: &ListEntry<'_>) {
    let Target::Net(net) = entry.target else { return };
    // 128 for an IPv6 address: the 64 of the stock program blocks a whole network for one address.
    let _ = write!(text, "{},{},bl,", net.addr(), net.prefix_len());
    let category = entry.scenario.split('/').nth(1).unwrap_or(&entry.scenario);
    // A comma would be another field.
    text.extend(category.chars().map(|c| if c == ',' || c.is_control() { '_' } else { c }));
    text.push('\n');
}

/// A script that replaces the address lists of both families.
fn push_mikrotik(text: &mut String, entries: &[ListEntry<'_>], options: &FormatOptions<'_>) {
    if entries.is_empty() {
        return;
    }
    let name = options.list_name.unwrap_or(DEFAULT_LIST_NAME);
    let families = [(!options.ipv6_only, "/ip", ""), (!options.ipv4_only, "/ipv6", "v6")];
    for (_, path, suffix) in families.iter().filter(|(wanted, ..)| *wanted) {
        push_functions(text, name, path, suffix);
    }
    for entry in entries {
        push_call(text, entry, options.now);
    }
    for (_, _, suffix) in families.iter().filter(|(wanted, ..)| *wanted) {
        let _ = write!(text, "\n:set {ADD_FUNCTION}{suffix};");
    }
    text.push('\n');
}

fn push_functions(text: &mut String, name: &str, path: &str, suffix: &str) {
    let _ = write!(text, "\n{path}/firewall/address-list/remove [ find where list=\"");
    push_escaped(text, name);
    let _ = write!(
        text,
        "\" ];\n:global {ADD_FUNCTION}{suffix};\n:set {ADD_FUNCTION}{suffix} do={{\n    :do {{ {path}/firewall/address-list/add list="
    );
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        text.push_str(name);
    } else {
        text.push('"');
        push_escaped(text, name);
        text.push('"');
    }
    text.push_str(" address=$1 comment=\"$2\" timeout=$3; } on-error={ }\n}\n");
}

fn push_call(text: &mut String, entry: &ListEntry<'_>, now: Timestamp) {
    let is_v6 = match entry.target {
        Target::Net(net) => matches!(net, IpNet::V6(_)),
        Target::Name(name) => name.contains(':'),
    };
    let _ = write!(text, "\n${ADD_FUNCTION}{} \"", if is_v6 { "v6" } else { "" });
    match entry.target {
        Target::Name(name) => push_escaped(text, name),
        Target::Net(_) => push_value(text, entry),
    }
    text.push_str("\" \"");
    push_escaped(text, &entry.scenario);
    // RouterOS takes whole seconds; a timeout of none would keep the entry for ever.
    let seconds = entry.until.saturating_duration_since(now).as_secs().max(1);
    let _ = write!(text, "\" \"{}\"", GoDuration::from(Duration::from_secs(seconds)));
}

/// A text for the inside of quotes in a RouterOS script, in which it cannot end the quotes or name a variable.
fn push_escaped(text: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' | b'$' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            // `?` would show help on a terminal, and other bytes than these have no meaning in common code pages.
            b' '..=b'~' if byte != b'?' => text.push(char::from(byte)),
            byte => _ = write!(text, "\\{byte:02X}"),
        }
    }
}

#[cfg(test)]
mod tests;
