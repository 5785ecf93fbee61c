//! Builds and commits a transaction: many messages in one send, committed all or not at all.

use netlink_bindings::nftables::{Nfgenmsg, OpBatchBeginDo, OpBatchEndDo};
use rustix::io::Errno;

use super::frame::{Message, end_message, start_message};
use super::socket::{Socket, refusal};
use super::{NetlinkError, Verb};

const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(super) const NFT_MSG_NEWSETELEM: u16 = NFNL_SUBSYS_NFTABLES << 8 | 12;
const NFT_MSG_DELSETELEM: u16 = NFNL_SUBSYS_NFTABLES << 8 | 14;
const NFT_MSG_DESTROYSETELEM: u16 = NFNL_SUBSYS_NFTABLES << 8 | 30;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;

/// Bytes of the begin and the end of a batch.
const ENVELOPE_BYTES: usize = 64;

/// How often a transaction is repeated when other programs changed the ruleset in between.
const GENERATION_ATTEMPTS: u32 = 10;

/// Messages that will be committed together.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    // Begins with room for the begin of the batch. Sequence numbers are filled in when it is sent.
    buf: Vec<u8>,
    starts: Vec<usize>,
}

/// Why the kernel refused a transaction. Nothing of it was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The messages at fault, by their index, with the kernel's reason. Empty when it named none.
    pub(crate) messages: Vec<(usize, Errno)>,
    /// The reason for the whole, when there is one.
    pub(crate) whole: Option<Errno>,
}

impl Rejection {
    /// Whether the kernel gave this reason for anything.
    pub(crate) fn names(&self, reason: Errno) -> bool {
        self.whole == Some(reason) || self.messages.iter().any(|(_, errno)| *errno == reason)
    }

    /// The first reason given.
    pub(crate) fn reason(&self) -> Errno {
        self.whole.or_else(|| self.messages.first().map(|(_, errno)| *errno)).unwrap_or(Errno::IO)
    }
}

impl Transaction {
    /// Room for so many bytes without another allocation.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { buf: Vec::with_capacity(bytes + ENVELOPE_BYTES), starts: Vec::new() }
    }

    /// Bytes it will have when sent.
    pub(crate) fn len(&self) -> usize {
        self.buf.len() + ENVELOPE_BYTES
    }

    pub(crate) fn messages(&self) -> usize {
        self.starts.len()
    }

    /// Takes back every message from index `messages` on.
    pub(crate) fn truncate(&mut self, messages: usize) {
        if let Some(&start) = self.starts.get(messages) {
            self.buf.truncate(start);
            self.starts.truncate(messages);
        }
    }

    /// Adds a message about set elements. `body` writes the attributes.
    pub(crate) fn elements(
        &mut self,
        family: u8,
        verb: Verb,
        body: impl FnOnce(&mut Vec<u8>) -> usize,
    ) -> usize {
        let (kind, flags) = match verb {
            Verb::Add => (NFT_MSG_NEWSETELEM, NLM_F_CREATE),
            Verb::AddNew => (NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL),
            Verb::Delete => (NFT_MSG_DELSETELEM, 0),
            Verb::Destroy => (NFT_MSG_DESTROYSETELEM, 0),
        };
        self.message(kind, flags, family, body)
    }

    fn message<T>(&mut self, kind: u16, flags: u16, family: u8, body: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        if self.starts.is_empty() {
            self.buf.resize(BEGIN_BYTES, 0);
        }
        let start = start_message(&mut self.buf, kind, NLM_F_REQUEST | flags, 0);
        self.buf.extend_from_slice(nfgenmsg(family, 0).as_slice());
        let done = body(&mut self.buf);
        end_message(&mut self.buf, start);
        self.starts.push(start);
        done
    }

    /// Sends it and reads the result: the generation it made, or why it was refused.
    pub(crate) fn commit(mut self, socket: &mut Socket) -> Result<Result<u32, Rejection>, NetlinkError> {
        if self.starts.is_empty() {
            return socket.generation().map(Ok);
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            // Named in the batch: the kernel refuses it with `ERESTART` if another transaction was committed since. So
            // the generation it makes is known for certain, and a notification of it can be recognised as our own.
            let base = socket.generation()?;
            match self.offer(socket, base)? {
                Err(rejection)
                    if rejection.whole == Some(Errno::RESTART) && attempt < GENERATION_ATTEMPTS => {}
                // The kernel skips generation 0.
                Ok(()) => return Ok(Ok(if base == u32::MAX { 1 } else { base + 1 })),
                Err(rejection) => return Ok(Err(rejection)),
            }
        }
    }

    fn offer(&mut self, socket: &mut Socket, base: u32) -> Result<Result<(), Rejection>, NetlinkError> {
        const WHAT: &str = "a transaction";
        let count =
            u32::try_from(self.starts.len()).expect("a batch is bound by its bytes, far below 2^32 messages");
        // One number for each message, the begin and the end.
        let first = socket.take_seq(count + 2);
        self.seal(first, count, base);
        drain(socket)?;
        let sent = socket.send(WHAT, &self.buf);
        if let Some(&last) = self.starts.last() {
            // The next attempt writes the end of the batch again. The messages stay as they are.
            let last_length =
                u32::from_ne_bytes(*self.buf[last..].first_chunk().expect("a message has a header"));
            let end = last + usize::try_from(last_length).unwrap_or(usize::MAX).next_multiple_of(4);
            self.buf.truncate(end);
        }
        match sent {
            Err(NetlinkError::Send { cause: Errno::MSGSIZE, .. }) => {
                return Ok(Err(Rejection { messages: Vec::new(), whole: Some(Errno::MSGSIZE) }));
            }
            sent => sent?,
        }
        verdict(socket, first, count)
    }

    /// Fills in begin, end and sequence numbers.
    fn seal(&mut self, first: u32, count: u32, base: u32) {
        let mut begin = Vec::with_capacity(BEGIN_BYTES);
        let start = start_message(&mut begin, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, first);
        OpBatchBeginDo::encode_request(&mut begin, &nfgenmsg(0, NFNL_SUBSYS_NFTABLES))
            .push_genid(base)
            .end_nested();
        end_message(&mut begin, start);
        self.buf[..BEGIN_BYTES].copy_from_slice(&begin);
        // A sequence number of its own for each message identifies the one a refusal is about.
        for (seq, &start) in (first + 1..).zip(&self.starts) {
            self.buf[start + 8..start + 12].copy_from_slice(&seq.to_ne_bytes());
        }
        if let Some(&last) = self.starts.last() {
            // One acknowledgement is enough: that of the last message comes only after the commit. More would fill the
            // receive buffer.
            let flags = u16::from_ne_bytes([self.buf[last + 6], self.buf[last + 7]]) | NLM_F_ACK;
            self.buf[last + 6..last + 8].copy_from_slice(&flags.to_ne_bytes());
        }
        let start = start_message(&mut self.buf, NFNL_MSG_BATCH_END, NLM_F_REQUEST, first + 1 + count);
        OpBatchEndDo::encode_request(&mut self.buf, &nfgenmsg(0, NFNL_SUBSYS_NFTABLES)).end_nested();
        end_message(&mut self.buf, start);
    }
}

/// Header, nfgenmsg and one 32-bit attribute.
const BEGIN_BYTES: usize = 16 + 4 + 8;

fn nfgenmsg(family: u8, resource: u16) -> Nfgenmsg {
    Nfgenmsg { nfgen_family: family, version: 0, _res_id_be: resource.to_be() }
}

/// Discards responses to requests that were abandoned.
fn drain(socket: &mut Socket) -> Result<(), NetlinkError> {
    loop {
        match socket.receive_waiting() {
            Ok(None) => return Ok(()),
            Ok(Some(_)) | Err(Errno::NOBUFS) => {}
            Err(cause) => return Err(NetlinkError::Receive { what: "a transaction", cause }),
        }
    }
}

/// Reads the kernel's responses to the batch.
fn verdict(socket: &mut Socket, first: u32, count: u32) -> Result<Result<(), Rejection>, NetlinkError> {
    // All responses have arrived when the send returns, because the kernel executes a batch in the sender's own
    // context. So an empty queue is their end.
    let mut rejection = Rejection { messages: Vec::new(), whole: None };
    let mut done = false;
    loop {
        let frames = match socket.receive_waiting() {
            Ok(Some(frames)) => frames,
            Ok(None) => break,
            Err(Errno::NOBUFS) => {
                // Only refusals are many or large. Some were lost, so the messages at fault are not all known.
                rejection.whole = Some(Errno::NOBUFS);
                continue;
            }
            Err(cause) => return Err(NetlinkError::Receive { what: "a transaction", cause }),
        };
        for message in frames {
            let Message::Ack { seq, error } = message else { continue };
            match (seq.checked_sub(first), error) {
                // The begin of the batch stands for the whole: `ERESTART`, for example.
                (Some(0), Some(cause)) => rejection.whole = Some(cause),
                (Some(nth), Some(cause)) if nth <= count => {
                    rejection.messages.push((usize::try_from(nth - 1).unwrap_or(usize::MAX), cause));
                }
                (Some(nth), Some(cause)) if nth == count + 1 => rejection.whole = Some(cause),
                (Some(nth), None) if nth == count => done = true,
                _ => {}
            }
        }
    }
    // Missing permission is no fault of the messages: a search for the one at fault would end with all of them.
    if let Some(cause @ (Errno::PERM | Errno::ACCESS)) = rejection.whole {
        return Err(refusal("a transaction", cause));
    }
    if rejection.messages.is_empty() && rejection.whole.is_none() {
        if done {
            return Ok(Ok(()));
        }
        return Err(NetlinkError::Receive { what: "a transaction", cause: Errno::TIMEDOUT });
    }
    if rejection.messages.iter().all(|(_, cause)| matches!(*cause, Errno::PERM | Errno::ACCESS))
        && let Some((_, cause)) = rejection.messages.first()
    {
        return Err(refusal("a transaction", *cause));
    }
    Ok(Err(rejection))
}
