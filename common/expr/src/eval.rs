//! Evaluates a program by recursion over its tree; values are borrowed from the host and the program.

mod loops;
pub(crate) mod methods;

use smallvec::SmallVec;

use crate::{
    ast::Binary,
    code::{Code, Constant, Constants, Node},
    error::{Fault, Span},
    host::Host,
    limits::Budget,
    ops,
    text::Text,
    value::{List, Map, MapKey, Value, zero},
};

/// Why a step returns no value.
pub(crate) enum Stop {
    /// A `?.` met nil: its chain evaluates to nil.
    Nil,
    /// The step failed at this position.
    Failed(Box<(Fault, Span)>),
}

pub(crate) type Step<T> = Result<T, Stop>;

/// The cost of matching a byte relative to comparing one.
const PATTERN_COST: usize = 8;

/// One iteration of a closure.
pub(crate) struct Turn<'v> {
    pub(crate) element: Value<'v>,
    pub(crate) index: usize,
    pub(crate) accumulator: Value<'v>,
}

/// The state of one evaluation.
pub(crate) struct Machine<'v> {
    pub(crate) host: &'v dyn Host,
    pub(crate) locals: Vec<Value<'v>>,
    pub(crate) turns: Vec<Turn<'v>>,
    pub(crate) budget: Budget,
}

/// Adds the position to a fault.
pub(crate) fn at<T>(result: Result<T, Fault>, node: &Node) -> Step<T> {
    result.map_err(|fault| failed(fault, node))
}

#[cold]
pub(crate) fn failed(fault: impl Into<Fault>, node: &Node) -> Stop {
    Stop::Failed(Box::new((fault.into(), node.span)))
}

impl<'v> Machine<'v> {
    /// Evaluates a step whose result must be a bool, without creating a value for comparisons.
    pub(crate) fn truth(&mut self, node: &'v Node) -> Step<bool> {
        match &node.code {
            Code::And(terms) => {
                for term in terms {
                    if !self.truth(term)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Code::Or(terms) => {
                for term in terms {
                    if self.truth(term)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Code::Not(inner) => Ok(!self.truth(inner)?),
            Code::IsText(of, text, differ) => {
                let value = self.value(of)?;
                Ok((value.as_text() == Some(text)) != *differ)
            }
            Code::ContainsConstant(of, finder) => {
                let value = self.value(of)?;
                let text = at(ops::text(&value, "contains"), node)?;
                at(self.budget.read(text.len()), node)?;
                Ok(finder.find(text.as_bytes()).is_some())
            }
            Code::MatchesConstant(of, regex) => {
                let value = self.value(of)?;
                let text = at(ops::text(&value, "matches"), node)?;
                at(self.budget.read(text.len().saturating_mul(PATTERN_COST)), node)?;
                Ok(regex.is_match(text))
            }
            Code::InConstants(of, constants) => {
                let value = self.value(of)?;
                Ok(is_among(&value, constants))
            }
            Code::Ordered(first, more) => self.ordered(first, more, node),
            Code::Binary(operator, left, right) => self.relation(*operator, left, right, node),
            _ => match self.value(node)? {
                Value::Bool(truth) => Ok(truth),
                other => Err(failed(format!("expected a bool and got {}", other.kind()), node)),
            },
        }
    }

    pub(crate) fn value(&mut self, node: &'v Node) -> Step<Value<'v>> {
        Ok(match &node.code {
            Code::Constant(constant) => match constant {
                Constant::Nil => Value::Nil,
                Constant::Bool(truth) => Value::Bool(*truth),
                Constant::Int(number) => Value::Int(*number),
                Constant::Float(number) => Value::Float(*number),
                Constant::Text(text) => Value::text(text),
            },
            Code::Variable(number) => self.host.variable(*number),
            Code::Field { of, field, optional } => match self.value(of)? {
                Value::Object(object) => (field.get)(object.data),
                Value::Nil if *optional => return Err(Stop::Nil),
                other => return Err(no_member(field.name, &other, node)),
            },
            Code::Method { of, method, args, optional } => match self.value(of)? {
                Value::Object(object) => {
                    let args = self.arguments(args)?;
                    at((method.call)(object.data, &args), node)?
                }
                Value::Nil if *optional => return Err(Stop::Nil),
                other => return Err(no_member(method.name, &other, node)),
            },
            Code::Not(_)
            | Code::And(_)
            | Code::Or(_)
            | Code::IsText(..)
            | Code::InConstants(..)
            | Code::ContainsConstant(..)
            | Code::MatchesConstant(..)
            | Code::Ordered(..) => Value::Bool(self.truth(node)?),
            Code::Binary(operator, left, right) => self.binary(*operator, left, right, node)?,
            Code::Local(slot) => self.locals.get(*slot).cloned().unwrap_or(Value::Nil),
            Code::Element => self.turns.last().map_or(Value::Nil, |turn| turn.element.clone()),
            Code::ElementIndex => Value::Int(self.turns.last().map_or(0, |turn| turn.index as i64)),
            Code::Accumulator => self.turns.last().map_or(Value::Nil, |turn| turn.accumulator.clone()),
            Code::Conditional(condition, then, other) => {
                let chosen = if self.truth(condition)? { then } else { other };
                self.value(chosen)?
            }
            Code::Let(value, body) => {
                let value = self.value(value)?;
                self.locals.push(value);
                let result = self.value(body);
                self.locals.pop();
                result?
            }
            Code::Coalesce(left, right) => match self.value(left) {
                Ok(Value::Nil) | Err(Stop::Nil) => self.value(right)?,
                other => other?,
            },
            Code::Chain(inner) => match self.value(inner) {
                Err(Stop::Nil) => Value::Nil,
                other => other?,
            },
            Code::Pure(call, args) => {
                let args = self.arguments(args)?;
                at((call.0)(&args, &mut self.budget), node)?
            }
            Code::Host(number, args) => {
                let args = self.arguments(args)?;
                at(self.host.call(*number, &args, &mut self.budget), node)?
            }
            Code::Loop(code) => self.run_loop(code, node)?,
            Code::Unavailable(reason) => at(Err(Fault::from(&**reason)), node)?,
            Code::List(items) => self.list(items, node)?,
            Code::Map(entries) => self.map(entries, node)?,
            Code::Member { of, name, optional } => match self.value(of)? {
                Value::Nil if *optional => return Err(Stop::Nil),
                from => member(&from, name, node)?,
            },
            Code::Index { of, index, optional } => match self.value(of)? {
                Value::Nil if *optional => return Err(Stop::Nil),
                from => {
                    let index = self.value(index)?;
                    element(&from, &index, node)?
                }
            },
            Code::Slice { of, from, to } => self.slice(of, from.as_deref(), to.as_deref(), node)?,
            Code::NamedMethod { of, name, args, optional } => match self.value(of)? {
                Value::Nil if *optional => return Err(Stop::Nil),
                of => self.named_method(&of, name, args, node)?,
            },
            Code::Now { zone, utc } => self.now(zone.as_deref(), *utc, node)?,
            Code::Negate(inner) => {
                let value = self.value(inner)?;
                at(ops::negate(&value), node)?
            }
            Code::Plus(inner) => {
                let value = self.value(inner)?;
                at(ops::number(&value, "+").map(|_| value), node)?
            }
        })
    }

    fn arguments(&mut self, args: &'v [Node]) -> Step<SmallVec<[Value<'v>; 4]>> {
        args.iter().map(|arg| self.value(arg)).collect()
    }

    /// Evaluates a comparison when only a bool is needed.
    fn relation(&mut self, operator: Binary, left: &'v Node, right: &'v Node, node: &'v Node) -> Step<bool> {
        match self.binary(operator, left, right, node)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(failed(format!("expected a bool and got {}", other.kind()), node)),
        }
    }

    fn binary(
        &mut self,
        operator: Binary,
        left: &'v Node,
        right: &'v Node,
        node: &'v Node,
    ) -> Step<Value<'v>> {
        let a = self.value(left)?;
        let b = self.value(right)?;
        let budget = &mut self.budget;
        let result = match operator {
            Binary::Equal => ops::equal(&a, &b, budget).map(Value::Bool),
            Binary::NotEqual => ops::equal(&a, &b, budget).map(|same| Value::Bool(!same)),
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                ops::ordered(operator, &a, &b).map(Value::Bool)
            }
            Binary::In => ops::is_in(&a, &b, budget).map(Value::Bool),
            Binary::Contains | Binary::StartsWith | Binary::EndsWith => {
                ops::text_relation(operator, &a, &b, budget).map(Value::Bool)
            }
            Binary::Matches => matches(&a, &b, budget).map(Value::Bool),
            Binary::Range => ops::range(&a, &b),
            Binary::Add => ops::add(&a, &b, budget),
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo | Binary::Power => {
                ops::arithmetic(operator, &a, &b)
            }
        };
        at(result, node)
    }

    /// `a < b <= c`: evaluates each operand once, from left to right, and stops at the first false comparison.
    fn ordered(&mut self, first: &'v Node, more: &'v [(Binary, Node)], node: &'v Node) -> Step<bool> {
        let mut left = self.value(first)?;
        for (operator, right) in more {
            let right = self.value(right)?;
            if !at(ops::ordered(*operator, &left, &right), node)? {
                return Ok(false);
            }
            left = right;
        }
        Ok(true)
    }

    fn list(&mut self, items: &'v [Node], node: &Node) -> Step<Value<'v>> {
        at(self.budget.spend(items.len()), node)?;
        let values = items.iter().map(|item| self.value(item)).collect::<Step<Vec<_>>>()?;
        at(Value::list(values).checked_depth(), node)
    }

    fn map(&mut self, entries: &'v [(Node, Node)], node: &Node) -> Step<Value<'v>> {
        at(self.budget.spend(entries.len()), node)?;
        let mut map = std::collections::BTreeMap::new();
        for (key, value) in entries {
            let name = self.value(key)?;
            let Value::Text(name) = name else {
                return Err(failed(format!("a map's key must be a string and is {}", name.kind()), key));
            };
            let value = self.value(value)?;
            map.insert(MapKey::Text(name), value);
        }
        at(Value::keyed_map(map).checked_depth(), node)
    }

    fn slice(
        &mut self,
        of: &'v Node,
        from: Option<&'v Node>,
        to: Option<&'v Node>,
        node: &Node,
    ) -> Step<Value<'v>> {
        let whole = self.value(of)?;
        let length = match &whole {
            Value::Text(text) => text.len(),
            Value::List(list) => list.len(),
            other => return Err(failed(format!("cannot slice {}", other.kind()), node)),
        };
        let mut bound = |bound: Option<&'v Node>, open: usize| -> Step<usize> {
            let Some(bound) = bound else { return Ok(open) };
            let value = self.value(bound)?;
            let number = at(ops::whole(&value, "slice"), bound)?;
            Ok(match usize::try_from(number) {
                Ok(index) => index.min(length),
                Err(_) => length.saturating_sub(usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX)),
            })
        };
        let start = bound(from, 0)?;
        let end = bound(to, length)?;
        let start = start.min(end);
        match whole {
            Value::Text(text) => {
                at(self.budget.read(end - start), node)?;
                Ok(Value::Text(text.slice(start, end)))
            }
            Value::List(List::Range(first, _)) if start < end => Ok(Value::List(List::Range(
                first.wrapping_add(start as i64),
                first.wrapping_add(end as i64).wrapping_sub(1),
            ))),
            Value::List(list) => {
                at(self.budget.spend(end - start), node)?;
                Ok(Value::list((start..end).filter_map(|index| list.get(index)).collect()))
            }
            other => Ok(other),
        }
    }

    fn named_method(&mut self, of: &Value<'v>, name: &str, args: &'v [Node], node: &Node) -> Step<Value<'v>> {
        let args = self.arguments(args)?;
        if let Value::Object(object) = of {
            let Some(method) = object.kind.method(name) else { return Err(no_member(name, of, node)) };
            if method.params.len() != args.len() {
                let reason = format!("{name} takes {} arguments and got {}", method.params.len(), args.len());
                return Err(failed(reason, node));
            }
            return at((method.call)(object.data, &args), node);
        }
        at(methods::call(of, name, &args), node)
    }

    fn now(&mut self, zone: Option<&'v Node>, utc: bool, node: &Node) -> Step<Value<'v>> {
        let now = self.host.now();
        let now = match zone {
            Some(zone) => match self.value(zone)? {
                Value::Zone(zone) => now.with_time_zone((*zone).clone()),
                other => return Err(failed(format!("now takes a time zone and got {}", other.kind()), node)),
            },
            None if utc => now.with_time_zone(jiff::tz::TimeZone::UTC),
            None => now,
        };
        Ok(Value::Time(now.into()))
    }
}

fn is_among(value: &Value<'_>, constants: &Constants) -> bool {
    match value {
        Value::Text(text) => constants.texts.contains(&**text),
        Value::Int(number) => {
            constants.ints.contains(number) || constants.numbers.contains(&(*number as f64))
        }
        Value::Float(number) => {
            constants.numbers.contains(number) || constants.ints.iter().any(|known| *known as f64 == *number)
        }
        Value::Weekday(number) | Value::Month(number) => constants.ints.contains(&i64::from(*number)),
        Value::Bool(truth) => constants.truths.contains(truth),
        Value::Nil => constants.nil,
        _ => false,
    }
}

fn matches(a: &Value<'_>, b: &Value<'_>, budget: &mut Budget) -> Result<bool, Fault> {
    let (text, pattern) = (ops::text(a, "matches")?, ops::text(b, "matches")?);
    // Compiling costs far more than matching.
    budget.spend(5000 + pattern.len() * 100)?;
    budget.read(text.len().saturating_mul(PATTERN_COST))?;
    Ok(palisade_go_compat::pattern::compile(pattern).map_err(Fault)?.is_match(text))
}

#[cold]
fn no_member(name: &str, from: &Value<'_>, node: &Node) -> Stop {
    failed(format!("cannot get {name} from {}", from.kind()), node)
}

fn member<'v>(from: &Value<'v>, name: &std::sync::Arc<str>, node: &Node) -> Step<Value<'v>> {
    match from {
        Value::Map(Map::Host(map)) => {
            Ok((map.kind.get)(map.data, name).unwrap_or_else(|| zero(map.kind.values)))
        }
        Value::Map(map) => Ok(map.get_or_zero(&Value::Text(Text::Shared(name.clone())))),
        Value::Object(object) => match object.kind.field(name) {
            Some(field) => Ok((field.get)(object.data)),
            None => Err(no_member(name, from, node)),
        },
        _ => Err(no_member(name, from, node)),
    }
}

/// `from[index]`.
fn element<'v>(from: &Value<'v>, index: &Value<'v>, node: &Node) -> Step<Value<'v>> {
    match from {
        Value::Map(map) => Ok(map.get_or_zero(index)),
        Value::List(list) => {
            let number = at(ops::whole(index, "index"), node)?;
            let place = ops::in_range(number, list.len());
            let Some(value) = place.and_then(|place| list.get(place)) else {
                let length = list.len();
                return Err(failed(format!("index out of range: {number} (the list has {length})"), node));
            };
            Ok(value)
        }
        Value::Text(text) => {
            let number = at(ops::whole(index, "index"), node)?;
            match ops::in_range(number, text.len()).and_then(|place| text.as_bytes().get(place)) {
                Some(byte) => Ok(Value::Int(i64::from(*byte))),
                None => {
                    let length = text.len();
                    Err(failed(format!("index out of range: {number} (the text has {length} bytes)"), node))
                }
            }
        }
        Value::Object(object) => {
            let field = index.as_text().and_then(|name| object.kind.field(name));
            match field {
                Some(field) => Ok((field.get)(object.data)),
                None => Err(no_member(index.as_text().unwrap_or("that"), from, node)),
            }
        }
        _ => Err(failed(format!("cannot take an element of {}", from.kind()), node)),
    }
}
