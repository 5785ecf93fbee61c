//! A chapter: requests in order, and what is answered to each. One member to a line, so that a change shows in review.

use std::fmt::Write as _;
use std::path::Path;

use palisade_e2e::{Doing as _, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One file of `tests/golden`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chapter {
    #[serde(skip)]
    pub(crate) name: String,
    /// What it is about.
    about: String,
    /// Laid over the configuration of the LAPI.
    #[serde(default)]
    pub(crate) config: Option<Value>,
    /// The text of `profiles.yaml`, when not the shipped one.
    #[serde(default)]
    pub(crate) profiles: Option<String>,
    /// Administration commands before the first step.
    #[serde(default)]
    pub(crate) admin: Option<Vec<Vec<String>>>,
    pub(crate) steps: Vec<Step>,
}

/// A request and its answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) name: String,
    /// `machine`, `bouncer`, `other` (bouncer), `unknown` (key), `garbage` (token); nobody when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) r#as: Option<String>,
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) headers: Option<serde_json::Map<String, Value>>,
    /// Whether the body goes compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gzip: Option<bool>,
    /// A body that is JSON; `{now}` stands for the time of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Value>,
    /// A body to the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Where the answer is from, when it was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
    /// Where ours answers otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) differs: Option<Vec<Difference>>,
}

/// An answer without what differs from run to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) r#type: Option<String>,
    /// `Location`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
    /// `WWW-Authenticate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authenticate: Option<String>,
    /// The body, when it is JSON (also `null`).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(crate) json: Option<Value>,
    /// The body, when it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

/// `null` is a body, and not the lack of one.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// One place of an answer at which ours differs, by a JSON pointer into the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Difference {
    pub(crate) at: String,
    /// What ours has there; nothing when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(crate) ours: Option<Value>,
    pub(crate) why: String,
}

impl Chapter {
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path)?;
        let mut chapter: Self =
            serde_json::from_str(&text).doing(format_args!("reading {}", path.display()))?;
        chapter.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(chapter)
    }

    pub(crate) fn write(&self, path: &Path) -> Outcome {
        let mut text = format!("{{\n  \"about\": {},\n", serde_json::to_string(&self.about)?);
        let members = [
            ("config", self.config.as_ref().map(serde_json::to_string)),
            ("profiles", self.profiles.as_ref().map(serde_json::to_string)),
            ("admin", self.admin.as_ref().map(serde_json::to_string)),
        ];
        for (name, value) in members {
            if let Some(value) = value {
                let _ = writeln!(text, "  \"{name}\": {},", value?);
            }
        }
        text.push_str("  \"steps\": [\n");
        let steps: Vec<String> = self.steps.iter().map(Step::lines).collect::<Outcome<_>>()?;
        text.push_str(&steps.join(",\n"));
        text.push_str("\n  ]\n}\n");
        Ok(std::fs::write(path, text)?)
    }
}

impl Step {
    /// The step as text, its members in the order of the struct.
    fn lines(&self) -> Outcome<String> {
        let whole = serde_json::to_value(self)?;
        let order = [
            "name", "as", "method", "path", "headers", "gzip", "body", "text", "source", "answer", "differs",
        ];
        let mut lines = Vec::new();
        for name in order {
            match whole.get(name) {
                Some(Value::Array(entries)) if name == "differs" => {
                    let entries: Vec<String> =
                        entries.iter().map(|entry| format!("        {entry}")).collect();
                    lines.push(format!("      \"differs\": [\n{}\n      ]", entries.join(",\n")));
                }
                Some(value) => lines.push(format!("      \"{name}\": {value}")),
                None => {}
            }
        }
        Ok(format!("    {{\n{}\n    }}", lines.join(",\n")))
    }
}
