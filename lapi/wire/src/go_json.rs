//! JSON as Go's decoder reads it: names in any letter case, unknown names ignored, `null` as absent, bytes after
//! the first value ignored, the last of equal names wins. And its complaints, word for word.
//!
//! The fast path is `serde_json` straight into the types; only when it fails is the text looked at again to find
//! Go's words for it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::go_syntax;

/// Why a body cannot be read. Its text is what the stock server answers with status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(String);

/// Separates the parts of a type complaint while it travels up through `serde`. JSON texts cannot put it there:
/// complaints are made of our own words, and struct and field names.
const MARK: char = '\u{1}';

/// Reads the first JSON value of a body; `None` for `null`.
pub(crate) fn read<T: Field>(body: &[u8]) -> Result<Option<T>, BodyError> {
    // Go reads bytes that are no UTF-8 as replacement characters.
    let text = String::from_utf8_lossy(body);
    let error = match read_text(&text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    go_syntax::check(text.as_bytes()).map_err(BodyError)?;
    // Sound, and yet refused: half a surrogate pair, which Go reads as a replacement character, or a wrong type.
    match go_syntax::without_lone_surrogates(&text) {
        Some(mended) => read_text(&mended).map_err(|error| BodyError(complaint(&error))),
        None => Err(BodyError(complaint(&error))),
    }
}

fn read_text<T: Field>(text: &str) -> Result<Option<T>, serde_json::Error> {
    T::read(&mut serde_json::Deserializer::from_str(text))
}

/// Go's words for a type error, from what [`mismatch`] and [`within`] made of it.
fn complaint(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" at line ") {
        text.truncate(end);
    }
    let parts: Vec<&str> = text.split(MARK).collect();
    match parts[..] {
        ["", found, wanted] => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        ["", found, wanted, structure, path] => {
            format!("json: cannot unmarshal {found} into Go struct field {structure}.{path} of type {wanted}")
        }
        _ => text,
    }
}

pub(crate) fn mismatch<E: Error>(found: impl fmt::Display, wanted: &str) -> E {
    E::custom(format_args!("{MARK}{found}{MARK}{wanted}"))
}

/// Says in which field of which structure an error happened; Go names the innermost structure and the whole path.
pub(crate) fn within<E: Error>(error: E, structure: &str, field: &str) -> E {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" at line ") {
        text.truncate(end);
    }
    let parts: Vec<&str> = text.split(MARK).collect();
    match parts[..] {
        ["", found, wanted] => {
            E::custom(format_args!("{MARK}{found}{MARK}{wanted}{MARK}{structure}{MARK}{field}"))
        }
        ["", found, wanted, inner, path] => {
            E::custom(format_args!("{MARK}{found}{MARK}{wanted}{MARK}{inner}{MARK}{field}.{path}"))
        }
        _ => error,
    }
}

/// What can be read as Go reads it.
pub(crate) trait Field: Sized {
    /// The Go type's name, for complaints.
    const GO: &'static str;
    /// The name of the Go type of a list of these.
    const GO_LIST: &'static str;

    /// Reads one; `None` for `null`.
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error>;
}

/// Carries a [`Field`] through serde's maps and sequences.
pub(crate) struct Seed<T>(PhantomData<T>);

impl<T> Seed<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Field> DeserializeSeed<'de> for Seed<T> {
    type Value = Option<T>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
        T::read(from)
    }
}

/// A visitor for one shape: everything it does not name is a mismatch.
macro_rules! visits {
    ($wanted:expr, { $($accepted:item)* }, [$($refused:ident),*]) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str($wanted)
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        $($accepted)*
        $(visits!(@ $refused $wanted);)*
    };
    (@ bool $wanted:expr) => {
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Err(mismatch("bool", $wanted))
        }
    };
    (@ text $wanted:expr) => {
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(mismatch("string", $wanted))
        }
    };
    (@ number $wanted:expr) => {
        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Err(mismatch("number", $wanted))
        }
        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Err(mismatch("number", $wanted))
        }
        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Err(mismatch("number", $wanted))
        }
    };
    (@ list $wanted:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(mismatch("array", $wanted))
        }
    };
    (@ object $wanted:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(mismatch("object", $wanted))
        }
    };
}
pub(crate) use visits;

impl Field for String {
    const GO: &'static str = "string";
    const GO_LIST: &'static str = "[]string";
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Option<String>;
            visits!(
                "string",
                {
                    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                        Ok(Some(text.to_owned()))
                    }
                    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
                        Ok(Some(text))
                    }
                },
                [bool, number, list, object]
            );
        }
        from.deserialize_any(Text)
    }
}

impl Field for bool {
    const GO: &'static str = "bool";
    const GO_LIST: &'static str = "[]bool";
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        struct Flag;
        impl<'de> Visitor<'de> for Flag {
            type Value = Option<bool>;
            visits!(
                "bool",
                {
                    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
                        Ok(Some(flag))
                    }
                },
                [text, number, list, object]
            );
        }
        from.deserialize_any(Flag)
    }
}

/// Whole numbers: a fraction or too large a number is a mismatch that Go quotes.
macro_rules! whole_number {
    ($number:ty, $go:literal) => {
        impl Field for $number {
            const GO: &'static str = $go;
            const GO_LIST: &'static str = concat!("[]", $go);
            fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
                struct Whole;
                impl<'de> Visitor<'de> for Whole {
                    type Value = Option<$number>;
                    visits!(
                        $go,
                        {
                            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                                let quote = |_| mismatch(format_args!("number {number}"), $go);
                                <$number>::try_from(number).map(Some).map_err(quote)
                            }
                            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                                let quote = |_| mismatch(format_args!("number {number}"), $go);
                                <$number>::try_from(number).map(Some).map_err(quote)
                            }
                            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                                Err(mismatch(format_args!("number {number:?}"), $go))
                            }
                        },
                        [bool, text, list, object]
                    );
                }
                from.deserialize_any(Whole)
            }
        }
    };
}
whole_number!(i32, "int32");
whole_number!(i64, "int64");

impl Field for f32 {
    const GO: &'static str = "float32";
    const GO_LIST: &'static str = "[]float32";
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        Ok(serde_json::Number::read_as(from, "float32")?
            .and_then(|number| number.as_f64())
            .map(|n| n as Self))
    }
}

/// Any number, kept as it came.
impl Field for serde_json::Number {
    const GO: &'static str = "float64";
    const GO_LIST: &'static str = "[]float64";
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        Self::read_as(from, "float64")
    }
}

trait ReadAs: Sized {
    fn read_as<'de, D: Deserializer<'de>>(from: D, go: &'static str) -> Result<Option<Self>, D::Error>;
}

impl ReadAs for serde_json::Number {
    fn read_as<'de, D: Deserializer<'de>>(from: D, go: &'static str) -> Result<Option<Self>, D::Error> {
        struct Any(&'static str);
        impl<'de> Visitor<'de> for Any {
            type Value = Option<serde_json::Number>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Some(number.into()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Some(number.into()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(serde_json::Number::from_f64(number))
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
                Err(mismatch("bool", self.0))
            }
            fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
                Err(mismatch("string", self.0))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
                Err(mismatch("array", self.0))
            }
            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
                Err(mismatch("object", self.0))
            }
        }
        from.deserialize_any(Any(go))
    }
}

/// A list; `None` elements are its `null`s.
impl<T: Field> Field for Vec<Option<T>> {
    const GO: &'static str = T::GO_LIST;
    const GO_LIST: &'static str = T::GO_LIST;
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Field> Visitor<'de> for List<T> {
            type Value = Option<Vec<Option<T>>>;
            visits!(
                T::GO_LIST,
                {
                    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                        let mut read = Vec::new();
                        while let Some(element) = list.next_element_seed(Seed::<T>::new())? {
                            read.push(element);
                        }
                        Ok(Some(read))
                    }
                },
                [bool, text, number, object]
            );
        }
        from.deserialize_any(List(PhantomData))
    }
}

/// A map with names as they are; a `null` value is Go's zero.
impl<T: Field + Default> Field for BTreeMap<String, T> {
    const GO: &'static str = T::GO_LIST;
    const GO_LIST: &'static str = T::GO_LIST;
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        struct Map<T>(PhantomData<T>);
        impl<'de, T: Field + Default> Visitor<'de> for Map<T> {
            type Value = Option<BTreeMap<String, T>>;
            visits!(
                "map",
                {
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut read = BTreeMap::new();
                        while let Some(name) = map.next_key::<String>()? {
                            read.insert(name, map.next_value_seed(Seed::<T>::new())?.unwrap_or_default());
                        }
                        Ok(Some(read))
                    }
                },
                [bool, text, number, list]
            );
        }
        from.deserialize_any(Map(PhantomData))
    }
}

/// Finds a name among those of a structure: exactly, or else in any letter case. The number of names means none.
pub(crate) struct Name(pub(crate) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = usize;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<usize, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = usize;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        let exact = self.0.iter().position(|known| *known == name);
        let found = exact.or_else(|| self.0.iter().position(|known| known.eq_ignore_ascii_case(name)));
        Ok(found.unwrap_or(self.0.len()))
    }
}

/// Passes over the value of a name nobody knows.
pub(crate) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// A structure all of whose fields may be missing, read with [`Field`].
macro_rules! lenient {
    (
        $(#[$outer:meta])*
        $visible:vis struct $name:ident as $go:literal, list $list:literal {
            $($(#[$inner:meta])* $field_visible:vis $field:ident: $kind:ty = $json:literal,)*
        }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Default, PartialEq)]
        $visible struct $name {
            $($(#[$inner])* $field_visible $field: Option<$kind>,)*
        }

        impl $crate::go_json::Field for $name {
            const GO: &'static str = concat!("models.", $go);
            const GO_LIST: &'static str = $list;
            fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
                use $crate::go_json::{Field, Name, Seed, mismatch, skip, visits, within};
                use serde::de::{Error, MapAccess, SeqAccess, Visitor};
                use std::fmt;
                struct Object;
                impl<'de> Visitor<'de> for Object {
                    type Value = Option<$name>;
                    visits!($name::GO, {
                        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                            const NAMES: &[&str] = &[$($json),*];
                            let mut read = $name::default();
                            while let Some(index) = map.next_key_seed(Name(NAMES))? {
                                let at = 0_usize;
                                $(
                                    if index == at {
                                        let value = map
                                            .next_value_seed(Seed::<$kind>::new())
                                            .map_err(|error| within(error, $go, $json))?;
                                        // As in Go, `null` leaves what an earlier one of the same name said.
                                        if value.is_some() {
                                            read.$field = value;
                                        }
                                        continue;
                                    }
                                    let at = at + 1;
                                )*
                                debug_assert!(index >= at);
                                skip(&mut map)?;
                            }
                            Ok(Some(read))
                        }
                    }, [bool, text, number, list]);
                }
                from.deserialize_any(Object)
            }
        }
    };
}
pub(crate) use lenient;

/// What a list holds, Go's zero for each `null`.
pub(crate) fn without_nulls<T: Default>(list: Option<Vec<Option<T>>>) -> Vec<T> {
    list.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect()
}

/// Cuts a text from a peer to what an answer or a log line bears.
pub(crate) fn brief(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
