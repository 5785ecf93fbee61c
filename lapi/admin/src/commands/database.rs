//! `database import`: takes over a database of CrowdSec.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use palisade_lapi_config::{Config, DbConfig as DbBlock, Output};
use palisade_store::{
    CrowdSecDatabase, DbConfig, ImportReport, OnProgress, PostgresServer, Retention, SslMode, Store,
};
use palisade_wire::UnixMillis;
use reqwest::Url;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{json, line, note, print, table};
use crate::session::Session;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Take over the machines, bouncers, allowlists, alerts and decisions of a CrowdSec database
    ///
    /// The first start of palisade-lapi does the same by itself. Another import takes what came since: nothing is taken
    /// twice, and what was deleted or lifted at CrowdSec is deleted or lifted here. CrowdSec's database is only read.
    Import(Import),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The database: CrowdSec's config.yaml, a SQLite file, or postgres://USER:PASSWORD@HOST/NAME (default: what
    /// db_config names)
    #[arg(long, value_name = "CONFIG|FILE|URL")]
    from: Option<String>,
    /// Show what would be taken, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Import(import) => import.run(session).await,
        }
    }
}

impl Import {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        session.server()?;
        let block = session.database()?;
        let database = match &self.from {
            Some(from) => source(from)?,
            None => block
                .store
                .crowdsec
                .clone()
                .ok_or_else(|| Failure::Command("db_config names no database; give --from".to_owned()))?,
        };
        let keep = block.flush.clone().unwrap_or_default();
        let bar = progress_bar(session);
        let shown = bar.clone();
        let on_progress: OnProgress = Arc::new(move |progress| {
            shown.set_length(progress.total);
            shown.set_position(progress.done);
        });
        let report = self.import(session, &block.store, &database, &keep, on_progress).await;
        bar.finish_and_clear();
        self.show(session, &database, &report?)
    }

    async fn import(
        &self,
        session: &Session,
        config: &DbConfig,
        database: &CrowdSecDatabase,
        keep: &Retention,
        on_progress: OnProgress,
    ) -> Result<ImportReport, Failure> {
        let now = UnixMillis::now();
        if self.dry_run && !Store::exists(config).await? {
            // Into a database that is thrown away, so that none is made here.
            let folder = tempfile::tempdir()?;
            let config = DbConfig::sqlite(folder.path().join("trial.db"));
            let (store, report) =
                Store::open_and_import(&config, now, database, keep, true, on_progress).await?;
            store.close().await;
            return Ok(report);
        }
        let (store, report) =
            Store::open_and_import(config, now, database, keep, self.dry_run, on_progress).await?;
        if !self.dry_run {
            session.sync(&store).await;
        }
        store.close().await;
        Ok(report)
    }

    fn show(
        &self,
        session: &Session,
        database: &CrowdSecDatabase,
        report: &ImportReport,
    ) -> Result<(), Failure> {
        if session.output == Output::Json {
            let kinds: serde_json::Map<_, _> = report
                .kinds()
                .into_iter()
                .map(|(kind, counts)| {
                    let counts = json!({
                        "added": counts.added, "changed": counts.changed, "removed": counts.removed,
                        "unchanged": counts.unchanged,
                    });
                    (kind.replace(' ', "_"), counts)
                })
                .collect();
            let skipped: Vec<_> = report
                .skipped
                .iter()
                .map(|(what, (count, first))| json!({"what": what, "count": count, "first": first}))
                .collect();
            let all = json!({
                "from": database.to_string(), "dry_run": self.dry_run, "taken": kinds,
                "decisions_in_force": report.in_force, "skipped": skipped,
            });
            return line(&json(&all, 2));
        }
        let rows = report.kinds().map(|(kind, counts)| {
            let numbers = [counts.added, counts.changed, counts.removed, counts.unchanged];
            std::iter::once(kind.to_owned()).chain(numbers.map(|number| number.to_string())).collect()
        });
        let verb = if self.dry_run { "Would take" } else { "Taken" };
        line(&format!("{verb} from {database}:"))?;
        print(
            &table(session.fancy)
                .header(&["", "new", "changed", "removed", "there already"])
                .rows(rows)
                .render(),
        )?;
        line(&format!("{} of the decisions are in force.", report.in_force))?;
        for (what, (count, first)) in &report.skipped {
            note(&format!("not taken: {what}: {count} (the first: {first})"));
        }
        Ok(())
    }
}

fn progress_bar(session: &Session) -> ProgressBar {
    if session.output != Output::Human || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style)
}

/// The database that `--from` names.
fn source(from: &str) -> Result<CrowdSecDatabase, Failure> {
    if from.starts_with("postgres://") || from.starts_with("postgresql://") {
        return server(from).map(CrowdSecDatabase::Server);
    }
    let path = Path::new(from);
    if matches!(path.extension().and_then(|end| end.to_str()), Some("yaml" | "yml")) {
        let named = Config::load(path)?.database.and_then(|block: DbBlock| block.store.crowdsec);
        return named.ok_or_else(|| Failure::Command(format!("{from} has no db_config")));
    }
    let path: PathBuf = std::path::absolute(path)?;
    Ok(CrowdSecDatabase::File(path))
}

fn server(url: &str) -> Result<PostgresServer, Failure> {
    // The URL contains a password and is not repeated.
    let wrong =
        |what: &str| Failure::Command(format!("--from: {what}; expected postgres://USER:PASSWORD@HOST/NAME"));
    let url = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    let mut server = PostgresServer {
        host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(5432),
        user: decoded(url.username()).ok_or_else(|| wrong("the user's name is not UTF-8"))?,
        password: decoded(url.password().unwrap_or_default())
            .ok_or_else(|| wrong("the password is not UTF-8"))?,
        name: url.path().trim_start_matches('/').to_owned(),
        ..PostgresServer::default()
    };
    for (key, value) in url.query_pairs() {
        match &*key {
            "sslmode" => {
                server.sslmode =
                    Some(SslMode::from_name(&value).ok_or_else(|| wrong("sslmode is none of PostgreSQL's"))?);
            }
            "host" if value.starts_with('/') => server.socket = Some(PathBuf::from(&*value)),
            other => return Err(wrong(&format!("the parameter {other} is not supported"))),
        }
    }
    if server.name.is_empty() {
        return Err(wrong("no database is named"));
    }
    Ok(server)
}

/// Text with `%41` for `A`.
fn decoded(text: &str) -> Option<String> {
    // As a form field, which is decoded the same way but for `+`.
    let field = format!("x={}", text.replace('+', "%2B"));
    let url = Url::parse(&format!("http://x/?{field}")).ok()?;
    url.query_pairs().next().map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_url() {
        let server =
            server("postgres://crowd%40sec:p%2Fw+1@[2001:db8::1]:6432/crowdsec?sslmode=require").unwrap();
        assert_eq!((server.host.as_str(), server.port), ("2001:db8::1", 6432));
        assert_eq!((server.user.as_str(), server.password.as_str()), ("crowd@sec", "p/w+1"));
        assert_eq!((server.name.as_str(), server.sslmode), ("crowdsec", Some(SslMode::Require)));
        for bad in ["postgres://x/", "postgres://u:secret@h/db?sslmode=never", "postgres://h/db?x=1"] {
            let error = super::server(bad).unwrap_err().to_string();
            assert!(error.contains("expected postgres://") && !error.contains("secret"), "{bad}: {error}");
        }
    }
}
