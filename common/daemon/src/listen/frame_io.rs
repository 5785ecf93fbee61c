//! Ends an HTTP/2 connection whose client sends too many frames of one kind.

use super::{
    frames::{Flood, FrameGuard, FrameWalker},
    strict_io::Report,
};

/// "The endpoint is generating excessive load" (RFC 9113).
const ENHANCE_YOUR_CALM: u8 = 11;

/// The frame guard of a connection, between its socket and hyper.
#[derive(Debug)]
pub(super) struct GuardedFrames {
    guard: FrameGuard,
    /// Follows what is sent, to know where a frame of ours fits in.
    sent: FrameWalker,
    flood: Option<Flood>,
    report: Report,
}

impl GuardedFrames {
    pub(super) fn new(report: Report) -> Self {
        Self { guard: FrameGuard::new(), sent: FrameWalker::default(), flood: None, report }
    }

    /// Counts what was received; returns the frame with which the connection ends if it is too much.
    pub(super) fn received(&mut self, bytes: &[u8], millis: impl Fn() -> u64) -> Option<Vec<u8>> {
        let flood = self.guard.scan(bytes, millis).err()?;
        self.flood = Some(flood);
        self.report.metrics.refused(flood.reason());
        Some(if self.sent.is_within_frame() { Vec::new() } else { go_away(self.guard.last_stream()) })
    }

    /// Whether the connection has ended: nothing is read or written any more.
    pub(super) fn is_over(&self) -> bool {
        self.flood.is_some()
    }

    /// Whether a frame is incomplete that should not take long.
    pub(super) fn is_within_frame(&self) -> bool {
        self.guard.is_within_frame()
    }

    pub(super) fn sent(&mut self, bytes: &[u8]) {
        self.sent.pass(bytes);
        self.guard.sent(bytes.len() as u64);
    }
}

fn go_away(last_stream: u32) -> Vec<u8> {
    let [a, b, c, d] = last_stream.to_be_bytes();
    vec![0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, ENHANCE_YOUR_CALM]
}
