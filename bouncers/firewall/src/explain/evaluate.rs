//! Evaluates a chain for a packet of which only a part is known, with three-valued logic.
//!
//! A rule matches, does not match, or cannot be evaluated: because it looks at something unknown (an interface, a mark,
//! a port that was not given) or does something that is not understood here. Rules that cannot be evaluated are passed
//! over and listed as doubts.
//!
//! ```text
//!  Packet ──► registers (known and unknown bytes) ──► rule: Yes | No | Unknown ──► chain: verdict, steps, doubts
//! ```
//!
//! Pure: elements of sets come through [`Sets`].

use std::collections::HashMap;
use std::time::Duration;

use super::packet::{Packet, Registers};
use super::ruleset::{Chain, Comparison, Content, Expression, Ruleset, SetKey, Verdict};

/// The kernel's limit for jumps.
const MAX_DEPTH: usize = 16;

/// Rules that are evaluated for one base chain.
// A chain is evaluated once per jump to it, so there may be far more than the ruleset has.
const MAX_RULES: usize = 100_000;

/// Name and number of the loopback interface.
const LOOPBACK: &[u8] = b"lo\0";
const LOOPBACK_INDEX: u32 = 1;

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    fn negated(self, negated: bool) -> Self {
        match self {
            Self::Yes if negated => Self::No,
            Self::No if negated => Self::Yes,
            other => other,
        }
    }
}

/// An element that a key matched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// Its key; of an interval, the first address.
    pub(crate) key: Vec<u8>,
    /// Time left, if it ends by itself.
    pub(crate) left: Option<Duration>,
    pub(crate) marked: bool,
    /// The object it names.
    pub(crate) counter: Option<String>,
    /// Its verdict, in a verdict map.
    pub(crate) verdict: Option<Verdict>,
    /// Its value, in a map.
    pub(crate) data: Option<Vec<u8>>,
}

/// Whether a set matches a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Membership {
    Has(Element),
    Lacks,
    Unknown,
}

/// The elements of all sets.
pub(crate) trait Sets {
    /// Looks for a key of the right length.
    fn find(&mut self, set: &SetKey, key: &[u8]) -> Membership;
}

/// A look-up of a rule, and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetLookup {
    pub(crate) set: String,
    /// The element; `None` when there is none.
    pub(crate) element: Option<Element>,
}

/// The position of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) chain: String,
    pub(crate) handle: u64,
}

/// A rule that matched, or that looked something up in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) place: Place,
    pub(crate) lookups: Vec<SetLookup>,
    /// Its verdict, when it matched.
    pub(crate) verdict: Option<Verdict>,
}

/// A rule that cannot be evaluated, and whose verdict would be final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) place: Place,
    pub(crate) verdict: Verdict,
}

/// The effect of a base chain on a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The verdict, as far as it can be evaluated.
    pub(crate) verdict: Verdict,
    /// The rule that gave it; `None` for the policy.
    pub(crate) by: Option<Place>,
    /// Rules that matched or looked something up.
    pub(crate) steps: Vec<Step>,
    /// Rules that may have decided before.
    pub(crate) doubts: Vec<Doubt>,
    /// The evaluation ended before all rules were evaluated.
    pub(crate) cut_off: bool,
}

impl Outcome {
    /// Rules that may deny the packet before the verdict is reached.
    pub(crate) fn may_deny(&self) -> impl Iterator<Item = &Doubt> {
        self.doubts
            .iter()
            .filter(|doubt| doubt.verdict.denies() || matches!(doubt.verdict, Verdict::Other(_)))
    }
}

pub(crate) fn base_chain(ruleset: &Ruleset, sets: &mut dyn Sets, chain: &Chain, packet: &Packet) -> Outcome {
    // A jump stays within its table, so names are unique here.
    let in_table = ruleset.chains.iter().filter(|one| one.family == chain.family && one.table == chain.table);
    let chains = in_table.map(|one| (one.name.as_str(), one)).collect();
    let mut walk = Walk {
        ruleset,
        sets,
        chains,
        packet,
        outcome: Outcome {
            verdict: Verdict::Accept,
            by: None,
            steps: Vec::new(),
            doubts: Vec::new(),
            cut_off: false,
        },
        rules: 0,
    };
    let decided = walk.chain(chain, true, 0);
    let mut outcome = walk.outcome;
    // The policy applies when no rule decides.
    if !decided && chain.base.as_ref().is_some_and(|base| !base.accepts) {
        outcome.verdict = Verdict::Drop;
    }
    outcome
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    sets: &'a mut dyn Sets,
    chains: HashMap<&'a str, &'a Chain>,
    packet: &'a Packet,
    outcome: Outcome,
    rules: usize,
}

impl Walk<'_> {
    /// Evaluates a chain; `true` when it decides. `certain`: the chain is surely reached.
    fn chain(&mut self, chain: &Chain, certain: bool, depth: usize) -> bool {
        // A ruleset that was read in parts may contain a loop, which the kernel would never accept.
        if depth > MAX_DEPTH {
            self.outcome.cut_off = true;
            return false;
        }
        for rule in &chain.rules {
            self.rules += 1;
            if self.rules > MAX_RULES {
                self.outcome.cut_off = true;
                return false;
            }
            let place = || Place { chain: chain.name.clone(), handle: rule.handle };
            let (truth, verdict, lookups) = self.rule(chain, &rule.expressions);
            let matched = truth == Truth::Yes;
            if certain && truth != Truth::Unknown && (!lookups.is_empty() || (matched && verdict.is_some())) {
                let verdict = verdict.clone().filter(|_| matched);
                self.outcome.steps.push(Step { place: place(), lookups, verdict });
            }
            if truth == Truth::No {
                continue;
            }
            // A rule without a verdict, such as one that counts, changes nothing.
            let Some(verdict) = verdict else { continue };
            let reached = certain;
            // Behind a rule that may not match nothing is certain, but doubts in there still count.
            let certain = certain && matched;
            let ends = match &verdict {
                Verdict::Continue => continue,
                Verdict::Jump(name) | Verdict::Goto(name) => {
                    let target = self.chains.get(name.as_str()).copied();
                    // A missing chain was deleted while the rules were read.
                    if target.is_some_and(|target| self.chain(target, certain, depth + 1)) && matched {
                        return true;
                    }
                    matches!(verdict, Verdict::Goto(_))
                }
                Verdict::Return => {
                    // In a chain that may not be reached at all, an uncertain return changes nothing.
                    if reached && !matched {
                        self.outcome.doubts.push(Doubt { place: place(), verdict });
                    }
                    true
                }
                // It is not known whether this ends the evaluation, so the rules behind it are evaluated as well.
                Verdict::Other(_) => {
                    self.outcome.doubts.push(Doubt { place: place(), verdict });
                    false
                }
                Verdict::Accept | Verdict::Drop | Verdict::Reject => {
                    if certain {
                        self.outcome.verdict = verdict;
                        self.outcome.by = Some(place());
                    } else {
                        self.outcome.doubts.push(Doubt { place: place(), verdict });
                    }
                    if matched {
                        return true;
                    }
                    false
                }
            };
            if ends && matched {
                return false;
            }
        }
        false
    }

    /// Evaluates a rule: whether it matches, its verdict if it has one, and what it looked up.
    fn rule(
        &mut self,
        chain: &Chain,
        expressions: &[Expression],
    ) -> (Truth, Option<Verdict>, Vec<SetLookup>) {
        let mut registers = Registers::default();
        let (mut truth, mut verdict, mut lookups) = (Truth::Yes, None, Vec::new());
        for expression in expressions {
            let holds = match expression {
                Expression::Neutral => Truth::Yes,
                Expression::Opaque(_) => {
                    registers.forget();
                    Truth::Unknown
                }
                // The register it loads into is not known, so none can be trusted afterwards.
                Expression::Load(Content::Unknown(usize::MAX), _) => {
                    registers.forget();
                    Truth::Yes
                }
                Expression::Load(content, register) => {
                    registers.store(*register, self.packet.load(content));
                    if *content == Content::Interface {
                        registers.holds_interface(*register);
                    }
                    Truth::Yes
                }
                Expression::Bits { from, to, mask, xor } => {
                    let value = registers.get(*from, mask.len());
                    let bits = value.into_iter().zip(mask).zip(xor);
                    let bits = bits.map(|((byte, mask), xor)| match byte {
                        Some(byte) => Some((byte & mask) ^ xor),
                        // Cleared by the mask, an unknown byte becomes known.
                        None => (*mask == 0).then_some(*xor),
                    });
                    registers.store(*to, bits.collect());
                    Truth::Yes
                }
                Expression::Compare(register, comparison, value) => {
                    if registers.is_interface(*register) {
                        interface(*comparison, value)
                    } else {
                        compare(&registers.get(*register, value.len()), *comparison, value)
                    }
                }
                Expression::Range { register, inside, from, to } => {
                    match registers.known(*register, from.len()) {
                        Some(value) => Truth::of((from <= &value && &value <= to) == *inside),
                        None => Truth::Unknown,
                    }
                }
                Expression::Lookup { set, register, inverted, result } => {
                    let (found, element) = self.look_up(chain, set, (&registers, *register));
                    if let Some(register) = result {
                        let value = element.as_ref().and_then(|element| element.data.as_ref());
                        let value = value.map(|data| data.iter().copied().map(Some).collect());
                        match register {
                            // Register 0 is the verdict.
                            0 => verdict = element.as_ref().and_then(|element| element.verdict.clone()),
                            _ => registers.store(*register, value.unwrap_or_else(|| vec![None; 16])),
                        }
                        // A verdict map that cannot be looked up might do anything.
                        if *register == 0 && found == Truth::Unknown {
                            verdict = Some(Verdict::Other(format!("map {set}")));
                        }
                    }
                    if found != Truth::Unknown {
                        lookups.push(SetLookup { set: set.clone(), element });
                    }
                    found.negated(*inverted)
                }
                Expression::Verdict(found) => {
                    verdict = Some(found.clone());
                    Truth::Yes
                }
            };
            match holds {
                Truth::Yes => {}
                // The kernel ends a rule at the first expression that does not match. After one that is unknown, a
                // later one can still rule it out.
                Truth::No => return (Truth::No, None, lookups),
                Truth::Unknown => truth = Truth::Unknown,
            }
        }
        (truth, verdict, lookups)
    }

    fn look_up(
        &mut self,
        chain: &Chain,
        set: &str,
        (registers, register): (&Registers, u32),
    ) -> (Truth, Option<Element>) {
        let key: SetKey = (chain.family, chain.table.clone(), set.to_owned());
        let Some(shape) = self.ruleset.sets.get(&key) else { return (Truth::Unknown, None) };
        let Some(value) = registers.known(register, shape.key_bytes) else { return (Truth::Unknown, None) };
        match self.sets.find(&key, &value) {
            Membership::Has(element) => (Truth::Yes, Some(element)),
            Membership::Lacks => (Truth::No, None),
            Membership::Unknown => (Truth::Unknown, None),
        }
    }
}

/// Compares an interface: the packet does not use loopback, and nothing else is known.
fn interface(comparison: Comparison, value: &[u8]) -> Truth {
    let loopback = value.starts_with(LOOPBACK) || value == LOOPBACK_INDEX.to_ne_bytes();
    match comparison {
        Comparison::Equal if loopback => Truth::No,
        Comparison::NotEqual if loopback => Truth::Yes,
        _ => Truth::Unknown,
    }
}

fn compare(held: &[Option<u8>], comparison: Comparison, value: &[u8]) -> Truth {
    // One known byte that differs is enough, whatever the unknown ones are.
    let differs = held.iter().zip(value).any(|(held, value)| held.is_some_and(|held| held != *value));
    match (comparison, held.iter().copied().collect::<Option<Vec<u8>>>()) {
        (Comparison::Equal, _) if differs => Truth::No,
        (Comparison::NotEqual, _) if differs => Truth::Yes,
        (_, None) => Truth::Unknown,
        (comparison, Some(held)) => {
            let order = held.as_slice().cmp(value);
            Truth::of(match comparison {
                Comparison::Equal => order.is_eq(),
                Comparison::NotEqual => order.is_ne(),
                Comparison::Less => order.is_lt(),
                Comparison::AtMost => order.is_le(),
                Comparison::Greater => order.is_gt(),
                Comparison::AtLeast => order.is_ge(),
            })
        }
    }
}

#[cfg(test)]
mod tests;
