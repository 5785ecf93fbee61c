//! The executable form of a program: names are resolved, literals prepared.

use std::{collections::HashSet, sync::Arc};

use memchr::memmem::Finder;
use regex::Regex;

use crate::{
    Span,
    ast::{Binary, Loop},
    function::Pure,
    value::{Field, Method},
};

/// An instruction with its operands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) code: Code,
}

#[derive(Debug)]
pub(crate) enum Code {
    Constant(Constant),
    Variable(usize),
    /// A `let` variable, by its depth from the outermost.
    Local(usize),
    Element,
    ElementIndex,
    Accumulator,
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Plus(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    Ordered(Box<Node>, Vec<(Binary, Node)>),
    /// Comparison with a literal text; the flag is set for `!=`.
    IsText(Box<Node>, Box<str>, bool),
    /// `in` with a list of literals on the right.
    InConstants(Box<Node>, Box<Constants>),
    ContainsConstant(Box<Node>, Box<Finder<'static>>),
    MatchesConstant(Box<Node>, Box<Regex>),
    Coalesce(Box<Node>, Box<Node>),
    Conditional(Box<Node>, Box<Node>, Box<Node>),
    Let(Box<Node>, Box<Node>),
    Field {
        of: Box<Node>,
        field: &'static Field,
        optional: bool,
    },
    Member {
        of: Box<Node>,
        name: Arc<str>,
        optional: bool,
    },
    Index {
        of: Box<Node>,
        index: Box<Node>,
        optional: bool,
    },
    Slice {
        of: Box<Node>,
        from: Option<Box<Node>>,
        to: Option<Box<Node>>,
    },
    Method {
        of: Box<Node>,
        method: &'static Method,
        args: Vec<Node>,
        optional: bool,
    },
    NamedMethod {
        of: Box<Node>,
        name: Box<str>,
        args: Vec<Node>,
        optional: bool,
    },
    Chain(Box<Node>),
    Pure(PureCall, Vec<Node>),
    Host(usize, Vec<Node>),
    /// The host's clock, in a given zone, in UTC, or in the host's own zone.
    Now {
        zone: Option<Box<Node>>,
        utc: bool,
    },
    Loop(Box<LoopCode>),
    /// A call of a refused function: fails with this reason.
    Unavailable(Box<str>),
}

#[derive(Debug)]
pub(crate) struct LoopCode {
    pub(crate) function: Loop,
    pub(crate) list: Node,
    pub(crate) body: Option<Node>,
    pub(crate) extra: Option<Node>,
    /// The cost of one iteration: the number of nodes in the closure.
    pub(crate) weight: usize,
}

/// A newtype, because functions generic over a lifetime have no `Debug`.
#[derive(Clone, Copy)]
pub(crate) struct PureCall(pub(crate) Pure);

impl std::fmt::Debug for PureCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("pure")
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Constant {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
}

/// The members of a list of literals.
#[derive(Debug, Default)]
pub(crate) struct Constants {
    pub(crate) texts: HashSet<Box<str>>,
    pub(crate) numbers: Vec<f64>,
    /// Integers, separately because not every one is exact as a float.
    pub(crate) ints: Vec<i64>,
    pub(crate) truths: Vec<bool>,
    pub(crate) nil: bool,
}

impl Constants {
    /// The list's members if all are literals.
    pub(crate) fn of(items: &[Node]) -> Option<Self> {
        let mut constants = Self::default();
        for item in items {
            match &item.code {
                Code::Constant(Constant::Text(text)) => _ = constants.texts.insert(text.clone()),
                Code::Constant(Constant::Int(number)) => constants.ints.push(*number),
                Code::Constant(Constant::Float(number)) => constants.numbers.push(*number),
                Code::Constant(Constant::Bool(truth)) => constants.truths.push(*truth),
                Code::Constant(Constant::Nil) => constants.nil = true,
                _ => return None,
            }
        }
        Some(constants)
    }
}
