use std::path::Path;

use palisade_bouncer::run::{Bouncer as _, NoteLevel, Overrides, check};
use palisade_daemon::{Document, logs::LogTarget};

use super::*;
use crate::firewall::Firewall;

type Loaded = palisade_bouncer::run::Loaded<Config>;

fn loaded_with(base: &str, local: Option<&str>, overrides: Overrides) -> Result<Loaded, String> {
    let env = |name: &str| (name == "BOUNCER_MODE").then(|| "dry-run".to_owned());
    Document::from_text(Path::new("/etc/f.yaml"), base, local, &env)
        .and_then(|document| check::<Firewall>(document, overrides))
        .map_err(|error| error.to_string())
}

fn loaded(text: &str) -> Result<Loaded, String> {
    loaded_with(text, None, Overrides::default())
}

fn config(text: &str) -> Config {
    loaded(&format!("mode: nftables\n{text}")).unwrap().config
}

fn refusal(text: &str) -> String {
    loaded(&format!("mode: nftables\n{text}")).unwrap_err()
}

fn notes(text: &str) -> Vec<(NoteLevel, String)> {
    let notes = loaded(&format!("mode: nftables\n{text}")).unwrap().notes;
    notes.into_iter().map(|note| (note.level, note.text)).collect()
}

fn family(table: &str, chain: &str, set: &str) -> Option<Family> {
    let (table, chain, set) = (table.into(), chain.into(), set.into());
    Some(Family { table, chain, set, priority: 0, set_only: false, exclusive: false })
}

#[test]
fn defaults_are_those_of_the_stock_bouncer() {
    assert_eq!(
        config(""),
        Config {
            mode: Mode::Nftables,
            v4: family("crowdsec", "crowdsec-chain", "crowdsec-blacklists"),
            v6: family("crowdsec6", "crowdsec6-chain", "crowdsec6-blacklists"),
            hooks: vec![Hook::Input],
            deny: Deny::Drop,
            log: None,
            block_outbound: false,
            allow: Allow::default(),
            protect_lapi: true,
            drop_established: false,
            keep_on_stop: false,
            types: vec!["ban".into()],
            present_as: PresentAs::Palisade,
            shortest_prefix: ShortestPrefix { v4: 8, v6: 16 },
            reconcile_interval: Duration::from_secs(60),
        }
    );
}

#[test]
fn the_stock_file_works_unchanged_and_in_silence() {
    // As the stock package ships it, the placeholders filled in.
    let loaded = loaded(include_str!("stock.yaml")).unwrap();
    let config = loaded.config;
    assert_eq!(config.v4.as_ref().unwrap().priority, -10);
    assert_eq!(config.hooks, [Hook::Input, Hook::Forward]);
    assert_eq!(loaded.prometheus, None);
    let LogTarget::File { path, rotation } = loaded.logs.target else { panic!("logs to a file") };
    assert_eq!(path, Path::new("/var/log/crowdsec-firewall-bouncer.log"));
    assert_eq!((rotation.max_bytes, rotation.max_files, rotation.compress), (100 << 20, 3, true));
    let loud: Vec<_> = loaded.notes.iter().filter(|note| note.level != NoteLevel::Debug).collect();
    assert!(loud.is_empty(), "{loud:?}");
}

#[test]
fn modes() {
    for (text, phrase) in [
        ("", "config does not contain 'mode'"),
        ("mode:\n", "config does not contain 'mode'"),
        ("mode: whatever\n", "firewall 'whatever' is not supported"),
        ("mode: NFTABLES\n", "firewall 'NFTABLES' is not supported"),
        (
            "mode: iptables\n",
            "firewall 'iptables' is not supported by this bouncer, which speaks nftables itself",
        ),
        ("mode: ipset\n", "set `mode: nftables`"),
        ("mode: pf\n", "keep the package crowdsec-firewall-bouncer"),
        ("mode: ${BACKEND}\n", "firewall '${BACKEND}' is not supported: this placeholder was not filled in"),
    ] {
        let error = loaded(text).unwrap_err();
        assert!(error.starts_with("unable to load configuration: "), "{error}");
        assert!(error.contains(phrase), "{error}");
    }
    assert_eq!(loaded("mode: dry-run\n").unwrap().config.mode, Mode::DryRun);
    assert_eq!(
        loaded("").unwrap_err(),
        "unable to load configuration: config does not contain 'mode'; set `mode: nftables` (mode)"
    );
}

#[test]
fn a_local_file_supplies_the_mode_from_the_environment() {
    let loaded = loaded_with("api_url: x\n", Some("mode: $BOUNCER_MODE\n"), Overrides::default()).unwrap();
    assert_eq!(loaded.config.mode, Mode::DryRun);
}

#[test]
fn disabled_families_stay_disabled() {
    let text = "disable_ipv6: true\nnftables:\n  ipv6:\n    enabled: true\n";
    assert!(config(text).v6.is_none());
    let said = notes(text);
    assert!(
        said[0].0 == NoteLevel::Warn
            && said[0].1.starts_with("disable_ipv6: true and nftables.ipv6.enabled: true")
    );
    assert_eq!(said[1], (NoteLevel::Info, "IPV6 is disabled".into()));

    assert!(config("nftables: {ipv4: {enabled: no}}\n").v4.is_none());
    assert!(config("nftables: {ipv4: {enabled: yes}}\n").v4.is_some());
    assert!(config("disable_ipv4: false\nnftables: {ipv4: {enabled: off}}\n").v4.is_none());
    let phrase = "both IPv4 and IPv6 disabled, doing nothing";
    assert!(refusal("disable_ipv4: true\ndisable_ipv6: true\n").contains(phrase));
    assert!(refusal("disable_ipv4: true\nnftables: {ipv6: {enabled: false}}\n").contains(phrase));
}

#[test]
fn family_blocks() {
    let text = "blacklists_ipv4: mine\nblacklists_ipv6: ''\nnftables:\n  ipv4:\n    set-only: true\n    table: filter\n  ipv6:\n    priority: -10\n    chain: six\n";
    let config = config(text);
    let v4 = config.v4.unwrap();
    assert_eq!((v4.table.as_str(), v4.set.as_str(), v4.set_only), ("filter", "mine", true));
    let v6 = config.v6.unwrap();
    assert_eq!((v6.chain.as_str(), v6.set.as_str(), v6.priority), ("six", "crowdsec6-blacklists", -10));
}

#[test]
fn names_the_kernel_cannot_take() {
    let long = "x".repeat(250);
    assert!(
        refusal(&format!("blacklists_ipv4: {long}\n"))
            .contains("the kernel leaves room for 128; choose a shorter one")
    );
    assert!(refusal(&format!("nftables: {{ipv4: {{chain: {long}}}}}\n")).contains("leaves room for 243"));
    assert!(config(&format!("nftables: {{ipv4: {{table: {long}}}}}\n")).v4.is_some());
    assert!(
        config(&format!("blacklists_ipv4: {long}\nnftables: {{ipv4: {{set-only: true}}}}\n")).v4.is_some()
    );
    assert!(refusal("nftables: {ipv6: {table: 'a b'}}\n").contains("nft cannot read this name"));
}

#[test]
fn hooks() {
    use Hook::{Forward, Input, Output, Prerouting};
    assert_eq!(config("nftables_hooks: [input, forward, input]\n").hooks, [Input, Forward]);
    assert_eq!(config("nftables_hooks: [Prerouting, OUTPUT]\n").hooks, [Prerouting, Output]);
    assert_eq!(config("nftables_hooks: []\n").hooks, [Input]);
    assert!(
        refusal("nftables_hooks: [input, ingress]\n")
            .contains("write prerouting (nftables_hooks[1] at /etc/f.yaml:2, now \"ingress\")")
    );
    assert!(
        refusal("nftables_hooks: [imput]\n")
            .contains("must be one of prerouting, input, forward, output, postrouting")
    );
    assert!(refusal("nftables_hooks: input\n").contains("expected a list"));
    assert!(
        refusal("deny_action: reject\nnftables_hooks: [postrouting]\n")
            .contains("refuses to reject in postrouting")
    );
    assert_eq!(config("nftables_hooks: [postrouting]\n").deny, Deny::Drop);
}

#[test]
fn deny_actions() {
    for (text, deny) in [
        ("deny_action: drop\n", Deny::Drop),
        ("deny_action: Reject\n", Deny::Reject(RejectWith::Stock)),
        ("deny_action: REJECT\nreject_with: port-unreachable\n", Deny::Reject(RejectWith::PortUnreachable)),
        ("deny_action: REJECT\nreject_with: admin_prohibited\n", Deny::Reject(RejectWith::AdminProhibited)),
        (
            "deny_action: REJECT\nreject_with: icmp-host-unreachable\n",
            Deny::Reject(RejectWith::HostUnreachable),
        ),
        ("deny_action: REJECT\nreject_with: tcp reset\n", Deny::Reject(RejectWith::TcpReset)),
        ("deny_action: ''\n", Deny::Drop),
    ] {
        assert_eq!(config(text).deny, deny, "{text}");
    }
    assert!(
        refusal("deny_action: tarpit\n")
            .contains("invalid deny_action 'TARPIT', must be one of DROP, REJECT")
    );
    assert!(
        refusal("deny_action: reject\nreject_with: teapot\n").contains("must be one of port-unreachable")
    );
    assert!(notes("reject_with: tcp-reset\n")[0].1.contains("no effect without"));
}

#[test]
fn deny_log() {
    assert_eq!(config("deny_log_prefix: x\n").log, None);
    let log = config("deny_log: yes\n").log.unwrap();
    assert_eq!(
        (log.prefix.as_str(), log.rate.unwrap().to_string().as_str(), log.group),
        ("crowdsec drop: ", "10/second", None)
    );
    let log =
        config("deny_log: on\ndeny_log_prefix: 'banned '\ndeny_log_rate: unlimited\ndeny_log_group: 7\n")
            .log
            .unwrap();
    assert_eq!(log, DenyLog { prefix: "banned ".into(), rate: None, group: Some(7) });
    assert!(refusal("deny_log_rate: often\n").contains("10/second, or unlimited"));
    assert!(refusal("deny_log_group: 70000\n").contains("expected a whole number from 0 to 65535"));
    assert!(refusal(&format!("deny_log_prefix: {}\n", "x".repeat(128))).contains("127 bytes"));
    assert!(refusal("deny_log_prefix: 'a\"b'\n").contains("quotes"));
}

#[test]
fn allow_lists() {
    let text = "allow:\n  addresses: [192.0.2.1, '::ffff:198.51.100.0/120', 2001:db8::/32, 192.0.2.1]\n  interfaces: [wg0, wg0]\n";
    let allow = config(text).allow;
    let nets: Vec<String> = allow.nets.prefixes().map(|net| net.to_string()).collect();
    assert_eq!(nets, ["192.0.2.1/32", "198.51.100.0/24", "2001:db8::/32"]);
    assert_eq!(allow.interfaces, ["wg0"]);
    assert!(notes("allow: {addresses: [10.1.2.3/8]}\n")[0].1.contains("10.1.2.3/8 is read as 10.0.0.0/8"));
    let error = refusal("allow:\n  addresses:\n    - 192.0.2.1\n    - example.org\n  interfaces: ['*']\n");
    assert!(error.contains("allow.addresses[1] at /etc/f.yaml:5, now \"example.org\""), "{error}");
    assert!(error.contains("allow.interfaces[0] at /etc/f.yaml:6"), "{error}");
}

#[test]
fn other_keys() {
    assert_eq!(config("supported_decisions_types: [ban, Captcha]\n").types, ["ban", "captcha"]);
    assert_eq!(config("supported_decisions_types: []\n").types, ["ban"]);
    assert_eq!(config("present_as: crowdsec-firewall-bouncer\n").present_as, PresentAs::Stock);
    assert_eq!(
        config("reconcile_interval: 90s\nresync_interval: 1d\nstate_dir: ''\n").reconcile_interval,
        Duration::from_secs(90)
    );
    assert!(
        config("keep_on_stop: yes\ndrop_established: on\nblock_outbound: true\nprotect_lapi: no\n")
            .keep_on_stop
    );
    let loaded = config("shortest_prefix: {ipv4: 0, ipv6: 128}\n");
    assert_eq!(loaded.shortest_prefix, ShortestPrefix { v4: 0, v6: 128 });
    assert!(refusal("shortest_prefix: {ipv4: 33}\n").contains("a prefix length from 0 to 32"));
    let text = "nftables: {ipv4: {set-only: true, exclusive: true}}\n";
    assert!(config(text).v4.unwrap().exclusive);
    assert!(refusal("present_as: me\n").contains("palisade-firewall or crowdsec-firewall-bouncer"));
    assert!(refusal("reconcile_interval: 10ms\n").contains("at least 1s"));
    assert!(
        refusal("reconcile_interval: soon\n").contains("reconcile_interval at /etc/f.yaml:2, now \"soon\"")
    );
}

#[test]
fn deprecated_keys_are_said_as_loudly_as_the_stock_bouncer_says_them() {
    let said = notes(
        "pid_dir: /run\ndaemonize: true\nipset_type: nethash\niptables_chains: [INPUT]\npf: {anchor_name: ''}\n",
    );
    assert!(said.len() == 5 && said.iter().all(|(level, _)| *level == NoteLevel::Debug), "{said:?}");
    assert!(notes("daemonize: no\n")[0].1.contains("treated as always true"));
    assert_eq!(
        notes("pf: {batch_size: 2000}\n")[0],
        (
            NoteLevel::Warn,
            "Option pf.batch_size is deprecated and ignored, all IPs are loaded at once".into()
        )
    );
}

#[test]
fn unknown_keys_warn_and_are_refused_when_strict() {
    let text = "mode: nftables\nnftables:\n  ipv4:\n    set_only: true\napi_key: secret\nretry_initial_connect: true\n";
    let said = loaded(text).unwrap().notes;
    assert_eq!(
        said[0].text,
        "unknown key `nftables.ipv4.set_only` at /etc/f.yaml:4 has no effect; did you mean `nftables.ipv4.set-only`?"
    );
    assert_eq!(said.len(), 1);
    let strict = loaded_with(text, None, Overrides { strict: true, ..Overrides::default() }).unwrap_err();
    assert_eq!(
        strict,
        "unable to load configuration: unknown key; did you mean `nftables.ipv4.set-only`? \
         (nftables.ipv4.set_only at /etc/f.yaml:4, now \"true\")"
    );
    assert!(
        loaded("mode: nftables\nstrict: true\nfoo: 1\n")
            .unwrap_err()
            .contains("unknown key; remove it (foo at")
    );
}

#[test]
fn everything_wrong_is_said_at_once_and_no_secret_is() {
    let error = loaded(
        "mode: x\ndeny_action: y\ndisable_ipv4: maybe\nlog_mode: z\napi_key: [hunter2]\ndeny_log: 7\n",
    )
    .unwrap_err();
    for part in [
        "firewall 'x' is not supported",
        "invalid deny_action 'Y'",
        "disable_ipv4 at /etc/f.yaml:3",
        "log_mode should be",
        "deny_log at /etc/f.yaml:6",
    ] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    assert!(!error.contains("hunter2"));
    let error = loaded("mode: [nftables]\n").unwrap_err();
    assert!(
        error.contains("expected text, not a list (mode at") && !error.contains("does not contain"),
        "{error}"
    );
}

const REFERENCE: &str = include_str!("../../../../packaging/config/crowdsec-firewall-bouncer.yaml");
const MANUAL: &str = include_str!("../../../../docs/man/palisade-firewall.yaml.5");
const COMMANDS: &str = include_str!("../../../../docs/man/palisade-firewall.8");

fn known_keys() -> Vec<&'static str> {
    use palisade_bouncer::settings::LAPI_KEYS;
    use palisade_daemon::{logs::LOG_KEYS, metrics::PROMETHEUS_KEYS};
    [FIREWALL_KEYS, LAPI_KEYS, LOG_KEYS, PROMETHEUS_KEYS].concat()
}

#[test]
fn the_reference_file_is_valid_as_shipped_and_with_every_line_in_use() {
    let strict = Overrides { strict: true, ..Overrides::default() };
    loaded_with(REFERENCE, None, strict).unwrap();
    // `# key:` is a line to be used, `## text` is text; lines of the one nested example go with their head.
    let mut uncommented = String::new();
    for line in REFERENCE.lines().filter(|line| !line.starts_with("##")) {
        let example = line.strip_prefix("# ").filter(|rest| {
            rest.trim_start().split(':').next().is_some_and(|key| {
                !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || "0123456789_".contains(c))
            })
        });
        uncommented.push_str(example.unwrap_or(line));
        uncommented.push('\n');
    }
    let config = loaded_with(&uncommented, None, strict).unwrap().config;
    assert_eq!((config.allow.nets.len(), config.allow.interfaces.len()), (2, 2), "the examples were in use");
}

#[test]
fn every_key_is_in_the_reference_file_and_the_manual() {
    for key in known_keys() {
        let last = key.rsplit('.').next().unwrap();
        assert!(REFERENCE.contains(last), "{key} is missing in the reference file");
        assert!(MANUAL.contains(&format!("\\fB{key}\\fR")), "{key} is missing in the manual page");
    }
}

#[test]
fn every_flag_and_command_is_in_the_manual() {
    let program = Firewall::INFO.program;
    let of_commands = program.commands.iter().flat_map(|command| command.flags);
    for flag in program.flags.iter().chain(of_commands) {
        assert!(
            COMMANDS.contains(&format!("\\-{}", flag.name)),
            "-{} is missing in the manual page",
            flag.name
        );
    }
    for command in program.commands {
        assert!(COMMANDS.contains(command.name), "{} is missing in the manual page", command.name);
    }
}
