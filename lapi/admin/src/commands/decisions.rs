//! The `decisions` commands. Over HTTP as a machine, so they work from every registered host.

mod import;

use std::collections::HashSet;

use palisade_client::EndedDecisions;
use palisade_go_compat::quote;
use palisade_lapi_config::Output;
use palisade_wire::{Alert, Decision, GoDuration, Source, UnixMillis};

use super::filters::{DeleteFilter, ListFilter, SourceFilter, canonical_scope, push_given};
use crate::command_line::{given, integer};
use crate::failure::{Failure, while_doing};
use crate::output::{as_name, csv, json, line, print, table};
use crate::session::Session;

/// Decisions that `delete` names; the rest is counted.
const MAX_LISTED: usize = 10;
const DEFAULT_DURATION: GoDuration = GoDuration::from_nanos(4 * 3_600_000_000_000);
/// A larger difference of clocks is reported.
const MAX_CLOCK_DIFFERENCE: GoDuration = GoDuration::from_nanos(60_000_000_000);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List decisions from LAPI
    List(List),
    /// Add decision to LAPI
    Add(Add),
    /// Delete decisions
    #[command(visible_alias = "remove")]
    Delete(Delete),
    /// Import decisions from a file or pipe
    Import(import::Args),
}

impl Command {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(args) => list(session, &args).await,
            Self::Add(args) => add(session, &args).await,
            Self::Delete(args) => delete(session, &args).await,
            Self::Import(args) => import::run(session, &args).await,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    filter: ListFilter,
    /// restrict to this decision type (ie. ban,captcha)
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    kind: Option<String>,
    /// number of alerts to get (use 0 to remove the limit)
    #[arg(long, short, value_parser = integer, default_value = "100")]
    limit: i64,
    /// exclude decisions in simulation mode
    #[arg(long)]
    no_simu: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    #[command(flatten)]
    source: SourceFilter,
    /// Decision duration (ie. 1h,4h,30m; default 4h)
    #[arg(long, short)]
    duration: Option<GoDuration>,
    /// Decision scope (ie. ip,range,username; default Ip)
    #[arg(long)]
    scope: Option<String>,
    /// Decision reason (ie. scenario-name)
    #[arg(long, short = 'R')]
    reason: Option<String>,
    /// Decision type (ie. ban,captcha,throttle)
    #[arg(long = "type", value_name = "TYPE", short = 't', default_value = "ban")]
    kind: String,
    /// Add decision even if value is in allowlist
    #[arg(long, short = 'B')]
    bypass_allowlist: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    filter: DeleteFilter,
    /// the decision type (ie. ban,captcha)
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    kind: Option<String>,
    /// the value must match the specified origin (cscli,crowdsec,console,cscli-import,lists,CAPI,remediation_sync ...)
    #[arg(long)]
    origin: Option<String>,
    /// delete all decisions
    #[arg(long)]
    all: bool,
}

async fn list(session: &Session, args: &List) -> Result<(), Failure> {
    let mut query = args.filter.query(args.limit)?;
    let is_filtered = args.kind.is_some()
        || args.no_simu
        || query.iter().any(|(name, _)| !matches!(*name, "limit" | "include_capi"));
    push_given(&mut query, [("decision_type", &args.kind)]);
    query.push(("has_active_decision", "true".to_owned()));
    if args.no_simu {
        query.push(("simulated", "false".to_owned()));
    }
    let (client, _) = session.client()?;
    // Alerts and not decisions, because only they have the country, the AS and the number of events.
    let mut alerts = client.alerts(&query).await.map_err(while_doing("unable to retrieve decisions"))?;
    let is_complete = args.filter.is_unlimited()
        || args.limit <= 0
        || u64::try_from(args.limit).is_ok_and(|limit| (alerts.len() as u64) < limit);
    let skipped = drop_repeats(&mut alerts);
    // `cscli` limits the alerts, of which one may have any number of decisions.
    let is_cut =
        session.output == Output::Human && !session.as_cscli && args.limit > 0 && !args.filter.is_unlimited();
    let (shown, total) = cut(&mut alerts, if is_cut { args.limit.unsigned_abs() } else { u64::MAX });
    // Without a filter the LAPI knows how many there are.
    let counted = match is_cut && !is_complete && !is_filtered {
        true => client.status().await.ok().and_then(|status| status.state).map(|state| state.decisions),
        false => None,
    };
    match session.output {
        // No final newline, as in `cscli`.
        Output::Json => print(&as_json(&alerts)),
        Output::Raw => print(&raw(&alerts, args.filter.machine)?),
        Output::Human if alerts.is_empty() => line("No active decisions"),
        Output::Human => {
            print(&human(session.fancy, &alerts, args.filter.machine))?;
            if skipped > 0 {
                line(&format!("{skipped} duplicated entries skipped"))?;
            }
            let total = match is_cut && !is_complete {
                true => counted
                    .map_or_else(|| format!("at least {total}"), |counted| counted.max(total).to_string()),
                false => total.to_string(),
            };
            match is_cut && (shown.to_string() != total) {
                true => line(&format!("{shown} of {total} decisions; --limit 0 shows all")),
                false => Ok(()),
            }
        }
    }
}

/// Keeps the first `limit` decisions. Returns the number of those, and of all.
fn cut(alerts: &mut [Alert], limit: u64) -> (u64, u64) {
    let (mut shown, mut total) = (0, 0);
    for alert in alerts {
        total += alert.decisions.len() as u64;
        alert.decisions.truncate(usize::try_from(limit - shown).unwrap_or(usize::MAX));
        shown += alert.decisions.len() as u64;
    }
    (shown, total)
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
    let header = "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id";
    let rows = alerts.iter().flat_map(|alert| alert.decisions.iter().map(move |decision| (alert, decision)));
    let rows = rows.map(|(alert, decision)| {
        let mut row = cells(alert, decision, false);
        row.extend([decision.simulated.to_string(), alert.id.to_string()]);
        row.extend(with_machine.then(|| alert.machine_id.clone()));
        row
    });
    let header = if with_machine { format!("{header},machine") } else { header.to_owned() };
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
    table(fancy).header(&header).rows(rows).render()
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
            // Whatever the scope, as `cscli` posts it.
            ip: value.to_owned(),
            ..Source::default()
        },
        start_at: moment.clone(),
        stop_at: moment.clone(),
        created_at: moment,
        ..Alert::default()
    }
}

async fn add(session: &Session, args: &Add) -> Result<(), Failure> {
    let (scope, value) = match (args.source.address()?, given(&args.source.value)) {
        // `--ip` and `--range` win over `--scope` and `--value`.
        (Some((scope, value)), _) => (scope.to_owned(), value),
        (None, Some(value)) => (canonical_scope(&args.scope).unwrap_or_else(|| "Ip".to_owned()), value),
        (None, None) => {
            return Err(Failure::Usage(
                "missing arguments, a value is required (--ip, --range or --scope and --value)".to_owned(),
            ));
        }
    };
    let span = args.duration.unwrap_or(DEFAULT_DURATION);
    let duration = args.duration.map_or_else(|| "4h".to_owned(), |duration| duration.to_string());
    if !lasts(span) {
        // The stock CLI reports success.
        return Err(Failure::Command(ends_at_once(&duration)));
    }
    let (client, credentials) = session.client()?;
    let reason = match given(&args.reason) {
        Some(reason) => reason.to_owned(),
        None => format!("manual '{}' from '{}'", args.kind, credentials.login.unwrap_or_default()),
    };
    if matches!(&*scope, "Ip" | "Range") && !args.bypass_allowlist {
        match client.check_allowlist(value).await {
            Ok(answer) if answer.allowlisted => {
                return Err(Failure::Command(format!(
                    "{value} is allowlisted by item {}, use --bypass-allowlist to add the decision anyway",
                    answer.reason
                )));
            }
            Ok(_) => {}
            Err(error) => {
                // An old LAPI has no allowlists, which is no reason to refuse a ban.
                let failure = Failure::from(error);
                session.log.error(&format!("Cannot check if value is in allowlist: {failure}"));
            }
        }
    }
    let alert = by_hand(UnixMillis::now(), &scope, value, &args.kind, &duration, &reason);
    let ids = client.post_alerts(&[alert]).await?;
    if ids.is_empty() {
        // The stock CLI reports success here, but the LAPI drops values that are not addresses.
        return Err(Failure::Command(format!(
            "the LAPI did not take the decision: is '{value}' a valid value for scope '{scope}'?"
        )));
    }
    if let Some(ahead) = client.clock_difference()
        && let Some(warning) = check_clock(ahead, span)?
    {
        session.log.warn(&warning);
    }
    session.log.info("Decision successfully added");
    if session.is_json_only() {
        let added = serde_json::json!({
            "alert_id": ids[0], "scope": scope, "value": value, "type": args.kind, "duration": duration, "reason": reason,
        });
        line(&json(&added, 2))?;
    }
    Ok(())
}

async fn delete(session: &Session, args: &Delete) -> Result<(), Failure> {
    let query = args.filter.query([("type", &args.kind), ("origin", &args.origin)], args.all)?;
    // Before logging in, so that a wrong id fails without a LAPI.
    let id = args.filter.id().map(decision_id).transpose()?;
    let (client, _) = session.client()?;
    let ended = match id {
        Some(id) => client.delete_decision(id).await,
        None => client.delete_decisions(&query).await,
    };
    let ended = ended.map_err(while_doing("unable to delete decision"))?;
    session.log.info(&format!("{} decision(s) deleted", ended.count));
    if session.is_json_only() {
        line(&json(&serde_json::json!({ "deleted": ended.count, "decisions": ended.decisions }), 2))?;
    }
    for line in listed(&ended) {
        session.log.info(&line);
    }
    for decision in &ended.decisions {
        if let Some(wanted) = args.filter.narrower_than(&decision.value) {
            // At every level: more than what was named is open now.
            session.log.warn_always(&format!(
                "{}:{} covers more than {wanted}, and was deleted as a whole",
                decision.scope, decision.value
            ));
        }
    }
    Ok(())
}

/// The decisions that were ended, at most [`MAX_LISTED`] of them.
fn listed(ended: &EndedDecisions) -> Vec<String> {
    let shown = ended.decisions.iter().take(MAX_LISTED);
    let mut lines: Vec<String> = shown
        .map(|one| {
            format!(
                "deleted {} on {}:{} (id {}, origin {})",
                one.kind, one.scope, one.value, one.id, one.origin
            )
        })
        .collect();
    let more = ended.count.saturating_sub(lines.len() as u64);
    // A stock LAPI lists none.
    if more > 0 && !lines.is_empty() {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// Whether a decision of this duration is ever in force.
fn lasts(duration: GoDuration) -> bool {
    duration.nanos() > 0
}

fn ends_at_once(duration: &str) -> String {
    format!("a decision of '{duration}' is over before it begins; give a positive duration")
}

/// The effect of a clock on a decision, whose end this host computes: a warning, or an error if it is never in force.
fn check_clock(ahead: GoDuration, span: GoDuration) -> Result<Option<String>, Failure> {
    let behind = GoDuration::from_nanos(ahead.nanos().saturating_neg());
    if ahead >= span {
        Err(Failure::Command(format!(
            "the decision was over when it arrived: the clock of this host is {ahead} behind that of the LAPI"
        )))
    } else if ahead > MAX_CLOCK_DIFFERENCE {
        Ok(Some(format!(
            "the clock of this host is {ahead} behind that of the LAPI; the decision ends that much earlier"
        )))
    } else if behind > MAX_CLOCK_DIFFERENCE {
        Ok(Some(format!(
            "the clock of this host is {behind} ahead of that of the LAPI; the decision ends that much later"
        )))
    } else {
        Ok(None)
    }
}

fn decision_id(text: &str) -> Result<i64, Failure> {
    text.parse().map_err(|_| {
        Failure::advised(
            format!("id '{text}' is not an integer: strconv.Atoi: parsing {}: invalid syntax", quote(text)),
            "`palisade decisions list` shows them; for an address there is `--ip`",
        )
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
    fn a_limit_counts_decisions() {
        let mut alerts = vec![alert(3, &["1.2.3.4", "5.6.7.8"]), alert(2, &["9.9.9.9", "8.8.8.8"])];
        assert_eq!(cut(&mut alerts, u64::MAX), (4, 4));
        assert_eq!(cut(&mut alerts, 3), (3, 4));
        assert_eq!(alerts[1].decisions.len(), 1);
        assert_eq!(cut(&mut alerts, 1), (1, 3));
        assert!(alerts[1].decisions.is_empty());
    }

    #[test]
    fn a_clock_that_ends_decisions_is_reported() {
        let nanos = |seconds: i64| GoDuration::from_nanos(seconds * 1_000_000_000);
        let check =
            |ahead, span| check_clock(nanos(ahead), nanos(span)).map_err(|failure| failure.to_string());
        assert_eq!(check(30, 3600), Ok(None));
        assert_eq!(check(-30, 10), Ok(None));
        assert!(check(600, 3600).unwrap().unwrap().contains("10m0s behind"));
        assert!(check(-600, 3600).unwrap().unwrap().contains("10m0s ahead"));
        assert!(
            check(3600, 3600).unwrap_err().contains("over when it arrived: the clock of this host is 1h0m0s")
        );
    }

    #[test]
    fn simulated_decisions_are_marked_in_the_table() {
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
            decision_id("x").unwrap_err().to_string(),
            r#"id 'x' is not an integer: strconv.Atoi: parsing "x": invalid syntax"#
        );
    }
}
