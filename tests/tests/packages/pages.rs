//! Pages of the book on fresh hosts, command by command.

use std::path::Path;

use palisade_e2e::documented::{block, blocks, repository};
use palisade_e2e::{Doing as _, FreshHost, Outcome, eventually, tools};

use super::{host, put};

/// Runs a block line by line in a folder, as root; returns what it printed. A line is tried again for a while: a bouncer
/// needs a moment after its start.
fn run(host: &FreshHost, folder: &str, block: &str) -> Outcome<String> {
    let mut printed = String::new();
    for line in block.lines() {
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        let command = format!("cd {folder}; {line}");
        let mut last = String::new();
        eventually(line, || {
            let (is_done, output) = host.run(&command)?;
            last = output;
            Ok::<_, palisade_e2e::Failure>(is_done)
        })
        .doing(format_args!("{line}: {last}"))?;
        printed += &last;
    }
    Ok(printed)
}

#[test]
fn first_steps_and_daily_commands() -> Outcome {
    let Some(host) = host("first-steps")? else { return Ok(()) };
    for role in ["lapi", "firewall"] {
        put(&host, role, ".deb")?;
    }
    const PAGE: &str = "docs/first-steps.md";
    run(&host, "/root", &block(PAGE, "sh", "dpkg -i")?)?;
    let printed = run(&host, "/root", &block(PAGE, "sh", "palisade-firewall check")?)?;
    assert!(printed.contains("You can successfully interact with Local API"), "{printed}");
    let printed = run(&host, "/root", &block(PAGE, "sh", "decisions add")?)?;
    assert!(printed.contains("Ip:192.0.2.7") && printed.contains("first steps"), "{printed}");
    assert!(printed.contains("elements") || printed.contains("timeout"), "from the kernel: {printed}");
    let printed = run(&host, "/root", &block(PAGE, "sh", "decisions delete")?)?;
    assert!(printed.contains("1 decision(s) deleted"), "{printed}");
    eventually("the ban is lifted", || Ok(!host.sh("nft list ruleset")?.contains("192.0.2.7")))?;

    // The commands of other pages on the same host.
    for block in blocks("docs/operations.md", "sh")? {
        run(&host, "/root", &block)?;
    }
    let printed = run(&host, "/root", &block("docs/troubleshooting.md", "sh", "-t")?)?;
    assert_eq!(printed.matches("config is valid").count(), 2, "{printed}");
    let commands = block("docs/firewall.md", "sh", "palisade-firewall explain")?;
    let (stopped, running): (Vec<_>, Vec<_>) =
        commands.lines().partition(|line| line.contains("after a stop"));
    run(&host, "/root", &running.join("\n"))?;
    host.sh("systemctl stop palisade-firewall")?;
    run(&host, "/root", &stopped.join("\n"))?;
    host.sh("systemctl start palisade-firewall")?;
    run(&host, "/root", &block("docs/upgrade.md", "sh", "dpkg -i")?)?;
    run(&host, "/root", &block("docs/install.md", "sh", "dpkg -i")?)?;
    let removal = "dpkg -P palisade-firewall palisade-lapi";
    assert!(repository(PAGE)?.contains(removal));
    host.sh(removal)?;
    Ok(())
}

#[test]
fn installation_by_hand() -> Outcome {
    let Some(host) = host("by-hand")? else { return Ok(()) };
    // The source tree after `cargo build --release`.
    let tree = host.path("/root/palisade");
    std::fs::create_dir_all(tree.join("target/release"))?;
    for program in ["palisade-lapi", "palisade", "palisade-firewall", "palisade-proxy"] {
        let strip =
            ["-o", &tree.join("target/release").join(program).display().to_string()].map(str::to_owned);
        tools::output(tools::command("strip")?.args(strip).arg(tools::ours(program)?))?;
    }
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    tools::output(tools::command("cp")?.arg("-a").arg(packaging).arg(&tree))?;
    let built = |block: String| -> String {
        let lines = block.lines().filter(|line| !line.starts_with("cargo build --release"));
        lines.map(|line| format!("{line}\n")).collect()
    };
    let at = "/root/palisade";

    run(&host, at, &built(block("docs/multi-server.md", "sh", "ln -s palisade")?))?;
    let printed = run(&host, at, &block("docs/multi-server.md", "sh", "palisade-lapi.sysusers")?)?;
    assert!(printed.contains("You can successfully interact with Local API"), "{printed}");

    let steps = built(block("docs/firewall.md", "sh", "palisade-firewall.sysusers")?);
    let (before, after) = steps.split_once("sudo palisade-firewall -c").doing("the page tests the file")?;
    let printed = run(&host, at, before)?;
    let key = printed.lines().map(str::trim).find(|line| line.len() >= 32 && !line.contains(' '));
    let key = key.doing(format_args!("a key in {printed}"))?;
    host.sh(&format!(
        "sed -i 's|^api_key: .*|api_key: {key}|' /etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml"
    ))?;
    run(&host, at, &format!("sudo palisade-firewall -c{after}"))?;
    host.sh("palisade decisions add --ip 192.0.2.7")?;
    eventually("the address is banned", || Ok(host.sh("nft list ruleset")?.contains("192.0.2.7")))?;

    let steps = block("docs/proxy.md", "sh", "palisade-proxy.sysusers")?;
    let (before, last) = steps.split_once("sudo systemctl").doing("the page starts the service")?;
    run(&host, at, before)?;
    let key = host.sh("palisade bouncers add shop -o raw")?;
    host.sh(&format!(
        "sed -i 's|^api_key: .*|api_key: {}|' /etc/crowdsec/bouncers/palisade-proxy.yaml",
        key.trim()
    ))?;
    run(&host, at, &format!("sudo systemctl{last}"))?;
    eventually("the proxy is active", || Ok(host.run("systemctl is-active --quiet palisade-proxy")?.0))?;
    Ok(())
}
