//! Changes become elements.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use palisade_cache::Timestamp;
use rustix::io::Errno;

use super::{in_namespace, nft, test_name};
use crate::commit::{Balance, Commit, CommitError, Committed, Removal};
use crate::config::IpFamily;
use crate::intervals::Interval;
use crate::layout::{FamilyLayout, Layout};
use crate::netlink::{Held, Reading, Socket, nfproto};
use crate::plan::Change;
use crate::target::{Dialect, Place, SetId};

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

struct World {
    layout: Layout,
    /// The set of hosts of source `cscli`, or the operator's set.
    place: Place,
    socket: Socket,
}

/// A managed table with sets for one source and one prefix length.
fn world() -> World {
    let config = crate::testing::config();
    let mut layout = Layout::new(&config, &[]);
    let family = config.v4.as_ref().unwrap();
    layout.add_source(IpFamily::V4, family, "cscli");
    layout.add_length(IpFamily::V4, family, 24, 1);
    let FamilyLayout::Managed(managed) = layout.part(IpFamily::V4) else { panic!("managed") };
    let source = managed.sources["cscli"];
    let place = Place { set: layout.source(source).hosts, source };
    nft("add table ip crowdsec");
    nft("add counter ip crowdsec crowdsec-blacklists-cscli");
    nft("add set ip crowdsec crowdsec-blacklists-cscli { type ipv4_addr; flags timeout; }");
    nft("add map ip crowdsec crowdsec-blacklists.ranges-24 { type ipv4_addr : counter; flags timeout; }");
    nft("add set ip crowdsec crowdsec-blacklists.gate-22 { type ipv4_addr; }");
    World { place, layout, socket: Socket::open().unwrap() }
}

/// An operator's interval set.
fn interval_world() -> World {
    let mut config = crate::testing::config();
    config.v4.as_mut().unwrap().set_only = true;
    let mut layout = Layout::new(&config, &[]);
    let dialect = Dialect { interval: true, timeout: true, counters: false };
    let family = config.v4.as_ref().unwrap();
    layout.adopt_operators_set(IpFamily::V4, nfproto::IPV4, family, dialect);
    let FamilyLayout::SetOnly(Some(place)) = layout.part(IpFamily::V4) else { panic!("set-only") };
    nft("add table ip crowdsec");
    nft("add set ip crowdsec crowdsec-blacklists { type ipv4_addr; flags interval,timeout; }");
    World { place: *place, layout, socket: Socket::open().unwrap() }
}

impl World {
    fn apply(
        &mut self,
        removal: Removal,
        isolate: bool,
        changes: &[Change],
    ) -> Result<Committed, CommitError> {
        Commit { layout: &self.layout, now: NOW, removal, isolate }.apply(&mut self.socket, changes)
    }

    fn held_in(&mut self, set: SetId) -> Vec<Held> {
        let target = self.layout.target(set);
        let mut held = self
            .socket
            .elements(target.nfproto, &target.table, &target.name, target.dialect.interval, Reading::Settled)
            .unwrap();
        held.sort_by_key(|held| held.first);
        held
    }

    fn held(&mut self) -> Vec<Held> {
        self.held_in(self.place.set)
    }

    fn intervals(&self, remove: &[(u32, u32)], add: &[(u32, u32, u64)]) -> Change {
        let set = self.place.set;
        let interval = |first, last, until| Interval { set, first: ip(first), last: ip(last), until };
        Change::Intervals {
            remove: remove.iter().map(|(first, last)| interval(*first, *last, None)).collect(),
            add: add
                .iter()
                .map(|(first, last, secs)| interval(*first, *last, Some(in_secs(*secs))))
                .collect(),
        }
    }

    fn host(&self, n: u32, renew: bool, secs: u64) -> Change {
        let place = self.place;
        Change::Element {
            net: ip(n).into(),
            remove: renew.then_some(place),
            add: Some((place, in_secs(secs))),
        }
    }
}

fn ip(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(n))
}

fn in_secs(secs: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(secs))
}

fn about(held: &Held, secs: u64) -> bool {
    held.left.is_some_and(|left| left.abs_diff(Duration::from_secs(secs)) < Duration::from_secs(3))
}

#[test]
fn a_renewed_ban_gets_its_new_end_longer_or_shorter() {
    in_namespace(test_name!(), || {
        for removal in [Removal::Destroy, Removal::AddThenDelete] {
            let mut world = world();
            world.apply(removal, false, &[world.host(1, false, 600), world.host(2, false, 600)]).unwrap();
            let renew = [world.host(1, true, 6000), world.host(2, true, 60), world.host(3, true, 30)];
            let done = world.apply(removal, false, &renew).unwrap();
            assert_eq!(done.generations.len(), 1, "one transaction");
            let held = world.held();
            assert_eq!(held.len(), 3, "also when there was nothing to renew: {held:?}");
            assert!(
                about(&held[0], 6000) && about(&held[1], 60) && about(&held[2], 30),
                "{removal:?}: {held:?}"
            );
            nft("delete table ip crowdsec");
        }
    });
}

#[test]
fn ranges_come_go_and_give_way_to_their_parts() {
    in_namespace(test_name!(), || {
        for removal in [Removal::Destroy, Removal::AddThenDelete] {
            let mut world = interval_world();
            let all = u32::MAX;
            world
                .apply(
                    removal,
                    false,
                    &[world.intervals(&[], &[(10, 99, 600)]), world.intervals(&[], &[(all - 9, all, 60)])],
                )
                .unwrap();
            let listed = nft("list set ip crowdsec crowdsec-blacklists");
            assert!(listed.contains("0.0.0.10-0.0.0.99 timeout 10m"), "{listed}");
            assert!(listed.contains("255.255.255.246-255.255.255.255 timeout 1m"), "{listed}");
            let split = world.intervals(&[(10, 99)], &[(10, 19, 600), (20, 29, 6000), (30, 99, 600)]);
            world.apply(removal, false, &[split]).unwrap();
            let held: Vec<_> = world.held().iter().map(|held| (held.first, held.last)).collect();
            let expected = [(10, 19), (20, 29), (30, 99), (all - 9, all)].map(|(a, b)| (ip(a), ip(b)));
            assert_eq!(held, expected, "{removal:?}");
            // An interval that is not there any more fails the whole: only its closing half might be found.
            let gone = world.intervals(&[(10, 19), (20, 29), (30, 99), (500, 600)], &[]);
            let error = world.apply(removal, false, &[gone]).unwrap_err();
            assert!(matches!(error, CommitError::Refused(Errno::NOENT)), "{error}");
            let gone = world.intervals(&[(10, 19), (20, 29), (30, 99)], &[]);
            world.apply(removal, false, &[gone, world.intervals(&[(all - 9, all)], &[])]).unwrap();
            assert_eq!(world.held(), [], "{removal:?}");
            nft("delete table ip crowdsec");
        }
    });
}

#[test]
fn a_range_names_its_counter_and_its_gate_comes_with_it() {
    in_namespace(test_name!(), || {
        for removal in [Removal::Destroy, Removal::AddThenDelete] {
            let mut world = world();
            let FamilyLayout::Managed(managed) = world.layout.part(IpFamily::V4) else { panic!("managed") };
            let (map, gate) = (managed.ranges[&24], managed.gates[&22]);
            let place = Place { set: map, ..world.place };
            let (net, cell) = ("192.0.2.0/24".parse().unwrap(), "192.0.0.0".parse().unwrap());
            let changes = |add: bool, secs| {
                let add_element = add.then(|| (place, in_secs(secs)));
                let element = Change::Element { net, remove: Some(place), add: add_element };
                let cell = Change::Cell { set: gate, cell, add };
                if add { [cell, element] } else { [element, cell] }
            };
            for secs in [600, 60] {
                world.apply(removal, false, &changes(true, secs)).unwrap();
                let listed = nft("list map ip crowdsec crowdsec-blacklists.ranges-24");
                let expected = format!("192.0.2.0 timeout {}m", secs / 60);
                assert!(listed.contains(&expected), "{listed}");
                assert!(listed.contains(": \"crowdsec-blacklists-cscli\""), "{listed}");
                let counter = crate::netlink::counter_print(b"crowdsec-blacklists-cscli");
                assert!(world.held_in(map).iter().all(|held| held.counter == counter && about(held, secs)));
            }
            assert_eq!(world.held_in(gate).len(), 1);
            world.apply(removal, false, &changes(false, 0)).unwrap();
            assert_eq!((world.held_in(map), world.held_in(gate)), (vec![], vec![]), "{removal:?}");
            nft("delete table ip crowdsec");
        }
    });
}

#[test]
fn a_refused_element_is_named_and_the_rest_goes_in() {
    in_namespace(test_name!(), || {
        let mut world = interval_world();
        // An element of another program overlaps one of ours, which the kernel refuses.
        nft("add element ip crowdsec crowdsec-blacklists { 0.0.39.16-0.0.39.20 }");
        let changes: Vec<_> = (0..3000).map(|n| world.intervals(&[], &[(n * 10, n * 10 + 8, 600)])).collect();
        let error = world.apply(Removal::Destroy, false, &changes).unwrap_err();
        assert!(matches!(error, CommitError::Refused(Errno::EXIST)), "{error}");
        assert_eq!(world.held().len(), 1, "all or nothing");
        let done = world.apply(Removal::Destroy, true, &changes).unwrap();
        let refused: Vec<_> = done.refused.iter().map(|refused| refused.what.as_str()).collect();
        assert_eq!(refused, ["0.0.39.16-0.0.39.24"]);
        assert_eq!(world.held().len(), 3000);
        assert_eq!(done.balance, [Balance { source: world.place.source, hosts: 0, ranges: 2999 }]);
        assert!(done.generations.len() < 20, "{} transactions", done.generations.len());
    });
}

#[test]
fn a_full_set_takes_what_it_can_and_the_rest_is_counted() {
    in_namespace(test_name!(), || {
        let mut world = world();
        nft("delete set ip crowdsec crowdsec-blacklists-cscli");
        nft("add set ip crowdsec crowdsec-blacklists-cscli { type ipv4_addr; flags timeout; size 1000; }");
        let changes: Vec<_> = (0..5000).map(|n| world.host(n, false, 600)).collect();
        let started = Instant::now();
        let done = world.apply(Removal::Destroy, true, &changes).unwrap();
        println!("{} refused in {:?}", done.refused.len(), started.elapsed());
        assert_eq!(world.held().len() + done.refused.len(), 5000);
        assert!(world.held().len() > 900, "{}", world.held().len());
        assert!(done.refused.iter().all(|refused| refused.reason == Errno::NFILE));
    });
}

#[test]
fn a_missing_table_is_told_apart() {
    in_namespace(test_name!(), || {
        let mut world = world();
        nft("flush ruleset");
        for removal in [Removal::Destroy, Removal::AddThenDelete] {
            let error = world.apply(removal, true, &[world.host(1, true, 60)]).unwrap_err();
            assert!(matches!(error, CommitError::Gone), "{error}");
        }
    });
}

#[test]
fn a_hundred_thousand_go_in_whatever_the_buffer() {
    in_namespace(test_name!(), || {
        let mut world = world();
        assert!(world.socket.knows_destroy().unwrap() || !std::path::Path::new("/sys/kernel").exists());
        let changes: Vec<_> = (0..100_000).map(|n| world.host(n, false, 86_400)).collect();
        for limit in [usize::MAX, 200_000, 4_000] {
            world.socket.lower_batch_limit(limit);
            let started = Instant::now();
            let done = world.apply(Removal::Destroy, false, &changes).unwrap();
            let loaded = started.elapsed();
            assert_eq!(world.held().len(), 100_000);
            println!(
                "100,000 hosts in {loaded:?}, {} transactions of at most {} bytes; read back in {:?}",
                done.generations.len(),
                world.socket.batch_limit(),
                started.elapsed() - loaded
            );
            let started = Instant::now();
            world.apply(Removal::Destroy, false, &[world.host(200_000, false, 60)]).unwrap();
            println!("one more in {:?}", started.elapsed());
            nft("flush set ip crowdsec crowdsec-blacklists-cscli");
        }
    });
}

#[test]
fn numbers_of_generations_are_ours_for_certain() {
    in_namespace(test_name!(), || {
        let mut world = world();
        let before = world.socket.generation().unwrap();
        let done = world.apply(Removal::Destroy, false, &[world.host(1, false, 60)]).unwrap();
        assert_eq!(done.generations, [before + 1]);
        assert_eq!(world.socket.generation().unwrap(), before + 1);
        assert_eq!(world.socket.tables().unwrap(), [(nfproto::IPV4, "crowdsec".to_owned())]);
        let names = ["crowdsec-blacklists-cscli", "ours"].map(str::to_owned).into();
        let print = world.socket.structure(nfproto::IPV4, "crowdsec", &names).unwrap();
        world.apply(Removal::Destroy, false, &[world.host(2, false, 60)]).unwrap();
        let mut again = || world.socket.structure(nfproto::IPV4, "crowdsec", &names).unwrap();
        assert_eq!(again(), print, "elements do not show");
        nft("add chain ip crowdsec mine");
        assert_eq!(again(), print, "nor do objects of others");
        nft("add chain ip crowdsec ours");
        assert_ne!(again(), print);
    });
}
