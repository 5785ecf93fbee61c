//! The `decisions` commands. Over HTTP as a machine, so they work from every registered host.

use std::collections::HashSet;
use std::net::IpAddr;

use clap::Command;
use ipnet::IpNet;
use palisade_go_compat::quote;
use palisade_lapi_config::Output;
use palisade_wire::{Alert, Decision, Scope, Source, UnixMillis};

use crate::cli::{Args, group, leaf, switch, value};
use crate::failure::Failure;
use crate::import;
use crate::output::{csv, json, line, print, table};
use crate::session::Session;

pub(crate) fn command() -> Command {
    let list = leaf("list", "List decisions from LAPI", "")
        .arg(switch("all", 'a', "Include decisions from Central API"))
        .arg(value("since", '\0', "restrict to alerts newer than since (ie. 4h, 30d)"))
        .arg(value("until", '\0', "restrict to alerts older than until (ie. 4h, 30d)"))
        .arg(value("type", 't', "restrict to this decision type (ie. ban,captcha)"))
        .arg(value("scope", '\0', "restrict to this scope (ie. ip,range,session)"))
        .arg(value("origin", '\0', "the value must match the specified origin (cscli,crowdsec,console,cscli-import,lists,CAPI,remediation_sync ...)"))
        .arg(value("value", 'v', "restrict to this value (ie. 1.2.3.4,userName)"))
        .arg(value("scenario", 's', "restrict to this scenario (ie. crowdsecurity/ssh-bf)"))
        .arg(value("ip", 'i', "restrict to alerts from this source ip (shorthand for --scope ip --value <IP>)"))
        .arg(value("range", 'r', "restrict to alerts from this source range (shorthand for --scope range --value <RANGE>)"))
        .arg(value("limit", 'l', "number of alerts to get (use 0 to remove the limit; default 100)"))
        .arg(switch("no-simu", '\0', "exclude decisions in simulation mode"))
        .arg(switch("machine", 'm', "print machines that triggered decisions"))
        .arg(switch("contained", '\0', "query decisions contained by range"));
    let add = leaf("add", "Add decision to LAPI", "")
        .arg(value("ip", 'i', "Source ip (shorthand for --scope ip --value <IP>)"))
        .arg(value("range", 'r', "Range source ip (shorthand for --scope range --value <RANGE>)"))
        .arg(value("duration", 'd', "Decision duration (ie. 1h,4h,30m; default 4h)"))
        .arg(value("value", 'v', "The value (ie. --scope username --value foobar)"))
        .arg(value("scope", '\0', "Decision scope (ie. ip,range,username; default Ip)"))
        .arg(value("reason", 'R', "Decision reason (ie. scenario-name)"))
        .arg(value("type", 't', "Decision type (ie. ban,captcha,throttle; default ban)"))
        .arg(switch("bypass-allowlist", 'B', "Add decision even if value is in allowlist"));
    let delete = leaf("delete", "Delete decisions", "")
        .visible_alias("remove")
        .arg(value("ip", 'i', "Source ip (shorthand for --scope ip --value <IP>)"))
        .arg(value("range", 'r', "Range source ip (shorthand for --scope range --value <RANGE>)"))
        .arg(value("type", 't', "the decision type (ie. ban,captcha)"))
        .arg(value("value", 'v', "the value to match for in the specified scope"))
        .arg(value("scenario", 's', "the scenario name (ie. crowdsecurity/ssh-bf)"))
        .arg(value("origin", '\0', "the value must match the specified origin (cscli,crowdsec,console,cscli-import,lists,CAPI,remediation_sync ...)"))
        .arg(value("id", '\0', "decision id"))
        .arg(switch("all", '\0', "delete all decisions"))
        .arg(switch("contained", '\0', "query decisions contained by range"));
    group("decisions", "Manage decisions")
        .visible_alias("decision")
        .subcommand(list)
        .subcommand(add)
        .subcommand(delete)
        .subcommand(import::command())
}

pub(crate) async fn run(session: &Session, name: &str, args: &Args<'_>) -> Result<(), Failure> {
    match name {
        "list" => list(session, args).await,
        "add" => add(session, args).await,
        "delete" => delete(session, args).await,
        _ => import::run(session, args).await,
    }
}

/// The filters that alerts and decisions share: flag and query parameter.
pub(crate) fn filters(
    args: &Args<'_>,
    names: &[(&'static str, &'static str)],
) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut query = Vec::new();
    for (flag, parameter) in names {
        let Some(text) = args.text(flag).filter(|text| !text.is_empty()) else { continue };
        let text = match *flag {
            "ip" if text.parse::<IpAddr>().is_err() => {
                return Err(Failure::Command(format!("{text} is not a valid ip")));
            }
            "range" if !text.contains('/') || text.parse::<IpNet>().is_err() => {
                return Err(Failure::Command(format!("{text} is not a valid range")));
            }
            "scope" => Scope::parse(text).as_str().to_owned(),
            // Old servers do not accept days.
            "since" | "until" => args.duration(flag)?.unwrap_or_default().to_string(),
            _ => text.to_owned(),
        };
        query.push((*parameter, text));
    }
    Ok(query)
}

async fn list(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    args.exactly::<0>()?;
    let all = args.is_set("all")?;
    let mut query = filters(
        args,
        &[
            ("since", "since"),
            ("until", "until"),
            ("type", "decision_type"),
            ("scope", "scope"),
            ("origin", "origin"),
            ("value", "value"),
            ("scenario", "scenario"),
            ("ip", "ip"),
            ("range", "range"),
        ],
    )?;
    query.push(("has_active_decision", "true".to_owned()));
    query.push(("include_capi", all.to_string()));
    let limit = if all { 0 } else { args.number("limit")?.unwrap_or(100) };
    query.push(("limit", limit.to_string()));
    if args.is_set("no-simu")? {
        query.push(("simulated", "false".to_owned()));
    }
    if args.is_set("contained")? {
        query.push(("contains", "false".to_owned()));
    }
    let with_machine = args.is_set("machine")?;
    let (client, _) = session.client()?;
    let mut alerts =
        client.alerts(&query).await.map_err(crate::failure::while_doing("unable to retrieve decisions"))?;
    let skipped = drop_repeats(&mut alerts);
    match session.output {
        Output::Json => print(&as_json(&alerts)),
        Output::Raw => print(&raw(&alerts, with_machine)?),
        Output::Human if alerts.is_empty() => line("No active decisions"),
        Output::Human => {
            print(&human(session.fancy, &alerts, with_machine))?;
            if skipped > 0 {
                line(&format!("{skipped} duplicated entries skipped"))?;
            }
            Ok(())
        }
    }
}

/// Keeps the first of the decisions with the same type, scope and value, and returns the number of dropped ones.
fn drop_repeats(alerts: &mut [Alert]) -> usize {
    let mut seen = HashSet::new();
    let mut skipped = 0;
    for alert in alerts {
        alert.decisions.retain(|decision| {
            let key =
                (decision.simulated, decision.kind.clone(), decision.scope.clone(), decision.value.clone());
            let first = seen.insert(key);
            skipped += usize::from(!first);
            first
        });
    }
    skipped
}

/// The alerts as JSON; if all decisions were dropped as repeats there is an empty list, not `null`.
fn as_json(alerts: &[Alert]) -> String {
    let text = json(&alerts, 1);
    // The key occurs at this depth once per alert, and nowhere else at this depth.
    text.replace("\n  \"decisions\": null", "\n  \"decisions\": []")
}

/// `AS64500 Example`, as far as known.
pub(crate) fn as_name(source: &Source) -> String {
    format!("{} {}", source.as_number, source.as_name).trim().to_owned()
}

fn cells(alert: &Alert, decision: &Decision, human: bool) -> Vec<String> {
    let kind =
        if human && decision.simulated { format!("(simul){}", decision.kind) } else { decision.kind.clone() };
    vec![
        decision.id.to_string(),
        decision.origin.clone(),
        format!("{}:{}", decision.scope, decision.value),
        decision.scenario.clone(),
        kind,
        alert.source.cn.clone(),
        as_name(&alert.source),
        alert.events_count.to_string(),
        decision.duration.clone(),
    ]
}

fn raw(alerts: &[Alert], with_machine: bool) -> Result<String, Failure> {
    let mut header = vec![
        "id",
        "source",
        "ip",
        "reason",
        "action",
        "country",
        "as",
        "events_count",
        "expiration",
        "simulated",
        "alert_id",
    ];
    header.extend(with_machine.then_some("machine"));
    let rows = alerts.iter().flat_map(|alert| alert.decisions.iter().map(move |decision| (alert, decision)));
    let rows = rows.map(|(alert, decision)| {
        let mut row = cells(alert, decision, false);
        row.extend([decision.simulated.to_string(), alert.id.to_string()]);
        row.extend(with_machine.then(|| alert.machine_id.clone()));
        row
    });
    csv(&header, rows)
}

fn human(fancy: bool, alerts: &[Alert], with_machine: bool) -> String {
    let mut header = vec![
        "ID",
        "Source",
        "Scope:Value",
        "Reason",
        "Action",
        "Country",
        "AS",
        "Events",
        "expiration",
        "Alert ID",
    ];
    header.extend(with_machine.then_some("Machine"));
    let rows = alerts.iter().flat_map(|alert| alert.decisions.iter().map(move |decision| (alert, decision)));
    let rows = rows.map(|(alert, decision)| {
        let mut row = cells(alert, decision, true);
        row.push(alert.id.to_string());
        row.extend(with_machine.then(|| alert.machine_id.clone()));
        row
    });
    table(fancy, &header, rows)
}

/// The alert that carries a manually added decision.
fn by_hand(now: UnixMillis, scope: &str, value: &str, kind: &str, duration: &str, reason: &str) -> Alert {
    let moment = now.rfc3339();
    Alert {
        decisions: vec![Decision {
            duration: duration.to_owned(),
            origin: "cscli".to_owned(),
            scenario: reason.to_owned(),
            scope: scope.to_owned(),
            kind: kind.to_owned(),
            value: value.to_owned(),
            ..Decision::default()
        }],
        events_count: 1,
        kind: "cscli".to_owned(),
        leakspeed: "0".to_owned(),
        message: reason.to_owned(),
        remediation: true,
        scenario: reason.to_owned(),
        source: Source {
            scope: scope.to_owned(),
            value: value.to_owned(),
            ip: value.to_owned(),
            ..Source::default()
        },
        start_at: moment.clone(),
        stop_at: moment.clone(),
        created_at: moment,
        ..Alert::default()
    }
}

async fn add(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    args.exactly::<0>()?;
    let given = filters(args, &[("ip", "Ip"), ("range", "Range"), ("value", ""), ("scope", "")])?;
    let (scope, value) = match given.first() {
        Some((scope @ ("Ip" | "Range"), value)) => ((*scope).to_owned(), value.clone()),
        _ => {
            let value = args.text("value").unwrap_or_default();
            if value.is_empty() {
                return Err(Failure::Usage(
                    "missing arguments, a value is required (--ip, --range or --scope and --value)"
                        .to_owned(),
                ));
            }
            (Scope::parse(args.text("scope").unwrap_or("Ip")).as_str().to_owned(), value.to_owned())
        }
    };
    let kind = args.text("type").unwrap_or("ban");
    let duration = args.duration("duration")?.map_or_else(|| "4h".to_owned(), |span| span.to_string());
    let (client, credentials) = session.client()?;
    let login = credentials.login.unwrap_or_default();
    let reason = match args.text("reason").filter(|reason| !reason.is_empty()) {
        Some(reason) => reason.to_owned(),
        None => format!("manual '{kind}' from '{login}'"),
    };
    if matches!(&*scope, "Ip" | "Range") && !args.is_set("bypass-allowlist")? {
        match client.check_allowlist(&value).await {
            Ok(answer) if answer.allowlisted => {
                return Err(Failure::Command(format!(
                    "{value} is allowlisted by item {}, use --bypass-allowlist to add the decision anyway",
                    answer.reason
                )));
            }
            Ok(_) => {}
            Err(error) => {
                let failure = Failure::from(error);
                session.log.error(&format!("Cannot check if value is in allowlist: {failure}"));
            }
        }
    }
    let alert = by_hand(UnixMillis::now(), &scope, &value, kind, &duration, &reason);
    let ids = client.post_alerts(&[alert]).await?;
    if ids.is_empty() {
        // The stock CLI reports success here, but the LAPI drops values that are not addresses.
        return Err(Failure::Command(format!(
            "the LAPI did not take the decision: is '{value}' a valid value for scope '{scope}'?"
        )));
    }
    session.log.info("Decision successfully added");
    Ok(())
}

async fn delete(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    args.exactly::<0>()?;
    let mut query = filters(
        args,
        &[
            ("ip", "ip"),
            ("range", "range"),
            ("type", "type"),
            ("value", "value"),
            ("scenario", "scenario"),
            ("origin", "origin"),
        ],
    )?;
    let id = args.text("id").filter(|id| !id.is_empty());
    if query.is_empty() && id.is_none() && !args.is_set("all")? {
        return Err(Failure::Usage("at least one filter or --all must be specified".to_owned()));
    }
    if args.is_set("contained")? {
        query.push(("contains", "false".to_owned()));
    }
    let id = id.map(integer).transpose()?;
    let (client, _) = session.client()?;
    let count = match id {
        Some(id) => client.delete_decision(id).await,
        None if args.is_set("all")? => client.delete_decisions(&[]).await,
        None => client.delete_decisions(&query).await,
    };
    let count = count.map_err(crate::failure::while_doing("unable to delete decision"))?;
    session.log.info(&format!("{count} decision(s) deleted"));
    Ok(())
}

/// Parses a decision's id.
fn integer(text: &str) -> Result<i64, Failure> {
    text.parse().map_err(|_| {
        Failure::Command(format!(
            "id '{text}' is not an integer: strconv.Atoi: parsing {}: invalid syntax",
            quote(text)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(id: i64, values: &[&str]) -> Alert {
        let moment = UnixMillis::parse_rfc3339("2026-07-01T10:00:00Z").unwrap();
        let mut alert = by_hand(moment, "Ip", values[0], "ban", "3h59m58s", "manual 'ban' from 'host1'");
        let one = alert.decisions[0].clone();
        alert.decisions =
            values.iter().map(|value| Decision { id, value: (*value).to_owned(), ..one.clone() }).collect();
        alert.machine_id = "host1".to_owned();
        alert.id = id;
        alert
    }

    #[test]
    fn repeats_go_in_every_form() {
        let mut alerts = vec![alert(3, &["1.2.3.4", "5.6.7.8"]), alert(2, &["1.2.3.4"])];
        assert_eq!(drop_repeats(&mut alerts), 1);
        assert_eq!(
            raw(&alerts, true).unwrap(),
            "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id,machine\n\
             3,cscli,Ip:1.2.3.4,manual 'ban' from 'host1',ban,,,1,3h59m58s,false,3,host1\n\
             3,cscli,Ip:5.6.7.8,manual 'ban' from 'host1',ban,,,1,3h59m58s,false,3,host1\n"
        );
        let shown = human(false, &alerts, false);
        assert!(
            shown.contains("| 3  | cscli  | Ip:1.2.3.4  | manual 'ban' from 'host1' | ban    |         |    | 1      | 3h59m58s   | 3        |"),
            "{shown}"
        );
        let shown = as_json(&alerts);
        assert!(shown.contains("\n  \"decisions\": [],\n  \"events\": null,"), "{shown}");
        assert!(shown.starts_with("[\n {\n  \"capacity\": 0,\n"), "{shown}");
        assert_eq!(as_json(&[]), "[]");
    }

    #[test]
    fn a_rehearsal_is_marked_for_people() {
        let mut alerts = [alert(1, &["1.2.3.4"])];
        alerts[0].decisions[0].simulated = true;
        alerts[0].source.as_number = "64500".into();
        alerts[0].source.as_name = "Example".into();
        assert!(human(false, &alerts, false).contains("| (simul)ban |"));
        assert!(raw(&alerts, false).unwrap().contains(",ban,,64500 Example,1,3h59m58s,true,1\n"));
    }

    #[test]
    fn a_ban_by_hand_is_posted_as_stock_servers_know_it() {
        let text = serde_json::to_string(&alert(0, &["1.2.3.4"]).posting()).unwrap();
        for part in [
            r#""capacity":0"#,
            r#""kind":"cscli""#,
            r#""remediation":true"#,
            r#""leakspeed":"0""#,
            r#""source":{"ip":"1.2.3.4","scope":"Ip","value":"1.2.3.4"}"#,
            r#""events_count":1"#,
            r#""events":[]"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(
            integer("x").unwrap_err().to_string(),
            r#"id 'x' is not an integer: strconv.Atoi: parsing "x": invalid syntax"#
        );
    }
}
