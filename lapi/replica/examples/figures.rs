//! Prints the memory use of the set and the CPU time of its responses, for 100,000 and 1,000,000 decisions. Linux only.
//!
//! `cargo run --release -p palisade-replica --example figures`
#![expect(clippy::print_stdout, reason = "printing is what this is for")]

use std::time::Duration;

use palisade_model::{Change, Commit, StoredDecision, Target};
use palisade_replica::{ActiveSet, Cursor, Filter, StreamRequest};
use palisade_wire::UnixMillis;

const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

/// One in ten is IPv6, one in fifty a range; a third comes from lists, which have no UUID.
fn row(id: i64, commit: u64) -> StoredDecision {
    let bits = u32::try_from(id).unwrap_or_default().wrapping_mul(2_654_435_761);
    let [a, b, c, d] = bits.to_be_bytes();
    let (scope, value) = match id % 50 {
        0 => ("Range", format!("{a}.{b}.{c}.0/24")),
        n if n % 10 == 1 => ("Ip", format!("2001:db8:{a:x}{b:02x}:{c:x}::{:x}", u16::from(d) + 1)),
        _ => ("Ip", format!("{a}.{b}.{c}.{d}")),
    };
    let (origin, scenario) = match id % 3 {
        0 => ("lists", format!("list-{}", id % 7)),
        1 => ("CAPI", format!("crowdsecurity/http-probing-{}", id % 41)),
        _ => ("crowdsec", "crowdsecurity/ssh-bf".to_owned()),
    };
    StoredDecision {
        id,
        commit: Commit(commit),
        until: UnixMillis(NOW.0 + 3_600_000 + i64::from(bits % 600_000_000)),
        alert: id / 3,
        simulated: false,
        uuid: (id % 3 == 2).then(|| uuid::Uuid::from_u128(u128::from(bits) << 64 | 1)),
        origin: origin.into(),
        scenario: scenario.into(),
        target: Target::stored(scope, &value),
        remediation: "ban".into(),
    }
}

/// Resident memory in bytes, from `/proc`.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    number.unwrap_or_default() * 1024
}

/// The CPU time of this thread, which does not depend on the load of the machine.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn timed<T>(what: &str, times: u32, mut run: impl FnMut() -> T) -> T {
    let begun = on_processor();
    for _ in 1..times {
        run();
    }
    let out = run();
    println!("  {what:<58} {:>12.3?}", (on_processor() - begun) / times);
    out
}

fn read(set: &ActiveSet, request: &StreamRequest, cursor: Option<Cursor>, now: UnixMillis) -> usize {
    set.view().answer(request, cursor, now).map(|piece| piece.len()).sum()
}

fn figures(count: i64) -> Result<(), Box<dyn std::error::Error>> {
    println!("{count} decisions");
    let before = resident();
    let mut set = ActiveSet::new(Duration::from_secs(24 * 3600), 1_000_000);
    timed("load, making the rows included", 1, || {
        let mut loading = set.loading(NOW);
        (1..=count).for_each(|id| loading.push(Change::Put(row(id, 1))));
        set.replace(loading, Commit(1));
    });
    let took = resident().saturating_sub(before);
    println!("  {:<58} {:>12}", "resident, bytes per decision", took / count.unsigned_abs());
    let startup = StreamRequest { startup: true, ..Filter::for_stream(&[])? };
    timed("first piece of a start-up answer", 10, || set.view().answer(&startup, None, NOW).next());
    timed("second piece", 10, || set.view().answer(&startup, None, NOW).nth(1));
    let bytes = timed("start-up answer", 5, || read(&set, &startup, None, NOW));
    println!("  {:<58} {bytes:>12}", "its bytes");
    let words = [("origins".to_owned(), "crowdsec".to_owned()), ("startup".to_owned(), "true".to_owned())];
    let some = Filter::for_stream(&words)?;
    timed("start-up answer of one origin", 5, || read(&set, &some, None, NOW));
    let delta = Filter::for_stream(&[])?;
    let mut cursor = Cursor { commit: Commit(1), time: NOW };
    timed("delta without news", 10_000, || read(&set, &delta, Some(cursor), NOW));
    let mut commit = 1;
    let one_by_one = 1000;
    timed("commit of one decision, a view held of the state before", one_by_one, || {
        let view = set.view();
        commit += 1;
        let id = count + i64::try_from(commit).unwrap_or_default();
        let change = Change::Put(row(id, commit));
        set.apply(NOW, Commit(commit), vec![change]).map(|()| view)
    })?;
    timed("delta of these 1000", 100, || read(&set, &delta, Some(cursor), NOW));
    cursor.commit = Commit(commit);
    let first = count + 1_000_000;
    let rows: Vec<Change> = (first..first + 10_000).map(|id| Change::Put(row(id, commit + 1))).collect();
    timed("commit of 10,000 decisions", 1, || set.apply(NOW, Commit(commit + 1), rows.clone()))?;
    timed("delta of these 10,000", 10, || read(&set, &delta, Some(cursor), NOW));
    let ends: Vec<Change> =
        (1..=10_000).map(|id| Change::Put(StoredDecision { until: NOW, ..row(id, commit + 2) })).collect();
    timed("commit that ends 10,000 decisions", 1, || set.apply(NOW, Commit(commit + 2), ends.clone()))?;
    cursor.commit = Commit(commit + 1);
    timed("delta of these 10,000", 10, || read(&set, &delta, Some(cursor), NOW));
    cursor = Cursor { commit: Commit(commit + 2), time: NOW };
    let later = UnixMillis(NOW.0 + 3_600_000 + 3_000_000);
    timed("delta of what ran out by time (0.5 %)", 10, || read(&set, &delta, Some(cursor), later));
    let ip = Filter::for_query(&[("ip".to_owned(), row(20_003, 1).target.value.text())])?;
    timed("live query of an address", 10_000, || set.query(&ip, NOW).len());
    timed("counts", 5, || set.counts(NOW).len());
    timed("a view", 10_000, || set.view());
    let took = resident().saturating_sub(before);
    println!("  {:<58} {:>12}", "resident at the end, bytes per decision held", took / set.len() as u64);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The smaller set first: its freed memory hardly affects the larger measurement.
    figures(100_000)?;
    figures(1_000_000)
}
