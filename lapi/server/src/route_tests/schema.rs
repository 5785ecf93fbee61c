//! The OpenAPI description is true: responses fit their schemas, and what a body must have is what is required.

use axum::http::Method;
use serde_json::{Value, json};

use crate::test_server::{Answer, KEY, TestServer};

/// The description, and the schemas that it refers to.
struct Description(Value);

impl Description {
    async fn of(server: &TestServer) -> Self {
        Self(server.get("/openapi.json").await.json())
    }

    /// The schema itself for a reference.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.0.pointer(reference.trim_start_matches('#')).unwrap(),
            None => schema,
        }
    }

    fn response(&self, method: &str, path: &str, answer: &Answer) -> &Value {
        let responses = &self.0["paths"][path][method.to_lowercase()]["responses"];
        let response = &responses[answer.status.as_str()];
        assert!(response.is_object(), "{method} {path} answers {}, which is not described", answer.status);
        &response["content"]["application/json"]["schema"]
    }

    fn request(&self, path: &str) -> &Value {
        &self.0["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    }

    /// Where a value does not fit a schema. Members that the schema does not name are faults too.
    fn faults(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolved(schema);
        if let Some(variants) = schema["oneOf"].as_array() {
            let fits = variants.iter().any(|variant| self.faults(variant, value, at).is_empty());
            return if fits { Vec::new() } else { vec![format!("{at} fits no variant")] };
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.clone(),
            one => vec![one.clone()],
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !types.iter().any(|name| name == kind || (name == "number" && kind == "integer")) {
            return vec![format!("{at} is {kind}, and not {types:?}")];
        }
        match value {
            Value::Array(items) => {
                let each = items.iter().enumerate();
                each.flat_map(|(n, item)| self.faults(&schema["items"], item, &format!("{at}/{n}"))).collect()
            }
            Value::Object(members) => {
                let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let missing = required.filter(|name| !members.contains_key(*name));
                let mut faults: Vec<String> = missing.map(|name| format!("{at}/{name} is missing")).collect();
                for (name, member) in members {
                    let at = format!("{at}/{name}");
                    match (&schema["properties"][name], &schema["additionalProperties"]) {
                        (Value::Null, Value::Null) => faults.push(format!("{at} is not described")),
                        (Value::Null, other) => faults.extend(self.faults(other, member, &at)),
                        (property, _) => faults.extend(self.faults(property, member, &at)),
                    }
                }
                faults
            }
            _ => Vec::new(),
        }
    }

    /// The pointers of all members of a body, and whether they are required.
    fn members(&self, schema: &Value, value: &Value, at: &str, all: &mut Vec<(String, bool)>) {
        let schema = self.resolved(schema);
        if let Some(variants) = schema["oneOf"].as_array() {
            variants
                .iter()
                .filter(|one| one["type"] != "null")
                .for_each(|one| self.members(one, value, at, all));
            return;
        }
        match value {
            Value::Array(items) => {
                let each = items.iter().enumerate();
                each.for_each(|(n, item)| self.members(&schema["items"], item, &format!("{at}/{n}"), all));
            }
            Value::Object(members) => {
                for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                    let member = members.get(name).unwrap_or_else(|| panic!("the sample lacks {at}/{name}"));
                    let required =
                        schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
                    let at = format!("{at}/{name}");
                    all.push((at.clone(), required));
                    self.members(property, member, &at, all);
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn responses_are_as_described() {
    let server = TestServer::configured("    trusted_ips: [127.0.0.1]\n").await;
    server.add_bouncer("door", KEY).await;
    let description = Description::of(&server).await;
    server.allow("office", &["192.0.2.0/24"]).await;
    let mut detailed = server.alert("198.51.100.1");
    detailed["meta"] = json!([{"key": "k", "value": "v"}]);
    detailed["source"]["latitude"] = 48.5.into();
    detailed["kind"] = "waf".into();
    detailed["events"] = json!([{"timestamp": "", "meta": []}, {"timestamp": "", "meta": [{"key": "only"}]}]);
    let mut large = server.alert("198.51.100.2");
    let many: Vec<Value> = (0..1000).map(|n| json!({"key": format!("key {n}"), "value": "value"})).collect();
    large["events"] = json!([{"timestamp": "", "meta": many}]);
    server.post_alerts(&[detailed, large]).await;
    server.ban("198.51.100.3", "1s").await;
    server.pass(std::time::Duration::from_secs(2));

    let check = json!({"targets": ["192.0.2.1"]});
    for (what, described, body) in [
        ("GET /health", "/health", json!(null)),
        ("POST /v1/alerts", "/v1/alerts", json!([server.alert("198.51.100.9")])),
        ("POST /v1/alerts", "/v1/alerts", json!({})),
        ("POST /v1/alerts", "/v1/alerts", json!([{}])),
        ("GET /v1/alerts", "/v1/alerts", json!(null)),
        ("GET /v1/alerts?value=nobody", "/v1/alerts", json!(null)),
        ("GET /v1/alerts?limit=x", "/v1/alerts", json!(null)),
        ("GET /v1/alerts/1", "/v1/alerts/{alert_id}", json!(null)),
        ("GET /v1/alerts/999", "/v1/alerts/{alert_id}", json!(null)),
        ("GET /v1/alerts/x", "/v1/alerts/{alert_id}", json!(null)),
        ("GET /v1/allowlists", "/v1/allowlists", json!(null)),
        ("GET /v1/allowlists/office?with_content=true", "/v1/allowlists/{allowlist_name}", json!(null)),
        ("GET /v1/allowlists/none", "/v1/allowlists/{allowlist_name}", json!(null)),
        ("GET /v1/allowlists/check/192.0.2.1", "/v1/allowlists/check/{ip_or_range}", json!(null)),
        ("GET /v1/allowlists/check/198.51.100.9", "/v1/allowlists/check/{ip_or_range}", json!(null)),
        ("GET /v1/allowlists/check/nobody", "/v1/allowlists/check/{ip_or_range}", json!(null)),
        ("POST /v1/allowlists/check", "/v1/allowlists/check", check),
        ("POST /v1/allowlists/check", "/v1/allowlists/check", json!({})),
        ("GET /v1/heartbeat", "/v1/heartbeat", json!(null)),
        ("GET /v1/refresh_token", "/v1/refresh_token", json!(null)),
        ("POST /v1/watchers", "/v1/watchers", json!({"machine_id": "new", "password": "p"})),
        ("POST /v1/watchers", "/v1/watchers", json!({"machine_id": "new", "password": "p"})),
        ("POST /v1/watchers", "/v1/watchers", json!({"machine_id": "new"})),
        ("POST /v1/watchers/login", "/v1/watchers/login", json!({"machine_id": "new", "password": "p"})),
        ("POST /v1/watchers/login", "/v1/watchers/login", json!({})),
        ("POST /v1/usage-metrics", "/v1/usage-metrics", json!({})),
        ("DELETE /v1/decisions?ip=198.51.100.1", "/v1/decisions", json!(null)),
        ("DELETE /v1/decisions?no=1", "/v1/decisions", json!(null)),
        ("DELETE /v1/decisions/999", "/v1/decisions/{decision_id}", json!(null)),
        ("DELETE /v1/decisions/x", "/v1/decisions/{decision_id}", json!(null)),
        ("DELETE /v1/alerts/1", "/v1/alerts/{alert_id}", json!(null)),
        ("DELETE /v1/alerts/1", "/v1/alerts/{alert_id}", json!(null)),
        ("DELETE /v1/alerts?scenario=none", "/v1/alerts", json!(null)),
    ] {
        let (method, path) = what.split_once(' ').unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = server.machine(method.parse().unwrap(), path, body).await;
        fits(&description, method, described, &answer);
        // Without credentials.
        if !["/health", "/v1/watchers", "/v1/watchers/login"].contains(&described) {
            let answer = server.request("192.0.2.1", &format!("{method} {path}"), &[], "").await;
            fits(&description, method, described, &answer);
        }
    }
    for path in ["/v1/decisions", "/v1/decisions?ip=203.0.113.9", "/v1/decisions?ip=x"] {
        fits(&description, "GET", "/v1/decisions", &server.bouncer(Method::GET, path).await);
    }
    for path in ["/v1/decisions/stream?startup=true", "/v1/decisions/stream", "/v1/decisions/stream?ip=x"] {
        fits(&description, "GET", "/v1/decisions/stream", &server.bouncer(Method::GET, path).await);
    }
}

fn fits(description: &Description, method: &str, path: &str, answer: &Answer) {
    let schema = description.response(method, path, answer);
    if schema.is_null() {
        assert_eq!(answer.text, "", "{method} {path} {}", answer.status);
        return;
    }
    let faults = description.faults(schema, &answer.json(), "");
    assert!(faults.is_empty(), "{method} {path} {}: {faults:?}\n{}", answer.status, answer.text);
}

#[tokio::test]
async fn what_a_body_must_have_is_required() {
    let server = TestServer::new().await;
    let description = Description::of(&server).await;
    let metrics = json!([{
        "meta": {"window_size_seconds": 1, "utc_now_timestamp": 2},
        "items": [{"name": "dropped", "unit": "packet", "value": 1.5, "labels": {"origin": "cscli"}}],
    }]);
    let os = json!({"name": "debian", "family": "debian", "version": "12"});
    let bouncer = json!({"remediation_components": [{
        "type": "t", "version": "v", "feature_flags": [], "utc_startup_timestamp": 1, "os": os, "metrics": metrics,
    }]});
    let processor = json!({"log_processors": [{
        "version": "v", "feature_flags": [], "utc_startup_timestamp": 1, "os": os, "metrics": metrics,
        "datasources": {"file": 1}, "hub_items": {"parsers": [{"name": "n", "status": "official", "version": "1"}]},
    }]});
    let alert = json!([{
        "capacity": 1, "events_count": 1, "kind": "cscli", "labels": [], "leakspeed": "1s", "message": "m",
        "meta": [{"key": "k", "value": "v"}], "remediation": true, "scenario": "s", "scenario_hash": "",
        "scenario_version": "", "simulated": false, "start_at": "", "stop_at": "",
        "events": [{"meta": [{"key": "k", "value": "v"}], "timestamp": ""}],
        "source": {"as_name": "", "as_number": "", "cn": "", "ip": "192.0.2.1", "latitude": 1.5, "longitude": 1.5,
                   "range": "", "scope": "Ip", "value": "192.0.2.1"},
        "decisions": [{"duration": "1h", "origin": "cscli", "scenario": "s", "scope": "Ip", "simulated": false,
                       "type": "ban", "value": "192.0.2.1"}],
    }]);
    for (path, sample, as_bouncer) in [
        ("/v1/alerts", alert, false),
        ("/v1/usage-metrics", bouncer, true),
        ("/v1/usage-metrics", processor, false),
        ("/v1/allowlists/check", json!({"targets": ["192.0.2.1"]}), false),
    ] {
        let mut schema = description.request(path);
        // Of a usage report, the list of the sender's kind.
        let mut prefix = String::new();
        if path == "/v1/usage-metrics" {
            let list = if as_bouncer { "remediation_components" } else { "log_processors" };
            schema = &description.resolved(schema)["properties"][list];
            prefix = format!("/{list}");
        }
        let mut members = Vec::new();
        description.members(schema, sample.pointer(&prefix).unwrap(), &prefix, &mut members);
        assert!(!members.is_empty(), "{path}");
        for (at, required) in members {
            let (above, name) = at.rsplit_once('/').unwrap();
            let mut body = sample.clone();
            body.pointer_mut(above).unwrap().as_object_mut().unwrap().remove(name);
            let mut request = server.as_machine(Method::POST, path, body.to_string(), [127, 0, 0, 1]);
            if as_bouncer {
                request.headers_mut().remove("authorization");
                request.headers_mut().insert("x-api-key", KEY.parse().unwrap());
            }
            let answer = server.send(request).await;
            assert_eq!(answer.status.is_success(), !required, "{path} without {at}: {answer:?}");
        }
    }
    for (path, sample) in [
        ("/v1/watchers", json!({"machine_id": "m", "password": "p", "registration_token": ""})),
        ("/v1/watchers/login", json!({"machine_id": "m", "password": "p", "scenarios": []})),
    ] {
        let required = &description.resolved(description.request(path))["required"];
        assert_eq!(*required, json!(["machine_id", "password"]), "{path}");
        assert!(description.faults(description.request(path), &sample, "").is_empty(), "{path}");
    }
}
