//! `docs/mixed.md`: a stock bouncer at our LAPI, our bouncer at a stock LAPI, with the page's own commands; and decisions
//! that are taken along as `docs/moving-over.md` says.

use palisade_e2e::documented::{Shell, block};
use palisade_e2e::{
    Access, Config, Doing as _, Failure, Firewall, Implementation, Lapi, Make, Outcome, World, eventually,
    story, tools,
};
use serde_json::json;

/// The words behind the program's name in the page's block that contains `phrase`.
fn words(phrase: &str) -> Outcome<Vec<String>> {
    let block = block("docs/mixed.md", "sh", phrase)?;
    Ok(block.split_whitespace().skip(2).map(str::to_owned).collect())
}

fn follows(lapi: &Lapi, make: Make, phrase: &str, implementation: &Implementation, world: &World) -> Outcome {
    let words = words(phrase)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(lapi.make(), make);
    let printed = lapi.admin(&words)?;
    // The key stands alone on a line.
    let key = printed.lines().map(str::trim).find(|line| line.len() >= 32 && !line.contains(' '));
    let key = key.doing(format_args!("a key in {printed}"))?.to_owned();
    let gate = world.host("gate-1", "198.18.1.10".parse()?, "2001:db8:11::10".parse()?)?;
    let _service = gate.echoes_on(80)?;
    let config = Config::new(world, &Access { url: lapi.url_from_afar(), key })?;
    let program = tools::command(implementation.program())?;
    let mut firewall = Firewall::launch_prepared(world, &gate, program, &config.write(world)?, &config)?;
    firewall.ready()?;
    let ban = lapi.ban(world.visitor.v4())?;
    eventually("the visitor is shut out", || !world.visitor.reaches(&gate, 80))?;
    lapi.lift(ban)?;
    eventually("the visitor is let in", || world.visitor.reaches(&gate, 80))?;
    Ok(())
}

#[test]
fn a_stock_bouncer_follows_our_lapi() -> Outcome {
    story(|world| {
        let lapi = Lapi::start_open(world, Make::Ours, &json!({}))?;
        follows(&lapi, Make::Ours, "bouncers add stock-gate", &Implementation::stock()?, world)
    })
}

#[test]
fn our_bouncer_follows_a_stock_lapi() -> Outcome {
    story(|world| {
        let lapi = Lapi::start_open(world, Make::Stock, &json!({}))?;
        follows(&lapi, Make::Stock, "cscli bouncers add gate", &Implementation::under_test()?, world)
    })
}

#[test]
fn decisions_are_taken_along() -> Outcome {
    story(|world| {
        let lines = block("docs/moving-over.md", "sh", "cscli decisions list")?;
        let [saves, imports] = lines.lines().collect::<Vec<_>>()[..] else {
            return Err(Failure::new(format!("not two commands: {lines}")));
        };
        let stock = Lapi::start(world, Make::Stock)?;
        for address in ["192.0.2.7", "198.51.100.0/24"] {
            stock.ban(address)?;
        }
        let ours = Lapi::start(world, Make::Ours)?;
        let tool = |lapi: &Lapi, make: Make| -> Outcome<String> {
            Ok(format!("{} -c {}", make.admin()?.display(), lapi.config().display()))
        };
        let programs = [("cscli", tool(&stock, Make::Stock)?), ("palisade", tool(&ours, Make::Ours)?)];
        let shell = Shell::new(world, &world.router, &programs)?;
        shell.succeed(saves)?;
        shell.succeed(imports)?;
        let listed = ours.admin(&["decisions", "list", "-o", "json"])?;
        assert!(listed.contains("192.0.2.7") && listed.contains("198.51.100.0/24"), "{listed}");
        Ok(())
    })
}
