//! The programs, and where the types of their configuration files are.

use palisade_bouncer::settings::LAPI_KEYS;
use palisade_daemon::logs::LOG_KEYS;
use palisade_daemon::metrics::PROMETHEUS_KEYS;
use palisade_firewall::config::FIREWALL_KEYS;
use palisade_lapi_config::{CONFIG_KEYS, CREDENTIALS_KEYS};
use palisade_proxy::config::PROXY_KEYS;
use palisade_webhook::config::WEBHOOK_KEYS;

use super::Types;

/// A part of a file: the keys that one type reads.
#[derive(Debug)]
pub struct Part {
    /// The heading.
    pub title: &'static str,
    /// The text below it.
    pub introduction: &'static str,
    /// The type, and where it and the types of its blocks are.
    pub root: &'static str,
    /// All types.
    pub types: Types,
}

/// A program with a configuration file.
#[derive(Debug)]
pub struct Component {
    /// The page's name, and the program's without `palisade-`.
    pub name: &'static str,
    /// The heading.
    pub title: &'static str,
    /// The text below it.
    pub introduction: &'static str,
    /// The parts of its file.
    pub parts: Vec<Part>,
    /// The keys that the program accepts.
    pub known: Vec<&'static str>,
    /// What is said of the accepted keys that no type reads.
    pub unread: &'static str,
}

fn of_all_bouncers() -> Vec<Part> {
    vec![
        Part {
            title: "The LAPI",
            introduction: "Where decisions come from. The same for every bouncer.",
            root: "LapiFile",
            types: Types::of(&["bouncers/common/src/settings.rs"]),
        },
        Part {
            title: "Logs",
            introduction: "The program's log. The same for every bouncer.",
            root: "LogKeys",
            types: Types::of(&["common/daemon/src/logs/keys.rs"]),
        },
        Part {
            title: "Metrics and strictness",
            introduction: "The same for every bouncer.",
            root: "CommonKeys",
            types: Types::of(&["bouncers/common/src/run/load.rs", "common/daemon/src/metrics/keys.rs"]),
        },
    ]
}

fn known_to_a_bouncer(own: &[&'static str]) -> Vec<&'static str> {
    [own, LAPI_KEYS, LOG_KEYS, PROMETHEUS_KEYS, &["strict"]].concat()
}

fn bouncer(
    name: &'static str,
    title: &'static str,
    introduction: &'static str,
    own: Part,
    keys: &[&'static str],
) -> Component {
    let mut parts = vec![own];
    parts.extend(of_all_bouncers());
    Component { name, title, introduction, parts, known: known_to_a_bouncer(keys), unread: "" }
}

/// The programs in the order of the book.
pub fn components() -> Vec<Component> {
    vec![
        Component {
            name: "lapi",
            title: "Keys of palisade-lapi",
            introduction: LAPI,
            parts: vec![Part {
                title: "Keys",
                introduction: "",
                root: "File",
                types: Types::of(&[
                    "lapi/config/src/file.rs",
                    "lapi/config/src/file/database.rs",
                    "lapi/config/src/file/server.rs",
                ]),
            }],
            known: CONFIG_KEYS.to_vec(),
            unread: "These keys of CrowdSec's `config.yaml` are for its log processor and its other programs. They are \
                     accepted, so that one file serves all, and not read:",
        },
        Component {
            name: "profiles",
            title: "Keys of profiles.yaml",
            introduction: PROFILES,
            parts: vec![Part {
                title: "A profile",
                introduction: "",
                root: "ProfileFile",
                types: Types::of(&["lapi/profiles/src/file.rs"]),
            }],
            known: PROFILE_KEYS.to_vec(),
            unread: "",
        },
        Component {
            name: "credentials",
            title: "Keys of local_api_credentials.yaml",
            introduction: CREDENTIALS,
            parts: vec![Part {
                title: "Keys",
                introduction: "",
                root: "Credentials",
                types: Types::of(&["lapi/config/src/credentials.rs"]),
            }],
            known: CREDENTIALS_KEYS.to_vec(),
            unread: "",
        },
        bouncer(
            "firewall",
            "Keys of palisade-firewall",
            FIREWALL,
            Part {
                title: "The firewall",
                introduction: "",
                root: "ConfigFile",
                types: Types::of(&["bouncers/firewall/src/config/file.rs"]),
            },
            FIREWALL_KEYS,
        ),
        bouncer(
            "proxy",
            "Keys of palisade-proxy",
            PROXY,
            Part {
                title: "The proxy",
                introduction: "",
                root: "ConfigFile",
                types: Types::of(&[
                    "bouncers/proxy/src/config/file.rs",
                    "bouncers/proxy/src/config/file/listen.rs",
                    "bouncers/proxy/src/config/file/remediation.rs",
                    "bouncers/proxy/src/config/file/upstreams.rs",
                    "bouncers/proxy/src/config.rs",
                    "bouncers/proxy/src/config/remediation.rs",
                ]),
            },
            PROXY_KEYS,
        ),
        bouncer(
            "webhook",
            "Keys of palisade-webhook",
            WEBHOOK,
            Part {
                title: "Endpoints and lists",
                introduction: "",
                root: "ConfigFile",
                types: Types::of(&[
                    "bouncers/webhook/src/config/file.rs",
                    "bouncers/webhook/src/config/file/http.rs",
                    "bouncers/webhook/src/config/file/mirror.rs",
                    "bouncers/webhook/src/config/file/program.rs",
                    "bouncers/webhook/src/config/file/replace.rs",
                    "bouncers/webhook/src/config.rs",
                    "bouncers/webhook/src/event.rs",
                ]),
            },
            WEBHOOK_KEYS,
        ),
    ]
}

/// The type refuses all others, which a test tries.
const PROFILE_KEYS: &[&str] = &[
    "name",
    "debug",
    "filters",
    "decisions.type",
    "decisions.duration",
    "decisions.scope",
    "decisions.origin",
    "decisions.simulated",
    "decisions.id",
    "decisions.scenario",
    "decisions.until",
    "decisions.uuid",
    "decisions.value",
    "duration_expr",
    "notifications",
    "on_success",
    "on_failure",
    "on_error",
];

const PROFILES: &str = concat!(
    "`palisade-lapi` reads `/etc/crowdsec/profiles.yaml`, CrowdSec's own file: which alert becomes which decisions. It has \
     one document for each profile, separated by `---`; they are looked at from top to bottom. The documents of \
     `profiles.yaml.local` come before them. An unknown key is an error. `palisade profiles test` shows what an alert \
     results in, and why.\n\n",
    "The smallest file:\n\n",
    "```yaml\nname: default\nfilters: [\"Alert.Remediation == true\"]\ndecisions: [{type: ban, duration: 4h}]\n\
     on_success: break\n```"
);

const CREDENTIALS: &str = concat!(
    "The command `palisade`, and CrowdSec's log processor, log in to a LAPI with this file \
     (`api.client.credentials_path` in [`config.yaml`](lapi.md#apiclientcredentials_path)). An unknown key is an error. It \
     holds a secret: mode 0600.\n\n",
    "A second file with `.local` appended to the name is laid over the first, key by key, and `$NAME` and `${NAME}` in \
     values are replaced from the environment.\n\n",
    "The smallest file:\n\n",
    "```yaml\nurl: http://127.0.0.1:8080/\nlogin: web-1\npassword: PASSWORD\n```"
);

const LAPI: &str = concat!(
    "`palisade-lapi` and `palisade` read `/etc/crowdsec/config.yaml`, CrowdSec's own file. A key that neither program knows \
     is an error.\n\n",
    "A second file with `.local` appended to the name is laid over the first, key by key, and `$NAME` and `${NAME}` in \
     values are replaced from the environment. Durations are written `500ms`, `30s`, `5m`, `1h30m`, `7d`.\n\n",
    "The smallest file:\n\n",
    "```yaml\napi:\n  server:\n    listen_uri: 127.0.0.1:8080\n    profiles_path: /etc/crowdsec/profiles.yaml\n\
     db_config:\n  type: sqlite\n  db_path: /var/lib/crowdsec/data/crowdsec.db\n```"
);

const FIREWALL: &str = concat!(
    "`palisade-firewall` reads `/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml`, the stock bouncer's file. Unknown \
     keys are warned of; with [`strict`](#strict) they are errors. The manual page `palisade-firewall.yaml(5)` has the \
     same keys.\n\n",
    "A second file with `.local` appended to the name is laid over the first, key by key, and `$NAME` and `${NAME}` in \
     values are replaced from the environment. Durations are written `500ms`, `30s`, `5m`, `1h30m`.\n\n",
    "The smallest file:\n\n",
    "```yaml\nmode: nftables\napi_url: http://127.0.0.1:8080/\napi_key: KEY\n```"
);

const PROXY: &str = concat!(
    "`palisade-proxy` reads `/etc/crowdsec/bouncers/palisade-proxy.yaml`. Unknown keys are warned of; with \
     [`strict`](#strict) they are errors. What the keys do together is in [the reverse proxy](../proxy.md).\n\n",
    "A second file with `.local` appended to the name is laid over the first, key by key, and `$NAME` and `${NAME}` in \
     values are replaced from the environment. Durations are written `500ms`, `30s`, `5m`, `1h30m`.\n\n",
    "The smallest file:\n\n",
    "```yaml\napi_url: http://127.0.0.1:8080/\napi_key: KEY\nlisten: [{address: \":80\"}]\n\
     routes: [{upstream: \"http://127.0.0.1:3000\"}]\n```"
);

const WEBHOOK: &str = concat!(
    "`palisade-webhook` reads `/etc/crowdsec/bouncers/palisade-webhook.yaml`, and the files of crowdsec-custom-bouncer \
     ([keys](../webhook-programs.md#moving-over-from-crowdsec-custom-bouncer)) and crowdsec-blocklist-mirror \
     ([keys](../webhook-mirror.md#moving-over-from-crowdsec-blocklist-mirror)) as they are. Unknown keys are warned of; \
     with [`strict`](#strict) they are errors. What the keys do together is in [webhooks](../webhook.md).\n\n",
    "A second file with `.local` appended to the name is laid over the first, key by key, and `$NAME` and `${NAME}` in \
     values are replaced from the environment. Durations are written `500ms`, `30s`, `5m`, `72h`; sizes `500KB`, `10MB`, \
     in powers of 1024.\n\n",
    "The smallest file:\n\n",
    "```yaml\napi_url: http://127.0.0.1:8080/\napi_key: KEY\n\
     endpoints: [{name: soar, url: \"https://soar.example.org/hook\"}]\n```"
);
