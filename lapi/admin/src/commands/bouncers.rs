//! The `bouncers` commands. Written to the database; running LAPIs pick up the changes.

mod instances;
mod view;

use std::collections::BTreeSet;

use palisade_lapi_config::Output;
use palisade_store::{Bouncer, BouncerDeletion, NewBouncer, Store, StoreError, hash_key};
use palisade_wire::{GoDuration, UnixMillis};

use self::instances::Instances;
use self::view::{BouncerView, human, raw};
use crate::command_line::given;
use crate::failure::{Failure, while_doing};
use crate::output::{json, line, print, properties};
use crate::prompt::{MIN_PRUNE_AGE, confirm_prune};
use crate::secrets;
use crate::session::Session;
use crate::table::Table;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// list all bouncers within the database
    List,
    /// add a single bouncer to the database
    Add {
        name: String,
        /// api key for the bouncer
        #[arg(long, short)]
        key: Option<String>,
        /// deprecated: keys have one length
        #[arg(long, short, hide = true)]
        length: Option<String>,
    },
    /// delete bouncer(s) from the database
    #[command(visible_alias = "remove")]
    Delete {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// don't print errors if one or more bouncers don't exist
        #[arg(long)]
        ignore_missing: bool,
    },
    /// prune multiple bouncers from the database
    Prune {
        /// duration of time since last pull
        #[arg(long, short, default_value = "60m")]
        duration: GoDuration,
        /// force prune without asking for confirmation
        #[arg(long)]
        force: bool,
    },
    /// inspect a bouncer by name
    Inspect { name: String },
}

impl Command {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Add { name, key, length: _ } => add(session, &name, given(&key)).await,
            Self::Delete { names, ignore_missing } => delete(session, &names, ignore_missing).await,
            Self::Prune { duration, force } => prune(session, duration, force).await,
            Self::Inspect { name } => inspect(session, &name).await,
        }
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let store = session.store().await?;
    let bouncers = store.bouncers().await?;
    let instances = Instances::read(&store, None).await?;
    match session.output {
        // `cscli` has no such table.
        Output::Human if session.as_cscli => print(&human(session.fancy, &bouncers)),
        Output::Human => print(&(human(session.fancy, &bouncers) + &instances.human(session.fancy))),
        Output::Raw => print(&raw(&bouncers)?),
        Output::Json => {
            let shown: Vec<_> =
                bouncers.iter().map(|bouncer| BouncerView::with(bouncer, &instances)).collect();
            line(&json(&shown, 2))
        }
    }
}

async fn add(session: &Session, name: &str, key: Option<&str>) -> Result<(), Failure> {
    let key = match key {
        Some(key) => key.to_owned(),
        None => secrets::bouncer_key()?,
    };
    let bouncer = NewBouncer {
        name: name.to_owned(),
        key_hash: hash_key(key.as_bytes()),
        auth_type: "api-key".to_owned(),
        ..NewBouncer::default()
    };
    let create = async |store: &Store| {
        store.create_bouncer(UnixMillis::now(), bouncer).await.map_err(|error| match error {
            StoreError::Exists { .. } => {
                Failure::Command(format!("unable to create bouncer: bouncer {name} already exists"))
            }
            other => Failure::from(other).doing("unable to create bouncer"),
        })
    };
    session.change(create).await?;
    match session.output {
        Output::Human => print(&format!(
            "API key for '{name}':\n\n   {key}\n\nPlease keep this key since you will not be able to retrieve it!\n"
        )),
        // No final newline, as in `cscli`.
        Output::Raw => print(&key),
        Output::Json => print(&json(&key, 0)),
    }
}

async fn delete(session: &Session, names: &[String], ignore_missing: bool) -> Result<(), Failure> {
    session.change(async |store: &Store| delete_from(store, session, names, ignore_missing).await).await
}

async fn delete_from(
    store: &Store,
    session: &Session,
    names: &[String],
    ignore_missing: bool,
) -> Result<(), Failure> {
    // Known only at the end: the others may be named as well.
    let mut still_valid: BTreeSet<String> = BTreeSet::new();
    for name in names {
        match store.delete_bouncer(name).await {
            Ok(BouncerDeletion::Deleted { names, same_key }) => {
                still_valid.extend(same_key);
                for name in names {
                    still_valid.remove(&name);
                    session.log.info(&format!("bouncer '{name}' deleted successfully"));
                }
            }
            // Its next request would create it again.
            Ok(BouncerDeletion::AutoCreated { parent }) => session.log.warn(&format!(
                "bouncer '{name}' is auto-created and cannot be deleted, delete parent bouncer {parent} instead"
            )),
            Err(StoreError::NotFound { .. }) if ignore_missing => {}
            Err(StoreError::NotFound { .. }) => {
                return Err(Failure::Command(format!(
                    // `ent` is the database layer of `cscli`; scripts match the text.
                    "unable to delete bouncer {name}: ent: bouncer not found"
                )));
            }
            Err(error) => return Err(Failure::from(error).doing(&format!("unable to delete bouncer {name}"))),
        }
    }
    for name in still_valid {
        session.log.warn(&format!(
            "bouncer '{name}' has the same key, which stays valid; delete it as well to revoke the key"
        ));
    }
    Ok(())
}

async fn prune(session: &Session, duration: GoDuration, force: bool) -> Result<(), Failure> {
    if duration < MIN_PRUNE_AGE
        && !confirm_prune(
            "The duration you provided is less than 2 minutes. This may remove active bouncers.",
        )?
    {
        return Ok(());
    }
    session.change(async |store: &Store| prune_from(store, session, duration, force).await).await
}

async fn prune_from(
    store: &Store,
    session: &Session,
    duration: GoDuration,
    force: bool,
) -> Result<(), Failure> {
    // A bouncer that has just been active must be known as such.
    session.sync(store).await;
    let cutoff = UnixMillis::now().plus(GoDuration::from_nanos(duration.nanos().saturating_neg()));
    let idle = store.idle_bouncers(cutoff).await?;
    if idle.is_empty() {
        return session.report("No bouncers to prune.");
    }
    // Also with `--force`: it shows what is deleted.
    if !session.is_json_only() {
        print(&human(session.fancy, &idle))?;
    }
    if !force
        && !confirm_prune(
            "You are about to PERMANENTLY remove the above bouncers from the database. These will NOT be recoverable.",
        )?
    {
        return Ok(());
    }
    let ids: Vec<i64> = idle.iter().map(|bouncer| bouncer.id).collect();
    let count = store.delete_bouncers(&ids).await.map_err(while_doing("unable to prune bouncers"))?;
    // Standard error whatever the output format, as in `cscli`.
    session.report_aside(&format!("Successfully deleted {count} bouncers"));
    Ok(())
}

async fn inspect(session: &Session, name: &str) -> Result<(), Failure> {
    let store = session.store().await?;
    let found = store.bouncer(name).await?;
    let Some(bouncer) = found else {
        return Err(Failure::Command(format!(
            "unable to read bouncer data '{name}': ent: bouncer not found"
        )));
    };
    // After the look-up: `cscli` reports a missing bouncer first.
    session.no_raw()?;
    let instances = Instances::read(&store, Some(name)).await?;
    if session.output == Output::Json {
        return line(&json(&BouncerView::with(&bouncer, &instances), 2));
    }
    print(&inspect_human(session.fancy, &bouncer))?;
    if session.as_cscli { Ok(()) } else { print(&instances.human(session.fancy)) }
}

fn inspect_human(fancy: bool, bouncer: &Bouncer) -> String {
    let shown = BouncerView::from(bouncer);
    let mut rows = vec![
        ("Created At", shown.created_at),
        ("Last Update", shown.updated_at),
        ("Revoked?", bouncer.revoked.to_string()),
        ("IP Address", bouncer.ip.clone()),
        ("Type", bouncer.kind.clone()),
        ("Version", bouncer.version.clone()),
        ("Last Pull", shown.last_pull.unwrap_or_default()),
        ("Auth type", bouncer.auth_type.clone()),
        ("OS", shown.os),
        ("Auto Created", bouncer.auto_created.to_string()),
    ];
    rows.extend(shown.featureflags.iter().map(|flag| ("Feature Flags", (*flag).to_owned())));
    properties(Table::plain(fancy).title(&format!("Bouncer: {}", bouncer.name)), rows)
}

/// Names for completion: bouncers that `delete` accepts.
pub(super) async fn names(session: &Session) -> Result<Vec<String>, Failure> {
    let bouncers = session.store().await?.bouncers().await?;
    let deletable =
        bouncers.into_iter().filter(|bouncer| !bouncer.auto_created || bouncer.auth_type == "tls");
    Ok(deletable.map(|bouncer| bouncer.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bouncer_is_shown_in_full_without_empty_lines() {
        let mut bouncer = Bouncer { name: "fw-1".into(), auth_type: "api-key".into(), ..Bouncer::default() };
        let text = inspect_human(false, &bouncer);
        assert!(text.starts_with("------------------------------------\n Bouncer: fw-1"), "{text}");
        assert!(text.contains("\n Auth type     api-key              \n"), "{text}");
        assert!(!text.contains("Feature Flags"), "{text}");
        bouncer.feature_flags = "a,b".into();
        let text = inspect_human(false, &bouncer);
        assert!(text.contains(" Feature Flags  a                    \n                b  "), "{text}");
    }
}
