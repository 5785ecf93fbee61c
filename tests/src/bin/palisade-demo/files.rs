//! The configuration of each program, as short as it can be.

use std::path::Path;

use crate::network::LAPI;
use crate::{application, receiver};

/// The packaged profiles.
const PROFILES: &str = include_str!("../../../../packaging/config/profiles.yaml");

/// `config.yaml` and `profiles.yaml` of the LAPI, in `folder`.
pub(crate) fn lapi(folder: &Path) -> [(&'static str, String); 2] {
    let folder = folder.display();
    let config = format!(
        "common:
  log_media: stdout
config_paths:
  config_dir: {folder}/
  data_dir: {folder}/data/
db_config:
  type: sqlite
  db_path: {folder}/data/lapi.db
api:
  client:
    credentials_path: {folder}/credentials.yaml
  server:
    listen_uri: 0.0.0.0:8080
    profiles_path: {folder}/profiles.yaml
prometheus:
  enabled: true
  listen_addr: 127.0.0.1
  listen_port: 6060
"
    );
    [("config.yaml", config), ("profiles.yaml", PROFILES.to_owned())]
}

/// Of a bouncer: how it reaches the LAPI, its state and its log.
fn bouncer(folder: &Path, key: &str) -> String {
    format!(
        "api_url: http://{LAPI}/\napi_key: {key}\nstate_dir: {}/data\nlog_mode: stdout\n\
         update_frequency: 10s\n",
        folder.display()
    )
}

/// Of a firewall.
pub(crate) fn firewall(folder: &Path, key: &str, host: &str) -> String {
    bouncer(folder, key)
        + &format!(
            "mode: nftables\n# The name in the list of bouncers; otherwise that of this machine.\ninstance: {host}\n"
        )
}

/// Of the proxy.
pub(crate) fn proxy(folder: &Path, key: &str) -> String {
    let port = application::PORT;
    bouncer(folder, key)
        + &format!("listen:\n  - address: \":80\"\nroutes:\n  - upstream: http://127.0.0.1:{port}\n")
}

/// Of the webhook bouncer.
pub(crate) fn webhook(folder: &Path, key: &str) -> String {
    let (port, secret) = (receiver::PORT, receiver::SECRET);
    bouncer(folder, key)
        + &format!(
            "endpoints:\n  - name: receiver\n    url: http://127.0.0.1:{port}/\n    \
             allow_addresses: [127.0.0.1]\n    signing_secrets: [\"{secret}\"]\n"
        )
}
