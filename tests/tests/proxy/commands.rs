//! The commands of `docs/proxy.md` and `docs/proxy-decisions.md`, as they are printed there.

use palisade_e2e::documented::{Shell, block};
use palisade_e2e::{Failure, Lapi, Make, Outcome, eventually, story, tools};

#[test]
fn the_commands_of_the_pages_run() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        lapi.ban("192.0.2.7")?;
        let access = lapi.access();
        let program = tools::ours("palisade-proxy")?.display().to_string();
        let mut shell = Shell::new(world, &world.router, &[("palisade-proxy", program)])?;
        // The eight lines of the page.
        let file = block("docs/proxy.md", "yaml", "routes:")?;
        let state = world.fresh_path("state");
        let file = file.replace("http://127.0.0.1:8080/", &access.url)
            + &format!("state_dir: {}\ntrusted_proxies: [10.0.0.1]\n", state.display());
        std::fs::write(shell.folder.join("palisade-proxy.yaml"), file)?;
        shell.variables.push(("API_KEY".to_owned(), access.key));
        shell.replaced.push(("/etc/crowdsec/bouncers/palisade-proxy.yaml", "palisade-proxy.yaml".to_owned()));

        let first = block("docs/proxy.md", "sh", "# serves")?;
        let [_, tests, serves] = first.lines().collect::<Vec<_>>()[..] else {
            return Err(Failure::new(format!("not three commands: {first}")));
        };
        assert!(shell.succeed(tests)?.contains("config is valid"));
        let command = shell.command(&format!("exec {serves}"))?;
        let _proxy = world.start(&world.router, "palisade-proxy", command)?;
        // The packaged file is the default of these.
        shell.replaced.push(("palisade-proxy ", "palisade-proxy -c palisade-proxy.yaml ".to_owned()));
        for page in ["docs/proxy.md", "docs/proxy-decisions.md"] {
            for line in block(page, "sh", "palisade-proxy explain")?.lines() {
                eventually(line, || Ok::<_, Failure>(shell.run(line)?.code == 0))?;
                let said = shell.succeed(line)?;
                let is_about_the_ban = line.contains("192.0.2.7");
                assert!(!is_about_the_ban || said.contains("ban"), "{line}: {said}");
            }
        }
        Ok(())
    })
}
