//! `docs/backup.md`: its commands save and restore a LAPI, and bouncers follow a restored database.

use std::path::Path;

use palisade_e2e::documented::{block, repository};
use palisade_e2e::{Doing as _, Lapi, Make, Outcome, Postgres, eventually, story, tools};
use serde_json::json;

use crate::documented_commands::Terminal;
use crate::guide::Central;

const PAGE: &str = "docs/backup.md";

#[test]
fn a_restored_sqlite_database_is_what_bouncers_enforce() -> Outcome {
    story(|world| {
        let mut lapi = Central::install(world)?;
        lapi.start(world)?;
        lapi.palisade(&["machines", "add", "--auto"])?.into_stdout()?;
        let key = lapi.palisade(&["bouncers", "add", "gate", "-o", "raw"])?.into_stdout()?;
        let etc = lapi.etc.display().to_string();
        let path = lapi.etc.join("crowdsec-firewall-bouncer.yaml");
        std::fs::write(&path, repository("packaging/config/crowdsec-firewall-bouncer.yaml")?)?;
        let state = world.fresh_path("state");
        let local = format!("api_key: {}\nstate_dir: {}\nlog_mode: stdout\n", key.trim(), state.display());
        std::fs::write(lapi.etc.join("crowdsec-firewall-bouncer.yaml.local"), local)?;
        let mut command = tools::command(tools::ours("palisade-firewall")?)?;
        command.arg("-c").arg(&path);
        let mut firewall = world.start(&lapi.host, "palisade-firewall", command)?;
        let bans = |lapi: &Central, address: &str| Ok(lapi.host.ruleset()?.bans(address));

        lapi.palisade(&["decisions", "add", "--ip", "192.0.2.7"])?.into_stdout()?;
        eventually("the first ban is in force", || bans(&lapi, "192.0.2.7"))?;
        let backups = world.fresh_path("backups").display().to_string();
        let replaced = [
            ("/var/backups/palisade", backups),
            ("-C / ", format!("-C {} ", lapi.etc.parent().doing("it is in a folder")?.display())),
            // The folder of the story has another name.
            (" etc/crowdsec", format!(" {}", lapi.etc.file_name().doing("it has a name")?.display())),
            ("/var/lib/crowdsec", etc),
            // In this world there are no other users.
            ("-o palisade-lapi -g palisade-lapi ", String::new()),
        ];
        let mut terminal = Terminal::new(world, &lapi)?;
        terminal.replaced.extend(replaced.clone());
        for line in block(PAGE, "sh", ".backup")?.lines() {
            let said = terminal.run(line)?;
            assert_eq!(said.code, 0, "{line}: {said:?}");
        }
        drop(terminal);
        lapi.palisade(&["decisions", "add", "--ip", "192.0.2.8"])?.into_stdout()?;
        lapi.palisade(&["decisions", "delete", "--ip", "192.0.2.7"])?.into_stdout()?;
        eventually("the second ban is in force, the first one is not", || {
            Ok::<_, palisade_e2e::Failure>(bans(&lapi, "192.0.2.8")? && !bans(&lapi, "192.0.2.7")?)
        })?;

        for line in block(PAGE, "sh", "crowdsec.palisade.db-wal")?.lines() {
            // The service manager's part.
            match line {
                "sudo systemctl stop palisade-lapi" => lapi.stop()?,
                "sudo systemctl start palisade-lapi" => lapi.start(world)?,
                line => {
                    let mut terminal = Terminal::new(world, &lapi)?;
                    terminal.replaced.extend(replaced.clone());
                    let said = terminal.run(line)?;
                    assert_eq!(said.code, 0, "{line}: {said:?}");
                }
            }
        }
        let listed = lapi.palisade(&["decisions", "list", "-o", "json"])?.into_stdout()?;
        assert!(listed.contains("192.0.2.7") && !listed.contains("192.0.2.8"), "{listed}");
        eventually("the firewall enforces what was restored", || {
            Ok::<_, palisade_e2e::Failure>(bans(&lapi, "192.0.2.7")? && !bans(&lapi, "192.0.2.8")?)
        })?;
        // As the page says.
        let says = "the LAPI does not know the cursor: its database was restored or replaced";
        assert!(repository(PAGE)?.contains(says));
        firewall.wait_for_log(says)?;
        Ok(())
    })
}

#[test]
fn a_restored_postgres_database_is_served() -> Outcome {
    story(|world| {
        let postgres = Postgres::start(world)?;
        let mut lapi = Lapi::start_with(world, Make::Ours, &json!({ "db_config": postgres.config() }))?;
        lapi.ban("192.0.2.7")?;
        let folder = world.fresh_path("dumps");
        std::fs::create_dir_all(&folder)?;
        let run = |phrase: &str| -> Outcome {
            let connection = format!("-h 127.0.0.1 -p {} -U palisade -d crowdsec", postgres.port());
            let line =
                block(PAGE, "sh", phrase)?.replace("-h db.internal -U palisade -d palisade", &connection);
            assert!(line.contains(&connection), "{line}");
            let mut command = tools::command("bash")?;
            let path =
                format!("{}:{}", postgres.programs().display(), tools::search_path()?.to_string_lossy());
            command.args(["-euc", line.trim()]).env("PATH", path).current_dir(Path::new(&folder));
            world.router.run(|| tools::output(&mut command)).map(drop)
        };
        run("pg_dump")?;
        lapi.ban("192.0.2.8")?;
        lapi.down();
        run("pg_restore")?;
        lapi.up(world)?;
        let listed = lapi.admin(&["decisions", "list", "-o", "json"])?;
        assert!(listed.contains("192.0.2.7") && !listed.contains("192.0.2.8"), "{listed}");
        Ok(())
    })
}
