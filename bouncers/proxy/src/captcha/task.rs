//! Signs and verifies challenge tokens: each names one task, shown to one client, solved at most once.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use subtle::ConstantTimeEq as _;

use super::binding::{Binding, LowerHost};
use super::keys::{KeyId, Keys};

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"palisade captcha task 1";
/// Version, key id, time, difficulty, number, code.
const BYTES: usize = 1 + 4 + 8 + 1 + 16 + 32;
pub(super) const TOKEN_CHARS: usize = (BYTES * 4).div_ceil(3);

/// Seconds in which a task must be solved.
pub(super) const TASK_SECONDS: u64 = 600;
/// Seconds that a token may be from the future, for proxies that share keys.
const CLOCK_SKEW: u64 = 60;

/// The random number of a task.
pub(super) type TaskNumber = [u8; 16];

/// A verified token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) number: TaskNumber,
    pub(super) issued: u64,
    /// As it was when the task was shown; 0 when it is set by a service.
    pub(super) difficulty: u8,
}

/// A random number as text, for tokens and nonces.
pub(super) fn random() -> Option<TaskNumber> {
    let mut number = TaskNumber::default();
    SystemRandom::new().fill(&mut number).ok()?;
    Some(number)
}

/// Makes a token.
pub(super) fn issue(keys: &Keys, binding: &Binding<'_>, task: &Task) -> Option<String> {
    let id = keys.current();
    let code = code(keys, id, binding, task)?;
    let mut bytes = [0; BYTES];
    bytes[0] = VERSION;
    bytes[1..5].copy_from_slice(&id);
    bytes[5..13].copy_from_slice(&task.issued.to_be_bytes());
    bytes[13] = task.difficulty;
    bytes[14..30].copy_from_slice(&task.number);
    bytes[30..].copy_from_slice(&code);
    Some(BASE64.encode(bytes))
}

/// The task of a token, when it is valid for the binding at `now`.
pub(super) fn verify(keys: &Keys, binding: &Binding<'_>, token: &[u8], now: u64) -> Option<Task> {
    if token.len() != TOKEN_CHARS {
        return None;
    }
    let mut bytes = [0; BYTES];
    if BASE64.decode_slice(token, &mut bytes) != Ok(BYTES) || bytes[0] != VERSION {
        return None;
    }
    let task = Task {
        issued: u64::from_be_bytes(bytes[5..13].try_into().ok()?),
        difficulty: bytes[13],
        number: bytes[14..30].try_into().ok()?,
    };
    let is_current =
        task.issued <= now.saturating_add(CLOCK_SKEW) && task.issued.saturating_add(TASK_SECONDS) > now;
    let code = code(keys, bytes[1..5].try_into().ok()?, binding, &task)?;
    (is_current && bool::from(code.ct_eq(&bytes[30..]))).then_some(task)
}

fn code(keys: &Keys, id: KeyId, binding: &Binding<'_>, task: &Task) -> Option<[u8; 32]> {
    keys.sign(
        id,
        &[
            DOMAIN,
            &task.issued.to_be_bytes(),
            &[task.difficulty],
            &task.number,
            binding.prefix.bytes(),
            binding.user_agent,
            LowerHost::new(binding.host).bytes(),
            &binding.decision.to_be_bytes(),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::super::binding::ClientPrefix;
    use super::*;

    const NOW: u64 = 1_000_000;

    #[test]
    fn a_token_is_valid_for_its_client_and_for_a_while() {
        let keys = Keys::load(&[], None, 0).unwrap();
        let prefix = |address: &str| ClientPrefix::new(address.parse().unwrap(), (32, 64));
        let own = Binding { prefix: prefix("192.0.2.1"), user_agent: b"x", host: "example.org", decision: 1 };
        let task = Task { number: random().unwrap(), issued: NOW, difficulty: 18 };
        let token = issue(&keys, &own, &task).unwrap();
        assert_eq!(token.len(), TOKEN_CHARS);
        let verified = |binding: &Binding<'_>, now| verify(&keys, binding, token.as_bytes(), now);
        assert_eq!(verified(&own, NOW), Some(task));
        assert_eq!(verified(&own, NOW + TASK_SECONDS - 1), Some(task));
        assert_eq!(verified(&own, NOW + TASK_SECONDS), None);
        assert_eq!(verified(&own, NOW - CLOCK_SKEW - 1), None);
        for other in [
            Binding { prefix: prefix("192.0.2.2"), ..own },
            Binding { user_agent: b"y", ..own },
            Binding { host: "example.com", ..own },
            Binding { decision: 2, ..own },
        ] {
            assert_eq!(verified(&other, NOW), None);
        }
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(verify(&keys, &own, &changed, NOW), None, "character {at}");
        }
    }
}
