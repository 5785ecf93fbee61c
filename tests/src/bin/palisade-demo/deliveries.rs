//! The part of the demonstration in which a ban arrives at a receiver of webhooks.

use std::time::Instant;

use palisade_e2e::{
    Failure, Lapi, Outcome, Reaction, ReceivedEvent, Receiver, Webhook, World, eventually, webhook_file,
};
use serde_json::json;

use super::{Script, ms};

/// A secret of the demonstration alone.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

impl Script {
    /// Changes arrive at an HTTP endpoint, also those that were made while it was away.
    pub(crate) fn play_webhook(&self, world: &World, lapi: &Lapi) -> Outcome {
        println!(
            "\n  {}\n",
            Self::paint("1", "The same for everything else: each change is delivered, signed")
        );
        let receiver = Receiver::start(&world.router)?;
        let endpoint = receiver.endpoint("soar", json!({ "signing_secrets": [SECRET] }));
        let config = webhook_file(&lapi.access(), &[endpoint]);
        let webhook = Webhook::start(world, &config, &world.fresh_path("webhook"))?;
        eventually("the first snapshot arrives", || Ok(receiver.snapshots() == 1))?;
        self.explain("webhook", &format!("delivers to {}", receiver.url()));

        let banned = self.admin(lapi, "decisions add --ip 198.51.100.77 --duration 1h")?;
        self.arrives(&receiver, banned, "decision.added")?;
        self.show_request(&receiver)?;

        receiver.always(Reaction::Status(503));
        self.explain("receiver", "answers 503 from now on");
        self.admin(lapi, "decisions delete --all")?;
        self.admin(lapi, "decisions add --ip 203.0.113.9 --duration 1h")?;
        self.admin(lapi, "decisions delete --all")?;
        eventually("the failure is shown", || {
            Ok(webhook.command(world, &["status"])?.1.contains("failing for"))
        })?;
        let (_, status) = webhook.command(world, &["status"])?;
        let line = status.lines().find(|line| line.starts_with("endpoint soar")).unwrap_or_default();
        self.explain("status", line);
        receiver.heal();
        self.explain("receiver", "works again");
        let healed = Instant::now();
        self.arrives(&receiver, healed, "decision.lifted")?;
        receiver.is_content()?;
        let status = webhook.stop()?;
        self.explain("stop", &format!("the webhook bouncer ended with {status}"));
        Ok(())
    }

    /// Waits for an event on the visitor and prints it.
    fn arrives(&self, receiver: &Receiver, since: Instant, kind: &str) -> Outcome {
        let mut last: Option<ReceivedEvent> = None;
        eventually(kind, || {
            last = receiver.events().pop().filter(|event| event.kind == kind);
            Ok(last.is_some())
        })?;
        let event = last.ok_or_else(|| Failure::new("no event"))?;
        self.good(
            "arrived",
            &format!("{} {} ({}), {} later", event.kind, event.value, event.remediation, ms(since.elapsed())),
        );
        Ok(())
    }

    fn show_request(&self, receiver: &Receiver) -> Outcome {
        let request = receiver.requests().pop().ok_or_else(|| Failure::new("no request"))?;
        for name in ["webhook-id", "webhook-signature"] {
            self.explain("", &format!("{name}: {}", request.header(name).unwrap_or_default()));
        }
        self.explain("", &request.body);
        Ok(())
    }
}
