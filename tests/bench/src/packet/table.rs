//! The matrix as a table of one line for each list.

use std::fmt::Write as _;

use super::cell::{Cell, Changes, Costs};
use super::lists::{Contents, Spread};
use super::{CLEAN_NS, MANY_RANGES, RANGE_MS};

/// A list in words.
pub(crate) fn describe(contents: &Contents, origins: usize) -> String {
    let family = if contents.v6 { "IPv6" } else { "IPv4" };
    if contents.hosts + contents.ranges == 0 {
        return format!("{family} nothing banned");
    }
    let spread = match contents.spread {
        Spread::Uniform => "uniform",
        Spread::Clustered => "clustered",
    };
    let plural = if origins == 1 { "" } else { "s" };
    format!("{family} {spread}, {}, {origins} origin{plural}", size(contents))
}

fn size(contents: &Contents) -> String {
    let thousands = |count: usize, what: &str| (count > 0).then(|| format!("{},000 {what}", count / 1000));
    let parts = [thousands(contents.hosts, "hosts"), thousands(contents.ranges, "ranges")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" + ")
}

/// The whole table, with a line on how to read it.
pub(crate) fn print(cells: &[Cell]) -> String {
    let mut out = format!(
        "\npacket: nanoseconds over no rules, least of segments (median); targets: clean at most {CLEAN_NS} (*: \
         missed),\none more or one less range at most {RANGE_MS} ms at {MANY_RANGES} ranges. near: clean, from the \
         /22 (IPv6: /48) of an entry.\n\n"
    );
    let head = ["no rules", "clean", "stock", "near", "stock", "banned", "stock"];
    line(&mut out, "list", &head.map(str::to_owned));
    for cell in cells {
        let missed = if cell.clean.ours.min > CLEAN_NS { "*" } else { "" };
        let mut fields = vec![
            format!("{:.0}", cell.clean.bare.min),
            pair(Some(&cell.clean), true) + missed,
            pair(Some(&cell.clean), false),
        ];
        for costs in [&cell.near, &cell.banned] {
            fields.extend([pair(costs.as_ref(), true), pair(costs.as_ref(), false)]);
        }
        line(&mut out, &describe(&cell.contents, cell.origins), &fields);
    }
    let head = ["load s", "+host ms", "-host ms", "+range ms", "-range ms", "kernel MB", "stock", "RSS MB"];
    out.push('\n');
    line(&mut out, "list", &head.map(str::to_owned));
    for cell in cells {
        let many = cell.contents.ranges >= MANY_RANGES;
        let mut fields = vec![format!("{:.2}", cell.load_seconds)];
        fields.extend(changes(&cell.hosts, false));
        fields.extend(changes(&cell.ranges, many));
        fields.extend([cell.kernel_mb, cell.stock_kernel_mb, cell.resident_mb].map(|mb| format!("{mb:.0}")));
        line(&mut out, &describe(&cell.contents, cell.origins), &fields);
    }
    out
}

fn pair(costs: Option<&Costs>, ours: bool) -> String {
    costs.map_or("-".to_owned(), |costs| {
        let cost = if ours { costs.ours } else { costs.stock };
        format!("{:.0} ({:.0})", cost.min, cost.median)
    })
}

fn changes(changes: &Changes, target: bool) -> [String; 2] {
    [changes.more, changes.less].map(|figure| {
        figure.map_or("none".to_owned(), |ms| {
            format!("{ms:.2}{}", if target && ms > RANGE_MS { "*" } else { "" })
        })
    })
}

fn line(out: &mut String, list: &str, fields: &[String]) {
    write!(out, "  {list:<58}").expect("a string takes all that is written");
    for field in fields {
        write!(out, " {field:>13}").expect("a string takes all that is written");
    }
    out.push('\n');
}
