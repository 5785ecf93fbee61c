//! The stored form of machines' passwords. Pure, and slow on purpose: a tenth of a second of processor time each.

/// bcrypt's cost factor, the stock server's. Each step doubles the time of a login.
const COST: u32 = 10;

/// The longest password that is hashed, in bytes: bcrypt ignores what follows.
pub const MAX_PASSWORD_BYTES: usize = 72;

/// The hash of a password; `None` when it is longer than [`MAX_PASSWORD_BYTES`].
pub fn hash_password(password: &str) -> Option<String> {
    if password.len() > MAX_PASSWORD_BYTES {
        return None;
    }
    bcrypt::hash(password, COST).ok()
}

/// Whether `password` matches `hash`. A malformed hash matches no password. A longer password is compared by its first
/// 72 bytes: versions of CrowdSec before 1.5 stored such ones.
pub fn password_matches(password: &str, hash: &str) -> bool {
    bcrypt::verify(password, hash).unwrap_or(false)
}

/// Whether a hash was made with another cost than [`hash_password`] uses: a login with it takes longer, or protects
/// less.
pub fn has_other_cost(hash: &str) -> bool {
    hash.parse::<bcrypt::HashParts>().is_ok_and(|parts| parts.get_cost() != COST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_bcrypts_of_the_stock_cost() {
        let hash = hash_password("secret").unwrap();
        assert!(hash.starts_with("$2b$10$"), "{hash}");
        // Go writes this prefix.
        let go = hash.replacen("$2b$", "$2a$", 1);
        for (password, hash, expected) in [
            ("secret", hash.as_str(), true),
            ("other", &hash, false),
            ("secret", &go, true),
            ("secret", "no hash", false),
            ("secret", "", false),
        ] {
            assert_eq!(password_matches(password, hash), expected, "{password} {hash}");
        }
        assert!(!has_other_cost(&hash) && !has_other_cost(&go) && !has_other_cost("no hash"));
        assert!(has_other_cost(&bcrypt::hash("secret", 4).unwrap()));
    }

    #[test]
    fn passwords_are_compared_up_to_the_length_that_is_hashed() {
        assert_eq!(hash_password(&"é".repeat(37)), None);
        let hash = hash_password(&"x".repeat(72)).unwrap();
        assert!(password_matches(&"x".repeat(80), &hash));
        assert!(!password_matches(&"x".repeat(71), &hash));
    }
}
