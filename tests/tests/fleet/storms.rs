//! Many changes at once, from all sides: in the end the kernel holds exactly what is banned.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use palisade_e2e::{
    Ban, Config, Firewall, Implementation, Outcome, ScriptedLapi, Signal, World, default_timeout, eventually,
    eventually_within, story, tools,
};

const HOUR: u64 = 3600;

#[test]
fn after_a_storm_of_bans_exactly_those_that_hold_are_in_force() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?.set("update_frequency", "0.02s");
        let mut firewall = Firewall::start_with(world, &config)?;
        let mut chance = Chance(1);
        let mut held: Vec<IpNet> = Vec::new();
        for round in 0..120 {
            for _ in 0..=chance.below(6) {
                if held.is_empty() || chance.below(5) < 3 {
                    // Hosts and ranges, nested and side by side, in a space so small that they meet all the time.
                    let net = chance.net();
                    let origin = ["cscli", "CAPI", "lists:a", "lists:b"][chance.below(4)];
                    let lasting = Duration::from_secs(HOUR * (1 + chance.below(9) as u64));
                    lapi.ban(Ban::of(spell(net)).from_origin(origin).lasting(lasting));
                    held.push(net);
                } else {
                    let net = held.swap_remove(chance.below(held.len()));
                    held.retain(|other| *other != net);
                    lapi.lift(&spell(net));
                }
            }
            match round % 40 {
                7 => world.router.nft("flush ruleset")?,
                17 => firewall.reload()?,
                27 => {
                    firewall.process().kill()?;
                    firewall = Firewall::launch(world, &Implementation::under_test()?, &config)?;
                }
                37 => world.router.nft("delete table ip crowdsec")?,
                _ => {}
            }
            if round % 10 == 9 {
                eventually(&format!("round {round}: the kernel holds exactly what is banned"), || {
                    let in_force = in_force(world)?;
                    let wrong = everybody().find(|address| {
                        let wanted = held.iter().any(|net| net.contains(address));
                        let is = in_force.iter().any(|(first, last)| first <= address && address <= last);
                        wanted != is
                    });
                    Ok(wrong.is_none())
                })?;
            }
        }
        assert!(firewall.process().exited().is_none());
        Ok(())
    })
}

/// The kernel's notifications pass a buffer that overflows when it is not read.
#[test]
fn missed_changes_are_repaired() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let mut firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        assert!(!world.visitor.reaches(&world.router, 80));
        firewall.process().signal(Signal::STOP)?;
        let elements: Vec<String> =
            (0..2_000).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n).to_string()).collect();
        let elements = elements.join(",");
        world.router.nft("table ip noise { set s { type ipv4_addr; }; }")?;
        for _ in 0..20 {
            world.router.nft(&format!("add element ip noise s {{ {elements} }}\n"))?;
            world.router.nft(&format!("delete element ip noise s {{ {elements} }}\n"))?;
        }
        world.router.nft("flush set ip crowdsec crowdsec-blacklists-cscli")?;
        assert!(world.visitor.reaches(&world.router, 80));
        firewall.process().signal(Signal::CONT)?;
        eventually_within(Duration::from_secs(3), "the visitor is shut out again", || {
            !world.visitor.reaches(&world.router, 80)
        })?;
        Ok(())
    })
}

#[test]
fn a_foreign_table_does_not_prevent_repairs_of_the_others() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        lapi.ban("2001:db8:a::/64");
        let _service = world.router.echoes_on(80)?;
        // The kernel lets only the owner of such a table change it, for as long as the owner lives.
        let mut owner = tools::command("sh")?;
        let pipe = world.fresh_path("pipe");
        owner.arg("-c").arg("mkfifo $0; (echo 'add table ip crowdsec { flags owner; }'; exec sleep 60) > $0 & exec nft -i < $0");
        owner.arg(pipe);
        let owner = world.start(&world.router, "owner", owner)?;
        eventually("the table is taken", || {
            Ok(world.router.tool(["nft", "list", "tables"])?.contains("crowdsec"))
        })?;
        let config = Config::new(world, &lapi.access())?;
        let mut firewall = Firewall::launch(world, &Implementation::under_test()?, &config)?;
        eventually("the other family is enforced", || !world.visitor.reaches_v6(&world.router, 80))?;
        let complaint = "table ip crowdsec: nft refuses";
        eventually("what is the matter is said", || firewall.process().log().contains(complaint))?;
        assert_eq!(firewall.process().log().matches(complaint).count(), 1, "and said once");
        assert!(firewall.process().exited().is_none());
        drop(owner);
        eventually_within(default_timeout() * 2, "and then all of it", || {
            !world.visitor.reaches(&world.router, 80)
        })?;
        firewall.ready()?;
        Ok(())
    })
}

/// A small generator, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 40).unwrap_or(0) % limit
    }

    /// A prefix of at least 24 (or 120) bits inside 192.0.2.0/24 or 2001:db8:f::/120.
    fn net(&mut self) -> IpNet {
        let (low, bits) = (self.below(256), [0, 0, 0, 1, 2, 3, 4, 5, 6, 8][self.below(10)]);
        let (address, length) = if self.below(3) > 0 {
            (IpAddr::from(Ipv4Addr::new(192, 0, 2, low as u8)), 32)
        } else {
            (IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, low as u16)), 128)
        };
        IpNet::new(address, length - bits).expect("the length fits the family").trunc()
    }
}

fn spell(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// Every address the storm can touch.
fn everybody() -> impl Iterator<Item = IpAddr> {
    (0..=255).flat_map(|low| {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, u16::from(low));
        [IpAddr::from(Ipv4Addr::new(192, 0, 2, low)), IpAddr::from(v6)]
    })
}

/// First and last address of every element in the kernel's sets.
fn in_force(world: &World) -> Outcome<Vec<(IpAddr, IpAddr)>> {
    let ends = |value: &String| -> Outcome<(IpAddr, IpAddr)> {
        if let Some((first, last)) = value.split_once('-') {
            return Ok((first.parse()?, last.parse()?));
        }
        if let Ok(net) = value.parse::<IpNet>() {
            return Ok((net.network(), net.broadcast()));
        }
        let host = value.parse()?;
        Ok((host, host))
    };
    world.router.ruleset()?.banned().keys().map(ends).collect()
}
