//! Values of decisions: what is admitted is canonical, and the snapshot has what the ledger was given, as a plain list
//! of prefixes would.
#![no_main]

use std::net::IpAddr;

use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use palisade_bouncer::control::Subject;
use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Timestamp};
use palisade_stream::{Admitted, admit};
use palisade_wire::Scope;

// One line, one decision: an optional `-` to lift it, then `scope value`.
fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut ledger = Ledger::new(Policy::default(), 0);
    let mut model: Vec<IpNet> = Vec::new();
    let until = Timestamp::from_millis(1_000_000);
    for line in text.lines().take(64) {
        if let Ok(subject @ (Subject::Address(_) | Subject::Range(_))) = line.parse::<Subject>() {
            assert_eq!(subject.to_string().parse::<Subject>().as_ref(), Ok(&subject), "{line}");
        }
        let (lift, line) = line.strip_prefix('-').map_or((false, line), |rest| (true, rest));
        let Some((scope, value)) = line.split_once(' ') else { continue };
        let Ok(Admitted::Net { net, .. }) = admit(Scope::parse(scope), value) else { continue };
        assert_eq!(net, net.trunc());
        // Only a range wider than the mapped space itself stays IPv6.
        assert!(
            !matches!(net, IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some())
        );
        let mut batch = Batch::new();
        if lift {
            batch.lift_net(net, "ban");
            model.retain(|held| *held != net);
        } else {
            batch.announce_net(net, Reason { remediation: "ban", origin: "o", scenario: "s" }, until, 1);
            if !model.contains(&net) {
                model.push(net);
            }
        }
        ledger.apply(Mode::Changes, batch);
    }
    let snapshot = ledger.snapshot();
    assert_eq!(snapshot.len(), model.len());
    for net in &model {
        for address in [net.network(), net.broadcast(), next(net.broadcast()), net.addr()] {
            let expected = model.iter().any(|held| held.contains(&canonical(address)));
            assert_eq!(snapshot.verdict(address).is_some(), expected, "{address} in {model:?}");
            assert_eq!(snapshot.holds(address), expected);
        }
    }
});

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn next(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(address.to_bits().wrapping_add(1).into()),
        IpAddr::V6(address) => IpAddr::V6(address.to_bits().wrapping_add(1).into()),
    }
}
