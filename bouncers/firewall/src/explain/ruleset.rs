//! Represents chains and rules of any table as data. Pure.

use std::collections::HashMap;

/// The chains of every table that packets of one address family pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ruleset {
    /// All chains, of tables that are not dormant.
    pub(crate) chains: Vec<Chain>,
    /// Family and name of every table, and whether it is dormant.
    pub(crate) tables: Vec<(u8, String, bool)>,
    /// All sets and maps, anonymous ones included.
    pub(crate) sets: HashMap<SetKey, SetShape>,
    /// Tables of families that packets pass as well and that are not read.
    pub(crate) unread: Vec<String>,
    /// The ruleset changed while it was read, in every attempt.
    pub(crate) unsettled: bool,
}

/// Family of the table, the table and the set.
pub(crate) type SetKey = (u8, String, String);

/// What a set is, without its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetShape {
    /// `NFT_SET_*`.
    pub(crate) flags: u32,
    /// Bytes of a key.
    pub(crate) key_bytes: usize,
}

/// A chain with its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Family of its table, `NFPROTO_*`.
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    /// Where a base chain is attached.
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// `filter`, `nat` or `route`.
    pub(crate) kind: String,
    /// The hook's number.
    pub(crate) hook: u32,
    /// Lower ones are evaluated first.
    pub(crate) priority: i32,
    /// Whether the policy lets packets on.
    pub(crate) accepts: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The number that `nft -a list chain` shows.
    pub(crate) handle: u64,
    /// What it does, in order.
    pub(crate) expressions: Vec<Expression>,
}

/// One step of a rule. Registers are numbered as in `nf_tables.h`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Load a value into a register.
    Load(Content, u32),
    /// Mask, then flip bits.
    Bits { from: u32, to: u32, mask: Vec<u8>, xor: Vec<u8> },
    /// Continue if the comparison holds.
    Compare(u32, Comparison, Vec<u8>),
    /// Continue if the value is in the range, or outside of it.
    Range { register: u32, inside: bool, from: Vec<u8>, to: Vec<u8> },
    /// Continue if a set has the key, or has it not; `result` is the register for a map's value (0: it is a verdict).
    Lookup { set: String, register: u32, inverted: bool, result: Option<u32> },
    /// End the rule with a verdict.
    Verdict(Verdict),
    /// Always continues.
    Neutral,
    /// It is not known whether it continues.
    Opaque(String),
}

/// The value that is loaded into a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes of the network header: offset and length.
    Network(usize, usize),
    /// Bytes of the transport header: offset and length.
    Transport(usize, usize),
    EtherType,
    /// The network protocol, `NFPROTO_*`.
    Family,
    TransportProtocol,
    /// The name or number of an interface.
    Interface,
    ConnectionState,
    Constant(Vec<u8>),
    /// Something else, of this length.
    Unknown(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// What a rule does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Continue with the next base chain.
    Accept,
    /// Deny without a response.
    Drop,
    /// Deny with a response.
    Reject,
    /// Evaluate another chain, and continue here.
    Jump(String),
    /// Continue in another chain.
    Goto(String),
    /// Continue where the chain was called.
    Return,
    /// Continue with the next rule.
    Continue,
    /// Anything else, such as a queue.
    Other(String),
}

impl Verdict {
    /// Whether the packet is denied.
    pub(crate) fn denies(&self) -> bool {
        matches!(self, Self::Drop | Self::Reject)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Reject => f.write_str("reject"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Return => f.write_str("return"),
            Self::Continue => f.write_str("continue"),
            Self::Other(name) => f.write_str(name),
        }
    }
}
