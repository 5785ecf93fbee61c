//! Parses tokens into a syntax tree: operators by binding power (Pratt), everything else by recursive descent.

use crate::{
    CompileError, Span,
    ast::{Ast, AstKind, Binary, Loop},
    lexer::{self, Kind, Token},
};

/// Maximum source length, in bytes. The longest filter in use has 40,000.
const MAX_SOURCE: usize = 256 * 1024;
/// Maximum height of a tree. The evaluator is recursive over it.
const MAX_HEIGHT: u16 = 150;
/// Maximum nesting of brackets. The parser is recursive over them, several calls per level.
const MAX_NESTING: u16 = 120;

/// Binding powers of operators.
const OR: u8 = 10;
const AND: u8 = 15;
const COMPARE: u8 = 20;
const RANGE: u8 = 25;
const ADD: u8 = 30;
const NOT: u8 = 50;
const MULTIPLY: u8 = 60;
const SIGN: u8 = 90;
const POWER: u8 = 100;
const COALESCE: u8 = 200;

/// Words that are operators and therefore not names.
const RESERVED: [&str; 11] =
    ["not", "in", "or", "and", "matches", "contains", "startsWith", "endsWith", "let", "if", "else"];

pub(crate) fn parse(source: &str) -> Result<Ast, CompileError> {
    if source.len() > MAX_SOURCE {
        let reason = format!("the expression has {} bytes; at most {MAX_SOURCE} are read", source.len());
        return Err(CompileError::new(reason, Span::default(), source));
    }
    let mut parser = Parser { source, tokens: lexer::tokens(source)?, at: 0, nesting: 0, closures: 0 };
    let whole = parser.expression()?;
    match parser.peek() {
        Kind::End => Ok(whole),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser<'s> {
    source: &'s str,
    /// Ends with [`Kind::End`].
    tokens: Vec<Token>,
    at: usize,
    nesting: u16,
    closures: u16,
}

/// Builds a node of a unary operator.
type Unary = fn(Box<Ast>) -> AstKind;

enum Operator {
    Or,
    And,
    Coalesce,
    Binary(Binary),
}

fn operator(kind: &Kind) -> Option<(Operator, u8)> {
    use Operator::{And, Coalesce, Or};
    let text = match kind {
        Kind::Sign(sign) => sign,
        Kind::Identifier(word) => word.as_str(),
        _ => return None,
    };
    let binary = |operator| Operator::Binary(operator);
    Some(match text {
        "||" | "or" => (Or, OR),
        "&&" | "and" => (And, AND),
        "==" => (binary(Binary::Equal), COMPARE),
        "!=" => (binary(Binary::NotEqual), COMPARE),
        "<" => (binary(Binary::Less), COMPARE),
        "<=" => (binary(Binary::LessOrEqual), COMPARE),
        ">" => (binary(Binary::Greater), COMPARE),
        ">=" => (binary(Binary::GreaterOrEqual), COMPARE),
        "in" => (binary(Binary::In), COMPARE),
        "matches" => (binary(Binary::Matches), COMPARE),
        "contains" => (binary(Binary::Contains), COMPARE),
        "startsWith" => (binary(Binary::StartsWith), COMPARE),
        "endsWith" => (binary(Binary::EndsWith), COMPARE),
        ".." => (binary(Binary::Range), RANGE),
        "+" => (binary(Binary::Add), ADD),
        "-" => (binary(Binary::Subtract), ADD),
        "*" => (binary(Binary::Multiply), MULTIPLY),
        "/" => (binary(Binary::Divide), MULTIPLY),
        "%" => (binary(Binary::Modulo), MULTIPLY),
        "**" | "^" => (binary(Binary::Power), POWER),
        "??" => (Coalesce, COALESCE),
        _ => return None,
    })
}

/// Operators that `not` may precede: `a not in b`.
fn can_be_negated(operator: &Operator) -> bool {
    matches!(
        operator,
        Operator::Binary(
            Binary::In | Binary::Matches | Binary::Contains | Binary::StartsWith | Binary::EndsWith
        )
    )
}

fn is_order(operator: Binary) -> bool {
    matches!(operator, Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual)
}

impl Parser<'_> {
    fn peek(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    fn peek_second(&self) -> &Kind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn is(&self, text: &str) -> bool {
        match self.peek() {
            Kind::Sign(sign) => *sign == text,
            Kind::Identifier(word) => word == text,
            _ => false,
        }
    }

    fn accept(&mut self, text: &str) -> bool {
        let found = self.is(text);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, text: &str) -> Result<(), CompileError> {
        if self.accept(text) { Ok(()) } else { Err(self.unexpected(&format!("`{text}`"))) }
    }

    fn error(&self, reason: impl Into<String>, span: Span) -> CompileError {
        CompileError::new(reason, span, self.source)
    }

    fn unexpected(&self, wanted: &str) -> CompileError {
        let found = match self.peek() {
            Kind::End => "the end".to_owned(),
            _ => {
                let span = self.span();
                format!("`{}`", &self.source[span.start as usize..span.end as usize])
            }
        };
        self.error(format!("unexpected {found}, expected {wanted}"), self.span())
    }

    /// Builds a node. `below` is the height of the highest child.
    fn node(&self, kind: AstKind, span: Span, below: u16) -> Result<Ast, CompileError> {
        let height = below + 1;
        if height > MAX_HEIGHT {
            return Err(
                self.error("the expression is nested too deep; use fewer brackets or shorter chains", span)
            );
        }
        Ok(Ast { span, height, kind })
    }

    fn unary(&self, make: Unary, inner: Ast, start: Span) -> Result<Ast, CompileError> {
        let (span, height) = (start.to(inner.span), inner.height);
        self.node(make(Box::new(inner)), span, height)
    }

    fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, CompileError>,
    ) -> Result<T, CompileError> {
        if self.nesting >= MAX_NESTING {
            return Err(self.error("the expression is nested too deep; use fewer brackets", self.span()));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    /// An expression as in brackets or as an argument: with `let`, pipes and `?:`.
    fn expression(&mut self) -> Result<Ast, CompileError> {
        self.nested(|parser| {
            if parser.is("let") {
                return parser.declaration();
            }
            let mut whole = parser.operation(0)?;
            while parser.accept("|") {
                whole = parser.piped(whole)?;
            }
            parser.conditional(whole)
        })
    }

    /// `let name = value; body`.
    fn declaration(&mut self) -> Result<Ast, CompileError> {
        let start = self.next().span;
        let name = self.name("a name")?;
        self.expect("=")?;
        let value = self.expression()?;
        self.expect(";")?;
        let body = self.expression()?;
        let (span, height) = (start.to(body.span), value.height.max(body.height));
        self.node(AstKind::Let(name, Box::new(value), Box::new(body)), span, height)
    }

    fn name(&mut self, wanted: &str) -> Result<String, CompileError> {
        match self.peek() {
            Kind::Identifier(word) if !RESERVED.contains(&word.as_str()) => {
                let word = word.clone();
                self.next();
                Ok(word)
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// `value | function(more)` is `function(value, more)`; members and operators may follow.
    fn piped(&mut self, value: Ast) -> Result<Ast, CompileError> {
        let start = self.span();
        let name = self.name("a function")?;
        let call = self.call(name, start, Some(value))?;
        let call = self.postfix(call)?;
        self.operators(call, 0)
    }

    fn conditional(&mut self, condition: Ast) -> Result<Ast, CompileError> {
        if !self.accept("?") {
            return Ok(condition);
        }
        let then = self.expression()?;
        self.expect(":")?;
        let other = self.expression()?;
        let span = condition.span.to(other.span);
        let height = condition.height.max(then.height).max(other.height);
        self.node(AstKind::Conditional(Box::new(condition), Box::new(then), Box::new(other)), span, height)
    }

    /// Operands joined by operators that bind at least as tightly as `power`.
    fn operation(&mut self, power: u8) -> Result<Ast, CompileError> {
        let left = self.operand()?;
        self.operators(left, power)
    }

    fn operators(&mut self, mut left: Ast, power: u8) -> Result<Ast, CompileError> {
        // Whether `left` is a comparison parsed in this call: brackets end a chain.
        let mut ordered = false;
        loop {
            let negated = self.is("not");
            let sign = if negated { self.peek_second() } else { self.peek() };
            let Some((operator, binds)) = operator(sign) else {
                return if negated { Err(self.unexpected("an operator or the end")) } else { Ok(left) };
            };
            if binds < power {
                return Ok(left);
            }
            if negated {
                if !can_be_negated(&operator) {
                    return Err(self.unexpected("an operator that `not` may stand before, such as `not in`"));
                }
                self.next();
            }
            self.next();
            // Powers are right-associative, everything else is left-associative.
            let power_of_right = if binds == POWER { binds } else { binds + 1 };
            let right = self.nested(|parser| parser.operation(power_of_right))?;
            let order = matches!(operator, Operator::Binary(binary) if is_order(binary));
            left = self.joined(operator, left, right, ordered)?;
            ordered = order;
            if negated {
                let span = left.span;
                left = self.unary(AstKind::Not, left, span)?;
            }
        }
    }

    fn joined(&self, operator: Operator, left: Ast, right: Ast, ordered: bool) -> Result<Ast, CompileError> {
        let span = left.span.to(right.span);
        // A flat chain does not get higher by growing.
        let grown = (left.height - 1).max(right.height);
        let below = left.height.max(right.height);
        match (operator, left) {
            (Operator::And, Ast { kind: AstKind::And(mut terms), .. }) => {
                terms.push(right);
                self.node(AstKind::And(terms), span, grown)
            }
            (Operator::Or, Ast { kind: AstKind::Or(mut terms), .. }) => {
                terms.push(right);
                self.node(AstKind::Or(terms), span, grown)
            }
            (Operator::Binary(order), Ast { kind: AstKind::Ordered(first, mut more), .. })
                if ordered && is_order(order) =>
            {
                more.push((order, right));
                self.node(AstKind::Ordered(first, more), span, grown)
            }
            (Operator::And, left) => self.node(AstKind::And(vec![left, right]), span, below),
            (Operator::Or, left) => self.node(AstKind::Or(vec![left, right]), span, below),
            (Operator::Coalesce, left) => {
                self.node(AstKind::Coalesce(Box::new(left), Box::new(right)), span, below)
            }
            (Operator::Binary(order), left) if is_order(order) => {
                self.node(AstKind::Ordered(Box::new(left), vec![(order, right)]), span, below)
            }
            (Operator::Binary(operator), left) => {
                self.node(AstKind::Binary(operator, Box::new(left), Box::new(right)), span, below)
            }
        }
    }

    fn operand(&mut self) -> Result<Ast, CompileError> {
        let start = self.span();
        let sign: Option<(Unary, u8)> = if self.is("not") || self.is("!") {
            Some((AstKind::Not, NOT))
        } else if self.is("-") {
            Some((AstKind::Negate, SIGN))
        } else if self.is("+") {
            Some((AstKind::Plus, SIGN))
        } else {
            None
        };
        if let Some((make, power)) = sign {
            self.next();
            let inner = self.nested(|parser| parser.operation(power))?;
            return self.unary(make, inner, start);
        }
        let first = self.primary()?;
        self.postfix(first)
    }

    fn primary(&mut self) -> Result<Ast, CompileError> {
        let start = self.span();
        if self.accept("(") {
            let inner = self.expression()?;
            self.expect(")")?;
            // A bracketed chain is a separate term.
            return Ok(inner);
        }
        if self.accept("[") {
            return self.list(start);
        }
        if self.accept("{") {
            return self.map(start);
        }
        if self.is(".") && self.closures > 0 {
            // `.field` is short for `#.field`; the dot is parsed again as the member's.
            return self.node(AstKind::Pointer(String::new()), start, 0);
        }
        if self.accept("::") {
            let name = self.name("a function")?;
            return self.call(name, start, None);
        }
        let kind = match self.peek().clone() {
            Kind::Int(number) => AstKind::Int(number),
            Kind::Float(number) => AstKind::Float(number),
            Kind::Text(text) => AstKind::Text(text),
            Kind::Pointer(name) if self.closures > 0 => AstKind::Pointer(name),
            Kind::Pointer(_) => {
                return Err(self.error("`#` stands for an element and is only known inside a closure", start));
            }
            Kind::Identifier(word) if !RESERVED.contains(&word.as_str()) => match word.as_str() {
                "true" => AstKind::Bool(true),
                "false" => AstKind::Bool(false),
                "nil" => AstKind::Nil,
                _ => {
                    self.next();
                    return if self.is("(") {
                        self.call(word, start, None)
                    } else {
                        self.node(AstKind::Name(word), start, 0)
                    };
                }
            },
            _ => return Err(self.unexpected("a value")),
        };
        self.next();
        self.node(kind, start, 0)
    }

    /// `[a, b]`, after the bracket.
    fn list(&mut self, start: Span) -> Result<Ast, CompileError> {
        let items = self.items("]")?;
        let height = items.iter().map(|item| item.height).max().unwrap_or(0);
        let end = self.tokens[self.at.saturating_sub(1)].span;
        self.node(AstKind::List(items), start.to(end), height)
    }

    /// Comma-separated expressions, with an optional trailing comma, up to and including the closing bracket.
    fn items(&mut self, close: &str) -> Result<Vec<Ast>, CompileError> {
        let mut items = Vec::new();
        while !self.accept(close) {
            if !items.is_empty() {
                self.expect(",")?;
                if self.accept(close) {
                    break;
                }
            }
            items.push(self.expression()?);
        }
        Ok(items)
    }

    /// `{a: 1, "b": 2, (c): 3}`, after the bracket.
    fn map(&mut self, start: Span) -> Result<Ast, CompileError> {
        let mut entries: Vec<(Ast, Ast)> = Vec::new();
        while !self.is("}") {
            if !entries.is_empty() {
                self.expect(",")?;
                if self.is("}") {
                    break;
                }
            }
            let at = self.span();
            let key = match self.peek().clone() {
                Kind::Identifier(text) | Kind::Text(text) => Some(text),
                Kind::Int(_) | Kind::Float(_) => {
                    Some(self.source[at.start as usize..at.end as usize].to_owned())
                }
                Kind::Sign("(") => None,
                _ => {
                    return Err(
                        self.unexpected("a key: a name, a text, a number, or an expression in brackets")
                    );
                }
            };
            let key = match key {
                Some(text) => {
                    self.next();
                    self.node(AstKind::Text(text), at, 0)?
                }
                None => self.expression()?,
            };
            self.expect(":")?;
            let value = self.expression()?;
            entries.push((key, value));
        }
        let end = self.next().span;
        let height = entries.iter().map(|(key, value)| key.height.max(value.height)).max().unwrap_or(0);
        self.node(AstKind::Map(entries), start.to(end), height)
    }

    /// The arguments of `name`, before the opening bracket. `first` comes from a pipe.
    fn call(&mut self, name: String, start: Span, first: Option<Ast>) -> Result<Ast, CompileError> {
        if let Some(function) = Loop::named(&name) {
            return self.closure_call(function, start, first);
        }
        self.expect("(")?;
        let mut args: Vec<Ast> = first.into_iter().collect();
        args.extend(self.items(")")?);
        let end = self.tokens[self.at.saturating_sub(1)].span;
        let height = args.iter().map(|arg| arg.height).max().unwrap_or(0);
        self.node(AstKind::Call { name, args }, start.to(end), height)
    }

    fn closure_call(&mut self, function: Loop, start: Span, first: Option<Ast>) -> Result<Ast, CompileError> {
        self.expect("(")?;
        let piped = first.is_some();
        let list = match first {
            Some(list) => list,
            None => self.expression()?,
        };
        let body = if self.is(")") && function.body_is_optional() {
            None
        } else {
            if !piped {
                self.expect(",")?;
            }
            Some(self.closure()?)
        };
        let extra = if function.takes_extra() && self.is(",") {
            self.next();
            if self.is(")") { None } else { Some(self.expression()?) }
        } else {
            None
        };
        self.accept(",");
        let end = self.span();
        self.expect(")")?;
        let height = [Some(&list), body.as_ref(), extra.as_ref()]
            .into_iter()
            .flatten()
            .map(|part| part.height)
            .max()
            .unwrap_or(0);
        let boxed = |part: Option<Ast>| part.map(Box::new);
        let kind = AstKind::Loop { function, list: Box::new(list), body: boxed(body), extra: boxed(extra) };
        self.node(kind, start.to(end), height)
    }

    /// `{ … }`, or the same without brackets.
    fn closure(&mut self) -> Result<Ast, CompileError> {
        let braces = self.accept("{");
        self.closures += 1;
        let body = self.expression();
        self.closures -= 1;
        let body = body?;
        if braces {
            self.expect("}")?;
        }
        Ok(body)
    }

    /// Members, method calls, indices and slices.
    fn postfix(&mut self, mut left: Ast) -> Result<Ast, CompileError> {
        // Only `?.` parsed in this call: brackets end a chain.
        let mut optional_seen = false;
        let start = left.span;
        loop {
            let optional = self.is("?.");
            if optional || self.is(".") {
                self.next();
                optional_seen |= optional;
                if optional && self.is("[") {
                    left = self.index(left, true)?;
                    continue;
                }
                let end = self.span();
                // Words that are operators elsewhere are valid names here.
                let Kind::Identifier(name) = self.peek().clone() else {
                    return Err(self.unexpected("a name"));
                };
                self.next();
                let height = left.height;
                let of = Box::new(left);
                left = if self.accept("(") {
                    let args = self.items(")")?;
                    let end = self.tokens[self.at.saturating_sub(1)].span;
                    let height = args.iter().map(|arg| arg.height).fold(height, u16::max);
                    self.node(AstKind::Method { of, name, args, optional }, start.to(end), height)?
                } else {
                    self.node(AstKind::Member { of, name, optional }, start.to(end), height)?
                };
            } else if self.is("[") {
                left = self.index(left, false)?;
            } else {
                break;
            }
        }
        if optional_seen {
            let span = left.span;
            left = self.unary(AstKind::Chain, left, span)?;
        }
        Ok(left)
    }

    /// `[i]`, `[from:to]`, `[:to]`, `[from:]`, before the opening bracket.
    fn index(&mut self, of: Ast, optional: bool) -> Result<Ast, CompileError> {
        let start = of.span;
        self.expect("[")?;
        let from = if self.is(":") { None } else { Some(self.expression()?) };
        let mut height = of.height.max(from.as_ref().map_or(0, |part| part.height));
        if self.accept(":") {
            let to = if self.is("]") { None } else { Some(self.expression()?) };
            height = height.max(to.as_ref().map_or(0, |part| part.height));
            let end = self.span();
            self.expect("]")?;
            let kind = AstKind::Slice { of: Box::new(of), from: from.map(Box::new), to: to.map(Box::new) };
            return self.node(kind, start.to(end), height);
        }
        let end = self.span();
        self.expect("]")?;
        let Some(index) = from else { return Err(self.unexpected("an index")) };
        let kind = AstKind::Index { of: Box::new(of), index: Box::new(index), optional };
        self.node(kind, start.to(end), height)
    }
}
