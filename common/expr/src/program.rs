//! A compiled expression.

use std::collections::BTreeSet;

use crate::{
    Budget, CompileError, EvalError, Host, Limits, Type, Value, Vocabulary,
    code::Node,
    compile::Compiler,
    eval::{Machine, Step, Stop},
    parser,
};

/// A compiled expression. May be evaluated any number of times and by several threads at once.
#[derive(Debug)]
pub struct Program {
    source: String,
    root: Node,
    kind: Type,
    host_functions: BTreeSet<usize>,
    members: BTreeSet<&'static str>,
    unavailable: Option<CompileError>,
}

impl Program {
    /// Compiles an expression. A call of a refused function compiles and fails when it is evaluated; see
    /// [`Self::unavailable`].
    pub fn compile(source: &str, vocabulary: &Vocabulary) -> Result<Self, CompileError> {
        let tree = parser::parse(source)?;
        let mut compiler = Compiler::new(source, vocabulary);
        let (root, kind) = compiler.compile(&tree)?;
        Ok(Self {
            source: source.to_owned(),
            root,
            kind,
            host_functions: compiler.host_calls.into_iter().collect(),
            members: compiler.members.into_iter().collect(),
            unavailable: compiler.unavailable,
        })
    }

    /// Compiles a condition: an expression whose type is known not to be bool is refused.
    pub fn compile_condition(source: &str, vocabulary: &Vocabulary) -> Result<Self, CompileError> {
        let program = Self::compile(source, vocabulary)?;
        match program.kind {
            Type::Bool | Type::Any => Ok(program),
            kind => {
                let reason = format!("expected a condition that is true or false, and this gives {kind}");
                Err(CompileError::new(reason, program.root.span, source))
            }
        }
    }

    /// The source of the expression.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The type of its value, as far as known.
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// The first call of a function that the vocabulary refuses, with the reason: an evaluation that gets there fails.
    pub fn unavailable(&self) -> Option<&CompileError> {
        self.unavailable.as_ref()
    }

    /// Whether it calls the host function with this number.
    pub fn calls(&self, function: usize) -> bool {
        self.host_functions.contains(&function)
    }

    /// Whether it reads a field or calls a method of this name on a host object of known type.
    pub fn reads(&self, member: &str) -> bool {
        self.members.contains(member)
    }

    /// Evaluates the program. The value borrows from the host and the program.
    pub fn evaluate<'v>(&'v self, host: &'v dyn Host, limits: Limits) -> Result<Value<'v>, EvalError> {
        let mut machine = machine(host, limits);
        let result = machine.value(&self.root);
        self.finish(result)
    }

    /// Evaluates a condition; any result but a bool is an error.
    pub fn test(&self, host: &dyn Host, limits: Limits) -> Result<bool, EvalError> {
        let mut machine = machine(host, limits);
        let result = machine.truth(&self.root);
        self.finish(result)
    }

    fn finish<T>(&self, result: Step<T>) -> Result<T, EvalError> {
        result.map_err(|stop| {
            let (reason, span) = match stop {
                Stop::Failed(failed) => (failed.0.0, failed.1),
                // The parser wraps each `?.` in a chain, which handles this.
                Stop::Nil => ("a chain was left open".to_owned(), self.root.span),
            };
            let (line, column) = span.position(&self.source);
            EvalError { reason, line, column }
        })
    }
}

fn machine<'v>(host: &'v dyn Host, limits: Limits) -> Machine<'v> {
    Machine { host, locals: Vec::new(), turns: Vec::new(), budget: Budget::new(limits) }
}
