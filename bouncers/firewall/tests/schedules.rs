//! Random schedules in a running kernel: hosts and ranges that nest, adjoin and equal each other come, are prolonged,
//! shortened and lifted, and end; the enforcing task is stopped, killed and started again. At every moment the kernel
//! bans exactly the union of what holds, as `nft` lists it, and no gate and no inner gate lacks what it guards.
//!
//! The suite plays a few schedules. `PALISADE_SCHEDULES=300 cargo test -p palisade-firewall --test schedules --
//! --nocapture` plays more, from the seed in `PALISADE_SEED` on; each prints its seed, and is played again with it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code: a panic is how it fails")]

mod kernel_world;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use kernel_world::{World, config, in_namespace, nft, test_name};
use palisade_firewall::config::Config;
use palisade_stream::now;
use serde_json::Value;

/// How far from its end a decision may be held or not: the kernel counts in its own ticks, and a commit takes time.
const SLACK_MS: i64 = 400;

/// How much longer an element of an operator's interval set lives when the process is gone.
const INTERVAL_GRACE_MS: i64 = 3000;

/// Schedules that run at once; each is mostly asleep.
const AT_ONCE: usize = 8;

/// Steps of a schedule; about a quarter of a second each.
const STEPS: u32 = 32;

/// A generator that gives the same numbers for the same seed on every machine (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    /// A prefix in a small space, so that prefixes meet; its end may be that of all addresses.
    fn net(&mut self) -> IpNet {
        let low = u32::try_from(self.below(1024)).unwrap();
        if self.below(3) > 0 {
            let base = self.pick(&[0xc000_0000_u32, 0xc000_0000, 0xffff_fc00]);
            let length = self.pick(&[8, 13, 16, 21, 22, 23, 24, 25, 25, 26, 28, 31, 32, 32, 32]);
            IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(base | low)), length).unwrap().trunc()
        } else {
            let base = self.pick(&[0x2001_0db8_u128 << 96, u128::MAX << 80]);
            let length = self.pick(&[29, 32, 40, 47, 48, 49, 56, 64, 64, 120, 127, 128, 128]);
            let bits = base | u128::from(low) << 70 | u128::from(low % 4);
            IpNet::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), length).unwrap().trunc()
        }
    }
}

/// A rule that looks into a set: the set, and the chain that a match leads to, if any.
type Lookup = (String, Option<String>);

/// What the kernel bans: the rules as they stand, applied to an address.
struct Kernel {
    /// `(table, set)` → its elements as first and last address.
    sets: BTreeMap<(String, String), Vec<(IpAddr, IpAddr)>>,
    /// By table and chain.
    rules: BTreeMap<(String, String), Vec<Lookup>>,
}

impl Kernel {
    fn read() -> Self {
        let listed: Value = serde_json::from_str(&kernel_world::nft_json("list ruleset")).unwrap();
        let (mut sets, mut rules) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
        let text = |object: &Value, key: &str| object[key].as_str().unwrap().to_owned();
        for object in listed["nftables"].as_array().unwrap() {
            if let Some(set) = object.get("set").or(object.get("map")) {
                let elements = set["elem"].as_array().into_iter().flatten().map(|element| {
                    let element = element.get(0).unwrap_or(element);
                    let value = element.get("elem").map_or(element, |about| &about["val"]);
                    ends(value)
                });
                sets.insert((text(set, "table"), text(set, "name")), elements.collect());
            }
            let Some(rule) = object.get("rule") else { continue };
            let looked_up = rule["expr"].to_string();
            let set = looked_up.split('@').nth(1).and_then(|set| set.split('"').next());
            let verdicts = rule["expr"].as_array().into_iter().flatten();
            let leads = verdicts.filter_map(|one| one.get("jump").or(one.get("goto")));
            let leads = leads.map(|one| text(one, "target")).next();
            if let Some(set) = set {
                let chain = (text(rule, "table"), text(rule, "chain"));
                rules.entry(chain).or_default().push((set.to_owned(), leads));
            }
        }
        Self { sets, rules }
    }

    fn in_set(&self, table: &str, set: &str, address: IpAddr) -> bool {
        let elements = self.sets.get(&(table.to_owned(), set.to_owned()));
        elements.is_some_and(|elements| {
            elements.iter().any(|(first, last)| *first <= address && address <= *last)
        })
    }

    /// Whether a set of ours has the address, or the cell or range around it.
    fn has(&self, table: &str, set: &str, address: IpAddr) -> bool {
        let numbered = set.rsplit_once('.').and_then(|(_, kind)| kind.rsplit_once('-'));
        let length = numbered.map_or(if address.is_ipv4() { 32 } else { 128 }, |(_, n)| n.parse().unwrap());
        self.in_set(table, set, IpNet::new(address, length).unwrap().network())
    }

    /// Whether the rules of a chain lead to the chain that denies.
    fn denies(&self, table: &str, chain: &str, address: IpAddr) -> bool {
        if chain.ends_with(".deny") {
            return true;
        }
        for (set, leads) in self.rules.get(&(table.to_owned(), chain.to_owned())).into_iter().flatten() {
            match leads {
                _ if !self.has(table, set, address) => {}
                None => return false,
                Some(chain) if self.denies(table, chain, address) => return true,
                Some(_) => {}
            }
        }
        false
    }

    fn bans(&self, managed: bool, address: IpAddr) -> bool {
        let suffix = if address.is_ipv4() { "" } else { "6" };
        if !managed {
            return self.in_set("mine", &format!("bad{suffix}"), address);
        }
        let (table, prefix) = (format!("crowdsec{suffix}"), format!("crowdsec{suffix}-blacklists"));
        let base = format!("crowdsec{suffix}-chain-input");
        if !self.rules.contains_key(&(table.clone(), base.clone())) {
            return false;
        }
        let denied = self.denies(&table, &base, address);
        let sets = self.sets.keys().filter(|(of, _)| *of == table).map(|(_, name)| name);
        let bans = |name: &&String| {
            let rest = name.strip_prefix(&prefix).unwrap();
            (rest.starts_with('-') || rest.starts_with(".ranges-")) && self.has(&table, name, address)
        };
        let banned: Vec<_> = sets.filter(bans).collect();
        assert_eq!(denied, !banned.is_empty(), "{address}: sets {banned:?} have it");
        denied
    }
}

fn ends(value: &Value) -> (IpAddr, IpAddr) {
    let address = |value: &Value| value.as_str().unwrap().parse::<IpAddr>().unwrap();
    if let Some(prefix) = value.get("prefix") {
        let length = u8::try_from(prefix["len"].as_u64().unwrap()).unwrap();
        let net = IpNet::new(address(&prefix["addr"]), length).unwrap();
        return (net.network(), net.broadcast());
    }
    match value.get("range") {
        Some(range) => (address(&range[0]), address(&range[1])),
        None => (address(value), address(value)),
    }
}

/// What holds, by target and source: the end in milliseconds.
type Held = BTreeMap<(IpNet, &'static str), i64>;

/// The addresses at and next to every end of every prefix.
fn probes(held: &[IpNet]) -> Vec<IpAddr> {
    let beside = |address: IpAddr, by: i128| match address {
        IpAddr::V4(address) => {
            let bits = i128::from(address.to_bits()) + by;
            u32::try_from(bits).ok().map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let bits = if by < 0 { bits.checked_sub(1) } else { bits.checked_add(by.unsigned_abs()) };
            bits.map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
    };
    let mut all: Vec<IpAddr> = held
        .iter()
        .flat_map(|net| [(net.network(), -1), (net.network(), 0), (net.broadcast(), 0), (net.broadcast(), 1)])
        .filter_map(|(address, by)| beside(address, by))
        .chain(["8.8.8.8", "255.255.255.255", "ffff::1"].map(|text| text.parse().unwrap()))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Compares the kernel with what holds, at every address where a decision is not just about to end.
///
/// While nothing runs, an operator's interval set may hold a decision for some seconds longer (`frozen`).
fn check((managed, frozen): (bool, bool), held: &Held, ever: &[IpNet], own: &[IpNet], what: &str) {
    let grace = if frozen && !managed { INTERVAL_GRACE_MS } else { 0 };
    let before = now().as_millis();
    let kernel = Kernel::read();
    let after = now().as_millis();
    for address in probes(ever) {
        let covering = held.iter().filter(|((net, _), _)| net.contains(&address));
        let until = covering.map(|(_, until)| *until).max();
        let own = own.iter().any(|net| net.contains(&address));
        if until.is_some_and(|until| until > before - SLACK_MS - grace && until < after + SLACK_MS) && !own {
            continue;
        }
        let wanted = until.is_some_and(|until| until >= after) || own;
        let banned = kernel.bans(managed, address);
        let left = until.map(|until| until - after);
        assert_eq!(banned, wanted, "{address} {what}; ends in {left:?} ms\n{}", nft("list ruleset"));
    }
}

async fn play(world: &mut World, seed: u64) {
    let mut random = Random(seed);
    // Managed, or an operator's hash (without ranges) or interval set, shared with his own elements or not.
    let kind = random.pick(&["managed", "managed", "managed", "interval", "interval, shared"]);
    let keep = random.below(2) == 0;
    let mut settings = Config { keep_on_stop: keep, reconcile_interval: Duration::from_secs(2), ..config() };
    let managed = kind == "managed";
    let mut own = Vec::new();
    if !managed {
        nft("add table inet mine");
        nft("add set inet mine bad { type ipv4_addr; flags interval,timeout; }");
        nft("add set inet mine bad6 { type ipv6_addr; flags interval,timeout; }");
        for (family, set) in [(&mut settings.v4, "bad"), (&mut settings.v6, "bad6")] {
            let family = family.as_mut().unwrap();
            (family.set_only, family.table, family.set) = (true, "mine".into(), set.into());
        }
    }
    if kind == "interval, shared" {
        own = vec!["192.0.0.64/27".parse().unwrap(), "2001:db8:0:4::/63".parse().unwrap()];
        nft("add element inet mine bad { 192.0.0.64/27 }");
        nft("add element inet mine bad6 { 2001:db8:0:4::/63 }");
    }
    println!("schedule {seed}: {kind}, keep_on_stop {keep}");
    let mut held = Held::new();
    let mut ever: Vec<IpNet> = own.clone();
    // While nothing runs: what was in force when the task ended.
    let mut frozen: Option<Held> = None;
    let mut published = Held::new();
    world.start(settings.clone()).await;
    for step in 0..STEPS {
        let running = frozen.is_none();
        // What has ended by now is not there to be prolonged.
        let time = now();
        world.expire(time);
        held.retain(|_, until| *until > time.as_millis());
        let mut announced = Vec::new();
        let choice = random.below(100);
        let what = if choice < 55 {
            for _ in 0..=random.below(3) {
                let known = ever.get(usize::try_from(random.below(40)).unwrap()).copied();
                let net = known.filter(|net| !own.contains(net)).unwrap_or_else(|| random.net());
                let source = random.pick(&["cscli", "CAPI", "lists:tor"]);
                if announced.contains(&(net, source)) {
                    continue;
                }
                announced.push((net, source));
                let left_ms = 600 + i64::try_from(random.below(5000)).unwrap();
                let until = now().as_millis() + left_ms;
                // Ends that are nearly the same count as the same.
                let same = held.get(&(net, source)).is_some_and(|held| (*held - until).abs() <= 2000);
                world.announce_until(net, source, until);
                if !same {
                    held.insert((net, source), until);
                }
                if !ever.contains(&net) {
                    ever.push(net);
                }
            }
            "after bans"
        } else if choice < 75 {
            if let Some((net, _)) = held.keys().nth(usize::try_from(random.below(12)).unwrap()).copied() {
                held.retain(|(target, _), _| *target != net);
                world.lift_later(net);
            }
            "after a lift"
        } else if choice < 84 && running {
            world.stop().await;
            frozen = Some(if keep { published.clone() } else { Held::new() });
            "after a stop"
        } else if choice < 92 && running {
            world.kill().await;
            frozen = Some(published.clone());
            "after a kill"
        } else if !running {
            world.start(settings.clone()).await;
            frozen = None;
            "after a start"
        } else {
            tokio::time::sleep(Duration::from_millis(random.below(400))).await;
            "after a while"
        };
        if frozen.is_none() {
            world.publish().await;
            published = held.clone();
        } else {
            world.settle();
        }
        let what = format!("{what} (step {step} of schedule {seed}, {kind}, keep_on_stop {keep})");
        let mode = (managed, frozen.is_some());
        check(mode, frozen.as_ref().unwrap_or(&held), &ever, &own, &what);
        tokio::time::sleep(Duration::from_millis(random.below(350))).await;
        world.publish_ends(frozen.is_some()).await;
        check(mode, frozen.as_ref().unwrap_or(&held), &ever, &own, &format!("{what}, later"));
    }
    if frozen.is_none() {
        world.stop().await;
    }
}

#[test]
fn at_every_moment_the_kernel_bans_exactly_what_holds() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (first, count) = (number("PALISADE_SEED", 1), number("PALISADE_SCHEDULES", 8));
    let seeds = std::sync::Mutex::new(first..first + count);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(seed) = { seeds.lock().unwrap().next() } {
                    let test = format!("{} {seed}", test_name!().trim_end_matches("::{{closure}}"));
                    in_namespace(&test, async |mut world: World| play(&mut world, seed).await);
                }
            });
        }
    });
}
