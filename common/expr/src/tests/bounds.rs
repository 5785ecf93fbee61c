//! Hostile expressions fail quickly with an error.

use std::time::{Duration, Instant};

use super::{host::Event, run, vocabulary};
use crate::{Limits, Program};

#[test]
fn deep_sources_are_refused_and_do_not_overflow_the_stack() {
    let sources = [
        "(".repeat(100_000),
        "[".repeat(100_000),
        "!".repeat(100_000) + "true",
        "-".repeat(100_000) + "1",
        "not ".repeat(50_000) + "true",
        "{a:".repeat(50_000),
        "1+".repeat(100_000) + "1",
        "1**".repeat(80_000) + "1",
        "true ? ".repeat(30_000),
        "true ? 1 : ".repeat(20_000) + "1",
        "let x = ".repeat(30_000),
        "evt".to_owned() + &".a".repeat(100_000),
        "dyn".to_owned() + &".a".repeat(100_000),
        "dyn".to_owned() + &"[0]".repeat(80_000),
        "dyn".to_owned() + &"?.a".repeat(80_000),
        "any(".repeat(50_000),
        "any([1], {".repeat(20_000),
        "Upper(".repeat(40_000),
        "1 | len() ".repeat(20_000),
        "[1]".to_owned() + &" | len()".repeat(20_000),
        "nil ?? ".repeat(30_000) + "1",
        "(1 < 2) == ".repeat(20_000) + "true",
        "((1<2)<(1<2)".repeat(10_000),
        "a".repeat(300_000),
    ];
    for source in sources {
        let start = Instant::now();
        let shown: String = source.chars().take(20).collect();
        assert!(Program::compile(&source, &vocabulary()).is_err(), "{shown}");
        assert!(start.elapsed() < Duration::from_secs(5), "{shown} took {:?}", start.elapsed());
    }
}

#[test]
fn the_deepest_accepted_expression_runs_on_a_small_stack() {
    let accepted = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(|| {
            let vocabulary = vocabulary();
            let mut accepted = 0;
            for count in [1, 5, 10, 20, 30, 40, 50, 58, 59, 60, 80, 100, 118, 150, 190, 198, 199, 200] {
                for source in [
                    "(".repeat(count) + "1" + &")".repeat(count),
                    "[".repeat(count) + "1" + &"]".repeat(count),
                    "!".repeat(count) + "true",
                    "1+".repeat(count) + "1",
                    "1**".repeat(count) + "1",
                    "true ? 1 : ".repeat(count) + "1",
                    "any([1], {".repeat(count) + "true" + &"})".repeat(count),
                    "Upper(".repeat(count) + "'a'" + &")".repeat(count),
                    "{a:".repeat(count) + "1" + &"}".repeat(count),
                    "dyn".to_owned() + &"?.Name".repeat(count),
                ] {
                    if let Ok(program) = Program::compile(&source, &vocabulary) {
                        accepted += 1;
                        let _ = program.evaluate(&Event::example(), Limits::default());
                    }
                }
            }
            accepted
        })
        .unwrap()
        .join()
        .unwrap();
    assert!(accepted > 60, "{accepted}");
}

#[test]
fn long_chains_of_conditions_are_no_depth() {
    let source = vec!["evt.Name contains 'zzz'"; 2000].join(" || ");
    assert_eq!(run(&source), Ok("false".to_owned()));
    let source = vec!["evt.Name contains 's'"; 2000].join(" and ");
    assert_eq!(run(&source), Ok("true".to_owned()));
}

#[test]
fn runaway_expressions_end_with_an_error() {
    for source in [
        "count(1..1000000000000, # > 0)",
        "any(1..100000, {any(1..100000, {any(1..100000, # == 0)})})",
        "map(1..9223372036854775807, #)",
        "len(map(1..1000000, map(1..1000000, #)))",
        "toJSON(1..1000000000)",
        "join(map(1..3000000, 'x'))",
        "repeat('x', 1000000000)",
        "repeat(repeat('x', 100000), 100000)",
        "reduce(1..1000, #acc + #acc, 'xxxxxxxxxx')",
        "reduce(1..1000000, [#acc], [])",
        "reduce(1..1000000, {a: #acc}, {})",
        "len(flatten(reduce(1..100, [#acc, #acc], [1])))",
        "reduce(1..100, [#acc, #acc], [1]) == reduce(1..100, [#acc, #acc], [1])",
        "toJSON(reduce(1..100, [#acc, #acc], [1]))",
        "any(1..100000, {repeat('x', 100000) matches '(x+)+y'})",
        "any(1..100000, {'x' matches ('^' + string(#))})",
        "replace(repeat('a', 1000000), 'a', repeat('b', 1000))",
        "sort(1..100000000)",
        "uniq(1..100000)",
        "reverse(1..10000000000)",
        "concat(1..10000000000, [1])",
        "max(1..10000000000)",
        "Sprintf('%1000000d%1000000d%1000000d', 1, 1, 1)",
        "fromJSON(repeat('[', 100000))",
        "split(repeat('a', 1000000), '')",
        "keys(groupBy(1..10000000, #))",
        "PathEscape(repeat(' ', 500000))",
    ] {
        let start = Instant::now();
        assert!(run(source).is_err(), "{source}");
        assert!(start.elapsed() < Duration::from_secs(20), "{source} took {:?}", start.elapsed());
    }
}

#[test]
fn showing_what_is_shared_many_times_is_bounded() {
    // Each level contains the one below twice.
    for source in [
        "len(string(reduce(1..100, [#acc, #acc], [1]))) > 0",
        "len(Sprintf('%s', reduce(1..60, [#acc, #acc], ['a']))) > 0",
    ] {
        let start = Instant::now();
        let _ = run(source);
        assert!(start.elapsed() < Duration::from_secs(20), "{source} took {:?}", start.elapsed());
    }
}

#[test]
fn ordinary_loops_fit_the_limits() {
    assert_eq!(run("count(1..1000, any(1..20, # == 21))"), Ok("0".to_owned()));
    assert_eq!(run("len(map(1..10000, string(#)))"), Ok("10000".to_owned()));
}
