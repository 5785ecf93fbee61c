//! Implements the command `check`: whether each LAPI can be reached and accepts this bouncer, step by step.

use std::fmt::Write as _;
use std::io::{self, Write};

use palisade_client::{CheckResult, CheckStep, LapiPool};
use serde::Serialize;

use crate::control::printable;
use crate::settings::LapiSettings;

/// The steps of one LAPI.
#[derive(Debug, Serialize)]
struct CheckedLapi {
    url: String,
    ok: bool,
    steps: Vec<CheckStep>,
}

/// The answer.
#[derive(Debug, Serialize)]
struct CheckAnswer {
    /// The configuration file.
    config: String,
    ok: bool,
    lapis: Vec<CheckedLapi>,
}

/// Checks each LAPI and prints the steps; returns whether all went well.
///
/// # Errors
/// When the answer cannot be printed.
pub(super) async fn check(
    config: &str,
    settings: &LapiSettings,
    lapis: &LapiPool,
    json: bool,
) -> anyhow::Result<bool> {
    let wants_push = !settings.cadence.max_wait.is_zero();
    let mut checked = Vec::new();
    for client in lapis.all() {
        let steps = client.check(wants_push).await;
        let ok = steps.iter().all(|step| step.result != CheckResult::Failed);
        checked.push(CheckedLapi { url: client.url(), ok, steps });
    }
    let ok = checked.iter().all(|lapi| lapi.ok);
    let answer = CheckAnswer { config: config.to_owned(), ok, lapis: checked };
    let text = match json {
        true => serde_json::to_string(&answer)? + "\n",
        false => shown(&answer),
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
    Ok(ok)
}

fn shown(answer: &CheckAnswer) -> String {
    let mut text = format!("{}: valid\n", printable(&answer.config));
    for lapi in &answer.lapis {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", printable(&lapi.url));
        for CheckStep { step, result, detail } in &lapi.steps {
            let line = format!("  {step:<8} {:<8} {}", result.as_str(), printable(detail));
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_line() {
        let step = |step, result, detail: &str| CheckStep { step, result, detail: detail.into() };
        let answer = CheckAnswer {
            config: "/etc/b.yaml".to_owned(),
            ok: false,
            lapis: vec![CheckedLapi {
                url: "http://lapi:1/".to_owned(),
                ok: false,
                steps: vec![
                    step("resolve", CheckResult::Ok, "lapi is 192.0.2.1"),
                    step("connect", CheckResult::Failed, "connection \u{1b}refused"),
                    step("tls", CheckResult::Skipped, ""),
                ],
            }],
        };
        assert_eq!(
            shown(&answer),
            "/etc/b.yaml: valid\nhttp://lapi:1/\n  resolve  ok       lapi is 192.0.2.1\n  \
             connect  failed   connection \\u{1b}refused\n  tls      skipped\n"
        );
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["lapis"][0]["steps"][1]["result"], "failed");
        assert_eq!((&json["ok"], &json["config"]), (&false.into(), &"/etc/b.yaml".into()));
    }
}
