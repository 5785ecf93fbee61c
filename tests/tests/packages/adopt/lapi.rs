//! `palisade-lapi adopt` beside crowdsec 1.4.6.

use palisade_e2e::documented::block;
use palisade_e2e::{FreshHost, Outcome, eventually};

use super::{OFF, ON, install, service, stock_host};

const OURS: &str = "palisade-lapi";
const STOCK: &str = "crowdsec";
const FIREWALL: &str = "crowdsec-firewall-bouncer";

fn configuration(host: &FreshHost) -> Outcome<String> {
    host.sh("cd /etc/crowdsec && find . -type f | sort | xargs md5sum")
}

/// The command of the page about it that contains a text.
fn command(phrase: &str) -> Outcome<String> {
    Ok(block("docs/moving-over.md", "sh", phrase)?.trim().trim_start_matches("sudo ").to_owned())
}

fn holds(host: &FreshHost, admin: &str, address: &str) -> Outcome<bool> {
    Ok(host.sh(&format!("{admin} decisions list -o raw"))?.contains(address))
}

#[test]
fn the_local_api_of_crowdsec_is_taken_over_and_given_back() -> Outcome {
    let Some(host) = stock_host("adopt-lapi", &[FIREWALL])? else { return Ok(()) };
    host.sh("cscli decisions add --ip 192.0.2.7")?;
    let printed = install(&host, "lapi")?;
    assert!(printed.contains("palisade-lapi adopt"), "{printed}");
    let before = configuration(&host)?;
    let machine = host.sh("cscli machines list -o raw")?;

    let plan = host.sh(&command("# shows the steps")?)?;
    assert!(plan.contains("-no-api") && plan.contains("Nothing is changed."), "{plan}");
    assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF));

    let printed = host.sh("palisade-lapi adopt -yes")?;
    assert!(printed.contains("| decisions       | 1 "), "{printed}");
    host.sh("palisade-lapi adopt -yes")?;
    assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, ON));
    assert_eq!(configuration(&host)?, before);
    assert!(holds(&host, "palisade", "192.0.2.7")?);
    // The log processor and the bouncer go on with what they have.
    host.sh("grep -q -- -no-api /proc/$(systemctl show -P MainPID crowdsec)/cmdline")?;
    let id = machine.lines().nth(1).and_then(|line| line.split(',').next()).unwrap_or_default().to_owned();
    assert!(host.sh("palisade machines list -o raw")?.contains(&id));
    host.sh("palisade decisions add --ip 192.0.2.8")?;
    eventually("the stock bouncer enforces a new decision", || {
        Ok(host.sh("nft list ruleset")?.contains("192.0.2.8"))
    })?;
    // Both start in this order at boot, and a restart of one does not end the other.
    host.sh("systemctl restart palisade-lapi crowdsec")?;
    assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, ON));

    for _ in 0..2 {
        host.sh(&format!("{} -yes", command("-undo")?))?;
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF));
    }
    assert_eq!(configuration(&host)?, before);
    assert!(!host.path("/etc/systemd/system/crowdsec.service.d").exists());
    assert!(holds(&host, "cscli", "192.0.2.7")? && !holds(&host, "cscli", "192.0.2.8")?);

    // Again, with what came since.
    host.sh("cscli decisions add --ip 192.0.2.9")?;
    host.sh("palisade-lapi adopt -yes")?;
    assert!(holds(&host, "palisade", "192.0.2.9")?);
    host.sh("palisade-lapi adopt -undo -yes")?;

    // Ours does not start: crowdsec is the Local API as before.
    let drop_in = "/run/systemd/system/palisade-lapi.service.d";
    host.sh(&format!("mkdir -p {drop_in} && printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >{drop_in}/x.conf && systemctl daemon-reload"))?;
    let (done, printed) = host.run("palisade-lapi adopt -yes")?;
    assert!(!done && printed.contains("everything is as before, and crowdsec.service runs"), "{printed}");
    assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF));
    assert!(holds(&host, "cscli", "192.0.2.9")?);
    host.sh(&format!("rm -r {drop_in} && systemctl daemon-reload"))?;

    // Killed at any moment: another run goes on, in either direction.
    for moment in ["0.3", "1", "2"] {
        host.run(&format!("timeout -s KILL {moment} palisade-lapi adopt -yes"))?;
        host.sh("palisade-lapi adopt -yes")?;
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, ON), "{moment}");
        host.run(&format!("timeout -s KILL {moment} palisade-lapi adopt -undo -yes"))?;
        host.sh("palisade-lapi adopt -undo -yes")?;
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF), "{moment}");
        assert!(holds(&host, "cscli", "192.0.2.9")?, "{moment}");
    }
    Ok(())
}
