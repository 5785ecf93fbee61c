//! Frames netlink messages: headers out, messages and acknowledgements in (`linux/netlink.h`). Pure.

use netlink_bindings::builtin::Nlmsghdr;
use rustix::io::Errno;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// Starts a message: pushes its header with the length still open, and returns where it starts.
pub(crate) fn start_message(buf: &mut Vec<u8>, kind: u16, flags: u16, seq: u32) -> usize {
    let start = buf.len();
    buf.extend_from_slice(Nlmsghdr { len: 0, r#type: kind, flags, seq, pid: 0 }.as_slice());
    start
}

/// Closes the message that starts at `start`: fills in its length and pads to the next message.
pub(crate) fn end_message(buf: &mut Vec<u8>, start: usize) {
    let len = u32::try_from(buf.len() - start).expect("a message is bound far below 4 GiB by its builder");
    buf[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    buf.resize(start + (buf.len() - start).next_multiple_of(4), 0);
}

/// One message out of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A message of a subsystem, with its type and payload.
    Data {
        /// Subsystem in the upper byte, message in the lower.
        kind: u16,
        /// Sequence number of the request it answers; 0 in an event.
        seq: u32,
        /// Whether the kernel marks this part of a dump as inconsistent with the parts before.
        interrupted: bool,
        /// What follows the header.
        payload: &'a [u8],
    },
    /// The end of a dump.
    Done {
        seq: u32,
        /// Whether the dump as a whole is inconsistent.
        interrupted: bool,
        /// `None` when the dump is complete.
        error: Option<Errno>,
    },
    /// An acknowledgement (`error` is `None`) or a refusal.
    Ack { seq: u32, error: Option<Errno> },
    /// The kernel dropped messages for this socket.
    Overrun,
}

/// Walks the messages of a datagram. Ends at the first message that does not fit.
#[derive(Debug, Clone)]
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        loop {
            let header = Nlmsghdr::new_from_slice(self.rest.get(..Nlmsghdr::len())?)?;
            let len = usize::try_from(header.len).ok()?;
            // A length below that of the header ends the walk here, instead of a loop without progress.
            let payload = self.rest.get(Nlmsghdr::len()..len)?;
            // The last message of a datagram may lack its padding.
            self.rest = self.rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            let interrupted = header.flags & NLM_F_DUMP_INTR != 0;
            return Some(match header.r#type {
                NLMSG_NOOP => continue,
                NLMSG_ERROR => Message::Ack { seq: header.seq, error: errno(payload) },
                NLMSG_DONE => Message::Done { seq: header.seq, interrupted, error: errno(payload) },
                NLMSG_OVERRUN => Message::Overrun,
                kind => Message::Data { kind, seq: header.seq, interrupted, payload },
            });
        }
    }
}

/// The negative errno at the start of an acknowledgement or of the end of a dump; 0 and absence mean success.
fn errno(payload: &[u8]) -> Option<Errno> {
    let code = i32::from_ne_bytes(*payload.first_chunk()?);
    // 4095 is the largest errno the kernel encodes.
    (-4095..0).contains(&code).then(|| Errno::from_raw_os_error(-code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
        let mut buf = Vec::new();
        let start = start_message(&mut buf, kind, flags, seq);
        buf.extend_from_slice(payload);
        end_message(&mut buf, start);
        buf
    }

    #[test]
    fn a_datagram_is_cut_into_its_messages() {
        let mut datagram = message(2572, 0, 7, &[1, 2, 3]);
        datagram.extend(message(NLMSG_ERROR, 0, 8, &(-17_i32).to_ne_bytes()));
        datagram.extend(message(NLMSG_ERROR, 0, 9, &0_i32.to_ne_bytes()));
        datagram.extend(message(NLMSG_DONE, NLM_F_DUMP_INTR, 10, &0_i32.to_ne_bytes()));
        let seen: Vec<_> = Frames::new(&datagram).collect();
        assert_eq!(
            seen,
            [
                Message::Data { kind: 2572, seq: 7, interrupted: false, payload: &[1, 2, 3] },
                Message::Ack { seq: 8, error: Some(Errno::EXIST) },
                Message::Ack { seq: 9, error: None },
                Message::Done { seq: 10, interrupted: true, error: None },
            ]
        );
    }

    #[test]
    fn nonsense_ends_the_walk_without_panic() {
        for cut in 0..24 {
            let datagram = message(2572, 0, 7, &[9; 8]);
            assert_eq!(Frames::new(&datagram[..cut]).count(), usize::from(cut >= 24));
        }
        let mut lying = message(2572, 0, 7, &[9; 8]);
        lying[..4].copy_from_slice(&4_u32.to_ne_bytes());
        assert_eq!(Frames::new(&lying).count(), 0, "a length below the header's own");
    }
}
