//! Alertmanager and RouterOS, which hold a state.

mod script;

use std::collections::BTreeMap;

use palisade_e2e::{ServiceRequest, ServiceResponse};
use serde_json::{Value, json};

use self::script::Command;
use super::{Checked, ReportedEntry, Schema, fields, parse, posted, text, time};

/// Labels of an alert, in their JSON form.
type Labels = String;

/// <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>
#[derive(Default)]
pub(super) struct Alertmanager {
    /// Their value, and their end.
    alerts: BTreeMap<Labels, (String, jiff::Timestamp)>,
}

fn texts(value: &Value) -> Result<(), String> {
    for (name, text) in value.as_object().ok_or("no object of texts")? {
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !is_name || !text.is_string() {
            return Err(format!("the label or annotation {name} is {text}"));
        }
    }
    Ok(())
}

impl Alertmanager {
    fn alert(&mut self, alert: &Value) -> Result<String, String> {
        let known = ["labels", "annotations", "startsAt", "endsAt", "generatorURL"];
        let object = fields(alert, &known)?;
        let (start, end) = (time(object, "startsAt")?, time(object, "endsAt")?);
        if end < start {
            return Err("start time must be before end time".to_owned());
        }
        texts(&alert["labels"])?;
        if object.contains_key("annotations") {
            texts(&alert["annotations"])?;
        }
        // Empty labels are as good as none.
        let mut labels = alert["labels"].as_object().cloned().unwrap_or_default();
        labels.retain(|_, text| text != "");
        if text(&labels, "alertname")?.is_empty() {
            return Err("no alertname".to_owned());
        }
        let value = text(&labels, "value")?.to_owned();
        self.alerts.insert(Value::Object(labels).to_string(), (value.clone(), end));
        Ok(value)
    }
}

impl Schema for Alertmanager {
    fn check(&mut self, request: &ServiceRequest) -> Checked {
        posted(request, &["application/json"])?;
        let body = parse(&request.body)?;
        let alerts = body.as_array().ok_or("no list of alerts")?;
        let values: Vec<String> = alerts.iter().map(|alert| self.alert(alert)).collect::<Result<_, _>>()?;
        let now = jiff::Timestamp::now();
        let mut reported = Vec::new();
        for value in values {
            let firing = self.alerts.values().filter(|(of, end)| *of == value && *end > now).count();
            let verb = match firing {
                0 => "lifted",
                1 => "in force",
                _ => return Err(format!("{firing} alerts about {value} fire")),
            };
            reported.push(ReportedEntry { verb: verb.to_owned(), value });
        }
        Ok((reported, ServiceResponse::text(200, "")))
    }
}

/// Address lists of RouterOS: <https://help.mikrotik.com/docs/spaces/ROS/pages/47579162/REST+API>
#[derive(Default)]
pub(super) struct RouterOs {
    /// Menu, list, address.
    entries: std::collections::BTreeSet<(String, String, String)>,
    output: Vec<String>,
    reported: Vec<ReportedEntry>,
}

impl RouterOs {
    /// Whether it succeeded.
    fn run(&mut self, command: &Command) -> Result<bool, String> {
        match command {
            Command::Do { body, on_error } => {
                if self.run_all(body)? {
                    Ok(true)
                } else {
                    self.run_all(on_error)
                }
            }
            Command::Put(line) => {
                self.output.push(line.clone());
                Ok(true)
            }
            Command::Add { menu, list, address, .. } => {
                let is_new = self.entries.insert((menu.clone(), list.clone(), address.clone()));
                if is_new {
                    self.report("in force", address);
                }
                Ok(is_new)
            }
            Command::Remove { menu, list, address } => {
                self.entries.remove(&(menu.clone(), list.clone(), address.clone()));
                self.report("lifted", address);
                Ok(true)
            }
        }
    }

    fn run_all(&mut self, commands: &[Command]) -> Result<bool, String> {
        for command in commands {
            if !self.run(command)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn report(&mut self, verb: &str, address: &str) {
        let value = address.strip_suffix("/128").unwrap_or(address).to_owned();
        self.reported.push(ReportedEntry { verb: verb.to_owned(), value });
    }
}

impl Schema for RouterOs {
    fn check(&mut self, request: &ServiceRequest) -> Checked {
        posted(request, &["application/json"])?;
        let body = parse(&request.body)?;
        let execute = fields(&body, &["script", "as-string"])?;
        if !text(execute, "as-string")?.is_empty() {
            return Err("as-string takes no value".to_owned());
        }
        let commands = script::parse(text(execute, "script")?)?;
        self.run_all(&commands)?;
        let output = std::mem::take(&mut self.output);
        if let Some(failed) = output.iter().find(|line| line.starts_with("failed")) {
            return Err(failed.clone());
        }
        let response = ServiceResponse::json(200, &json!({ "ret": output.join("\r\n") }));
        Ok((std::mem::take(&mut self.reported), response))
    }
}
