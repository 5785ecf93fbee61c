//! What bouncers have in common, shown with the smallest one: `palisade-recorder` appends to a file what it would
//! enforce.

use std::path::Path;

use palisade_e2e::{
    Config, Firewall, Implementation, Lapi, Make, Outcome, World, against_either_lapi, eventually, tools,
};

against_either_lapi!(a_bouncer_is_its_remediation_and_the_shared_program);

fn a_bouncer_is_its_remediation_and_the_shared_program(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let recorder = Implementation::Palisade(tools::ours("palisade-recorder")?);
    let (first, second) = (world.fresh_path("first"), world.fresh_path("second"));
    let config =
        Config::new(world, &lapi.access())?.set("usage_metrics_interval", "1s").set_path("record", &first);
    let path = config.write(world)?;
    let file = path.display().to_string();

    // Flags.
    let (status, output) = recorder.run(world, &["-version"])?;
    assert!(status.success() && output.starts_with("version: v"), "{output}");
    let (status, output) = recorder.run(world, &["-c", &file, "-t"])?;
    assert!(status.success() && output.contains("config is valid"), "{output}");
    assert!(output.contains("nftables_hooks"), "a key of another bouncer is named: {output}");
    let (status, output) = recorder.run(world, &["-c", &file, "-T"])?;
    assert!(status.success() && output.contains("<hidden>"), "{output}");
    recorder.refuses(world, &config.clone().without("record"), &["record"])?;

    // Readiness, decisions, status.
    lapi.admin(&["decisions", "add", "-i", "192.0.2.7"])?;
    let mut running = Firewall::launch_file(world, &recorder, &path, &config)?;
    running.ready()?;
    assert!(recorded(&first).contains("+ 192.0.2.7/32"));
    lapi.admin(&["decisions", "add", "-r", "198.51.100.0/24"])?;
    eventually("the range is recorded", || recorded(&first).contains("+ 198.51.100.0/24"))?;
    let (status, output) = recorder.run(world, &["-c", &file, "lookup", "198.51.100.9"])?;
    assert!(
        status.success() && output.contains("198.51.100.0/24") && output.contains("it is only recorded"),
        "{output}"
    );
    let (status, output) = recorder.run(world, &["-c", &file, "status"])?;
    assert!(status.success() && output.contains("palisade-recorder"), "{output}");

    // Instance lock, metrics, usage metrics, the name in the LAPI's list.
    recorder.refuses(world, &config, &["another bouncer already runs"])?;
    assert!(running.metrics()?.keys().any(|name| name.starts_with("process_")));
    eventually("the LAPI lists it", || {
        Ok(lapi.bouncers()?.iter().any(|row| row["type"] == "palisade-recorder"))
    })?;

    // Reload: with an invalid file the old one stays, with a valid one the new one holds.
    config.clone().set("update_frequency", "soon").write_to(&path)?;
    running.reload()?;
    running.wait_for_log("the old one stays in force")?;
    config.clone().set_path("record", &second).write_to(&path)?;
    running.reload()?;
    running.wait_for_log("configuration reloaded")?;
    lapi.admin(&["decisions", "delete", "-i", "192.0.2.7"])?;
    eventually("the end is recorded in the new file", || recorded(&second).contains("- 192.0.2.7/32"))?;
    assert!(!recorded(&first).contains("- 192.0.2.7/32"));
    assert!(running.stop()?.success());
    Ok(())
}

fn recorded(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
