//! Parameters of the decision stream.

/// The parameters of `GET /v1/decisions/stream`. A stock LAPI keeps one position per key and address whatever the
/// parameters are: always use the same ones with one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamQuery {
    /// All decisions, instead of the changes since the last response.
    pub startup: bool,
    /// Only these scopes; empty leaves LAPI's default, `ip,range`.
    pub scopes: Vec<String>,
    /// Only decisions of exactly these origins; empty means all. All lists have the origin `lists`.
    pub origins: Vec<String>,
    /// Only decisions whose scenario contains one of these words, in any letter case.
    pub scenarios_containing: Vec<String>,
    /// No decision whose scenario contains one of these words.
    pub scenarios_not_containing: Vec<String>,
    /// The cursor of the last response; empty for a client that has none yet, `None` for a client that does not use
    /// cursors. See [`follow`](crate::follow).
    pub cursor: Option<String>,
    /// How many seconds the LAPI may park the request until there are changes; 0 for not at all.
    pub wait: u32,
}

impl StreamQuery {
    /// The query text after the `?`, parameters in alphabetical order as stock bouncers send them; empty when
    /// there is none.
    pub fn to_query_string(&self) -> String {
        let mut query = String::new();
        if let Some(cursor) = &self.cursor {
            append(&mut query, "cursor", cursor);
        }
        for (name, list) in [
            ("origins", &self.origins),
            ("scenarios_containing", &self.scenarios_containing),
            ("scenarios_not_containing", &self.scenarios_not_containing),
            ("scopes", &self.scopes),
        ] {
            if !list.is_empty() {
                append(&mut query, name, &list.join(","));
            }
        }
        if self.startup {
            append(&mut query, "startup", "true");
        }
        if self.wait > 0 {
            append(&mut query, "wait", &self.wait.to_string());
        }
        query
    }
}

fn append(query: &mut String, name: &str, value: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(name);
    query.push('=');
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                query.push(char::from(byte))
            }
            b' ' => query.push('+'),
            _ => query.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_alphabetical_and_escaped() {
        assert_eq!(StreamQuery::default().to_query_string(), "");
        assert_eq!(StreamQuery { startup: true, ..StreamQuery::default() }.to_query_string(), "startup=true");
        let list = |text: &str| text.split(';').map(str::to_owned).collect();
        let query = StreamQuery {
            startup: true,
            scopes: list("Ip;Range"),
            origins: list("cscli;my origin"),
            scenarios_containing: list("ssh&é"),
            scenarios_not_containing: list("probing"),
            ..StreamQuery::default()
        };
        assert_eq!(
            query.to_query_string(),
            "origins=cscli%2Cmy+origin&scenarios_containing=ssh%26%C3%A9&scenarios_not_containing=probing\
             &scopes=Ip%2CRange&startup=true"
        );
        let first = StreamQuery { startup: true, cursor: Some(String::new()), ..StreamQuery::default() };
        assert_eq!(first.to_query_string(), "cursor=&startup=true");
        let next = StreamQuery { cursor: Some("AbC-_1".to_owned()), wait: 25, ..StreamQuery::default() };
        assert_eq!(next.to_query_string(), "cursor=AbC-_1&wait=25");
    }
}
