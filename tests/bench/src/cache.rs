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
use crate::report::{Row, Target, median};

const MILLION: usize = 1_000_000;
const RUNS: usize = 7;

/// Nanoseconds per lookup, one million prefixes of one family in each table.
pub(crate) fn lookup() -> Vec<Row> {
    let mut rows = Vec::new();
    for (family, nets) in [("IPv4", data::v4(MILLION, 1)), ("IPv6", data::v6(MILLION, 2))] {
        let snapshot = data::ledger(&nets).snapshot();
        let mut peer = IpNetworkTable::new();
        for (at, net) in nets.iter().enumerate() {
            let network =
                IpNetwork::new(net.network(), net.prefix_len()).expect("a truncated network is valid");
            peer.insert(network, at as u32);
        }
        let queries = data::queries(&nets, MILLION, 3);
        let hits = queries.iter().filter(|ip| snapshot.holds(**ip)).count();
        let peer_hits = queries.iter().filter(|ip| peer.longest_match(**ip).is_some()).count();
        assert_eq!(hits, peer_hits, "both tables hold the same prefixes");
        let time = |ask: &dyn Fn(IpAddr) -> bool| {
            let start = Instant::now();
            let mut found = 0usize;
            for ip in &queries {
                found += usize::from(ask(black_box(*ip)));
            }
            black_box(found);
            start.elapsed().as_secs_f64() * 1e9 / queries.len() as f64
        };
        let (mut ours, mut verdicts, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(time(&|ip| snapshot.holds(ip)));
            verdicts.push(time(&|ip| {
                snapshot.verdict(ip).is_some_and(|decision| decision.until > Timestamp::default())
            }));
            theirs.push(time(&|ip| peer.longest_match(ip).is_some()));
        }
        let (ours, verdicts, theirs) = (median(ours), median(verdicts), median(theirs));
        let name = "ip_network_table longest_match";
        let share = 100 * hits / queries.len();
        rows.push(Row::new(
            format!("{family} is this address held? ({share} % hits)"),
            "ns",
            ours,
            Some((theirs, name)),
            Target::TimesLess(10.0),
        ));
        rows.push(Row::new(format!("{family} the same, absolute"), "ns", ours, None, Target::AtMost(25.0)));
        rows.push(Row::new(
            format!("{family} verdict with decision read"),
            "ns",
            verdicts,
            Some((theirs, name)),
            Target::None,
        ));
    }
    rows
}

/// Resident bytes per decision of a process that holds one million, half of each family.
pub(crate) fn memory() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, target) in
        [("v4", Target::AtMost(128.0)), ("v6", Target::AtMost(128.0)), ("mixed", Target::AtMost(128.0))]
    {
        let runs = (0..3).map(|_| child_memory(what)).collect();
        rows.push(Row::new(
            format!("resident memory per decision, one million {what}"),
            "bytes",
            median(runs),
            None,
            target,
        ));
    }
    rows
}

fn child_memory(what: &str) -> f64 {
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
pub(crate) fn delta() -> Vec<Row> {
    let nets = [data::v4(MILLION / 2, 1), data::v6(MILLION / 2, 2)].concat();
    let mut ledger = data::ledger(&nets);
    let mut held = ledger.snapshot();
    let fresh: Vec<IpNet> = [data::v4(2000, 77), data::v6(2000, 78)].concat();
    let (mut hosts, mut ranges) = (Vec::new(), Vec::new());
    let (hosts_only, ranges_only): (Vec<IpNet>, Vec<IpNet>) =
        fresh.iter().partition(|net| net.prefix_len() == net.max_prefix_len());
    for (source, times) in [(&hosts_only, &mut hosts), (&ranges_only, &mut ranges)] {
        for ten in source.chunks_exact(10).take(30) {
            let mut batch = Batch::new();
            let reason = Reason { remediation: "ban", origin: "cscli", scenario: "manual" };
            ten.iter()
                .for_each(|net| batch.announce_net(*net, reason, Timestamp::from_millis(900_000_000), 1));
            let start = Instant::now();
            ledger.apply(Mode::Changes, batch);
            let snapshot = ledger.snapshot();
            times.push(start.elapsed().as_secs_f64() * 1e3);
            held = snapshot;
        }
    }
    black_box(held);
    vec![
        Row::new(
            "publish a delta of 10 hosts into one million",
            "ms",
            median(hosts),
            None,
            Target::AtMost(1.0),
        ),
        Row::new(
            "publish a delta of 10 ranges into one million",
            "ms",
            median(ranges),
            None,
            Target::AtMost(1.0),
        ),
    ]
}
