//! Set-only mode: sets that belong to the operator.

use std::time::Duration;

use crate::HOUR;
use crate::kernel_world::{World, eventually, in_namespace, list, nft, set_only, test_name, try_list};

#[test]
fn an_operators_set_is_filled_according_to_its_flags() {
    for (flags, hosts, ranges, timeouts) in [
        ("flags timeout;", true, false, true),
        ("", true, false, false),
        ("flags interval,timeout;", true, true, true),
        ("flags interval;", true, true, false),
    ] {
        in_namespace(&format!("{} {flags}", test_name!()), async |mut world: World| {
            nft("add table inet filter");
            nft(&format!("add set inet filter bad4 {{ type ipv4_addr; {flags} }}"));
            nft("add chain inet filter input { type filter hook input priority 0; }");
            nft("add rule inet filter input ip saddr @bad4 drop");
            let rules = list("chain inet filter input");
            world.announce("10.0.0.0/8", "CAPI", HOUR);
            world.announce("10.9.9.9/32", "CAPI", 9 * HOUR);
            world.announce("255.255.255.255/32", "CAPI", HOUR);
            world.start(set_only("filter", "bad4")).await;
            world.ban("192.0.2.7/32", "cscli", HOUR).await;
            let set = list("set inet filter bad4");
            assert_eq!(set.contains("192.0.2.7"), hosts, "{set}");
            assert_eq!(set.contains("10.0.0.0-10.9.9.8"), ranges, "{set}");
            let apart = set.split([' ', ',']).any(|word| word.trim() == "10.9.9.9");
            assert!(apart && set.contains("255.255.255.255"), "{set}");
            assert_eq!(set.contains("timeout 59m") || set.contains("timeout 1h"), timeouts, "{set}");
            assert_eq!(world.status().unenforceable_ranges, u64::from(!ranges));
            world.lift("10.9.9.9/32").await;
            let set = list("set inet filter bad4");
            assert!(!set.contains("10.9.9.9"), "{set}");
            assert_eq!(set.contains("10.0.0.0/8"), ranges, "{set}");
            nft("flush set inet filter bad4");
            eventually("it is filled again", Duration::from_secs(1), || {
                list("set inet filter bad4").contains("192.0.2.7")
            })
            .await;
            assert_eq!(list("chain inet filter input"), rules, "rules are the operator's");
            world.stop().await;
            assert!(!list("set inet filter bad4").contains("elements"), "emptied at the stop");
            assert_eq!(nft("list tables"), "table inet filter\n");
        });
    }
}

#[test]
fn a_missing_operators_set_is_created_and_a_missing_table_awaited() {
    in_namespace(test_name!(), async |mut world: World| {
        world.announce("192.0.2.7/32", "cscli", HOUR);
        world.launch(set_only("mine", "bad4"));
        eventually("it says what is missing", Duration::from_secs(5), || {
            world
                .status()
                .failing
                .is_some_and(|text| text.starts_with("nftables: could not find table 'mine'"))
        })
        .await;
        assert!(!world.status().is_ready());
        nft("add table ip mine");
        eventually("the set is made and filled", Duration::from_secs(5), || {
            try_list("set ip mine bad4").contains("192.0.2.7")
        })
        .await;
        eventually("it is ready", Duration::from_secs(5), || world.status().is_ready()).await;
        assert!(list("set ip mine bad4").contains("flags timeout"));
        world.stop().await;
    });
}

#[test]
fn an_operators_set_of_another_kind_is_refused() {
    in_namespace(test_name!(), async |mut world: World| {
        nft("add table ip mine");
        nft("add set ip mine bad4 { type ipv4_addr . inet_service; flags timeout; }");
        world.launch(set_only("mine", "bad4"));
        eventually("it says what is wrong", Duration::from_secs(5), || {
            world.status().failing.is_some_and(|text| text.contains("cannot be filled"))
        })
        .await;
        world.stop().await;
    });
}
