//! Bounds the HTTP/2 frames that a client may send, by kind and time. Pure.
//!
//! Neither hyper nor h2 limits PING, SETTINGS, WINDOW_UPDATE and PRIORITY, each of which costs more to answer than to
//! send. The guard reads the frame headers of what is received. A client that downloads much, or opens many streams, may
//! send more of the frames that go with it.

mod walker;

use self::walker::FrameHeader;
pub use self::walker::FrameWalker;

/// Frames of one kind in a second, whatever else the connection does.
const PINGS: u64 = 100;
const SETTINGS: u64 = 50;
const WINDOW_UPDATES: u64 = 200;
const PRIORITIES: u64 = 100;
const EMPTY_DATA: u64 = 100;
const RESETS: u64 = 100;
const CONTINUATIONS: u64 = 20;
const UNKNOWN: u64 = 100;
/// Resets in a connection's life.
const LIFETIME_RESETS: u64 = 10_000;

/// A further PING and WINDOW_UPDATE for so many bytes sent: clients measure the bandwidth of a download with the one, and
/// acknowledge it with the other.
const BYTES_PER_FRAME: u64 = 64;
/// A further reset for so many bytes sent.
const BYTES_PER_RESET: u64 = 4096;
/// Further WINDOW_UPDATE and PRIORITY for each stream opened.
const FRAMES_PER_STREAM: u64 = 2;

const WINDOW_MILLIS: u64 = 1000;

/// A kind of frame of which a client has sent too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flood {
    /// PING without ACK.
    Ping,
    /// SETTINGS without ACK.
    Settings,
    /// WINDOW_UPDATE of a stream or the connection.
    WindowUpdate,
    /// PRIORITY.
    Priority,
    /// DATA without content that does not end its stream.
    EmptyData,
    /// RST_STREAM within a second.
    Resets,
    /// RST_STREAM in the connection's life.
    LifetimeResets,
    /// CONTINUATION.
    Continuation,
    /// Frames of unknown kinds, and acknowledgements.
    Unknown,
}

impl Flood {
    /// The label in metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ping => "ping_flood",
            Self::Settings => "settings_flood",
            Self::WindowUpdate => "window_update_flood",
            Self::Priority => "priority_flood",
            Self::EmptyData => "empty_data_flood",
            Self::Resets => "resets_flood",
            Self::LifetimeResets => "lifetime_resets",
            Self::Continuation => "continuation_flood",
            Self::Unknown => "other_frames_flood",
        }
    }
}

/// Frames of a second.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    pings: u64,
    settings: u64,
    window_updates: u64,
    priorities: u64,
    empty_data: u64,
    resets: u64,
    continuations: u64,
    unknown: u64,
    /// What further frames are allowed for.
    streams: u64,
    sent: u64,
}

/// Counts the frames of one connection.
#[derive(Debug)]
pub struct FrameGuard {
    walker: FrameWalker,
    /// When the second began.
    since: u64,
    now: Counts,
    /// Of the second before.
    before: Counts,
    resets: u64,
    /// All bytes sent.
    sent: u64,
    last_stream: u32,
    /// Whether CONTINUATION must follow.
    within_headers: bool,
}

impl FrameGuard {
    /// At the beginning of a connection, before its preface.
    pub fn new() -> Self {
        Self {
            walker: FrameWalker::after_preface(),
            since: 0,
            now: Counts::default(),
            before: Counts::default(),
            resets: 0,
            sent: 0,
            last_stream: 0,
            within_headers: false,
        }
    }

    /// Bytes of responses, and of other frames, were sent to the client.
    pub fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
        self.now.sent += bytes;
    }

    /// Counts the frames in the next bytes. `millis` is asked for the time where it matters.
    ///
    /// # Errors
    ///
    /// When there are too many of one kind.
    pub fn scan(&mut self, bytes: &[u8], millis: impl Fn() -> u64) -> Result<(), Flood> {
        let mut rest = bytes;
        while let Some(header) = self.walker.next(&mut rest) {
            self.count(header, &millis)?;
        }
        Ok(())
    }

    /// The last stream that the client has opened.
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Whether a frame or a head has begun that is not complete. DATA may take its time.
    pub fn is_within_frame(&self) -> bool {
        self.within_headers || (self.walker.is_within_frame() && !self.walker.is_within_data())
    }

    fn count(&mut self, header: FrameHeader, millis: &impl Fn() -> u64) -> Result<(), Flood> {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const CONTINUATION: u8 = 9;
        const END_HEADERS: u8 = 4;
        let FrameHeader { kind, flags, length, stream } = header;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.within_headers = flags & END_HEADERS == 0;
        }
        match kind {
            // Ordinary frames, without a look at the clock.
            DATA if length > 0 || flags & 1 == 1 => return Ok(()),
            HEADERS => {
                self.last_stream = self.last_stream.max(stream);
                self.now.streams += 1;
                return Ok(());
            }
            _ => self.turn(millis()),
        }
        let acknowledges = flags & 1 == 1;
        let Counts { streams, sent, .. } = self.before;
        let streams = (streams + self.now.streams) * FRAMES_PER_STREAM;
        let sent = sent + self.now.sent;
        let (counter, most, flood) = match kind {
            DATA => (&mut self.now.empty_data, EMPTY_DATA, Flood::EmptyData),
            2 => (&mut self.now.priorities, PRIORITIES + streams, Flood::Priority),
            3 => {
                self.resets += 1;
                if self.resets > LIFETIME_RESETS + self.sent / BYTES_PER_RESET {
                    return Err(Flood::LifetimeResets);
                }
                (&mut self.now.resets, RESETS + sent / BYTES_PER_RESET, Flood::Resets)
            }
            4 if !acknowledges => (&mut self.now.settings, SETTINGS, Flood::Settings),
            6 if !acknowledges => (&mut self.now.pings, PINGS + sent / BYTES_PER_FRAME, Flood::Ping),
            8 => {
                let most = WINDOW_UPDATES + streams + sent / BYTES_PER_FRAME;
                (&mut self.now.window_updates, most, Flood::WindowUpdate)
            }
            CONTINUATION => (&mut self.now.continuations, CONTINUATIONS, Flood::Continuation),
            _ => (&mut self.now.unknown, UNKNOWN, Flood::Unknown),
        };
        *counter += 1;
        if *counter > most { Err(flood) } else { Ok(()) }
    }

    /// Begins another second, if one has passed.
    fn turn(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since);
        if passed >= WINDOW_MILLIS {
            self.before = if passed < 2 * WINDOW_MILLIS { self.now } else { Counts::default() };
            (self.now, self.since) = (Counts::default(), now);
        }
    }
}

impl Default for FrameGuard {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
