//! Creates the LAPI settings and clients of a bouncer program. Opens no connection.

use anyhow::Context as _;
use palisade_client::{LapiPool, UserAgent};

use super::bouncer::Bouncer;
use super::config::Loaded;
use crate::settings::{LapiSettings, ProcessEnv};

/// For commands.
///
/// # Errors
/// A key is missing or wrong.
pub(super) fn connect<B: Bouncer>(loaded: &Loaded<B::Config>) -> anyhow::Result<(LapiSettings, LapiPool)> {
    connect_with::<B>(loaded, |_| ())
}

/// For the daemon: under the persisted name of this instance.
///
/// # Errors
/// A key is missing or wrong.
pub(super) fn connect_daemon<B: Bouncer>(
    loaded: &Loaded<B::Config>,
) -> anyhow::Result<(LapiSettings, LapiPool)> {
    connect_with::<B>(loaded, |settings| {
        // The name is stored in the state directory, and a dry run leaves no traces.
        if !B::is_dry_run(&loaded.config) {
            settings.assign_instance();
        }
    })
}

fn connect_with<B: Bouncer>(
    loaded: &Loaded<B::Config>,
    prepare: impl FnOnce(&mut LapiSettings),
) -> anyhow::Result<(LapiSettings, LapiPool)> {
    let mut settings = LapiSettings::of(&loaded.document, &ProcessEnv::of_process(B::INFO.program.name))?;
    settings.log_warnings();
    if settings.query.scopes.is_empty() {
        settings.query.scopes = B::scopes(&loaded.config).iter().map(|&scope| scope.to_owned()).collect();
    }
    prepare(&mut settings);
    let agent = UserAgent::new(B::present_as(&loaded.config), B::INFO.version)
        .context("unable to configure bouncer")?;
    let lapis = settings.connect(&agent)?;
    Ok((settings, lapis))
}
