//! Sums up what a log processor reports to have read and parsed.

use std::collections::BTreeMap;

use palisade_store::UsageRow;
use serde::Serialize;

use crate::commands::usage_reports::{count, label, windows};

/// The reads and parses of a log processor, summed over its reports.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counters {
    pub(super) acquisition: Vec<Acquisition>,
    pub(super) parsers: Vec<Parser>,
}

#[derive(Debug, Serialize)]
pub(super) struct Acquisition {
    pub(super) source: String,
    pub(super) read: i64,
    pub(super) parsed: i64,
    pub(super) unparsed: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Parser {
    pub(super) source: String,
    pub(super) parser: String,
    stage: String,
    pub(super) parsed: i64,
    pub(super) unparsed: i64,
}

impl Counters {
    /// Aggregates reports. One that cannot be parsed is ignored.
    pub(super) fn of(reports: &[UsageRow]) -> Self {
        let mut sources: BTreeMap<String, [i64; 3]> = BTreeMap::new();
        let mut parsers: BTreeMap<(String, String, String), [i64; 2]> = BTreeMap::new();
        for item in reports.iter().flat_map(windows).flat_map(|window| window.items) {
            let count = count(&item);
            let has_parser = item.labels.contains_key("parser_name");
            let column = match item.name.as_str() {
                "read" => 0,
                "parsed" => 1,
                "unparsed" => 2,
                _ => continue,
            };
            if has_parser {
                let key = (label(&item, "source"), label(&item, "parser_name"), label(&item, "parser_stage"));
                // Lines are read by sources; parsers only parse them.
                if column > 0 {
                    parsers.entry(key).or_default()[column - 1] += count;
                }
            } else {
                sources.entry(label(&item, "source")).or_default()[column] += count;
            }
        }
        Self {
            acquisition: sources
                .into_iter()
                .map(|(source, [read, parsed, unparsed])| Acquisition { source, read, parsed, unparsed })
                .collect(),
            parsers: parsers
                .into_iter()
                .map(|((source, parser, stage), [parsed, unparsed])| Parser {
                    source,
                    parser,
                    stage,
                    parsed,
                    unparsed,
                })
                .collect(),
        }
    }
}
