//! Programs as receivers, beside the stock custom bouncer with the same file.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fastrand::Rng;
use palisade_e2e::{
    Access, Ban, Call, CustomBouncer, Failure, FedProcess, Lapi, Make, Outcome, RecordingProgram,
    ScriptedLapi, Truth, Webhook, World, against_either_lapi, eventually, pace, story, webhook_file,
};
use palisade_go_compat::GoDuration;
use serde_json::{Value, json};

against_either_lapi!(the_same_file_gives_the_same_calls, the_same_file_gives_a_program_the_same_lines,);

/// One change as it was passed to a program, without what depends on the time and the release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PassedChange {
    action: String,
    fields: Vec<String>,
    /// Of an `add`, its duration; of a `del` there is none left.
    seconds: i64,
}

/// The fields that all releases of the stock bouncer pass on.
const FIELDS: [&str; 6] = ["id", "origin", "scenario", "scope", "type", "value"];

fn passed(action: &str, decision: &Value) -> Outcome<PassedChange> {
    let seconds = decision["duration"].as_str().unwrap_or_default().parse::<GoDuration>()?;
    Ok(PassedChange {
        action: action.to_owned(),
        fields: FIELDS.iter().map(|field| decision[field].to_string()).collect(),
        seconds: seconds.nanos() / 1_000_000_000,
    })
}

impl PassedChange {
    /// Of a call, whose arguments repeat what is in its JSON.
    fn of_call(call: &Call) -> Outcome<Self> {
        let decision: Value = serde_json::from_str(&call.json)?;
        assert_eq!((&decision["value"], &decision["scenario"]), (&json!(call.value), &json!(call.reason)));
        let passed = passed(&call.verb, &decision)?;
        assert_eq!(passed.seconds.to_string(), call.duration, "{call:?}");
        Ok(passed)
    }

    fn of_line(line: &Value) -> Outcome<Self> {
        passed(line["action"].as_str().unwrap_or_default(), line)
    }

    /// Whether the same was passed to two programs, within the time between two polls.
    fn is_like(&self, other: &Self) -> bool {
        let is_alike = match self.action.as_str() {
            "add" => self.seconds.abs_diff(other.seconds) <= 5,
            _ => self.seconds <= 0 && other.seconds <= 0,
        };
        is_alike && (&self.action, &self.fields) == (&other.action, &other.fields)
    }
}

/// Whether the same was passed to both for each value, in the same order.
fn are_alike(ours: &[PassedChange], stock: &[PassedChange]) -> bool {
    let by_value = |all: &[PassedChange]| {
        let mut by_value: BTreeMap<String, Vec<PassedChange>> = BTreeMap::new();
        for passed in all {
            let of_value = by_value.entry(passed.fields[FIELDS.len() - 1].clone()).or_default();
            // A LAPI repeats the end of a decision for some seconds, and the stock bouncer passes it on to a program that
            // it feeds.
            if of_value.last().is_none_or(|last| !last.is_like(passed)) {
                of_value.push(passed.clone());
            }
        }
        by_value
    };
    let (ours, stock) = (by_value(ours), by_value(stock));
    ours.len() == stock.len()
        && ours.iter().zip(&stock).all(|((value, ours), (other, stock))| {
            value == other
                && ours.len() == stock.len()
                && ours.iter().zip(stock).all(|(ours, stock)| ours.is_like(stock))
        })
}

/// Decisions before and after the start, changed, deleted and expired; `ours` and `stock` are what was passed to each so far.
fn decide(
    lapi: &Lapi,
    ours: &dyn Fn() -> Outcome<Vec<PassedChange>>,
    stock: &dyn Fn() -> Outcome<Vec<PassedChange>>,
) -> Outcome {
    let agree = |count: usize| {
        eventually(&format!("the same {count} changes were passed to both"), || {
            let (ours, stock) = (ours()?, stock()?);
            match ours.len() == count && are_alike(&ours, &stock) {
                true => Ok(true),
                false => Err(Failure::new(format!("ours {ours:#?}, stock {stock:#?}"))),
            }
        })
    };
    agree(3)?;
    let late = lapi.ban("198.51.100.7")?;
    lapi.ban(Ban::of("2001:db8:5::/48").lasting(Duration::from_secs(90)))?;
    agree(5)?;
    lapi.lift(late)?;
    lapi.ban(Ban::of("198.51.100.8").lasting(Duration::from_secs(4)))?;
    agree(8)?;
    Ok(())
}

fn decide_before(lapi: &Lapi) -> Outcome {
    lapi.ban("192.0.2.1")?;
    lapi.ban_all([
        Ban::of("192.0.2.0/24").kind("captcha").from_origin("lists:bad <guests>"),
        Ban::of("2001:db8::1"),
    ])?;
    Ok(())
}

fn passed_by_calls(program: &RecordingProgram) -> Outcome<Vec<PassedChange>> {
    program.calls()?.iter().map(PassedChange::of_call).collect()
}

fn passed_by_lines(program: &RecordingProgram) -> Outcome<Vec<PassedChange>> {
    program.newest()?.lines.iter().map(PassedChange::of_line).collect()
}

fn the_same_file_gives_the_same_calls(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    decide_before(&lapi)?;
    let theirs = RecordingProgram::called(world)?;
    let file = theirs.stock_file(&lapi.add_bouncer("theirs", "their-key")?, &json!({}));
    let stock = CustomBouncer::start_with(world, &world.router, theirs, &file)?;
    let program = RecordingProgram::called(world)?;
    let file = program.stock_file(&lapi.access(), &json!({}));
    let webhook = Webhook::start(world, &file, &world.fresh_path("state"))?;
    decide(&lapi, &|| passed_by_calls(&program), &|| passed_by_calls(stock.program()))?;
    let bouncers = lapi.bouncers()?;
    let types = bouncers.iter().filter(|row| row["type"] == "crowdsec-custom-bouncer").count();
    assert_eq!(types, 2, "both are listed alike: {bouncers:#?}");
    let log = webhook.log();
    assert!(log.contains("Starting crowdsec-custom-bouncer v"), "{log}");
    assert!(log.contains("adding 1 decision\""), "in the stock words: {log}");
    assert!(webhook.stop()?.success());
    Ok(())
}

fn the_same_file_gives_a_program_the_same_lines(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    decide_before(&lapi)?;
    let keys = json!({ "feed_via_stdin": true, "total_retries": -1, "bin_args": ["--fast"] });
    let theirs = RecordingProgram::fed(world)?;
    let file = theirs.stock_file(&lapi.add_bouncer("theirs", "their-key")?, &keys);
    let stock = CustomBouncer::start_with(world, &world.router, theirs, &file)?;
    let program = RecordingProgram::fed(world)?;
    let webhook =
        Webhook::start(world, &program.stock_file(&lapi.access(), &keys), &world.fresh_path("state"))?;
    decide(&lapi, &|| passed_by_lines(&program), &|| passed_by_lines(stock.program()))?;
    assert!(webhook.stop()?.success());
    assert_eq!(program.processes()?.len(), 1);
    Ok(())
}

fn scripted(world: &World) -> Outcome<(ScriptedLapi, Access)> {
    let lapi = ScriptedLapi::start(&world.router)?;
    let access = lapi.access();
    Ok((lapi, access))
}

/// Whether the newest process is another one than `old` and holds what was decided.
fn is_rebuilt(program: &RecordingProgram, old: i32, truth: &Truth) -> Outcome<bool> {
    let newest = program.newest()?;
    let decided: BTreeMap<String, String> =
        truth.in_force().into_iter().map(|(value, version)| (value, format!("version {version}"))).collect();
    let holds = newest.holds();
    if newest.id != old && holds == decided {
        return Ok(true);
    }
    Err(Failure::new(format!("process {} holds {holds:?}, decided were {decided:?}", newest.id)))
}

#[test]
fn a_program_killed_at_any_time_is_started_again_and_rebuilds_the_whole_state() -> Outcome {
    story(|world| {
        let (lapi, access) = scripted(world)?;
        let program = RecordingProgram::fed(world)?;
        let endpoint = json!({
            "name": "p", "program": { "path": program.path(), "restart_wait": "20ms" }, "retry": { "first": "20ms" },
        });
        let webhook = Webhook::start(world, &webhook_file(&access, &[endpoint]), &world.fresh_path("state"))?;
        let (truth, mut rng) = (Truth::default(), Rng::with_seed(15));
        let mut old = FedProcess::default();
        for round in 0..25 {
            for _ in 0..rng.u8(1..8) {
                truth.change(&lapi, &mut rng, 12)?;
                // Kills meet lines before, while and after they are written.
                pace(Duration::from_millis(rng.u64(..40)));
            }
            if round % 2 == 0 {
                eventually("the program holds what was decided", || is_rebuilt(&program, old.id, &truth))?;
            } else {
                eventually("it runs", || Ok(program.newest()?.id != old.id))?;
            }
            old = program.newest()?;
            old.kill()?;
        }
        eventually("the last one holds what was decided", || is_rebuilt(&program, old.id, &truth))?;
        let log = webhook.log();
        assert!(log.contains("custom program exited: signal: killed"), "{log}");
        assert!(webhook.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_program_that_ended_as_often_as_the_file_permits_ends_the_bouncer() -> Outcome {
    story(|world| {
        let (lapi, access) = scripted(world)?;
        lapi.ban("192.0.2.1");
        let program = RecordingProgram::fed(world)?;
        let logs = world.fresh_path("logs");
        std::fs::create_dir_all(&logs)?;
        let keys = json!({
            "feed_via_stdin": true, "total_retries": 3, "log_mode": "file", "log_dir": logs, "daemonize": true,
        });
        let state = world.fresh_path("state");
        let mut webhook = Webhook::start(world, &program.stock_file(&access, &keys), &state)?;
        for run in 1..=3 {
            eventually("everything was passed to the program", || {
                let processes = program.processes()?;
                Ok(processes.len() == run && processes[run - 1].holds().contains_key("192.0.2.1"))
            })?;
            program.newest()?.kill()?;
        }
        assert_eq!(webhook.process().end()?.code(), Some(1));
        assert_eq!(program.processes()?.len(), 3);
        let log = std::fs::read_to_string(logs.join("crowdsec-custom-bouncer.log"))?;
        for text in [
            "Starting crowdsec-custom-bouncer v",
            "custom program exited (retry 1/3): signal: killed",
            "custom program exited (retry 3/3): signal: killed",
            "process terminated with error: maximum retries exceeded for program execution",
        ] {
            assert!(log.contains(text), "{text} is not in {log}");
        }
        Ok(())
    })
}

#[test]
fn at_the_end_a_program_reads_what_is_under_way_and_no_process_stays() -> Outcome {
    story(|world| {
        let (lapi, access) = scripted(world)?;
        let program = RecordingProgram::fed(world)?;
        let keys = json!({ "feed_via_stdin": true, "total_retries": -1 });
        let webhook = Webhook::start(world, &program.stock_file(&access, &keys), &world.fresh_path("state"))?;
        lapi.ban_all((0..500_u32).map(|n| Ban::of(format!("10.0.{}.{}", n / 256, n % 256))));
        eventually("lines are being passed", || Ok(!program.newest()?.lines.is_empty()))?;
        assert!(webhook.stop()?.success(), "an end on request is no failure");
        let processes = program.processes()?;
        assert_eq!(processes.len(), 1);
        assert!(processes[0].has_ended, "it read to the end of its input");
        assert!(!std::path::Path::new(&format!("/proc/{}", processes[0].id)).exists(), "it was waited for");
        Ok(())
    })
}

#[test]
fn a_program_outlives_no_bouncer_that_is_killed_and_the_next_one_is_told_the_changes_too() -> Outcome {
    story(|world| {
        let (lapi, access) = scripted(world)?;
        let program = RecordingProgram::fed(world)?;
        let keys = json!({ "feed_via_stdin": true, "total_retries": -1 });
        let state = world.fresh_path("state");
        let mut webhook = Webhook::start(world, &program.stock_file(&access, &keys), &state)?;
        lapi.ban_all(["192.0.2.1", "192.0.2.2"].map(Ban::of));
        eventually("both were passed", || Ok(program.newest()?.holds().len() == 2))?;
        webhook.process().kill()?;
        eventually("it sees the end of its input", || Ok(program.newest()?.has_ended))?;
        lapi.lift("192.0.2.1");
        lapi.ban("192.0.2.3");
        webhook.launch_again(world)?;
        webhook.ready()?;
        eventually("its successor holds what is decided now", || {
            let holds: Vec<String> = program.newest()?.holds().into_keys().collect();
            Ok(program.processes()?.len() == 2 && holds == ["192.0.2.2", "192.0.2.3"])
        })?;
        assert!(webhook.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_call_under_way_at_the_end_is_finished() -> Outcome {
    story(|world| {
        let (lapi, access) = scripted(world)?;
        let finished = world.fresh_path("finished");
        let program =
            RecordingProgram::called_then(world, &format!("sleep 1\necho $2 >> {}", finished.display()))?;
        let webhook =
            Webhook::start(world, &program.stock_file(&access, &json!({})), &world.fresh_path("state"))?;
        lapi.ban("192.0.2.1");
        eventually("the call has begun", || Ok(program.calls()?.len() == 1))?;
        assert!(webhook.stop()?.success());
        assert_eq!(std::fs::read_to_string(&finished)?, "192.0.2.1\n");
        Ok(())
    })
}

#[test]
fn a_decision_that_the_program_cannot_process_is_repeated_and_delays_no_other() -> Outcome {
    story(|world| {
        let (lapi, access) = scripted(world)?;
        let program = RecordingProgram::called_then(
            world,
            "if [ \"$1 $2\" = 'add 192.0.2.66' ]; then echo 'no room' >&2; exit 3; fi",
        )?;
        let webhook =
            Webhook::start(world, &program.stock_file(&access, &json!({})), &world.fresh_path("state"))?;
        let calls = |verb: &str, value: &str| -> Outcome<usize> {
            Ok(program.calls()?.iter().filter(|call| call.verb == verb && call.value == value).count())
        };
        lapi.ban_all(["192.0.2.65", "192.0.2.66", "192.0.2.67"].map(Ban::of));
        eventually("it is tried again", || Ok(calls("add", "192.0.2.66")? >= 2))?;
        lapi.ban("192.0.2.68");
        eventually("another decision is processed", || Ok(calls("add", "192.0.2.68")? == 1))?;
        eventually("it becomes a dead letter", || {
            let (_, text) = webhook.command(world, &["deadletter", "list", "custom"])?;
            Ok(text.contains("192.0.2.66"))
        })?;
        assert_eq!(calls("add", "192.0.2.66")?, 3, "three times in all");
        for value in ["192.0.2.65", "192.0.2.67", "192.0.2.68"] {
            assert_eq!(calls("add", value)?, 1, "{value} once: {:#?}", program.calls()?);
        }
        let log = webhook.log();
        assert!(log.contains("Error in 'add' command") && log.contains("no room"), "{log}");
        // What comes next on that value is called for.
        lapi.lift("192.0.2.66");
        lapi.lift("192.0.2.65");
        eventually("the other is lifted", || Ok(calls("del", "192.0.2.65")? == 1))?;
        assert!(webhook.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_longer_ban_within_the_retention_time_is_no_call_but_the_end_and_another_ban_are() -> Outcome {
    story(|world| {
        let (lapi, access) = scripted(world)?;
        let program = RecordingProgram::called(world)?;
        // The time never comes, so that what is called for is not what was held back.
        let keys = json!({ "cache_retention_duration": "30m" });
        // In force at the start, so that it is part of a snapshot.
        lapi.ban("192.0.2.1");
        let webhook = Webhook::start(world, &program.stock_file(&access, &keys), &world.fresh_path("state"))?;
        let verbs = |value: &str| -> Outcome<Vec<String>> {
            let calls = program.calls()?.into_iter().filter(|call| call.value == value);
            Ok(calls.map(|call| call.verb).collect())
        };
        eventually("what is in force is added", || Ok(verbs("192.0.2.1")? == ["add"]))?;
        lapi.ban("192.0.2.2");
        eventually("both are added", || Ok(program.calls()?.len() == 2))?;
        lapi.ban(Ban::of("192.0.2.1").lasting(Duration::from_secs(7200)));
        lapi.lift("192.0.2.2");
        eventually("the end is no repeat", || Ok(verbs("192.0.2.2")? == ["add", "del"]))?;
        lapi.ban("192.0.2.2");
        eventually("nor is another ban", || Ok(verbs("192.0.2.2")? == ["add", "del", "add"]))?;
        assert_eq!(verbs("192.0.2.1")?, ["add"], "the longer ban is held back");
        lapi.lift("192.0.2.1");
        eventually("the end is not held back with it", || Ok(verbs("192.0.2.1")? == ["add", "del"]))?;
        assert!(webhook.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_program_that_is_installed_later_is_told_everything_and_others_do_not_wait_for_it() -> Outcome {
    story(|world| {
        let (lapi, access) = scripted(world)?;
        let (late, other) = (RecordingProgram::fed(world)?, RecordingProgram::called(world)?);
        let away = world.fresh_path("away");
        std::fs::rename(late.path(), &away)?;
        let endpoints = [
            json!({ "name": "late", "program": { "path": late.path() } }),
            json!({ "name": "other", "program": { "path": other.path(), "mode": "arguments" } }),
        ];
        let webhook = Webhook::start(world, &webhook_file(&access, &endpoints), &world.fresh_path("state"))?;
        lapi.ban("192.0.2.1");
        eventually("the other is called", || Ok(other.calls()?.len() == 1))?;
        eventually("the status says what to do", || {
            let (_, text) = webhook.command(world, &["status"])?;
            Ok(text.contains("install it"))
        })?;
        let (status, text) = webhook.command(world, &["-t"])?;
        assert_eq!(status.code(), Some(1), "{text}");
        assert!(text.contains("endpoint `late`") && text.contains("cannot be found"), "{text}");
        lapi.lift("192.0.2.1");
        lapi.ban("192.0.2.2");
        eventually("the changes are passed to the other", || Ok(other.calls()?.len() == 3))?;
        std::fs::rename(&away, late.path())?;
        let (status, text) = webhook.command(world, &["resume", "late"])?;
        assert!(status.success(), "{text}");
        eventually("what holds now is passed without a wait", || {
            Ok(late.newest()?.holds().into_keys().eq(["192.0.2.2".to_owned()]))
        })?;
        assert!(webhook.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_missing_program_is_reported_by_the_test_of_the_configuration() -> Outcome {
    story(|world| {
        let (_lapi, access) = scripted(world)?;
        let program = RecordingProgram::called(world)?;
        let webhook =
            Webhook::start(world, &program.stock_file(&access, &json!({})), &world.fresh_path("state"))?;
        let (status, text) = webhook.command(world, &["-t"])?;
        assert!(status.success() && text.contains("config is valid"), "{text}");
        std::fs::set_permissions(program.path(), PermissionsExt::from_mode(0o600))?;
        let (status, text) = webhook.command(world, &["-t"])?;
        assert_eq!(status.code(), Some(1), "{text}");
        assert!(text.contains("is not executable"), "{text}");
        std::fs::remove_file(program.path())?;
        let (status, text) = webhook.command(world, &["-t"])?;
        assert_eq!(status.code(), Some(1), "{text}");
        let expected =
            format!("unable to load configuration: binary '{}' doesn't exist", program.path().display());
        assert!(text.contains(&expected), "{text}");
        assert!(webhook.stop()?.success(), "the running one goes on");
        Ok(())
    })
}
