//! Arbitrary texts and mutated expressions return a value or an error, and never panic.

use proptest::prelude::*;

use super::{host::Event, vocabulary};
use crate::{Limits, Program};

const SEEDS: [&str; 14] = [
    "evt.Name == 'ssh-bf' && evt.Count > 5",
    "any(evt.Lines, {.Raw startsWith 'a' and .Size in [1, 2]})",
    "let x = evt.Parsed.verb; x == 'GET' ? upper(x) : ''",
    "evt.Json?.a.b[1] ?? 3 + 4 * -2 ** 2",
    "Sprintf('%05.2f %s %v %q', 1.5, 'a', [1, {a: 2}], 'x')",
    "'hello'[1:-1] matches '^[a-z]+\\\\d{2,3}$'",
    "map(filter(1..10, # % 2 == 0), {# * #index}) | sum() > 3",
    "{a: {b: [1, 2]}, 'c': nil}['a'].b[-1]",
    "reduce([1, 2], #acc + #, 0) not in [3, 4.5]",
    "date('2026-01-02').Add(duration('1h')).Format('2006-01-02 15:04:05.000 MST')",
    "JsonExtract('{\"a\":[1,{\"b\":\"c\"}]}', 'a[1].b') + B64Decode('aGk=')",
    "sortBy(evt.Lines, .Raw, 'desc')[0].Has('a') || evt.SetParsed('a', `b`)",
    "groupBy(['a', 'bb'], len(#))[1][0] contains \"\\x41\\u00e9\"",
    "split(replace('a.b', '.', ','), ',', 2)[:1] == ['a'] // end",
];

/// Fragments for mutations.
const PIECES: [&str; 44] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    "?.",
    "..",
    "#",
    "#acc",
    "'",
    "\"",
    "`",
    "\\",
    "\n",
    " ",
    ",",
    ";",
    ":",
    "?",
    "??",
    "|",
    "||",
    "&&",
    "not ",
    "in ",
    "!",
    "-",
    "**",
    "%",
    "/",
    "==",
    "<",
    "let x = ",
    "nil",
    "é",
    "\u{0}",
    "9223372036854775807",
    "-1",
    "1e308",
    "evt",
    "any(",
    "/*",
];

fn compile_and_run(source: &str) {
    if let Ok(program) = Program::compile(source, &vocabulary()) {
        let limits = Limits { steps: 20_000, text: 4096 };
        let _ = program.evaluate(&Event::example(), limits).map(|value| crate::shown::shown(&value).len());
        let _ = program.test(&Event::example(), limits);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(source in "\\PC{0,80}") {
        compile_and_run(&source);
    }

    #[test]
    fn any_pieces_are_answered(picks in proptest::collection::vec(0..PIECES.len() + SEEDS.len(), 0..12)) {
        let source: String = picks
            .iter()
            .map(|&pick| if pick < PIECES.len() { PIECES[pick] } else { SEEDS[pick - PIECES.len()] })
            .collect();
        compile_and_run(&source);
    }

    #[test]
    fn mutated_expressions_are_answered(
        seed in 0..SEEDS.len(),
        other in 0..SEEDS.len(),
        changes in proptest::collection::vec((0..200_usize, 0..200_usize, 0..PIECES.len(), 0..4_u8), 1..5),
    ) {
        let mut text: Vec<char> = SEEDS[seed].chars().collect();
        let donor: Vec<char> = SEEDS[other].chars().collect();
        for (at, length, piece, kind) in changes {
            let at = at % (text.len() + 1);
            let end = (at + length % 8).min(text.len());
            match kind {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, PIECES[piece].chars())),
                2 => drop(text.splice(at..end, PIECES[piece].chars())),
                _ => {
                    let from = length % donor.len();
                    drop(text.splice(at..end, donor[from..(from + 20).min(donor.len())].iter().copied()));
                }
            }
        }
        compile_and_run(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_format_is_answered(format in "(%[-+ 0#]{0,2}[0-9]{0,4}(\\.[0-9]{0,4})?[a-zA-Z%]|\\PC){0,6}", n in any::<f64>(), i in any::<i64>()) {
        let args = [crate::Value::Float(n), crate::Value::Int(i), crate::Value::text("aé")];
        let _ = crate::sprintf(&format, &args, &mut crate::Budget::new(Limits::default()));
    }
}
