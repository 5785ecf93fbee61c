//! The `alerts` commands. Over HTTP, except `flush`, which deletes from the database.

use std::collections::BTreeMap;

use clap::Command;
use palisade_lapi_config::Output;
use palisade_store::Retention;
use palisade_wire::{Alert, GoDuration, UnixMillis};

use crate::alert_details;
use crate::cli::{Args, group, leaf, switch, value};
use crate::decisions::{as_name, filters};
use crate::failure::{Failure, while_doing};
use crate::output::{csv, json, line, print, table};
use crate::session::Session;

pub(crate) fn command() -> Command {
    let list = leaf("list", "List alerts", "")
        .arg(switch("all", 'a', "Include decisions from Central API"))
        .arg(value("until", '\0', "restrict to alerts older than until (ie. 4h, 30d)"))
        .arg(value("since", '\0', "restrict to alerts newer than since (ie. 4h, 30d)"))
        .arg(value("ip", 'i', "restrict to alerts from this source ip (shorthand for --scope ip --value <IP>)"))
        .arg(value("scenario", 's', "the scenario (ie. crowdsecurity/ssh-bf)"))
        .arg(value("range", 'r', "restrict to alerts from this range (shorthand for --scope range --value <RANGE/X>)"))
        .arg(value("type", '\0', "restrict to alerts with given decision type (ie. ban, captcha)"))
        .arg(value("scope", '\0', "restrict to alerts of this scope (ie. ip,range)"))
        .arg(value("value", 'v', "the value to match for in the specified scope"))
        .arg(value("origin", '\0', "the value must match the specified origin (cscli,crowdsec,console,cscli-import,lists,CAPI,remediation_sync ...)"))
        .arg(value("kind", '\0', "restrict to alerts of this kind (crowdsec, waf, capi, papi, cscli)"))
        .arg(switch("contained", '\0', "query decisions contained by range"))
        .arg(switch("machine", 'm', "print machines that sent alerts"))
        .arg(value("limit", 'l', "limit size of alerts list table (0 to view all alerts; default 50)"));
    let delete = leaf("delete", "Delete alerts", "")
        .visible_alias("remove")
        .arg(value("scope", '\0', "the scope (ie. ip,range)"))
        .arg(value("value", 'v', "the value to match for in the specified scope"))
        .arg(value("scenario", 's', "the scenario (ie. crowdsecurity/ssh-bf)"))
        .arg(value("ip", 'i', "Source ip (shorthand for --scope ip --value <IP>)"))
        .arg(value("range", 'r', "Range source ip (shorthand for --scope range --value <RANGE>)"))
        .arg(value("id", '\0', "alert ID"))
        .arg(switch("all", 'a', "delete all alerts"))
        .arg(switch("contained", '\0', "query decisions contained by range"));
    group("alerts", "Manage alerts")
        .visible_alias("alert")
        .subcommand(list)
        .subcommand(leaf("inspect", "Show info about an alert", "ALERT_ID").arg(switch(
            "details",
            'd',
            "show alerts with events",
        )))
        .subcommand(delete)
        .subcommand(
            leaf("flush", "Flush alerts", "")
                .arg(value(
                    "max-items",
                    '\0',
                    "Maximum number of alert items to keep in the database (default 5000)",
                ))
                .arg(value(
                    "max-age",
                    '\0',
                    "Maximum age of alert items to keep in the database (default 7d)",
                )),
        )
}

pub(crate) async fn run(session: &Session, name: &str, args: &Args<'_>) -> Result<(), Failure> {
    match name {
        "list" => list(session, args).await,
        "inspect" => inspect(session, args).await,
        "delete" => delete(session, args).await,
        _ => flush(session, args).await,
    }
}

async fn list(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    args.exactly::<0>()?;
    let all = args.is_set("all")?;
    let mut query = filters(
        args,
        &[
            ("until", "until"),
            ("since", "since"),
            ("ip", "ip"),
            ("scenario", "scenario"),
            ("range", "range"),
            ("type", "decision_type"),
            ("scope", "scope"),
            ("value", "value"),
            ("origin", "origin"),
            ("kind", "kind"),
        ],
    )?;
    let limit = if all { 0 } else { args.number("limit")?.unwrap_or(50) };
    query.push(("limit", limit.to_string()));
    query.push(("include_capi", all.to_string()));
    if args.is_set("contained")? {
        query.push(("contains", "false".to_owned()));
    }
    let with_machine = args.is_set("machine")?;
    let (client, _) = session.client()?;
    let alerts = client.alerts(&query).await.map_err(while_doing("unable to list alerts"))?;
    match session.output {
        Output::Json => print(&json(&alerts, 1)),
        Output::Raw => print(&raw(&alerts, with_machine)?),
        Output::Human if alerts.is_empty() => line("No active alerts"),
        Output::Human => print(&human(session.fancy, &alerts, with_machine)),
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
    let mut header =
        vec!["id", "scope", "value", "reason", "country", "as", "decisions", "created_at", "kind"];
    header.extend(with_machine.then_some("machine"));
    let rows = alerts.iter().map(|alert| {
        let mut row = vec![
            alert.id.to_string(),
            alert.source.scope.clone(),
            alert.source.value.clone(),
            alert.scenario.clone(),
            alert.source.cn.clone(),
            as_name(&alert.source),
            decisions(alert),
            alert.created_at.clone(),
            alert.kind.clone(),
        ];
        row.extend(with_machine.then(|| alert.machine_id.clone()));
        row
    });
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
    table(fancy, &header, rows)
}

async fn inspect(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    let ids = args.any();
    if ids.is_empty() {
        return Err(Failure::Usage("missing alert_id".to_owned()));
    }
    let details = args.is_set("details")?;
    let (client, _) = session.client()?;
    for text in ids {
        let id: i64 = text.parse().map_err(|_| Failure::Command(format!("bad alert id {text}")))?;
        let alert =
            client.alert(id).await.map_err(while_doing(&format!("can't find alert with id {text}")))?;
        match session.output {
            Output::Json => line(&json(&alert, 2))?,
            Output::Raw => print(&alert_details::yaml(&alert)?)?,
            Output::Human => print(&alert_details::human(session.fancy, &alert, details))?,
        }
    }
    Ok(())
}

async fn delete(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    args.exactly::<0>()?;
    let mut query = filters(
        args,
        &[("scope", "scope"), ("value", "value"), ("scenario", "scenario"), ("ip", "ip"), ("range", "range")],
    )?;
    let id = args.text("id").filter(|id| !id.is_empty());
    let all = args.is_set("all")?;
    if query.is_empty() && id.is_none() && !all {
        return Err(Failure::Usage("at least one filter or --all must be specified".to_owned()));
    }
    if all {
        query.clear();
    } else if args.is_set("contained")? {
        query.push(("contains", "false".to_owned()));
    }
    query.push(("limit", "0".to_owned()));
    let (client, _) = session.client()?;
    let count = match id {
        Some(id) => {
            let id: i64 = id.parse().map_err(|_| Failure::Command(format!("bad alert id {id}")))?;
            client.delete_alert(id).await
        }
        None => client.delete_alerts(&query).await,
    };
    let count = count.map_err(while_doing("unable to delete alert"))?;
    session.log.info(&format!("{count} alert(s) deleted"));
    Ok(())
}

async fn flush(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    args.exactly::<0>()?;
    let max_items = args.number("max-items")?.unwrap_or(5000);
    let max_age = args.duration("max-age")?.unwrap_or(GoDuration::from_nanos(7 * 86_400 * 1_000_000_000));
    let keep = Retention {
        max_items: u64::try_from(max_items).ok().filter(|most| *most > 0),
        max_age: max_age.to_std().filter(|age| !age.is_zero()),
        ..Retention::default()
    };
    let store = session.store().await?;
    session.log.info("Flushing alerts. !! This may take a long time !!");
    let flushed =
        store.flush(UnixMillis::now(), &keep).await.map_err(while_doing("unable to flush alerts"))?;
    store.close().await;
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
    fn the_value_tells_how_many() {
        let mut import = alert(&["1.2.3.4", "5.6.7.8"]);
        import.source = Source::default();
        assert_eq!(about(&import), " (2 Ips)");
        assert_eq!(about(&alert(&["1.2.3.4", "5.6.7.8"])), "Ip (2 Ips)");
        let mut nobody = alert(&[]);
        nobody.source.value = String::new();
        assert_eq!((about(&nobody), decisions(&nobody)), ("Ip".to_owned(), String::new()));
    }
}
