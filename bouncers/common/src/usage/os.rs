//! Identifies the operating system for the report.

use palisade_wire::{OsInfo, clip_metric_text};

/// The stock bouncers' value for unknown.
const UNKNOWN: &str = "???";

/// Name, family and version (with the point release) of the distribution, as the stock bouncers name them; `???` where
/// unknown.
pub fn os_info() -> OsInfo {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    detect(read)
}

/// Detects the system from files read by `read`.
fn detect(read: impl Fn(&str) -> Option<String>) -> OsInfo {
    let text = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| read(path));
    let text = text.unwrap_or_default();
    let value = |name: &str| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    let Some(id) = value("ID") else {
        let (family, version) = (UNKNOWN.to_owned(), UNKNOWN.to_owned());
        return OsInfo { name: std::env::consts::OS.to_owned(), family, version };
    };
    let like = value("ID_LIKE").unwrap_or_default();
    let family = std::iter::once(id.as_str()).chain(like.split_whitespace()).find_map(family_of);
    // Some distributions have only the major version in os-release.
    let point_release = match id.as_str() {
        "debian" | "raspbian" => read("/etc/debian_version").map(|text| text.trim().to_owned()),
        _ if family == Some("rhel") => read("/etc/redhat-release").and_then(|text| after_release(&text)),
        _ => None,
    };
    let version = point_release.filter(|text| !text.is_empty()).or_else(|| value("VERSION_ID"));
    let clipped = |text: &str| clip_metric_text(text).to_owned();
    OsInfo {
        family: clipped(family.unwrap_or(&id)),
        version: clipped(version.as_deref().unwrap_or(UNKNOWN)),
        // The stock bouncers report this name.
        name: clipped(if id == "rhel" { "redhat" } else { &id }),
    }
}

/// The family of a distribution, by its identifier in os-release.
fn family_of(id: &str) -> Option<&'static str> {
    Some(match id {
        "debian" | "ubuntu" | "linuxmint" | "raspbian" => "debian",
        "rhel" | "centos" | "rocky" | "almalinux" | "ol" | "amzn" | "cloudlinux" => "rhel",
        "fedora" => "fedora",
        "suse" | "sles" | "sled" | "opensuse" | "opensuse-leap" | "opensuse-tumbleweed" => "suse",
        "arch" | "manjaro" => "arch",
        "alpine" => "alpine",
        "gentoo" => "gentoo",
        _ => return None,
    })
}

/// `9.4` of `Rocky Linux release 9.4 (Blue Onyx)`.
fn after_release(text: &str) -> Option<String> {
    let version = text.split_once("release ")?.1.split_whitespace().next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_named_as_the_stock_bouncers_name_them() {
        let debian = "PRETTY_NAME=\"Debian 12\"\nID=debian\nVERSION_ID=\"12\"\n";
        let rocky = "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9\"\n";
        for (os_release, file, (name, family, version)) in [
            (debian, ("/etc/debian_version", "12.11\n"), ("debian", "debian", "12.11")),
            (debian, ("", ""), ("debian", "debian", "12")),
            ("ID=debian", ("/etc/debian_version", "trixie/sid\n"), ("debian", "debian", "trixie/sid")),
            (
                "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"",
                ("/etc/debian_version", "trixie/sid\n"),
                ("ubuntu", "debian", "24.04"),
            ),
            ("ID=pop\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=22.04", ("", ""), ("pop", "debian", "22.04")),
            (
                rocky,
                ("/etc/redhat-release", "Rocky Linux release 9.4 (Blue Onyx)\n"),
                ("rocky", "rhel", "9.4"),
            ),
            (rocky, ("/etc/redhat-release", "odd"), ("rocky", "rhel", "9")),
            ("ID=rhel\nVERSION_ID=9.4", ("", ""), ("redhat", "rhel", "9.4")),
            ("ID='alpine'\nVERSION_ID=3.20.1", ("", ""), ("alpine", "alpine", "3.20.1")),
            ("ID=arch", ("", ""), ("arch", "arch", "???")),
            ("ID=void", ("", ""), ("void", "void", "???")),
            ("ID_LIKE=debian", ("", ""), ("linux", "???", "???")),
            ("", ("", ""), ("linux", "???", "???")),
        ] {
            let read = |path: &str| match path {
                "/etc/os-release" => Some(os_release.to_owned()),
                path if path == file.0 => Some(file.1.to_owned()),
                _ => None,
            };
            let expected = OsInfo { name: name.into(), family: family.into(), version: version.into() };
            assert_eq!(detect(read), expected, "{os_release}");
        }
    }
}
