//! Reads chains, rules, sets and single elements of every table from the kernel. Changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use netlink_bindings::nftables::{
    IterableSetelemAttrs, OpDelsetelemDo, OpGetchainDo, OpGetruleDo, OpGetsetDo, OpGettableDo,
    PushSetelemListAttrs, SetElemFlags,
};
use netlink_bindings::traits::NetlinkRequest as _;
use netlink_bindings::utils::find_attr;

use super::evaluate::{Element, Membership, Sets};
use super::expression::{expressions, verdict};
use super::ruleset::{Base, Chain, Rule, Ruleset, SetKey, SetShape};
use crate::config::IpFamily;
use crate::found::flags;
use crate::layout::nfproto_of;
use crate::netlink::{
    Dump, MARK, NFT_MSG_GETCHAIN, NFT_MSG_GETRULE, NFT_MSG_GETSET, NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE,
    NFTA_SET_ELEM_OBJREF, NetlinkError, Socket, nfproto, text,
};

/// How often everything is read when it changes meanwhile.
const ATTEMPTS: usize = 3;

/// Families whose chains packets may pass before those of `ip`, `ip6` and `inet`: `NFPROTO_NETDEV` and `_BRIDGE`.
const UNREAD: [(u8, &str); 2] = [(5, "netdev"), (7, "bridge")];

/// The policy of a base chain that lets packets on (`NF_ACCEPT`).
const ACCEPT: u32 = 1;

/// Reads the chains that packets of an address family may pass.
pub(crate) fn ruleset(socket: &mut Socket, ip: IpFamily) -> Result<Ruleset, NetlinkError> {
    let mut attempt = 1;
    loop {
        // Each dump is consistent by itself; equal generations show that they belong together.
        let before = socket.generation()?;
        let mut ruleset = Ruleset::default();
        for family in [nfproto_of(ip), nfproto::INET] {
            read_family(socket, family, &mut ruleset)?;
        }
        // Their chains are not evaluated, but packets pass them first, so the report names them.
        for (family, table) in socket.tables()? {
            let unread = UNREAD.into_iter().find(|(number, _)| *number == family);
            ruleset.unread.extend(unread.map(|(_, name)| format!("{name} {table}")));
        }
        let settled = socket.generation()? == before;
        // On a host where rules change all the time an uncertain answer is better than none; the report has a note about it.
        if settled || attempt == ATTEMPTS {
            ruleset.unsettled = !settled;
            return Ok(ruleset);
        }
        attempt += 1;
    }
}

fn read_family(socket: &mut Socket, family: u8, ruleset: &mut Ruleset) -> Result<(), NetlinkError> {
    let dump = |what, kind| Dump { what, kind, family };
    let tables = socket.dump(
        dump("the tables", NFT_MSG_GETTABLE),
        |_| {},
        Vec::new,
        |tables, payload| {
            let (header, table) = OpGettableDo::decode_reply(payload);
            if header.nfgen_family == family {
                let dormant = table.get_flags().unwrap_or(0) & flags::DORMANT != 0;
                tables.push((family, text(table.get_name().ok()), dormant));
            }
        },
    )?;
    let mut chains = socket.dump(
        dump("the chains", NFT_MSG_GETCHAIN),
        |_| {},
        Vec::new,
        |chains, payload| {
            let (_, chain) = OpGetchainDo::decode_reply(payload);
            let base = chain.get_hook().ok().and_then(|hook| {
                Some(Base {
                    kind: text(chain.get_type().ok()),
                    hook: hook.get_num().ok()?,
                    priority: hook.get_priority().ok()?,
                    accepts: chain.get_policy().unwrap_or(ACCEPT) == ACCEPT,
                })
            });
            let (table, name) = (text(chain.get_table().ok()), text(chain.get_name().ok()));
            chains.push(Chain { family, table, name, base, rules: Vec::new() });
        },
    )?;
    let rules = socket.dump(
        dump("the rules", NFT_MSG_GETRULE),
        |_| {},
        Vec::new,
        |rules, payload| {
            let (_, rule) = OpGetruleDo::decode_reply(payload);
            let expressions = expressions(rule.get_expressions().ok().as_ref());
            let handle = rule.get_handle().map_or(0, u64::from);
            let place = (text(rule.get_table().ok()), text(rule.get_chain().ok()));
            rules.push((place, Rule { handle, expressions }));
        },
    )?;
    let places = chains.iter().enumerate().map(|(at, chain)| ((chain.table.clone(), chain.name.clone()), at));
    let places: HashMap<_, _> = places.collect();
    for (place, rule) in rules {
        if let Some(at) = places.get(&place) {
            chains[*at].rules.push(rule);
        }
    }
    let sets = socket.dump(
        dump("the sets", NFT_MSG_GETSET),
        |_| {},
        Vec::new,
        |sets, payload| {
            let (_, set) = OpGetsetDo::decode_reply(payload);
            let key: SetKey = (family, text(set.get_table().ok()), text(set.get_name().ok()));
            let key_bytes = set.get_key_len().unwrap_or(0) as usize;
            sets.push((key, SetShape { flags: set.get_flags().unwrap_or(0), key_bytes }));
        },
    )?;
    // Chains of a dormant table are not attached to their hooks.
    chains.retain(|chain| !tables.iter().any(|(_, name, dormant)| *dormant && *name == chain.table));
    ruleset.chains.extend(chains);
    ruleset.tables.extend(tables);
    ruleset.sets.extend(sets);
    Ok(())
}

/// Looks elements up in the kernel's sets, one at a time.
#[derive(Debug)]
pub(crate) struct KernelElements<'a> {
    pub(crate) socket: &'a mut Socket,
}

impl Sets for KernelElements<'_> {
    fn find(&mut self, set: &SetKey, key: &[u8]) -> Membership {
        match self.element(set, Some(key)) {
            Ok(Some(element)) => Membership::Has(element),
            // A set may have a catch-all element, for every other key.
            Ok(None) => match self.element(set, None) {
                Ok(Some(element)) => Membership::Has(element),
                Ok(None) => Membership::Lacks,
                // Older kernels do not know catch-all elements, and refuse the flag.
                Err(_) => Membership::Lacks,
            },
            Err(_) => Membership::Unknown,
        }
    }
}

impl KernelElements<'_> {
    /// The element that a key matches, also inside of an interval; without a key the one for all others.
    fn element(
        &mut self,
        (family, table, set): &SetKey,
        key: Option<&[u8]>,
    ) -> Result<Option<Element>, NetlinkError> {
        let question = Dump { what: "an element of a set", kind: NFT_MSG_GETSETELEM, family: *family };
        let mut found = None;
        let asked = self.socket.ask(
            question,
            |buf| {
                let list = PushSetelemListAttrs::new(buf)
                    .push_table_bytes(table.as_bytes())
                    .push_set_bytes(set.as_bytes());
                let element = list.nested_elements().nested_elem();
                let element = match key {
                    Some(key) => element.nested_key().push_value(key).end_nested(),
                    None => element.push_flags(&(SetElemFlags::Catchall as u32).to_be_bytes()),
                };
                element.end_nested().end_nested().end_nested();
            },
            |payload| {
                let (_, list) = OpDelsetelemDo::decode_request(payload);
                let elements = list.get_elements().ok();
                found = elements.and_then(|list| list.get_elem().next()).map(|element| decode(&element));
            },
        );
        match asked {
            Ok(()) => Ok(found),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn decode(element: &IterableSetelemAttrs<'_>) -> Element {
    let object = find_attr(element.get_buf(), NFTA_SET_ELEM_OBJREF);
    let object = object.map(|name| name.strip_suffix(&[0]).unwrap_or(name));
    let data = element.get_data().ok();
    Element {
        key: element.get_key().ok().and_then(|key| key.get_value().ok()).unwrap_or_default().to_vec(),
        left: element.get_expiration().ok().map(|millis| Duration::from_millis(u64::from_be(millis))),
        marked: element.get_userdata().is_ok_and(|data| data == MARK),
        counter: object.map(|name| String::from_utf8_lossy(name).into_owned()),
        verdict: data.as_ref().and_then(|data| data.get_verdict().ok()).and_then(|found| verdict(&found)),
        data: data.and_then(|data| data.get_value().ok()).map(<[u8]>::to_vec),
    }
}
