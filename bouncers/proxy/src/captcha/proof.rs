//! Signs and verifies proofs: the cookie of a client that solved a captcha.
//!
//! A proof holds the key's id, when it ends, and a code. What it is bound to is not in it, only in the signed message.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use subtle::ConstantTimeEq as _;

use super::binding::{Binding, LowerHost};
use super::keys::{KeyId, Keys};

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"palisade captcha proof 1";
/// Version, key id, end, code.
const BYTES: usize = 1 + 4 + 8 + 32;
/// The length of a proof in a cookie. Anything else is not decoded.
pub(super) const PROOF_CHARS: usize = BYTES / 3 * 4;

/// Seconds that a proof may end later than one made now, for proxies that share keys, and clocks that are set.
const CLOCK_SKEW: u64 = 60;

/// Makes a proof that ends at `end`.
pub(super) fn issue(keys: &Keys, binding: &Binding<'_>, end: u64) -> Option<String> {
    let id = keys.current();
    let code = code(keys, id, binding, end)?;
    let mut bytes = [0; BYTES];
    bytes[0] = VERSION;
    bytes[1..5].copy_from_slice(&id);
    bytes[5..13].copy_from_slice(&end.to_be_bytes());
    bytes[13..].copy_from_slice(&code);
    Some(BASE64.encode(bytes))
}

/// Whether a proof is valid for the binding at `now`.
pub(super) fn verify(keys: &Keys, binding: &Binding<'_>, proof: &[u8], now: u64, ttl: u64) -> bool {
    if proof.len() != PROOF_CHARS {
        return false;
    }
    let mut bytes = [0; BYTES];
    if BASE64.decode_slice(proof, &mut bytes) != Ok(BYTES) || bytes[0] != VERSION {
        return false;
    }
    let (Ok(id), Ok(end)) = (KeyId::try_from(&bytes[1..5]), <[u8; 8]>::try_from(&bytes[5..13])) else {
        return false;
    };
    let end = u64::from_be_bytes(end);
    // The upper bound: after the clock was set back, an old proof is not valid for longer than a new one.
    if end <= now || end > now.saturating_add(ttl).saturating_add(CLOCK_SKEW) {
        return false;
    }
    code(keys, id, binding, end).is_some_and(|code| bool::from(code.ct_eq(&bytes[13..])))
}

fn code(keys: &Keys, id: KeyId, binding: &Binding<'_>, end: u64) -> Option<[u8; 32]> {
    keys.sign(
        id,
        &[
            DOMAIN,
            &end.to_be_bytes(),
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
    use palisade_client::Secret;

    const NOW: u64 = 1_000_000;
    const TTL: u64 = 3600;

    fn keys(letters: &[&str]) -> Keys {
        let secrets: Vec<Secret> = letters.iter().map(|letter| Secret::new(letter.repeat(40))).collect();
        Keys::load(&secrets, None, 0).unwrap()
    }

    fn binding(address: &str) -> Binding<'static> {
        let prefix = ClientPrefix::new(address.parse().unwrap(), (32, 64));
        Binding { prefix, user_agent: b"browser", host: "example.org", decision: 7 }
    }

    #[test]
    fn a_proof_is_valid_for_what_it_is_bound_to_alone() {
        let keys = keys(&["a"]);
        let own = binding("192.0.2.1");
        let proof = issue(&keys, &own, NOW + TTL).unwrap();
        assert_eq!(proof.len(), PROOF_CHARS);
        let is_valid = |binding: &Binding<'_>| verify(&keys, binding, proof.as_bytes(), NOW, TTL);
        assert!(is_valid(&own));
        assert!(is_valid(&Binding { host: "EXAMPLE.org", ..own }), "hosts have no case");
        for (what, other) in [
            ("address", binding("192.0.2.2")),
            ("user agent", Binding { user_agent: b"other", ..own }),
            ("no user agent", Binding { user_agent: b"", ..own }),
            ("host", Binding { host: "example.com", ..own }),
            ("decision", Binding { decision: 8, ..own }),
        ] {
            assert!(!is_valid(&other), "another {what}");
        }
    }

    #[test]
    fn a_proof_ends_and_never_outlives_a_new_one() {
        let keys = keys(&["a"]);
        let own = binding("192.0.2.1");
        let proof = issue(&keys, &own, NOW + TTL).unwrap();
        let is_valid = |now, ttl| verify(&keys, &own, proof.as_bytes(), now, ttl);
        assert!(is_valid(NOW + TTL - 1, TTL));
        assert!(!is_valid(NOW + TTL, TTL), "it has ended");
        assert!(!is_valid(NOW - 3600, TTL), "the clock was set back by an hour");
        assert!(is_valid(NOW - 10, TTL), "clocks differ by seconds");
        assert!(!is_valid(NOW, 600), "a shorter time is configured now");
    }

    #[test]
    fn the_previous_key_still_verifies_and_an_unknown_one_does_not() {
        let own = binding("192.0.2.1");
        let proof = issue(&keys(&["a"]), &own, NOW + TTL).unwrap();
        assert!(verify(&keys(&["b", "a"]), &own, proof.as_bytes(), NOW, TTL));
        assert!(!verify(&keys(&["b"]), &own, proof.as_bytes(), NOW, TTL));
    }

    #[test]
    fn a_changed_proof_is_refused() {
        let keys = keys(&["a"]);
        let own = binding("192.0.2.1");
        let proof = issue(&keys, &own, NOW + TTL).unwrap();
        for at in 0..proof.len() {
            let mut changed = proof.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(!verify(&keys, &own, &changed, NOW, TTL), "character {at}");
        }
        for other in ["", "x", &proof[1..], &format!("{proof}="), &"A".repeat(5000), &"=".repeat(PROOF_CHARS)]
        {
            assert!(!verify(&keys, &own, other.as_bytes(), NOW, TTL));
        }
    }
}
