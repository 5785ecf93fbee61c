//! Whole lists: a generic endpoint, a list at Cloudflare and IP sets of AWS WAF equal what is decided.

mod aws_waf;
mod cloudflare;
mod generic;

use std::collections::BTreeSet;
use std::time::Duration;

use palisade_e2e::{
    Outcome, ScriptedLapi, ServiceRules, ServiceStandIn, Webhook, World, eventually, throughout, webhook_file,
};
use serde_json::{Value, json};

/// A stand-in of a service that keeps one list.
trait ListService: ServiceRules + Default {
    /// The endpoint's keys besides those that all have.
    fn keys(url: &str) -> Value;

    /// What it lists, addresses without their length.
    fn listed(&self) -> BTreeSet<String>;

    /// How many uploads have begun.
    fn uploads(&self) -> usize;

    /// The next upload is held back for so long, after it has been carried out.
    fn hold_next(&mut self, delay: Duration);

    /// The next uploads fail, each in another way.
    fn fail_next(&mut self, count: usize);

    /// Requests of a client that was killed and of its successor may now come at once.
    fn client_was_killed(&mut self) {}
}

/// A running program with one list.
struct RunningList<R> {
    lapi: ScriptedLapi,
    service: ServiceStandIn<R>,
    webhook: Webhook,
}

impl<R: ListService> RunningList<R> {
    fn config(lapi: &ScriptedLapi, service: &ServiceStandIn<R>) -> String {
        let mut endpoint = R::keys(&service.url(""));
        endpoint["name"] = "edge".into();
        endpoint["allow_addresses"] = json!(["127.0.0.1"]);
        endpoint["replace"]["interval"] = "1s".into();
        endpoint["retry"] = json!({ "first": "50ms", "max": "400ms", "refused": "1s" });
        webhook_file(&lapi.access(), &[endpoint])
    }

    fn start(world: &World, rules: R, decided: &[&str]) -> Outcome<Self> {
        let (lapi, service) =
            (ScriptedLapi::start(&world.router)?, ServiceStandIn::start(&world.router, rules)?);
        lapi.ban_all(decided.iter().map(|value| (*value).into()));
        let webhook = Webhook::start(world, &Self::config(&lapi, &service), &world.fresh_path("state"))?;
        Ok(Self { lapi, service, webhook })
    }

    /// Waits until the list is this one, and the service finds nothing wrong.
    fn lists(&self, expected: &[&str]) -> Outcome {
        let expected: BTreeSet<String> = expected.iter().map(|value| (*value).to_owned()).collect();
        eventually("the list is what is decided", || match self.service.with(|rules| rules.listed()) {
            listed if listed == expected => Ok(true),
            listed => Err(palisade_e2e::Failure::new(format!("{listed:?}; log: {}", self.webhook.log()))),
        })?;
        self.service.is_content()
    }

    /// Waits until an upload is known to the program to be accepted.
    fn accepted(&self, count: usize) -> Outcome {
        eventually(
            "the list is accepted",
            || Ok(self.webhook.log().matches("list accepted").count() >= count),
        )
        .map(drop)
    }
}

fn follows_bans_and_lifts<R: ListService>(world: &World, rules: R) -> Outcome {
    let running = RunningList::start(world, rules, &["192.0.2.1", "198.51.100.0/24"])?;
    running.lists(&["192.0.2.1", "198.51.100.0/24"])?;
    running.lapi.ban("192.0.2.2");
    running.lapi.ban("2001:db8:1::/48");
    running.lists(&["192.0.2.1", "192.0.2.2", "198.51.100.0/24", "2001:db8:1::/48"])?;
    running.lapi.lift("192.0.2.1");
    running.lapi.lift("198.51.100.0/24");
    running.lists(&["192.0.2.2", "2001:db8:1::/48"])?;
    for value in ["192.0.2.2", "2001:db8:1::/48"] {
        running.lapi.lift(value);
    }
    running.lists(&[])
}

fn is_not_uploaded_twice<R: ListService>(world: &World, rules: R) -> Outcome {
    let mut running = RunningList::start(world, rules, &["192.0.2.1", "192.0.2.2"])?;
    running.lists(&["192.0.2.1", "192.0.2.2"])?;
    running.accepted(1)?;
    let uploads = |running: &RunningList<R>| running.service.with(|rules| rules.uploads());
    let before = uploads(&running);
    throughout(Duration::from_secs(2), "nothing is uploaded", || uploads(&running) == before)?;
    running.webhook.restart(world)?;
    running.lapi.pulled(3)?;
    throughout(Duration::from_secs(2), "not after a restart either", || uploads(&running) == before)?;
    running.lapi.ban("192.0.2.3");
    running.lists(&["192.0.2.1", "192.0.2.2", "192.0.2.3"])?;
    running.webhook.command(world, &["snapshot", "edge"])?;
    running.lists(&["192.0.2.1", "192.0.2.2", "192.0.2.3"])
}

fn is_repeated_until_accepted<R: ListService>(world: &World, rules: R) -> Outcome {
    let running = RunningList::start(world, rules, &["192.0.2.1"])?;
    running.lists(&["192.0.2.1"])?;
    running.accepted(1)?;
    running.service.with(|rules| rules.fail_next(4));
    running.lapi.ban("192.0.2.2");
    running.lapi.lift("192.0.2.1");
    running.lists(&["192.0.2.2"])?;
    running.accepted(2)?;
    assert!(running.webhook.log().contains("the list was not accepted"), "{}", running.webhook.log());
    Ok(())
}

fn waits_for_the_first_decisions<R: ListService>(world: &World, rules: R) -> Outcome {
    let mut lapi = ScriptedLapi::start(&world.router)?;
    lapi.ban("192.0.2.1");
    lapi.close();
    let service = ServiceStandIn::start(&world.router, rules)?;
    let config = RunningList::<R>::config(&lapi, &service);
    let webhook = Webhook::launch(world, &config, &world.fresh_path("state"))?;
    eventually("the LAPI is missed", || webhook.log().contains("no answer from the LAPI"))?;
    throughout(Duration::from_secs(2), "nothing is sent", || service.requests().is_empty())?;
    lapi.open()?;
    let running = RunningList { lapi, service, webhook };
    running.lists(&["192.0.2.1"])?;
    running.accepted(1)?;
    assert_eq!(running.service.with(|rules| rules.uploads()), 1);
    Ok(())
}

fn survives_a_kill_during_an_upload<R: ListService>(world: &World, rules: R) -> Outcome {
    let mut running = RunningList::start(world, rules, &["192.0.2.1"])?;
    running.lists(&["192.0.2.1"])?;
    running.accepted(1)?;
    let before = running.service.with(|rules| {
        rules.hold_next(Duration::from_secs(3));
        rules.uploads()
    });
    running.lapi.ban("192.0.2.2");
    eventually("an upload has begun", || running.service.with(|rules| rules.uploads()) > before)?;
    running.webhook.process().kill()?;
    running.service.with(|rules| rules.client_was_killed());
    // What is decided now is what the program has seen accepted; the service holds something else.
    running.lapi.lift("192.0.2.2");
    running.webhook.launch_again(world)?;
    running.webhook.ready()?;
    running.lists(&["192.0.2.1"])
}
