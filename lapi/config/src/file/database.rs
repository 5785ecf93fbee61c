//! The block `db_config`.

use std::path::PathBuf;

use palisade_daemon::metrics::Port;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Db {
    /// The kind of database. `postgres` and `pgx` are read as `postgresql`. Required.
    ///
    /// - words: `sqlite`, `postgresql`, `postgres`, `pgx`
    /// - example: `sqlite`
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// With SQLite: CrowdSec's file. Ours lies beside it, with `.palisade` before the ending. With PostgreSQL and
    /// without `host`: the folder of the server's socket.
    ///
    /// - example: `/var/lib/crowdsec/data/crowdsec.db`
    pub db_path: Option<PathBuf>,
    /// Write-ahead log of SQLite; switch it off only on a network file system.
    ///
    /// - default: on
    /// - example: `true`
    pub use_wal: Option<bool>,
    /// The role of PostgreSQL.
    ///
    /// - default: `""`
    /// - with: `type: postgresql`
    /// - example: `palisade`
    pub user: Option<String>,
    /// Its password.
    ///
    /// - default: `""`
    /// - with: `type: postgresql`
    /// - example: `PASSWORD`
    pub password: Option<String>,
    /// The database.
    ///
    /// - default: `""`
    /// - with: `type: postgresql`
    /// - example: `palisade`
    pub db_name: Option<String>,
    /// The server, or the folder of its socket.
    ///
    /// - default: `127.0.0.1`
    /// - with: `type: postgresql`
    /// - example: `db.internal`
    pub host: Option<String>,
    /// The server's port.
    ///
    /// - default: `5432`
    /// - with: `type: postgresql`
    /// - example: `5433`
    pub port: Option<Port>,
    /// How the connection is encrypted and verified.
    ///
    /// - words: `disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`
    /// - default: PostgreSQL's own
    /// - with: `type: postgresql`
    /// - example: `verify-full`
    pub sslmode: Option<String>,
    /// Authorities of the server's certificate (PEM).
    ///
    /// - default: none
    /// - with: `type: postgresql`
    /// - example: `/etc/crowdsec/tls/db-ca.pem`
    pub ssl_ca_cert: Option<PathBuf>,
    /// A client certificate (PEM).
    ///
    /// - default: none
    /// - with: `type: postgresql`
    /// - example: `/etc/crowdsec/tls/db.pem`
    pub ssl_client_cert: Option<PathBuf>,
    /// Its key (PEM).
    ///
    /// - default: none
    /// - with: `type: postgresql`
    /// - example: `/etc/crowdsec/tls/db-key.pem`
    pub ssl_client_key: Option<PathBuf>,
    /// Connections to PostgreSQL at most, three of which are reserved; SQLite uses nine at most. 0 means the
    /// default.
    ///
    /// - default: `100`
    /// - at least: `0`
    /// - example: `20`
    pub max_open_conns: Option<i64>,
    /// Rows of decisions in one statement; larger numbers than 2000 count as 2000. 0 means the default.
    ///
    /// - default: `1000`
    /// - at least: `0`
    /// - example: `500`
    pub decision_bulk_size: Option<i64>,
    /// Its words are checked; the database logs at the level of the program.
    ///
    /// - words: `panic`, `fatal`, `error`, `warn`, `warning`, `info`, `debug`, `trace`
    /// - default: none
    /// - example: `info`
    pub log_level: Option<String>,
    /// What is deleted when. Without this block nothing is. Alerts with a decision in force always stay.
    pub flush: Option<Flush>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Flush {
    /// Alerts that are kept at most; the oldest go first.
    ///
    /// - default: any number
    /// - at least: `1`
    /// - example: `5000`
    pub max_items: Option<i64>,
    /// How long alerts are kept.
    ///
    /// - value: duration
    /// - default: for ever
    /// - example: `7d`
    pub max_age: Option<String>,
    /// How long usage reports are kept.
    ///
    /// - value: duration
    /// - default: `7d`
    /// - example: `30d`
    pub metrics_max_age: Option<String>,
    /// Bouncers that have sent no request for so long are deleted.
    pub bouncers_autodelete: Option<AutoDelete>,
    /// Machines that have sent no request for so long are deleted.
    pub agents_autodelete: Option<AutoDelete>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AutoDelete {
    /// Those with a certificate.
    ///
    /// - value: duration
    /// - default: never
    /// - example: `30d`
    pub cert: Option<String>,
    /// Those with a key: bouncers.
    ///
    /// - value: duration
    /// - default: never
    /// - example: `30d`
    pub api_key: Option<String>,
    /// Those with a password: machines.
    ///
    /// - value: duration
    /// - default: never
    /// - example: `30d`
    pub login_password: Option<String>,
}
