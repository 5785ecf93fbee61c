//! Reads the parameters of a request for a list. Pure.

use percent_encoding::percent_decode_str;

/// The longest query that is read; 414 above.
const MAX_QUERY_BYTES: usize = 1024;
/// The longest name of a list or origin.
const MAX_NAME_BYTES: usize = 64;
/// The most types that a request may name.
const MAX_TYPES: usize = 16;

/// What a request asks for besides the list itself: responses to equal ones are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Variant {
    /// `ipv4only`: nothing with a colon.
    pub(super) ipv4_only: bool,
    /// `ipv6only`: nothing with a dot.
    pub(super) ipv6_only: bool,
    /// `origin`, in lower case.
    pub(super) origin: Option<String>,
    /// `listname`: the name of the address list in a RouterOS script.
    pub(super) list_name: Option<String>,
    /// `supported_decisions_types`, in lower case and sorted: instead of those of the configuration.
    pub(super) types: Option<Vec<String>>,
}

/// Why a query is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryError {
    /// It is longer than [`MAX_QUERY_BYTES`].
    TooLong,
    /// A value is too long, or there are too many.
    Value,
}

impl Variant {
    /// Reads a query. Parameters that are not known are ignored, `nosort` among them: lists are always sorted, which is one
    /// of the orders that it allows.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, QueryError> {
        let mut variant = Self::default();
        let Some(query) = query else { return Ok(variant) };
        if query.len() > MAX_QUERY_BYTES {
            return Err(QueryError::TooLong);
        }
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match &*decoded(name) {
                "ipv4only" => variant.ipv4_only = true,
                "ipv6only" => variant.ipv6_only = true,
                // Of a parameter that is repeated the first counts, as in the stock program.
                "origin" if variant.origin.is_none() => {
                    variant.origin = Some(bounded(decoded(value))?.to_lowercase());
                }
                "listname" if variant.list_name.is_none() => {
                    variant.list_name = Some(bounded(decoded(value))?);
                }
                "supported_decisions_types" => variant.add_types(&decoded(value))?,
                _ => {}
            }
        }
        if let Some(types) = &mut variant.types {
            types.sort_unstable();
            types.dedup();
        }
        variant.list_name = variant.list_name.filter(|name| !name.is_empty());
        Ok(variant)
    }

    fn add_types(&mut self, names: &str) -> Result<(), QueryError> {
        let types = self.types.get_or_insert_default();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if types.len() == MAX_TYPES {
                return Err(QueryError::Value);
            }
            types.push(bounded(name.to_lowercase())?);
        }
        Ok(())
    }
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

fn bounded(text: String) -> Result<String, QueryError> {
    if text.len() <= MAX_NAME_BYTES { Ok(text) } else { Err(QueryError::Value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_the_stock_program_reads_them() {
        let parse = |query| Variant::parse(Some(query)).unwrap();
        assert_eq!(Variant::parse(None), Ok(Variant::default()));
        for query in ["", "nosort", "nosort=1&unknown=2", "&&=", "listname="] {
            assert_eq!(parse(query), Variant::default(), "{query}");
        }
        let all = parse(
            "ipv4only&origin=CAPI&listname=a+b%22&origin=x&supported_decisions_types=Ban,%20captcha,ban",
        );
        assert!(all.ipv4_only && !all.ipv6_only && parse("ipv6only=0").ipv6_only);
        assert_eq!((all.origin.as_deref(), all.list_name.as_deref()), (Some("capi"), Some("a b\"")));
        assert_eq!(all.types.unwrap(), ["ban", "captcha"]);
        assert_eq!(parse("supported_decisions_types=").types.unwrap(), [""; 0]);
    }

    #[test]
    fn long_queries_and_values_are_refused() {
        let long = "x".repeat(MAX_QUERY_BYTES + 1);
        assert_eq!(Variant::parse(Some(&long)), Err(QueryError::TooLong));
        let name = "x".repeat(MAX_NAME_BYTES + 1);
        for query in [
            format!("origin={name}"),
            format!("listname={name}"),
            format!("supported_decisions_types={name}"),
        ] {
            assert_eq!(Variant::parse(Some(&query)), Err(QueryError::Value));
        }
        let types = (0..=MAX_TYPES).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(
            Variant::parse(Some(&format!("supported_decisions_types={types}"))),
            Err(QueryError::Value)
        );
    }
}
