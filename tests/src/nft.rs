//! The kernel's nftables state, read with the nft program as an operator does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use crate::host::Host;
use crate::outcome::{Doing, Failure, Outcome};

/// The whole ruleset of a host at one time.
pub struct Ruleset {
    objects: Vec<Value>,
}

/// An element of a set: an address, a prefix or an interval, and its times in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// As nft prints it: `192.0.2.1`, `192.0.2.0/24`, `192.0.2.3-192.0.2.9`.
    pub value: String,
    /// Seconds it was given, if it ends.
    pub timeout: Option<u64>,
    /// Seconds left.
    pub expires: Option<u64>,
    /// Its comment, if it has one.
    pub comment: Option<String>,
}

/// A set with its elements.
#[derive(Debug, Clone)]
pub struct Set {
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// The table it is in.
    pub table: String,
    /// Its name.
    pub name: String,
    /// `ipv4_addr`, `ipv6_addr`, or the types of a concatenation.
    pub kind: String,
    /// `timeout`, `interval`, …
    pub flags: Vec<String>,
    /// Its elements.
    pub elements: Vec<Element>,
}

impl Host {
    /// Reads the host's whole ruleset.
    ///
    /// # Errors
    /// When nft fails.
    pub fn ruleset(&self) -> Outcome<Ruleset> {
        let text = self.tool(["nft", "-j", "list", "ruleset"])?;
        let mut parsed: Value = serde_json::from_str(&text).doing("reading nft's JSON")?;
        let objects = parsed["nftables"].as_array_mut().map(std::mem::take);
        Ok(Ruleset { objects: objects.doing("nft printed no list")? })
    }

    /// Loads rules written as for `nft -f`.
    ///
    /// # Errors
    /// When nft refuses them.
    pub fn nft(&self, script: &str) -> Outcome {
        self.feed(["nft", "-f", "-"], script).map(drop)
    }
}

impl Ruleset {
    fn each<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter_map(move |object| object.get(kind))
    }

    /// `(family, name)` of every table, sorted.
    pub fn tables(&self) -> Vec<(String, String)> {
        let mut tables: Vec<_> =
            self.each("table").map(|table| (text(table, "family"), text(table, "name"))).collect();
        tables.sort();
        tables
    }

    /// Names of the chains of a table, sorted.
    pub fn chains(&self, family: &str, table: &str) -> Vec<String> {
        let mut names: Vec<_> = self
            .each("chain")
            .filter(|chain| text(chain, "family") == family && text(chain, "table") == table)
            .map(|chain| text(chain, "name"))
            .collect();
        names.sort();
        names
    }

    /// One chain as nft describes it: hook, priority, policy.
    pub fn chain(&self, table: &str, name: &str) -> Option<&Value> {
        self.each("chain").find(|chain| text(chain, "table") == table && text(chain, "name") == name)
    }

    /// The rules of a chain, as nft describes them, in order.
    pub fn rules<'a>(&'a self, table: &'a str, chain: &'a str) -> impl Iterator<Item = &'a Value> {
        self.each("rule").filter(move |rule| text(rule, "table") == table && text(rule, "chain") == chain)
    }

    /// All sets and maps, in nft's order. The keys of a map of ranges of one prefix length are read as prefixes.
    pub fn sets(&self) -> Vec<Set> {
        self.each("set").chain(self.each("map")).map(Set::read).collect()
    }

    /// One set by name.
    ///
    /// # Errors
    /// When there is none; lists those there are.
    pub fn set(&self, table: &str, name: &str) -> Outcome<Set> {
        let mut sets = self.sets();
        match sets.iter().position(|set| set.table == table && set.name == name) {
            Some(at) => Ok(sets.swap_remove(at)),
            None => {
                let names: Vec<_> = sets.iter().map(|set| format!("{} {}", set.table, set.name)).collect();
                Err(Failure::new(format!("no set {name} in table {table}, only: {}", names.join(", "))))
            }
        }
    }

    /// Packets and bytes of every named counter, by `table/name`.
    pub fn counters(&self) -> BTreeMap<String, (u64, u64)> {
        let number = |counter: &Value, key: &str| counter[key].as_u64().unwrap_or(0);
        self.each("counter")
            .map(|counter| {
                let name = format!("{}/{}", text(counter, "table"), text(counter, "name"));
                (name, (number(counter, "packets"), number(counter, "bytes")))
            })
            .collect()
    }

    /// Packets counted on their way to a drop or a reject in the `crowdsec…` tables: by the per-origin named
    /// counters, or by counters inside the rules as old bouncers have them.
    pub fn denied_packets(&self) -> u64 {
        let ours = |object: &&Value| text(object, "table").starts_with("crowdsec");
        let named = self.each("counter").filter(ours).filter(|counter| counter["name"] != "processed");
        let inline =
            self.each("rule").filter(ours).flat_map(|rule| rule["expr"].as_array().into_iter().flatten());
        let inline = inline.filter_map(|expression| expression["counter"].get("packets"));
        named.map(|counter| &counter["packets"]).chain(inline).filter_map(Value::as_u64).sum()
    }

    /// Every element of every set of the tables whose name begins with `crowdsec`, by value. An address that is in
    /// two sets counts once; the longer time is kept.
    pub fn banned(&self) -> BTreeMap<String, Element> {
        let mut banned: BTreeMap<String, Element> = BTreeMap::new();
        for set in self.sets().into_iter().filter(|set| set.table.starts_with("crowdsec") && set.bans()) {
            for element in set.elements {
                let kept = banned.entry(element.value.clone()).or_insert_with(|| element.clone());
                if element.expires > kept.expires {
                    *kept = element;
                }
            }
        }
        banned
    }

    /// Whether exactly this value (see [`Element::value`]) is in one of the `crowdsec…` tables' sets.
    pub fn bans(&self, value: &str) -> bool {
        let banned = self.banned();
        // nft prints addresses in their shortest form; a story may write another.
        let address = value.parse::<IpAddr>().map(|address| address.to_string());
        let prefix = || value.parse::<ipnet::IpNet>().map(|prefix| prefix.to_string());
        let canonical = address.or_else(|_| prefix());
        banned.contains_key(canonical.as_deref().unwrap_or(value))
    }
}

/// The prefix length of a set's elements by its name, if they are ranges of one length.
pub(crate) fn range_length(set: &str) -> Option<u8> {
    set.rsplit_once(".ranges-").and_then(|(_, length)| length.parse().ok())
}

/// Whether a set of this name contains bans, and not exemptions or gate cells.
pub(crate) fn bans(set: &str) -> bool {
    !set.ends_with(".allow")
        && !set.contains(".gate-")
        && !set.contains(".inner-")
        && !set.contains(".front-")
}

impl Set {
    fn read(set: &Value) -> Self {
        let list = |key: &str| set[key].as_array().cloned().unwrap_or_default();
        let name = text(set, "name");
        let length = range_length(&name);
        let mut elements: Vec<_> = list("elem").iter().map(Element::read).collect();
        for element in &mut elements {
            element.value.extend(length.map(|length| format!("/{length}")));
        }
        Self {
            family: text(set, "family"),
            table: text(set, "table"),
            name,
            kind: set["type"].as_str().map_or_else(|| set["type"].to_string(), str::to_owned),
            flags: list("flags").iter().filter_map(|flag| flag.as_str().map(str::to_owned)).collect(),
            elements,
        }
    }

    /// Whether it contains bans.
    pub fn bans(&self) -> bool {
        bans(&self.name)
    }

    /// Its element of this value.
    pub fn element(&self, value: &str) -> Option<&Element> {
        self.elements.iter().find(|element| element.value == value)
    }
}

impl Element {
    fn read(element: &Value) -> Self {
        // `"192.0.2.1"` bare, or `{"elem": {"val": …, "timeout": 60, "expires": 59}}`; in a map the first of a pair.
        let element = element.get(0).unwrap_or(element);
        let (value, about) = match element.get("elem") {
            Some(about) => (&about["val"], Some(about)),
            None => (element, None),
        };
        let seconds = |key: &str| about.and_then(|about| about[key].as_u64());
        let comment = about.and_then(|about| about["comment"].as_str()).map(str::to_owned);
        Self { value: spell(value), timeout: seconds("timeout"), expires: seconds("expires"), comment }
    }
}

/// An element's value in one line.
fn spell(value: &Value) -> String {
    if let Some(prefix) = value.get("prefix") {
        return format!("{}/{}", spell(&prefix["addr"]), prefix["len"]);
    }
    if let Some(ends) = value.get("range").and_then(Value::as_array) {
        return ends.iter().map(spell).collect::<Vec<_>>().join("-");
    }
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn elements_are_read_in_every_form_nft_prints() {
        for (printed, value, timeout) in [
            (json!("192.0.2.1"), "192.0.2.1", None),
            (json!({"elem": {"val": "192.0.2.1", "timeout": 60, "expires": 59}}), "192.0.2.1", Some(60)),
            (json!({"prefix": {"addr": "192.0.2.0", "len": 24}}), "192.0.2.0/24", None),
            (
                json!({"elem": {"val": {"range": ["192.0.2.3", "192.0.2.9"]}, "timeout": 5}}),
                "192.0.2.3-192.0.2.9",
                Some(5),
            ),
        ] {
            let element = Element::read(&printed);
            assert_eq!((element.value.as_str(), element.timeout), (value, timeout), "{printed}");
        }
    }
}
