//! The `alerts` commands. Over HTTP, except `flush`, which deletes from the database.

mod inspect;

use std::collections::BTreeMap;

use palisade_lapi_config::Output;
use palisade_store::{Retention, Store};
use palisade_wire::{Alert, GoDuration, UnixMillis};

use super::filters::{DeleteFilter, ListFilter, canonical_scope, push_given};
use crate::command_line::integer;
use crate::failure::{Failure, while_doing};
use crate::output::{as_name, csv, json, line, print, table};
use crate::session::Session;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List alerts
    List(List),
    /// Show info about an alert
    Inspect {
        #[arg(value_name = "ALERT_ID")]
        ids: Vec<String>,
        /// show alerts with events
        #[arg(long, short)]
        details: bool,
    },
    /// Delete alerts
    #[command(visible_alias = "remove")]
    Delete(Delete),
    /// Flush alerts
    Flush {
        /// Maximum number of alert items to keep in the database
        #[arg(long, value_parser = integer, default_value = "5000")]
        max_items: i64,
        /// Maximum age of alert items to keep in the database
        #[arg(long, default_value = "7d")]
        max_age: GoDuration,
    },
}

impl Command {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(args) => list(session, &args).await,
            Self::Inspect { ids, details } => inspect(session, &ids, details).await,
            Self::Delete(args) => delete(session, &args).await,
            Self::Flush { max_items, max_age } => flush(session, max_items, max_age).await,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    filter: ListFilter,
    /// restrict to alerts with given decision type (ie. ban, captcha)
    #[arg(long = "type", value_name = "TYPE")]
    decision_type: Option<String>,
    /// restrict to alerts of this kind (crowdsec, waf, capi, papi, cscli)
    #[arg(long)]
    kind: Option<String>,
    /// limit size of alerts list table (0 to view all alerts)
    #[arg(long, short, value_parser = integer, default_value = "50")]
    limit: i64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    filter: DeleteFilter,
    /// the scope (ie. ip,range)
    #[arg(long)]
    scope: Option<String>,
    /// delete all alerts
    #[arg(long, short)]
    all: bool,
}

async fn list(session: &Session, args: &List) -> Result<(), Failure> {
    let mut query = args.filter.query(args.limit)?;
    push_given(&mut query, [("decision_type", &args.decision_type), ("kind", &args.kind)]);
    let (client, _) = session.client()?;
    let alerts = client.alerts(&query).await.map_err(while_doing("unable to list alerts"))?;
    match session.output {
        // No final newline, as in `cscli`.
        Output::Json => print(&json(&alerts, 1)),
        Output::Raw => print(&raw(&alerts, args.filter.machine)?),
        Output::Human if alerts.is_empty() => line("No active alerts"),
        Output::Human => print(&human(session.fancy, &alerts, args.filter.machine)),
    }
}

/// `ban:2 captcha:1`, simulated ones counted separately.
fn decisions(alert: &Alert) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for decision in &alert.decisions {
        let kind =
            if decision.simulated { format!("(simul){}", decision.kind) } else { decision.kind.clone() };
        *counts.entry(kind).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(kind, count)| format!("{kind}:{count}")).collect();
    counts.join(" ")
}

/// The alert's source in one cell.
fn about(alert: &Alert) -> String {
    let scope = &alert.source.scope;
    match &alert.decisions[..] {
        [first, _, ..] => format!("{scope} ({} {}s)", alert.decisions.len(), first.scope),
        _ if alert.source.value.is_empty() => scope.clone(),
        _ => format!("{scope}:{}", alert.source.value),
    }
}

fn raw(alerts: &[Alert], with_machine: bool) -> Result<String, Failure> {
    let header = "id,scope,value,reason,country,as,decisions,created_at,kind";
    let rows = alerts.iter().map(|alert| {
        let mut row = vec![
            alert.id.to_string(),
            alert.source.scope.clone(),
            alert.source.value.clone(),
            alert.scenario.clone(),
            alert.source.cn.clone(),
            as_name(&alert.source),
            decisions(alert),
            // The table shows the start under this heading, and CSV the creation: as in `cscli`.
            alert.created_at.clone(),
            alert.kind.clone(),
        ];
        row.extend(with_machine.then(|| alert.machine_id.clone()));
        row
    });
    let header = if with_machine { format!("{header},machine") } else { header.to_owned() };
    csv(&header, rows)
}

fn human(fancy: bool, alerts: &[Alert], with_machine: bool) -> String {
    let mut header = vec!["ID", "value", "reason", "country", "as", "decisions", "created_at", "kind"];
    header.extend(with_machine.then_some("machine"));
    let rows = alerts.iter().map(|alert| {
        let mut row = vec![
            alert.id.to_string(),
            about(alert),
            alert.scenario.clone(),
            alert.source.cn.clone(),
            as_name(&alert.source),
            decisions(alert),
            alert.start_at.clone(),
            alert.kind.clone(),
        ];
        row.extend(with_machine.then(|| alert.machine_id.clone()));
        row
    });
    table(fancy).header(&header).rows(rows).render()
}

async fn inspect(session: &Session, ids: &[String], details: bool) -> Result<(), Failure> {
    if ids.is_empty() {
        return Err(Failure::Usage("missing alert_id".to_owned()));
    }
    let (client, _) = session.client()?;
    for text in ids {
        // One after the other, so that those before a wrong id are printed.
        let alert = client
            .alert(alert_id(text)?)
            .await
            .map_err(while_doing(&format!("can't find alert with id {text}")))?;
        match session.output {
            Output::Json => line(&json(&alert, 2))?,
            Output::Raw => print(&inspect::yaml(&alert)?)?,
            Output::Human => print(&inspect::human(session.fancy, &alert, details))?,
        }
    }
    Ok(())
}

fn alert_id(text: &str) -> Result<i64, Failure> {
    let advice = "it is a number: `palisade alerts list` shows them";
    text.parse().map_err(|_| Failure::advised(format!("bad alert id {text}"), advice))
}

async fn delete(session: &Session, args: &Delete) -> Result<(), Failure> {
    let mut query = args.filter.query([("scope", &canonical_scope(&args.scope))], args.all)?;
    // No limit, as `cscli` sends it.
    query.push(("limit", "0".to_owned()));
    let (client, _) = session.client()?;
    let count = match args.filter.id() {
        Some(id) => client.delete_alert(alert_id(id)?).await,
        None => client.delete_alerts(&query).await,
    };
    let count = count.map_err(while_doing("unable to delete alert"))?;
    session.log.info(&format!("{count} alert(s) deleted"));
    Ok(())
}

async fn flush(session: &Session, max_items: i64, max_age: GoDuration) -> Result<(), Failure> {
    let keep = Retention {
        max_items: u64::try_from(max_items).ok().filter(|most| *most > 0),
        max_age: max_age.to_std().filter(|age| !age.is_zero()),
        ..Retention::default()
    };
    let flush = async |store: &Store| {
        session.log.info("Flushing alerts. !! This may take a long time !!");
        store.flush(UnixMillis::now(), &keep).await.map_err(while_doing("unable to flush alerts"))
    };
    let flushed = session.change(flush).await?;
    session.log.info(&format!("Alerts flushed: {} deleted", flushed.alerts));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_wire::{Decision, Source};

    fn alert(values: &[&str]) -> Alert {
        let decision = |value: &&str| Decision {
            scope: "Ip".into(),
            kind: "ban".into(),
            value: (*value).into(),
            ..Decision::default()
        };
        Alert {
            id: 7,
            created_at: "2026-07-01T10:00:01Z".into(),
            start_at: "2026-07-01T10:00:00Z".into(),
            scenario: "crowdsecurity/ssh-bf".into(),
            kind: "crowdsec".into(),
            machine_id: "web-1".into(),
            source: Source {
                scope: "Ip".into(),
                value: "1.2.3.4".into(),
                cn: "FR".into(),
                ..Source::default()
            },
            decisions: values.iter().map(decision).collect(),
            ..Alert::default()
        }
    }

    #[test]
    fn an_alert_is_shown_in_three_forms() {
        let mut one = alert(&["1.2.3.4"]);
        assert_eq!(
            raw(&[one.clone()], false).unwrap(),
            "id,scope,value,reason,country,as,decisions,created_at,kind\n\
             7,Ip,1.2.3.4,crowdsecurity/ssh-bf,FR,,ban:1,2026-07-01T10:00:01Z,crowdsec\n"
        );
        let shown = human(false, &[one.clone()], true);
        assert!(
            shown.contains(
                "| 7  | Ip:1.2.3.4 | crowdsecurity/ssh-bf | FR      |    | ban:1     | 2026-07-01T10:00:00Z | crowdsec | web-1   |"
            ),
            "{shown}"
        );
        one.decisions[0].simulated = true;
        assert_eq!(decisions(&one), "(simul)ban:1");
    }

    #[test]
    fn the_value_column_counts_decisions() {
        let mut import = alert(&["1.2.3.4", "5.6.7.8"]);
        import.source = Source::default();
        assert_eq!(about(&import), " (2 Ips)");
        assert_eq!(about(&alert(&["1.2.3.4", "5.6.7.8"])), "Ip (2 Ips)");
        let mut without_value = alert(&[]);
        without_value.source.value = String::new();
        assert_eq!((about(&without_value), decisions(&without_value)), ("Ip".to_owned(), String::new()));
    }
}
