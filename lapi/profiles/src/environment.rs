//! The environment of a profile's expressions: `Alert`, the functions, and functions that are refused with a reason.

use std::sync::LazyLock;

use ipnet::IpNet;
use palisade_expr::{Budget, Fault, Host, Program, Signature, Type, Value, Vocabulary, sprintf};
use palisade_net::parse_prefix;
use palisade_wire::{Alert, GoDuration};

use crate::{History, tables::ALERT};

const COUNT: usize = 0;
const SINCE_COUNT: usize = 1;
const ACTIVE_COUNT: usize = 2;
const TIME_LEFT: usize = 3;
const LOG_INFO: usize = 4;
const HOSTNAME: usize = 5;

/// Functions of the reference that a LAPI cannot offer. A call fails, as the profile's `on_error` says; without
/// `on_error` the file is refused, which is better than refusing every alert.
const REFUSED: [(&str, &str); 26] = [
    ("CrowdsecCTI", CTI),
    ("GeoIPEnrich", GEOIP),
    ("GeoIPASNEnrich", GEOIP),
    ("GeoIPRangeEnrich", GEOIP),
    ("IPToCountry", GEOIP),
    ("HTTPGet", NETWORK),
    ("HTTPHead", NETWORK),
    ("HTTPPost", NETWORK),
    ("HTTPRequest", NETWORK),
    ("LookupHost", NETWORK),
    ("File", FILES),
    ("FileMap", FILES),
    ("RegexpInFile", FILES),
    ("LookupFile", FILES),
    ("MatchKnownBot", FILES),
    ("GetFromStash", STASH),
    ("SetInStash", STASH),
    ("UnmarshalJSON", EVENTS),
    ("ParseKV", EVENTS),
    ("ParseKVLax", EVENTS),
    ("XMLGetNodeValue", EVENTS),
    ("XMLGetAttributeValue", EVENTS),
    ("LibInjectionIsSQLI", EVENTS),
    ("LibInjectionIsXSS", EVENTS),
    ("JA4H", EVENTS),
    ("ParseUnixTime", "it is no function of CrowdSec's profiles; use ParseUnix"),
];
const CTI: &str = "it queries CrowdSec's cloud, which this server does not do; \
                   decide by `Alert.Source` or earlier decisions";
const GEOIP: &str = "it needs GeoIP databases, which this server does not read; \
                     use Alert.Source.Cn, .AsNumber, .AsName or .Range, which log processors fill in";
const NETWORK: &str = "it makes network requests while alerts wait, which this server does not do";
const FILES: &str =
    "it needs data files of a log processor; write the values into the expression, or use an allowlist";
const STASH: &str = "the stash is a log processor's";
const EVENTS: &str =
    "it works on raw log lines and requests, which an alert does not hold; do it in the scenario";

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    const TEXT: Type = Type::Text;
    let mut names = Vocabulary::new().with_library();
    names.variable("Alert", 0, Type::Object(&ALERT));
    names.host(Signature::new("GetDecisionsCount", &[TEXT], Type::Int), COUNT);
    names.host(Signature::new("GetDecisionsSinceCount", &[TEXT, TEXT], Type::Int), SINCE_COUNT);
    names.host(Signature::new("GetActiveDecisionsCount", &[TEXT], Type::Int), ACTIVE_COUNT);
    names.host(Signature::new("GetActiveDecisionsTimeLeft", &[TEXT], Type::Duration), TIME_LEFT);
    names.host(Signature::new("LogInfo", &[TEXT, Type::Any], Type::Bool).any_number(), LOG_INFO);
    names.host(Signature::new("Hostname", &[], TEXT), HOSTNAME);
    for (name, reason) in REFUSED {
        // Known names, so that the error gives a reason instead of "unknown function".
        names.refuse(name, reason);
    }
    names
});

/// The names available to expressions.
pub(crate) fn vocabulary() -> &'static Vocabulary {
    &VOCABULARY
}

/// Whether an expression uses decision history.
pub(crate) fn needs_history(program: &Program) -> bool {
    [COUNT, SINCE_COUNT, ACTIVE_COUNT, TIME_LEFT].into_iter().any(|function| program.calls(function))
}

/// An alert and its history, as input of expressions.
pub(crate) struct Context<'a> {
    pub(crate) alert: &'a Alert,
    pub(crate) history: &'a dyn History,
}

impl Host for Context<'_> {
    fn variable<'v>(&'v self, _: usize) -> Value<'v> {
        Value::object(&ALERT, self.alert)
    }

    fn call<'v>(
        &'v self,
        number: usize,
        args: &[Value<'v>],
        budget: &mut Budget,
    ) -> Result<Value<'v>, Fault> {
        match number {
            COUNT => {
                budget.spend(QUERY)?;
                let Some(about) = plain_target(args)? else { return Ok(Value::Int(0)) };
                self.history.decisions_count(&about).map(Value::Int).map_err(Fault)
            }
            SINCE_COUNT => {
                budget.spend(QUERY)?;
                let Some(about) = plain_target(args)? else { return Ok(Value::Int(0)) };
                let back = text(args, 1)?;
                // As in the reference: the error is logged, and the expression goes on with 0.
                let Ok(back) = back.parse::<GoDuration>() else {
                    tracing::error!(since = back, "GetDecisionsSinceCount: invalid duration; the count is 0");
                    return Ok(Value::Int(0));
                };
                self.history.decisions_since_count(&about, back).map(Value::Int).map_err(Fault)
            }
            ACTIVE_COUNT => {
                budget.spend(QUERY)?;
                // Unlike the counts above, another scope makes the expression fail: as in the reference.
                self.history.active_decisions_count(&target(text(args, 0)?)?).map(Value::Int).map_err(Fault)
            }
            TIME_LEFT => {
                budget.spend(QUERY)?;
                let left = self.history.active_time_left(&target(text(args, 0)?)?).map_err(Fault)?;
                Ok(Value::Duration(left.nanos()))
            }
            LOG_INFO => {
                // Expensive, so that a loop cannot flood the log.
                budget.spend(1000)?;
                let line = sprintf(text(args, 0)?, &args[1..], budget)?;
                tracing::info!("{line}");
                Ok(Value::Bool(true))
            }
            HOSTNAME => Ok(Value::from(rustix::system::uname().nodename().to_string_lossy().into_owned())),
            // Unreachable for compiled expressions; a host must not panic all the same.
            _ => Err(Fault(format!("there is no function {number}"))),
        }
    }
}

/// The cost of a database query in evaluation steps: bounds how many an expression may make.
const QUERY: usize = 10_000;

fn text<'a>(args: &'a [Value<'_>], index: usize) -> Result<&'a str, Fault> {
    match args.get(index) {
        Some(Value::Text(text)) => Ok(text),
        other => Err(Fault(format!(
            "expected a string as argument {} and got {}",
            index + 1,
            other.map_or("nothing", |value| value.kind())
        ))),
    }
}

/// Parses an address or a range.
fn target(text: &str) -> Result<IpNet, Fault> {
    parse_prefix(text).map_err(|_| {
        Fault(format!("{text:?} is no address and no range; earlier decisions are known by these"))
    })
}

/// The same, but `None` for other scopes (users, countries and so on), which have no history.
fn plain_target(args: &[Value<'_>]) -> Result<Option<IpNet>, Fault> {
    match target(text(args, 0)?) {
        Ok(target) => Ok(Some(target)),
        Err(fault) => {
            tracing::error!("counting earlier decisions: {fault}");
            Ok(None)
        }
    }
}
