//! Finds the frames in a stream of bytes, whatever pieces it comes in.

/// The bytes of a frame's header.
const HEADER: usize = 9;
/// The bytes that a client sends before its first frame.
const PREFACE: u32 = 24;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

/// Walks from frame to frame.
#[derive(Debug, Default)]
pub struct FrameWalker {
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    have: usize,
    /// Bytes until the next header.
    skip: u32,
}

impl FrameWalker {
    /// Before the preface of a client.
    pub(super) fn after_preface() -> Self {
        Self { skip: PREFACE, ..Self::default() }
    }

    /// Takes the bytes up to and including the next complete header; `None` when all are taken.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameHeader> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        *bytes = &bytes[skipped..];
        self.skip -= u32::try_from(skipped).unwrap_or(self.skip);
        if self.skip > 0 {
            return None;
        }
        let taken = (HEADER - self.have).min(bytes.len());
        self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
        *bytes = &bytes[taken..];
        self.have += taken;
        if self.have < HEADER {
            return None;
        }
        self.have = 0;
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.skip = length;
        Some(FrameHeader { length, kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) })
    }

    /// Takes bytes without looking at the frames.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while self.next(&mut bytes).is_some() {}
    }

    /// Whether a frame has begun that is not complete.
    pub fn is_within_frame(&self) -> bool {
        self.have > 0 || self.skip > 0
    }

    pub(super) fn is_within_data(&self) -> bool {
        self.have == 0 && self.header[3] == 0
    }
}
