//! The syntax tree of an expression.

use crate::Span;

/// A node of the syntax tree.
#[derive(Debug)]
pub(crate) struct Ast {
    pub(crate) span: Span,
    /// The height of this subtree, this node included. Bounded, so that recursion over the tree is too.
    pub(crate) height: u16,
    pub(crate) kind: AstKind,
}

#[derive(Debug)]
pub(crate) enum AstKind {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Name(String),
    /// `#`, `#index`, `#acc`.
    Pointer(String),
    List(Vec<Ast>),
    Map(Vec<(Ast, Ast)>),
    Not(Box<Ast>),
    Negate(Box<Ast>),
    Plus(Box<Ast>),
    /// A flat list, because real filters join hundreds of terms.
    And(Vec<Ast>),
    Or(Vec<Ast>),
    Binary(Binary, Box<Ast>, Box<Ast>),
    /// `a < b <= c`.
    Ordered(Box<Ast>, Vec<(Binary, Ast)>),
    Coalesce(Box<Ast>, Box<Ast>),
    Conditional(Box<Ast>, Box<Ast>, Box<Ast>),
    Let(String, Box<Ast>, Box<Ast>),
    Member {
        of: Box<Ast>,
        name: String,
        optional: bool,
    },
    Index {
        of: Box<Ast>,
        index: Box<Ast>,
        optional: bool,
    },
    Slice {
        of: Box<Ast>,
        from: Option<Box<Ast>>,
        to: Option<Box<Ast>>,
    },
    Method {
        of: Box<Ast>,
        name: String,
        args: Vec<Ast>,
        optional: bool,
    },
    /// The scope of `?.`: if one in it meets nil, the whole chain is nil.
    Chain(Box<Ast>),
    Call {
        name: String,
        args: Vec<Ast>,
    },
    /// A function with a closure.
    Loop {
        function: Loop,
        list: Box<Ast>,
        body: Option<Box<Ast>>,
        extra: Option<Box<Ast>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Matches,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

impl Binary {
    /// The operator's spelling, for messages.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Matches => "matches",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Range => "..",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Power => "**",
        }
    }
}

/// The functions with a closure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loop {
    All,
    None,
    Any,
    One,
    Filter,
    Map,
    Count,
    Sum,
    Find,
    FindIndex,
    FindLast,
    FindLastIndex,
    GroupBy,
    SortBy,
    Reduce,
}

impl Loop {
    pub(crate) const ALL: [(&'static str, Self); 15] = [
        ("all", Self::All),
        ("none", Self::None),
        ("any", Self::Any),
        ("one", Self::One),
        ("filter", Self::Filter),
        ("map", Self::Map),
        ("count", Self::Count),
        ("sum", Self::Sum),
        ("find", Self::Find),
        ("findIndex", Self::FindIndex),
        ("findLast", Self::FindLast),
        ("findLastIndex", Self::FindLastIndex),
        ("groupBy", Self::GroupBy),
        ("sortBy", Self::SortBy),
        ("reduce", Self::Reduce),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }

    /// Whether the closure may be omitted.
    pub(crate) fn body_is_optional(self) -> bool {
        matches!(self, Self::Count | Self::Sum)
    }

    /// Whether another argument may follow the closure: a sort order, or an initial value.
    pub(crate) fn takes_extra(self) -> bool {
        matches!(self, Self::SortBy | Self::Reduce)
    }
}
