//! The expression language: a text is a program or an error with a place in it; a program ends within its limits.
#![no_main]

use std::any::Any;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use palisade_expr::{Budget, Fault, Field, Host, Limits, ObjectType, Program, Type, Value, Vocabulary};

struct Alert {
    scenario: String,
    remediation: bool,
    capacity: i64,
}

fn alert(data: &dyn Any) -> &Alert {
    data.downcast_ref().expect("this table is used with alerts only")
}

static ALERT: ObjectType = ObjectType {
    name: "Alert",
    fields: &[
        Field { name: "Scenario", kind: Type::Text, get: |data| Value::text(&alert(data).scenario) },
        Field { name: "Remediation", kind: Type::Bool, get: |data| Value::Bool(alert(data).remediation) },
        Field { name: "Capacity", kind: Type::Int, get: |data| Value::Int(alert(data).capacity) },
    ],
    methods: &[],
};

impl Host for Alert {
    fn variable<'v>(&'v self, _: usize) -> Value<'v> {
        Value::object(&ALERT, self)
    }

    fn call<'v>(&'v self, _: usize, _: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
        Err(Fault::from("no functions here"))
    }
}

static NAMES: LazyLock<Vocabulary> = LazyLock::new(|| {
    let mut names = Vocabulary::new().with_library();
    names.variable("Alert", 0, Type::Object(&ALERT));
    names
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let host = Alert { scenario: "crowdsecurity/ssh-bf".to_owned(), remediation: true, capacity: 5 };
    match Program::compile(text, &NAMES) {
        Ok(program) => {
            let first = program.evaluate(&host, Limits::default()).map(|value| format!("{value:?}"));
            let again = program.evaluate(&host, Limits::default()).map(|value| format!("{value:?}"));
            assert_eq!(format!("{first:?}"), format!("{again:?}"));
        }
        Err(error) => assert!(error.to_string().len() < 4 * text.len() + 400, "{error}"),
    }
});
