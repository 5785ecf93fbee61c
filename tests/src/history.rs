//! Records the bans and unbans of a host's kernel, from before the first ban: a check that no change was skipped on the
//! way to the current state.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::Host;
use crate::nft::{bans, range_length};
use crate::nft_monitor::NftMonitor;
use crate::outcome::{Failure, Outcome};
use crate::world::World;

/// Records every change of a host's sets until dropped.
pub struct History {
    changes: NftMonitor,
}

/// One moment: what one transaction of the kernel's changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    /// Banned from then on.
    pub banned: BTreeSet<String>,
    /// No longer banned from then on.
    pub lifted: BTreeSet<String>,
}

impl History {
    /// Starts recording, and returns once changes are received.
    ///
    /// # Errors
    /// When nft cannot be started or reports nothing.
    pub fn on(world: &World, host: &Host) -> Outcome<Self> {
        Ok(Self { changes: NftMonitor::on(world, host)? })
    }

    /// All moments so far in which something was banned or lifted, oldest first. An element that is replaced by one
    /// that ends at another time, or moves to another set, was banned all along.
    ///
    /// # Errors
    /// When changes came faster than nft could report them.
    pub fn moments(&self) -> Outcome<Vec<Moment>> {
        read(&self.changes.so_far()?)
    }

    /// Without waiting: the latest changes may be missing; otherwise as [`moments`](Self::moments).
    ///
    /// # Errors
    /// As [`moments`](Self::moments).
    pub fn glance(&self) -> Outcome<Vec<Moment>> {
        read(&self.changes.recorded())
    }

    /// Checks that the host has seen every one of these: `(value, true)` for banned, `(value, false)` for lifted, in
    /// the order in which the LAPI has acknowledged them. What was banned and lifted several times must have come and
    /// gone as often.
    ///
    /// # Errors
    /// When something was skipped; names the first few.
    pub fn holds_all(&self, told: &[(String, bool)]) -> Outcome {
        let mut wanted: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
        for (value, banned) in told {
            wanted.entry(value).or_default().push(*banned);
        }
        let mut seen: BTreeMap<String, Vec<bool>> = BTreeMap::new();
        for moment in self.moments()? {
            let lifted = moment.lifted.into_iter().map(|value| (value, false));
            for (value, banned) in lifted.chain(moment.banned.into_iter().map(|value| (value, true))) {
                seen.entry(value).or_default().push(banned);
            }
        }
        let nothing = Vec::new();
        let skipped: Vec<String> = wanted
            .iter()
            .map(|(value, wanted)| (value, wanted, seen.get(*value).unwrap_or(&nothing)))
            .filter(|(_, wanted, seen)| wanted != seen)
            .map(|(value, wanted, seen)| format!("{value}: told {wanted:?}, seen {seen:?}"))
            .collect();
        if skipped.is_empty() {
            return Ok(());
        }
        let some = skipped.iter().take(8).cloned().collect::<Vec<_>>().join("; ");
        Err(Failure::new(format!("{} of {} addresses skipped a change: {some}", skipped.len(), wanted.len())))
    }
}

impl Moment {
    /// Checks that these values, in this order, were first banned in this order: none in a moment before one that
    /// precedes it. Those of one moment came together.
    ///
    /// # Errors
    /// Names the first that came too soon, or never.
    pub fn in_order(moments: &[Self], values: &[String]) -> Outcome {
        let mut latest = 0;
        for value in values {
            let at = moments.iter().position(|moment| moment.banned.contains(value));
            match at {
                None => return Err(Failure::new(format!("{value} was never banned"))),
                Some(at) if at < latest => {
                    return Err(Failure::new(format!("{value} was banned before those that precede it")));
                }
                Some(at) => latest = at,
            }
        }
        Ok(())
    }
}

/// Reads the output of `nft monitor`: changes, and after those of each transaction the line that names it.
fn read(log: &str) -> Outcome<Vec<Moment>> {
    let mut moments = Vec::new();
    // How many sets hold a value now, and which values have been touched since the last transaction ended.
    let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut before: BTreeMap<String, bool> = BTreeMap::new();
    let touch =
        |value: &str, holders: &BTreeMap<String, BTreeSet<String>>, before: &mut BTreeMap<String, bool>| {
            before
                .entry(value.to_owned())
                .or_insert_with(|| holders.get(value).is_some_and(|sets| !sets.is_empty()));
        };
    for line in log.lines() {
        if line.contains("lost some netlink events") {
            return Err(Failure::new("nft monitor could not keep up with the changes"));
        }
        if line.starts_with("# new generation") {
            let mut moment = Moment::default();
            for (value, held) in std::mem::take(&mut before) {
                let holds = holders.get(&value).is_some_and(|sets| !sets.is_empty());
                match (held, holds) {
                    (false, true) => drop(moment.banned.insert(value)),
                    (true, false) => drop(moment.lifted.insert(value)),
                    _ => {}
                }
            }
            if moment != Moment::default() {
                moments.push(moment);
            }
            continue;
        }
        let (add, rest) = match (line.strip_prefix("add element "), line.strip_prefix("delete element ")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => {
                // A set that goes takes its elements with it.
                let kinds = ["delete set ", "flush set ", "delete map ", "flush map "];
                if let Some(set) = kinds.into_iter().find_map(|kind| line.strip_prefix(kind)) {
                    let values: Vec<String> = holders.keys().cloned().collect();
                    for value in values {
                        touch(&value, &holders, &mut before);
                        holders.entry(value).or_default().remove(set.trim());
                    }
                }
                continue;
            }
        };
        let Some((set, elements)) = rest.split_once(" { ") else { continue };
        if !bans(set) {
            continue;
        }
        for element in elements.trim_end_matches([' ', '}']).split(", ") {
            let mut value = element.split_whitespace().next().unwrap_or_default().to_owned();
            value.extend(range_length(set).map(|length| format!("/{length}")));
            touch(&value, &holders, &mut before);
            let sets = holders.entry(value).or_default();
            if add {
                sets.insert(set.to_owned())
            } else {
                sets.remove(set)
            };
        }
    }
    Ok(moments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_what_a_transaction_changed_in_the_end() {
        let log = "\
add table ip crowdsec
add set ip crowdsec a { type ipv4_addr; }
add element ip crowdsec a { 192.0.2.1 timeout 1h expires 59m, 192.0.2.2 timeout 1h }
# new generation 2 by process 7 (palisade)
delete element ip crowdsec a { 192.0.2.1 timeout 1h }
add element ip crowdsec a { 192.0.2.1 timeout 2h }
add element ip crowdsec b { 192.0.2.2 }
# new generation 3 by process 7 (palisade)
delete element ip crowdsec a { 192.0.2.1 timeout 2h }
delete element ip crowdsec a { 192.0.2.2 timeout 1h }
# new generation 4 by process 7 (palisade)
delete set ip crowdsec b
# new generation 5 by process 7 (palisade)
add element ip crowdsec a { 192.0.2.9 }
";
        let set = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<BTreeSet<_>>();
        let moments = read(log).unwrap();
        let order = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
            Moment::in_order(&moments, &values).map_err(|failure| failure.to_string())
        };
        order(&["192.0.2.2", "192.0.2.1"]).unwrap();
        assert_eq!(order(&["192.0.2.1", "192.0.2.9"]).unwrap_err(), "192.0.2.9 was never banned");
        let told: Vec<_> = moments.into_iter().map(|moment| (moment.banned, moment.lifted)).collect();
        assert_eq!(
            told,
            [
                (set(&["192.0.2.1", "192.0.2.2"]), set(&[])),
                (set(&[]), set(&["192.0.2.1"])),
                (set(&[]), set(&["192.0.2.2"])),
            ]
        );
    }
}
