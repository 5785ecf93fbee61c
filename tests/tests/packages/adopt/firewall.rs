//! `palisade-firewall adopt` beside crowdsec-firewall-bouncer 0.0.25.

use palisade_e2e::{Failure, FreshHost, Outcome, UdpProbe, eventually};

use super::{OFF, ON, install, service, stock_host};

const OURS: &str = "palisade-firewall";
const STOCK: &str = "crowdsec-firewall-bouncer";
const VISITOR: &str = "198.51.100.77";

/// Bans the visitor, and waits until the stock bouncer keeps it out.
fn ban(host: &FreshHost, probe: &UdpProbe) -> Outcome {
    assert!(probe.arrived() > 0, "the visitor gets in first");
    host.sh(&format!("cscli decisions add --ip {VISITOR}"))?;
    eventually("the stock bouncer has pulled the ban", || {
        Ok::<_, Failure>(host.sh("nft list ruleset")?.contains(VISITOR))
    })?;
    assert_eq!(probe.during(|| Ok(()))?, 0, "datagrams from a banned visitor");
    Ok(())
}

fn configuration(host: &FreshHost) -> Outcome<String> {
    host.sh("cd /etc/crowdsec/bouncers && md5sum crowdsec-firewall-bouncer.yaml*; cscli bouncers list -o raw | cut -d, -f1 | sort")
}

fn has_interim_tables(host: &FreshHost) -> Outcome<bool> {
    Ok(host.sh("nft list tables")?.contains("interim"))
}

#[test]
fn the_stock_firewall_bouncer_is_taken_over_and_given_back_without_a_gap() -> Outcome {
    let Some(host) = stock_host("adopt-firewall", &[STOCK])? else { return Ok(()) };
    let (network, visitor) = host.visitor()?;
    let printed = install(&host, "firewall")?;
    assert!(printed.contains("palisade-firewall adopt"), "{printed}");
    assert_eq!(service(&host, STOCK)?, ON);
    let probe = UdpProbe::start(&visitor, &network)?;
    ban(&host, &probe)?;
    let before = configuration(&host)?;

    // Without -yes nothing is changed.
    let plan = host.sh("palisade-firewall adopt")?;
    assert!(plan.contains("1. check that the LAPI") && plan.contains("Nothing is changed."), "{plan}");
    assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF));

    let adopt = |command: &str| -> Outcome<u64> {
        let passed = probe.during(|| host.sh(command).map(drop))?;
        assert!(!has_interim_tables(&host)?, "after {command}");
        assert_eq!(configuration(&host)?, before, "after {command}");
        Ok(passed)
    };
    // The second run of each finds nothing to do.
    for command in ["palisade-firewall adopt -yes"; 2] {
        assert_eq!(adopt(command)?, 0, "datagrams through the gap of {command}");
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (OFF, ON));
    }
    let refused = host.run("palisade-firewall remove-rules")?;
    assert!(!refused.0 && refused.1.contains("stop it first"), "{}", refused.1);
    for command in ["palisade-firewall adopt -undo -yes"; 2] {
        assert_eq!(adopt(command)?, 0, "datagrams through the gap of {command}");
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF));
    }
    // The rules are those of the stock bouncer now.
    let refused = host.run("palisade-firewall remove-rules")?;
    assert!(!refused.0 && refused.1.contains(STOCK), "{}", refused.1);

    // With rules that outlive their daemon, too: they are removed before the stock bouncer starts, and with the package.
    host.sh("echo 'keep_on_stop: true' >>/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml.local")?;
    let gap = probe.during(|| {
        host.sh("palisade-firewall adopt -yes && palisade-firewall adopt -undo -yes && palisade-firewall adopt -yes").map(drop)
    })?;
    assert_eq!(gap, 0, "datagrams through the gap");
    host.sh("dpkg -r palisade-firewall")?;
    assert_eq!(host.sh("nft list ruleset")?, "");
    Ok(())
}

#[test]
fn a_failed_or_killed_change_over_of_the_firewall_leaves_bans_in_force() -> Outcome {
    let Some(host) = stock_host("adopt-failures", &[STOCK])? else { return Ok(()) };
    let (network, visitor) = host.visitor()?;
    install(&host, "firewall")?;
    let probe = UdpProbe::start(&visitor, &network)?;
    ban(&host, &probe)?;

    // Ours does not start: the stock bouncer is back before the interim tables go.
    let drop_in = "/run/systemd/system/palisade-firewall.service.d";
    let broken = format!(
        "mkdir -p {drop_in} && printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >{drop_in}/x.conf && systemctl daemon-reload"
    );
    let mended = format!("rm -r {drop_in} && systemctl daemon-reload");
    host.sh(&broken)?;
    let gap = probe.during(|| {
        let (done, printed) = host.run("palisade-firewall adopt -yes")?;
        assert!(
            !done && printed.contains("everything is as before, and crowdsec-firewall-bouncer.service runs"),
            "{printed}"
        );
        assert!(printed.contains("status=1/FAILURE"), "systemd's reason: {printed}");
        Ok(())
    })?;
    assert_eq!(gap, 0, "datagrams through the gap");
    assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF));
    assert!(!has_interim_tables(&host)?);
    host.sh(&mended)?;

    // The same the other way round.
    host.sh("palisade-firewall adopt -yes")?;
    host.sh("chmod 0 /usr/bin/crowdsec-firewall-bouncer")?;
    let gap = probe.during(|| {
        let (done, printed) = host.run("palisade-firewall adopt -undo -yes")?;
        assert!(
            !done && printed.contains("everything is as before, and palisade-firewall.service runs"),
            "{printed}"
        );
        assert!(printed.contains("Permission denied"), "systemd's reason: {printed}");
        Ok(())
    })?;
    assert_eq!(gap, 0, "datagrams through the gap");
    assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (OFF, ON));
    host.sh("chmod 755 /usr/bin/crowdsec-firewall-bouncer")?;
    host.sh("palisade-firewall adopt -undo -yes")?;

    // Why a start fails now is shown, and not what a run before has logged.
    let logged = host.sh("journalctl --output=cat --unit palisade-firewall")?;
    assert!(logged.contains("removing 'crowdsec' table"), "{logged}");
    host.sh(&broken)?;
    let (done, printed) = host.run("palisade-firewall adopt -yes")?;
    assert!(
        !done && printed.contains("status=1/FAILURE") && !printed.contains("removing 'crowdsec'"),
        "{printed}"
    );
    host.sh(&mended)?;

    // Killed at any moment: the interim tables stand, and another run goes on.
    for moment in ["0.1", "0.2", "0.3", "0.4", "0.5"] {
        let gap = probe.during(|| {
            host.run(&format!("timeout -s KILL {moment} palisade-firewall adopt -yes"))?;
            host.sh("palisade-firewall adopt -yes").map(drop)
        })?;
        assert_eq!(gap, 0, "datagrams through the gap of a kill after {moment} s");
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (OFF, ON));
        assert!(!has_interim_tables(&host)?);
        let gap = probe.during(|| {
            host.run(&format!("timeout -s KILL {moment} palisade-firewall adopt -undo -yes"))?;
            host.sh("palisade-firewall adopt -undo -yes").map(drop)
        })?;
        assert_eq!(gap, 0, "datagrams through the gap of a kill after {moment} s");
        assert_eq!((service(&host, STOCK)?, service(&host, OURS)?), (ON, OFF));
        assert!(!has_interim_tables(&host)?);
    }

    // Nothing is begun without the LAPI, in a mode that is not there, or without systemd.
    host.sh("systemctl stop crowdsec")?;
    let (done, printed) = host.run("palisade-firewall adopt -yes")?;
    assert!(!done && printed.contains("nothing is changed"), "{printed}");
    assert_eq!(probe.during(|| Ok(()))?, 0);
    let (done, printed) =
        host.run("unshare --mount sh -c 'mount -t tmpfs none /run && palisade-firewall adopt -yes'")?;
    assert!(!done && printed.contains("systemd does not run here"), "{printed}");
    host.sh(
        "sed -i 's/^mode: .*/mode: iptables/' /etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml.local",
    )?;
    let (done, printed) = host.run("palisade-firewall adopt -yes")?;
    assert!(!done && printed.contains("mode: nftables"), "{printed}");
    assert_eq!(service(&host, STOCK)?, ON);
    Ok(())
}
