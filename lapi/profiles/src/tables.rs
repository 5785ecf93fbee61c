//! Defines an alert's fields and methods in expressions, under CrowdSec's names.

use std::any::Any;

use palisade_expr::{Fault, Field, Method, ObjectType, Type, Value};
use palisade_wire::{Alert, Decision, Event, MetaItem, Source};

/// Downcasts the data behind an object. Each table below is used only with the type it was defined for.
fn of<T: 'static>(data: &dyn Any) -> &T {
    data.downcast_ref().expect("a table is only used with its own type")
}

fn alert(data: &dyn Any) -> &Alert {
    of(data)
}

fn source(data: &dyn Any) -> &Source {
    of(data)
}

fn event(data: &dyn Any) -> &Event {
    of(data)
}

fn item(data: &dyn Any) -> &MetaItem {
    of(data)
}

fn decision(data: &dyn Any) -> &Decision {
    of(data)
}

/// A text field.
macro_rules! text {
    ($name:literal, $of:ident.$field:ident) => {
        Field { name: $name, kind: Type::Text, get: |data| Value::text(&$of(data).$field) }
    };
}

/// A number field.
macro_rules! int {
    ($name:literal, $of:ident.$field:ident) => {
        Field { name: $name, kind: Type::Int, get: |data| Value::Int(i64::from($of(data).$field)) }
    };
}

/// A boolean field.
macro_rules! truth {
    ($name:literal, $of:ident.$field:ident) => {
        Field { name: $name, kind: Type::Bool, get: |data| Value::Bool($of(data).$field) }
    };
}

/// A field with a list of objects.
macro_rules! list {
    ($name:literal, $of:ident.$field:ident, $table:ident, $element:ty) => {
        Field {
            name: $name,
            kind: Type::List(&Type::Object(&$table)),
            get: |data| {
                Value::host_list(&$of(data).$field, |list, index| {
                    Value::object(&$table, &of::<Vec<$element>>(list)[index])
                })
            },
        }
    };
}

/// A method without arguments that returns a text of the object.
macro_rules! text_method {
    ($name:literal, |$data:ident| $text:expr) => {
        Method { name: $name, params: &[], returns: Type::Text, call: |$data, _| Ok($text) }
    };
}

/// `Alert`.
pub(crate) static ALERT: ObjectType = ObjectType {
    name: "Alert",
    fields: &[
        truth!("Remediation", alert.remediation),
        text!("Scenario", alert.scenario),
        Field {
            name: "Source",
            kind: Type::Object(&SOURCE),
            get: |data| Value::object(&SOURCE, &alert(data).source),
        },
        text!("ScenarioVersion", alert.scenario_version),
        text!("ScenarioHash", alert.scenario_hash),
        text!("Message", alert.message),
        text!("StartAt", alert.start_at),
        text!("StopAt", alert.stop_at),
        int!("EventsCount", alert.events_count),
        int!("Capacity", alert.capacity),
        text!("Leakspeed", alert.leakspeed),
        truth!("Simulated", alert.simulated),
        text!("MachineID", alert.machine_id),
        text!("UUID", alert.uuid),
        int!("ID", alert.id),
        text!("Kind", alert.kind),
        text!("CreatedAt", alert.created_at),
        Field {
            name: "Labels",
            kind: Type::List(&Type::Text),
            get: |data| {
                Value::host_list(&alert(data).labels, |labels, index| {
                    Value::text(&of::<Vec<String>>(labels)[index])
                })
            },
        },
        list!("Events", alert.events, EVENT, Event),
        list!("Meta", alert.meta, META_ITEM, MetaItem),
        list!("Decisions", alert.decisions, DECISION, Decision),
    ],
    methods: &[
        text_method!("GetScope", |data| Value::text(&alert(data).source.scope)),
        text_method!("GetValue", |data| Value::text(&alert(data).source.value)),
        text_method!("GetScenario", |data| Value::text(&alert(data).scenario)),
        Method {
            name: "GetEventsCount",
            params: &[],
            returns: Type::Int,
            call: |data, _| Ok(Value::Int(i64::from(alert(data).events_count))),
        },
        Method {
            name: "GetMeta",
            params: &[Type::Text],
            returns: Type::Text,
            call: |data, args| meta(&alert(data).meta, args),
        },
    ],
};

/// `Alert.Source`.
static SOURCE: ObjectType = ObjectType {
    name: "Source",
    fields: &[
        text!("IP", source.ip),
        text!("Range", source.range),
        text!("AsName", source.as_name),
        text!("AsNumber", source.as_number),
        text!("Cn", source.cn),
        text!("Scope", source.scope),
        text!("Value", source.value),
        Field {
            name: "Latitude",
            kind: Type::Float,
            get: |data| Value::Float(f64::from(source(data).latitude)),
        },
        Field {
            name: "Longitude",
            kind: Type::Float,
            get: |data| Value::Float(f64::from(source(data).longitude)),
        },
    ],
    methods: &[
        text_method!("GetScope", |data| Value::text(&source(data).scope)),
        text_method!("GetValue", |data| Value::text(&source(data).value)),
        text_method!("GetAsNumberName", |data| as_number_name(source(data))),
        text_method!("String", |data| source_text(source(data))),
    ],
};

/// `Alert.Events[i]`.
static EVENT: ObjectType = ObjectType {
    name: "Event",
    fields: &[
        text!("Timestamp", event.timestamp),
        Field {
            name: "Meta",
            kind: Type::List(&Type::Object(&META_ITEM)),
            get: |data| {
                Value::host_list(event_meta(event(data)), |list, index| {
                    Value::object(&META_ITEM, &of::<Vec<MetaItem>>(list)[index])
                })
            },
        },
    ],
    methods: &[Method {
        name: "GetMeta",
        params: &[Type::Text],
        returns: Type::Text,
        call: |data, args| meta(event_meta(event(data)), args),
    }],
};

/// `Alert.Meta[i]`.
static META_ITEM: ObjectType = ObjectType {
    name: "MetaItem",
    fields: &[text!("Key", item.key), text!("Value", item.value)],
    methods: &[],
};

/// `Alert.Decisions[i]`: those that an earlier profile attached.
static DECISION: ObjectType = ObjectType {
    name: "Decision",
    fields: &[
        text!("Duration", decision.duration),
        int!("ID", decision.id),
        text!("Origin", decision.origin),
        text!("Scenario", decision.scenario),
        text!("Scope", decision.scope),
        truth!("Simulated", decision.simulated),
        text!("Type", decision.kind),
        text!("UUID", decision.uuid),
        text!("Value", decision.value),
    ],
    methods: &[],
};

/// The details of an event, which may have none.
fn event_meta(event: &Event) -> &Vec<MetaItem> {
    static NONE: Vec<MetaItem> = Vec::new();
    event.meta.as_ref().unwrap_or(&NONE)
}

/// The first value of a key; empty without one.
fn meta<'v>(items: &'v [MetaItem], args: &[Value<'v>]) -> Result<Value<'v>, Fault> {
    let key = args.first().and_then(Value::as_text).ok_or("GetMeta takes a string")?;
    Ok(items.iter().find(|item| item.key == key).map_or(Value::text(""), |item| Value::text(&item.value)))
}

fn as_number_name<'v>(source: &Source) -> Value<'v> {
    let mut text = String::new();
    // Log processors write 0 for an unknown number. The space stays, as in the reference.
    if source.as_number != "0" {
        text.push_str(&source.as_number);
    }
    if !source.as_name.is_empty() {
        text.push(' ');
        text.push_str(&source.as_name);
    }
    Value::from(text)
}

fn source_text<'v>(source: &Source) -> Value<'v> {
    let mut place = source.cn.clone();
    if !source.as_number.is_empty() {
        place = format!("{place}/{}", source.as_number);
    }
    if !place.is_empty() {
        place = format!(" ({place})");
    }
    Value::from(match source.scope.as_str() {
        "" => "empty source".to_owned(),
        "Ip" => format!("ip {}{place}", source.value),
        "Range" => format!("range {}{place}", source.value),
        // Without country and AS, which belong to addresses.
        other => format!("{other} {}", source.value),
    })
}
