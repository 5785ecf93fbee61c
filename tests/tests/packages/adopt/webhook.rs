//! `palisade-webhook adopt` beside crowdsec-custom-bouncer 0.0.15.

use palisade_e2e::{FreshHost, Outcome, eventually};

use super::{OFF, ON, install, service, stock_host};

const OURS: &str = "palisade-webhook";
const STOCK: &str = "crowdsec-custom-bouncer";
const FILES: &str = "/etc/crowdsec/bouncers";

/// Lines that the program has written about an address.
fn calls(host: &FreshHost, address: &str) -> Outcome<usize> {
    Ok(host
        .sh("cat /var/lib/calls/log 2>/dev/null; true")?
        .lines()
        .filter(|line| line.contains(address))
        .count())
}

#[test]
fn the_stock_custom_bouncer_is_taken_over_and_given_back() -> Outcome {
    let Some(host) = stock_host("adopt-custom", &[STOCK])? else { return Ok(()) };
    // A program that both users may run, and that writes where both may write.
    host.sh("mkdir -m 1777 /var/lib/calls && printf '#!/bin/sh\\necho \"$(id -un) $*\" >>/var/lib/calls/log\\n' >/usr/local/bin/ban && chmod 755 /usr/local/bin/ban")?;
    host.sh(&format!("sed -i 's|^bin_path: .*|bin_path: /usr/local/bin/ban|' {FILES}/{STOCK}.yaml.local && systemctl restart {STOCK}"))?;
    host.sh("cscli decisions add --ip 192.0.2.7")?;
    eventually("the stock bouncer calls the program", || Ok(calls(&host, "root add 192.0.2.7")? == 1))?;
    host.sh("chmod 666 /var/lib/calls/log")?;
    let printed = install(&host, "webhook")?;
    assert!(printed.contains("palisade-webhook adopt"), "{printed}");
    let state = |host: &FreshHost| {
        host.sh(&format!("cd {FILES} && md5sum {STOCK}.yaml {STOCK}.yaml.local {OURS}.yaml"))
    };
    let before = state(&host)?;
    let stock_files =
        |host: &FreshHost| host.sh(&format!("cd {FILES} && md5sum {STOCK}.yaml {STOCK}.yaml.local"));
    let stock_before = stock_files(&host)?;

    let plan = host.sh("palisade-webhook adopt")?;
    assert!(
        plan.contains(&format!("{FILES}/{STOCK}.yaml")) && plan.contains("Nothing is changed."),
        "{plan}"
    );
    assert_eq!((service(&host, STOCK)?, state(&host)?), (ON, before.clone()));

    // Confined by the unit, the program cannot write there: the stock service is back, until a drop-in allows it.
    let (done, printed) = host.run("palisade-webhook adopt -yes")?;
    assert!(
        !done && printed.contains("Read-only file system") && printed.contains("everything is as before"),
        "{printed}"
    );
    assert_eq!((service(&host, STOCK)?, state(&host)?), (ON, before.clone()));
    let folder = "/etc/systemd/system/palisade-webhook.service.d";
    host.sh(&format!("mkdir {folder} && printf '[Service]\\nReadWritePaths=/var/lib/calls\\n' >{folder}/override.conf && systemctl daemon-reload"))?;

    for _ in 0..2 {
        host.sh("palisade-webhook adopt -yes")?;
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (OFF, ON));
        assert_eq!(stock_files(&host)?, stock_before);
    }
    eventually("ours calls the program with what is in force", || {
        Ok(calls(&host, "palisade-webhook add 192.0.2.7")? == 1)
    })?;
    // The commands, -t and a reload find the file where the unit has it.
    for command in [
        "palisade-webhook check",
        "palisade-webhook -c /etc/crowdsec/bouncers/palisade-webhook.yaml -t",
        "systemctl reload palisade-webhook",
    ] {
        host.sh(command)?;
    }
    let printed = install(&host, "webhook")?;
    assert!(host.sh("palisade-webhook status")?.contains("endpoint custom"), "after an upgrade: {printed}");
    // Whichever is started by hand, the other one stops.
    host.sh(&format!("systemctl start {STOCK}"))?;
    assert!(!service(&host, OURS)?.0);
    host.sh("palisade-webhook adopt -yes")?;
    assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (OFF, ON));

    for _ in 0..2 {
        host.sh("palisade-webhook adopt -undo -yes")?;
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF));
        assert_eq!(state(&host)?, before);
    }
    assert_eq!(host.sh(&format!("ls {folder}"))?, "override.conf\n");

    // A program that the user of the unit cannot run: the stock service goes on.
    host.sh("chmod 700 /usr/local/bin/ban")?;
    let (done, printed) = host.run("palisade-webhook adopt -yes")?;
    assert!(
        !done && printed.contains("/usr/local/bin/ban") && printed.contains("everything is as before"),
        "{printed}"
    );
    assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF));
    assert_eq!(state(&host)?, before);
    host.sh("chmod 755 /usr/local/bin/ban")?;

    // Killed at any moment: another run goes on, in either direction.
    for moment in ["0.1", "0.3", "0.5", "0.8"] {
        host.run(&format!("timeout -s KILL {moment} palisade-webhook adopt -yes"))?;
        host.sh("palisade-webhook adopt -yes")?;
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (OFF, ON), "{moment}");
        host.run(&format!("timeout -s KILL {moment} palisade-webhook adopt -undo -yes"))?;
        host.sh("palisade-webhook adopt -undo -yes")?;
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF), "{moment}");
        assert_eq!(state(&host)?, before, "{moment}");
    }

    // A file of the operator's own is not replaced.
    host.sh(&format!("echo 'log_level: debug' >>{FILES}/{OURS}.yaml"))?;
    let (done, printed) = host.run("palisade-webhook adopt -yes")?;
    assert!(!done && printed.contains("has been edited"), "{printed}");
    assert_eq!(service(&host, STOCK)?, ON);
    Ok(())
}
