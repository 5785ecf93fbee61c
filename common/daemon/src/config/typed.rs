//! Deserialises a tree into a typed value and reports every key that does not fit.
//!
//! Maps and lists are walked here, so that the path of each value is known; scalars are parsed by `serde_saphyr`, which
//! reads YAML's spellings of numbers and booleans (including `yes` and `off`, as in Go). An invalid value is recorded
//! and removed, and deserialisation repeated, so that all are found.

use std::{collections::HashSet, fmt, slice};

use serde::{
    de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor},
    forward_to_deserialize_any,
};

use super::{
    problems::is_secret,
    tree::{Entry, Kind, Node, Scalar, TextPosition},
};

/// Bounds the number of messages.
const MAX_FAULTS: usize = 50;

/// An invalid value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Dotted path, `[0]` for list entries; `None` while it is not known.
    pub at: Option<(String, TextPosition)>,
    pub text: String,
}

/// Deserialises `root` and returns all faults; the value is without the faulty parts. `None` when no value can be made.
pub(super) fn read<T: DeserializeOwned>(root: &Node) -> (Option<T>, Vec<Fault>) {
    let mut faults: Vec<Fault> = Vec::new();
    let mut left_out = HashSet::new();
    loop {
        match T::deserialize(Reader {
            node: root,
            path: String::new(),
            position: root.position,
            left_out: &left_out,
        }) {
            Ok(value) => return (Some(value), faults),
            Err(fault) => {
                let again = match &fault.at {
                    Some((path, _)) => faults.len() < MAX_FAULTS && left_out.insert(path.clone()),
                    None => false,
                };
                // A required key that is missing only because it was removed is not a new fault.
                if again || faults.is_empty() {
                    faults.push(fault);
                }
                if !again {
                    return (None, faults);
                }
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self { at: None, text: text.to_string() }
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("expected one of {}", expected.join(", ")))
    }
}

/// The deserializer of one value.
struct Reader<'de, 'l> {
    node: &'de Node,
    path: String,
    /// The position of the key, which is what operators look for.
    position: TextPosition,
    left_out: &'l HashSet<String>,
}

impl<'de> Reader<'de, '_> {
    /// Adds the position of this value to a fault that has none.
    fn placed<T>(path: &str, position: TextPosition, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|mut fault| {
            if fault.at.is_none() && !path.is_empty() {
                if is_secret(path) {
                    fault.text = "this is not text; put the value in quotes".to_owned();
                }
                fault.at = Some((path.to_owned(), position));
            }
            fault
        })
    }

    fn scalar<T>(
        self,
        expected: &str,
        read: impl FnOnce(serde_saphyr::Deserializer<'de, '_>) -> Result<T, serde_saphyr::Error>,
    ) -> Result<T, Fault> {
        let result = match &self.node.kind {
            Kind::Scalar(scalar) => read_scalar(scalar, expected, read),
            Kind::Sequence(_) => Err(de::Error::custom(format_args!("expected {expected}, not a list"))),
            Kind::Mapping(_) => {
                Err(de::Error::custom(format_args!("expected {expected}, not a block of keys")))
            }
        };
        Self::placed(&self.path, self.position, result)
    }
}

fn read_scalar<'de, T>(
    scalar: &'de Scalar,
    expected: &str,
    read: impl FnOnce(serde_saphyr::Deserializer<'de, '_>) -> Result<T, serde_saphyr::Error>,
) -> Result<T, Fault> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::with_deserializer_from_str_with_options(&scalar.yaml, options, read).map_err(|error| {
        de::Error::custom(match error.without_snippet() {
            serde_saphyr::Error::Message { msg, .. } | serde_saphyr::Error::ExternalMessage { msg, .. } => {
                msg.clone()
            }
            serde_saphyr::Error::SerdeInvalidType { expected, .. }
            | serde_saphyr::Error::SerdeInvalidValue { expected, .. } => format!("expected {expected}"),
            serde_saphyr::Error::SerdeUnknownVariant { expected, .. } => {
                format!("expected one of {}", expected.join(", "))
            }
            _ => format!("expected {expected}"),
        })
    })
}

macro_rules! scalars {
    ($($method:ident: $expected:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.scalar($expected, |scalar| scalar.$method(visitor))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'de, '_> {
    type Error = Fault;

    scalars! {
        deserialize_bool: "true or false";
        deserialize_i8: "a whole number from -128 to 127";
        deserialize_i16: "a whole number from -32768 to 32767";
        deserialize_i32: "a whole number from -2147483648 to 2147483647";
        deserialize_i64: "a whole number";
        deserialize_u8: "a whole number from 0 to 255";
        deserialize_u16: "a whole number from 0 to 65535";
        deserialize_u32: "a whole number from 0 to 4294967295";
        deserialize_u64: "a whole number from 0 up";
        deserialize_f32: "a number";
        deserialize_f64: "a number";
        deserialize_char: "one character";
        deserialize_str: "text";
        deserialize_string: "text";
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct tuple tuple_struct identifier }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Scalar(_) => self.scalar("a single value", |scalar| scalar.deserialize_any(visitor)),
            Kind::Sequence(_) => self.deserialize_seq(visitor),
            Kind::Mapping(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (path, position) = (self.path.clone(), self.position);
        Self::placed(&path, position, visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Sequence(items) => {
                let (path, position) = (self.path.clone(), self.position);
                let items =
                    Items { items: items.iter().enumerate(), path: self.path, left_out: self.left_out };
                Self::placed(&path, position, visitor.visit_seq(items))
            }
            _ => Self::placed(
                &self.path,
                self.position,
                Err(de::Error::custom("expected a list, written [one, two]")),
            ),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Mapping(entries) => {
                let (path, position) = (self.path.clone(), self.position);
                let entries =
                    Entries { rest: entries.iter(), value: None, path: self.path, left_out: self.left_out };
                Self::placed(&path, position, visitor.visit_map(entries))
            }
            _ => Self::placed(
                &self.path,
                self.position,
                Err(de::Error::custom("expected a block of `key: value` lines")),
            ),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let expected = format!("one of {}", variants.join(", "));
        self.scalar(&expected, |scalar| scalar.deserialize_enum(name, variants, visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

struct Items<'de, 'l> {
    items: std::iter::Enumerate<slice::Iter<'de, Node>>,
    path: String,
    left_out: &'l HashSet<String>,
}

impl<'de> de::SeqAccess<'de> for Items<'de, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        for (index, node) in self.items.by_ref() {
            let path = format!("{}[{index}]", self.path);
            if self.left_out.contains(&path) {
                continue;
            }
            let reader =
                Reader { node, path: path.clone(), position: node.position, left_out: self.left_out };
            return Reader::placed(&path, node.position, seed.deserialize(reader)).map(Some);
        }
        Ok(None)
    }
}

struct Entries<'de, 'l> {
    rest: slice::Iter<'de, Entry>,
    value: Option<(&'de Entry, String)>,
    path: String,
    left_out: &'l HashSet<String>,
}

impl<'de> de::MapAccess<'de> for Entries<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        for entry in self.rest.by_ref() {
            let key = &entry.key.text;
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            if self.left_out.contains(&path) {
                continue;
            }
            let read = seed.deserialize(key.as_str().into_deserializer());
            let read = Reader::placed(&path, entry.position, read)?;
            self.value = Some((entry, path));
            return Ok(Some(read));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((entry, path)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let reader = Reader {
            node: &entry.value,
            path: path.clone(),
            position: entry.position,
            left_out: self.left_out,
        };
        Reader::placed(&path, entry.position, seed.deserialize(reader))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{super::compose::compose, *};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Sample {
        flag: Option<bool>,
        count: Option<i32>,
        small: Option<u16>,
        text: Option<String>,
        list: Option<Vec<String>>,
        port: Option<Port>,
        choice: Option<Choice>,
        inner: Option<Box<Self>>,
        api_key: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged, expecting = "a port number")]
    enum Port {
        Number(u16),
        Text(String),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        Drop,
        Reject,
    }

    fn sample(text: &str) -> Result<Sample, Vec<String>> {
        let (value, faults) = read(&compose(text, 0).unwrap());
        value.filter(|_| faults.is_empty()).ok_or_else(|| {
            let place =
                |fault: &Fault| fault.at.as_ref().map(|(p, s)| format!("{p}:{}", s.line)).unwrap_or_default();
            faults.iter().map(|fault| format!("{} {}", place(fault), fault.text)).collect()
        })
    }

    #[test]
    fn reads_scalars_as_go_does() {
        for (word, value) in [
            ("true", true),
            ("yes", true),
            ("on", true),
            ("True", true),
            ("YES", true),
            ("y", true),
            ("off", false),
            ("no", false),
            ("No", false),
            ("n", false),
            ("FALSE", false),
        ] {
            assert_eq!(sample(&format!("flag: {word}\n")).unwrap().flag, Some(value), "{word}");
        }
        for (word, value) in [("10", 10), ("-10", -10), ("0x10", 16), ("+3", 3), ("1_000", 1000)] {
            assert_eq!(sample(&format!("count: {word}\n")).unwrap().count, Some(value), "{word}");
        }
        for (word, value) in [
            ("10", "10"),
            ("yes", "yes"),
            ("'x'", "x"),
            ("\"a\\tb\"", "a\tb"),
            ("foo$bar", "foo$bar"),
            ("1.5", "1.5"),
            ("a: b".replace(": ", ":").as_str(), "a:b"),
        ] {
            assert_eq!(sample(&format!("text: {word}\n")).unwrap().text.as_deref(), Some(value), "{word}");
        }
        assert_eq!(sample("text:\nlist: ~\ninner: null\n").unwrap(), Sample::default());
        assert_eq!(sample("port: 60601\n").unwrap().port, Some(Port::Number(60601)));
        assert_eq!(sample("port: '60601'\n").unwrap().port, Some(Port::Text("60601".into())));
        assert_eq!(sample("choice: reject\n").unwrap().choice, Some(Choice::Reject));
        assert_eq!(sample("list: [a, 1, yes]\n").unwrap().list.unwrap(), ["a", "1", "yes"]);
        assert_eq!(sample("nothing: {we: [know]}\nflag: yes\n").unwrap().flag, Some(true));
    }

    #[test]
    fn names_everything_that_does_not_fit() {
        let text = "flag: maybe\ncount: ten\nsmall: 70000\ntext: [a]\nlist: word\nchoice: DROP2\nport: [1]\ninner:\n  flag: 3\n  list:\n    - ok\n    - {a: b}\napi_key: [s3cret]\n";
        assert_eq!(
            sample(text).unwrap_err(),
            [
                "flag:1 expected true or false",
                "count:2 expected a whole number from -2147483648 to 2147483647",
                "small:3 expected a whole number from 0 to 65535",
                "text:4 expected text, not a list",
                "list:5 expected a list, written [one, two]",
                "choice:6 expected one of drop, reject",
                "port:7 a port number",
                "inner.flag:9 expected true or false",
                "inner.list[1]:12 expected text, not a block of keys",
                "api_key:13 this is not text; put the value in quotes",
            ]
        );
    }

    #[test]
    fn a_hopeless_file_ends() {
        let text: String =
            std::iter::once("list:\n".to_owned()).chain((0..200).map(|_| "  - [x]\n".to_owned())).collect();
        assert!(sample(&text).unwrap_err().len() <= MAX_FAULTS);
    }
}
