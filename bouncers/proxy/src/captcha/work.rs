//! Checks proofs of work: a number whose SHA-256 together with the token begins with zero bits.

use aws_lc_rs::digest;

/// Below, a solution is nearly free.
pub const MIN_DIFFICULTY: u8 = 8;
/// Above, a phone needs hours.
pub const MAX_DIFFICULTY: u8 = 28;

/// Digits of a solution: more than a browser can try.
const MAX_DIGITS: usize = 15;

/// Whether `solution` solves the task of `token`. Costs one hash.
pub(super) fn is_solved(token: &str, solution: &str, difficulty: u8) -> bool {
    let is_number =
        (1..=MAX_DIGITS).contains(&solution.len()) && solution.bytes().all(|byte| byte.is_ascii_digit());
    is_number && leading_zeros(token, solution) >= u32::from(difficulty)
}

fn leading_zeros(token: &str, solution: &str) -> u32 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(token.as_bytes());
    context.update(b":");
    context.update(solution.as_bytes());
    let digest = context.finish();
    let mut zeros = 0;
    for byte in digest.as_ref() {
        zeros += byte.leading_zeros();
        if *byte != 0 {
            break;
        }
    }
    zeros
}

/// Solves a task as a browser does.
#[cfg(test)]
pub(super) fn solve(token: &str, difficulty: u8) -> String {
    (0u64..).map(|number| number.to_string()).find(|number| is_solved(token, number, difficulty)).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solution_has_the_zero_bits_and_is_a_plain_number() {
        let solution = solve("token", 12);
        assert!(is_solved("token", &solution, 12));
        assert!(!is_solved("token", &solution, 40));
        assert!(!is_solved("another", &solution, 12));
        for other in ["", "-1", "1e3", " 1", "1\n", &"1".repeat(16)] {
            assert!(!is_solved("token", other, 0), "{other:?}");
        }
    }
}
