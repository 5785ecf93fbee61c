//! Authentication of bouncers and of LAPIs: keys, certificates, private authorities.

use palisade_e2e::{
    Authority, Config, Firewall, Implementation, Lapi, Make, Outcome, ScriptedLapi, World,
    against_either_lapi, eventually, story,
};
use serde_json::Value;

against_either_lapi!(
    the_key_must_be_there_and_right_and_is_then_known_by_name,
    a_lapi_with_a_private_authority_is_trusted_if_configured,
    a_client_certificate_takes_the_place_of_a_key,
);

fn the_key_must_be_there_and_right_and_is_then_known_by_name(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let config = Config::new(world, &lapi.access())?;
    let missing = "config does not contain LAPI key or certificate";
    Implementation::under_test()?.refuses(
        world,
        &config.clone().without("api_key"),
        &["unable to configure bouncer: ", missing],
    )?;
    let refused = "process terminated with error: API error: access forbidden";
    Implementation::under_test()?.refuses(world, &config.clone().set("api_key", "bad key"), &[refused])?;
    assert!(world.router.ruleset()?.tables().is_empty(), "a refused bouncer leaves nothing behind");
    let ours = lapi.add_bouncer("by-another-name", "foo$bar")?;
    for (key, present_as, kind) in [
        (lapi.access().key, None, "palisade-firewall"),
        (ours.key, Some("crowdsec-firewall-bouncer"), "crowdsec-firewall-bouncer"),
    ] {
        let mut config = config.clone().set("api_key", key);
        if let Some(present_as) = present_as {
            config = config.set("present_as", present_as);
        }
        let firewall = Firewall::start_with(world, &config)?;
        let name = if present_as.is_some() { "by-another-name" } else { "firewall-of-the-story" };
        eventually("cscli knows it", || {
            Ok(bouncer(&lapi, name)?.is_some_and(|row| row["type"] == kind && row["auth_type"] == "api-key"))
        })?;
        assert!(firewall.stop()?.success());
    }
    Ok(())
}

fn a_lapi_with_a_private_authority_is_trusted_if_configured(world: &World, make: Make) -> Outcome {
    let authority = Authority::new(world)?;
    let lapi = Lapi::start_with_tls(world, make, &authority)?;
    let config = Config::new(world, &lapi.access())?;
    // Ours keeps trying, and logs the reason.
    let mut firewall = Firewall::launch(world, &Implementation::under_test()?, &config)?;
    eventually("it does not trust the LAPI", || {
        let log = firewall.process().log().to_lowercase();
        log.contains("unknown authority") || log.contains("unknownissuer") || log.contains("unknown issuer")
    })?;
    drop(firewall);
    let trusting = config.clone().set_path("ca_cert_path", &authority.path());
    let firewall = Firewall::start_with(world, &trusting)?;
    assert!(firewall.log_contains("Using CA cert"));
    lapi.admin(&["decisions", "add", "-i", "198.51.100.77"])?;
    eventually("a ban arrives", || Ok(world.router.ruleset()?.bans("198.51.100.77")))?;
    drop(firewall);
    let _firewall = Firewall::start_with(world, &config.set("insecure_skip_verify", true))?;
    eventually("it is enforced again", || Ok(world.router.ruleset()?.bans("198.51.100.77")))?;
    Ok(())
}

fn a_client_certificate_takes_the_place_of_a_key(world: &World, make: Make) -> Outcome {
    let authority = Authority::new(world)?;
    let lapi = Lapi::start_with_tls(world, make, &authority)?;
    let config = Config::new(world, &lapi.access())?.set_path("ca_cert_path", &authority.path());
    let certified = |name: &str, unit: &str| -> Outcome<Config> {
        let mine = authority.client(name, unit)?;
        let config = config.clone().without("api_key");
        Ok(config.set_path("cert_path", &mine.cert).set_path("key_path", &mine.key))
    };
    let wrong = certified("stranger", "agent-ou")?;
    Implementation::under_test()?.refuses(world, &wrong, &["API error: access forbidden"])?;
    assert!(lapi.log().contains("OU"), "the LAPI says why: {}", lapi.log());
    let both = certified("both", "bouncer-ou")?.set("api_key", lapi.access().key);
    Implementation::under_test()?.refuses(world, &both, &["cannot use both API key and certificate auth"])?;
    let half = certified("half", "bouncer-ou")?.without("key_path");
    Implementation::under_test()?.refuses(world, &half, &["key_path"])?;
    let mut firewall = Firewall::start_with(world, &certified("door", "bouncer-ou")?)?;
    firewall.wait_for_log("Using cert auth with cert")?;
    lapi.admin(&["decisions", "add", "-i", "198.51.100.77"])?;
    eventually("a ban arrives", || Ok(world.router.ruleset()?.bans("198.51.100.77")))?;
    // Our LAPI writes what it learns of bouncers once a second.
    eventually("the LAPI knows what kind of bouncer has the certificate", || {
        let known = lapi.bouncers()?;
        let mine = known.iter().find(|row| row["auth_type"] == "tls");
        Ok(mine.is_some_and(|row| row["type"] == "palisade-firewall"))
    })?;
    Ok(())
}

#[test]
fn the_key_may_be_in_a_file_and_is_never_shown() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("192.0.2.1");
        let file = world.fresh_path("key");
        std::fs::write(&file, "key-of-the-story\n")?;
        let config = Config::new(world, &lapi.access())?.set("log_level", "trace");
        let from_file = config.clone().without("api_key").set_path("api_key_file", &file);
        let mut firewall = Firewall::start_with(world, &from_file)?;
        eventually("a ban is in force", || Ok(world.router.ruleset()?.bans("192.0.2.1")))?;
        assert!(!firewall.process().log().contains("key-of-the-story"));
        let path = config.write(world)?;
        let (status, shown) =
            Implementation::under_test()?.run(world, &["-c", &path.display().to_string(), "-T"])?;
        assert!(status.success() && !shown.contains("key-of-the-story"), "{shown}");
        Ok(())
    })
}

/// What cscli reports about a bouncer.
fn bouncer(lapi: &Lapi, name: &str) -> Outcome<Option<Value>> {
    Ok(lapi.bouncers()?.into_iter().find(|row| row["name"] == name))
}
