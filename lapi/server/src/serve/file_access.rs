//! Checks the permissions of the configuration's files, for `-t`: secrets that every user can read, and files that the unit's
//! user cannot use although root can.

use std::path::Path;

use palisade_daemon::{
    file_access::{AccessError, NeededAccess, NeededFile, Unit, check_as_unit, exposed_secret},
    logs::{LogConfig, LogTarget},
};
use palisade_lapi_config::Config;
use palisade_store::{CrowdSecDatabase, Engine};
use tracing::warn;

use crate::cli::DEFAULT_CONFIG;

/// The packaged unit. Of the files that it hands over, those without effect yet are not looked at.
const UNIT: Unit = Unit {
    name: "palisade-lapi",
    config: DEFAULT_CONFIG,
    handed_over: &[
        "/etc/crowdsec/config.yaml",
        "/etc/crowdsec/config.yaml.local",
        "/etc/crowdsec/profiles.yaml",
        "/etc/crowdsec/profiles.yaml.local",
    ],
    own_directories: &["/var/lib/crowdsec/data", "/var/log/palisade-lapi", "/run/palisade-lapi"],
};

/// Warns of secrets that others can read, and, as root, checks as the unit's user, or as `user`, what the start needs.
///
/// # Errors
///
/// The files that the user cannot use.
pub fn check_access(config: &Config, user: Option<&str>) -> Result<(), AccessError> {
    for warning in config.secret_files.iter().filter_map(|path| exposed_secret(path)) {
        warn!("{warning}");
    }
    check_as_unit(&UNIT, &config.path, user, &needed_files(config))
}

fn needed_files(config: &Config) -> Vec<NeededFile> {
    let mut needed = Vec::new();
    let mut read = |key: &str, path: Option<&Path>| {
        needed.extend(path.map(|path| NeededFile::new(key, path, NeededAccess::Read)));
    };
    read("", Some(&config.path));
    read("", config.local.as_deref());
    if let Some(server) = &config.server {
        read("api.server.profiles_path", server.profiles_path.as_deref());
        if let Some(tls) = &server.tls {
            read("api.server.tls.cert_file", Some(&tls.files.certificate));
            read("api.server.tls.key_file", Some(&tls.files.key));
            read("api.server.tls.ca_cert_path", tls.files.client_authorities.as_deref());
            read("api.server.tls.crl_path", tls.crl_path.as_deref());
        }
    }
    let store = config.database.as_ref().map(|database| &database.store);
    if let Some(Engine::Postgres(server)) = store.map(|store| &store.engine) {
        read("db_config.ssl_ca_cert", server.ca.as_deref());
        read("db_config.ssl_client_cert", server.cert.as_deref());
        read("db_config.ssl_client_key", server.key.as_deref());
    }
    if let Some(Engine::Sqlite { path, .. }) = store.map(|store| &store.engine) {
        // CrowdSec's database is read at the first start, which is the one without a database of ours.
        if let Some(CrowdSecDatabase::File(old)) = store.and_then(|store| store.crowdsec.as_ref())
            && !path.exists()
        {
            read("db_config.db_path", Some(old));
        }
        if path.exists() {
            needed.push(NeededFile::new("db_config.db_path", path, NeededAccess::Write));
        }
        // SQLite makes files beside the database.
        let directory = path.parent().unwrap_or(path);
        needed.push(NeededFile::new("db_config.db_path", directory, NeededAccess::WriteDirectory));
    }
    let socket = config.server.as_ref().and_then(|server| server.listen_socket.as_deref());
    if let Some(directory) = socket.and_then(Path::parent) {
        needed.push(NeededFile::new("api.server.listen_socket", directory, NeededAccess::WriteDirectory));
    }
    needed.extend([&config.logs, &config.access_log].into_iter().filter_map(log_file));
    needed.dedup();
    needed
}

fn log_file(log: &LogConfig) -> Option<NeededFile> {
    match &log.target {
        // Without its log files the LAPI writes to standard error.
        LogTarget::File { path, .. } => {
            Some(NeededFile::new("common.log_dir", path, NeededAccess::Write).optional())
        }
        LogTarget::Stderr => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_packaged_one() {
        let file = include_str!("../../../../packaging/systemd/palisade-lapi.service");
        assert_eq!(UNIT.compare(file), Ok(()));
    }
}
