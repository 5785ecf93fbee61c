//! `metrics`: shows the counters of the LAPI (from its metrics page) and of bouncers (from the database).

mod bouncer_report;
mod lapi_page;
mod prometheus_text;
mod sections;

use std::collections::BTreeMap;

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
        let wanted = sections::selected(&words)?;
        session.no_raw()?;
        show(session, &page, &wanted).await
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
            print(&table(session.fancy, &["Type", "Title", "Description"], rows))
        }
    }
}

async fn show(session: &Session, page: &Page, wanted: &[&'static str]) -> Result<(), Failure> {
    let mut all: BTreeMap<&str, Value> = BTreeMap::new();
    // Without a database here the other sections are still shown.
    if wanted.contains(&"bouncers") && session.server().is_ok() && session.config.database.is_some() {
        let store = session.store().await?;
        let reports = store.usage(UsageKind::RemediationComponent, None).await?;
        store.close().await;
        let report = Report::of(&reports);
        if session.output == Output::Human {
            print(&report.human(!page.no_unit))?;
        }
        all.insert("bouncers", report.json());
    }
    if wanted.iter().any(|section| *section != "bouncers") {
        let url = page_url(session, page);
        match lapi_page::fetch(&url).await {
            Ok(text) => lapi_page::scraped(&samples(&text), wanted, &mut all),
            // Not a failure: the LAPI may be down, and the section from the database does not need it.
            Err(reason) => session.log.warn(&format!("unable to retrieve metrics from {url}: {reason}")),
        }
    }
    if session.output == Output::Json {
        return line(&json(&all, 1));
    }
    for Section { kind, title, .. } in SECTIONS.iter().filter(|section| section.kind != "bouncers") {
        if let Some(Value::Object(content)) = all.get(kind).filter(|_| wanted.contains(kind)) {
            print(&lapi_page::human(kind, title, content))?;
        }
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
