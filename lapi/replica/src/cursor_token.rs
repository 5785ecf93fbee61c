//! The signed text form of a client's cursor, and the check of a cursor against a replica.
//!
//! ```text
//!    version 1 ┃ database 16 ┃ timeline 8 ┃ filter 8 ┃ commit 8 ┃ time 8 ┃ signature 16        base64url, 87 characters
//! ```
//!
//! The signature is the first half of HMAC-SHA-256 under a key that all LAPIs on the database share, so that no one
//! else can make a cursor.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use palisade_model::{Commit, Timeline};
use palisade_wire::UnixMillis;
use palisade_wire::follow::FullReason;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::filter::StreamRequest;
use crate::view::{CursorStatus, View};

const VERSION: u8 = 1;
const SEALED: usize = 1 + 16 + 8 + 8 + 8 + 8;
// 128 bits cannot be guessed, and the cursor is part of every request line.
const SEAL: usize = 16;

/// The contents of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorToken {
    /// The database whose commits it counts.
    pub database: Uuid,
    /// The timeline of that database.
    pub timeline: u64,
    /// The decisions it is for: [`StreamRequest::digest`].
    pub filter: u64,
    /// The client's position.
    pub cursor: Cursor,
}

/// Signs and verifies cursors.
#[derive(Clone)]
pub struct CursorSigner(Hmac<Sha256>);

impl std::fmt::Debug for CursorSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorSigner")
    }
}

impl CursorSigner {
    /// With the key stored in the database.
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// Encodes and signs a cursor.
    pub fn sign(&self, token: &CursorToken) -> String {
        let mut bytes = Vec::with_capacity(SEALED + SEAL);
        bytes.push(VERSION);
        bytes.extend_from_slice(token.database.as_bytes());
        bytes.extend_from_slice(&token.timeline.to_be_bytes());
        bytes.extend_from_slice(&token.filter.to_be_bytes());
        bytes.extend_from_slice(&token.cursor.commit.0.to_be_bytes());
        bytes.extend_from_slice(&token.cursor.time.0.to_be_bytes());
        let seal = self.0.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&seal[..SEAL]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes a cursor; `None` unless it was signed with this key.
    pub fn verify(&self, text: &str) -> Option<CursorToken> {
        // Too long to be valid: not worth decoding.
        if text.len() > 2 * (SEALED + SEAL) {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (content, seal) = bytes.split_at_checked(SEALED)?;
        // Compared in constant time. The length is checked because a shorter prefix of the signature would verify
        // too.
        if seal.len() != SEAL || self.0.clone().chain_update(content).verify_truncated_left(seal).is_err() {
            return None;
        }
        let (version, rest) = content.split_first()?;
        let (database, rest) = rest.split_first_chunk::<16>()?;
        let (timeline, rest) = rest.split_first_chunk::<8>()?;
        let (filter, rest) = rest.split_first_chunk::<8>()?;
        let (commit, rest) = rest.split_first_chunk::<8>()?;
        let time = rest.first_chunk::<8>()?;
        // The signature comes first, so that only a cursor of another version of this program is refused here.
        (*version == VERSION).then(|| CursorToken {
            database: Uuid::from_bytes(*database),
            timeline: u64::from_be_bytes(*timeline),
            filter: u64::from_be_bytes(*filter),
            cursor: Cursor {
                commit: Commit(u64::from_be_bytes(*commit)),
                time: UnixMillis(i64::from_be_bytes(*time)),
            },
        })
    }
}

/// What the cursors of a replica refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CursorScope {
    /// Identifies the database.
    pub database: Uuid,
    /// Its timelines, oldest first.
    pub timelines: Vec<Timeline>,
}

impl CursorScope {
    /// The current timeline; 0 before the first.
    pub fn timeline(&self) -> u64 {
        self.timelines.last().map_or(0, |line| line.token)
    }

    /// Whether the commit of a cursor is part of this history.
    pub fn contains(&self, token: &CursorToken) -> bool {
        // Unknown if it is older than the timelines that are kept, or was begun after the backup that was restored.
        let Some(at) = self.timelines.iter().rposition(|line| line.token == token.timeline) else {
            return false;
        };
        let until = self.timelines.get(at + 1).map(|next| next.from);
        token.database == self.database && until.is_none_or(|until| token.cursor.commit <= until)
    }
}

/// The result of checking a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorLookup {
    /// Not usable: a full response is needed.
    Invalid(FullReason),
    /// Usable, or ahead of the replica: then more must be fetched from the database, and if the cursor is still ahead,
    /// the database was restored ([`FullReason::OtherDatabase`]).
    Valid(Cursor, CursorStatus),
}

impl CursorSigner {
    /// Checks the cursor of a request with this [digest](StreamRequest::digest) against the replica's snapshot and
    /// scope.
    pub fn lookup(
        &self,
        (view, scope): (&View, &CursorScope),
        (request, digest): (&StreamRequest, u64),
        cursor: &str,
        now: UnixMillis,
    ) -> CursorLookup {
        if request.startup || cursor.is_empty() {
            return CursorLookup::Invalid(FullReason::Start);
        }
        let Some(token) = self.verify(cursor) else { return CursorLookup::Invalid(FullReason::Forged) };
        // Before the status: in another history the commit number means nothing.
        if !scope.contains(&token) {
            return CursorLookup::Invalid(FullReason::OtherDatabase);
        }
        if token.filter != digest {
            return CursorLookup::Invalid(FullReason::OtherFilter);
        }
        match view.status(request, token.cursor, now) {
            CursorStatus::TooOld => CursorLookup::Invalid(FullReason::TooOld),
            status => CursorLookup::Valid(token.cursor, status),
        }
    }
}

impl StreamRequest {
    /// Identifies the decisions a request is for; `startup` does not count. Stable within one version: a LAPI of
    /// another version may compute another digest, and then sends a full response once.
    pub fn digest(&self) -> u64 {
        // `by_address` is left out, as it is set for every request with a cursor.
        let text = format!("{:?} {}", self.filter, self.dedup);
        let digest = Sha256::digest(text);
        digest.first_chunk::<8>().map_or(0, |front| u64::from_be_bytes(*front))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Filter;

    fn token() -> CursorToken {
        let cursor = Cursor { commit: Commit(7), time: UnixMillis(1_790_000_000_000) };
        CursorToken { database: Uuid::from_u128(5), timeline: 3, filter: 9, cursor }
    }

    #[test]
    fn tokens_are_read_with_the_key_that_signed_them() {
        let text = CursorSigner::new(b"key").sign(&token());
        assert_eq!(text.len(), 87);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
        assert_eq!(CursorSigner::new(b"key").verify(&text), Some(token()));
        assert_eq!(CursorSigner::new(b"other").verify(&text), None);
    }

    #[test]
    fn nothing_else_is_read() {
        let signer = CursorSigner::new(b"key");
        let text = signer.sign(&token());
        for at in 0..text.len() {
            let mut bent = text.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bent).unwrap();
            assert_eq!(signer.verify(&bent), None, "character {at}");
            assert_eq!(signer.verify(&text[..at]), None, "cut at {at}");
        }
        for junk in ["", "?", "AAAA", &"A".repeat(76), &"A".repeat(100_000), &format!("{text}AAAA")] {
            assert_eq!(signer.verify(junk), None);
        }
    }

    #[test]
    fn a_cursor_of_a_history_that_was_undone_is_known() {
        let database = Uuid::from_u128(5);
        let line = |token, from| Timeline { token, from: Commit(from) };
        let scope = CursorScope { database, timelines: vec![line(1, 0), line(2, 40), line(3, 90)] };
        let knows = |timeline, commit| {
            let cursor = Cursor { commit: Commit(commit), ..Cursor::default() };
            scope.contains(&CursorToken { database, timeline, filter: 0, cursor })
        };
        // The second timeline had reached commit 100 when the database was restored to 90.
        for (timeline, commit, known) in
            [(1, 40, true), (1, 41, false), (2, 90, true), (2, 100, false), (3, 100, true), (4, 1, false)]
        {
            assert_eq!(knows(timeline, commit), known, "{timeline} {commit}");
        }
        let elsewhere = CursorScope { database: Uuid::nil(), ..scope.clone() };
        let cursor = Cursor::default();
        assert!(!elsewhere.contains(&CursorToken { database, timeline: 3, filter: 0, cursor }));
    }

    #[test]
    fn other_decisions_have_another_digest() {
        let digest = |query: &[(&str, &str)]| {
            let pairs: Vec<_> = query.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            Filter::for_stream(&pairs).unwrap().digest()
        };
        let plain = digest(&[]);
        assert_eq!(plain, digest(&[("startup", "true"), ("cursor", "x"), ("wait", "25")]));
        let others = [
            digest(&[("origins", "cscli")]),
            digest(&[("scopes", "ip")]),
            digest(&[("dedup", "false")]),
            digest(&[("simulated", "true")]),
            digest(&[("scenarios_containing", "ssh")]),
            digest(&[("scenarios_not_containing", "ssh")]),
            digest(&[("ip", "192.0.2.1")]),
        ];
        for (at, one) in others.iter().enumerate() {
            assert!(*one != plain && !others[..at].contains(one), "{at}");
        }
    }
}
