//! Debian packages, on each release of Debian.

use palisade_e2e::{Debian, FreshHost, Outcome, eventually};

use super::{host_with, put, put_previous};

macro_rules! on_each_release {
    ($($story:ident),* $(,)?) => {
        mod debian_12 {
            $(#[test] fn $story() -> super::Outcome { super::$story(super::Debian::Bookworm) })*
        }
        mod debian_13 {
            $(#[test] fn $story() -> super::Outcome { super::$story(super::Debian::Trixie) })*
        }
    };
}

on_each_release!(
    bouncers_beside_a_lapi_get_their_keys_and_leave_nothing,
    a_firewall_begins_as_soon_as_its_file_holds_a_key,
    a_purge_leaves_what_stock_programs_on_the_host_use,
    units_are_correct_and_confined,
);

const FIREWALL_FILE: &str = "/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml";

fn install(host: &FreshHost, role: &str) -> Outcome<String> {
    let package = put(host, role, ".deb")?;
    host.sh(&format!("dpkg -i {package}"))
}

fn install_previous(host: &FreshHost, role: &str) -> Outcome<String> {
    let package = put_previous(host, role, ".deb")?;
    host.sh(&format!("dpkg -i {package}"))
}

fn is_active(host: &FreshHost, unit: &str) -> Outcome<bool> {
    Ok(host.run(&format!("systemctl is-active --quiet {unit}"))?.0)
}

/// Files of ours that are left, the packages themselves aside.
fn leftovers(host: &FreshHost) -> Outcome<String> {
    host.sh(
        "find / -xdev \\( -path /root -o -path /proc -o -path /sys \\) -prune -o \\( -name '*palisade*' -o -path '*crowdsec*' \\) -print",
    )
}

fn bouncers_beside_a_lapi_get_their_keys_and_leave_nothing(release: Debian) -> Outcome {
    let Some(host) = host_with(release, "all-in-one")? else { return Ok(()) };
    // In this order, which a package manager may choose: the LAPI comes last.
    let printed = install_previous(&host, "firewall")?;
    assert!(printed.contains("palisade bouncers add"), "says what to do: {printed}");
    install_previous(&host, "webhook")?;
    let printed = install_previous(&host, "proxy")?;
    assert!(printed.contains("palisade-proxy.yaml"), "{printed}");
    assert!(!is_active(&host, "palisade-firewall")?);
    install_previous(&host, "lapi")?;
    assert!(is_active(&host, "palisade-lapi")?);
    for role in ["firewall", "webhook"] {
        eventually("the bouncer is active", || is_active(&host, &format!("palisade-{role}")))?;
        assert!(!is_active(&host, &format!("palisade-{role}-first-start.path"))?);
    }
    // A proxy would take port 80 for an application that does not exist: it has its key, and is started by hand.
    assert!(!is_active(&host, "palisade-proxy")?);
    let bouncers = host.sh("palisade bouncers list -o raw")?;
    for role in ["firewall", "webhook", "proxy"] {
        assert!(bouncers.contains(&format!("palisade-{role}-")), "{bouncers}");
    }

    host.sh("palisade decisions add --ip 192.0.2.7")?;
    let is_banned = || Ok(host.sh("nft list ruleset")?.contains("192.0.2.7"));
    eventually("the address is banned", is_banned)?;

    // An upgrade: the file that was edited stays, and there is no moment without the ban.
    host.sh(&format!("echo '# edited' >>{FIREWALL_FILE}"))?;
    let watch = "systemd-run --quiet --collect --unit=watch sh -c 'while :; do nft list ruleset | grep -q 192.0.2.7 || echo open; done >/root/gaps'";
    host.sh(watch)?;
    install(&host, "firewall")?;
    install(&host, "lapi")?;
    eventually("both are active again", || {
        Ok(is_active(&host, "palisade-firewall")? && is_active(&host, "palisade-lapi")?)
    })?;
    host.sh("palisade lapi status")?;
    host.sh("systemctl stop watch")?;
    assert_eq!(host.sh("cat /root/gaps")?, "");
    assert!(host.sh(&format!("cat {FIREWALL_FILE}"))?.ends_with("# edited\n"));

    // What was stopped by hand stays stopped.
    host.sh("systemctl stop palisade-webhook")?;
    install(&host, "webhook")?;
    assert!(!is_active(&host, "palisade-webhook")?);

    // Removed: no rules, but the configuration stays for the next installation, which goes on.
    host.sh("dpkg -r palisade-firewall")?;
    assert_eq!(host.sh("nft list ruleset")?, "");
    install(&host, "firewall")?;
    eventually("the address is banned again", is_banned)?;

    host.sh("dpkg -P palisade-firewall palisade-webhook palisade-proxy")?;
    assert_eq!(host.sh("nft list ruleset")?, "");
    assert!(!host.sh("palisade bouncers list -o raw")?.contains("palisade-"), "no keys are left at the LAPI");
    host.sh("dpkg -P palisade-lapi")?;
    assert_eq!(leftovers(&host)?, "");
    assert_eq!(host.sh("systemctl list-units --failed --no-legend 'palisade*'")?, "");
    Ok(())
}

fn a_firewall_begins_as_soon_as_its_file_holds_a_key(release: Debian) -> Outcome {
    let Some(host) = host_with(release, "gate-1")? else { return Ok(()) };
    install(&host, "firewall")?;
    assert!(!is_active(&host, "palisade-firewall")?);
    // Saved without a key: it goes on waiting, and does not fail again and again.
    host.sh(&format!("sed -i 's|^api_url: .*|api_url: http://127.0.0.1:1/|' {FIREWALL_FILE}"))?;
    eventually("the change was looked at", || {
        Ok(host.sh("journalctl -u palisade-firewall-first-start")?.contains("it needs a key"))
    })?;
    assert!(!is_active(&host, "palisade-firewall")?);
    // As an editor saves: another file takes its place.
    host.sh(&format!(
        "sed 's|${{API_KEY}}|a-key|' {FIREWALL_FILE} >/root/new && chmod 0600 /root/new && mv /root/new {FIREWALL_FILE}"
    ))?;
    eventually("it was started", || {
        Ok(host.sh("systemctl show -P ActiveState palisade-firewall")?.trim() == "activating")
    })?;
    // The LAPI is not there: it waits as a service does, not in a loop of restarts.
    eventually("it asks the LAPI", || {
        Ok(host.sh("systemctl show -P StatusText palisade-firewall")?.contains("LAPI"))
    })?;
    assert_eq!(host.sh("systemctl show -P NRestarts palisade-firewall")?.trim(), "0");
    host.sh("dpkg -P palisade-firewall")?;
    assert_eq!(leftovers(&host)?, "");
    Ok(())
}

fn a_purge_leaves_what_stock_programs_on_the_host_use(release: Debian) -> Outcome {
    let Some(host) = host_with(release, "shared")? else { return Ok(()) };
    install(&host, "lapi")?;
    install(&host, "firewall")?;
    // As after an installation of CrowdSec's own packages on the same files.
    host.sh("touch /usr/bin/crowdsec /usr/bin/crowdsec-firewall-bouncer /var/lib/crowdsec/data/GeoLite2-City.mmdb")?;
    host.sh(&format!("echo cs-firewall-bouncer-1 >{FIREWALL_FILE}.id"))?;
    host.sh("palisade bouncers add cs-firewall-bouncer-1")?;
    host.sh("dpkg -P palisade-firewall")?;
    assert!(host.sh("palisade bouncers list -o raw")?.contains("cs-firewall-bouncer-1"));
    host.sh("dpkg -P palisade-lapi")?;
    for file in [
        FIREWALL_FILE,
        &format!("{FIREWALL_FILE}.id"),
        "/etc/crowdsec/config.yaml",
        "/etc/crowdsec/profiles.yaml",
        "/etc/crowdsec/local_api_credentials.yaml",
        "/var/lib/crowdsec/data/GeoLite2-City.mmdb",
    ] {
        host.sh(&format!("test -e {file}"))?;
    }
    let ours = host.sh("find /etc /var/lib -name '*palisade*' -not -path '*/dpkg/*'")?;
    assert_eq!(ours, "");
    Ok(())
}

fn units_are_correct_and_confined(release: Debian) -> Outcome {
    let Some(host) = host_with(release, "units")? else { return Ok(()) };
    for role in ["lapi", "firewall", "proxy", "webhook"] {
        install(&host, role)?;
        let unit = format!("palisade-{role}.service");
        let found = host.sh(&format!("systemd-analyze verify --man=no {unit} 2>&1; true"))?;
        let ours: Vec<&str> = found.lines().filter(|line| line.contains("palisade")).collect();
        assert!(ours.is_empty(), "{ours:?}");
        let exposure = host.sh(&format!("systemd-analyze security {unit} | tail -n 1"))?;
        let score: f64 = exposure
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no score in {exposure}"));
        assert!(score <= 2.0, "{unit}: {score}");
        host.sh(&format!(
            "gzip -t /usr/share/man/man*/palisade*.gz && sh -n /usr/lib/palisade-{role}/setup"
        ))?;
        // With the texts of what is linked, not only the names.
        let notice =
            format!("grep -q 'Permission is hereby granted' /usr/share/doc/palisade-{role}/copyright");
        host.sh(&format!("{notice} && grep -q '^tokio' /usr/share/doc/palisade-{role}/copyright"))?;
        // The whole book: no link leads out of it.
        let book = format!("/usr/share/doc/palisade-{role}/book");
        host.sh(&format!(
            "cd {book} && test -e introduction.md -a -e reference/lapi.md -a -e pictures/data-flow.svg"
        ))?;
        let broken = host.sh(&format!(
            "cd {book} && grep -roE '\\]\\([^):# ]+[)#]' . | while IFS=: read -r page link; do link=${{link%?}}; \
             test -e \"${{page%/*}}/${{link#??}}\" || echo \"$page: $link\"; done"
        ))?;
        assert_eq!(broken, "");
        // What every installed program completes.
        host.sh(&format!("bash -c '. /usr/share/bash-completion/completions/palisade-{role}'"))?;
    }
    Ok(())
}
