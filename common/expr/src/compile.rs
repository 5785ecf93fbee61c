//! Compiles the syntax tree: resolves names and members, checks known types, and prepares literals.

use std::sync::Arc;

use memchr::memmem::Finder;

use crate::{
    CompileError, Span,
    ast::{Ast, AstKind, Binary, Loop},
    code::{Code, Constant, Constants, LoopCode, Node, PureCall},
    eval::methods,
    function::{Body, Signature},
    value::Type,
    vocabulary::{Vocabulary, nearest},
};

pub(crate) struct Compiler<'c> {
    pub(crate) source: &'c str,
    pub(crate) vocabulary: &'c Vocabulary,
    /// Names of `let` variables, the innermost last.
    locals: Vec<(String, Type)>,
    /// The types of `#` and `#acc`, the innermost closure last.
    elements: Vec<(Type, Loop)>,
    /// Number of nodes compiled so far; the difference gives the cost of a closure.
    made: usize,
    /// The host functions that are called.
    pub(crate) host_calls: Vec<usize>,
    /// The members of host objects that are read.
    pub(crate) members: Vec<&'static str>,
    /// The first call of a refused function.
    pub(crate) unavailable: Option<CompileError>,
}

type Compiled = Result<(Node, Type), CompileError>;

impl<'c> Compiler<'c> {
    pub(crate) fn new(source: &'c str, vocabulary: &'c Vocabulary) -> Self {
        Self {
            source,
            vocabulary,
            locals: Vec::new(),
            elements: Vec::new(),
            made: 0,
            host_calls: Vec::new(),
            members: Vec::new(),
            unavailable: None,
        }
    }

    fn error(&self, reason: impl Into<String>, span: Span) -> CompileError {
        CompileError::new(reason, span, self.source)
    }

    /// A node that is passed here twice is counted twice; the cost is an approximation.
    fn done(&mut self, span: Span, code: Code, kind: Type) -> Compiled {
        self.made += 1;
        Ok((Node { span, code }, kind))
    }

    fn all(&mut self, parts: &[Ast]) -> Result<(Vec<Node>, Vec<Type>), CompileError> {
        let mut nodes = Vec::with_capacity(parts.len());
        let mut kinds = Vec::with_capacity(parts.len());
        for part in parts {
            let (node, kind) = self.compile(part)?;
            nodes.push(node);
            kinds.push(kind);
        }
        Ok((nodes, kinds))
    }

    pub(crate) fn compile(&mut self, ast: &Ast) -> Compiled {
        let span = ast.span;
        match &ast.kind {
            AstKind::Nil => self.constant(Constant::Nil, Type::Nil, span),
            AstKind::Bool(truth) => self.constant(Constant::Bool(*truth), Type::Bool, span),
            AstKind::Int(number) => self.constant(Constant::Int(*number), Type::Int, span),
            AstKind::Float(number) => self.constant(Constant::Float(*number), Type::Float, span),
            AstKind::Text(text) => self.constant(Constant::Text(text.as_str().into()), Type::Text, span),
            AstKind::Name(name) => self.name(name, span),
            AstKind::Pointer(name) => self.pointer(name, span),
            AstKind::List(items) => self.list(items, span),
            AstKind::Map(entries) => self.map(entries, span),
            AstKind::Not(inner) => self.not(inner, span),
            AstKind::Negate(inner) | AstKind::Plus(inner) => self.signed(ast, inner, span),
            AstKind::And(terms) => self.terms(terms, true, span),
            AstKind::Or(terms) => self.terms(terms, false, span),
            AstKind::Binary(operator, left, right) => self.binary(*operator, left, right, span),
            AstKind::Ordered(first, more) => self.ordered(first, more, span),
            AstKind::Coalesce(left, right) => self.coalesce(left, right, span),
            AstKind::Conditional(condition, then, other) => self.conditional(condition, then, other, span),
            AstKind::Let(name, value, body) => self.declaration(name, value, body, span),
            AstKind::Member { of, name, optional } => self.member_of(of, name, *optional, span),
            AstKind::Index { of, index, optional } => self.index(of, index, *optional, span),
            AstKind::Slice { of, from, to } => self.slice(of, from.as_deref(), to.as_deref(), span),
            AstKind::Method { of, name, args, optional } => self.method(of, name, args, *optional, span),
            AstKind::Chain(inner) => self.chain(inner, span),
            AstKind::Call { name, args } => self.call(name, args, span),
            AstKind::Loop { function, list, body, extra } => {
                self.closure(*function, list, body.as_deref(), extra.as_deref(), span)
            }
        }
    }

    // The arms of `compile` are functions of their own, because it recurses and its frame must stay small.

    fn constant(&mut self, constant: Constant, kind: Type, span: Span) -> Compiled {
        self.done(span, Code::Constant(constant), kind)
    }

    fn list(&mut self, items: &[Ast], span: Span) -> Compiled {
        let (nodes, kinds) = self.all(items)?;
        let element = kinds.iter().copied().reduce(Type::either).unwrap_or(Type::Any);
        self.done(span, Code::List(nodes), element.list())
    }

    fn map(&mut self, entries: &[(Ast, Ast)], span: Span) -> Compiled {
        let mut nodes = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            nodes.push((self.compile(key)?.0, self.compile(value)?.0));
        }
        self.done(span, Code::Map(nodes), Type::Map(&Type::Any))
    }

    fn not(&mut self, inner: &Ast, span: Span) -> Compiled {
        let (node, kind) = self.compile(inner)?;
        self.want(kind, Type::Bool, "!", span)?;
        self.done(span, Code::Not(Box::new(node)), Type::Bool)
    }

    fn terms(&mut self, terms: &[Ast], and: bool, span: Span) -> Compiled {
        let (nodes, kinds) = self.all(terms)?;
        for (node, kind) in nodes.iter().zip(kinds) {
            self.want(kind, Type::Bool, if and { "&&" } else { "||" }, node.span)?;
        }
        self.done(span, if and { Code::And(nodes) } else { Code::Or(nodes) }, Type::Bool)
    }

    fn ordered(&mut self, first: &Ast, more: &[(Binary, Ast)], span: Span) -> Compiled {
        let (first, mut left) = self.compile(first)?;
        let mut nodes = Vec::with_capacity(more.len());
        for (operator, right) in more {
            let (node, kind) = self.compile(right)?;
            self.operands(*operator, left, kind, span)?;
            nodes.push((*operator, node));
            left = kind;
        }
        self.done(span, Code::Ordered(Box::new(first), nodes), Type::Bool)
    }

    fn coalesce(&mut self, left: &Ast, right: &Ast, span: Span) -> Compiled {
        let (left, a) = self.compile(left)?;
        let (right, b) = self.compile(right)?;
        let kind = if matches!(a, Type::Nil) { b } else { a.either(b) };
        self.done(span, Code::Coalesce(Box::new(left), Box::new(right)), kind)
    }

    fn conditional(&mut self, condition: &Ast, then: &Ast, other: &Ast, span: Span) -> Compiled {
        let (condition, kind) = self.compile(condition)?;
        if !matches!(kind, Type::Bool | Type::Any) {
            let reason = format!("the condition before `?` must be a bool and is {kind}");
            return Err(self.error(reason, condition.span));
        }
        let (then, a) = self.compile(then)?;
        let (other, b) = self.compile(other)?;
        self.done(span, Code::Conditional(Box::new(condition), Box::new(then), Box::new(other)), a.either(b))
    }

    fn declaration(&mut self, name: &str, value: &Ast, body: &Ast, span: Span) -> Compiled {
        if self.locals.iter().any(|(known, _)| known == name)
            || self.vocabulary.variable_named(name).is_some()
            || self.vocabulary.function_named(name).is_some()
        {
            return Err(self.error(format!("{name} is taken already; choose another name"), span));
        }
        let (value, kind) = self.compile(value)?;
        self.locals.push((name.to_owned(), kind));
        let body = self.compile(body);
        self.locals.pop();
        let (body, kind) = body?;
        self.done(span, Code::Let(Box::new(value), Box::new(body)), kind)
    }

    fn slice(&mut self, of: &Ast, from: Option<&Ast>, to: Option<&Ast>, span: Span) -> Compiled {
        let (of, kind) = self.compile(of)?;
        if !matches!(kind, Type::Any | Type::Text | Type::List(_)) {
            return Err(self.error(format!("cannot slice {kind}"), span));
        }
        let from = self.bound(from)?;
        let to = self.bound(to)?;
        self.done(span, Code::Slice { of: Box::new(of), from, to }, kind)
    }

    fn member_of(&mut self, of: &Ast, name: &str, optional: bool, span: Span) -> Compiled {
        let (of, kind) = self.compile(of)?;
        self.member(of, kind, name, optional, span)
    }

    fn chain(&mut self, inner: &Ast, span: Span) -> Compiled {
        let (inner, kind) = self.compile(inner)?;
        self.done(span, Code::Chain(Box::new(inner)), kind)
    }

    fn want(&self, kind: Type, wanted: Type, sign: &str, span: Span) -> Result<(), CompileError> {
        if kind.is_any() || kind.same(wanted) {
            return Ok(());
        }
        Err(self.error(format!("invalid operation: {sign} (mismatched type {kind})"), span))
    }

    fn name(&mut self, name: &str, span: Span) -> Compiled {
        if let Some(slot) = self.locals.iter().rposition(|(known, _)| known == name) {
            let kind = self.locals[slot].1;
            return self.done(span, Code::Local(slot), kind);
        }
        if let Some((number, kind)) = self.vocabulary.variable_named(name) {
            return self.done(span, Code::Variable(number), kind);
        }
        let hint = match self.vocabulary.nearest(name, false) {
            Some(near) => format!("; did you mean {near}?"),
            None if self.vocabulary.function_named(name).is_some() => {
                format!("; to call the function write {name}(…)")
            }
            None => String::new(),
        };
        Err(self.error(format!("unknown name {name}{hint}"), span))
    }

    fn pointer(&mut self, name: &str, span: Span) -> Compiled {
        let Some(&(element, function)) = self.elements.last() else {
            return Err(self.error("`#` is only known inside a closure", span));
        };
        match name {
            "" => self.done(span, Code::Element, element),
            "index" => self.done(span, Code::ElementIndex, Type::Int),
            "acc" if function == Loop::Reduce => self.done(span, Code::Accumulator, Type::Any),
            _ => Err(self.error(format!("unknown pointer #{name}"), span)),
        }
    }

    fn signed(&mut self, ast: &Ast, inner: &Ast, span: Span) -> Compiled {
        let negate = matches!(ast.kind, AstKind::Negate(_));
        let (node, kind) = self.compile(inner)?;
        if !kind.is_any() && !kind.is_number() {
            let sign = if negate { "-" } else { "+" };
            return Err(self.error(format!("invalid operation: {sign} (mismatched type {kind})"), span));
        }
        match (&node.code, negate) {
            (Code::Constant(Constant::Int(number)), true) => {
                self.done(span, Code::Constant(Constant::Int(number.wrapping_neg())), kind)
            }
            (Code::Constant(Constant::Float(number)), true) => {
                self.done(span, Code::Constant(Constant::Float(-number)), kind)
            }
            (_, true) => self.done(span, Code::Negate(Box::new(node)), kind),
            (_, false) => self.done(span, Code::Plus(Box::new(node)), kind),
        }
    }

    fn binary(&mut self, operator: Binary, left: &Ast, right: &Ast, span: Span) -> Compiled {
        let (left, a) = self.compile(left)?;
        let (right, b) = self.compile(right)?;
        let kind = self.operands(operator, a, b, span)?;
        if let (Binary::Equal | Binary::NotEqual, Type::Bool, Code::Constant(Constant::Bool(truth))) =
            (operator, a, &right.code)
        {
            // `x == true` is `x`: most profiles are written so.
            let same = *truth == (operator == Binary::Equal);
            return if same { Ok((left, kind)) } else { self.done(span, Code::Not(Box::new(left)), kind) };
        }
        let code = self.prepared(operator, left, right)?;
        self.done(span, code, kind)
    }

    /// Compiles the operation, with a literal operand prepared.
    fn prepared(&self, operator: Binary, left: Node, right: Node) -> Result<Code, CompileError> {
        Ok(match (operator, &left.code, &right.code) {
            (Binary::Equal | Binary::NotEqual, _, Code::Constant(Constant::Text(text))) => {
                Code::IsText(Box::new(left), text.clone(), operator == Binary::NotEqual)
            }
            (Binary::Equal | Binary::NotEqual, Code::Constant(Constant::Text(text)), _) => {
                let text = text.clone();
                Code::IsText(Box::new(right), text, operator == Binary::NotEqual)
            }
            (Binary::Contains, _, Code::Constant(Constant::Text(text))) => {
                let finder = Finder::new(text.as_bytes()).into_owned();
                Code::ContainsConstant(Box::new(left), Box::new(finder))
            }
            (Binary::Matches, _, Code::Constant(Constant::Text(text))) => {
                let regex = palisade_go_compat::pattern::compile(text)
                    .map_err(|reason| self.error(reason, right.span))?;
                Code::MatchesConstant(Box::new(left), Box::new(regex))
            }
            (Binary::In, _, Code::List(items)) => match Constants::of(items) {
                Some(constants) => Code::InConstants(Box::new(left), Box::new(constants)),
                None => Code::Binary(operator, Box::new(left), Box::new(right)),
            },
            _ => Code::Binary(operator, Box::new(left), Box::new(right)),
        })
    }

    /// The result type of an operator on two operand types, as far as they are known.
    fn operands(&self, operator: Binary, a: Type, b: Type, span: Span) -> Result<Type, CompileError> {
        use Type::{Any, Bool, Duration, Float, Int, Nil, Text, Time};
        /// Both operands fit, or one does and the other is unknown.
        fn both(a: Type, b: Type, fits: impl Fn(Type) -> bool) -> bool {
            (a.is_any() || fits(a)) && (b.is_any() || fits(b))
        }
        let number = Type::is_number;
        let text = |kind| matches!(kind, Text);
        let whole = |kind: Type| kind.is_number() && !matches!(kind, Float);
        let unknown = a.is_any() || b.is_any();
        let combined = || match (a, b) {
            (Any, _) | (_, Any) => Any,
            (Duration, _) | (_, Duration) => Duration,
            (Float, _) | (_, Float) => Float,
            _ => Int,
        };
        let result = match operator {
            Binary::Equal | Binary::NotEqual => {
                let comparable = unknown
                    || matches!(a, Nil)
                    || matches!(b, Nil)
                    || (number(a) && number(b))
                    || std::mem::discriminant(&a) == std::mem::discriminant(&b);
                comparable.then_some(Bool)
            }
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                (both(a, b, number) || both(a, b, text) || both(a, b, |kind| matches!(kind, Time)))
                    .then_some(Bool)
            }
            Binary::In => match b {
                Any | Nil | Type::Object(_) | Type::Map(_) => Some(Bool),
                Type::List(element) => {
                    let fits = a.is_any()
                        || element.is_any()
                        || matches!(a, Nil)
                        || matches!(element, Nil)
                        || (number(a) && element.is_number())
                        || std::mem::discriminant(&a) == std::mem::discriminant(element);
                    fits.then_some(Bool)
                }
                _ => None,
            },
            Binary::Matches | Binary::Contains | Binary::StartsWith | Binary::EndsWith => {
                both(a, b, text).then_some(Bool)
            }
            Binary::Range => both(a, b, whole).then_some(Type::List(&Int)),
            Binary::Add if both(a, b, number) => Some(combined()),
            Binary::Add if both(a, b, text) => Some(if unknown { Any } else { Text }),
            Binary::Add => match (a, b) {
                (Time, Duration) | (Duration, Time) => Some(Time),
                (Time, Any) | (Any, Time) => Some(Any),
                _ => None,
            },
            Binary::Subtract if both(a, b, number) => Some(combined()),
            Binary::Subtract => match (a, b) {
                (Time, Time) => Some(Duration),
                (Time, Duration) => Some(Time),
                (Time, Any) | (Any, Time) => Some(Any),
                _ => None,
            },
            Binary::Multiply => both(a, b, number).then(combined),
            Binary::Divide | Binary::Power => both(a, b, number).then_some(Float),
            Binary::Modulo => both(a, b, whole).then_some(Int),
        };
        result.ok_or_else(|| {
            let sign = operator.sign();
            self.error(format!("invalid operation: {sign} (mismatched types {a} and {b})"), span)
        })
    }

    fn member(&mut self, of: Node, kind: Type, name: &str, optional: bool, span: Span) -> Compiled {
        let of = Box::new(of);
        match kind {
            Type::Object(object) => match object.field(name) {
                Some(field) => {
                    self.members.push(field.name);
                    self.done(span, Code::Field { of, field, optional }, field.kind)
                }
                None => {
                    let near = nearest(name, object.fields.iter().map(|field| field.name));
                    let hint = match (object.method(name), near) {
                        (Some(_), _) => format!("; to call the method write {name}(…)"),
                        (None, Some(near)) => format!("; did you mean {near}?"),
                        (None, None) => String::new(),
                    };
                    Err(self.error(format!("{kind} has no field {name}{hint}"), span))
                }
            },
            Type::Any | Type::Map(_) => {
                let name = Arc::from(name);
                self.done(span, Code::Member { of, name, optional }, kind.element())
            }
            Type::Nil if optional => self.done(span, Code::Constant(Constant::Nil), Type::Nil),
            _ => Err(self.error(format!("{kind} has no field {name}"), span)),
        }
    }

    fn index(&mut self, of: &Ast, index: &Ast, optional: bool, span: Span) -> Compiled {
        let (of, kind) = self.compile(of)?;
        if let (Type::Object(_), AstKind::Text(name)) = (kind, &index.kind) {
            return self.member(of, kind, name, optional, span);
        }
        let (index, by) = self.compile(index)?;
        let fits = match kind {
            Type::List(_) => matches!(by, Type::Int | Type::Any),
            Type::Any | Type::Map(_) => true,
            _ => false,
        };
        if !fits {
            return Err(self.error(format!("cannot take an element of {kind} by {by}"), index.span));
        }
        let code = Code::Index { of: Box::new(of), index: Box::new(index), optional };
        self.done(span, code, kind.element())
    }

    fn bound(&mut self, bound: Option<&Ast>) -> Result<Option<Box<Node>>, CompileError> {
        let Some(bound) = bound else { return Ok(None) };
        let (node, kind) = self.compile(bound)?;
        if !matches!(kind, Type::Int | Type::Any) {
            return Err(self.error(format!("the bound of a slice must be an int and is {kind}"), node.span));
        }
        Ok(Some(Box::new(node)))
    }

    fn method(&mut self, of: &Ast, name: &str, args: &[Ast], optional: bool, span: Span) -> Compiled {
        let (of, kind) = self.compile(of)?;
        let of = Box::new(of);
        let (args, kinds) = self.all(args)?;
        match kind {
            Type::Object(object) => {
                let Some(method) = object.method(name) else {
                    let near = nearest(name, object.methods.iter().map(|method| method.name));
                    let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
                    return Err(self.error(format!("{kind} has no method {name}{hint}"), span));
                };
                self.arguments(
                    &Signature::new(method.name, method.params, method.returns),
                    &args,
                    &kinds,
                    span,
                )?;
                self.members.push(method.name);
                self.done(span, Code::Method { of, method, args, optional }, method.returns)
            }
            Type::Any => {
                self.done(span, Code::NamedMethod { of, name: name.into(), args, optional }, Type::Any)
            }
            _ => match methods::signature(kind, name) {
                Some(signature) => {
                    self.arguments(&signature, &args, &kinds, span)?;
                    self.done(
                        span,
                        Code::NamedMethod { of, name: name.into(), args, optional },
                        signature.returns,
                    )
                }
                None => Err(self.error(format!("{kind} has no method {name}"), span)),
            },
        }
    }

    fn call(&mut self, name: &str, args: &[Ast], span: Span) -> Compiled {
        let Some(&(signature, body)) = self.vocabulary.function_named(name) else {
            if let Some(reason) = self.vocabulary.refusal(name) {
                return self.unavailable(format!("{name} cannot be used: {reason}"), args, span);
            }
            let near = self.vocabulary.nearest(name, true);
            let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            return Err(self.error(format!("unknown function {name}{hint}"), span));
        };
        let (args, kinds) = self.all(args)?;
        self.arguments(&signature, &args, &kinds, span)?;
        let code = match body {
            Body::Pure(function) => Code::Pure(PureCall(function), args),
            Body::Host(number) => {
                self.host_calls.push(number);
                Code::Host(number, args)
            }
            Body::Now { utc } => Code::Now { zone: args.into_iter().next().map(Box::new), utc },
        };
        self.done(span, code, signature.returns)
    }

    /// A call that always fails; its arguments are compiled only to find errors in them.
    fn unavailable(&mut self, reason: String, args: &[Ast], span: Span) -> Compiled {
        self.all(args)?;
        let error = self.error(reason.as_str(), span);
        self.unavailable.get_or_insert(error);
        self.done(span, Code::Unavailable(reason.into()), Type::Any)
    }

    fn arguments(
        &self,
        signature: &Signature,
        args: &[Node],
        kinds: &[Type],
        span: Span,
    ) -> Result<(), CompileError> {
        let most = signature.params.len();
        let least = most - signature.optional - usize::from(signature.variadic);
        if args.len() < least || (args.len() > most && !signature.variadic) {
            let wanted = match (signature.variadic, least == most) {
                (true, _) => format!("at least {least}"),
                (false, true) => least.to_string(),
                (false, false) => format!("{least} to {most}"),
            };
            let plural = if wanted.ends_with('1') && !wanted.contains("to") { "" } else { "s" };
            return Err(self.error(
                format!("{} takes {wanted} argument{plural} and got {}", signature.name, args.len()),
                span,
            ));
        }
        for (index, (arg, &kind)) in args.iter().zip(kinds).enumerate() {
            let Some(&wanted) = signature.params.get(index).or(signature.params.last()) else { continue };
            if !assignable(kind, wanted) {
                return Err(self.error(
                    format!("{} takes {wanted} as argument {} and got {kind}", signature.name, index + 1),
                    arg.span,
                ));
            }
        }
        Ok(())
    }

    fn closure(
        &mut self,
        function: Loop,
        list: &Ast,
        body: Option<&Ast>,
        extra: Option<&Ast>,
        span: Span,
    ) -> Compiled {
        let (list, kind) = self.compile(list)?;
        if !matches!(kind, Type::List(_) | Type::Any) {
            return Err(self.error(format!("{} takes a list and got {kind}", function.name()), list.span));
        }
        let before = self.made;
        let body = match body {
            None => None,
            Some(body) => {
                self.elements.push((kind.element(), function));
                let compiled = self.compile(body);
                self.elements.pop();
                Some(compiled?)
            }
        };
        let weight = 1 + self.made - before;
        let returns = body.as_ref().map_or(Type::Any, |(_, returns)| *returns);
        let asks = matches!(
            function,
            Loop::All
                | Loop::None
                | Loop::Any
                | Loop::One
                | Loop::Filter
                | Loop::Count
                | Loop::Find
                | Loop::FindIndex
                | Loop::FindLast
                | Loop::FindLastIndex
        );
        if let Some((node, returns)) = &body
            && asks
            && !matches!(returns, Type::Bool | Type::Any)
        {
            let reason = format!("the closure of {} must give a bool and gives {returns}", function.name());
            return Err(self.error(reason, node.span));
        }
        let extra = match extra {
            None => None,
            Some(extra) => Some(self.compile(extra)?.0),
        };
        let result = match function {
            Loop::All | Loop::None | Loop::Any | Loop::One => Type::Bool,
            Loop::Count | Loop::FindIndex | Loop::FindLastIndex => Type::Int,
            Loop::Filter | Loop::SortBy => match kind {
                Type::List(_) => kind,
                _ => Type::List(&Type::Any),
            },
            Loop::Map => returns.list(),
            Loop::GroupBy => Type::Map(&Type::List(&Type::Any)),
            // `find` returns nil if nothing matches.
            Loop::Sum | Loop::Find | Loop::FindLast | Loop::Reduce => Type::Any,
        };
        let code = LoopCode { function, list, body: body.map(|(node, _)| node), extra, weight };
        self.done(span, Code::Loop(Box::new(code)), result)
    }
}

/// Whether a value of one type may be passed for another. Integers may be passed for floats.
fn assignable(kind: Type, wanted: Type) -> bool {
    match (kind, wanted) {
        (Type::Any, _) | (_, Type::Any) => true,
        (Type::Int | Type::Duration, Type::Float) | (Type::Duration, Type::Int) => true,
        (Type::List(a), Type::List(b)) | (Type::Map(a), Type::Map(b)) => assignable(*a, *b),
        (Type::Nil, Type::List(_) | Type::Map(_) | Type::Object(_)) => true,
        _ => kind.same(wanted),
    }
}
