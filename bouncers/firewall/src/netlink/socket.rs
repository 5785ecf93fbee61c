//! Opens the netlink socket, sizes its buffers, and sends requests and dumps over it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, send,
    socket_with, sockopt,
};

use super::frame::{Frames, Message, end_message, start_message};
use super::{NetlinkError, nfproto};
use netlink_bindings::nftables::Nfgenmsg;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;

/// The largest transaction that is sent in one piece: some 290,000 hosts.
// Bounds our memory and the kernel's, which copies a batch and keeps every change of it until the commit.
pub(crate) const MAX_BATCH_BYTES: usize = 8 << 20;

/// Size of the receive buffer.
// A refusal carries the refused message back, and all refusals of a batch wait here until the send returns.
const RECEIVE_BYTES: usize = 4 << 20;

/// Size of one read. Dumps arrive in at most 32 KiB, and a refusal contains one message of ours.
const READ_BYTES: usize = 64 << 10;

/// How often a dump that changes disturb is repeated.
const DUMP_ATTEMPTS: u32 = 20;

/// Timeout of a response.
// The kernel answers at once. This only keeps a response that was lost from blocking the thread for ever.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// A netfilter netlink socket for requests. All calls block, for microseconds to a few hundred milliseconds.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    seq: u32,
    batch_limit: usize,
    buffer: Vec<u8>,
}

/// How consistent a dump must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As it was at one moment: repeated when something changed meanwhile.
    Settled,
    /// As it was read, even if it changed meanwhile.
    Rough,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dump {
    /// For error texts.
    pub(crate) what: &'static str,
    /// Subsystem and message.
    pub(crate) kind: u16,
    /// `NFPROTO_*`.
    pub(crate) family: u8,
}

impl Socket {
    /// Opens a socket in the current network namespace and gives it the largest send buffer it may have.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Self::of(Some(netlink::NETFILTER))
    }

    /// Opens a socket for requests about addresses and routes.
    pub(crate) fn open_route() -> Result<Self, NetlinkError> {
        // `NETLINK_ROUTE` is protocol 0.
        Self::of(None)
    }

    fn of(protocol: Option<Protocol>) -> Result<Self, NetlinkError> {
        let fd = raw_socket(protocol, SocketFlags::CLOEXEC, 0).map_err(NetlinkError::Open)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(ANSWER_DEADLINE))
            .map_err(|cause| NetlinkError::Open(cause.into()))?;
        grow_receive_buffer(fd.as_fd());
        let batch_limit = grow_send_buffer(fd.as_fd()).map_err(|cause| NetlinkError::Open(cause.into()))?;
        Ok(Self { fd, seq: 0, batch_limit, buffer: vec![0; READ_BYTES] })
    }

    /// How many bytes one transaction may have.
    pub(crate) fn batch_limit(&self) -> usize {
        self.batch_limit
    }

    /// Lowers the limit: for a kernel that refuses what the buffer promised, and for tests.
    pub(crate) fn lower_batch_limit(&mut self, bytes: usize) {
        self.batch_limit = self.batch_limit.min(bytes);
    }

    /// Reserves `count` sequence numbers, and returns the first.
    pub(crate) fn take_seq(&mut self, count: u32) -> u32 {
        // A batch uses consecutive numbers, which must not wrap around within it. 0 stays free: events have it.
        if self.seq > u32::MAX / 2 {
            self.seq = 0;
        }
        let first = self.seq + 1;
        self.seq += count;
        first
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, what: &'static str, datagram: &[u8]) -> Result<(), NetlinkError> {
        loop {
            return match send(&self.fd, datagram, SendFlags::empty()) {
                Ok(sent) if sent == datagram.len() => Ok(()),
                // A datagram is sent whole or not at all; a part of a batch would be another transaction.
                Ok(_) => Err(NetlinkError::Send { what, cause: Errno::MSGSIZE }),
                Err(Errno::INTR) => continue,
                Err(cause) => Err(NetlinkError::Send { what, cause }),
            };
        }
    }

    /// The next datagram that has arrived; `None` when there is none. `Err(NOBUFS)`: some were lost.
    pub(crate) fn receive_waiting(&mut self) -> Result<Option<Frames<'_>>, Errno> {
        match self.receive(RecvFlags::DONTWAIT) {
            Ok(length) => Ok(Some(Frames::new(&self.buffer[..length]))),
            Err(Errno::AGAIN) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    fn receive(&mut self, flags: RecvFlags) -> Result<usize, Errno> {
        loop {
            // With `TRUNC` the length is that of the datagram, also where the buffer was too short for it.
            return match recv(&self.fd, &mut self.buffer[..], flags | RecvFlags::TRUNC) {
                // The kernel sends no larger datagram. If it did, the rest would be lost, as after an overrun.
                Ok((_, length)) if length > self.buffer.len() => Err(Errno::NOBUFS),
                Ok((_, length)) => Ok(length),
                Err(Errno::INTR) => continue,
                Err(cause) => Err(cause),
            };
        }
    }

    /// Sends one request that is not part of a batch. `answer` is called for each message before the acknowledgement.
    pub(crate) fn ask(
        &mut self,
        question: Dump,
        attributes: impl FnOnce(&mut Vec<u8>),
        mut answer: impl FnMut(&[u8]),
    ) -> Result<(), NetlinkError> {
        let seq = self.request(question, NLM_F_REQUEST | NLM_F_ACK, attributes)?;
        self.collect(question, seq, &mut answer).map(|_settled| ())
    }

    /// Dumps a table of the kernel. `each` is called for every message of one consistent pass; `start` is called before
    /// each pass, and makes the state that the pass fills.
    pub(crate) fn dump<S>(
        &mut self,
        dump: Dump,
        attributes: impl Fn(&mut Vec<u8>),
        start: impl FnMut() -> S,
        each: impl Fn(&mut S, &[u8]),
    ) -> Result<S, NetlinkError> {
        self.read(dump, Reading::Settled, attributes, start, each)
    }

    /// Dumps a table of the kernel, as exactly as `reading` requires.
    pub(crate) fn read<S>(
        &mut self,
        dump: Dump,
        reading: Reading,
        attributes: impl Fn(&mut Vec<u8>),
        mut start: impl FnMut() -> S,
        each: impl Fn(&mut S, &[u8]),
    ) -> Result<S, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            // Anew for each attempt: a disturbed pass may have shown elements that are gone.
            let mut state = start();
            let seq = self.request(dump, NLM_F_REQUEST | NLM_F_DUMP, &attributes)?;
            let settled = self.collect(dump, seq, &mut |payload| each(&mut state, payload))?;
            if settled || reading == Reading::Rough {
                return Ok(state);
            }
        }
        Err(NetlinkError::Unsettled { what: dump.what, attempts: DUMP_ATTEMPTS })
    }

    fn request(
        &mut self,
        question: Dump,
        flags: u16,
        attributes: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u32, NetlinkError> {
        let what = question.what;
        while self.receive_waiting().map_err(|cause| NetlinkError::Receive { what, cause })?.is_some() {
            // A response to an earlier request that was abandoned must not fill the buffer.
        }
        let seq = self.take_seq(1);
        let mut datagram = Vec::with_capacity(256);
        let start = start_message(&mut datagram, question.kind, flags, seq);
        datagram.extend_from_slice(
            Nfgenmsg { nfgen_family: question.family, version: 0, _res_id_be: 0 }.as_slice(),
        );
        attributes(&mut datagram);
        end_message(&mut datagram, start);
        self.send(what, &datagram)?;
        Ok(seq)
    }

    /// Reads until the request is answered. `Ok(false)`: the dump was disturbed and must be repeated.
    fn collect(
        &mut self,
        question: Dump,
        seq: u32,
        each: &mut impl FnMut(&[u8]),
    ) -> Result<bool, NetlinkError> {
        let what = question.what;
        let mut settled = true;
        loop {
            let length = match self.receive(RecvFlags::empty()) {
                Ok(length) => length,
                // Part of the response was lost because the buffer was full: ask again.
                Err(Errno::NOBUFS) => return Ok(false),
                Err(Errno::AGAIN) => return Err(NetlinkError::Receive { what, cause: Errno::TIMEDOUT }),
                Err(cause) => return Err(NetlinkError::Receive { what, cause }),
            };
            for message in Frames::new(&self.buffer[..length]) {
                match message {
                    Message::Data { seq: of, interrupted, payload, .. } if of == seq => {
                        // `NLM_F_DUMP_INTR`: a transaction was committed between two parts. The rest is read all the
                        // same, since the kernel goes on to send it.
                        settled &= !interrupted;
                        each(payload);
                    }
                    Message::Done { seq: of, interrupted, error } if of == seq => {
                        return match error {
                            Some(Errno::INTR) => Ok(false),
                            Some(cause) => Err(refusal(what, cause)),
                            None => Ok(settled && !interrupted),
                        };
                    }
                    Message::Ack { seq: of, error } if of == seq => {
                        return match error {
                            Some(Errno::INTR) => Ok(false),
                            Some(cause) => Err(refusal(what, cause)),
                            None => Ok(settled),
                        };
                    }
                    Message::Overrun => settled = false,
                    Message::Data { .. } | Message::Done { .. } | Message::Ack { .. } => {}
                }
            }
        }
    }
}

pub(super) fn refusal(what: &'static str, cause: Errno) -> NetlinkError {
    match cause {
        Errno::PERM | Errno::ACCESS => NetlinkError::Denied(cause),
        cause => NetlinkError::Refused { what, cause },
    }
}

/// A bound netlink socket; `groups` is the mask of multicast groups to join.
pub(super) fn raw_socket(protocol: Option<Protocol>, flags: SocketFlags, groups: u32) -> io::Result<OwnedFd> {
    let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    bind(&fd, &netlink::SocketAddrNetlink::new(0, groups))?;
    Ok(fd)
}

pub(super) fn grow_receive_buffer(fd: BorrowedFd<'_>) {
    // Past `rmem_max` only with CAP_NET_ADMIN in the first user namespace. Elsewhere the default stays, and an overrun
    // is noticed and repaired.
    if sockopt::set_socket_recv_buffer_size_force(fd, RECEIVE_BYTES).is_err() {
        let _default_stays = sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BYTES);
    }
}

/// Returns how many bytes fit into one send.
fn grow_send_buffer(fd: BorrowedFd<'_>) -> Result<usize, Errno> {
    // Past `wmem_max` only with CAP_NET_ADMIN in the first user namespace; elsewhere the limit is used, and a list is
    // split into several transactions.
    if sockopt::set_socket_send_buffer_size_force(fd, MAX_BATCH_BYTES).is_err() {
        let _limit_stays = sockopt::set_socket_send_buffer_size(fd, MAX_BATCH_BYTES);
    }
    let granted = sockopt::socket_send_buffer_size(fd)?;
    // `netlink_sendmsg` takes up to the size of the buffer less 32 bytes, and answers more with `EMSGSIZE`.
    Ok(granted.saturating_sub(32).clamp(4096, MAX_BATCH_BYTES))
}

/// A request about no particular family.
pub(super) fn question(what: &'static str, kind: u16) -> Dump {
    Dump { what, kind, family: nfproto::UNSPEC }
}
