//! nftables over raw netlink, as little as the benches need: prepared batches of elements, and the kernel's own
//! notifications. Independent of palisade-firewall's code, whose speed it measures.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use palisade_e2e::{Doing, Failure, Host, Outcome};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLA_F_NESTED: u16 = 0x8000;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_DELSETELEM: u16 = 14;
const NFT_MSG_NEWGEN: u16 = 15;
const NFNLGRP_NFTABLES: u32 = 7;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const TABLE: u16 = 1;
const SET: u16 = 2;
const ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
const DATA_VALUE: u16 = 1;

/// Bytes of elements in one message; a netlink attribute holds at most 64 KiB.
const MESSAGE_BYTES: usize = 60_000;
/// Bytes in one transaction: one datagram, bounded by the send buffer.
const BATCH_BYTES: usize = 8 << 20;

/// Elements of hash sets of one table, encoded before any clock starts.
pub(crate) struct Batches {
    family: u8,
    done: Vec<Vec<u8>>,
    batch: Vec<u8>,
    /// Where the last message with elements begins.
    last: usize,
}

impl Batches {
    /// For a table of the `ip` family, or of `ip6`.
    pub(crate) fn new(v6: bool) -> Self {
        let family = if v6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 };
        Self { family, done: Vec::new(), batch: Vec::new(), last: 0 }
    }

    /// Adds the elements of one set; without a timeout they stay.
    pub(crate) fn add(&mut self, table: &str, set: &str, keys: &[IpAddr], timeout: Option<Duration>) {
        let mut rest = keys.iter().peekable();
        while rest.peek().is_some() {
            if self.batch.len() > BATCH_BYTES {
                self.finish();
            }
            if self.batch.is_empty() {
                message(&mut self.batch, BATCH_BEGIN, NLM_F_REQUEST, 0, NFNL_SUBSYS_NFTABLES, |_| ());
            }
            let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM;
            self.last = self.batch.len();
            message(&mut self.batch, kind, NLM_F_REQUEST | NLM_F_CREATE, self.family, 0, |out| {
                attribute(out, TABLE, |out| text(out, table));
                attribute(out, SET, |out| text(out, set));
                attribute(out, ELEMENTS | NLA_F_NESTED, |out| {
                    let start = out.len();
                    while out.len() - start < MESSAGE_BYTES
                        && let Some(key) = rest.next()
                    {
                        element(out, *key, timeout);
                    }
                });
            });
        }
    }

    fn finish(&mut self) {
        // Acknowledgements come when the whole transaction is in force, so one is enough.
        let flags = (NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK).to_ne_bytes();
        self.batch[self.last + 6..self.last + 8].copy_from_slice(&flags);
        message(&mut self.batch, BATCH_END, NLM_F_REQUEST, 0, NFNL_SUBSYS_NFTABLES, |_| ());
        self.done.push(std::mem::take(&mut self.batch));
    }

    /// Sends all of it on this host; returns the time from the first byte to the last acknowledgement.
    pub(crate) fn commit(mut self, host: &Host) -> Outcome<Duration> {
        if !self.batch.is_empty() {
            self.finish();
        }
        let socket = open(host, 0)?;
        let largest = self.done.iter().map(Vec::len).max().unwrap_or(0);
        let room = sockopt::set_socket_send_buffer_size_force(&socket, largest + (1 << 20));
        room.doing("a send buffer for a whole transaction (needs root)")?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(60)))?;
        let mut answer = vec![0; 1 << 17];
        let start = Instant::now();
        for batch in &self.done {
            rustix::net::send(&socket, batch, SendFlags::empty()).doing("sending a transaction")?;
            let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
            for (kind, body) in messages(&answer[..length]) {
                let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                if kind == NLMSG_ERROR && code != 0 {
                    let why = std::io::Error::from_raw_os_error(-code);
                    return Err(Failure::new(format!("the kernel refuses the batch: {why}")));
                }
            }
        }
        Ok(start.elapsed())
    }
}

/// What happened to an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Removed,
}

/// One notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// This many elements came, or went.
    Elements(Change, usize),
    /// The transaction is in force: the ruleset has a new generation.
    Committed,
}

/// The kernel's notifications of changed elements and committed transactions in one network namespace.
pub(crate) struct Notifications {
    notices: mpsc::Receiver<(Instant, Notice)>,
    // Closing it ends the thread that reads.
    _stop: std::sync::Arc<()>,
}

impl Notifications {
    /// Listens from now on.
    pub(crate) fn start(host: &Host) -> Outcome<Self> {
        let socket = open(host, 1 << (NFNLGRP_NFTABLES - 1))?;
        // A stock bouncer's whole load passes through it.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20);
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_millis(200)))?;
        let (sender, notices) = mpsc::channel();
        let stop = std::sync::Arc::new(());
        let alive = std::sync::Arc::downgrade(&stop);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 17];
            while alive.strong_count() > 0 {
                let length = match rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()) {
                    Ok((length, _)) => length,
                    // Nothing for a while, or too much for the buffer: what was lost is not counted.
                    Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => continue,
                    Err(_) => return,
                };
                let now = Instant::now();
                for notice in messages(&buffer[..length]).filter_map(|(kind, body)| read(kind, body)) {
                    if sender.send((now, notice)).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self { notices, _stop: stop })
    }

    /// Elements that came or went until this much time has passed.
    pub(crate) fn elements(&self, within: Duration) -> usize {
        let end = Instant::now() + within;
        let mut count = 0;
        while let Ok((_, notice)) = self.notices.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if let Notice::Elements(_, more) = notice {
                count += more;
            }
        }
        count
    }

    /// When the last transaction that changed elements was in force, and how many it and those before it changed;
    /// none when there is silence from the start.
    pub(crate) fn until_silent(&self, silence: Duration, within: Duration) -> Option<(Instant, usize)> {
        let end = Instant::now() + within;
        let (mut last, mut count) = (None, 0);
        while Instant::now() < end
            && let Ok((at, notice)) = self.notices.recv_timeout(silence)
        {
            if let Notice::Elements(_, more) = notice {
                count += more;
                last = Some(at);
            }
        }
        last.map(|last| (last, count))
    }

    /// When the next transaction that adds, or removes, an element is in force. One that follows at once belongs to
    /// the same change, so the last before a short silence counts.
    pub(crate) fn next(&self, change: Change, within: Duration) -> Option<Instant> {
        const SILENCE: Duration = Duration::from_millis(20);
        let end = Instant::now() + within;
        let (mut elements, mut committed) = (false, None);
        loop {
            let timeout = match committed {
                Some(_) => SILENCE,
                None => end.saturating_duration_since(Instant::now()),
            };
            match self.notices.recv_timeout(timeout) {
                Ok((_, Notice::Elements(what, _))) => elements |= what == change,
                Ok((at, Notice::Committed)) if elements => (elements, committed) = (false, Some(at)),
                Ok((_, Notice::Committed)) => {}
                Err(_) => return committed,
            }
        }
    }

    /// Discards what has arrived so far.
    pub(crate) fn discard(&self) {
        while self.notices.try_recv().is_ok() {}
    }
}

fn open(host: &Host, groups: u32) -> Outcome<OwnedFd> {
    host.run(|| {
        let netlink = AddressFamily::NETLINK;
        let socket =
            rustix::net::socket_with(netlink, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok::<_, Errno>(socket)
    })
    .doing("opening a netlink socket")
}

fn message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    family: u8,
    resource: u16,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[family, 0]);
    out.extend_from_slice(&resource.to_be_bytes());
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn attribute(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&kind.to_ne_bytes());
    body(out);
    let length = (out.len() - start) as u16;
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn element(out: &mut Vec<u8>, key: IpAddr, timeout: Option<Duration>) {
    attribute(out, LIST_ELEMENT | NLA_F_NESTED, |out| {
        attribute(out, ELEMENT_KEY | NLA_F_NESTED, |out| {
            attribute(out, DATA_VALUE, |out| match key {
                IpAddr::V4(key) => out.extend_from_slice(&key.octets()),
                IpAddr::V6(key) => out.extend_from_slice(&key.octets()),
            });
        });
        if let Some(timeout) = timeout {
            let milliseconds = timeout.as_millis() as u64;
            attribute(out, ELEMENT_TIMEOUT, |out| out.extend_from_slice(&milliseconds.to_be_bytes()));
        }
    });
}

/// Kind and body of every message in a datagram.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*datagram.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?);
        let body = datagram.get(16..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Kind and value of every attribute.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(*rest.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !NLA_F_NESTED, value))
    })
}

fn read(kind: u16, body: &[u8]) -> Option<Notice> {
    if kind >> 8 != NFNL_SUBSYS_NFTABLES {
        return None;
    }
    match kind & 0xff {
        NFT_MSG_NEWGEN => Some(Notice::Committed),
        message @ (NFT_MSG_NEWSETELEM | NFT_MSG_DELSETELEM) => {
            let change = if message == NFT_MSG_NEWSETELEM { Change::Added } else { Change::Removed };
            let lists = attributes(body.get(4..)?).filter(|(kind, _)| *kind == ELEMENTS);
            Some(Notice::Elements(change, lists.map(|(_, list)| attributes(list).count()).sum()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_that_many_elements() {
        let mut batches = Batches::new(false);
        let keys: Vec<IpAddr> = (1..=3u8).map(|n| IpAddr::from([192, 0, 2, n])).collect();
        batches.add("t", "s", &keys, Some(Duration::from_secs(5)));
        let notices: Vec<_> = messages(&batches.batch).filter_map(|(kind, body)| read(kind, body)).collect();
        assert_eq!(notices, [Notice::Elements(Change::Added, 3)]);
    }
}
