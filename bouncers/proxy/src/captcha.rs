//! Shows captchas, verifies their solutions, and signs proofs of them.
