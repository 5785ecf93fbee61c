//! Changes become elements.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use palisade_cache::Timestamp;
use rustix::io::Errno;

use super::{in_namespace, nft, test_name};
use crate::commit::{Commit, CommitError, Committed, Removal};
use crate::config::IpFamily;
use crate::layout::{FamilyLayout, Layout, SetId, SourceSets};
use crate::netlink::{Held, Reading, Socket, nfproto};
use crate::plan::Change;
use crate::spans::Stretch;

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

struct World {
    layout: Layout,
    sets: SourceSets,
    socket: Socket,
}

fn world() -> World {
    let config = crate::testing::config();
    let layout = Layout::new(&config, &[(IpFamily::V4, "cscli".into())], &[]);
    let FamilyLayout::Managed { sources, .. } = layout.part(IpFamily::V4) else { panic!("managed") };
    let sets = sources["cscli"];
    nft("add table ip crowdsec");
    nft("add set ip crowdsec crowdsec-blacklists-cscli { type ipv4_addr; flags timeout; }");
    nft("add set ip crowdsec crowdsec-blacklists.ranges-cscli { type ipv4_addr; flags interval,timeout; }");
    World { sets, layout, socket: Socket::open().unwrap() }
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

    fn held(&mut self, set: SetId) -> Vec<Held> {
        let target = self.layout.target(set);
        let mut held = self
            .socket
            .elements(target.nfproto, &target.table, &target.name, target.dialect.interval, Reading::Settled)
            .unwrap();
        held.sort_by_key(|held| held.first);
        held
    }

    fn knot(&self, remove: &[(u32, u32)], add: &[(u32, u32, u64)]) -> Change {
        let set = self.sets.ranges;
        let stretch = |first, last, until| Stretch { set, first: ip(first), last: ip(last), until };
        Change::Knot {
            remove: remove.iter().map(|(first, last)| stretch(*first, *last, None)).collect(),
            add: add.iter().map(|(first, last, secs)| stretch(*first, *last, Some(in_secs(*secs)))).collect(),
        }
    }

    fn host(&self, n: u32, renew: bool, secs: u64) -> Change {
        let set = self.sets.hosts;
        Change::Host { address: ip(n), remove: renew.then_some(set), add: Some((set, in_secs(secs))) }
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
            let hosts = world.sets.hosts;
            world.apply(removal, false, &[world.host(1, false, 600), world.host(2, false, 600)]).unwrap();
            let renew = [world.host(1, true, 6000), world.host(2, true, 60), world.host(3, true, 30)];
            let done = world.apply(removal, false, &renew).unwrap();
            assert_eq!(done.generations.len(), 1, "one transaction");
            let held = world.held(hosts);
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
            let mut world = world();
            let ranges = world.sets.ranges;
            let all = u32::MAX;
            world
                .apply(
                    removal,
                    false,
                    &[world.knot(&[], &[(10, 99, 600)]), world.knot(&[], &[(all - 9, all, 60)])],
                )
                .unwrap();
            let listed = nft("list set ip crowdsec crowdsec-blacklists.ranges-cscli");
            assert!(listed.contains("0.0.0.10-0.0.0.99 timeout 10m"), "{listed}");
            assert!(listed.contains("255.255.255.246-255.255.255.255 timeout 1m"), "{listed}");
            let split = world.knot(&[(10, 99)], &[(10, 19, 600), (20, 29, 6000), (30, 99, 600)]);
            world.apply(removal, false, &[split]).unwrap();
            let held: Vec<_> = world.held(ranges).iter().map(|held| (held.first, held.last)).collect();
            let expected = [(10, 19), (20, 29), (30, 99), (all - 9, all)].map(|(a, b)| (ip(a), ip(b)));
            assert_eq!(held, expected, "{removal:?}");
            let gone = world.knot(&[(10, 19), (20, 29), (30, 99), (500, 600)], &[]);
            world.apply(removal, false, &[gone, world.knot(&[(all - 9, all)], &[])]).unwrap();
            assert_eq!(world.held(ranges), [], "{removal:?}");
            nft("delete table ip crowdsec");
        }
    });
}

#[test]
fn a_refused_element_is_named_and_the_rest_goes_in() {
    in_namespace(test_name!(), || {
        let mut world = world();
        let ranges = world.sets.ranges;
        // Something of somebody else's lies across one of ours, which the kernel refuses.
        nft("add element ip crowdsec crowdsec-blacklists.ranges-cscli { 0.0.39.16-0.0.39.20 }");
        let changes: Vec<_> = (0..3000).map(|n| world.knot(&[], &[(n * 10, n * 10 + 8, 600)])).collect();
        let error = world.apply(Removal::Destroy, false, &changes).unwrap_err();
        assert!(matches!(error, CommitError::Refused(Errno::EXIST)), "{error}");
        assert_eq!(world.held(ranges).len(), 1, "all or nothing");
        let done = world.apply(Removal::Destroy, true, &changes).unwrap();
        let refused: Vec<_> = done.refused.iter().map(|refused| refused.what.as_str()).collect();
        assert_eq!(refused, ["0.0.39.16-0.0.39.24"]);
        assert_eq!(world.held(ranges).len(), 3000);
        assert_eq!(done.balance, [(ranges, 2999)]);
        assert!(done.generations.len() < 20, "{} transactions", done.generations.len());
    });
}

#[test]
fn a_full_set_takes_what_it_can_and_the_rest_is_counted() {
    in_namespace(test_name!(), || {
        let mut world = world();
        let hosts = world.sets.hosts;
        nft("delete set ip crowdsec crowdsec-blacklists-cscli");
        nft("add set ip crowdsec crowdsec-blacklists-cscli { type ipv4_addr; flags timeout; size 1000; }");
        let changes: Vec<_> = (0..5000).map(|n| world.host(n, false, 600)).collect();
        let started = Instant::now();
        let done = world.apply(Removal::Destroy, true, &changes).unwrap();
        println!("{} refused in {:?}", done.refused.len(), started.elapsed());
        assert_eq!(world.held(hosts).len() + done.refused.len(), 5000);
        assert!(world.held(hosts).len() > 900, "{}", world.held(hosts).len());
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
        let hosts = world.sets.hosts;
        assert!(world.socket.knows_destroy().unwrap() || !std::path::Path::new("/sys/kernel").exists());
        let changes: Vec<_> = (0..100_000).map(|n| world.host(n, false, 86_400)).collect();
        for limit in [usize::MAX, 200_000, 4_000] {
            world.socket.lower_batch_limit(limit);
            let started = Instant::now();
            let done = world.apply(Removal::Destroy, false, &changes).unwrap();
            let loaded = started.elapsed();
            assert_eq!(world.held(hosts).len(), 100_000);
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
        let print = world.socket.structure(nfproto::IPV4, "crowdsec").unwrap();
        world.apply(Removal::Destroy, false, &[world.host(2, false, 60)]).unwrap();
        assert_eq!(world.socket.structure(nfproto::IPV4, "crowdsec").unwrap(), print, "elements do not show");
        nft("add chain ip crowdsec mine");
        assert_ne!(world.socket.structure(nfproto::IPV4, "crowdsec").unwrap(), print);
    });
}
