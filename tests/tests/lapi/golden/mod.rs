//! What every endpoint answers, recorded from CrowdSec's own LAPI of Debian's package and compared with ours field by
//! field.
//!
//! Each file in `tests/golden` is a chapter: requests in a fixed order against a fresh LAPI, each with its answer. A
//! step without a `source` was recorded; where that server has no such route, the answer is written by hand and
//! `source` names the release whose documented behaviour it was written from. What ours answers otherwise stands in
//! `differs`, each with its reason; what it answers otherwise everywhere is in `known.rs`. To record again:
//!
//! ```text
//! cargo test -p palisade-e2e --test lapi -- --ignored record
//! ```

mod chapter;
mod compare;
mod known;
mod normal;
mod play;

use std::path::{Path, PathBuf};

use chapter::Chapter;
use palisade_e2e::{Failure, Make, Outcome, story_within};

fn files() -> Outcome<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    Ok(files)
}

/// Plays every chapter to our LAPI and collects every field that is otherwise than written.
#[test]
fn every_endpoint_answers_as_recorded() -> Outcome {
    story_within(std::time::Duration::from_secs(600), |world| {
        let mut otherwise = Vec::new();
        for file in files()? {
            let chapter = Chapter::read(&file)?;
            let answers = play::play(world, Make::Ours, &chapter)?;
            for (step, answer) in chapter.steps.iter().zip(answers) {
                for line in compare::compare(step, &answer) {
                    otherwise.push(format!("{} / {}: {line}", chapter.name, step.name));
                }
            }
        }
        if otherwise.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("{} fields otherwise; the last: {}", otherwise.len(), {
            show(&otherwise);
            otherwise.last().map_or("", String::as_str)
        })))
    })
}

#[expect(clippy::print_stderr, reason = "libtest keeps it and shows it when the story fails")]
fn show(lines: &[String]) {
    for line in lines {
        eprintln!("{line}");
    }
}

/// Plays every chapter to CrowdSec's LAPI and writes its answers down.
#[test]
#[ignore = "writes tests/golden; run by hand when a request is added"]
fn record() -> Outcome {
    story_within(std::time::Duration::from_secs(600), |world| {
        for file in files()? {
            let mut chapter = Chapter::read(&file)?;
            if chapter.steps.iter().all(|step| step.source.is_some()) {
                continue;
            }
            let answers = play::play(world, Make::Stock, &chapter)?;
            for (step, answer) in chapter.steps.iter_mut().zip(answers) {
                if step.source.is_none() {
                    step.answer = Some(answer);
                }
            }
            chapter.write(&file)?;
        }
        Ok(())
    })
}

/// The recorded responses are still those of CrowdSec's LAPI.
#[test]
fn the_recording_is_what_the_stock_lapi_answers() -> Outcome {
    story_within(std::time::Duration::from_secs(600), |world| {
        for file in files()? {
            let chapter = Chapter::read(&file)?;
            if chapter.steps.iter().all(|step| step.source.is_some()) {
                continue;
            }
            let answers = play::play(world, Make::Stock, &chapter)?;
            for (step, answer) in chapter.steps.iter().zip(answers) {
                if step.source.is_none() && step.answer.as_ref() != Some(&answer) {
                    let text = format!("{} / {}: now it answers {answer:?}", chapter.name, step.name);
                    return Err(Failure::new(text));
                }
            }
        }
        Ok(())
    })
}
