//! Formats a report as text. Pure.

use palisade_bouncer::control::{Effect, Source, printable};

use super::report::{CacheReport, ChainReport, HookReport, Report};

/// The report, line by line.
pub(crate) fn text(report: &Report) -> String {
    let mut lines = vec![summary(report)];
    lines.extend(report.disagreements.iter().map(|text| format!("  DISAGREEMENT: {text}")));
    lines.extend(cache(&report.cache));
    if let Some(set) = &report.set {
        lines.push(format!("set {}: {}", set.set, set.element));
        lines.extend(set.rules.iter().map(|rule| format!("  looked at by {rule}")));
        if set.rules.is_empty() {
            lines.push("  no rule looks at it".to_owned());
        }
    }
    for hook in &report.hooks {
        lines.extend(self::hook(report, hook));
    }
    lines.push(format!("assumed: {}", report.assumed));
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    // Names come from the kernel and from a LAPI: control sequences must not reach the terminal.
    lines.iter().map(|line| printable(line) + "\n").collect()
}

fn summary(report: &Report) -> String {
    let at = |denied| {
        let hooks = report.hooks.iter().filter(move |hook| hook.denied == denied);
        hooks.map(direction).collect::<Vec<_>>().join(", ")
    };
    let address = report.address;
    match (at(true), at(false)) {
        (denied, passed) if denied.is_empty() && passed.is_empty() => {
            format!("{address}: no chain of the kernel is concerned")
        }
        (denied, passed) if denied.is_empty() => format!("{address}: let through by the kernel at {passed}"),
        (denied, passed) if passed.is_empty() => format!("{address}: denied by the kernel at {denied}"),
        (denied, passed) => format!("{address}: denied by the kernel at {denied}; let through at {passed}"),
    }
}

fn direction(hook: &HookReport) -> String {
    match hook.side {
        "destination" => format!("{} (as destination)", hook.hook),
        _ => hook.hook.to_owned(),
    }
}

fn cache(cache: &CacheReport) -> Vec<String> {
    let Effect { denied, reason } = &cache.effect;
    let effect = match denied {
        Some(true) => format!("denied ({reason})"),
        Some(false) => format!("let through: {reason}"),
        None => reason.clone(),
    };
    let source = match cache.source {
        Some(Source::Running) => "cache",
        Some(Source::Remembered) => "remembered decisions (no bouncer is running)",
        None => "cache unknown, not compared",
    };
    let mut lines = vec![format!("{source}: {effect}")];
    lines.extend(cache.decisions.iter().map(|held| format!("  {held}")));
    if cache.not_listed > 0 {
        lines.push(format!("  and {} more", cache.not_listed));
    }
    lines
}

fn hook(report: &Report, hook: &HookReport) -> Vec<String> {
    let towards = if hook.side == "destination" { "to" } else { "from" };
    let mut lines = vec![format!("hook {}, {towards} {}: {}", hook.hook, report.address, hook.verdict)];
    lines.extend(
        hook.may_deny.iter().map(|rule| format!("  may be denied before (cannot be judged): {rule}")),
    );
    lines.extend(hook.missing.iter().map(|missing| format!("  no chain of ours: {missing}")));
    for chain in &hook.chains {
        lines.extend(self::chain(chain));
    }
    lines
}

fn chain(chain: &ChainReport) -> Vec<String> {
    let ours = if chain.ours { ", ours" } else { "" };
    let verdict = if chain.reached { chain.verdict.as_str() } else { "not reached" };
    let mut lines = vec![format!("  {} (priority {}{ours}): {verdict}", chain.chain, chain.priority)];
    if chain.reached || chain.ours {
        lines.extend(chain.rules.iter().map(|rule| format!("    {rule}")));
        let doubts = chain.doubts.iter();
        lines.extend(doubts.map(|doubt| format!("    unless this applies (cannot be judged): {doubt}")));
    }
    lines
}
