//! A namespace with a cache, an enforcing task and `nft` to look at the result.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code: a panic is how it fails")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use palisade_cache::{Batch, Ledger, Mode as Apply, Policy, Reason, Timestamp};
use palisade_firewall::config::{Allow, Config, Deny, Family, Hook, Mode, PresentAs, ShortestPrefix};
use palisade_firewall::{EnforceError, Enforcer, EnforcerConfig, LocalNetwork, Status};
use palisade_stream::{CacheHandle, Publisher, channel, now};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs the story in a fresh user and network namespace: starts this test binary again under `unshare`, for this
/// one test. What follows a space in `test` only tells runs of one test apart.
pub(crate) fn in_namespace(test: &str, story: impl AsyncFnOnce(World)) {
    const INSIDE: &str = "PALISADE_TEST_NAMESPACE";
    match std::env::var(INSIDE) {
        Ok(inside) if inside == test => {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(120), story(World::new()))
                    .await
                    .expect("two minutes are enough");
            });
            return;
        }
        Ok(_another_run) => return,
        Err(_outside) => {}
    }
    let name = test.split(' ').next().unwrap().split_once("::").expect("the path starts with the crate").1;
    let output = Command::new("unshare")
        .args(["-Urn", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .output()
        .expect("unshare (package util-linux) is needed for this test");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("1 passed"), "{test} in its namespace: {}\n{out}\n{err}", output.status);
    print!("{out}");
}

/// The full name of the test that contains this line.
macro_rules! test_name {
    () => {{
        fn here() {}
        std::any::type_name_of_val(&here).trim_end_matches("::here")
    }};
}
pub(crate) use test_name;

pub(crate) struct World {
    ledger: Ledger,
    batch: Batch,
    publisher: Publisher,
    cache: CacheHandle,
    enforcer_config: Option<watch::Sender<EnforcerConfig>>,
    protected: Vec<IpAddr>,
    pub(crate) local: LocalNetwork,
    status: watch::Receiver<Status>,
    tasks: JoinSet<Result<(), EnforceError>>,
    stop: CancellationToken,
}

impl World {
    fn new() -> Self {
        let mut ledger = Ledger::new(Policy::longest_wins(), 0);
        let (publisher, cache) = channel(ledger.snapshot());
        let last_full = Some(palisade_stream::now());
        publisher.publish_freshness(palisade_stream::Freshness { last_full, ..Default::default() });
        Self {
            ledger,
            batch: Batch::new(),
            publisher,
            cache,
            enforcer_config: None,
            protected: Vec::new(),
            local: LocalNetwork::default(),
            status: watch::channel(Status::default()).1,
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Starts the enforcing task and waits until it is ready.
    pub(crate) async fn start(&mut self, config: Config) {
        self.settle();
        self.launch(config);
        eventually("the task is ready", Duration::from_secs(30), || self.status().is_ready()).await;
        eventually("all is in force", Duration::from_secs(30), || self.is_in_force()).await;
    }

    /// Starts the enforcing task.
    pub(crate) fn launch(&mut self, config: Config) {
        self.settle();
        let (config, protected, local) = (Arc::new(config), self.protected.clone(), self.local.clone());
        let enforcer_config = EnforcerConfig { config, protected, local };
        let (sender, receiver) = watch::channel(enforcer_config);
        let (enforcer, status) = Enforcer::new(receiver, self.cache.clone());
        (self.enforcer_config, self.status, self.stop) = (Some(sender), status, CancellationToken::new());
        self.tasks.spawn(enforcer.run(self.stop.clone()));
    }

    pub(crate) async fn reload(&mut self, config: Config) {
        let (config, protected, local) = (Arc::new(config), self.protected.clone(), self.local.clone());
        let enforcer_config = EnforcerConfig { config, protected, local };
        self.enforcer_config.as_ref().unwrap().send_replace(enforcer_config);
    }

    pub(crate) fn update_protected(&mut self, addresses: &[&str]) {
        self.protected = addresses.iter().map(|address| address.parse().unwrap()).collect();
        if let Some(enforcer_config) = &self.enforcer_config {
            enforcer_config
                .send_modify(|enforcer_config| enforcer_config.protected.clone_from(&self.protected));
        }
    }

    /// Stops the task and waits for its end.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    fn is_in_force(&self) -> bool {
        let status = self.status.borrow();
        status.generation == self.cache.load().generation() && status.failing.is_none()
    }

    /// Adds a decision to what will be published next. `source` may be `lists:<name>`.
    pub(crate) fn announce(&mut self, net: &str, source: &str, secs: u64) {
        let (origin, scenario) = source.split_once(':').unwrap_or((source, "test"));
        let reason = Reason { remediation: "ban", origin, scenario };
        self.batch.announce_net(
            net.parse().unwrap(),
            reason,
            now().saturating_add(Duration::from_secs(secs)),
            1,
        );
    }

    /// Adds a decision that ends at this moment, in milliseconds.
    pub(crate) fn announce_until(&mut self, net: ipnet::IpNet, source: &str, until: i64) {
        let (origin, scenario) = source.split_once(':').unwrap_or((source, "test"));
        let reason = Reason { remediation: "ban", origin, scenario };
        self.batch.announce_net(net, reason, Timestamp::from_millis(until), 1);
    }

    /// Lifts all decisions on a target with what will be published next.
    pub(crate) fn lift_later(&mut self, net: ipnet::IpNet) {
        self.batch.lift_net(net, "ban");
    }

    /// Removes what has ended from the cache.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.ledger.expire(now);
    }

    /// Removes what has ended, and publishes that as the one that follows a LAPI does.
    pub(crate) async fn publish_ends(&mut self, stopped: bool) {
        if self.ledger.expire(now()) > 0 {
            self.publisher.publish(self.ledger.snapshot());
            if !stopped {
                eventually("it is in force", Duration::from_secs(60), || self.is_in_force()).await;
            }
        }
    }

    /// Ends the task where it stands: nothing is taken out of the kernel.
    pub(crate) async fn kill(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Publishes what was announced.
    pub(crate) fn settle(&mut self) {
        self.ledger.apply(Apply::Changes, std::mem::take(&mut self.batch));
        // These worlds know everything: what they hold is the LAPI's whole answer.
        let last_full = Some(palisade_stream::now());
        self.publisher.publish_freshness(palisade_stream::Freshness { last_full, ..Default::default() });
        self.publisher.publish(self.ledger.snapshot());
    }

    /// Publishes what was announced and waits until it is in force.
    pub(crate) async fn publish(&mut self) {
        self.settle();
        eventually("it is in force", Duration::from_secs(60), || self.is_in_force()).await;
    }

    pub(crate) async fn ban(&mut self, net: &str, source: &str, secs: u64) {
        let net: ipnet::IpNet = net.parse().unwrap();
        // A decision of the same kind on the same target is replaced, as the LAPI does.
        self.batch.lift_net(net, "ban");
        self.announce(&net.to_string(), source, secs);
        self.publish().await;
    }

    pub(crate) async fn lift(&mut self, net: &str) {
        self.batch.lift_net(net.parse().unwrap(), "ban");
        self.publish().await;
    }
}

pub(crate) fn config() -> Config {
    let family = |suffix: &str| Family {
        table: format!("crowdsec{suffix}"),
        chain: format!("crowdsec{suffix}-chain"),
        set: format!("crowdsec{suffix}-blacklists"),
        priority: -10,
        set_only: false,
        exclusive: false,
    };
    Config {
        mode: Mode::Nftables,
        v4: Some(family("")),
        v6: Some(family("6")),
        hooks: vec![Hook::Input, Hook::Forward],
        deny: Deny::Drop,
        log: None,
        block_outbound: false,
        allow: Allow::default(),
        protect_lapi: true,
        drop_established: false,
        keep_on_stop: false,
        types: vec!["ban".into()],
        present_as: PresentAs::Palisade,
        shortest_prefix: ShortestPrefix::default(),
        reconcile_interval: Duration::from_secs(60),
    }
}

pub(crate) fn set_only(table: &str, set: &str) -> Config {
    let v4 = Family { table: table.into(), set: set.into(), set_only: true, ..config().v4.unwrap() };
    Config { v4: Some(v4), v6: None, ..config() }
}

/// Runs `nft` on a script, and returns what it prints.
pub(crate) fn nft(script: &str) -> String {
    let output = try_nft(script);
    assert!(output.status.success(), "nft: {}\n{script}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The same in JSON.
pub(crate) fn nft_json(script: &str) -> String {
    let output = Command::new("nft").args(["-j", script]).output().unwrap();
    assert!(output.status.success(), "nft -j: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn try_nft(script: &str) -> Output {
    Command::new("nft").arg(script).output().expect("nft (package nftables) is needed for this test")
}

pub(crate) fn list(what: &str) -> String {
    nft(&format!("list {what}"))
}

/// What `nft` lists, or nothing.
pub(crate) fn try_list(what: &str) -> String {
    String::from_utf8(try_nft(&format!("list {what}")).stdout).unwrap()
}

/// The number of the last transaction, as `nft` tells it in its monitor's terms.
pub(crate) fn generation() -> u32 {
    palisade_firewall::ruleset_generation().unwrap()
}

pub(crate) fn count_elements(family: &str, table: &str, set: &str) -> usize {
    list(&format!("set {family} {table} {set}")).matches(" expires ").count()
}

/// The whole seconds after the first `expires`.
pub(crate) fn expires_secs(listing: &str) -> u64 {
    let text = listing.split(" expires ").nth(1).unwrap_or_else(|| panic!("expires in {listing}"));
    let (mut secs, mut number) = (0, 0);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '0'..='9' => number = number * 10 + u64::from(char.to_digit(10).unwrap()),
            'm' if chars.peek() == Some(&'s') => break,
            unit => {
                let Some(worth) =
                    [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)].iter().find(|(of, _)| *of == unit)
                else {
                    break;
                };
                secs += number * worth.1;
                number = 0;
            }
        }
    }
    secs
}

/// This process's memory now and at its highest.
pub(crate) fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}

/// `nft monitor`, from now until it is stopped.
pub(crate) struct Witness {
    child: Child,
    seen: Arc<Mutex<String>>,
}

impl Witness {
    pub(crate) fn start() -> Self {
        let mut child = Command::new("nft").arg("monitor").stdout(Stdio::piped()).spawn().unwrap();
        let (seen, out) = (Arc::new(Mutex::new(String::new())), child.stdout.take().unwrap());
        let text = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                *text.lock().unwrap() += &(line + "\n");
            }
        });
        // It listens when its netlink socket is bound to groups, which /proc tells.
        let (pid, deadline) = (child.id().to_string(), Instant::now() + Duration::from_secs(5));
        let listens = |line: &str| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next() == Some(&pid) && fields.next().is_some_and(|groups| groups != "00000000")
        };
        while !std::fs::read_to_string("/proc/net/netlink").unwrap().lines().any(listens) {
            assert!(Instant::now() < deadline, "nft monitor listens");
            std::thread::yield_now();
        }
        Self { child, seen }
    }

    /// Everything it has seen, up to and including this text.
    pub(crate) async fn stop_after(mut self, last: &str) -> String {
        eventually(&format!("`{last}` is seen"), Duration::from_secs(5), || {
            self.seen.lock().unwrap().contains(last)
        })
        .await;
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.seen.lock().unwrap().clone()
    }
}

/// Looks again and again until it holds.
pub(crate) async fn eventually(what: &str, within: Duration, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
