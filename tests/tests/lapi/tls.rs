//! Certificates instead of passwords and keys, and the socket instead of the network.

use palisade_e2e::{
    Access, Authority, Certificate, Config, Doing as _, Firewall, Lapi, LapiProcess, LogProcessor, Make,
    Outcome, Setup, World, against_either_lapi, eventually, story, tls_config,
};
use serde_json::{Value, json};

against_either_lapi!(
    machines_and_bouncers_come_with_certificates,
    a_certificate_of_the_wrong_kind_opens_nothing
);

/// A LAPI behind TLS for all hosts, with a revocation list that is empty so far.
fn central(world: &World, make: Make, authority: &Authority) -> Outcome<Lapi> {
    let mut setup = Setup { config: tls_config(authority)?, ..Setup::default() };
    let server = &mut setup.config["api"]["server"];
    server["listen_uri"] = json!("0.0.0.0:8080");
    server["tls"]["crl_path"] = json!(authority.revoke(&[])?);
    let lapi = Lapi::set_up(LapiProcess::prepare(world, make, &setup)?, world)?;
    trust(&lapi, authority)?;
    Ok(lapi)
}

/// The tool writes the plain address into its credentials; the story writes the right one.
fn trust(lapi: &Lapi, authority: &Authority) -> Outcome {
    let text = json!({
        "url": lapi.url(), "login": "harness", "password": "harness", "ca_cert_path": authority.path(),
    });
    Ok(std::fs::write(lapi.config().with_file_name("credentials.yaml"), text.to_string())?)
}

/// A log processor on the neighbour that shows this certificate.
fn watcher(world: &World, lapi: &Lapi, authority: &Authority, mine: &Certificate) -> Outcome<LogProcessor> {
    let watcher = LogProcessor::prepare(world, &world.neighbour)?;
    watcher.write_credentials(&json!({
        "url": lapi.url_from_afar(), "ca_cert_path": authority.path(), "cert_path": mine.cert, "key_path": mine.key,
    }))?;
    Ok(watcher)
}

fn firewall_config(world: &World, lapi: &Lapi, authority: &Authority, mine: &Certificate) -> Outcome<Config> {
    Ok(Config::new(world, &Access { url: lapi.url(), key: String::new() })?
        .without("api_key")
        .set_path("ca_cert_path", &authority.path())
        .set_path("cert_path", &mine.cert)
        .set_path("key_path", &mine.key))
}

fn machines_and_bouncers_come_with_certificates(world: &World, make: Make) -> Outcome {
    let authority = Authority::new(world)?;
    let lapi = central(world, make, &authority)?;
    let _service = world.router.echoes_on(80)?;
    let web = authority.client("web-1", "agent-ou")?;
    let mut watcher = watcher(world, &lapi, &authority, &web)?;
    let bouncer = authority.client("gate", "bouncer-ou")?;
    let mut firewall = Firewall::start_with(world, &firewall_config(world, &lapi, &authority, &bouncer)?)?;
    watcher.start(world)?;
    watcher.is_attacked_by(world.visitor.v4())?;
    eventually("the attacker is shut out", || !world.visitor.reaches(&world.router, 80))?;

    let machines = lapi.machines()?;
    let row = machines.iter().find(|row| row["machineId"] == "web-1@203.0.113.9");
    assert!(row.is_some_and(|row| row["auth_type"] == "tls" && row["isValidated"] == true), "{machines:#?}");
    let bouncers = lapi.bouncers()?;
    let row = bouncers.iter().find(|row| row["name"] == "gate@127.0.0.1");
    assert!(row.is_some_and(|row| row["auth_type"] == "tls"), "{bouncers:#?}");

    // A certificate not seen before is checked against the current list.
    let lost = authority.client("lost", "agent-ou")?;
    authority.revoke(&[&lost, &web, &bouncer])?;
    if make == Make::Ours {
        // And so is one that was accepted before.
        firewall.wait_for_log("access forbidden")?;
        assert!(!world.visitor.reaches(&world.router, 80), "what is in force stays in force");
        eventually("the log processor's certificate is refused", || {
            let said = watcher.tool(Make::Stock, &["lapi", "status"])?;
            Ok(said.code != 0 && said.has("revoked"))
        })?;
    }
    watcher.write_credentials(&json!({
        "url": lapi.url_from_afar(), "ca_cert_path": authority.path(), "cert_path": lost.cert, "key_path": lost.key,
    }))?;
    let said = watcher.tool(Make::Stock, &["lapi", "status"])?;
    assert!(said.code != 0, "{said:?}");
    assert!(!lapi.machines()?.iter().any(|row| row["machineId"] == "lost@203.0.113.9"));
    assert!(lapi.log().contains("revoked by CRL"), "{}", lapi.log());
    Ok(())
}

fn a_certificate_of_the_wrong_kind_opens_nothing(world: &World, make: Make) -> Outcome {
    let authority = Authority::new(world)?;
    let lapi = central(world, make, &authority)?;
    let strangers = Authority::new(world)?;
    for (certificate, why) in [
        (authority.client("of-a-bouncer", "bouncer-ou")?, "OU"),
        (authority.client("of-nobody", "")?, "OU"),
        (strangers.client("of-strangers", "agent-ou")?, ""),
    ] {
        let watcher = watcher(world, &lapi, &authority, &certificate)?;
        let said = watcher.tool(Make::Stock, &["lapi", "status"])?;
        assert!(said.code != 0, "{certificate:?}: {said:?}");
        assert!(lapi.log().contains(why), "{}", lapi.log());
    }
    // A machine's certificate is no bouncer's.
    let agent = authority.client("of-a-machine", "agent-ou")?;
    let which = palisade_e2e::Implementation::under_test()?;
    which.refuses(
        world,
        &firewall_config(world, &lapi, &authority, &agent)?,
        &["API error: access forbidden"],
    )?;
    assert_eq!(lapi.machines()?.len(), 1, "only the harness");
    assert_eq!(lapi.bouncers()?.len(), 1, "only the story's");
    // Passwords and keys work beside certificates.
    let said = lapi.tool(&["decisions", "list"])?;
    assert!(said.code == 0, "{said:?}");
    Ok(())
}

#[test]
fn a_socket_is_enough() -> Outcome {
    story(|world| {
        let socket = world.fresh_path("lapi.sock");
        let config = json!({ "api": { "server": { "listen_uri": null, "listen_socket": socket } } });
        let lapi = LapiProcess::prepare(world, Make::Ours, &Setup { config, ..Setup::default() })?;
        let mut lapi = Lapi::set_up(lapi, world)?;
        let written = std::fs::read_to_string(lapi.config().with_file_name("credentials.yaml"))?;
        assert!(written.contains(&socket.display().to_string()), "the tool knows the way: {written}");
        let said = lapi.tool(&["lapi", "status"])?;
        assert!(said.code == 0 && said.has("You can successfully interact"), "{said:?}");

        let firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        lapi.admin(&["decisions", "add", "--ip", "198.51.100.77"])?;
        eventually("the visitor is shut out", || !world.visitor.reaches(&world.router, 80))?;
        lapi.admin(&["alerts", "delete", "--all"])?;
        eventually("with its alert the ban is gone, and everybody is told", || {
            world.visitor.reaches(&world.router, 80)
        })?;
        let bouncers = lapi.bouncers()?;
        let row: &Value = bouncers.first().doing("one bouncer is listed")?;
        assert_eq!(row["ip_address"], "127.0.0.1", "{row:#}");
        assert!(firewall.stop()?.success());

        // It is taken over when a killed server left it behind, and removed by one that ends.
        lapi.down();
        assert!(socket.exists());
        lapi.up(world)?;
        assert!(lapi.tool(&["lapi", "status"])?.code == 0);
        assert!(lapi.stop()?.success());
        assert!(!socket.exists());
        Ok(())
    })
}
