//! Computes the effect of the configuration and the decisions on packets of an address or range.
//!
//! Pure: the kernel is not read. `explain` compares the result with the kernel.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_bouncer::control::{Effect, Subject};
use palisade_cache::{Snapshot, Target};

use crate::config::{Deny, Family, IpFamily, Mode};
use crate::enforcer_config::EnforcerConfig;
use crate::exempt::{self, Reason};
use crate::layout::family_of;
use crate::status::Status;

/// The expected effect on packets of an address or range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// All of them are denied.
    Denied,
    /// Those of a part of the range are denied.
    DeniedInPart,
    /// None is denied.
    LetThrough(String),
    /// The operator's rules decide, and the set holds it.
    InSet,
    /// The operator's rules decide, and the set does not hold it.
    NotInSet(String),
}

/// How much of a range is exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exempt {
    Nothing,
    Part,
    All(Reason),
}

/// The expected effect on packets of `net`, given the decisions that overlap it. `takes_ranges`: whether the operator's
/// set of the family takes ranges; `None` while there is no such set.
pub(crate) fn expected(
    enforcer_config: &EnforcerConfig,
    takes_ranges: Option<bool>,
    net: IpNet,
    decisions: &[IpNet],
) -> Expected {
    let config = &enforcer_config.config;
    let ip = family_of(net.addr());
    if config.mode == Mode::DryRun {
        return Expected::LetThrough("dry-run mode: nothing is enforced".to_owned());
    }
    let Some(family) = family(enforcer_config, ip) else {
        return Expected::LetThrough(format!("{} is disabled", name(ip)));
    };
    let not = |reason: String| {
        if family.set_only { Expected::NotInSet(reason) } else { Expected::LetThrough(reason) }
    };
    if family.set_only && takes_ranges.is_none() {
        return not("there is no such set that can be filled".to_owned());
    }
    // In the order of the rules: what is exempt is let through before any ban.
    let exempt = exempt(enforcer_config, net);
    if let Exempt::All(reason) = exempt {
        return not(reason.as_str().to_owned());
    }
    let singles_only = family.set_only && takes_ranges == Some(false);
    let is_host = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
    let shortest = if ip == IpFamily::V4 { config.shortest_prefix.v4 } else { config.shortest_prefix.v6 };
    let enforced =
        |decision: &&IpNet| decision.prefix_len() >= shortest && (is_host(decision) || !singles_only);
    let whole = decisions.iter().filter(|decision| decision.contains(&net));
    if whole.clone().any(|decision| enforced(&decision)) {
        return match exempt {
            // Covered by a decision, but a part of the range is exempt.
            Exempt::Part => Expected::DeniedInPart,
            _ if family.set_only => Expected::InSet,
            _ => Expected::Denied,
        };
    }
    if decisions.iter().any(|decision| enforced(&decision)) {
        return Expected::DeniedInPart;
    }
    // Nothing is enforced. Of the decisions that cover all of it, the narrowest gives the most useful reason.
    match whole.max_by_key(|decision| decision.prefix_len()) {
        None => not("no decision covers it".to_owned()),
        Some(wide) if wide.prefix_len() < shortest => {
            let version = if ip == IpFamily::V4 { "ipv4" } else { "ipv6" };
            not(format!("{wide} is wider than shortest_prefix.{version} ({shortest}) allows"))
        }
        Some(_) => not("the set holds single addresses only".to_owned()),
    }
}

/// The effect of the running bouncer on packets of a subject.
pub(crate) fn effect(
    enforcer_config: &EnforcerConfig,
    status: &Status,
    snapshot: &Snapshot,
    subject: &Subject,
) -> Effect {
    let net = match subject {
        Subject::Address(address) => IpNet::from(*address),
        Subject::Range(net) => *net,
        Subject::Named { scope, .. } => {
            let reason = format!("decisions of scope {scope} are not enforced");
            return Effect { denied: Some(false), reason };
        }
    };
    let ip = family_of(net.addr());
    let operators = status.in_force.iter().find(|part| part.family == ip);
    let takes_ranges = operators.map(|part| part.takes_ranges);
    let expected = expected(enforcer_config, takes_ranges, net, &overlapping(snapshot, net));
    let set = family(enforcer_config, ip).map_or("", |family| &family.set);
    // Before the first transaction the kernel holds what an earlier process left, which is not known here.
    if enforcer_config.config.mode != Mode::DryRun
        && family(enforcer_config, ip).is_some()
        && !status.is_ready()
    {
        let reason = status.failing.as_ref().map_or_else(String::new, |failing| format!(": {failing}"));
        return Effect { denied: None, reason: format!("decisions are not in force yet{reason}") };
    }
    let mut effect = described(enforcer_config, &expected, set);
    if let Some(failing) = &status.failing {
        effect.reason.push_str(&format!("; the kernel may differ: {failing}"));
    } else if status.generation < snapshot.generation() && enforcer_config.config.mode != Mode::DryRun {
        effect.reason.push_str("; the last change is not in force yet");
    }
    effect
}

/// The expected effect as a response to `lookup`.
pub(crate) fn described(enforcer_config: &EnforcerConfig, expected: &Expected, set: &str) -> Effect {
    let (denied, reason) = match expected {
        Expected::Denied => (Some(true), verdict(enforcer_config.config.deny).to_owned()),
        Expected::DeniedInPart => (None, "a part of it is denied".to_owned()),
        Expected::LetThrough(reason) => (Some(false), reason.clone()),
        Expected::InSet => (None, format!("the operator's rules decide: it is in set {set}")),
        Expected::NotInSet(reason) => {
            (None, format!("the operator's rules decide: it is not put in set {set}: {reason}"))
        }
    };
    Effect { denied, reason }
}

/// What is done to a denied packet.
fn verdict(deny: Deny) -> &'static str {
    match deny {
        Deny::Drop => "drop",
        Deny::Reject(_) => "reject",
    }
}

/// The name of a family in texts.
pub(crate) fn name(ip: IpFamily) -> &'static str {
    match ip {
        IpFamily::V4 => "IPv4",
        IpFamily::V6 => "IPv6",
    }
}

/// The objects of a family, unless it is disabled.
pub(crate) fn family(enforcer_config: &EnforcerConfig, ip: IpFamily) -> Option<&Family> {
    enforcer_config.config.families().find(|(of, _)| *of == ip).map(|(_, family)| family)
}

fn exempt(enforcer_config: &EnforcerConfig, net: IpNet) -> Exempt {
    let (first, last) = (net.network(), net.broadcast());
    let overlaps = |(from, to): &&(IpAddr, IpAddr)| *from <= last && first <= *to;
    match exempt::intervals(enforcer_config).iter().find(overlaps) {
        None => Exempt::Nothing,
        Some((from, to)) if *from <= first && last <= *to => {
            // An interval is merged from prefixes with different reasons; that of the first address is reported.
            exempt::reason(enforcer_config, first).map_or(Exempt::Part, Exempt::All)
        }
        Some(_) => Exempt::Part,
    }
}

fn overlapping(snapshot: &Snapshot, net: IpNet) -> Vec<IpNet> {
    let target = |target: &Target<'_>| match target {
        Target::Net(net) => Some(*net),
        Target::Name(_) => None,
    };
    if net.prefix_len() == net.max_prefix_len() {
        // An index answers for an address; for a range the whole table is read.
        let covering = snapshot.covering(net.addr());
        return covering.iter().filter_map(|decision| target(&decision.target)).collect();
    }
    let nets = snapshot.decisions().filter_map(|decision| target(&decision.target));
    nets.filter(|other| other.contains(&net) || net.contains(other)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_cache::{Batch, Ledger, Mode as Apply, Policy, Reason as Why, Timestamp};

    use super::*;
    use crate::config::{Allow, Config, RejectWith};
    use crate::local::LocalNetwork;
    use crate::status::InForce;

    fn enforcer_config(config: Config) -> EnforcerConfig {
        let own = vec!["192.0.2.10".parse().unwrap()];
        EnforcerConfig {
            config: Arc::new(config),
            protected: vec!["192.0.2.20".parse().unwrap()],
            local: LocalNetwork { addresses: own, ..LocalNetwork::default() },
        }
    }

    fn allowing() -> Config {
        let nets =
            ["192.0.2.30/32", "192.0.3.0/24"].map(|net| net.parse::<IpNet>().unwrap()).into_iter().collect();
        Config { allow: Allow { nets, interfaces: Vec::new() }, ..crate::testing::config() }
    }

    fn set_only() -> Config {
        let mut config = allowing();
        if let Some(family) = &mut config.v4 {
            family.set_only = true;
        }
        config
    }

    fn snapshot() -> Snapshot {
        let mut ledger = Ledger::new(Policy::longest_wins(), 0);
        let mut batch = Batch::new();
        for net in ["192.0.0.0/16", "192.0.2.7/32", "16.0.0.0/4", "2001:db8::/32", "198.51.100.7/32"] {
            let why = Why { remediation: "ban", origin: "cscli", scenario: "test" };
            batch.announce_net(net.parse().unwrap(), why, Timestamp::from_millis(i64::MAX / 2), 1);
        }
        ledger.apply(Apply::Everything, batch);
        ledger.snapshot()
    }

    fn status(takes_ranges: bool) -> Status {
        let part = InForce { source: "set".into(), family: IpFamily::V4, hosts: 0, ranges: 0, takes_ranges };
        Status {
            in_force_since: Some(Timestamp::from_millis(0)),
            in_force: vec![part],
            generation: u64::MAX,
            ..Status::default()
        }
    }

    fn of(config: &Config, status: &Status, subject: &str) -> (Option<bool>, String) {
        let effect = effect(&enforcer_config(config.clone()), status, &snapshot(), &subject.parse().unwrap());
        (effect.denied, effect.reason)
    }

    #[test]
    fn each_address_has_its_effect_and_reason() {
        let reject = Config { deny: Deny::Reject(RejectWith::Stock), ..allowing() };
        let dry = Config { mode: Mode::DryRun, ..allowing() };
        let v4_only = Config { v6: None, ..allowing() };
        let unprotected = Config { protect_lapi: false, ..allowing() };
        for (config, subject, denied, reason) in [
            (allowing(), "192.0.2.7", Some(true), "drop"),
            (reject, "192.0.2.8", Some(true), "reject"),
            (allowing(), "203.0.113.1", Some(false), "no decision covers it"),
            (allowing(), "192.0.2.30", Some(false), "allow.addresses has it"),
            (allowing(), "192.0.2.20", Some(false), "protect_lapi: it is the address of a LAPI"),
            (unprotected, "192.0.2.20", Some(true), "drop"),
            (allowing(), "192.0.2.10", Some(false), "it is an address of this host"),
            (allowing(), "127.0.0.1", Some(false), "it is a loopback or link-local address"),
            (allowing(), "17.1.1.1", Some(false), "16.0.0.0/4 is wider than shortest_prefix.ipv4 (8) allows"),
            (dry, "192.0.2.7", Some(false), "dry-run mode: nothing is enforced"),
            (v4_only, "2001:db8::1", Some(false), "IPv6 is disabled"),
            (allowing(), "2001:db8::1", Some(true), "drop"),
            (allowing(), "Country:FR", Some(false), "decisions of scope Country are not enforced"),
            (allowing(), "192.0.4.0/24", Some(true), "drop"),
            (allowing(), "192.0.3.0/25", Some(false), "allow.addresses has it"),
            (allowing(), "192.0.2.0/24", None, "a part of it is denied"),
            (allowing(), "198.51.100.0/24", None, "a part of it is denied"),
        ] {
            assert_eq!(of(&config, &status(true), subject), (denied, reason.to_owned()), "{subject}");
        }
    }

    #[test]
    fn in_set_only_mode_the_operators_rules_decide() {
        let set = "crowdsec-blacklists";
        for (takes_ranges, subject, reason) in [
            (true, "192.0.4.7", format!("it is in set {set}")),
            (false, "192.0.2.7", format!("it is in set {set}")),
            (false, "192.0.4.7", format!("it is not put in set {set}: the set holds single addresses only")),
            (true, "203.0.113.1", format!("it is not put in set {set}: no decision covers it")),
            (true, "192.0.2.30", format!("it is not put in set {set}: allow.addresses has it")),
        ] {
            let (denied, reported) = of(&set_only(), &status(takes_ranges), subject);
            assert_eq!(
                (denied, reported),
                (None, format!("the operator's rules decide: {reason}")),
                "{subject}"
            );
        }
        let without = Status { in_force: Vec::new(), ..status(true) };
        let (_, reported) = of(&set_only(), &without, "192.0.2.7");
        assert!(reported.ends_with("there is no such set that can be filled"), "{reported}");
    }

    #[test]
    fn what_is_not_in_force_yet_says_so() {
        let starting = Status { failing: Some("no nft".into()), ..Status::default() };
        let expected = (None, "decisions are not in force yet: no nft".to_owned());
        assert_eq!(of(&allowing(), &starting, "192.0.2.7"), expected);
        let behind = Status { generation: 0, ..status(true) };
        let expected = (Some(true), "drop; the last change is not in force yet".to_owned());
        assert_eq!(of(&allowing(), &behind, "192.0.2.7"), expected);
        let failing = Status { failing: Some("no memory".into()), ..status(true) };
        let expected = (Some(true), "drop; the kernel may differ: no memory".to_owned());
        assert_eq!(of(&allowing(), &failing, "192.0.2.7"), expected);
    }
}
