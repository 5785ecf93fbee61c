//! `metrics`: shows the counters of the LAPI (from its metrics page) and of bouncers (from the database).

mod bouncer_report;
mod lapi_page;
mod number;
mod prometheus_text;
mod sections;

use std::collections::BTreeMap;
use std::time::Instant;

use palisade_lapi_config::Output;
use palisade_store::UsageKind;
use serde_json::Value;

use self::bouncer_report::Report;
use self::prometheus_text::samples;
use self::sections::{SECTIONS, Section};
use crate::command_line::given;
use crate::failure::Failure;
use crate::output::{json, line, print, table, yaml};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    page: Page,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Display all or part of the available metrics.
    Show {
        #[arg(value_name = "SECTION")]
        sections: Vec<String>,
        #[command(flatten)]
        page: Page,
    },
    /// List available types of metrics.
    List,
}

#[derive(Debug, clap::Args)]
struct Page {
    #[arg(long, short, help = "Prometheus url: http://<ip>:<port>/metrics")]
    url: Option<String>,
    /// Show the real number instead of formatted with units
    #[arg(long)]
    no_unit: bool,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let (words, page) = match self.command {
            Some(Command::List) => return list(session),
            Some(Command::Show { sections, page }) => (sections, page),
            None => (Vec::new(), self.page),
        };
        if session.config.prometheus.is_none() {
            return Err(Failure::Command("prometheus is not enabled, can't show metrics".to_owned()));
        }
        let wanted = sections::selected(&words)?;
        session.no_raw()?;
        // What was asked for by name is shown even if there is nothing.
        show(session, &page, &wanted, !words.is_empty()).await
    }
}

fn list(session: &Session) -> Result<(), Failure> {
    match session.output {
        Output::Json => line(&json(&SECTIONS, 2)),
        Output::Raw => print(&yaml(&SECTIONS)?),
        Output::Human => {
            let rows = SECTIONS.map(|section| {
                [section.kind, section.title, section.description].map(str::to_owned).to_vec()
            });
            print(&table(session.fancy).header(&["Type", "Title", "Description"]).ruled().rows(rows).render())
        }
    }
}

async fn show(
    session: &Session,
    page: &Page,
    wanted: &[&'static str],
    even_empty: bool,
) -> Result<(), Failure> {
    let mut all: BTreeMap<&str, Value> = BTreeMap::new();
    let mut bouncers = None;
    // Without a database here the other sections are still shown.
    if wanted.contains(&"bouncers") && session.server().is_ok() && session.config.database.is_some() {
        let store = session.store().await?;
        let reports = store.usage(UsageKind::RemediationComponent, None).await?;
        store.close().await;
        let report = Report::of(&reports);
        all.insert("bouncers", report.json());
        bouncers = Some(report);
    }
    if wanted.iter().any(|section| *section != "bouncers") {
        let url = page_url(session, page);
        let started = Instant::now();
        let fetched = lapi_page::fetch(&url).await;
        let took = started.elapsed().as_millis();
        let result = if fetched.is_ok() { "200" } else { "failed" };
        session
            .log
            .debug(&format!("request method=GET url={} result={result} took_ms={took}", without_user(&url)));
        match fetched {
            Ok(text) => lapi_page::scraped(&samples(&text), wanted, &mut all),
            // Not a failure: the LAPI may be down, and the section from the database does not need it.
            Err(reason) => session.log.warn(&format!("unable to retrieve metrics from {url}: {reason}")),
        }
    }
    if session.output == Output::Json {
        return line(&json(&all, 1));
    }
    for Section { kind, title, .. } in SECTIONS.iter().filter(|section| wanted.contains(&section.kind)) {
        let text = match (&bouncers, all.get(kind)) {
            (Some(report), _) if *kind == "bouncers" => {
                let text = report.human(session.fancy, !page.no_unit);
                let none = text.is_empty() && even_empty;
                Some(if none { "No bouncer metrics found.\n".to_owned() } else { text })
            }
            (_, Some(Value::Object(content))) => {
                lapi_page::human(session.fancy, kind, title, content, even_empty)
            }
            _ => None,
        };
        print(&text.unwrap_or_default())?;
    }
    Ok(())
}

/// The URL of the metrics page: from the flag, from the configuration, or where the LAPI of this host serves it.
fn page_url(session: &Session, page: &Page) -> String {
    let configured = given(&page.url).or(session.config.prometheus_uri.as_deref());
    configured.map(str::to_owned).unwrap_or_else(|| match &session.config.prometheus {
        Some(metrics) => {
            let host = match metrics.listen.addr.as_str() {
                "" | "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
                addr if addr.contains(':') => format!("[{addr}]"),
                addr => addr.to_owned(),
            };
            format!("http://{host}:{}/metrics", metrics.listen.port)
        }
        None => "http://127.0.0.1:6060/metrics".to_owned(),
    })
}

/// The URL without a user's name and password.
fn without_user(url: &str) -> String {
    let Ok(mut parsed) = reqwest::Url::parse(url) else { return String::new() };
    // Fails for URLs that cannot have any.
    let _ = parsed.set_username("").and_then(|()| parsed.set_password(None));
    parsed.to_string()
}
