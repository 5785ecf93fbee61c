//! As many requests as each proxy takes, in every cell.

use std::net::IpAddr;
use std::path::Path;

use palisade_e2e::Outcome;
use serde::{Deserialize, Serialize};

use super::front::{Front, Ours};
use super::load::{Job, Run};
use super::shape::{Body, Http, Shape};
use super::{Bench, DECISIONS, Report, decision_list, decisions, say, table};
use crate::lapi::sized;
use crate::report::{BenchRow, Target, median};

/// The runs of one proxy in one cell.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) per_processor_second: Vec<f64>,
    pub(super) per_second: Vec<f64>,
    /// Shares of a core that the generator and the origin used.
    pub(super) load_busy: Vec<f64>,
    /// Why a run was rejected.
    pub(super) rejected: Vec<String>,
}

impl Figures {
    pub(super) fn middle(&self) -> Option<f64> {
        (!self.per_processor_second.is_empty()).then(|| median(self.per_processor_second.clone()))
    }

    pub(super) fn middle_per_second(&self) -> Option<f64> {
        (!self.per_second.is_empty()).then(|| median(self.per_second.clone()))
    }

    fn add(&mut self, run: Outcome<Run>) {
        match run {
            Ok(run) => {
                self.per_processor_second.push(run.per_processor_second());
                self.per_second.push(run.per_second);
                self.load_busy.push(run.load_busy);
            }
            Err(failure) => self.rejected.push(failure.to_string()),
        }
    }
}

/// A line of the table.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) cell: String,
    pub(super) proxy: String,
    pub(super) figures: Figures,
}

/// Our names of the proxies without and with decisions.
pub(super) const OURS: &str = "ours";
pub(super) const OURS_FULL: &str = "ours, full";

pub(super) fn measure(bench: &Bench<'_>) -> Outcome<Report> {
    let fronts = &bench.fronts;
    let nets = decision_list();
    let mut refused = Vec::new();
    // The peers' figures are worth having without ours.
    let mut start = |name, nets: &[_]| match fronts.ours(name, "stream", decisions::as_json(nets, 1)) {
        Ok(ours) => Some(ours),
        Err(failure) => {
            refused.push(BenchRow::failed(name, &failure.to_string()));
            None
        }
    };
    let (ours, full) = (start(OURS, &[]), start(OURS_FULL, &nets));
    let peers = [fronts.nginx()?, fronts.haproxy()?, fronts.caddy()?];
    let all: Vec<&Front> =
        [&ours, &full].into_iter().flatten().map(|ours: &Ours| &ours.front).chain(&peers).collect();

    let mut lines = vec![];
    for shape in Shape::all() {
        if shape.http == Http::KeepAlive && !shape.tls {
            lines.push(bench.direct(shape));
        }
        lines.extend(bench.cell(shape, &shape.to_string(), &all, None));
    }
    let mut rows: Vec<_> = Shape::all().iter().flat_map(|shape| rows(&lines, &shape.to_string())).collect();
    drop(peers);

    let clients = decisions::clean(&nets);
    let aware = bench.decision_aware(full.as_ref(), &nets, &clients)?;
    rows.extend(aware_rows(&aware));
    lines.extend(aware);
    rows.extend(refused);
    let table = table::throughput(&lines, sized(DECISIONS), bench.plan);
    Ok(Report { rows, table, figures: serde_json::to_value(&lines)? })
}

/// The cell in which each request has an address to look up.
const AWARE: Shape = Shape::new(false, Http::KeepAlive, Body::K1);

impl Bench<'_> {
    /// The generator and the origin alone: a figure far above the proxies' shows that neither limits them.
    fn direct(&self, shape: Shape) -> Line {
        let (port, seconds) = (self.fronts.origin, self.plan.seconds);
        let mut figures = Figures::default();
        for _ in 0..self.plan.rounds {
            let job = Job { port, pid: std::process::id(), shape, seconds, script: None };
            figures.add(self.generators.run(job));
        }
        // There is no proxy whose time could be divided by.
        figures.per_processor_second.clear();
        Line { cell: shape.to_string(), proxy: "no proxy".to_owned(), figures }
    }

    /// Runs every proxy once in each round, each round begun by the next one.
    pub(super) fn cell(&self, shape: Shape, cell: &str, all: &[&Front], script: Option<&Path>) -> Vec<Line> {
        let line = |front: &&Front| Line {
            cell: cell.to_owned(),
            proxy: front.name.to_owned(),
            figures: Figures::default(),
        };
        let mut lines: Vec<_> = all.iter().map(line).collect();
        for round in 0..self.plan.rounds {
            for turn in 0..all.len() {
                let at = (round + turn) % all.len();
                let front = all[at];
                let port = front.ports.of(shape);
                let job = Job { port, pid: front.pid, shape, seconds: self.plan.seconds, script };
                lines[at].figures.add(self.generators.run(job));
            }
        }
        for line in &lines {
            let figure = line.figures.middle().map_or("-".to_owned(), |figure| format!("{figure:.0}"));
            let rejected = line.figures.rejected.first().map_or("", String::as_str);
            say(&format!("{cell}: {:<12} {figure:>7} requests per processor second {rejected}", line.proxy));
        }
        lines
    }

    /// Ours, nginx with a `geo` block and HAProxy with an address list, all with the same decisions and clients.
    fn decision_aware(
        &self,
        full: Option<&Ours>,
        nets: &[ipnet::IpNet],
        clients: &[IpAddr],
    ) -> Outcome<Vec<Line>> {
        let world = self.fronts.world;
        let script = decisions::wrk_script(world, clients)?;
        let geo = self.fronts.nginx_geo(&decisions::as_lines(world, nets, " 1;")?)?;
        let acl = self.fronts.haproxy_acl(&decisions::as_lines(world, nets, "")?)?;
        let all: Vec<_> = full.map(|ours| &ours.front).into_iter().chain([&geo, &acl]).collect();
        Ok(self.cell(AWARE, &format!("{AWARE}, {} clients", clients.len()), &all, Some(&script)))
    }
}

fn rows(lines: &[Line], cell: &str) -> Vec<BenchRow> {
    let find = |proxy: &str| lines.iter().find(|line| line.cell == cell && line.proxy == proxy);
    let middle = |proxy: &str| find(proxy).and_then(|line| line.figures.middle());
    let nginx = middle("nginx").map(|figure| (figure, "nginx"));
    let ours = [(OURS, String::new()), (OURS_FULL, format!(", {} decisions", sized(DECISIONS)))];
    let rows = ours.into_iter().filter_map(|(proxy, what)| {
        let line = find(proxy)?;
        let figure = format!("{cell}{what}");
        Some(match (line.figures.middle(), nginx) {
            (Some(_), None) => BenchRow::failed(&figure, "nginx was not measured"),
            (Some(ours), nginx) => BenchRow::new(figure, UNIT, ours, nginx, Target::TimesMore(1.0)),
            (None, _) => BenchRow::failed(&figure, line.figures.rejected.first().map_or("", String::as_str)),
        })
    });
    rows.collect()
}

/// Requests for each second of the proxy's processor time.
const UNIT: &str = "req/CPU-s";

fn aware_rows(lines: &[Line]) -> Vec<BenchRow> {
    let middle =
        |proxy: &str| lines.iter().find(|line| line.proxy == proxy).and_then(|line| line.figures.middle());
    let Some(ours) = middle(OURS_FULL) else { return Vec::new() };
    let row = |(proxy, target)| {
        let peer = middle(proxy).map(|figure| (figure, proxy));
        let figure = format!("{}, {} decisions on both sides", lines[0].cell, sized(DECISIONS));
        BenchRow::new(figure, UNIT, ours, peer, target)
    };
    [("nginx geo", Target::TimesMore(1.0)), ("HAProxy ACL", Target::None)].map(row).into()
}
