//! The first endpoint of `docs/webhook.md`: its configuration and its receiver as they are printed there.

use std::path::Path;

use palisade_e2e::{Failure, Outcome, Process, ScriptedLapi, Webhook, World, story, tools};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The first fenced block of a language.
fn block(page: &str, language: &str) -> Outcome<String> {
    let fence = format!("```{language}\n");
    let rest = page.split_once(&*fence).map(|(_, rest)| rest);
    let block = rest.and_then(|rest| rest.split_once("```")).map(|(block, _)| block.to_owned());
    block.ok_or_else(|| Failure::new(format!("the guide has no block of {language}")))
}

/// The guide's receiver, as a process.
fn receiver(world: &World, text: &str) -> Outcome<Process> {
    let script = world.fresh_path("receiver.py");
    std::fs::write(&script, text)?;
    let mut python = tools::command("python3")?;
    python.arg(&script).env("PYTHONPATH", tools::standard_webhooks()?).env("WEBHOOK_SECRET", SECRET);
    world.start(&world.router, "receiver", python)
}

#[test]
fn the_first_endpoint_of_the_guide_reaches_the_receiver_of_the_guide() -> Outcome {
    story(|world| {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/webhook.md");
        let page = std::fs::read_to_string(page)?;
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("192.0.2.1");
        let mut receiver = receiver(world, &block(&page, "python")?)?;
        let state = world.fresh_path("state");
        let access = lapi.access();
        let config = block(&page, "yaml")?
            .replace("http://127.0.0.1:8080/", &access.url)
            .replace("state_dir: state", &format!("state_dir: {}", state.display()));
        let mut command = tools::command(tools::ours("palisade-webhook")?)?;
        command.env("API_KEY", &access.key).env("WEBHOOK_SECRET", SECRET);
        let mut webhook = Webhook::launch_as(world, command, &config, &state)?;
        webhook.ready()?;
        receiver.wait_for_log("'type': 'snapshot.completed'")?;
        lapi.ban("192.0.2.7");
        receiver.wait_for_log("'type': 'decision.added'")?;
        lapi.lift("192.0.2.7");
        receiver.wait_for_log("'cause': 'deleted'")?;
        assert!(webhook.stop()?.success());
        Ok(())
    })
}
