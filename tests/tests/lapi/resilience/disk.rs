//! The disk is full, or the database is not what it was.

use std::time::Duration;

use palisade_e2e::{Failure, LapiProcess, Make, Outcome, Setup, World, eventually, fill_disk, story};

use super::bystander::Bystander;
use super::{active_decisions, bans, make, message, post, start};

#[test]
fn a_full_disk_refuses_alerts_and_nothing_else() -> Outcome {
    story(|world| {
        let data = world.small_disk("6m")?;
        let (mut lapi, token) = start(world, &Setup { data: Some(data.clone()), ..Setup::default() })?;
        let mut taken: Vec<String> = (0..50).map(|n| format!("192.0.2.{n}")).collect();
        assert_eq!(post(&lapi, &token, bans(&taken, "before").to_string().as_bytes())?.status, 201);
        let bystander = Bystander::start(&lapi)?;
        fill_disk(&data.join("filler"))?;
        // What the database has reserved already may still be written.
        let mut refused = 0;
        for n in 0..4000u32 {
            let values: Vec<String> = (0..20).map(|m| format!("10.{}.{}.{m}", n / 256, n % 256)).collect();
            let reply = post(&lapi, &token, bans(&values, &format!("full {n}")).to_string().as_bytes())?;
            if reply.status == 201 {
                taken.extend(values);
                continue;
            }
            assert!(reply.status >= 500, "{reply:?}");
            message(&reply);
            refused += 1;
            if refused == 20 {
                break;
            }
        }
        assert_eq!(refused, 20, "a full disk is noticed");
        let mut now: Vec<String> = active_decisions(&lapi)?;
        now.sort();
        taken.sort();
        assert_eq!(now, taken, "what was taken is told, and nothing of what was refused");
        std::fs::remove_file(data.join("filler"))?;
        let after = vec!["203.0.113.1".to_owned()];
        eventually("alerts are taken again", || {
            Ok(post(&lapi, &token, bans(&after, "after").to_string().as_bytes())?.status == 201)
        })?;
        taken.extend(after);
        bystander.unharmed()?;
        assert!(lapi.process()?.exited().is_none(), "the server stays");
        lapi.kill();
        lapi.up(world)?;
        let mut now = active_decisions(&lapi)?;
        now.sort();
        taken.sort();
        assert_eq!(now, taken, "and all of it is there after a kill");
        Ok(())
    })
}

#[test]
fn a_full_disk_at_the_start_is_reported() -> Outcome {
    story(|world| {
        let data = world.small_disk("64k")?;
        fill_disk(&data.join("filler"))?;
        let lapi = LapiProcess::prepare(world, make(), &Setup { data: Some(data), ..Setup::default() })?;
        refuses_to_start(world, &lapi)
    })
}

#[test]
fn a_file_that_is_no_database_is_reported_and_not_touched() -> Outcome {
    story(|world| {
        let lapi = LapiProcess::prepare(world, make(), &Setup::default())?;
        let path = lapi.data().join("crowdsec.db");
        let text = b"these are the notes of the administrator, not a database\n".repeat(100);
        std::fs::write(&path, &text)?;
        refuses_to_start(world, &lapi)?;
        assert_eq!(std::fs::read(&path)?, text);
        Ok(())
    })
}

/// It ends by itself, with a failure, and names the database.
fn refuses_to_start(world: &World, lapi: &LapiProcess) -> Outcome {
    let mut process = world.start(&world.router, lapi.make().name(), lapi.command()?)?;
    let status = process.end()?;
    assert!(!status.success(), "it started");
    if lapi.make() == Make::Ours {
        let log = process.log();
        assert!(
            log.contains("crowdsec.db") || log.contains("crowdsec.palisade.db"),
            "it does not name the database: {log}"
        );
        assert!(!log.contains("panicked"), "{log}");
    }
    Ok(())
}

#[test]
fn a_database_that_is_moved_away_and_back_loses_nothing() -> Outcome {
    story(|world| {
        let (mut lapi, token) = start(world, &Setup::default())?;
        let before: Vec<String> = (0..20).map(|n| format!("192.0.2.{n}")).collect();
        assert_eq!(post(&lapi, &token, bans(&before, "before").to_string().as_bytes())?.status, 201);
        let bystander = Bystander::start(&lapi)?;
        let data = lapi.data().to_owned();
        let away = world.fresh_path("away");
        std::fs::create_dir_all(&away)?;
        let database = lapi.database().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files = ["", "-wal", "-shm"].map(|suffix| format!("{database}{suffix}"));
        for file in &files {
            // Which of them there are is the database's choice.
            let _ = std::fs::rename(data.join(file), away.join(file));
        }
        let mut taken = before;
        for n in 0..40 {
            let value = vec![format!("198.51.100.{n}")];
            let reply = post(&lapi, &token, bans(&value, &format!("meanwhile {n}")).to_string().as_bytes())?;
            if reply.status == 201 {
                taken.extend(value);
            } else {
                assert!(reply.status >= 500, "{reply:?}");
                message(&reply);
            }
        }
        for file in &files {
            let _ = std::fs::rename(away.join(file), data.join(file));
        }
        let after = vec!["203.0.113.1".to_owned()];
        eventually("alerts are taken again", || {
            Ok(post(&lapi, &token, bans(&after, "after").to_string().as_bytes())?.status == 201)
        })?;
        taken.extend(after);
        bystander.unharmed()?;
        lapi.kill();
        lapi.up(world)?;
        let mut now = active_decisions(&lapi)?;
        now.sort();
        taken.sort();
        if now != taken {
            return Err(Failure::new(format!("{} of {} that were taken are told", now.len(), taken.len())));
        }
        Ok(())
    })
}

#[test]
fn a_disk_that_can_not_be_written_still_feeds_bouncers() -> Outcome {
    story(|world| {
        let data = world.small_disk("16m")?;
        let (mut lapi, token) = start(world, &Setup { data: Some(data.clone()), ..Setup::default() })?;
        let taken: Vec<String> = (0..20).map(|n| format!("192.0.2.{n}")).collect();
        assert_eq!(post(&lapi, &token, bans(&taken, "before").to_string().as_bytes())?.status, 201);
        let bystander = Bystander::start(&lapi)?;
        // No room at all, whatever is reserved: the file system shrinks to what it holds.
        fill_disk(&data.join("filler"))?;
        for _ in 0..10 {
            assert_eq!(active_decisions(&lapi)?.len(), taken.len());
        }
        std::thread::sleep(Duration::from_secs(3));
        assert!(lapi.process()?.exited().is_none(), "the server stays");
        std::fs::remove_file(data.join("filler"))?;
        bystander.unharmed()
    })
}
