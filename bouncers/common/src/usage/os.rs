//! Which system this is, for the report.

use palisade_wire::{OsInfo, clip_metric_text};

/// What `/etc/os-release` (or its copy under `/usr/lib`) says; what it does not say is `???`, as the stock bouncers
/// put it.
pub fn os_info() -> OsInfo {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    parse(&text)
}

fn parse(text: &str) -> OsInfo {
    let value = |name: &str| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| clip_metric_text(value).to_owned())
    };
    match value("ID") {
        Some(name) => {
            let version = value("VERSION_ID").unwrap_or_else(|| "???".to_owned());
            OsInfo { name, family: std::env::consts::OS.to_owned(), version }
        }
        None => OsInfo {
            name: std::env::consts::OS.to_owned(),
            family: "???".to_owned(),
            version: "???".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read() {
        for (text, name, family, version) in [
            ("PRETTY_NAME=\"Debian 12\"\nID=debian\nVERSION_ID=\"12\"\n", "debian", "linux", "12"),
            ("ID='alpine'\nVERSION_ID=3.20.1", "alpine", "linux", "3.20.1"),
            ("ID=arch", "arch", "linux", "???"),
            ("ID_LIKE=debian", "linux", "???", "???"),
            ("", "linux", "???", "???"),
        ] {
            let expected = OsInfo { name: name.into(), family: family.into(), version: version.into() };
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
