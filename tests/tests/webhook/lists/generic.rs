//! Any HTTP endpoint that takes a whole list as JSON.

use std::collections::BTreeSet;
use std::time::Duration;

use palisade_e2e::{Outcome, ServiceRequest, ServiceResponse, ServiceRules, story};
use serde_json::{Value, json};

use super::ListService;

#[derive(Default)]
pub(super) struct GenericRules {
    listed: BTreeSet<String>,
    uploads: usize,
    delay: Duration,
    failures: usize,
}

impl ServiceRules for GenericRules {
    fn respond(&mut self, request: &ServiceRequest) -> Result<ServiceResponse, String> {
        if (request.method.as_str(), request.target.as_str()) != ("PUT", "/lists/7") {
            return Err(format!("{} {}", request.method, request.target));
        }
        self.uploads += 1;
        if let Some(left) = self.failures.checked_sub(1) {
            self.failures = left;
            return Ok(ServiceResponse::text([503, 400, 429, 500][left % 4], "not now"));
        }
        let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
        let events = body["data"]["events"].as_array().ok_or("no events")?;
        let values = events.iter().map(|event| event["value"].as_str().map(str::to_owned));
        let listed: Option<BTreeSet<String>> = values.collect();
        self.listed = listed.ok_or("an event has no value")?;
        if self.listed.len() != events.len() {
            return Err("a value is listed twice".to_owned());
        }
        Ok(ServiceResponse::text(204, "").after(std::mem::take(&mut self.delay)))
    }
}

impl ListService for GenericRules {
    fn keys(url: &str) -> Value {
        json!({ "url": format!("{url}/lists/7"), "replace": {} })
    }

    fn listed(&self) -> BTreeSet<String> {
        self.listed.clone()
    }

    fn uploads(&self) -> usize {
        self.uploads
    }

    fn hold_next(&mut self, delay: Duration) {
        self.delay = delay;
    }

    fn fail_next(&mut self, count: usize) {
        self.failures = count;
    }
}

#[test]
fn a_list_follows_bans_and_lifts() -> Outcome {
    story(|world| super::follows_bans_and_lifts(world, GenericRules::default()))
}

#[test]
fn an_unchanged_list_is_not_uploaded_twice_nor_after_a_restart() -> Outcome {
    story(|world| super::is_not_uploaded_twice(world, GenericRules::default()))
}

#[test]
fn an_upload_is_repeated_until_it_is_accepted() -> Outcome {
    story(|world| super::is_repeated_until_accepted(world, GenericRules::default()))
}

#[test]
fn nothing_is_uploaded_before_the_first_decisions() -> Outcome {
    story(|world| super::waits_for_the_first_decisions(world, GenericRules::default()))
}

#[test]
fn a_kill_during_an_upload_leaves_the_right_list() -> Outcome {
    story(|world| super::survives_a_kill_during_an_upload(world, GenericRules::default()))
}
