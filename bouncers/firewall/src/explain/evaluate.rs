//! What a chain does with a packet of which only a part is known, with three-valued logic.
//!
//! A rule matches, does not match, or cannot be judged: because it looks at something unknown (an interface, a mark, a
//! port that was not given) or does something that is not understood here. Rules that cannot be judged are passed over
//! and listed as doubts.
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

/// Rules that are looked at for one base chain.
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
    /// Whether it carries our mark.
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

/// A look-up of a rule and what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetLookup {
    /// The set.
    pub(crate) set: String,
    /// The element; `None` when there is none.
    pub(crate) element: Option<Element>,
}

/// A rule, where it is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its chain.
    pub(crate) chain: String,
    /// Its handle.
    pub(crate) handle: u64,
}

/// A rule that matched, or that looked something up in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// The rule.
    pub(crate) place: Place,
    /// What it looked up.
    pub(crate) lookups: Vec<SetLookup>,
    /// Its verdict, when it matched.
    pub(crate) verdict: Option<Verdict>,
}

/// A rule that cannot be judged and would decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// The rule.
    pub(crate) place: Place,
    /// What it would do.
    pub(crate) verdict: Verdict,
}

/// What a base chain does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The verdict, as far as it can be judged.
    pub(crate) verdict: Verdict,
    /// The rule that gave it; `None` for the policy.
    pub(crate) by: Option<Place>,
    /// Rules that matched or looked something up.
    pub(crate) steps: Vec<Step>,
    /// Rules that may have decided before.
    pub(crate) doubts: Vec<Doubt>,
    /// There were more rules than are looked at.
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

/// Evaluates a base chain.
pub(crate) fn base_chain(ruleset: &Ruleset, sets: &mut dyn Sets, chain: &Chain, packet: &Packet) -> Outcome {
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
    /// Goes through a chain; `true` when it decides. `certain`: the chain is surely reached.
    fn chain(&mut self, chain: &Chain, certain: bool, depth: usize) -> bool {
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
            let Some(verdict) = verdict else { continue };
            let reached = certain;
            let certain = certain && matched;
            let ends = match &verdict {
                Verdict::Continue => continue,
                Verdict::Jump(name) | Verdict::Goto(name) => {
                    let target = self.chains.get(name.as_str()).copied();
                    if target.is_some_and(|target| self.chain(target, certain, depth + 1)) && matched {
                        return true;
                    }
                    matches!(verdict, Verdict::Goto(_))
                }
                Verdict::Return => {
                    // Where the chain may not be reached at all, to leave it changes nothing.
                    if reached && !matched {
                        self.outcome.doubts.push(Doubt { place: place(), verdict });
                    }
                    true
                }
                // Whether anything of a kind that is not understood decides is not known.
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

    /// Whether a rule matches, its verdict if it has one, and what it looked up.
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
                            0 => verdict = element.as_ref().and_then(|element| element.verdict.clone()),
                            _ => registers.store(*register, value.unwrap_or_else(|| vec![None; 16])),
                        }
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

/// No packet from elsewhere comes in, or goes out, through the loopback interface; of the others nothing is known.
fn interface(comparison: Comparison, value: &[u8]) -> Truth {
    let loopback = value.starts_with(LOOPBACK) || value == LOOPBACK_INDEX.to_ne_bytes();
    match comparison {
        Comparison::Equal if loopback => Truth::No,
        Comparison::NotEqual if loopback => Truth::Yes,
        _ => Truth::Unknown,
    }
}

fn compare(held: &[Option<u8>], comparison: Comparison, value: &[u8]) -> Truth {
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
