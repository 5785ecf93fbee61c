//! What is printed: for 80 columns, and without colours unless it is a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use palisade_e2e::Failure;

/// The width of the host's name and `$` before a command.
const PROMPT: usize = 10;

/// One line. A reader that has gone away (`make run | head`) is no failure.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// The beginning of a step.
pub(crate) fn step(number: usize, text: &str) {
    line(&format!("\n  {}\n", paint("1", &format!("{number}. {text}"))));
}

/// The title of it all.
pub(crate) fn title(text: &str) {
    line(&format!("\n  {}\n", paint("1", text)));
}

/// A command, with the host that it is run on.
pub(crate) fn command(host: &str, words: &str) {
    let prompt = format!("{:>PROMPT$} ", format!("{host}$"));
    line(&format!("{}{words}", paint("36", &prompt)));
}

/// What a command has printed.
pub(crate) fn output(text: &str) {
    for row in text.lines() {
        line(format!("{:PROMPT$} {row}", "").trim_end());
    }
}

/// A door that closed or opened, and when.
pub(crate) fn observed(after: Duration, text: &str) {
    line(&format!("{:PROMPT$} {}  {text}", "", paint("32", &format!("{:>9}", ms(after)))));
}

/// A failure, on the error output.
pub(crate) fn failure(failure: &Failure) {
    let _ = writeln!(std::io::stderr().lock(), "\n  {} {failure}\n", paint("31", "It did not work:"));
}

/// A time for a table.
pub(crate) fn ms(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1e3)
}

fn paint(colour: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
