//! What the admin command wrote is in force in every running LAPI when it returns.

use std::time::{Duration, Instant};

use palisade_e2e::{Doing as _, Host, HttpClient, Lapi, Make, Outcome, Postgres, World, eventually, story};
use rustix::process::Signal;
use serde_json::json;

/// Status of a stream request with this key.
fn pull(lapi: &Lapi, key: &str) -> Outcome<u16> {
    let ask =
        || HttpClient::new(lapi.address()).ask("GET", "/v1/decisions/stream", &[("X-Api-Key", key)], None);
    Ok(lapi.host().run(ask)?.status)
}

/// Status of a login.
fn login(lapi: &Lapi, name: &str, password: &str) -> Outcome<u16> {
    let body = serde_json::to_vec(&json!({ "machine_id": name, "password": password, "scenarios": [] }))?;
    let ask = || HttpClient::new(lapi.address()).ask("POST", "/v1/watchers/login", &[], Some(&body));
    Ok(lapi.host().run(ask)?.status)
}

/// Whether an address is allowlisted, from memory.
fn allowlisted(lapi: &Lapi, value: &str) -> Outcome<bool> {
    let answer = lapi.as_machine("GET", &format!("/v1/allowlists/check/{value}"), None)?;
    Ok(answer.contains("\"allowlisted\":true"))
}

/// Changes through one LAPI's host; looks at all of them without a pause.
fn every_change_is_in_force(lapis: &[&Lapi]) -> Outcome {
    let first = lapis.first().doing("no LAPI")?;
    let file = first.config().with_file_name("changed.yaml").display().to_string();
    for round in 0..5 {
        let key = format!("key-{round}");
        first.admin(&["bouncers", "add", "fw", "-k", &key])?;
        for lapi in lapis {
            assert_eq!(pull(lapi, &key)?, 200, "added");
        }
        first.admin(&["bouncers", "delete", "fw"])?;
        for lapi in lapis {
            assert_eq!(pull(lapi, &key)?, 403, "deleted");
        }
        let password = format!("password-{round}");
        first.admin(&["machines", "add", "web", "-p", &password, "--force", "-f", &file])?;
        for lapi in lapis {
            assert_eq!(login(lapi, "web", &password)?, 200, "the new password");
            let old = format!("password-{}", round - 1);
            assert_eq!(login(lapi, "web", &old)?, 401, "the old password");
        }
        first.admin(&["allowlists", "create", "office", "-d", "ours"])?;
        first.admin(&["allowlists", "add", "office", "198.51.100.0/24"])?;
        for lapi in lapis {
            assert!(allowlisted(lapi, "198.51.100.7")?, "added");
        }
        first.admin(&["allowlists", "delete", "office"])?;
        for lapi in lapis {
            assert!(!allowlisted(lapi, "198.51.100.7")?, "deleted");
        }
    }
    first.admin(&["machines", "delete", "web"])?;
    for lapi in lapis {
        assert_eq!(login(lapi, "web", "password-4")?, 401, "deleted");
    }
    Ok(())
}

#[test]
fn a_command_returns_when_its_change_is_in_force() -> Outcome {
    story(|world| {
        let mut lapi = Lapi::start(world, Make::Ours)?;
        every_change_is_in_force(&[&lapi])?;

        // A LAPI that does not answer is waited for in vain, for two seconds, with a warning.
        lapi.process()?.signal(Signal::STOP)?;
        let began = Instant::now();
        let said = lapi.tool(&["bouncers", "add", "late", "-k", "late"])?;
        assert!(said.code == 0 && said.err.contains("has not confirmed"), "{said:?}");
        assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
        lapi.process()?.signal(Signal::CONT)?;
        eventually("the change is in force", || pull(&lapi, "late").is_ok_and(|status| status == 200))?;

        // One that was killed is not waited for, nor does its socket hinder the next one.
        lapi.process()?.signal(Signal::KILL)?;
        lapi.down();
        let said = lapi.tool(&["bouncers", "delete", "late"])?;
        assert!(said.code == 0 && !said.err.contains("confirmed"), "{said:?}");
        lapi.up(world)?;
        every_change_is_in_force(&[&lapi])
    })
}

#[test]
fn a_command_waits_for_every_lapi_on_a_server() -> Outcome {
    story(|world| {
        let database = Postgres::start(world)?;
        let config = json!({ "db_config": database.remote_config() });
        let first = Lapi::start_open(world, Make::Ours, &config)?;
        let host: Host = world.host("lapi-2", "198.18.4.10".parse()?, "2001:db8:14::10".parse()?)?;
        let mut second = first.beside(world, &host, &config)?;
        every_change_is_in_force(&[&first, &second])?;

        second.process()?.signal(Signal::STOP)?;
        let said = first.tool(&["bouncers", "add", "late", "-k", "late"])?;
        assert!(said.code == 0 && said.err.contains("has not confirmed"), "{said:?}");
        assert_eq!(pull(&first, "late")?, 200, "the other LAPI knows it");
        second.down();
        eventually("only the LAPI that runs is waited for", || {
            first
                .tool(&["bouncers", "delete", "late", "--ignore-missing"])
                .is_ok_and(|said| said.code == 0 && !said.err.contains("confirmed"))
                && first
                    .tool(&["bouncers", "add", "late", "-k", "late"])
                    .is_ok_and(|said| said.code == 0 && !said.err.contains("confirmed"))
        })?;
        Ok(())
    })
}

#[test]
fn a_machine_that_has_just_asked_is_not_pruned() -> Outcome {
    story(|world: &World| {
        let lapi = Lapi::start(world, Make::Ours)?;
        lapi.add_machine("operator", "pw")?;
        lapi.add_machine("silent", "pw")?;
        lapi.add_bouncer("fw", "key-of-fw")?;
        lapi.add_bouncer("dead", "key-of-dead")?;
        // Both were made just now, and a prune looks at the time of the last request as well.
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(login(&lapi, "operator", "pw")?, 200);
        let head = || {
            HttpClient::new(lapi.address()).ask("HEAD", "/v1/decisions", &[("X-Api-Key", "key-of-fw")], None)
        };
        assert_eq!(lapi.host().run(head)?.status, 200);
        for group in ["machines", "bouncers"] {
            let mut command = palisade_e2e::tools::command(Make::Ours.admin()?)?;
            command.arg("-c").arg(lapi.config()).args([group, "prune", "-d", "1s", "--force"]);
            let said = lapi.host().run(|| palisade_e2e::tools::run(&mut command, "y\n"))?;
            assert_eq!(said.code, 0, "{said:?}");
        }
        assert_eq!(login(&lapi, "operator", "pw")?, 200);
        assert_eq!(login(&lapi, "silent", "pw")?, 401);
        assert_eq!(pull(&lapi, "key-of-fw")?, 200);
        assert_eq!(pull(&lapi, "key-of-dead")?, 403);
        Ok(())
    })
}
