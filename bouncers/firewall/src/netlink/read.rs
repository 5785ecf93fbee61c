//! Reads what the kernel holds: generation, tables, set headers, elements, counters, and a print of the structure that
//! changes with every change to it. Changes nothing.

use std::collections::HashSet;
use std::ffi::CStr;

use netlink_bindings::nftables::{
    IterableExprListAttrs, ObjData, ObjectType, OpGetchainDo, OpGetgenDo, OpGetobjDo, OpGetruleDo,
    OpGetsetDo, OpGettableDo, PushChainAttrs, PushObjAttrs, PushRuleAttrs, PushSetAttrs,
    PushSetelemListAttrs,
};
use netlink_bindings::traits::NetlinkRequest;
use rustix::io::Errno;

use super::element::{Held, decode_elements, host, pair_intervals};
use super::socket::{Dump, Reading, Socket, question};
use super::transaction::{NFT_MSG_NEWSETELEM, Transaction};
use super::{NetlinkError, Slot, Verb, encode_elements, nfproto};

const NFT: u16 = NFT_MSG_NEWSETELEM & 0xff00;
pub(crate) const NFT_MSG_GETTABLE: u16 = NFT | 1;
pub(crate) const NFT_MSG_GETCHAIN: u16 = NFT | 4;
pub(crate) const NFT_MSG_GETRULE: u16 = NFT | 7;
pub(crate) const NFT_MSG_GETSET: u16 = NFT | 10;
pub(crate) const NFT_MSG_GETSETELEM: u16 = NFT | 13;
const NFT_MSG_GETGEN: u16 = NFT | 16;
const NFT_MSG_GETOBJ: u16 = NFT | 19;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CounterValue {
    pub(crate) name: String,
    /// Packets since it was made.
    pub(crate) packets: u64,
    /// Bytes since it was made.
    pub(crate) bytes: u64,
    /// Its comment; empty when it has none.
    pub(crate) comment: String,
}

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableHeader {
    /// `NFT_TABLE_F_*`.
    pub(crate) flags: u32,
    /// How many chains, sets, objects and flow tables it holds.
    pub(crate) objects: u32,
}

/// What a set is, without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetHeader {
    pub(crate) name: String,
    /// `NFT_SET_*`.
    pub(crate) flags: u32,
    /// Bytes of a key.
    pub(crate) key_bytes: u32,
    /// How many elements it may hold, if that is bounded.
    pub(crate) size: Option<u32>,
}

/// What a chain is, without its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainHeader {
    pub(crate) name: String,
    /// Type, hook number, priority and policy of a base chain.
    pub(crate) base: Option<(String, u32, i32, u32)>,
}

/// Identity and settings of our objects in a table, without elements and counter values. Equal prints mean that the
/// objects were not touched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
// The kernel never reuses a handle within a table, nor a table's handle, and a rule never changes in place. So handles
// are enough, and no rule has to be decoded.
pub(crate) struct StructurePrint(Vec<(char, String, u64, u32, i64)>);

impl Socket {
    /// The number of the last committed transaction in this network namespace.
    pub(crate) fn generation(&mut self) -> Result<u32, NetlinkError> {
        let mut generation = None;
        let asked = question("the ruleset generation", NFT_MSG_GETGEN);
        self.ask(
            asked,
            |_| {},
            |payload| {
                generation = OpGetgenDo::decode_reply(payload).1.get_id().ok();
            },
        )?;
        generation.ok_or(NetlinkError::Receive { what: asked.what, cause: Errno::BADMSG })
    }

    /// Whether the kernel knows `DESTROYSETELEM` (6.3 and later). Changes nothing.
    pub(crate) fn knows_destroy(&mut self) -> Result<bool, NetlinkError> {
        // Asks about a table that cannot exist: a kernel that knows the message reports the missing table, an older one
        // refuses the message.
        let address = std::net::IpAddr::from([192, 0, 2, 1]);
        let slot = Slot::plain(address, address);
        let mut probe = Transaction::default();
        probe.elements(nfproto::IPV4, Verb::Destroy, |buf| {
            encode_elements(buf, "palisade probe: no such table", "none", false, Verb::Destroy, [slot])
        });
        match probe.commit(self)? {
            Ok(_) => Ok(true),
            Err(rejection) => Ok(rejection.names(Errno::NOENT)),
        }
    }

    /// Families and names of all tables.
    pub(crate) fn tables(&mut self) -> Result<Vec<(u8, String)>, NetlinkError> {
        self.dump(
            question("the tables", NFT_MSG_GETTABLE),
            |_| {},
            Vec::new,
            |tables, payload| {
                let (header, table) = OpGettableDo::decode_reply(payload);
                tables.push((header.nfgen_family, text(table.get_name().ok())));
            },
        )
    }

    pub(crate) fn table(&mut self, family: u8, table: &str) -> Result<Option<TableHeader>, NetlinkError> {
        self.dump(
            Dump { what: "the tables", kind: NFT_MSG_GETTABLE, family },
            |_| {},
            || None,
            |table_header, payload| {
                let (header, found) = OpGettableDo::decode_reply(payload);
                if header.nfgen_family == family && text(found.get_name().ok()) == table {
                    let (flags, objects) =
                        (found.get_flags().unwrap_or(0), found.get_use().unwrap_or(u32::MAX));
                    *table_header = Some(TableHeader { flags, objects });
                }
            },
        )
    }

    pub(crate) fn chains(&mut self, family: u8, table: &str) -> Result<Vec<ChainHeader>, NetlinkError> {
        self.dump(
            Dump { what: "the chains of a table", kind: NFT_MSG_GETCHAIN, family },
            |buf| {
                PushChainAttrs::new(buf).push_table_bytes(table.as_bytes()).end_nested();
            },
            Vec::new,
            |chains, payload| {
                let (_, chain) = OpGetchainDo::decode_reply(payload);
                // Not every dump is filtered by table in the kernel, so the name is compared here.
                if text(chain.get_table().ok()) == table {
                    let base = chain.get_hook().ok().and_then(|hook| {
                        let kind = text(chain.get_type().ok());
                        Some((
                            kind,
                            hook.get_num().ok()?,
                            hook.get_priority().ok()?,
                            chain.get_policy().ok()?,
                        ))
                    });
                    chains.push(ChainHeader { name: text(chain.get_name().ok()), base });
                }
            },
        )
    }

    /// The rules of a table with the chains they are in, in order, each as `read` makes it of its expressions and its
    /// comment.
    pub(crate) fn rules<T>(
        &mut self,
        family: u8,
        table: &str,
        read: impl Fn(Option<&IterableExprListAttrs<'_>>, &str) -> T,
    ) -> Result<Vec<(String, T)>, NetlinkError> {
        self.dump(
            Dump { what: "the rules of a table", kind: NFT_MSG_GETRULE, family },
            |buf| {
                PushRuleAttrs::new(buf).push_table_bytes(table.as_bytes()).end_nested();
            },
            Vec::new,
            |rules, payload| {
                let (_, rule) = OpGetruleDo::decode_reply(payload);
                if text(rule.get_table().ok()) == table {
                    let expressions = rule.get_expressions().ok();
                    let read = read(expressions.as_ref(), &comment(rule.get_userdata().ok()));
                    rules.push((text(rule.get_chain().ok()), read));
                }
            },
        )
    }

    /// The named sets of a table and its maps of counters, in the order they were made. Anonymous sets and maps of data
    /// are left out.
    pub(crate) fn sets(&mut self, family: u8, table: &str) -> Result<Vec<SetHeader>, NetlinkError> {
        self.dump(
            Dump { what: "the sets of a table", kind: NFT_MSG_GETSET, family },
            |buf| {
                PushSetAttrs::new(buf).push_table_bytes(table.as_bytes()).end_nested();
            },
            Vec::new,
            |sets, payload| {
                let (_, set) = OpGetsetDo::decode_reply(payload);
                let flags = set.get_flags().unwrap_or(0);
                if text(set.get_table().ok()) == table && flags & ANONYMOUS_OR_DATA == 0 {
                    let name = text(set.get_name().ok());
                    let key_bytes = set.get_key_len().unwrap_or(0);
                    let size = set.get_desc().and_then(|desc| desc.get_size()).ok();
                    sets.push(SetHeader { name, flags, key_bytes, size });
                }
            },
        )
    }

    /// All elements of a set that have not expired.
    pub(crate) fn elements(
        &mut self,
        family: u8,
        table: &str,
        set: &str,
        interval: bool,
        reading: Reading,
    ) -> Result<Vec<Held>, NetlinkError> {
        let dump = Dump { what: "the elements of a set", kind: NFT_MSG_GETSETELEM, family };
        let attributes = |buf: &mut Vec<u8>| {
            PushSetelemListAttrs::new(buf)
                .push_table_bytes(table.as_bytes())
                .push_set_bytes(set.as_bytes())
                .end_nested();
        };
        if interval {
            self.read(dump, reading, attributes, Vec::new, |raw, payload| {
                raw.extend(decode_elements(payload))
            })
            .map(pair_intervals)
        } else {
            self.read(dump, reading, attributes, Vec::new, |held, payload| {
                held.extend(decode_elements(payload).map(host));
            })
        }
    }

    pub(crate) fn counters(&mut self, family: u8, table: &str) -> Result<Vec<CounterValue>, NetlinkError> {
        self.dump(
            Dump { what: "the counters of a table", kind: NFT_MSG_GETOBJ, family },
            |buf| {
                PushObjAttrs::new(buf)
                    .push_table_bytes(table.as_bytes())
                    .push_type(ObjectType::Counter as u32)
                    .end_nested();
            },
            Vec::new,
            |counters, payload| {
                let (_, object) = OpGetobjDo::decode_reply(payload);
                if let Ok(ObjData::Counter(value)) = object.get_data()
                    && text(object.get_table().ok()) == table
                {
                    counters.push(CounterValue {
                        name: text(object.get_name().ok()),
                        packets: value.get_packets().unwrap_or(0),
                        bytes: value.get_bytes().unwrap_or(0),
                        comment: comment(object.get_userdata().ok()),
                    });
                }
            },
        )
    }

    /// The print of a table's structure, as far as chains and sets of these names are concerned; empty when there is no
    /// such table.
    pub(crate) fn structure(
        &mut self,
        family: u8,
        table: &str,
        names: &HashSet<String>,
    ) -> Result<StructurePrint, NetlinkError> {
        let mut print = Vec::new();
        print.extend(self.dump(
            Dump { what: "the tables", kind: NFT_MSG_GETTABLE, family },
            |_| {},
            Vec::new,
            |print, payload| {
                let (header, found) = OpGettableDo::decode_reply(payload);
                if header.nfgen_family == family && text(found.get_name().ok()) == table {
                    let handle = found.get_handle().unwrap_or(0);
                    print.push(('t', String::new(), handle, found.get_flags().unwrap_or(0), 0));
                }
            },
        )?);
        if print.is_empty() {
            return Ok(StructurePrint::default());
        }
        print.extend(self.dump(
            Dump { what: "the chains of a table", kind: NFT_MSG_GETCHAIN, family },
            |buf| {
                PushChainAttrs::new(buf).push_table_bytes(table.as_bytes()).end_nested();
            },
            Vec::new,
            |print, payload| {
                let (_, chain) = OpGetchainDo::decode_reply(payload);
                if text(chain.get_table().ok()) == table {
                    let hook = chain.get_hook().ok();
                    // Hook and priority in one number: hooks are 0 to 4.
                    let priority =
                        hook.as_ref().and_then(|hook| hook.get_priority().ok()).map_or(0, i64::from);
                    let number = hook.and_then(|hook| hook.get_num().ok()).map_or(0, i64::from);
                    let policy = chain.get_policy().unwrap_or(u32::MAX);
                    let name = text(chain.get_name().ok());
                    print.push(('c', name, chain.get_handle().unwrap_or(0), policy, priority * 16 + number));
                }
            },
        )?);
        print.extend(self.dump(
            Dump { what: "the rules of a table", kind: NFT_MSG_GETRULE, family },
            |buf| {
                PushRuleAttrs::new(buf).push_table_bytes(table.as_bytes()).end_nested();
            },
            Vec::new,
            |print, payload| {
                let (_, rule) = OpGetruleDo::decode_reply(payload);
                if text(rule.get_table().ok()) == table {
                    print.push(('r', text(rule.get_chain().ok()), rule.get_handle().unwrap_or(0), 0, 0));
                }
            },
        )?);
        print.extend(self.dump(
            Dump { what: "the sets of a table", kind: NFT_MSG_GETSET, family },
            |buf| {
                PushSetAttrs::new(buf).push_table_bytes(table.as_bytes()).end_nested();
            },
            Vec::new,
            |print, payload| {
                let (_, set) = OpGetsetDo::decode_reply(payload);
                if text(set.get_table().ok()) == table {
                    let name = text(set.get_name().ok());
                    print.push(('s', name, set.get_handle().unwrap_or(0), set.get_flags().unwrap_or(0), 0));
                }
            },
        )?);
        // Objects of others in a shared table may change without a repair.
        print.retain(|(kind, name, ..)| *kind == 't' || names.contains(name));
        Ok(StructurePrint(print))
    }
}

// Anonymous sets belong to rules of others; a map of data (`NFT_SET_MAP`) is never ours.
const ANONYMOUS_OR_DATA: u32 = 1 | 8;

/// The comment in the user data of a rule or an object: type 0, length, text with its zero.
fn comment(data: Option<&[u8]>) -> String {
    let mut rest = data.unwrap_or_default();
    while let [kind, length, tail @ ..] = rest {
        let Some((value, after)) = tail.split_at_checked(usize::from(*length)) else { break };
        if *kind == 0 {
            let value = value.strip_suffix(&[0]).unwrap_or(value);
            return String::from_utf8_lossy(value).into_owned();
        }
        rest = after;
    }
    String::new()
}

pub(crate) fn text(name: Option<&CStr>) -> String {
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
