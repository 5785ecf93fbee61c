//! The database can only be read, or is not where it was.

use std::path::{Path, PathBuf};

use palisade_e2e::{LapiProcess, Outcome, Setup, World, eventually, fill_disk, story, tools};
use serde_json::Value;

use super::{KEY, MACHINE, active_decisions, as_machine, bans, make, message, post, start};

/// What is served from memory, and that writes are refused with the time of the next try.
fn serves_and_refuses_writes(lapi: &LapiProcess, token: &str, expected: &[String]) -> Outcome {
    let mut now = active_decisions(lapi)?;
    now.sort();
    assert_eq!(now, expected);
    let live = format!("/v1/decisions?ip={}", expected[0]);
    let reply = lapi.http_client().ask("GET", &live, &[("X-Api-Key", KEY)], None)?;
    assert!(reply.status == 200 && reply.text().contains(&expected[0]), "{reply:?}");
    refuses_writes(lapi, token)
}

fn refuses_writes(lapi: &LapiProcess, token: &str) -> Outcome {
    let reply = post(lapi, token, bans(&["203.0.113.9".to_owned()], "refused").to_string().as_bytes())?;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    message(&reply);
    Ok(())
}

fn database(lapi: &LapiProcess) -> Outcome<Value> {
    let reply = lapi.http_client().ask("GET", "/health", &[], None)?;
    let body: Value = serde_json::from_slice(&reply.body)?;
    assert!(reply.status == 200 && body["status"] == "up", "{reply:?}");
    Ok(body["database"].clone())
}

fn remount(folder: &Path, options: &str) -> Outcome {
    let mut mount = tools::command("mount")?;
    mount.args(["-o", &format!("remount,{options}")]).arg(folder);
    tools::output(&mut mount).map(drop)
}

/// A LAPI with decisions on a file system of its own, not running any more.
fn stopped(world: &World, is_killed: bool) -> Outcome<(LapiProcess, PathBuf, Vec<String>)> {
    let data = world.small_disk("16m")?;
    let (mut lapi, token) = start(world, &Setup { data: Some(data.clone()), ..Setup::default() })?;
    let values: Vec<String> = (10..30).map(|n| format!("192.0.2.{n}")).collect();
    assert_eq!(post(&lapi, &token, bans(&values, "before").to_string().as_bytes())?.status, 201);
    // Its bouncer has been seen.
    active_decisions(&lapi)?;
    if is_killed {
        lapi.kill();
    } else {
        lapi.stop()?;
    }
    Ok((lapi, data, values))
}

fn writes_again(lapi: &LapiProcess, token: &str) -> Outcome {
    eventually("it can be written again", || Ok(database(lapi)?.is_null()))?;
    let after = bans(&["203.0.113.1".to_owned()], "after").to_string();
    eventually("alerts are taken again", || Ok(post(lapi, token, after.as_bytes())?.status == 201))?;
    Ok(())
}

fn starts_on_a_full_disk(world: &World, is_killed: bool) -> Outcome {
    let (mut lapi, data, values) = stopped(world, is_killed)?;
    fill_disk(&data.join("filler"))?;
    lapi.up(world)?;
    let token = lapi.log_in(MACHINE.0, MACHINE.1)?;
    // The write-ahead log of a killed process has room for some more.
    let mut taken = values.clone();
    for n in 0..250 {
        let more: Vec<String> = (0..100).map(|m| format!("198.18.{n}.{m}")).collect();
        if post(&lapi, &token, bans(&more, "more").to_string().as_bytes())?.status != 201 {
            break;
        }
        taken.extend(more);
    }
    taken.sort();
    serves_and_refuses_writes(&lapi, &token, &taken)?;
    assert_eq!(database(&lapi)?, "read-only");
    assert!(lapi.log().contains("writes are refused"), "{}", lapi.log());
    // Reading commands work as well.
    assert!(lapi.admin(&["bouncers", "list"])?.contains("harness"));
    std::fs::remove_file(data.join("filler"))?;
    writes_again(&lapi, &token)?;
    lapi.kill();
    lapi.up(world)?;
    assert_eq!(active_decisions(&lapi)?.len(), taken.len() + 1);
    Ok(())
}

#[test]
fn killed_while_the_disk_is_full_it_starts_and_serves() -> Outcome {
    story(|world| starts_on_a_full_disk(world, true))
}

#[test]
fn stopped_while_the_disk_is_full_it_starts_and_serves() -> Outcome {
    story(|world| starts_on_a_full_disk(world, false))
}

fn starts_on_a_read_only_mount(world: &World, is_killed: bool) -> Outcome {
    let (mut lapi, data, values) = stopped(world, is_killed)?;
    remount(&data, "ro")?;
    lapi.up(world)?;
    let token = lapi.log_in(MACHINE.0, MACHINE.1)?;
    serves_and_refuses_writes(&lapi, &token, &values)?;
    assert_eq!(database(&lapi)?, "read-only");
    // The same key from an address that has no row yet.
    let mut other = lapi.http_client().from("127.0.55.1".parse()?);
    let reply = other.ask("GET", "/v1/decisions/stream?startup=true", &[("X-Api-Key", KEY)], None)?;
    assert_eq!(reply.status, 200, "{reply:?}");
    let reply = lapi.http_client().ask("GET", "/v1/alerts", &as_machine(&token), None)?;
    assert!(reply.status == 200 && reply.text().contains(&values[0]), "{reply:?}");
    remount(&data, "rw")?;
    writes_again(&lapi, &token)
}

#[test]
fn killed_and_started_on_a_read_only_mount_it_serves() -> Outcome {
    story(|world| starts_on_a_read_only_mount(world, true))
}

#[test]
fn stopped_and_started_on_a_read_only_mount_it_serves() -> Outcome {
    story(|world| starts_on_a_read_only_mount(world, false))
}

/// A change to the files of a running LAPI, and the log line that it causes.
type Damage = (&'static str, fn(&Path) -> std::io::Result<()>, &'static str);

const DAMAGES: [Damage; 5] = [
    (
        "all files deleted",
        |data| {
            remove(data, &["crowdsec.palisade.db", "crowdsec.palisade.db-wal", "crowdsec.palisade.db-shm"])
        },
        "deleted or moved",
    ),
    ("the database deleted", |data| remove(data, &["crowdsec.palisade.db"]), "deleted or moved"),
    ("the log deleted", |data| remove(data, &["crowdsec.palisade.db-wal"]), "-wal was deleted"),
    (
        "the database replaced",
        |data| {
            std::fs::copy(data.join("crowdsec.palisade.db"), data.join("copy"))?;
            std::fs::rename(data.join("copy"), data.join("crowdsec.palisade.db"))
        },
        "replaced",
    ),
    ("the folder renamed", |data| std::fs::rename(data, data.with_extension("away")), "deleted or moved"),
];

fn remove(data: &Path, files: &[&str]) -> std::io::Result<()> {
    files.iter().try_for_each(|file| std::fs::remove_file(data.join(file)))
}

#[test]
fn a_database_that_is_not_where_it_was_is_noticed() -> Outcome {
    story(|world| {
        if make() == palisade_e2e::Make::Stock {
            return Ok(());
        }
        for (what, damage, text) in DAMAGES {
            let (mut lapi, token) = start(world, &Setup::default())?;
            let values: Vec<String> = (10..30).map(|n| format!("192.0.2.{n}")).collect();
            assert_eq!(
                post(&lapi, &token, bans(&values, "before").to_string().as_bytes())?.status,
                201,
                "{what}"
            );
            damage(lapi.data())?;
            // From the first request on: nothing is acknowledged and lost.
            serves_and_refuses_writes(&lapi, &token, &values)?;
            assert_eq!(database(&lapi)?, "read-only", "{what}");
            eventually(&format!("{what}: the log says so"), || Ok(lapi.log().contains(text)))?;
            if what == "the log deleted" {
                // What was acknowledged before is in the database, even if the process is killed now.
                eventually("the log is saved", || Ok(lapi.log().contains("is in the database now")))?;
                lapi.kill();
                lapi.up(world)?;
                let mut now = active_decisions(&lapi)?;
                now.sort();
                assert_eq!(now, values);
            }
            assert!(lapi.process()?.exited().is_none(), "{what}: the server stays");
            lapi.kill();
        }
        Ok(())
    })
}
