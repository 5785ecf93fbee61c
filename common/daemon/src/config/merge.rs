//! Merges a `.local` document over the main one.

use super::tree::{Entry, Kind, Node, TextPosition};

/// Two values that cannot be merged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// Dotted path of the key.
    pub key: String,
    /// The position of the overriding value.
    pub position: TextPosition,
    /// `can't merge a sequence into a scalar`.
    pub what: String,
}

/// Merges `over` over `base`: maps key by key in the order of `base`, everything else is replaced. A null on either
/// side never mismatches; an explicit null in `over` wins.
pub(crate) fn merge(base: Node, over: Node) -> Result<Node, Mismatch> {
    merge_at(base, over, String::new())
}

fn merge_at(base: Node, over: Node, key: String) -> Result<Node, Mismatch> {
    if base.is_null() || over.is_null() {
        return Ok(over);
    }
    let what = format!("can't merge a {} into a {}", over.kind_name(), base.kind_name());
    match (base.kind, over.kind) {
        (Kind::Mapping(base_entries), Kind::Mapping(over_entries)) => Ok(Node {
            position: base.position,
            kind: Kind::Mapping(merge_entries(base_entries, over_entries, &key)?),
        }),
        (Kind::Sequence(_), kind @ Kind::Sequence(_)) | (Kind::Scalar(_), kind @ Kind::Scalar(_)) => {
            Ok(Node { position: over.position, kind })
        }
        _ => Err(Mismatch { key, position: over.position, what }),
    }
}

fn merge_entries(base: Vec<Entry>, over: Vec<Entry>, path: &str) -> Result<Vec<Entry>, Mismatch> {
    let mut merged = base;
    for entry in over {
        let Some(known) = merged.iter_mut().find(|known| known.key.text == entry.key.text) else {
            merged.push(entry);
            continue;
        };
        let key = if path.is_empty() { entry.key.text.clone() } else { format!("{path}.{}", entry.key.text) };
        let empty = Node { position: entry.position, kind: Kind::Sequence(Vec::new()) };
        let value = merge_at(std::mem::replace(&mut known.value, empty), entry.value, key)?;
        *known = Entry { key: entry.key, position: entry.position, value };
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::super::{compose::compose, emit};
    use super::*;

    fn merged(base: &str, over: &str) -> Result<String, Mismatch> {
        merge(compose(base, 0).unwrap(), compose(over, 1).unwrap()).map(|root| emit::document(&root))
    }

    #[test]
    fn follows_the_rules() {
        for (what, base, over, result) in [
            (
                "deep merge keeps order",
                "a: 1\nb: {c: 1, d: 2}\n",
                "b: {d: 3, e: 4}\n",
                "a: 1\nb:\n  c: 1\n  d: 3\n  e: 4\n",
            ),
            ("new keys come last", "a: 1\n", "b: 2\n", "a: 1\nb: 2\n"),
            ("sequences are replaced whole", "a: [1, 2, 3]\n", "a: [9]\n", "a:\n  - 9\n"),
            ("scalars are replaced", "a: 1\n", "a: two\n", "a: two\n"),
            ("null replaces a scalar", "a: 1\n", "a: null\n", "a: null\n"),
            ("null replaces a map", "a: {b: 1}\n", "a:\n", "a: null\n"),
            ("null is replaced by a list", "a:\n", "a: [1]\n", "a:\n  - 1\n"),
            ("empty override", "a: 1\n", "# nothing\n", "a: 1\n"),
            ("empty base", "", "a: 1\n", "a: 1\n"),
        ] {
            assert_eq!(merged(base, over).as_deref(), Ok(result), "{what}");
        }
    }

    #[test]
    fn names_the_kinds_that_clash() {
        for (base, over, what) in [
            ("a: 1\n", "a: [1]\n", "can't merge a sequence into a scalar"),
            ("a: [1]\n", "a: 1\n", "can't merge a scalar into a sequence"),
            ("a: {b: 1}\n", "a: 1\n", "can't merge a scalar into a mapping"),
            ("a: 1\n", "a: {b: 1}\n", "can't merge a mapping into a scalar"),
        ] {
            assert_eq!(merged(base, over).unwrap_err().what, what);
        }
        let deep = merged("a: {b: {c: 1}}\n", "a:\n  b:\n    c: []\n").unwrap_err();
        assert_eq!((deep.key.as_str(), deep.position.source, deep.position.line), ("a.b.c", 1, 3));
    }

    #[test]
    fn merged_keys_remember_their_file() {
        let root =
            merge(compose("a: {x: 1, y: 2}\n", 0).unwrap(), compose("\na:\n  y: 3\n", 1).unwrap()).unwrap();
        let position =
            |path: &str| root.entry(path).map(|entry| (entry.position.source, entry.position.line)).unwrap();
        assert_eq!((position("a.x"), position("a.y")), ((0, 1), (1, 3)));
    }
}
