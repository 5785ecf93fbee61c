//! Reports every change of the ruleset when it is committed (multicast group `NFNLGRP_NFTABLES`).

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::Arc;

use netlink_bindings::nftables::OpGetgenDo;
use netlink_bindings::traits::NetlinkRequest;
use netlink_bindings::utils::find_attr;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, netlink, recv};
use tokio::net::UdpSocket;

use super::NetlinkError;
use super::frame::{Frames, Message};
use super::socket::{grow_receive_buffer, raw_socket};

/// `NFNLGRP_NFTABLES` is group 7; the bind mask counts groups from 1.
const GROUP_MASK: u32 = 1 << (7 - 1);
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_DELSETELEM: u16 = 14;
const NFT_MSG_NEWGEN: u16 = 15;
const NFT_MSG_NEWOBJ: u16 = 18;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_DELCHAIN: u16 = 5;
/// Every table-bound nftables message names its table in attribute 1.
const TABLE_ATTRIBUTE: u16 = 1;
/// The name of a chain; attribute 2 is its handle.
const CHAIN_NAME_ATTRIBUTE: u16 = 3;
/// The chain of a rule, the name of a set or an object, the set of elements.
const NAME_ATTRIBUTE: u16 = 2;
const READ_BYTES: usize = 64 << 10;

/// What a generation changed in a watched table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Touched {
    /// A table, chain, rule, set or object was added, removed or changed.
    pub(crate) structure: bool,
    /// Set elements were added, removed or changed. Elements that time out are not announced.
    pub(crate) elements: bool,
}

/// A change of the ruleset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A transaction, perhaps of this process, changed a watched table.
    Committed {
        generation: u32,
        /// What it changed in the watched tables.
        touched: Touched,
        /// The program that did it.
        program: String,
    },
    /// Notifications were lost: anything may have changed.
    Overrun,
}

/// A table whose changes matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    /// `NFPROTO_*`.
    pub(crate) family: u8,
    pub(crate) table: String,
    /// Whether elements added by others matter. Ours are never added over them, see [`super::Verb::AddNew`].
    pub(crate) additions: bool,
}

#[derive(Debug)]
pub(crate) struct Monitor {
    // A netlink socket in the type of another datagram socket: reading is the same system call, and the runtime waits
    // for it as for sockets of its own.
    socket: UdpSocket,
    filter: Filter,
    touched: Touched,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Filter {
    tables: Vec<Watched>,
    /// Names of chains and sets in them; `None` while all matter.
    names: Option<Arc<HashSet<String>>>,
}

impl Monitor {
    /// Subscribes to changes of anything in these tables. Must be called within the runtime.
    pub(crate) fn open(tables: Vec<Watched>) -> Result<Self, NetlinkError> {
        let fd =
            raw_socket(Some(netlink::NETFILTER), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, GROUP_MASK)
                .map_err(NetlinkError::Open)?;
        grow_receive_buffer(fd.as_fd());
        let socket = UdpSocket::from_std(fd.into()).map_err(NetlinkError::Open)?;
        let filter = Filter { tables, names: None };
        Ok(Self { socket, filter, touched: Touched::default(), buffer: vec![0; READ_BYTES] })
    }

    /// From now on only the tables themselves and chains and sets of these names matter.
    pub(crate) fn narrow(&mut self, names: Arc<HashSet<String>>) {
        self.filter.names = Some(names);
    }

    /// Waits for a change of a watched table. Cancel-safe: what was read before is kept.
    pub(crate) async fn next(&mut self) -> Result<Event, NetlinkError> {
        loop {
            let length = match self.socket.recv(&mut self.buffer).await {
                // A full buffer may mean that the datagram was cut.
                Ok(length) if length < self.buffer.len() => length,
                Ok(_truncated) => return Ok(self.overrun()),
                Err(error) => match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
                    Errno::NOBUFS => return Ok(self.overrun()),
                    Errno::INTR => continue,
                    cause => return Err(NetlinkError::Receive { what: "the change monitor", cause }),
                },
            };
            // The notifications of a commit end with its generation, and no datagram goes past it: at most one event is
            // in it.
            if let Some(event) = read_event(&self.buffer[..length], &self.filter, &mut self.touched) {
                return Ok(event);
            }
        }
    }

    /// A change whose notifications have already arrived.
    pub(crate) fn waiting(&mut self) -> Option<Result<Event, NetlinkError>> {
        loop {
            // Asks the kernel and not the runtime, which may not have seen yet that the socket is readable.
            let length = match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) if length < self.buffer.len() => length,
                Ok(_truncated) => return Some(Ok(self.overrun())),
                Err(Errno::AGAIN) => return None,
                Err(Errno::NOBUFS) => return Some(Ok(self.overrun())),
                Err(Errno::INTR) => continue,
                Err(cause) => return Some(Err(NetlinkError::Receive { what: "the change monitor", cause })),
            };
            if let Some(event) = read_event(&self.buffer[..length], &self.filter, &mut self.touched) {
                return Some(Ok(event));
            }
        }
    }

    fn overrun(&mut self) -> Event {
        // What was gathered belongs to a commit whose end may be among the lost.
        self.touched = Touched::default();
        Event::Overrun
    }
}

fn read_event(datagram: &[u8], filter: &Filter, touched: &mut Touched) -> Option<Event> {
    let mut news = None;
    for message in Frames::new(datagram) {
        let Message::Data { kind, payload, .. } = message else { continue };
        if kind >> 8 != NFNL_SUBSYS_NFTABLES {
            continue;
        }
        let message = kind & 0xff;
        if message == NFT_MSG_NEWGEN {
            let seen = std::mem::take(touched);
            // Every commit in this network namespace sends its generation, whatever table it is about.
            if seen == Touched::default() {
                continue;
            }
            let (_, attributes) = OpGetgenDo::decode_reply(payload);
            let program = attributes.get_proc_name().map(|name| name.to_string_lossy().into_owned());
            let generation = attributes.get_id().unwrap_or(0);
            news = Some(Event::Committed { generation, touched: seen, program: program.unwrap_or_default() });
        } else if message != NFT_MSG_NEWOBJ && filter.matches(message, payload) {
            // A counter that is reset announces itself as a new object, but nothing changes that is compared.
            match message {
                NFT_MSG_NEWSETELEM | NFT_MSG_DELSETELEM => touched.elements = true,
                _ => touched.structure = true,
            }
        }
    }
    news
}

impl Filter {
    fn matches(&self, message: u16, payload: &[u8]) -> bool {
        let Some((header, attributes)) = payload.split_at_checked(4) else { return false };
        let text = |kind| {
            let text = find_attr(attributes, kind)?;
            Some(text.strip_suffix(&[0]).unwrap_or(text))
        };
        let Some(table) = text(TABLE_ATTRIBUTE) else { return false };
        let mut tables = self.tables.iter();
        let Some(watched) = tables.find(|of| of.family == header[0] && of.table.as_bytes() == table) else {
            return false;
        };
        let name = match message {
            // The deletion of a table deletes everything in it.
            NFT_MSG_NEWTABLE..=NFT_MSG_DELTABLE => return true,
            NFT_MSG_NEWSETELEM if !watched.additions => return false,
            NFT_MSG_NEWCHAIN..=NFT_MSG_DELCHAIN => text(CHAIN_NAME_ATTRIBUTE),
            _ => text(NAME_ATTRIBUTE),
        };
        match (&self.names, name.map(std::str::from_utf8)) {
            (Some(names), Some(Ok(name))) => names.contains(name),
            // Everything matters before the names are known; afterwards a name that cannot be read may be one of ours.
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{end_message, start_message};
    use super::*;

    fn message(buf: &mut Vec<u8>, message: u16, family: u8, attribute: &[u8]) {
        let start = start_message(buf, NFNL_SUBSYS_NFTABLES << 8 | message, 0, 0);
        buf.extend_from_slice(&[family, 0, 0, 0]);
        let len = u16::try_from(attribute.len() + 4).unwrap();
        buf.extend_from_slice(&len.to_ne_bytes());
        buf.extend_from_slice(&TABLE_ATTRIBUTE.to_ne_bytes());
        buf.extend_from_slice(attribute);
        end_message(buf, start);
    }

    #[test]
    fn only_generations_that_touched_a_watched_table_are_news() {
        let watched = |family, table: &str, additions| Watched { family, table: table.into(), additions };
        let filter =
            Filter { tables: vec![watched(2, "crowdsec", true), watched(1, "mine", false)], names: None };
        let mut touched = Touched::default();
        let mut read = |messages: &[(u16, u8, &[u8])]| {
            let mut buf = Vec::new();
            for (kind, family, attribute) in messages {
                message(&mut buf, *kind, *family, attribute);
            }
            read_event(&buf, &filter, &mut touched)
        };
        let generation = 9_u32.to_be_bytes();
        assert_eq!(read(&[(0, 2, b"other\0"), (15, 0, &generation)]), None, "another table");
        assert_eq!(read(&[(0, 10, b"crowdsec\0"), (15, 0, &generation)]), None, "another family");
        assert_eq!(read(&[(18, 2, b"crowdsec\0"), (15, 0, &generation)]), None, "a counter was reset");
        assert_eq!(read(&[(14, 2, b"crowdsec\0")]), None, "the generation is still to come");
        let Some(Event::Committed { generation: 9, touched, .. }) = read(&[(15, 0, &generation)]) else {
            panic!("the generation brings the news")
        };
        assert_eq!(touched, Touched { structure: false, elements: true });
        assert_eq!(
            read(&[(12, 1, b"mine\0"), (15, 0, &generation)]),
            None,
            "an addition that does not matter"
        );
        assert!(read(&[(14, 1, b"mine\0"), (15, 0, &generation)]).is_some(), "a removal");
    }

    #[test]
    fn objects_of_others_in_a_shared_table_are_no_news() {
        let tables = vec![Watched { family: 2, table: "filter".into(), additions: true }];
        let names = Some(Arc::new(HashSet::from(["ours".to_owned()])));
        let filter = Filter { tables, names };
        let matters = |kind: u16, attribute: u16, name: &str| {
            let mut payload = vec![2, 0, 0, 0];
            for (kind, text) in [(TABLE_ATTRIBUTE, "filter"), (attribute, name)] {
                let len = u16::try_from(text.len() + 5).unwrap();
                payload.extend_from_slice(&len.to_ne_bytes());
                payload.extend_from_slice(&kind.to_ne_bytes());
                payload.extend_from_slice(text.as_bytes());
                payload.resize((payload.len() + 1).next_multiple_of(4), 0);
            }
            filter.matches(kind, &payload)
        };
        for kind in [3, 5] {
            assert!(matters(kind, 3, "ours") && !matters(kind, 3, "docker"), "chains");
        }
        for kind in [6, 8, 9, 11, 12, 14] {
            assert!(matters(kind, 2, "ours") && !matters(kind, 2, "docker"), "rules, sets, elements: {kind}");
        }
        assert!(matters(2, 2, "docker"), "the table itself");
    }
}
