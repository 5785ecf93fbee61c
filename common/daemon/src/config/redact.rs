//! Makes a text of a configuration without its secrets: what `-T` prints ends up in tickets.

use std::collections::HashSet;

use super::{
    compose::compose,
    emit,
    problems::{endpoint_url, has_secrets, is_endpoint_url, is_secret, is_secret_block, name_of, names_file},
    tree::{Entry, Kind, Node, Scalar},
    unknown::{is_known, unknown_keys},
};

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "<hidden>";

/// The first line of a text that had to be written anew.
const REWRITTEN: &str = "# Written anew to hide its secrets, without comments: a secret is written over several lines, with escapes, \
     or more than once.\n";

/// A secret of this many bytes is hidden wherever it occurs: no other value contains it by chance.
const UNMISTAKABLE: usize = 12;

/// The same in a text that is written anew.
const UNLIKELY: usize = 8;

/// Words of which a misspelt key may be a misspelling.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "secrets",
    "token",
    "bearer",
    "credential",
    "credentials",
    "headers",
    "basic",
    "hmac",
];

/// `text`, which holds a document, with its secrets hidden. `known` is that of
/// [`Document::unknown_keys`](super::Document::unknown_keys).
pub(super) fn without_secrets(text: &str, known: &[&str]) -> String {
    let Ok(root) = compose(text, 0) else {
        return "# Not shown: its secrets cannot be told from the rest.\n".to_owned();
    };
    let mut hider = Hider {
        known,
        suspects: unknown_keys(&root, known)
            .into_iter()
            .filter(|(path, _, meant)| !names_file(path) && meant.as_deref().is_some_and(is_meant_secret))
            .map(|(path, ..)| path)
            .collect(),
        found: Vec::new(),
    };
    let hidden = hider.node(&root, "", "", false);
    let mut found = hider.found;
    // A secret may be the beginning of another.
    found.sort_by_key(|secret| std::cmp::Reverse(secret.value.len()));
    // In the text as it is, so that comments and layout stay and scripts find what they look for.
    let shown = found.iter().fold(text.to_owned(), |text, secret| secret.hide(text));
    if compose(&shown, 0).is_ok_and(|shown| is_hidden(&shown, &hidden, &found)) {
        return shown;
    }
    let mut hidden = hidden;
    for_each_text(&mut hidden, &mut |text| replace_all(text, &found, UNLIKELY));
    format!("{REWRITTEN}{}", emit::document(&hidden))
}

/// A value to be hidden, and what is shown instead.
struct Found {
    key: String,
    value: String,
    shown: String,
}

impl Found {
    fn hide(&self, text: String) -> String {
        if self.value.len() >= UNMISTAKABLE {
            return text.replace(&self.value, &self.shown);
        }
        // Only in lines that name the key: it may be a word that occurs elsewhere, and those lines must stay as they are.
        let hidden = |line: &str| match line.find(&self.key) {
            Some(at) => {
                let (head, tail) = line.split_at(at + self.key.len());
                format!("{head}{}", tail.replace(&self.value, &self.shown))
            }
            None => line.to_owned(),
        };
        let shown: String = text.split_inclusive('\n').map(hidden).collect();
        // In none of them (a block scalar, for example): then wherever it is.
        if shown == text { text.replace(&self.value, &self.shown) } else { shown }
    }
}

struct Hider<'k> {
    known: &'k [&'k str],
    /// Paths of unknown keys that resemble the key of a secret.
    suspects: HashSet<String>,
    found: Vec<Found>,
}

impl Hider<'_> {
    /// `node` with its secrets hidden. `path` is that of its key, without indices; `name` the key that lines are searched
    /// for; `all` whether everything in it is secret.
    fn node(&mut self, node: &Node, path: &str, name: &str, all: bool) -> Node {
        let kind = match &node.kind {
            Kind::Scalar(scalar) => {
                Kind::Scalar(self.scalar(scalar, name, all || is_secret_block(path), is_endpoint_url(path)))
            }
            Kind::Sequence(items) => {
                // `basic: [user, password]`: a list where a block belongs.
                let all = all || is_secret_block(path);
                Kind::Sequence(items.iter().map(|item| self.node(item, path, name, all)).collect())
            }
            Kind::Mapping(entries) => {
                Kind::Mapping(entries.iter().map(|entry| self.entry(entry, path, name, all)).collect())
            }
        };
        Node { position: node.position, kind }
    }

    fn entry(&mut self, entry: &Entry, path: &str, name: &str, all: bool) -> Entry {
        let key = &entry.key.text;
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let is_unknown = !is_known(&full, self.known);
        let in_headers = has_secrets(name_of(path));
        // What a block with a secret has besides its keys, and what is in a mapping where a URL belongs.
        let is_stray = (is_secret_block(path) && is_unknown) || is_endpoint_url(path);
        let secret = is_secret(key)
            || has_secrets(key)
            || in_headers
            || ((all || is_stray) && !names_file(key))
            || (is_unknown && (self.suspects.contains(&full) || is_misspelt_word(key)));
        // `{user:password}` without a space is a key without a value. Names of headers are shown.
        let is_key_secret =
            if in_headers { !is_header_name(key) } else { all || (is_stray && entry.value.is_null()) };
        let is_key_secret = is_key_secret || is_endpoint_url(path);
        let shown_key = self.scalar(&entry.key, name, is_key_secret, false);
        let value = self.node(&entry.value, &full, key, secret);
        Entry { key: shown_key, position: entry.position, value }
    }

    fn scalar(&mut self, scalar: &Scalar, name: &str, is_secret: bool, is_url: bool) -> Scalar {
        let text = &scalar.text;
        let shown = if is_reference(text) {
            None
        } else if is_secret {
            Some(HIDDEN.to_owned())
        } else if is_url {
            Some(endpoint_url(text, HIDDEN).unwrap_or_else(|| HIDDEN.to_owned()))
        } else {
            Some(without_passwords(text))
        };
        match shown {
            Some(shown) if shown != *text && !text.is_empty() => {
                self.found.push(Found { key: name.to_owned(), value: text.clone(), shown: shown.clone() });
                let plain = shown == HIDDEN;
                Scalar::new(shown, plain)
            }
            _ => scalar.clone(),
        }
    }
}

/// Whether the key that was probably meant is that of a secret.
fn is_meant_secret(meant: &str) -> bool {
    is_secret(meant) || has_secrets(name_of(meant)) || is_secret_block(meant) || is_endpoint_url(meant)
}

/// Whether a key is nearly one of the words for secrets.
fn is_misspelt_word(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    !names_file(&key) && WORDS.iter().any(|word| strsim::osa_distance(word, &key) <= word.len() / 4)
}

fn is_header_name(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether a value is a placeholder of a package or names an environment variable: no secret, and scripts look for it.
fn is_reference(text: &str) -> bool {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let placeholder = text.strip_prefix('<').is_some_and(|rest| rest.ends_with('>'));
    placeholder
        || text.strip_prefix('$').is_some_and(|rest| {
            is_name(rest)
                || rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(is_name)
        })
}

/// A text with the passwords in its URLs hidden.
fn without_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let word = &after[..after.find(char::is_whitespace).unwrap_or(after.len())];
        let mut end = word.find(['/', '?', '#']).unwrap_or(word.len());
        // A port that is no number is the beginning of a password with a `/` in it.
        if let Some((_, port)) = word[..end].split_once(':')
            && !word.starts_with('[')
            && !port.contains('@')
            && !port.bytes().all(|byte| byte.is_ascii_digit())
        {
            end = word.rfind('@').map_or(end, |at| at + 1);
        }
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?, host))) {
            Some(((user, password), host)) if !password.is_empty() && !is_reference(password) => {
                out.push_str(&format!("{user}:{HIDDEN}@{host}"));
            }
            _ => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Whether `shown` is `hidden`, except that more of it may be hidden.
fn is_hidden(shown: &Node, hidden: &Node, found: &[Found]) -> bool {
    let same = |shown: &Scalar, hidden: &Scalar| {
        shown.text == hidden.text || shown.text == replaced(&hidden.text, found, 1)
    };
    match (&shown.kind, &hidden.kind) {
        (Kind::Scalar(shown), Kind::Scalar(hidden)) => same(shown, hidden),
        (Kind::Sequence(shown), Kind::Sequence(hidden)) => {
            shown.len() == hidden.len()
                && shown.iter().zip(hidden).all(|(shown, hidden)| is_hidden(shown, hidden, found))
        }
        (Kind::Mapping(shown), Kind::Mapping(hidden)) => {
            shown.len() == hidden.len()
                && shown.iter().zip(hidden).all(|(shown, hidden)| {
                    same(&shown.key, &hidden.key) && is_hidden(&shown.value, &hidden.value, found)
                })
        }
        _ => false,
    }
}

fn replaced(text: &str, found: &[Found], least: usize) -> String {
    found
        .iter()
        .filter(|secret| secret.value.len() >= least)
        .fold(text.to_owned(), |text, secret| text.replace(&secret.value, &secret.shown))
}

fn replace_all(scalar: &mut Scalar, found: &[Found], least: usize) {
    let text = replaced(&scalar.text, found, least);
    if text != scalar.text {
        let plain = text == HIDDEN;
        *scalar = Scalar::new(text, plain);
    }
}

fn for_each_text(node: &mut Node, change: &mut dyn FnMut(&mut Scalar)) {
    match &mut node.kind {
        Kind::Scalar(scalar) => change(scalar),
        Kind::Sequence(items) => items.iter_mut().for_each(|item| for_each_text(item, change)),
        Kind::Mapping(entries) => {
            for entry in entries {
                change(&mut entry.key);
                for_each_text(&mut entry.value, change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &[
        "mode",
        "log_dir",
        "api_key",
        "api_url",
        "api_urls",
        "crowdsec_config.lapi_key",
        "crowdsec_config.lapi_url",
        "endpoints.url",
        "endpoints.headers.*",
        "endpoints.bearer",
        "endpoints.bearer_file",
        "endpoints.basic.user",
        "endpoints.basic.password",
        "endpoints.hmac.header",
        "endpoints.hmac.algorithm",
        "endpoints.hmac.secret",
        "endpoints.session_token",
        "endpoints.signing_secrets",
        "endpoints.signing_secret_files",
        "lists.user",
        "lists.password",
        "lists.token",
    ];

    #[test]
    fn what_can_be_hidden_in_place_leaves_the_rest_of_the_text_as_it_is() {
        for (text, shown) in [
            ("mode: nftables\napi_key: mode\n", "mode: nftables\napi_key: <hidden>\n"),
            ("{\"api_key\": \"moda\", \"x\": 1}", "{\"api_key\": \"<hidden>\", \"x\": 1}"),
            ("api_key: >-\n  mode # no comment\n", "api_key: >-\n  <hidden>\n"),
            ("# c\nmode:  x # ${KEY}\napi_key: ${KEY}\n", "# c\nmode:  x # ${KEY}\napi_key: ${KEY}\n"),
            ("api_key: <API_KEY>\nlog_dir: /a\n", "api_key: <API_KEY>\nlog_dir: /a\n"),
            ("api_key: ''\n", "api_key: ''\n"),
            (
                "lists:\n  - user: a\n    password: b7\n    token: ''\ncrowdsec_config:\n  lapi_key: k3\n  key_path: /k3\n",
                "lists:\n  - user: a\n    password: <hidden>\n    token: ''\ncrowdsec_config:\n  lapi_key: <hidden>\n  key_path: /k3\n",
            ),
            (
                "endpoints:\n  - bearer: b1\n    signing_secrets: [s1, '${S}']\n    headers: {X-A: h1}\n  - headers:\n      X-B: h2\n    signing_secrets:\n      - s2\n    signing_secret_files: [f1]\n",
                "endpoints:\n  - bearer: <hidden>\n    signing_secrets: [<hidden>, '${S}']\n    headers: {X-A: <hidden>}\n  - headers:\n      X-B: <hidden>\n    signing_secrets:\n      - <hidden>\n    signing_secret_files: [f1]\n",
            ),
            (
                "# was 0123456789abcdef\napi_key: 0123456789abcdef # new\n",
                "# was <hidden>\napi_key: <hidden> # new\n",
            ),
            // URLs.
            ("api_url: http://h:8080/p?q # c\n", "api_url: http://h:8080/p?q # c\n"),
            ("api_url: http://u:${PASS}@h/\n", "api_url: http://u:${PASS}@h/\n"),
            ("api_url: http://u@h/a:b@c\n", "api_url: http://u@h/a:b@c\n"),
            ("api_url: http://u:pw@h/ # c\n", "api_url: http://u:<hidden>@h/ # c\n"),
            ("api_url: http://u:p/w@h/\n", "api_url: http://u:<hidden>@h/\n"),
            (
                "api_urls: ['http://[::1]:80/', http://u:pw@h/]\n",
                "api_urls: ['http://[::1]:80/', http://u:<hidden>@h/]\n",
            ),
            (
                "endpoints: # c\n  - url: https://h/a\n  - url: https://h/ab?c\n  - url: https://h:1/\n  - url: $URL\n",
                "endpoints: # c\n  - url: https://h/<hidden>\n  - url: https://h/<hidden>\n  - url: https://h:1/\n  - url: $URL\n",
            ),
            (
                "endpoints: [{url: 'https://u:pw@h/a'}]\n",
                "endpoints: [{url: 'https://<hidden>@h/<hidden>'}]\n",
            ),
            ("endpoints: [{url: h.example/a}]\n", "endpoints: [{url: <hidden>}]\n"),
            // Keys beside a secret.
            (
                "endpoints: [{hmac: {header: X, algorithm: sha1, secret: s}}]\n",
                "endpoints: [{hmac: {header: X, algorithm: sha1, secret: <hidden>}}]\n",
            ),
        ] {
            assert_eq!(without_secrets(text, KNOWN), shown);
        }
    }

    #[test]
    fn no_shape_of_a_secret_is_shown() {
        for (keys, shown) in [
            // The text is not the value.
            ("bearer: \"SEC\\nx\"", "bearer: <hidden>\n"),
            ("basic: {user: u, password: \"SEC\\\"x\"}", "user: u\n"),
            ("basic: {user: u, password: 'SEC''x'}", "password: <hidden>\n"),
            ("bearer: |\n      SEC1\n      SEC2", "bearer: <hidden>\n"),
            ("bearer: SEC1\n      SEC2", "bearer: <hidden>\n"),
            ("bearer: \"SEC1\n      SEC2\"", "bearer: <hidden>\n"),
            ("bearer: \"SEC\\x41\"", "bearer: <hidden>\n"),
            ("bearer: !!str SECx", "bearer: "),
            ("? bearer\n    : SEC1", "<hidden>\n"),
            ("body: &a SEC123456789\n    bearer: *a", "<hidden>\n"),
            ("bearer: SEC1\n    session_token: SEC12", "<hidden>\n"),
            // The shape is wrong.
            ("basic: [u, SEC]", "<hidden>"),
            ("basic: \"u:SEC\"", "<hidden>"),
            ("basic: {u:SEC}", "<hidden>"),
            ("hmac: SEC", "<hidden>"),
            ("hmac: {key: {a: SEC}}", "<hidden>"),
            ("bearer: {token: SEC}", "<hidden>"),
            ("bearer: {SEC}", "<hidden>"),
            ("session_token: {a: [{b: SEC}]}", "<hidden>"),
            ("headers: [\"Authorization: SEC\"]", "<hidden>"),
            ("headers: \"Authorization: SEC\"", "<hidden>"),
            ("headers: {\"Authorization: SEC\"}", "<hidden>"),
            ("headers: {Authorization: [SEC], X-File_path: SEC, key: SEC}", "Authorization: [<hidden>]"),
            ("url: [http://h/SEC]", "http://h/<hidden>"),
            ("url: {http://h/SEC: 1}", "<hidden>"),
            ("url: {path: SEC}", "<hidden>"),
            ("url: \"http:// bad host/SEC\"", "<hidden>"),
            // The key is misspelt.
            ("bearrer: SEC", "bearrer: <hidden>"),
            ("Bearer: SEC", "Bearer: <hidden>"),
            ("basic: {user: u, pasword: SEC}", "{user: u, pasword: <hidden>}"),
            ("basci: {user: SEC, password: SEC}", "<hidden>"),
            ("hamc: SEC", "hamc: <hidden>"),
            ("header: {Authorization: SEC}", "<hidden>"),
            ("unknown: {pasword: [SEC]}", "<hidden>"),
            ("signing_secret: [SEC]", "<hidden>"),
            ("ulr: http://h/SEC", "<hidden>"),
            ("URL: http://h/SEC", "URL: <hidden>"),
        ] {
            let text = format!("# first\nmode: SE\nendpoints:\n  - name: a\n    {keys}\n");
            let seen = without_secrets(&text, KNOWN);
            assert!(!seen.contains("SEC") && seen.contains(shown), "{keys}\n{seen}");
            assert!(seen.starts_with("# first\n") || seen.starts_with(REWRITTEN), "{keys}\n{seen}");
            assert!(seen.contains("mode: SE\n") && seen.contains("name: a\n"), "{keys}\n{seen}");
        }
    }

    #[test]
    fn a_text_written_anew_says_so() {
        assert_eq!(
            without_secrets("# c\nmode: x\napi_key: |\n  a\n  b\n", KNOWN),
            format!("{REWRITTEN}mode: x\napi_key: <hidden>\n")
        );
    }
}
