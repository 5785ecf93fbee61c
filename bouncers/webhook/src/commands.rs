//! Implements the commands of the program's own: `render`, `resume`, `snapshot`, `deadletter`.

use std::io::Write as _;

use palisade_bouncer::control::Subject;
use palisade_bouncer::run::CommandContext;
use palisade_daemon::flags::{Command, Flag};
use serde_json::Value;

use crate::Webhook;
use crate::endpoints::show;
use crate::render::render;

const JSON: &[Flag] = &[Flag::switch("json", "print JSON instead of text")];

/// The command `render`.
pub(crate) const RENDER: Command = Command {
    name: "render",
    words: &["endpoint", "[address]"],
    flags: &[],
    help: "what an endpoint is sent: for sample decisions, or for those on an address or prefix",
};

/// The command `resume`.
pub(crate) const RESUME: Command = Command {
    name: "resume",
    words: &["endpoint"],
    flags: JSON,
    help: "sends to a paused or failing endpoint at once",
};

/// The command `snapshot`.
pub(crate) const SNAPSHOT: Command = Command {
    name: "snapshot",
    words: &["endpoint"],
    flags: JSON,
    help: "sends an endpoint everything in force",
};

/// The command `deadletter`.
pub(crate) const DEADLETTER: Command = Command {
    name: "deadletter",
    words: &["list|replay|drop", "endpoint", "[number...]"],
    flags: JSON,
    help: "events that an endpoint has rejected: lists them, sends them again (all, or those named), or removes those \
           named (or `all`)",
};

/// Runs a command.
///
/// # Errors
/// Why it could not be carried out.
pub(crate) fn run(context: &CommandContext<'_, Webhook>) -> anyhow::Result<()> {
    let text = match context.typed.command().unwrap_or_default() {
        "render" => rendered(context)?,
        action => {
            let result = context.query().act(action, context.typed.words())?;
            if context.json() { format!("{result}\n") } else { shown(&result) }
        }
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// The requests of an endpoint, or what its program is given.
fn rendered(context: &CommandContext<'_, Webhook>) -> anyhow::Result<String> {
    let words = context.typed.words();
    let endpoint = words.first().map_or("", |word| word);
    let decisions = match words.get(1) {
        Some(address) => Some(context.query().decisions_on(&address.parse::<Subject>()?)?.decisions),
        None => None,
    };
    render(&context.loaded.config, endpoint, decisions.as_deref())
}

/// The result of an action as text.
fn shown(result: &Value) -> String {
    let count = |key: &str| result[key].as_u64();
    let letters = |count| if count == 1 { "dead letter is" } else { "dead letters are" };
    match result {
        Value::Object(fields) if fields.contains_key("dead_letters") => show::dead_letters(result),
        _ if result["resumed"] == true => "the endpoint is tried at once\n".to_owned(),
        _ if result["snapshot"] == true => "everything in force is sent\n".to_owned(),
        _ => match (count("replayed"), count("dropped")) {
            (Some(sent), _) => format!("{sent} {} sent again\n", letters(sent)),
            (_, Some(dropped)) => format!("{dropped} {} removed\n", letters(dropped)),
            _ => format!("{result}\n"),
        },
    }
}
