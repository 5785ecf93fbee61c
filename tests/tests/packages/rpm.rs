//! rpm packages, installed by rpm itself. The root is Debian's, so that dependencies are not looked up.

use palisade_e2e::{Outcome, eventually};

use super::{host, put, put_previous};

#[test]
fn packages_install_upgrade_and_erase() -> Outcome {
    let Some(host) = host("rpm")? else { return Ok(()) };
    let rpm = "rpm --force-debian";
    let (lapi, firewall) = (put_previous(&host, "lapi", ".rpm")?, put_previous(&host, "firewall", ".rpm")?);
    host.sh(&format!("rpm -K --nosignature {lapi} {firewall}"))?;
    host.sh(&format!("{rpm} --nodeps -i {lapi}"))?;
    host.sh(&format!("{rpm} --nodeps -i {firewall}"))?;
    eventually("the firewall is active", || Ok(host.run("systemctl is-active palisade-firewall")?.0))?;
    host.sh("palisade decisions add --ip 192.0.2.7")?;
    eventually("the address is banned", || Ok(host.sh("nft list ruleset")?.contains("192.0.2.7")))?;
    for role in ["lapi", "firewall"] {
        let package = put(&host, role, ".rpm")?;
        host.sh(&format!("{rpm} --nodeps -U --replacepkgs {package}"))?;
    }
    eventually("it is active again", || Ok(host.run("systemctl is-active palisade-firewall")?.0))?;
    assert!(host.sh("nft list ruleset")?.contains("192.0.2.7"));
    host.sh(&format!("{rpm} --nodeps -e palisade-firewall palisade-lapi"))?;
    assert_eq!(host.sh("nft list ruleset")?, "");
    assert_eq!(host.sh("rpm -qa")?, "");
    for role in ["proxy", "webhook"] {
        let package = put(&host, role, ".rpm")?;
        host.sh(&format!("{rpm} --nodeps -i {package} && {rpm} --nodeps -e palisade-{role}"))?;
    }
    assert_eq!(host.sh("find /usr -name '*palisade*'")?, "");
    Ok(())
}
