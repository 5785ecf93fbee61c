//! The cache alone: lookups, memory, publishing.

use std::hint::black_box;
use std::net::IpAddr;
use std::process::Command;
use std::time::Instant;

use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;
use ipnet::IpNet;
use palisade_cache::{Batch, Mode, Reason, Timestamp};

use crate::data;
use crate::floor::Floor;
use crate::report::{BenchRow, Target, median};

const MILLION: usize = 1_000_000;
const RUNS: usize = 7;

/// Nanoseconds per lookup, one million prefixes of one family in each table. Results are consumed: they go into a sum.
/// The floor of the same run shows what this machine's memory allows.
pub(crate) fn lookup() -> Vec<BenchRow> {
    let mut rows = Vec::new();
    for (family, nets) in [("IPv4", data::v4(MILLION, 1)), ("IPv6", data::v6(MILLION, 2))] {
        let snapshot = data::ledger(&nets).snapshot();
        let mut peer = IpNetworkTable::new();
        for (at, net) in nets.iter().enumerate() {
            let network =
                IpNetwork::new(net.network(), net.prefix_len()).expect("a truncated network is valid");
            peer.insert(network, at as u32);
        }
        let floor = Floor::new(&nets);
        let holds = |ip| snapshot.holds(ip);
        let mut sets = vec![
            ("", data::queries(&nets, 24, MILLION, 3)),
            ("", data::traffic(&nets, 24, MILLION, 4, holds)),
        ];
        if family == "IPv6" {
            // The least favourable traffic: all of it is in networks with decisions.
            sets.push((", all in /32s of the list", data::traffic(&nets, 32, MILLION, 5, holds)));
        }
        for (place, queries) in &sets {
            let hits = queries.iter().filter(|ip| snapshot.holds(**ip)).count();
            let peer_hits = queries.iter().filter(|ip| peer.longest_match(**ip).is_some()).count();
            assert_eq!(hits, peer_hits, "both tables hold the same prefixes");
            let in_floor = queries.iter().filter(|ip| floor.find(**ip).is_some()).count();
            assert_eq!(hits, in_floor, "the floor holds the same prefixes");
            let (mut found, mut read, mut theirs, mut least) = <(Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
            for _ in 0..RUNS {
                found.push(time(queries, |ip| u64::from(snapshot.holds(ip))));
                read.push(time(queries, |ip| {
                    let decision = snapshot.verdict(ip);
                    decision.map_or(0, |d| d.until.as_millis() as u64 + d.origin.len() as u64)
                }));
                theirs.push(time(queries, |ip| peer.longest_match(ip).map_or(0, |(_, at)| u64::from(*at))));
                least.push(time(queries, |ip| floor.find(ip).map_or(0, |at| 1 + u64::from(at))));
            }
            let (found, read, theirs, least) = (median(found), median(read), median(theirs), median(least));
            let beside = Some((theirs, "ip_network_table longest_match"));
            let least = Some((least, "flat sorted leaves, rebuilt whole"));
            let percent = (100 * hits + queries.len() / 2) / queries.len();
            let what = format!("{family} lookup, {percent} % held{place}");
            rows.push(BenchRow::new(
                format!("{what}: held or free"),
                "ns",
                found,
                beside,
                Target::TimesLess(5.0),
            ));
            let text = format!("{what}: held or free, beside the floor");
            rows.push(BenchRow::new(text, "ns", found, least, Target::WithinTimes(1.0)));
            rows.push(BenchRow::new(
                format!("{what}: decision read in full"),
                "ns",
                read,
                beside,
                Target::None,
            ));
        }
    }
    rows
}

/// Nanoseconds per query in one pass over all of them: the median of short slices, most of which run undisturbed
/// on a machine that others use too.
#[inline]
pub(crate) fn time(queries: &[IpAddr], ask: impl Fn(IpAddr) -> u64) -> f64 {
    let slices = queries.chunks_exact(5000).map(|slice| {
        let start = Instant::now();
        black_box(slice.iter().fold(0u64, |sum, ip| sum.wrapping_add(ask(*ip))));
        start.elapsed().as_secs_f64() * 1e9 / slice.len() as f64
    });
    median(slices.collect())
}

/// The decisions of the comparison of proxies.
pub(crate) const PROXY: &str = "proxy";

/// Resident bytes per decision of a process that holds one million, half of each family.
pub(crate) fn memory() -> Vec<BenchRow> {
    let mut rows = Vec::new();
    for (what, target) in
        [("v4", Target::AtMost(128.0)), ("v6", Target::AtMost(128.0)), ("mixed", Target::AtMost(128.0))]
    {
        let runs = (0..3).map(|_| child_memory(what)).collect();
        rows.push(BenchRow::new(
            format!("resident memory per decision, one million {what}"),
            "bytes",
            median(runs),
            None,
            target,
        ));
    }
    rows
}

pub(crate) fn child_memory(what: &str) -> f64 {
    let program = std::env::current_exe().expect("a running program has a path");
    let output =
        Command::new(program).args(["child-memory", what]).output().expect("this program can run itself");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().expect("the child prints one number")
}

/// The child of [`memory`]: prints the growth of its resident memory per decision.
#[expect(clippy::print_stdout, reason = "the number is for the parent process")]
pub(crate) fn child(what: &str) {
    let nets = match what {
        "v4" => data::v4(MILLION, 1),
        "v6" => data::v6(MILLION, 2),
        PROXY => crate::proxy::decision_list(),
        _ => [data::v4(MILLION / 2, 1), data::v6(MILLION / 2, 2)].concat(),
    };
    let before = resident();
    let mut ledger = data::ledger(&nets);
    let snapshot = ledger.snapshot();
    println!("{}", (resident() - before) as f64 / snapshot.len() as f64);
    black_box((nets, ledger));
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells a process its memory");
    let pages: usize = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("statm holds numbers");
    pages * 4096
}

/// Milliseconds to apply and publish ten changes to one million decisions while readers keep the old snapshot.
pub(crate) fn delta() -> Vec<BenchRow> {
    let mixed = |count, seed| [data::v4(count / 2, seed), data::v6(count / 2, seed + 1)].concat();
    let tables: [(&str, Table); 5] = [
        ("", mixed),
        (", all hosts in one IPv4 /8", |count, seed| data::hosts_in("10.0.0.0/8", count, seed)),
        (", all hosts in one IPv6 /32", |count, seed| data::hosts_in("2001:db8::/32", count, seed)),
        (", all ranges in one IPv4 /8", |count, seed| data::ranges_in("10.0.0.0/8", count, seed)),
        (", all ranges in one IPv6 /32", |count, seed| data::ranges_in("2001:db8::/32", count, seed)),
    ];
    let mut rows = Vec::new();
    for (what, nets) in tables {
        let mut ledger = data::ledger(&nets(MILLION, 1));
        let mut held = ledger.snapshot();
        let (hosts, ranges): (Vec<IpNet>, Vec<IpNet>) =
            nets(4000, 77).into_iter().partition(|net| net.prefix_len() == net.max_prefix_len());
        for (kind, source) in [("hosts", hosts), ("ranges", ranges)] {
            let (mut publish, mut diff) = (Vec::new(), Vec::new());
            // Spread over the table: neighbours would share what is copied.
            let stride = source.len() / 10;
            for n in 0..stride.min(30) {
                let mut batch = Batch::new();
                let reason = Reason { remediation: "ban", origin: "cscli", scenario: "manual" };
                let until = Timestamp::from_millis(900_000_000);
                source
                    .iter()
                    .skip(n)
                    .step_by(stride)
                    .take(10)
                    .for_each(|net| batch.announce_net(*net, reason, until, 1));
                let start = Instant::now();
                ledger.apply(Mode::Changes, batch);
                let snapshot = ledger.snapshot();
                publish.push(start.elapsed().as_secs_f64() * 1e3);
                let start = Instant::now();
                assert!(!snapshot.diff(&held).is_empty(), "ten announcements change something");
                diff.push(start.elapsed().as_secs_f64() * 1e3);
                held = snapshot;
            }
            if !publish.is_empty() {
                let text = format!("delta of 10 {kind} to one million{what}");
                rows.push(BenchRow::new(
                    format!("publish a {text}"),
                    "ms",
                    median(publish),
                    None,
                    Target::AtMost(1.0),
                ));
                rows.push(BenchRow::new(
                    "  what changed, read from both snapshots",
                    "ms",
                    median(diff),
                    None,
                    Target::None,
                ));
            }
        }
    }
    rows
}

type Table = fn(usize, u64) -> Vec<IpNet>;
