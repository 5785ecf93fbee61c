//! Slack, Discord and Microsoft Teams.

use palisade_e2e::{ServiceRequest, ServiceResponse};
use serde_json::{Map, Value, json};

use super::{Checked, ReportedEntry, bounded, fields, list, parse, posted, text, time};

/// What is shown as another kind of text than it is: line ends, controls and direction marks.
fn is_invisible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{feff}')
}

/// One line in which nothing of a decision is read as markup or as a mention: all of it is in code spans, after which
/// only words of the template remain. Returns the code spans.
fn spans(line: &str) -> Result<Vec<&str>, String> {
    if line.contains(is_invisible)
        || ["@everyone", "@here", "@channel"].iter().any(|word| line.contains(word))
    {
        return Err(format!("a line with a control or a mention: {line:?}"));
    }
    let parts: Vec<&str> = line.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return Err(format!("an open code span: {line:?}"));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " :*_()-,….".contains(c);
    match parts.iter().step_by(2).find(|part| !part.chars().all(is_plain)) {
        Some(part) => Err(format!("outside of code: {part:?}")),
        None => Ok(parts.into_iter().skip(1).step_by(2).collect()),
    }
}

fn shown_verb(words: &str) -> Result<String, String> {
    match words {
        "in force" => Ok("present".to_owned()),
        "added" | "changed" | "lifted" => Ok(words.to_owned()),
        _ => Err(format!("an unknown verb {words:?}")),
    }
}

/// <https://docs.slack.dev/reference/block-kit/blocks>
fn slack(request: &ServiceRequest, known: &[&str]) -> Result<Vec<ReportedEntry>, String> {
    posted(request, &["application/json"])?;
    let body = parse(&request.body)?;
    let message = fields(&body, known)?;
    escaped(bounded(message, "text", 4000)?)?;
    let mut reported = Vec::new();
    for (index, block) in list(message, "blocks", 50)?.iter().enumerate() {
        let block = fields(block, &["type", "text"])?;
        match text(block, "type")? {
            "header" if index == 0 => {
                let title = fields(&block["text"], &["type", "text"])?;
                if text(title, "type")? != "plain_text" || bounded(title, "text", 150)?.contains('\n') {
                    return Err("a header is one line of plain_text".to_owned());
                }
            }
            "section" => {
                let section = fields(&block["text"], &["type", "text", "verbatim"])?;
                if text(section, "type")? != "mrkdwn" || section["verbatim"] != true {
                    return Err("names and links would be recognised".to_owned());
                }
                for line in bounded(section, "text", 3000)?.split('\n') {
                    let spans = escaped(line)?;
                    let words = line.split('*').nth(1).unwrap_or_default();
                    let value = (*spans.get(1).ok_or("no value")?).to_owned();
                    reported.push(ReportedEntry { verb: shown_verb(words)?, value });
                }
            }
            other => return Err(format!("a block {other}")),
        }
    }
    Ok(reported)
}

/// `&`, `<` and `>` are escaped: no mention, no link.
fn escaped(line: &str) -> Result<Vec<&str>, String> {
    let known = ["amp;", "lt;", "gt;"];
    let mut entities = line.split('&').skip(1);
    if line.contains(['<', '>']) || !entities.all(|rest| known.iter().any(|name| rest.starts_with(name))) {
        return Err(format!("unescaped: {line:?}"));
    }
    spans(line)
}

pub(super) fn slack_webhook(request: &ServiceRequest) -> Checked {
    let reported = slack(request, &["text", "blocks", "unfurl_links", "unfurl_media"])?;
    Ok((reported, ServiceResponse::text(200, "ok").with("Content-Type", "text/html")))
}

/// <https://docs.slack.dev/reference/methods/chat.postMessage>
pub(super) fn slack_api(request: &ServiceRequest) -> Checked {
    let known = ["channel", "parse", "link_names", "text", "blocks", "unfurl_links", "unfurl_media"];
    let reported = slack(request, &known)?;
    let body = parse(&request.body)?;
    if body["channel"] != "C024BE91L" || body["parse"] != "none" || body["link_names"] != false {
        return Err("another channel, or names that are looked for".to_owned());
    }
    Ok((reported, ServiceResponse::json(200, &json!({ "ok": true, "channel": "C024BE91L", "ts": "1.2" }))))
}

/// <https://discord.com/developers/docs/resources/webhook#execute-webhook> and the limits of embeds there.
pub(super) fn discord(request: &ServiceRequest) -> Checked {
    posted(request, &["application/json"])?;
    let body = parse(&request.body)?;
    let message = fields(&body, &["content", "embeds", "allowed_mentions", "username"])?;
    if message.contains_key("username") {
        bounded(message, "username", 80)?;
    }
    spans(bounded(message, "content", 2000)?)?;
    if body["allowed_mentions"] != json!({ "parse": [] }) {
        return Err("mentions are allowed".to_owned());
    }
    let (mut reported, mut total) = (Vec::new(), 0);
    for embed in list(message, "embeds", 10)? {
        let embed = fields(embed, &["title", "description", "color", "timestamp", "fields"])?;
        time(embed, "timestamp")?;
        if embed["color"].as_u64().is_none_or(|color| color > 0xff_ffff) {
            return Err("no color".to_owned());
        }
        let title = bounded(embed, "title", 256)?;
        total += title.encode_utf16().count();
        for field in list(embed, "fields", 25)? {
            total += discord_field(fields(field, &["name", "value", "inline"])?)?;
        }
        let words = title.rsplit('`').next().unwrap_or_default().trim();
        let value = (*spans(title)?.first().ok_or("no value")?).to_owned();
        reported.push(ReportedEntry { verb: shown_verb(words)?, value });
    }
    if total > 6000 {
        return Err(format!("the embeds have {total} characters"));
    }
    Ok((reported, ServiceResponse::text(204, "")))
}

/// Its length.
fn discord_field(field: &Map<String, Value>) -> Result<usize, String> {
    let (name, value) = (bounded(field, "name", 256)?, bounded(field, "value", 1024)?);
    spans(value)?;
    // Two backticks alone are no code span, but shown as they are.
    if value == "``" || field.get("inline").is_some_and(|inline| !inline.is_boolean()) {
        return Err(format!("the field {name} is {value:?}"));
    }
    Ok(name.encode_utf16().count() + value.encode_utf16().count())
}

/// The longest message of a webhook, in bytes:
/// <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook>
const MAX_TEAMS_BYTES: usize = 28 * 1024;

/// A message of Workflows with a card: <https://adaptivecards.io/explorer/AdaptiveCard.html>
pub(super) fn teams(request: &ServiceRequest) -> Checked {
    posted(request, &["application/json"])?;
    if request.body.len() > MAX_TEAMS_BYTES {
        return Err(format!("{} bytes", request.body.len()));
    }
    let body = parse(&request.body)?;
    let message = fields(&body, &["type", "attachments"])?;
    if text(message, "type")? != "message" {
        return Err("no message".to_owned());
    }
    let mut reported = Vec::new();
    for attachment in list(message, "attachments", 1)? {
        let attachment = fields(attachment, &["contentType", "contentUrl", "content"])?;
        if text(attachment, "contentType")? != "application/vnd.microsoft.card.adaptive"
            || !attachment["contentUrl"].is_null()
        {
            return Err("no card".to_owned());
        }
        let card = fields(&attachment["content"], &["$schema", "type", "version", "body", "msteams"])?;
        // Teams shows cards up to version 1.5.
        let is_known = ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"].contains(&text(card, "version")?);
        if text(card, "type")? != "AdaptiveCard" || !is_known {
            return Err("no card that Teams shows".to_owned());
        }
        for (index, element) in list(card, "body", 100)?.iter().enumerate() {
            if index == 0 {
                let title = fields(element, &["type", "size", "weight", "wrap", "text"])?;
                bounded(title, "text", 200)?;
                one_of(title, "type", &["TextBlock"])?;
                one_of(title, "size", &["default", "small", "medium", "large", "extraLarge"])?;
                one_of(title, "weight", &["default", "lighter", "bolder"])?;
            } else {
                reported.push(runs(fields(element, &["type", "inlines"])?)?);
            }
        }
    }
    Ok((reported, ServiceResponse::text(202, "")))
}

fn one_of(object: &Map<String, Value>, key: &str, allowed: &[&str]) -> Result<(), String> {
    match object.get(key).and_then(Value::as_str) {
        Some(value) if !allowed.contains(&value) => Err(format!("{key} is {value}")),
        _ => Ok(()),
    }
}

/// A RichTextBlock, whose runs are not read as Markdown.
fn runs(block: &Map<String, Value>) -> Result<ReportedEntry, String> {
    one_of(block, "type", &["RichTextBlock"])?;
    let mut texts = Vec::new();
    for run in list(block, "inlines", 10)? {
        let run = fields(run, &["type", "text", "weight", "color", "fontType", "isSubtle"])?;
        if text(run, "type")? != "TextRun" {
            return Err("a run that is none".to_owned());
        }
        one_of(run, "color", &["default", "dark", "light", "accent", "good", "warning", "attention"])?;
        one_of(run, "fontType", &["default", "monospace"])?;
        one_of(run, "weight", &["default", "lighter", "bolder"])?;
        let text = bounded(run, "text", 1000)?;
        if text.contains(is_invisible) {
            return Err(format!("a run with a control: {text:?}"));
        }
        texts.push(text.trim().to_owned());
    }
    match texts.as_slice() {
        [verb, value, ..] => Ok(ReportedEntry { verb: shown_verb(verb)?, value: value.clone() }),
        _ => Err("too few runs".to_owned()),
    }
}
