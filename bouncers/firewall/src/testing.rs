//! What tests share.

use std::time::Duration;

use crate::config::{Allow, Config, Deny, Family, Hook, Mode, PresentAs, ShortestPrefix};

/// The stock configuration.
pub(crate) fn config() -> Config {
    let family = |suffix: &str| Family {
        table: format!("crowdsec{suffix}"),
        chain: format!("crowdsec{suffix}-chain"),
        set: format!("crowdsec{suffix}-blacklists"),
        priority: -10,
        set_only: false,
        exclusive: false,
    };
    Config {
        mode: Mode::Nftables,
        v4: Some(family("")),
        v6: Some(family("6")),
        hooks: vec![Hook::Input, Hook::Forward],
        deny: Deny::Drop,
        log: None,
        block_outbound: false,
        allow: Allow::default(),
        protect_lapi: true,
        drop_established: false,
        keep_on_stop: false,
        types: vec!["ban".into()],
        present_as: PresentAs::Palisade,
        shortest_prefix: ShortestPrefix::default(),
        reconcile_interval: Duration::from_secs(60),
    }
}
