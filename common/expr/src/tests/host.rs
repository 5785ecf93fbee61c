//! A test host with a mutable event, as a log processor's is.

use std::{any::Any, cell::RefCell, collections::BTreeMap, sync::Arc};

use crate::{
    Budget, Fault, Field, Host, HostMap, Map, MapType, Method, ObjectType, Signature, Text, Type, Value,
    Vocabulary,
};

/// A map of texts that functions may change while values are read from it.
pub(super) type Texts = RefCell<BTreeMap<String, Arc<str>>>;

#[derive(Default)]
pub(super) struct Event {
    pub(super) parsed: Texts,
    pub(super) lines: Vec<Line>,
    pub(super) name: String,
    pub(super) process: bool,
    pub(super) count: i64,
}

pub(super) struct Line {
    pub(super) raw: String,
    pub(super) size: i64,
}

impl Event {
    pub(super) fn example() -> Self {
        let event = Self {
            name: "ssh-bf".to_owned(),
            process: true,
            count: 7,
            lines: [("alpha", 1), ("beta", 2), ("gamma", 3)]
                .map(|(raw, size)| Line { raw: raw.to_owned(), size })
                .into(),
            ..Self::default()
        };
        event.parsed.borrow_mut().insert("verb".to_owned(), "GET".into());
        event
    }
}

fn event(data: &dyn Any) -> &Event {
    data.downcast_ref().expect("this table is used with events only")
}

fn texts(data: &dyn Any) -> &Texts {
    data.downcast_ref().expect("this table is used with texts only")
}

fn line(data: &dyn Any) -> &Line {
    data.downcast_ref().expect("this table is used with lines only")
}

static TEXTS: MapType = MapType {
    len: |data| texts(data).borrow().len(),
    get: |data, key| texts(data).borrow().get(key).map(|text| Value::Text(Text::Shared(text.clone()))),
    keys: |data| texts(data).borrow().keys().map(|key| Text::Shared(key.as_str().into())).collect(),
    values: Type::Text,
};

static LINE: ObjectType = ObjectType {
    name: "Line",
    fields: &[
        Field { name: "Raw", kind: Type::Text, get: |data| Value::text(&line(data).raw) },
        Field { name: "Size", kind: Type::Int, get: |data| Value::Int(line(data).size) },
    ],
    methods: &[Method {
        name: "Has",
        params: &[Type::Text],
        returns: Type::Bool,
        call: |data, args| {
            let part = args[0].as_text().ok_or("Has takes a string")?;
            Ok(Value::Bool(line(data).raw.contains(part)))
        },
    }],
};

static EVENT: ObjectType = ObjectType {
    name: "Event",
    fields: &[
        Field {
            name: "Parsed",
            kind: Type::Map(&Type::Text),
            get: |data| Value::Map(Map::Host(HostMap { data: &event(data).parsed, kind: &TEXTS })),
        },
        Field {
            name: "Lines",
            kind: Type::List(&Type::Object(&LINE)),
            get: |data| {
                Value::host_list(&event(data).lines, |lines, index| {
                    let lines: &Vec<Line> = lines.downcast_ref().expect("these are lines");
                    Value::object(&LINE, &lines[index])
                })
            },
        },
        Field { name: "Name", kind: Type::Text, get: |data| Value::text(&event(data).name) },
        Field { name: "Process", kind: Type::Bool, get: |data| Value::Bool(event(data).process) },
        Field { name: "Count", kind: Type::Int, get: |data| Value::Int(event(data).count) },
        Field { name: "Nothing", kind: Type::Any, get: |_| Value::Nil },
        Field {
            name: "Json",
            kind: Type::Any,
            get: |_| Value::from_json(&serde_json::json!({"a": {"b": [1, 2.5]}, "n": null, "t": "x"})),
        },
    ],
    methods: &[Method {
        name: "SetParsed",
        params: &[Type::Text, Type::Text],
        returns: Type::Bool,
        call: |data, args| {
            let (Some(key), Some(value)) = (args[0].as_text(), args[1].as_text()) else {
                return Err(Fault::from("SetParsed takes two strings"));
            };
            event(data).parsed.borrow_mut().insert(key.to_owned(), value.into());
            Ok(Value::Bool(true))
        },
    }],
};

pub(super) fn vocabulary() -> Vocabulary {
    let mut names = Vocabulary::new().with_library();
    names.variable("evt", 0, Type::Object(&EVENT));
    // The same object with an unknown type.
    names.variable("dyn", 1, Type::Any);
    names.host(Signature::new("ParseKV", &[Type::Text, Type::Map(&Type::Any)], Type::Any), 0);
    names.host(Signature::new("fail", &[], Type::Any), 1);
    names.refuse("CrowdsecCTI", "it asks a service on the network");
    names
}

impl Host for Event {
    fn variable<'v>(&'v self, _: usize) -> Value<'v> {
        Value::object(&EVENT, self)
    }

    fn call<'v>(&'v self, number: usize, args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
        if number == 1 {
            return Err(Fault::from("it failed"));
        }
        let (Some(text), Value::Map(Map::Host(map))) = (args[0].as_text(), &args[1]) else {
            return Err(Fault::from("ParseKV takes a string and a map of the event"));
        };
        for pair in text.split(' ') {
            let (key, value) = pair.split_once('=').ok_or("no key-value pair")?;
            texts(map.data).borrow_mut().insert(key.to_owned(), value.into());
        }
        Ok(Value::Nil)
    }

    fn now(&self) -> jiff::Zoned {
        "2026-07-04T13:30:00+02:00[Europe/Paris]".parse().expect("a moment")
    }
}
