//! Builds the fuzz targets with coverage instrumentation and runs each for a bounded time.
//!
//! ```text
//! cargo run --manifest-path tests/fuzz/Cargo.toml -- [--seconds N] [--list] [TARGET]...
//! ```
//!
//! It needs neither nightly nor further tools: the compiler's own coverage pass feeds libFuzzer. Inputs that reach new
//! code are kept in `tests/fuzz/corpus`, inputs that break something in `tests/fuzz/artifacts`, with the command that
//! replays them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// What `cargo fuzz` passes, without the sanitizers that need nightly: there is no unsafe code of ours to watch.
const INSTRUMENTATION: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// No input is longer: the parsers have no rule that begins beyond.
const LONGEST: &str = "4096";

struct Wishes {
    seconds: u64,
    list: bool,
    only: Vec<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the given targets and returns how many failed.
fn run() -> Result<usize, String> {
    let wishes = wishes(std::env::args().skip(1))?;
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = targets(home)?;
    if wishes.list {
        all.iter().for_each(|name| println!("{name}"));
        return Ok(0);
    }
    let chosen: Vec<&String> = all
        .iter()
        .filter(|name| wishes.only.is_empty() || wishes.only.iter().any(|part| name.contains(part)))
        .collect();
    if chosen.is_empty() {
        return Err(format!("no target is called {}; there are {}", wishes.only.join(" "), all.join(", ")));
    }
    let triple = build(home)?;
    let mut broken = Vec::new();
    for name in chosen {
        println!("== {name}: {} s", wishes.seconds);
        if !fuzz(home, &triple, name, wishes.seconds)? {
            println!("== {name}: BROKEN; the input is in {}", home.join("artifacts").join(name).display());
            broken.push(name.as_str());
        }
    }
    match broken.len() {
        0 => println!("== nothing broke"),
        _ => println!("== broken: {}", broken.join(", ")),
    }
    Ok(broken.len())
}

fn wishes(mut args: impl Iterator<Item = String>) -> Result<Wishes, String> {
    let mut wishes = Wishes { seconds: 60, list: false, only: Vec::new() };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                let text = args.next().ok_or("--seconds needs a number")?;
                wishes.seconds = text.parse().map_err(|_| format!("{text} is no number of seconds"))?;
            }
            "--list" => wishes.list = true,
            flag if flag.starts_with('-') => {
                return Err(format!("unknown flag {flag}; usage: [--seconds N] [--list] [TARGET]..."));
            }
            name => wishes.only.push(name.to_owned()),
        }
    }
    Ok(wishes)
}

/// Each file in `targets/src/bin` is one.
fn targets(home: &Path) -> Result<Vec<String>, String> {
    let folder = home.join("targets/src/bin");
    let files =
        std::fs::read_dir(&folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    let mut names: Vec<String> =
        files.filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Builds all targets and returns the machine they are for. Naming the machine keeps the instrumentation out of build scripts.
fn build(home: &Path) -> Result<String, String> {
    let rustc =
        Command::new("rustc").arg("-vV").output().map_err(|error| format!("cannot run rustc: {error}"))?;
    let text = String::from_utf8_lossy(&rustc.stdout);
    let triple =
        text.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not name its host")?;
    let done = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(home)
        .args(["build", "--locked", "--release", "--package", "palisade-fuzz-targets", "--target", triple])
        .arg("--target-dir")
        .arg(home.join("target"))
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\u{1f}"))
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if done.success() { Ok(triple.to_owned()) } else { Err("the targets do not build".into()) }
}

/// Runs one target; `false` when it broke.
fn fuzz(home: &Path, triple: &str, name: &str, seconds: u64) -> Result<bool, String> {
    let folder = |kind: &str| -> Result<PathBuf, String> {
        let path = home.join(kind).join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(path)
    };
    let (corpus, artifacts, seeds) = (folder("corpus")?, folder("artifacts")?, home.join("seeds").join(name));
    let mut command = Command::new(home.join("target").join(triple).join("release").join(name));
    command
        .current_dir(home)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([&format!("-max_len={LONGEST}"), "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"])
        .arg("-print_final_stats=1");
    let dictionary = seeds.with_extension("dict");
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    command.arg(corpus);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    let begin = std::time::Instant::now();
    let done = command.status().map_err(|error| format!("cannot run {name}: {error}"))?;
    let took = begin.elapsed();
    // A target that ends early without complaint was not fuzzed.
    if done.success() && took + Duration::from_secs(2) < Duration::from_secs(seconds) {
        return Err(format!("{name} ended after {took:?} already"));
    }
    if !done.success() {
        println!("replay: {} {}/<file>", command.get_program().to_string_lossy(), artifacts.display());
    }
    Ok(done.success())
}
