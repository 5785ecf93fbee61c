//! Evaluates a filter's expression over one decision.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use palisade_cache::{Decision, Target};
use palisade_expr::{
    Budget, EvalError, Fault, Field, Host, Limits, Method, ObjectType, Program, Type, Value, Vocabulary,
};
use palisade_net::parse_prefix;

use super::FilterError;
use crate::templates::rfc3339;

/// The longest expression.
pub const MAX_EXPRESSION_BYTES: usize = 16 * 1024;
/// The fields of `Decision`, for messages.
pub const EXPRESSION_FIELDS: &str =
    "ID, Value, Scope, Type, Origin, Scenario, Until and the method Within(prefix)";
/// Far more than a condition needs that reads one decision; a sweep evaluates it for every decision.
const LIMITS: Limits = Limits { steps: 20_000, text: 64 * 1024 };

/// A decision with owned texts, as far as the expression reads them: objects of expressions must not borrow.
#[derive(Default)]
struct Subject {
    id: i64,
    target: Option<ipnet::IpNet>,
    value: String,
    scope: String,
    remediation: String,
    origin: String,
    scenario: String,
    until: String,
}

fn subject(data: &dyn Any) -> &Subject {
    data.downcast_ref().expect("this table is used with subjects only")
}

macro_rules! text {
    ($name:literal, $field:ident) => {
        Field { name: $name, kind: Type::Text, get: |data| Value::text(&subject(data).$field) }
    };
}

/// `Decision`, with the names of CrowdSec's own type.
static DECISION: ObjectType = ObjectType {
    name: "Decision",
    fields: &[
        Field { name: "ID", kind: Type::Int, get: |data| Value::Int(subject(data).id) },
        text!("Value", value),
        text!("Scope", scope),
        text!("Type", remediation),
        text!("Origin", origin),
        text!("Scenario", scenario),
        text!("Until", until),
    ],
    methods: &[Method { name: "Within", params: &[Type::Text], returns: Type::Bool, call: within }],
};

/// Whether the address or range lies in a prefix, wholly. False for other scopes.
fn within<'v>(data: &'v dyn Any, arguments: &[Value<'v>]) -> Result<Value<'v>, Fault> {
    let text = arguments.first().and_then(Value::as_text).ok_or("Within takes a prefix")?;
    let prefix =
        parse_prefix(text).map_err(|_| Fault(format!("Within: {text:?} is no address and no prefix")))?;
    Ok(Value::Bool(subject(data).target.is_some_and(|target| prefix.contains(&target))))
}

const CLOCK: &str = "the result would change with time, and decisions would be lifted before their end; \
                     compare with `Decision.Until`";

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    let mut names = Vocabulary::new().with_library();
    names.variable("Decision", 0, Type::Object(&DECISION));
    for name in ["now", "TimeNow"] {
        names.refuse(name, CLOCK);
    }
    names
});

impl Host for Subject {
    fn variable<'v>(&'v self, _: usize) -> Value<'v> {
        Value::object(&DECISION, self)
    }

    fn call<'v>(&'v self, number: usize, _: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
        // Unreachable for compiled expressions; a host must not panic all the same.
        Err(Fault(format!("there is no function {number}")))
    }
}

/// A compiled expression, with a count of evaluations that failed.
#[derive(Debug)]
pub(super) struct Condition {
    program: Program,
    errors: AtomicU64,
    /// Places in the expression whose failure has been logged.
    logged: Mutex<BTreeSet<(usize, usize)>>,
}

impl Condition {
    pub(super) fn compile(source: &str) -> Result<Self, FilterError> {
        if source.len() > MAX_EXPRESSION_BYTES {
            return Err(FilterError::TooLong { length: source.len() });
        }
        let wrong = |error: palisade_expr::CompileError| FilterError::Expression {
            reason: error.reason,
            line: error.line,
            column: error.column,
        };
        let program = Program::compile_condition(source, &VOCABULARY).map_err(wrong)?;
        match program.unavailable() {
            Some(error) => Err(wrong(error.clone())),
            None => Ok(Self { program, errors: AtomicU64::new(0), logged: Mutex::default() }),
        }
    }

    pub(super) fn holds(&self, decision: &Decision<'_>) -> bool {
        self.program.test(&self.subject(decision), LIMITS).unwrap_or_else(|error| {
            self.record(&error);
            false
        })
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Copies what the expression reads.
    fn subject(&self, decision: &Decision<'_>) -> Subject {
        let text = |member, text: &str| {
            if self.program.reads(member) { text.to_owned() } else { String::new() }
        };
        Subject {
            id: decision.id,
            target: match decision.target {
                Target::Net(net) => Some(net),
                Target::Name(_) => None,
            },
            value: if self.program.reads("Value") { decision.target.to_string() } else { String::new() },
            scope: text("Scope", decision.scope),
            remediation: text("Type", decision.remediation),
            origin: text("Origin", decision.origin),
            scenario: text("Scenario", decision.scenario),
            until: if self.program.reads("Until") { rfc3339(decision.until) } else { String::new() },
        }
    }

    fn record(&self, error: &EvalError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        // One line for each place: the reason may hold a decision's text, which would make any number of them.
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.insert((error.line, error.column)) {
            tracing::warn!(
                reason = error.reason.escape_debug().take(200).collect::<String>(),
                line = error.line,
                column = error.column,
                "filter expression failed, such decisions are not taken"
            );
        }
    }
}
