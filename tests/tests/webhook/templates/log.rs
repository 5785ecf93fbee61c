//! Elasticsearch and Splunk, which report failures of single events or with codes of their own.

use std::collections::{BTreeMap, BTreeSet};

use palisade_e2e::{Ban, Outcome, ServiceRequest, ServiceResponse, eventually, many_addresses, story};
use serde_json::{Value, json};

use super::{
    Case, Checked, ReportedEntry, Run, STATES, Schema, bounded, cases, fields, parse, plain, posted, text,
    time,
};

/// <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>
#[derive(Default)]
pub(super) struct Bulk {
    /// By index and id: the value.
    documents: BTreeMap<(String, String), String>,
    /// Values whose first document finds the queue full.
    busy: BTreeSet<String>,
    /// Values whose documents do not fit the mapping.
    unfit: BTreeSet<String>,
}

impl Schema for Bulk {
    fn check(&mut self, request: &ServiceRequest) -> Checked {
        posted(request, &["application/x-ndjson"])?;
        let body = request.body.strip_suffix('\n').ok_or("the last line has no end")?;
        let mut lines = body.split('\n');
        let (mut reported, mut items) = (Vec::new(), Vec::new());
        while let Some(line) = lines.next() {
            let action = parse(line)?;
            let action = fields(&action, &["index", "create", "delete"])?;
            let (verb, meta) = action.iter().next().filter(|_| action.len() == 1).ok_or("not one action")?;
            let meta = fields(meta, &["_index", "_id"])?;
            let (index, id) = (bounded(meta, "_index", 255)?.to_owned(), text(meta, "_id")?.to_owned());
            if id.is_empty() || id.len() > 512 {
                return Err(format!("an id of {} bytes", id.len()));
            }
            let source = match verb.as_str() {
                "delete" => None,
                _ => Some(parse(lines.next().ok_or("an action without its document")?)?),
            };
            let (result, entry) = self.item(verb, (index, id), source)?;
            items.push(json!({ verb.as_str(): result }));
            reported.extend(entry);
        }
        let errors = items.iter().any(|item| item.to_string().contains("\"error\""));
        let response = json!({ "took": 3, "errors": errors, "items": items });
        Ok((reported, ServiceResponse::json(200, &response)))
    }
}

impl Bulk {
    fn item(
        &mut self,
        verb: &str,
        key: (String, String),
        source: Option<Value>,
    ) -> Result<(Value, Option<ReportedEntry>), String> {
        let result = |status: u16, word: &str| json!({ "_index": key.0, "_id": key.1, "status": status, "result": word });
        let failed = |status: u16, kind: &str| {
            json!({
                "_index": key.0, "_id": key.1, "status": status,
                "error": { "type": kind, "reason": "as the test has it" },
            })
        };
        let Some(source) = source else {
            return Ok(match self.documents.remove(&key) {
                None => (result(404, "not_found"), None),
                Some(value) => {
                    (result(200, "deleted"), Some(ReportedEntry { verb: "lifted".to_owned(), value }))
                }
            });
        };
        let object = source.as_object().ok_or("a document is no object")?;
        time(object, "@timestamp")?;
        let mut reported = plain::event(&source)?;
        if self.busy.remove(&reported.value) {
            return Ok((failed(429, "es_rejected_execution_exception"), None));
        }
        if self.unfit.contains(&reported.value) {
            return Ok((failed(400, "document_parsing_exception"), None));
        }
        let is_there = self.documents.contains_key(&key);
        if verb == "create" && is_there {
            return Ok((failed(409, "version_conflict_engine_exception"), None));
        }
        if verb == "index" {
            reported.verb = "in force".to_owned();
        }
        let response = if is_there { result(200, "updated") } else { result(201, "created") };
        self.documents.insert(key, reported.value.clone());
        Ok((response, Some(reported)))
    }
}

/// <https://help.splunk.com>, "Format events for HTTP Event Collector": objects one after the other.
pub(super) fn splunk(request: &ServiceRequest) -> Checked {
    posted(request, &["application/json"])?;
    let mut reported = Vec::new();
    for event in serde_json::Deserializer::from_str(&request.body).into_iter::<Value>() {
        let event = event.map_err(|error| error.to_string())?;
        let known = ["time", "host", "source", "sourcetype", "index", "event", "fields"];
        let object = fields(&event, &known)?;
        if object.get("time").is_none_or(|time| !time.is_number()) {
            return Err("no time".to_owned());
        }
        for key in ["host", "source", "sourcetype", "index"] {
            if object.contains_key(key) {
                bounded(object, key, 1024)?;
            }
        }
        reported.push(plain::event(&event["event"])?);
    }
    match reported.is_empty() {
        true => Ok((reported, ServiceResponse::json(400, &json!({ "text": "No data", "code": 5 })))),
        false => Ok((reported, ServiceResponse::json(200, &json!({ "text": "Success", "code": 0 })))),
    }
}

fn case(template: &str) -> Case {
    cases().into_iter().find(|case| case.template == template).expect("there is one")
}

/// The address that is rejected.
const UNFIT: &str = "192.0.2.99";

fn decided() -> (Vec<Ban>, BTreeSet<String>) {
    let addresses: BTreeSet<String> = many_addresses(30).collect();
    let bans = addresses.iter().map(String::as_str).chain([UNFIT]).map(Ban::of);
    (bans.collect(), addresses)
}

#[test]
fn elasticsearch_items_fail_each_for_itself() -> Outcome {
    story(|world| {
        let (bans, addresses) = decided();
        let busy = addresses.iter().take(7).cloned().collect();
        let bulk = Bulk { busy, unfit: BTreeSet::from([UNFIT.to_owned()]), ..Bulk::default() };
        let run = Run::start(world, &case("elasticsearch"), Box::new(bulk), bans)?;
        run.holds(&addresses)?;
        eventually("the unfit one is kept", || {
            let letters = run.dead_letters(world)?;
            Ok(letters.contains(UNFIT) && letters.contains("document_parsing_exception"))
        })?;
        let letters = run.dead_letters(world)?;
        assert!(addresses.iter().all(|address| !letters.contains(&format!("{address} "))), "{letters}");
        // What was accepted beside the failures was not sent again.
        let reported = run.service.with(|service| service.reported.clone());
        assert!(addresses.iter().all(|address| reported.get(address) == Some(&1)), "{reported:?}");
        assert!(STATES.iter().any(|state| run.service.with(|service| service.verbs.contains(*state))));
        Ok(())
    })
}

#[test]
fn splunk_that_is_busy_or_finds_an_event_invalid_gets_all_others() -> Outcome {
    story(|world| {
        let (bans, addresses) = decided();
        let mut busy = 2;
        let rules = move |request: &ServiceRequest| -> Checked {
            if busy > 0 {
                busy -= 1;
                let answer = json!({ "text": "Server is busy", "code": 9 });
                return Ok((Vec::new(), ServiceResponse::json(503, &answer)));
            }
            if request.body.contains(UNFIT) {
                let answer = json!({ "text": "Invalid data format", "code": 6, "invalid-event-number": 1 });
                return Ok((Vec::new(), ServiceResponse::json(400, &answer)));
            }
            splunk(request)
        };
        let run = Run::start(world, &case("splunk"), Box::new(rules), bans)?;
        run.holds(&addresses)?;
        eventually("the invalid one is kept", || Ok(run.dead_letters(world)?.contains(UNFIT)))?;
        Ok(())
    })
}
