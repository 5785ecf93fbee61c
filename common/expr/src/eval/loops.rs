//! The functions that evaluate a closure for each element of a list.

use std::collections::BTreeMap;

use crate::{
    ast::Loop,
    code::{LoopCode, Node},
    eval::{Machine, Step, Turn, at, failed},
    ops,
    sorting::{is_descending, sort},
    value::{List, MapKey, Value},
};

impl<'v> Machine<'v> {
    pub(crate) fn run_loop(&mut self, code: &'v LoopCode, node: &'v Node) -> Step<Value<'v>> {
        let list = match self.value(&code.list)? {
            Value::List(list) => list,
            other => {
                let reason = format!("{} takes a list and got {}", code.function.name(), other.kind());
                return Err(failed(reason, &code.list));
            }
        };
        let first = match (&code.extra, code.function) {
            (Some(extra), Loop::Reduce) => Some(self.value(extra)?),
            _ => None,
        };
        self.turns.push(Turn { element: Value::Nil, index: 0, accumulator: Value::Nil });
        let result = match code.function {
            Loop::Reduce => self.reduce(code, &list, first, node),
            Loop::SortBy => self.sorted(code, &list, node),
            Loop::GroupBy => self.grouped(code, &list, node),
            Loop::Sum => self.sum(code, &list, node),
            Loop::Map => self.mapped(code, &list, node),
            Loop::Filter => self.filtered(code, &list, node),
            _ => self.searched(code, &list, node),
        };
        self.turns.pop();
        let result = result?;
        // The sort order is evaluated only after the closure; `sortBy` does that itself.
        at(result.checked_depth(), node)
    }

    /// Prepares the iteration for the element at `index`.
    fn turn(&mut self, code: &LoopCode, list: &List<'v>, index: usize, node: &Node) -> Step<()> {
        at(self.budget.spend(code.weight), node)?;
        let element = list.get(index).unwrap_or(Value::Nil);
        if let Some(turn) = self.turns.last_mut() {
            turn.element = element;
            turn.index = index;
        }
        Ok(())
    }

    fn element(&self) -> Value<'v> {
        self.turns.last().map_or(Value::Nil, |turn| turn.element.clone())
    }

    /// The closure's bool for the current element; without a closure, the element itself.
    fn verdict(&mut self, code: &'v LoopCode, node: &'v Node) -> Step<bool> {
        match &code.body {
            Some(body) => self.truth(body),
            None => match self.element() {
                Value::Bool(truth) => Ok(truth),
                other => Err(failed(format!("expected a bool and got {}", other.kind()), node)),
            },
        }
    }

    fn result(&mut self, code: &'v LoopCode) -> Step<Value<'v>> {
        match &code.body {
            Some(body) => self.value(body),
            None => Ok(self.element()),
        }
    }

    /// The functions that test each element with a predicate.
    fn searched(&mut self, code: &'v LoopCode, list: &List<'v>, node: &'v Node) -> Step<Value<'v>> {
        let backwards = matches!(code.function, Loop::FindLast | Loop::FindLastIndex);
        let mut count = 0_i64;
        for step in 0..list.len() {
            let index = if backwards { list.len() - 1 - step } else { step };
            self.turn(code, list, index, node)?;
            let yes = self.verdict(code, node)?;
            count += i64::from(yes);
            match (code.function, yes) {
                (Loop::All, false) | (Loop::None, true) => return Ok(Value::Bool(false)),
                (Loop::Any, true) => return Ok(Value::Bool(true)),
                (Loop::One, true) if count > 1 => return Ok(Value::Bool(false)),
                (Loop::Find | Loop::FindLast, true) => return Ok(self.element()),
                (Loop::FindIndex | Loop::FindLastIndex, true) => return Ok(Value::Int(index as i64)),
                _ => {}
            }
        }
        Ok(match code.function {
            Loop::All | Loop::None => Value::Bool(true),
            Loop::One => Value::Bool(count == 1),
            Loop::Count => Value::Int(count),
            Loop::FindIndex | Loop::FindLastIndex => Value::Int(-1),
            Loop::Find | Loop::FindLast => Value::Nil,
            _ => Value::Bool(false),
        })
    }

    fn filtered(&mut self, code: &'v LoopCode, list: &List<'v>, node: &'v Node) -> Step<Value<'v>> {
        let mut kept = Vec::new();
        for index in 0..list.len() {
            self.turn(code, list, index, node)?;
            if self.verdict(code, node)? {
                kept.push(self.element());
            }
        }
        Ok(Value::list(kept))
    }

    fn mapped(&mut self, code: &'v LoopCode, list: &List<'v>, node: &'v Node) -> Step<Value<'v>> {
        let mut made = Vec::new();
        for index in 0..list.len() {
            self.turn(code, list, index, node)?;
            made.push(self.result(code)?);
        }
        Ok(Value::list(made))
    }

    fn sum(&mut self, code: &'v LoopCode, list: &List<'v>, node: &'v Node) -> Step<Value<'v>> {
        let mut sum = Value::Int(0);
        for index in 0..list.len() {
            self.turn(code, list, index, node)?;
            let value = self.result(code)?;
            at(ops::number(&value, "sum"), node)?;
            sum = match (index, value) {
                (0, first) => first,
                (_, next) => at(ops::add(&sum, &next, &mut self.budget), node)?,
            };
        }
        Ok(sum)
    }

    fn grouped(&mut self, code: &'v LoopCode, list: &List<'v>, node: &'v Node) -> Step<Value<'v>> {
        let mut groups: BTreeMap<MapKey<'v>, Vec<Value<'v>>> = BTreeMap::new();
        for index in 0..list.len() {
            self.turn(code, list, index, node)?;
            let by = self.result(code)?;
            let Some(key) = MapKey::of(&by) else {
                return Err(failed(format!("cannot group by {}", by.kind()), node));
            };
            let element = self.element();
            groups.entry(key).or_default().push(element);
        }
        Ok(Value::keyed_map(groups.into_iter().map(|(key, group)| (key, Value::list(group))).collect()))
    }

    fn sorted(&mut self, code: &'v LoopCode, list: &List<'v>, node: &'v Node) -> Step<Value<'v>> {
        let mut keyed = Vec::new();
        for index in 0..list.len() {
            self.turn(code, list, index, node)?;
            keyed.push((self.result(code)?, self.element()));
        }
        let descending = match &code.extra {
            None => false,
            Some(extra) => {
                let order = self.value(extra)?;
                at(is_descending(&order), extra)?
            }
        };
        at(sort(&mut keyed, descending, &mut self.budget), node)?;
        Ok(Value::list(keyed.into_iter().map(|(_, element)| element).collect()))
    }

    fn reduce(
        &mut self,
        code: &'v LoopCode,
        list: &List<'v>,
        first: Option<Value<'v>>,
        node: &'v Node,
    ) -> Step<Value<'v>> {
        let (mut accumulator, start) = match first {
            Some(first) => (first, 0),
            None => match list.get(0) {
                Some(first) => (first, 1),
                None => return Err(failed("cannot reduce an empty list without a first value", node)),
            },
        };
        for index in start..list.len() {
            self.turn(code, list, index, node)?;
            if let Some(turn) = self.turns.last_mut() {
                turn.accumulator = accumulator;
            }
            accumulator = self.result(code)?;
        }
        Ok(accumulator)
    }
}
