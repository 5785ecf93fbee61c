//! Shows numbers as `cscli metrics` does.

/// A number, in thousands, millions and so on from 1000 on if `short`: `1.00k`, `12.34k`.
pub(super) fn number(value: i64, short: bool) -> String {
    const SUFFIXES: [(f64, &str); 6] =
        [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let found = SUFFIXES.iter().find(|(unit, _)| short && value as f64 >= *unit);
    // Halves are rounded up, and not to the even digit.
    found.map_or_else(
        || value.to_string(),
        |(unit, suffix)| format!("{:.2}{suffix}", (value as f64 / unit * 100.0).round() / 100.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shortened_by_thousands() {
        for (value, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.00k"),
            (1034, "1.03k"),
            (1035, "1.03k"),
            (3800, "3.80k"),
            (3847, "3.85k"),
            (12_340, "12.34k"),
            (999_999, "1000.00k"),
            (1_000_000, "1.00M"),
            (2_500_000_000, "2.50G"),
            (-5000, "-5000"),
            (i64::MAX, "9.22E"),
        ] {
            assert_eq!(number(value, true), shown);
            assert_eq!(number(value, false), value.to_string());
        }
    }
}
