//! Checks the configuration file and completes it with defaults. Pure: nothing outside the file is read.

use std::time::Duration;

use palisade_bouncer::run::Note;
use palisade_daemon::Problems;
use palisade_wire::GoDuration;

use super::{
    Allow, Config, Deny, DenyLog, Family, Hook, LogRate, Mode, PresentAs, RatePeriod, RejectWith,
    ShortestPrefix,
    file::{AllowFile, ConfigFile, FamilyFile, NftablesFile, ShortestPrefixFile},
    words::{self, LONGEST_LOG_PREFIX, LONGEST_NAME, LONGEST_SET_PREFIX},
};

/// The default rate of log lines.
// The stock bouncer logs every packet, so that a flood of packets becomes a flood of log lines.
const DEFAULT_LOG_RATE: LogRate = LogRate { packets: 10, per: RatePeriod::Second };

/// The default time between two comparisons with the kernel.
// Changes by other programs are mostly noticed at once, through notifications. This finds the rest.
const DEFAULT_RECONCILE_INTERVAL: Duration = Duration::from_secs(60);

impl ConfigFile {
    /// Checks everything and reports all problems at once, or returns the configuration with messages for the operator.
    pub fn check(self) -> Result<(Config, Vec<Note>), Problems> {
        let mut check = Check { wrong: Problems::new(), notes: Vec::new() };
        check.ignored(&self);
        let mode = check.mode(self.mode.as_deref());
        let NftablesFile { ipv4, ipv6 } = self.nftables.unwrap_or_default();
        let v4 = check.family(&V4, ipv4, self.disable_ipv4, self.blacklists_ipv4);
        let v6 = check.family(&V6, ipv6, self.disable_ipv6, self.blacklists_ipv6);
        if v4.is_none() && v6.is_none() {
            let key = if self.disable_ipv4 == Some(true) { "disable_ipv4" } else { "nftables.ipv4.enabled" };
            check.wrong.add(key, "both IPv4 and IPv6 disabled, doing nothing; enable one of them");
        }
        let hooks = check.hooks(self.nftables_hooks.unwrap_or_default());
        let deny = check.deny(self.deny_action, self.reject_with.as_deref(), &hooks, [&v4, &v6]);
        let log = check.log(
            self.deny_log,
            self.deny_log_prefix,
            self.deny_log_rate.as_deref(),
            self.deny_log_group,
        );
        let allow = check.allow(self.allow.unwrap_or_default());
        let types = check.types(self.supported_decisions_types.unwrap_or_default());
        let present_as = check.present_as(self.present_as.as_deref());
        let reconcile_interval = check.reconcile_interval(self.reconcile_interval);
        let shortest_prefix = check.shortest_prefix(self.shortest_prefix.unwrap_or_default());
        let config = Config {
            // Placeholders: with a problem recorded, the configuration is not returned.
            mode: mode.unwrap_or(Mode::DryRun),
            v4,
            v6,
            hooks,
            deny,
            log,
            block_outbound: self.block_outbound.unwrap_or(false),
            allow,
            // On by default: a ban of the LAPI's address would cut off the decision that lifts it.
            protect_lapi: self.protect_lapi.unwrap_or(true),
            drop_established: self.drop_established.unwrap_or(false),
            keep_on_stop: self.keep_on_stop.unwrap_or(false),
            types,
            present_as,
            shortest_prefix,
            reconcile_interval,
        };
        let notes = check.notes;
        check.wrong.or((config, notes))
    }
}

/// The names and defaults that differ between the families.
struct Defaults {
    name: &'static str,
    block: &'static str,
    disable_key: &'static str,
    set_key: &'static str,
    table: &'static str,
    chain: &'static str,
    set: &'static str,
}

const V4: Defaults = Defaults {
    name: "IPV4",
    block: "nftables.ipv4",
    disable_key: "disable_ipv4",
    set_key: "blacklists_ipv4",
    // The stock bouncer's names, so that its objects are adopted and its dashboards go on to work.
    table: "crowdsec",
    chain: "crowdsec-chain",
    set: "crowdsec-blacklists",
};

const V6: Defaults = Defaults {
    name: "IPV6",
    block: "nftables.ipv6",
    disable_key: "disable_ipv6",
    set_key: "blacklists_ipv6",
    table: "crowdsec6",
    chain: "crowdsec6-chain",
    set: "crowdsec6-blacklists",
};

struct Check {
    wrong: Problems,
    notes: Vec<Note>,
}

impl Check {
    /// Records keys that have no effect, at the stock bouncer's levels.
    fn ignored(&mut self, file: &ConfigFile) {
        if file.pid_dir.is_some() {
            self.notes.push(Note::debug("pid_dir is deprecated and ignored"));
        }
        match file.daemonize {
            Some(true) => self.notes.push(Note::debug("daemonize is deprecated and ignored")),
            Some(false) => {
                self.notes.push(Note::warn(
                    "daemonize: false is deprecated, it is treated as always true; remove the key",
                ));
            }
            None => {}
        }
        if let Some(pf) = &file.pf {
            if pf.batch_size.is_some() {
                let text = "Option pf.batch_size is deprecated and ignored, all IPs are loaded at once";
                self.notes.push(Note::warn(text));
            }
            if pf.anchor_name.is_some() {
                self.notes.push(Note::debug("pf.anchor_name has no effect: there is no pf on this system"));
            }
        }
        for (key, there) in [
            ("ipset_type", file.ipset_type.is_some()),
            ("ipset_size", file.ipset_size.is_some()),
            ("ipset_disable_timeouts", file.ipset_disable_timeouts.is_some()),
            ("iptables_chains", file.iptables_chains.is_some()),
            ("iptables_v4_chains", file.iptables_v4_chains.is_some()),
            ("iptables_v6_chains", file.iptables_v6_chains.is_some()),
            ("iptables_add_rule_comments", file.iptables_add_rule_comments.is_some()),
        ] {
            if there {
                self.notes.push(Note::debug(format!("{key} has no effect with nftables")));
            }
        }
    }

    fn mode(&mut self, mode: Option<&str>) -> Option<Mode> {
        let refusal = match mode.unwrap_or_default() {
            "nftables" => return Some(Mode::Nftables),
            "dry-run" => return Some(Mode::DryRun),
            "" => "config does not contain 'mode'; set `mode: nftables`".to_owned(),
            mode @ ("iptables" | "ipset") => format!(
                "firewall '{mode}' is not supported by this bouncer, which speaks nftables itself; set `mode: nftables` \
                 (it works beside iptables rules), or keep the package crowdsec-firewall-bouncer-iptables"
            ),
            "pf" => "firewall 'pf' is not supported by this bouncer, which is for Linux; keep the package \
                     crowdsec-firewall-bouncer on systems with pf"
                .to_owned(),
            mode if mode.starts_with("${") => format!(
                "firewall '{mode}' is not supported: this placeholder was not filled in when the package was installed; \
                 set `mode: nftables`"
            ),
            mode => format!("firewall '{mode}' is not supported; set `mode: nftables` or `mode: dry-run`"),
        };
        self.wrong.add("mode", refusal);
        None
    }

    fn family(
        &mut self,
        defaults: &Defaults,
        file: Option<FamilyFile>,
        disable: Option<bool>,
        set: Option<String>,
    ) -> Option<Family> {
        let file = file.unwrap_or_default();
        let disabled = disable.unwrap_or(false);
        // In the stock bouncer `enabled: true`, which its shipped file contains, silently overrides `disable_ipv6`.
        // Here the family stays disabled, and the contradiction is reported.
        if disabled && file.enabled == Some(true) {
            self.notes.push(Note::warn(format!(
                "{key}: true and {block}.enabled: true contradict each other; {name} stays disabled. Remove one of them",
                key = defaults.disable_key,
                block = defaults.block,
                name = defaults.name
            )));
        }
        if disabled || file.enabled == Some(false) {
            self.notes.push(Note::info(format!("{} is disabled", defaults.name)));
            return None;
        }
        let or = |name: Option<String>, default: &str| {
            name.filter(|name| !name.is_empty()).unwrap_or(default.to_owned())
        };
        let family = Family {
            table: or(file.table, defaults.table),
            chain: or(file.chain, defaults.chain),
            set: or(set, defaults.set),
            // The default of the stock bouncer; its packaged file has -10.
            priority: file.priority.unwrap_or(0),
            set_only: file.set_only.unwrap_or(false),
            exclusive: file.exclusive.unwrap_or(false),
        };
        if family.exclusive && !family.set_only {
            self.notes.push(Note::warn(format!(
                "{}.exclusive means nothing without set-only: the table is ours anyway",
                defaults.block
            )));
        }
        self.name(&format!("{}.table", defaults.block), &family.table, LONGEST_NAME);
        self.name(
            defaults.set_key,
            &family.set,
            // In managed mode an origin follows the prefix; in set-only mode it is the whole name.
            if family.set_only { LONGEST_NAME } else { LONGEST_SET_PREFIX },
        );
        if !family.set_only {
            // The longest hook.
            let suffix = "-postrouting".len();
            self.name(&format!("{}.chain", defaults.block), &family.chain, LONGEST_NAME - suffix);
        }
        Some(family)
    }

    fn name(&mut self, key: &str, name: &str, longest: usize) {
        if let Some(fault) = words::name_fault(name, longest) {
            self.wrong.add(key, fault);
        }
    }

    fn hooks(&mut self, words: Vec<String>) -> Vec<Hook> {
        let mut hooks = Vec::new();
        for (index, word) in words.iter().enumerate() {
            match words::hook(word) {
                Ok(hook) if hooks.contains(&hook) => {}
                Ok(hook) => hooks.push(hook),
                Err(fault) => self.wrong.add(format!("nftables_hooks[{index}]"), fault),
            }
        }
        if words.is_empty() {
            hooks.push(Hook::Input);
        }
        hooks
    }

    fn deny(
        &mut self,
        action: Option<String>,
        reject_with: Option<&str>,
        hooks: &[Hook],
        families: [&Option<Family>; 2],
    ) -> Deny {
        let with = match reject_with.filter(|word| !word.is_empty()) {
            None => RejectWith::Stock,
            Some(word) => words::reject_with(word).unwrap_or_else(|| {
                let text =
                    "it must be one of port-unreachable, admin-prohibited, host-unreachable, tcp-reset";
                self.wrong.add("reject_with", text);
                RejectWith::Stock
            }),
        };
        let action = action.unwrap_or_default().to_ascii_uppercase();
        match action.as_str() {
            "" | "DROP" => {
                if reject_with.is_some() {
                    self.notes.push(Note::warn("reject_with has no effect without `deny_action: REJECT`"));
                }
                Deny::Drop
            }
            "REJECT" => {
                // In set-only mode the operator's rules deny, and `deny_action` has no effect.
                let managed = families.into_iter().flatten().any(|family| !family.set_only);
                if managed && hooks.contains(&Hook::Postrouting) {
                    self.wrong.add(
                        "deny_action",
                        "the kernel refuses to reject in postrouting; use DROP, or take postrouting out of nftables_hooks",
                    );
                }
                Deny::Reject(with)
            }
            _ => {
                self.wrong.add(
                    "deny_action",
                    format!("invalid deny_action '{action}', must be one of DROP, REJECT"),
                );
                Deny::Drop
            }
        }
    }

    fn log(
        &mut self,
        on: Option<bool>,
        prefix: Option<String>,
        rate: Option<&str>,
        group: Option<u16>,
    ) -> Option<DenyLog> {
        let rate = match rate {
            None => Some(DEFAULT_LOG_RATE),
            Some(text) => words::log_rate(text).unwrap_or_else(|| {
                self.wrong.add(
                    "deny_log_rate",
                    "it must be a number per second, minute, hour or day such as 10/second, or unlimited",
                );
                None
            }),
        };
        let prefix =
            prefix.filter(|prefix| !prefix.is_empty()).unwrap_or_else(|| "crowdsec drop: ".to_owned());
        if prefix.len() > LONGEST_LOG_PREFIX {
            self.wrong
                .add("deny_log_prefix", format!("the kernel takes {LONGEST_LOG_PREFIX} bytes; shorten it"));
        }
        if prefix.contains(|c: char| c.is_control() || c == '"') {
            self.wrong
                .add("deny_log_prefix", "quotes and control characters cannot be in a rule; leave them out");
        }
        // Checked even when logging is off, so that switching it on reveals no new problem.
        on.unwrap_or(false).then_some(DenyLog { prefix, rate, group })
    }

    fn allow(&mut self, file: AllowFile) -> Allow {
        let mut nets = Vec::new();
        let mut allow = Allow::default();
        for (index, text) in file.addresses.unwrap_or_default().iter().enumerate() {
            let key = format!("allow.addresses[{index}]");
            let Some((net, cleared)) = words::allowed_net(text) else {
                self.wrong.add(key, "this is neither an address nor a prefix such as 192.0.2.0/24");
                continue;
            };
            // A mistake such as 192.0.2.1/2 would let a quarter of all addresses through.
            if cleared {
                self.notes
                    .push(Note::warn(format!("{key}: {text} is read as {net}, all of which is let through")));
            }
            if !nets.contains(&net) {
                nets.push(net);
            }
        }
        allow.nets = nets.into_iter().collect();
        for (index, name) in file.interfaces.unwrap_or_default().into_iter().enumerate() {
            match words::interface_fault(&name) {
                Some(fault) => self.wrong.add(format!("allow.interfaces[{index}]"), fault),
                None if allow.interfaces.contains(&name) => {}
                None => allow.interfaces.push(name),
            }
        }
        allow
    }

    fn types(&mut self, words: Vec<String>) -> Vec<String> {
        let mut types: Vec<String> = Vec::new();
        for (index, word) in words.iter().enumerate() {
            // Decision types are compared in lower case. In the stock bouncer an entry in upper case never matches.
            let lower = word.trim().to_lowercase();
            if lower.is_empty() {
                self.wrong.add(
                    format!("supported_decisions_types[{index}]"),
                    "a decision type is missing; for example ban",
                );
            } else if !types.contains(&lower) {
                if lower != *word {
                    self.notes
                        .push(Note::warn(format!("supported_decisions_types: {word} is read as {lower}")));
                }
                types.push(lower);
            }
        }
        if words.is_empty() {
            types.push("ban".to_owned());
        }
        types
    }

    fn present_as(&mut self, word: Option<&str>) -> PresentAs {
        match word.unwrap_or_default() {
            "" | "palisade-firewall" => PresentAs::Palisade,
            "crowdsec-firewall-bouncer" => PresentAs::Stock,
            _ => {
                self.wrong.add("present_as", "it must be palisade-firewall or crowdsec-firewall-bouncer");
                PresentAs::Palisade
            }
        }
    }

    fn shortest_prefix(&mut self, file: ShortestPrefixFile) -> ShortestPrefix {
        let default = ShortestPrefix::default();
        let mut length = |key: &str, given: Option<u8>, default: u8, longest: u8| match given {
            None => default,
            Some(length) if length <= longest => length,
            Some(_) => {
                self.wrong.add(key, format!("it must be a prefix length from 0 to {longest}"));
                default
            }
        };
        ShortestPrefix {
            v4: length("shortest_prefix.ipv4", file.ipv4, default.v4, 32),
            v6: length("shortest_prefix.ipv6", file.ipv6, default.v6, 128),
        }
    }

    fn reconcile_interval(&mut self, given: Option<GoDuration>) -> Duration {
        let Some(given) = given else { return DEFAULT_RECONCILE_INTERVAL };
        match given.to_std() {
            Some(interval) if interval >= Duration::from_secs(1) => interval,
            _ => {
                self.wrong.add("reconcile_interval", "it must be at least 1s");
                DEFAULT_RECONCILE_INTERVAL
            }
        }
    }
}
