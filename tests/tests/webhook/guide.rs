//! The first endpoint of `docs/webhook.md`: its configuration and its receiver as they are printed there.

use std::path::Path;

use palisade_e2e::documented::{self, Shell};
use palisade_e2e::{
    Access, Failure, Lapi, Make, Outcome, Process, ScriptedLapi, Webhook, World, eventually, story, tools,
};

const PAGE: &str = "docs/webhook.md";

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

/// A folder as after the page's first steps: its file, its receiver, its secret.
fn shell(world: &World, access: &Access) -> Outcome<Shell> {
    let program = tools::ours("palisade-webhook")?.display().to_string();
    let mut shell = Shell::new(world, &world.router, &[("palisade-webhook", program)])?;
    let file =
        documented::block(PAGE, "yaml", "state_dir: state")?.replace("http://127.0.0.1:8080/", &access.url);
    std::fs::write(shell.folder.join("palisade-webhook.yaml"), file)?;
    std::fs::write(shell.folder.join("receiver.py"), documented::block(PAGE, "python", "Webhook")?)?;
    let library = tools::standard_webhooks()?.display().to_string();
    shell.variables = vec![("PYTHONPATH".to_owned(), library), ("API_KEY".to_owned(), access.key.clone())];
    Ok(shell)
}

#[test]
fn the_commands_of_the_guide_run() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        lapi.ban("192.0.2.7")?;
        let mut shell = shell(world, &lapi.access())?;
        let mut processes = Vec::new();
        for line in documented::block(PAGE, "sh", "receiver.py &")?.lines() {
            if let Some(assignment) = line.strip_prefix("export WEBHOOK_SECRET=") {
                let secret = shell.succeed(&format!("echo {assignment}"))?.trim().to_owned();
                assert!(secret.starts_with("whsec_"), "{secret}");
                shell.variables.push(("WEBHOOK_SECRET".to_owned(), secret));
            } else if line.starts_with("export API_KEY=...") {
                // That of this LAPI.
            } else if let Some(command) = line.strip_suffix(" &") {
                let command = shell.command(&format!("exec {command}"))?;
                processes.push(world.start(&world.router, "a process of the page", command)?);
            } else {
                eventually(line, || Ok::<_, Failure>(shell.run(line)?.code == 0))?;
            }
        }
        let printed = "endpoint soar: 0 waiting, 3 delivered";
        assert!(documented::repository(PAGE)?.contains(printed));
        eventually("everything is delivered", || {
            let said = shell.run("palisade-webhook -c palisade-webhook.yaml status")?;
            Ok::<_, Failure>(said.out.contains("endpoint soar: 0 waiting"))
        })?;

        // The packaged file is the default of these.
        shell.replaced.push(("palisade-webhook ", "palisade-webhook -c palisade-webhook.yaml ".to_owned()));
        for line in documented::block(PAGE, "sh", "palisade-webhook resume")?.lines() {
            let line = line.split(" #").next().unwrap_or(line);
            // There are no dead letters with these numbers here.
            let line = line.replace("drop soar 7 9", "drop soar all");
            shell.succeed(&line)?;
        }
        shell.replaced.clear();
        for line in documented::block("docs/webhook-templates.md", "sh", "render NAME")?.lines() {
            shell.succeed(&line.replace("FILE", "palisade-webhook.yaml").replace("NAME", "soar"))?;
        }
        Ok(())
    })
}

#[test]
fn the_public_key_of_a_secret_is_printed() -> Outcome {
    story(|world| {
        let shell = Shell::new(world, &world.router, &[])?;
        std::fs::write(shell.folder.join("FILE"), "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")?;
        let printed = shell.succeed(&documented::block(PAGE, "sh", "whsk_")?)?;
        // The ed25519 public key of the bytes 0 to 31.
        assert_eq!(printed.trim(), "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=");
        Ok(())
    })
}

#[test]
fn the_script_of_the_page_on_programs_runs() -> Outcome {
    story(|world| {
        let shell = Shell::new(world, &world.router, &[])?;
        let script = documented::block("docs/webhook-programs.md", "sh", "case $1 in")?;
        std::fs::write(shell.folder.join("ban"), script.replace("/usr/local/bin/router", "echo"))?;
        let printed = shell.succeed("sh ban add 192.0.2.7 60 ssh '{}'; sh ban del 192.0.2.7 0 ssh '{}'")?;
        assert_eq!(printed, "block 192.0.2.7 60\nunblock 192.0.2.7\n");
        Ok(())
    })
}
