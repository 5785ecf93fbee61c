//! Adds the bouncers and the machine that the environment names, with `api.server.accounts_from_environment`: the variables
//! and secret files of the stock container image.
//!
//! Reads variables and files, and writes accounts through the store. Never deletes an account.

use std::{ffi::OsString, fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, bail};
use palisade_store::{
    MAX_PASSWORD_BYTES, NewBouncer, NewMachine, Store, StoreError, hash_key, hash_password, password_matches,
};
use palisade_wire::UnixMillis;
use tracing::{info, warn};

/// A bouncer's key: the name follows.
const BOUNCER_VARIABLE: &str = "BOUNCER_KEY_";
/// A file with a bouncer's key, in [`SECRETS`]: the name follows.
const BOUNCER_FILE: &str = "bouncer_key_";
/// Where container engines mount secrets.
const SECRETS: &str = "/run/secrets";
const MACHINE_VARIABLE: &str = "AGENT_USERNAME";
const PASSWORD_VARIABLE: &str = "AGENT_PASSWORD";
/// Maximum number of bouncers.
const MAX_BOUNCERS: usize = 1000;
/// Maximum size of a secret file, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;

/// The accounts that the environment names.
#[derive(PartialEq, Eq)]
pub(super) struct Accounts {
    /// Name and key.
    bouncers: Vec<(String, String)>,
    /// Name and password.
    machine: Option<(String, String)>,
}

impl Accounts {
    /// Reads the variables of this process, and the mounted secrets.
    ///
    /// # Errors
    /// A variable or file that cannot be used, by name; never with its value.
    pub(super) fn from_environment() -> anyhow::Result<Self> {
        Self::read(std::env::vars_os(), Path::new(SECRETS))
    }

    fn read(variables: impl Iterator<Item = (OsString, OsString)>, secrets: &Path) -> anyhow::Result<Self> {
        let mut bouncers = Vec::new();
        let (mut machine, mut password) = (String::new(), String::new());
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let bouncer = name.strip_prefix(BOUNCER_VARIABLE).filter(|bouncer| !bouncer.is_empty());
            if bouncer.is_none() && ![MACHINE_VARIABLE, PASSWORD_VARIABLE].contains(&name) {
                continue;
            }
            let value = value.into_string().ok().with_context(|| format!("{name} is no text in UTF-8"))?;
            match (name, bouncer) {
                (_, Some(_)) if value.is_empty() => {}
                (_, Some(bouncer)) => bouncers.push((bouncer.to_owned(), value)),
                (MACHINE_VARIABLE, _) => machine = value,
                _ => password = value,
            }
        }
        read_secrets(secrets, &mut bouncers)?;
        if bouncers.len() > MAX_BOUNCERS {
            bail!(
                "{} variables {BOUNCER_VARIABLE}… and files {SECRETS}/{BOUNCER_FILE}…, at most {MAX_BOUNCERS} are used; \
                 add the others with `palisade bouncers add`",
                bouncers.len()
            );
        }
        if password.len() > MAX_PASSWORD_BYTES {
            bail!("{PASSWORD_VARIABLE} is too long: at most {MAX_PASSWORD_BYTES} bytes");
        }
        let machine = match (machine.is_empty(), password.is_empty()) {
            (false, false) => Some((machine, password)),
            (false, true) => {
                bail!("{MACHINE_VARIABLE} is set without {PASSWORD_VARIABLE}; set both, or none")
            }
            (true, false) => {
                bail!("{PASSWORD_VARIABLE} is set without {MACHINE_VARIABLE}; set both, or none")
            }
            (true, true) => None,
        };
        bouncers.sort();
        Ok(Self { bouncers, machine })
    }

    /// Adds what is missing. A bouncer that exists keeps its key, as in the stock image; a machine gets the password.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn add_to(self, store: &Store, now: UnixMillis) -> anyhow::Result<()> {
        for (name, key) in self.bouncers {
            let key_hash = hash_key(key.as_bytes());
            let new = NewBouncer {
                name: name.clone(),
                key_hash: key_hash.clone(),
                auth_type: "api-key".to_owned(),
                ..NewBouncer::default()
            };
            match store.create_bouncer(now, new).await {
                Ok(_) => info!(name, "bouncer of the environment added"),
                Err(StoreError::Exists { .. }) => {
                    if store.bouncer(&name).await?.is_some_and(|bouncer| bouncer.key_hash != key_hash) {
                        warn!(
                            name,
                            "this bouncer exists with another key than the environment's, and keeps it; to change the \
                             key, run `palisade bouncers delete` with its name and restart"
                        );
                    }
                }
                Err(error) => return Err(error).with_context(|| format!("cannot add the bouncer {name}")),
            }
        }
        if let Some((name, password)) = self.machine {
            add_machine(store, now, &name, password)
                .await
                .with_context(|| format!("cannot add the machine {name}"))?;
        }
        Ok(())
    }
}

async fn add_machine(store: &Store, now: UnixMillis, name: &str, password: String) -> anyhow::Result<()> {
    let stored = store.machine(name).await?.map(|machine| machine.password);
    let (exists, hash) = tokio::task::spawn_blocking(move || match stored {
        // Tokens stay valid over a restart with the same password.
        Some(hash) if password_matches(&password, &hash) => (true, None),
        stored => (stored.is_some(), hash_password(&password)),
    })
    .await?;
    let Some(hash) = hash else { return Ok(()) };
    if !exists {
        let new = NewMachine {
            name: name.to_owned(),
            password: hash.clone(),
            auth_type: "password".to_owned(),
            validated: true,
            ip: String::new(),
        };
        match store.create_machine(now, new).await {
            Ok(_) => {
                info!(name, "machine of the environment added");
                return Ok(());
            }
            // Another LAPI on the same database was faster, with a password that may be another.
            Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    store.set_machine_password(now, name, &hash).await?;
    info!(name, "the machine has the environment's password now");
    Ok(())
}

/// Adds the bouncers of the files `bouncer_key_NAME`. A folder that is missing has none.
fn read_secrets(folder: &Path, bouncers: &mut Vec<(String, String)>) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(name) = file.to_str().and_then(|file| file.strip_prefix(BOUNCER_FILE)) else { continue };
        // A pipe without a writer would block the start.
        if name.is_empty() || !entry.path().is_file() {
            continue;
        }
        let mut key = String::new();
        let read = File::open(entry.path())
            .and_then(|file| file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut key));
        read.with_context(|| format!("cannot read the key in {}", entry.path().display()))?;
        if key.len() as u64 > MAX_SECRET_BYTES {
            bail!("{} is longer than {MAX_SECRET_BYTES} bytes, so it holds no key", entry.path().display());
        }
        match key.trim() {
            "" => {}
            key => bouncers.push((name.to_owned(), key.to_owned())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], secrets: &Path) -> anyhow::Result<Accounts> {
        let pairs: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Accounts::read(pairs.into_iter(), secrets)
    }

    #[test]
    fn variables_and_secret_files_name_accounts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bouncer_key_hosts"), "from-a-file\n").unwrap();
        std::fs::write(folder.path().join("other"), "x").unwrap();
        std::fs::create_dir(folder.path().join("bouncer_key_folder")).unwrap();
        let variables = [
            ("BOUNCER_KEY_proxy", "from-a-variable"),
            ("BOUNCER_KEY_", "no name"),
            ("BOUNCER_KEY_none", ""),
            ("AGENT_USERNAME", "admin"),
            ("AGENT_PASSWORD", "secret"),
            ("PATH", "/bin"),
        ];
        let accounts = read(&variables, folder.path()).unwrap();
        let expected = [("hosts", "from-a-file"), ("proxy", "from-a-variable")];
        assert!(
            accounts.bouncers.iter().map(|(name, key)| (name.as_str(), key.as_str())).eq(expected),
            "names and keys differ"
        );
        assert!(accounts.machine == Some(("admin".to_owned(), "secret".to_owned())));
        assert!(read(&[], Path::new("/nonexistent")).unwrap().bouncers.is_empty());
    }

    #[test]
    fn errors_name_the_variable_and_not_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let error = |variables: &[(&str, &str)]| {
            read(variables, folder.path()).map(drop).map_err(|error| format!("{error:#}")).unwrap_err()
        };
        assert!(
            error(&[("AGENT_USERNAME", "admin")]).contains("AGENT_USERNAME is set without AGENT_PASSWORD")
        );
        let text = error(&[("AGENT_PASSWORD", "s3cret")]);
        assert!(
            text.contains("AGENT_PASSWORD is set without AGENT_USERNAME") && !text.contains("s3cret"),
            "{text}"
        );
        let long = "s3cret".repeat(20);
        let text = error(&[("AGENT_USERNAME", "admin"), ("AGENT_PASSWORD", &long)]);
        assert!(text.contains("AGENT_PASSWORD is too long") && !text.contains("s3cret"), "{text}");
        std::fs::write(folder.path().join("bouncer_key_big"), "k".repeat(5000)).unwrap();
        let text = error(&[]);
        assert!(text.contains("bouncer_key_big is longer than 4096 bytes"), "{text}");
    }

    #[tokio::test]
    async fn a_second_start_changes_no_key_but_the_machines_password() {
        let folder = tempfile::tempdir().unwrap();
        let store =
            Store::open(&palisade_store::DbConfig::sqlite(folder.path().join("test.db"))).await.unwrap();
        let now = UnixMillis(1_790_000_000_000);
        let accounts = |key: &str, password: &str| {
            let machine = Some(("admin".to_owned(), password.to_owned()));
            Accounts { bouncers: vec![("hosts".to_owned(), key.to_owned())], machine }
        };
        accounts("first", "one").add_to(&store, now).await.unwrap();
        let before = store.machine("admin").await.unwrap().unwrap();
        assert!(before.validated && password_matches("one", &before.password));
        accounts("second", "one").add_to(&store, now).await.unwrap();
        assert_eq!(store.machine("admin").await.unwrap().unwrap().password, before.password);
        assert_eq!(store.bouncer("hosts").await.unwrap().unwrap().key_hash, hash_key(b"first"));
        accounts("first", "two").add_to(&store, now).await.unwrap();
        assert!(password_matches("two", &store.machine("admin").await.unwrap().unwrap().password));
        store.close().await;
    }
}
