//! Removes tracked connections of newly banned addresses. The kernel would let their packets pass as part of an
//! established or offloaded flow; without the entry they meet the rules anew.

use std::net::{IpAddr, Ipv4Addr};

use netlink_bindings::conntrack::{IterableTupleAttrs, OpGetDump, PushConntrackAttrs};
use netlink_bindings::traits::NetlinkRequest;
use netlink_bindings::utils::IterateAttrs;

use crate::exempt::{covers, merge};
use crate::layout::Layout;
use crate::netlink::{Dump, NetlinkError, Socket, nfproto};
use crate::plan::{Change, Plan};
use crate::target::{Purpose, SetId};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 1;
const IPCTNL_MSG_CT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
/// The source address of a tuple, in the flags of a filter.
const CTA_FILTER_F_IP_SRC: u32 = 1;

/// New addresses up to which the kernel is asked for their connections only.
// Each costs two filtered dumps; for more, or for ranges, one dump of everything is cheaper.
const FEW: usize = 8;

/// What was newly banned.
#[derive(Debug)]
pub(crate) struct Banned {
    /// Sorted.
    hosts: Vec<IpAddr>,
    /// Sorted and disjoint.
    ranges: Vec<(IpAddr, IpAddr)>,
    exempt: Vec<(IpAddr, IpAddr)>,
}

impl Banned {
    /// What a plan bans that was not banned before, as far as single changes show. `exempt` is sorted and disjoint.
    pub(crate) fn new(layout: &Layout, plan: &Plan, exempt: Vec<(IpAddr, IpAddr)>) -> Self {
        let bans = |set: SetId| layout.target(set).purpose != Purpose::Allow;
        let (mut hosts, mut ranges) = (Vec::new(), Vec::new());
        for change in &plan.changes {
            match change {
                // A renewed ban is no new one: its connections were removed already.
                Change::Element { net, remove: None, add: Some(_) } => {
                    if net.prefix_len() == net.max_prefix_len() {
                        hosts.push(net.addr());
                    } else {
                        ranges.push((net.network(), net.broadcast()));
                    }
                }
                Change::Cell { .. } | Change::Element { .. } => {}
                Change::Intervals { remove, add } => {
                    // A group is rewritten as a whole, so what was banned before is among the removed intervals.
                    let old =
                        |first, last| remove.iter().any(|gone| gone.first <= first && last <= gone.last);
                    let new = add.iter().filter(|come| bans(come.set) && !old(come.first, come.last));
                    ranges.extend(new.map(|come| (come.first, come.last)));
                }
            }
        }
        hosts.sort_unstable();
        merge(&mut ranges);
        Self { hosts, ranges, exempt }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.ranges.is_empty()
    }

    fn covers(&self, address: IpAddr) -> bool {
        let banned = self.hosts.binary_search(&address).is_ok() || covers(&self.ranges, address);
        banned && !address.is_loopback() && !covers(&self.exempt, address)
    }
}

/// A connection to be removed: its family and the attributes that name it.
type Flow = (u8, Vec<u8>);

/// Removes the connections that a banned address opened, or that were opened to it. Returns how many. Blocks.
pub(crate) fn cut(banned: &Banned) -> Result<u64, NetlinkError> {
    let mut socket = Socket::open()?;
    let hosts = banned.hosts.iter().map(|host| match host {
        IpAddr::V4(host) => Some(*host),
        IpAddr::V6(_) => None,
    });
    // One IPv6 address makes it `None`: kernels (6.18 among them) take the address of an IPv6 filter for the one to
    // leave out.
    let few = hosts.collect::<Option<Vec<Ipv4Addr>>>();
    let few = few.filter(|few| few.len() <= FEW && banned.ranges.is_empty());
    let mut flows = Vec::new();
    match few {
        Some(few) => {
            for host in few {
                // The address may have opened the connection, or answered one that was opened here.
                flows.extend(flows_from(&mut socket, banned, Some((host, false)))?);
                flows.extend(flows_from(&mut socket, banned, Some((host, true)))?);
            }
        }
        None => flows = flows_from(&mut socket, banned, None)?,
    }
    let mut cut = 0;
    for (family, name) in flows {
        let question =
            Dump { what: "the removal of a tracked connection", kind: IPCTNL_MSG_CT_DELETE, family };
        match socket.ask(question, |buf| buf.extend_from_slice(&name), |_| {}) {
            Ok(()) => cut += 1,
            // It has ended, or both directions named it.
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(cut)
}

/// The connections with a banned address. `hint` limits the dump to the connections of one address, in the original or
/// the reply direction.
fn flows_from(
    socket: &mut Socket,
    banned: &Banned,
    hint: Option<(Ipv4Addr, bool)>,
) -> Result<Vec<Flow>, NetlinkError> {
    let dump = |family| Dump { what: "the tracked connections", kind: IPCTNL_MSG_CT_GET, family };
    let each = |flows: &mut Vec<Flow>, payload: &[u8]| flows.extend(banned_flow(banned, payload));
    // Only a hint: a kernel that does not know the filter sends all connections, or refuses it. What comes is checked
    // in any case.
    if let Some((address, reply)) = hint {
        match socket.dump(dump(nfproto::IPV4), |buf| filter(buf, address, reply), Vec::new, each) {
            Err(NetlinkError::Refused { .. }) => {}
            done => return done,
        }
    }
    socket.dump(dump(nfproto::UNSPEC), |_| {}, Vec::new, each)
}

fn filter(buf: &mut Vec<u8>, source: Ipv4Addr, reply: bool) {
    let attributes = PushConntrackAttrs::new(buf);
    let attributes = if reply {
        attributes.nested_tuple_reply().nested_tuple_ip().push_ip_v4_src(source).end_nested().end_nested()
    } else {
        attributes.nested_tuple_orig().nested_tuple_ip().push_ip_v4_src(source).end_nested().end_nested()
    };
    let (orig, back) = if reply { (0, CTA_FILTER_F_IP_SRC) } else { (CTA_FILTER_F_IP_SRC, 0) };
    attributes.nested_filter().push_orig_flags(orig).push_reply_flags(back).end_nested().end_nested();
}

fn banned_flow(banned: &Banned, payload: &[u8]) -> Option<Flow> {
    let (_, attributes) = OpGetDump::decode_reply(payload);
    // The source of the reply is the far end of a connection that was opened here; the destination of the original may
    // be an address before translation.
    let opener = attributes.get_tuple_orig().ok().and_then(|tuple| source(&tuple));
    let answerer = attributes.get_tuple_reply().ok().and_then(|tuple| source(&tuple));
    if ![opener, answerer].into_iter().flatten().any(|address| banned.covers(address)) {
        return None;
    }
    let (header, attributes) = payload.split_at_checked(4)?;
    // The tuple alone might name a newer connection with the same ports; the id is unique.
    let naming = IterateAttrs::new(attributes).filter(|attribute| {
        let kind = attribute.get(2..4).map_or(0, |kind| u16::from_ne_bytes([kind[0], kind[1]]));
        // The upper two bits are flags (nested, byte order).
        matches!(kind & 0x3fff, CTA_TUPLE_ORIG | CTA_ID | CTA_ZONE)
    });
    Some((header[0], naming.collect::<Vec<_>>().concat()))
}

fn source(tuple: &IterableTupleAttrs<'_>) -> Option<IpAddr> {
    let ip = tuple.get_tuple_ip().ok()?;
    ip.get_ip_v4_src().map(IpAddr::V4).or_else(|_| ip.get_ip_v6_src().map(IpAddr::V6)).ok()
}
