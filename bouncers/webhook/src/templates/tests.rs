use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::event::EventKind;
use crate::sink::MessageKind;

fn ready(name: &str, options: &[(&str, &str)]) -> Result<Template, TemplateError> {
    let options = options.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let template = TemplateSource::Ready(name.to_owned());
    Template::load(&BodyConfig { template, content_type: None, options }, Grouping::Remediation)
}

fn custom(text: &str, content_type: Option<&str>) -> Result<Template, TemplateError> {
    let config = BodyConfig {
        template: TemplateSource::Custom { origin: "body.j2".to_owned(), text: text.to_owned() },
        content_type: content_type.map(str::to_owned),
        options: BTreeMap::from([("index".to_owned(), "a \"b\"".to_owned())]),
    };
    Template::load(&config, Grouping::Remediation)
}

fn one(template: &Template) -> String {
    let ban = sample::entry("ban", "crowdsec", "crowdsecurity/ssh-bf", 4);
    let event = sample::event(EventKind::Added, Value::Net("192.0.2.7/32".parse().unwrap()), ban);
    let message = sample::message(MessageKind::Changes, vec![event]);
    let rendered = template.render_at(&message, sample::NOW).unwrap().unwrap();
    String::from_utf8(rendered.body.to_vec()).unwrap()
}

#[test]
fn every_ready_template_loads_with_its_defaults() {
    for template in READY {
        let loaded = ready(template.name, &[]).unwrap_or_else(|error| panic!("{}: {error}", template.name));
        assert!(template.max_events.is_none_or(|max| template.events <= max), "{}", template.name);
        assert_eq!(loaded.max_events(), template.max_events);
    }
}

#[test]
fn plain_json_has_the_shape_of_standard_webhooks() {
    let body: serde_json::Value = serde_json::from_str(&one(&ready("json", &[]).unwrap())).unwrap();
    assert_eq!(
        body,
        json!({
            "type": "decision.added",
            "timestamp": "2026-05-01T12:00:00Z",
            "data": {
                "id": body["data"]["id"],
                "value": "192.0.2.7",
                "scope": "Ip",
                "remediation": "ban",
                "origin": "crowdsec",
                "scenario": "crowdsecurity/ssh-bf",
                "until": "2026-05-01T16:00:00Z",
                "duration": "4h0m0s",
                "decision_id": 4711,
            }
        })
    );
}

#[test]
fn texts_are_quoted_in_json_and_cannot_break_out() {
    let template =
        custom(r#"{"v": {{ events[0].value if events else none }}, "all": {{ events|tojson }}}"#, None);
    assert!(one(&template.unwrap()).starts_with(r#"{"v": "192.0.2.7", "all": [{"#));
}

#[test]
fn a_template_that_makes_no_json_is_refused_when_it_is_loaded() {
    let error =
        custom("{\n\"v\": \"{% for event in events %}{{ event.value }}{% endfor %}\"}", None).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("body.j2") && text.contains("an added ban") && text.contains("line 2"), "{text}");
    // The sample with special characters finds what common texts would not.
    let unsafe_one = r#"{"v": "{% for event in events %}{{ event.scenario|safe }}{% endfor %}"}"#;
    let error = custom(unsafe_one, None).unwrap_err().to_string();
    assert!(error.contains("a deleted ban is not JSON"), "{error}");
    let lines = "{% for event in events %}{{ event.value }}\n{\n{% endfor %}";
    assert!(
        custom(lines, Some("application/x-ndjson")).unwrap_err().to_string().contains("line 2 of the body")
    );
}

#[test]
fn an_error_names_template_line_and_cause() {
    for (text, line, part) in [
        ("\n{{ events", 2, "syntax error"),
        ("\n\n{% if false %}{{ evnets|tojson }}{% endif %}", 3, "unknown variable"),
        ("{{ options.absent }}", 1, "undefined"),
        ("{{ now|nofilter }}", 1, "nofilter"),
        ("{% include 'other' %}", 1, "other"),
        ("{{ now|duration }}", 1, "invalid"),
        ("{{ 'x'|unix }}", 1, "takes a time"),
    ] {
        let error = custom(text, Some("text/plain")).unwrap_err();
        let shown = error.to_string();
        assert!(matches!(error, TemplateError::Failed { line: at, .. } if at == line), "{shown}");
        assert!(shown.contains("body.j2") && shown.contains(part), "{shown}");
    }
}

#[test]
fn a_template_is_bounded_in_steps_and_size() {
    for text in [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{% for a in range(9999) %}{{ 'x' * 100000 }}{% endfor %}",
    ] {
        let error = custom(text, Some("text/plain")).unwrap_err().to_string();
        assert!(error.contains("too many steps") || error.contains("exceeds"), "{error}");
    }
    let long = custom(&"x".repeat(MAX_TEMPLATE_BYTES + 1), Some("text/plain")).unwrap_err();
    assert!(matches!(long, TemplateError::TooLong { .. }), "{long}");
}

#[test]
fn the_longest_chains_and_nested_values_do_not_end_the_program() {
    let chain = |head: &str, link: &str, tail: &str, length: usize| {
        format!("{head}{}{tail}", link.repeat((length - head.len() - tail.len()) / link.len()))
    };
    // On a thread with as little stack as a worker of the runtime has. Whether they are accepted does not matter.
    let compile = move || {
        for (head, link, tail) in [
            ("{{ 'a'", "|e", "}}"),
            ("{{ events", "[0]", "}}"),
            ("{{ events", ".b", "}}"),
            ("{{ events", "(1)", "}}"),
            ("{{ 1", "~1", "}}"),
            ("{{ 1", "**1", "}}"),
            ("{{ ", "-", "1 }}"),
            ("{{ ", "not ", "1 }}"),
            ("{{ 1", " is odd", "}}"),
            ("{{ 1", " if 1 else 1", "}}"),
            ("{{ ", "(", "}}"),
        ] {
            let _ = custom(&chain(head, link, tail, 8190), Some("text/plain"));
            let error = custom(&chain(head, link, tail, 9000), Some("text/plain")).unwrap_err().to_string();
            assert!(error.contains("line 1: a tag of"), "{error}");
        }
        let _ =
            custom(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(500)), Some("text/plain"));
        let many = format!("{{% if 0 %}}{}{{% endif %}}", "{%- elif 0 %}".repeat(501));
        assert!(custom(&many, Some("text/plain")).unwrap_err().to_string().contains("more than 500 elif"));
        for end in ["|string|length", "|tojson|length", " == ns.x", " is defined"] {
            let source = format!(
                "{{% set ns = namespace(x=[]) %}}{{% for a in range(9999) %}}{{% set ns.x = [ns.x] %}}{{% endfor %}}{{{{ ns.x{end} }}}}"
            );
            let _ = custom(&source, Some("text/plain"));
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(compile).unwrap().join().unwrap();
    // What is no tag is as long as the template may be, and an end within quotes is none.
    let text = format!("{{# {{{{ {} #}}{{{{ '}}}}' }}}}{}", "x".repeat(9000), "y".repeat(9000));
    custom(&text, Some("text/plain")).unwrap();
}

#[test]
fn filters_write_times_durations_and_parts_of_urls() {
    for (expression, expected) in [
        ("events[0].until|unix", "1777651200"),
        ("1777651200|rfc3339", "2026-05-01T16:00:00Z"),
        ("events[0].duration|seconds", "14400"),
        ("5400|duration", "1h30m0s"),
        ("options.index|percent", "a%20%22b%22"),
        ("'$[\"x\n'|routeros", r#""\24\5B\22x\0A""#),
        ("'abcdef'|limit(4)", "abc…"),
        ("'a\nb'|one_line", "a b"),
        ("'<!here> `@x'|slack(30)", "&lt;!here&gt; '@\u{200b}x"),
        ("events[0].cause is none", "True"),
    ] {
        let text = format!(
            "{{% if message.kind == 'decision.batch' and events|length == 1 and events[0].value == '192.0.2.7' %}}{{{{ {expression} }}}}{{% endif %}}"
        );
        let template = custom(&text, Some("text/plain; charset=utf-8")).unwrap();
        assert_eq!(one(&template), expected, "{expression}");
    }
}

#[test]
fn a_form_is_percent_encoded() {
    let text = "{% if events %}value={{ events[0].value }}&why={{ options.index }}{% endif %}";
    let template = custom(text, Some("application/x-www-form-urlencoded")).unwrap();
    assert_eq!(one(&template), "value=192.0.2.7&why=a%20%22b%22");
}

#[test]
fn a_body_of_blanks_is_nothing_to_send() {
    let template =
        custom("{% if message.kind != 'snapshot.started' %}x{% endif %}\n", Some("text/plain")).unwrap();
    let kind = MessageKind::SnapshotStarted { snapshot: 1 };
    assert_eq!(template.render_at(&sample::message(kind, Vec::new()), sample::NOW).unwrap(), None);
}

#[test]
fn options_are_checked() {
    for (template, options, part) in [
        ("json", vec![("batsh", "x")], "`batsh` is unknown; the template has batch"),
        ("json", vec![("batch", "never")], "auto or always"),
        ("ndjson", vec![("x", "y")], "has none"),
        ("cloudevents", vec![("source", "a b")], "URI reference"),
        ("elasticsearch", vec![("index", "Upper")], "no name of an index"),
        ("mikrotik", vec![("list", "")], "is empty"),
        ("slack", vec![("channel", "a\nb")], "control characters"),
    ] {
        let error = ready(template, &options).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = ready("elastic", &[]).unwrap_err().to_string();
    assert!(error.contains("did you mean elasticsearch?") && error.contains("json, ndjson"), "{error}");
}
