//! Checks single values of a configuration file against bounds, and reports those outside.

use std::fmt::Display;
use std::time::Duration;

use palisade_go_compat::GoDuration;
use palisade_net::{PrefixSet, parse_prefix};

use super::Problems;

impl Problems {
    /// A duration of at least `least`; `default` when none is given or it is too short.
    pub fn duration(
        &mut self,
        key: impl Into<String>,
        given: Option<GoDuration>,
        default: Duration,
        least: Duration,
    ) -> Duration {
        let Some(given) = given else { return default };
        match given.to_std() {
            Some(given) if given >= least => given,
            _ => {
                self.add(key, format!("it must be a duration of at least {least:?}"));
                default
            }
        }
    }

    /// A number within bounds, both included; `default` when none is given or it is outside.
    pub fn number<N: PartialOrd + Display + Copy>(
        &mut self,
        key: impl Into<String>,
        given: Option<N>,
        default: N,
        (least, most): (N, N),
    ) -> N {
        match given {
            None => default,
            Some(given) if given >= least && given <= most => given,
            Some(_) => {
                self.add(key, format!("it must be from {least} to {most}"));
                default
            }
        }
    }

    /// Addresses and prefixes.
    pub fn prefixes(&mut self, key: &str, texts: &[String]) -> PrefixSet {
        let mut nets = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match parse_prefix(text.trim()) {
                Ok(net) => nets.push(net),
                Err(_) => self.add(
                    format!("{key}[{index}]"),
                    "this is neither an address nor a prefix such as 192.0.2.0/24",
                ),
            }
        }
        nets.into_iter().collect()
    }

    /// A number of bytes as text, such as `64KB`, within bounds; `default` when none is given or it is outside.
    pub fn size(
        &mut self,
        key: impl Into<String>,
        given: Option<&str>,
        default: u64,
        (least, most): (u64, u64),
    ) -> u64 {
        let Some(given) = given else { return default };
        match parse_size(given) {
            Some(given) if given >= least && given <= most => given,
            Some(_) => {
                self.add(key, format!("it must be from {least} to {most} bytes"));
                default
            }
            None => {
                self.add(key, "it must be a size such as 500KB or 10MB");
                default
            }
        }
    }
}

/// Bytes, with `KB`, `MB` or `GB` in powers of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, factor) = [("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("B", 1)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .unwrap_or((text, 1));
    number.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("10", Some(10)),
            ("1KB", Some(1024)),
            ("10 MB", Some(10 << 20)),
            ("2GB", Some(2 << 30)),
            ("5B", Some(5)),
            ("", None),
            ("-1", None),
            ("99999999999GB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_outside_is_reported_and_replaced_by_the_default() {
        let mut problems = Problems::new();
        let second = Duration::from_secs(1);
        assert_eq!(problems.number("a", Some(3), 1, (1, 5)), 3);
        assert_eq!(
            problems.duration("b", Some(GoDuration::from_nanos(2_000_000_000)), second, second),
            2 * second
        );
        assert_eq!(problems.size("c", Some("1KB"), 1, (1, 1024)), 1024);
        assert_eq!(problems.prefixes("d", &["192.0.2.0/24".to_owned()]).len(), 1);
        assert!(problems.is_empty());
        assert_eq!(problems.number("a", Some(6), 1, (1, 5)), 1);
        assert_eq!(problems.duration("b", Some(GoDuration::from_nanos(-1)), second, second), second);
        assert_eq!(problems.size("c", Some("2KB"), 1, (1, 1024)), 1);
        assert_eq!(problems.size("e", Some("many"), 1, (1, 1024)), 1);
        assert!(problems.prefixes("d", &["192.0.2".to_owned()]).is_empty());
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c", "e", "d[0]"]);
    }
}
