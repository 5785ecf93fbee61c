//! The last good decisions on disk, so that a rebooted host enforces before the LAPI answers.
//!
//! The file is written whole beside the old one, synced, and moved over it: a reader sees the old state or the
//! new one. Layout, all numbers little-endian: `PLSDMEM2`, the identity of the LAPI, the cursor that belongs to exactly
//! these decisions (empty when none does), when it was written, the labels, the decisions, and a CRC-32 of everything
//! before it. Ends are absolute wall-clock times. `PLSDMEM1`, which has no cursor, is read too.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use palisade_cache::{Batch, Decision, Reason, Snapshot, Target, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::publish::CacheHandle;

const MAGIC: &[u8; 8] = b"PLSDMEM2";
const WITHOUT_CURSOR: &[u8; 8] = b"PLSDMEM1";

/// A remembered file could not be used, or not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RememberError {
    /// The file system said no.
    #[error("cannot {doing} the remembered decisions at {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// Not a file of ours, or of another version.
    #[error("{} is not a file of remembered decisions this version can read; it is left unused and will be replaced", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// The checksum or the structure does not hold.
    #[error("{} is damaged; it is left unused and will be replaced", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The decisions are another LAPI's.
    #[error("{} holds decisions of another LAPI ({theirs}); it is left unused and will be replaced", path.display())]
    OtherLapi {
        /// Which file.
        path: PathBuf,
        /// The identity it carries.
        theirs: String,
    },
}

/// Where the last good decisions are kept.
#[derive(Debug, Clone)]
pub struct Memory {
    path: PathBuf,
    identity: Identity,
}

/// Whose decisions they are: any of these LAPIs', of this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    lapis: Vec<String>,
    kind: String,
}

/// Decisions that were remembered and still hold.
#[derive(Debug, Default)]
pub struct Remembered {
    /// The decisions.
    pub batch: Batch,
    /// When they were written.
    pub written: Timestamp,
    /// The cursor that belongs to exactly these; empty when none does.
    pub cursor: String,
}

impl Memory {
    /// Keeps decisions at `path`. `lapis` names where they come from (URLs of LAPIs that stand for each other) and
    /// `kind` which ones they are: a file that names none of these LAPIs, or another kind, is refused.
    pub fn new<'a>(
        path: impl Into<PathBuf>,
        lapis: impl IntoIterator<Item = &'a str>,
        kind: impl Into<String>,
    ) -> Self {
        let lapis = lapis.into_iter().map(str::to_owned).collect();
        Self { path: path.into(), identity: Identity { lapis, kind: kind.into() } }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The remembered decisions that still hold at `now`; `None` when there is no file.
    ///
    /// # Errors
    /// When there is a file and it cannot be read, or is not ours, not whole, or not of this LAPI.
    pub fn load(&self, now: Timestamp) -> Result<Option<Remembered>, RememberError> {
        let io = |cause| RememberError::Io { doing: "read", path: self.path.clone(), cause };
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(mut file) => file.read_to_end(&mut bytes).map_err(io)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(io(cause)),
        };
        match decode(&bytes, &self.identity, now) {
            Ok(found) => Ok(Some(found)),
            Err(Unusable::Foreign) => Err(RememberError::Foreign { path: self.path.clone() }),
            Err(Unusable::Damaged) => Err(RememberError::Damaged { path: self.path.clone() }),
            Err(Unusable::OtherLapi(theirs)) => {
                Err(RememberError::OtherLapi { path: self.path.clone(), theirs })
            }
        }
    }

    /// Writes a snapshot; only the owner can read the file. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory is missing or full; the old file then stays as it was.
    pub fn save(&self, snapshot: &Snapshot, now: Timestamp) -> Result<(), RememberError> {
        self.save_at(snapshot, "", now)
    }

    /// The same with the cursor that belongs to exactly this snapshot.
    ///
    /// # Errors
    /// As for [`Memory::save`].
    pub fn save_at(&self, snapshot: &Snapshot, cursor: &str, now: Timestamp) -> Result<(), RememberError> {
        let io = |cause| RememberError::Io { doing: "write", path: self.path.clone(), cause };
        let bytes = encode(snapshot, &self.identity.text(), cursor, now);
        let staged = self.path.with_extension("new");
        let written = (|| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&staged)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&staged, &self.path)?;
            // The rename itself must survive a power cut.
            self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
        })();
        written.map_err(|cause| {
            // What is left of it takes room on a full disk; that it may be gone already is no news.
            let _ = fs::remove_file(&staged);
            io(cause)
        })
    }
}

impl Identity {
    fn text(&self) -> String {
        format!("{} ({})", self.lapis.join(" "), self.kind)
    }

    fn is_ours(&self, theirs: &str) -> bool {
        let Some((lapis, kind)) = theirs.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) else {
            return false;
        };
        kind == self.kind && lapis.split(' ').any(|lapi| self.lapis.iter().any(|ours| ours == lapi))
    }
}

/// Writes each new generation to disk, at most one per `pause`, until `stop`; then once more.
///
/// Generation 0 (nothing known yet) is never written. A failure is said when it begins and when it ends, and
/// tried again at the next pause.
pub async fn keep(memory: Memory, cache: CacheHandle, pause: Duration, stop: CancellationToken) {
    let mut changed = cache.changed();
    let mut saved = (0, String::new());
    let mut failing = false;
    loop {
        let stopping = stop.is_cancelled();
        let kept = cache.kept();
        // A cursor that moved on over changes that are none of ours is worth a write at the end only.
        let news = kept.snapshot.generation() != saved.0 || stopping && kept.cursor != saved.1;
        if news && cache.freshness().is_complete() {
            let (memory, wanted) = (memory.clone(), std::sync::Arc::clone(&kept));
            let write = move || memory.save_at(&wanted.snapshot, &wanted.cursor, crate::now());
            let result = tokio::task::spawn_blocking(write).await;
            match result {
                Ok(Ok(())) => {
                    if std::mem::take(&mut failing) {
                        info!("decisions are remembered on disk again");
                    }
                    saved = (kept.snapshot.generation(), kept.cursor.clone());
                }
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(
                            error = %chain(&error),
                            "decisions are enforced but not remembered: after a reboot this host waits for the \
                             LAPI; tried again until it works"
                        );
                    }
                }
                Err(_) => return, // the runtime is going down
            }
        }
        if stopping {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => continue,
            () = tokio::time::sleep(pause) => {}
        }
        if !failing {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = changed.wait_for(|generation| *generation != saved.0) => {}
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn encode(snapshot: &Snapshot, identity: &str, cursor: &str, now: Timestamp) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut label_of: HashMap<[&str; 3], u32> = HashMap::new();
    let mut rows = Vec::with_capacity(snapshot.len() * 40);
    let mut count = 0u32;
    for decision in snapshot.decisions() {
        let next = label_of.len() as u32;
        let words = [decision.remediation, decision.origin, decision.scenario];
        let label = *label_of.entry(words).or_insert_with(|| {
            words.iter().for_each(|word| put_text(&mut labels, word));
            next
        });
        put_decision(&mut rows, &decision, label);
        count += 1;
    }
    let mut out = Vec::with_capacity(rows.len() + labels.len() + 64);
    out.extend_from_slice(MAGIC);
    put_text(&mut out, identity);
    put_text(&mut out, cursor);
    out.extend_from_slice(&now.as_millis().to_le_bytes());
    out.extend_from_slice(&(label_of.len() as u32).to_le_bytes());
    out.append(&mut labels);
    out.extend_from_slice(&count.to_le_bytes());
    out.append(&mut rows);
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_decision(out: &mut Vec<u8>, decision: &Decision<'_>, label: u32) {
    out.extend_from_slice(&label.to_le_bytes());
    out.extend_from_slice(&decision.until.as_millis().to_le_bytes());
    out.extend_from_slice(&decision.id.to_le_bytes());
    match decision.target {
        Target::Net(net) => {
            out.push(if net.addr().is_ipv4() { 4 } else { 6 });
            out.push(net.prefix_len());
            match net.addr() {
                IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
            }
        }
        Target::Name(name) => {
            out.push(0);
            put_text(out, decision.scope);
            put_text(out, name);
        }
    }
}

enum Unusable {
    Foreign,
    Damaged,
    OtherLapi(String),
}

fn decode(bytes: &[u8], identity: &Identity, now: Timestamp) -> Result<Remembered, Unusable> {
    let (rest, has_cursor) = match (bytes.strip_prefix(MAGIC), bytes.strip_prefix(WITHOUT_CURSOR)) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => return Err(Unusable::Foreign),
    };
    let (body, checksum) = rest.split_last_chunk::<4>().ok_or(Unusable::Damaged)?;
    if crc32fast::hash(&bytes[..bytes.len() - 4]) != u32::from_le_bytes(*checksum) {
        return Err(Unusable::Damaged);
    }
    let mut input = Input(body);
    let theirs = input.text().ok_or(Unusable::Damaged)?;
    if !identity.is_ours(theirs) {
        return Err(Unusable::OtherLapi(theirs.to_owned()));
    }
    let mut read = || {
        let cursor = if has_cursor { input.text()?.to_owned() } else { String::new() };
        let written = Timestamp::from_millis(i64::from_le_bytes(input.take()?));
        let mut labels = Vec::new();
        for _ in 0..u32::from_le_bytes(input.take()?) {
            labels.push(Reason {
                remediation: input.text()?,
                origin: input.text()?,
                scenario: input.text()?,
            });
        }
        let mut batch = Batch::new();
        for _ in 0..u32::from_le_bytes(input.take()?) {
            input.decision(&labels, now, &mut batch)?;
        }
        input.0.is_empty().then_some(Remembered { batch, written, cursor })
    };
    read().ok_or(Unusable::Damaged)
}

/// Checks that bytes from anywhere decode or are refused, and never panic. For fuzzing.
#[doc(hidden)]
pub fn fuzz_decode(bytes: &[u8]) -> Option<usize> {
    let identity = Identity { lapis: vec!["x".to_owned()], kind: "fuzz".to_owned() };
    decode(bytes, &identity, Timestamp::default()).ok().map(|found| found.batch.announced())
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn decision(&mut self, labels: &[Reason<'a>], now: Timestamp, batch: &mut Batch) -> Option<()> {
        let label = u32::from_le_bytes(self.take()?) as usize;
        let until = Timestamp::from_millis(i64::from_le_bytes(self.take()?));
        let id = i64::from_le_bytes(self.take()?);
        let reason = *labels.get(label)?;
        let [kind] = self.take()?;
        if kind == 0 {
            let (scope, value) = (self.text()?, self.text()?);
            if until > now {
                batch.announce_name(scope, value, reason, until, id);
            }
            return Some(());
        }
        let [length] = self.take()?;
        let address = match kind {
            4 => IpAddr::from(self.take::<4>()?),
            6 => IpAddr::from(self.take::<16>()?),
            _ => return None,
        };
        let net = IpNet::new(address, length).ok()?;
        if until > now {
            batch.announce_net(net, reason, until, id);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use palisade_cache::{Ledger, Mode, Policy};

    use super::*;

    fn snapshot() -> Snapshot {
        let reason = Reason { remediation: "ban", origin: "lists", scenario: "tor" };
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let mut batch = Batch::new();
        batch.announce_net("192.0.2.0/24".parse().unwrap(), reason, at(100), 1);
        batch.announce_net("2001:db8::1/128".parse().unwrap(), reason, at(200), 2);
        batch.announce_name("Country", "FR", reason, at(300), 3);
        let mut ledger = Ledger::new(Policy::default(), 0);
        ledger.apply(Mode::Changes, batch);
        ledger.snapshot()
    }

    fn texts(batch: Batch) -> Vec<String> {
        let mut ledger = Ledger::new(Policy::default(), 0);
        ledger.apply(Mode::Changes, batch);
        let mut out: Vec<_> = ledger.snapshot().decisions().map(|d| format!("{d:?}")).collect();
        out.sort();
        out
    }

    #[test]
    fn what_was_saved_is_loaded_without_what_ended_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(folder.path().join("decisions"), ["http://127.0.0.1:8080"], "ban");
        assert!(memory.load(Timestamp::default()).unwrap().is_none());
        memory.save_at(&snapshot(), "T7", Timestamp::from_millis(5)).unwrap();
        let mode = fs::metadata(memory.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let Remembered { batch, written, cursor } = memory.load(Timestamp::default()).unwrap().unwrap();
        assert_eq!(cursor, "T7");
        let mut expected: Vec<_> = snapshot().decisions().map(|d| format!("{d:?}")).collect();
        expected.sort();
        assert_eq!((texts(batch), written.as_millis()), (expected, 5));
        let later = memory.load(Timestamp::from_millis(100_000)).unwrap().unwrap();
        assert_eq!((later.batch.announced(), later.cursor.as_str()), (2, "T7"));
    }

    #[test]
    fn a_list_of_lapis_may_grow_and_shrink() {
        let folder = tempfile::tempdir().unwrap();
        let memory = |lapis: &[&str], kind: &str| {
            Memory::new(folder.path().join("decisions"), lapis.iter().copied(), kind)
        };
        memory(&["http://a", "http://b"], "ban").save(&snapshot(), Timestamp::default()).unwrap();
        for (lapis, kind, usable) in [
            (&["http://b"][..], "ban", true),
            (&["http://c", "http://a"], "ban", true),
            (&["http://c"], "ban", false),
            (&["http://a"], "ban,captcha", false),
        ] {
            let found = memory(lapis, kind).load(Timestamp::default());
            let other = matches!(found, Err(RememberError::OtherLapi { .. }));
            assert_eq!((found.is_ok(), other), (usable, !usable), "{lapis:?} {kind}");
        }
    }

    #[test]
    fn a_file_of_the_version_before_is_read_and_has_no_cursor() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(folder.path().join("decisions"), ["http://a"], "ban");
        let mut old = encode(&snapshot(), "http://a (ban)", "", Timestamp::from_millis(5));
        let body = old.len() - 4;
        old.truncate(body);
        // The length of an empty cursor goes.
        let at = 8 + 4 + "http://a (ban)".len();
        old.drain(at..at + 4);
        old[..8].copy_from_slice(WITHOUT_CURSOR);
        let checksum = crc32fast::hash(&old);
        old.extend_from_slice(&checksum.to_le_bytes());
        fs::write(memory.path(), old).unwrap();
        let found = memory.load(Timestamp::default()).unwrap().unwrap();
        assert_eq!((found.batch.announced(), found.written.as_millis(), found.cursor.as_str()), (3, 5, ""));
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(folder.path().join("decisions"), ["a"], "ban");
        memory.save(&snapshot(), Timestamp::default()).unwrap();
        let good = fs::read(memory.path()).unwrap();
        for at in 8..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(memory.path(), &bad).unwrap();
            assert!(
                matches!(memory.load(Timestamp::default()), Err(RememberError::Damaged { .. })),
                "byte {at}"
            );
            fs::write(memory.path(), &good[..at]).unwrap();
            assert!(memory.load(Timestamp::default()).is_err(), "cut at {at}");
        }
        fs::write(memory.path(), b"#!/bin/sh\n").unwrap();
        assert!(matches!(memory.load(Timestamp::default()), Err(RememberError::Foreign { .. })));
        fs::write(memory.path(), &good).unwrap();
        let other = Memory::new(memory.path(), ["b"], "ban");
        assert!(matches!(other.load(Timestamp::default()), Err(RememberError::OtherLapi { .. })));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(folder.path().join("decisions"), ["a"], "ban");
        memory.save(&snapshot(), Timestamp::default()).unwrap();
        let before = fs::read(memory.path()).unwrap();
        fs::create_dir(memory.path().with_extension("new")).unwrap();
        assert!(memory.save(&snapshot(), Timestamp::default()).is_err());
        assert_eq!(fs::read(memory.path()).unwrap(), before);
    }
}
