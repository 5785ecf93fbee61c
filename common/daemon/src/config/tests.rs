use serde::Deserialize;

use super::*;

fn env(name: &str) -> Option<String> {
    match name {
        "BOUNCER_MODE" => Some("dry-run".into()),
        "KEY" => Some("s3cret".into()),
        "BREAK" => Some("a: [".into()),
        "LOOP" => Some("x$LOOP".into()),
        "NUMBERS" => Some("[1, 2]".into()),
        "YES" => Some("yes".into()),
        _ => None,
    }
}

fn document(base: &str, local: Option<&str>) -> Result<Document, ConfigError> {
    Document::from_text(Path::new("/etc/b.yaml"), base, local, &env)
}

fn refusal(base: &str, local: Option<&str>) -> String {
    document(base, local).unwrap_err().to_string()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Keys {
    mode: Option<String>,
    api_key: Option<String>,
    flag: Option<bool>,
    list: Option<Vec<u8>>,
}

#[test]
fn a_local_file_supplies_and_expands() {
    let doc = document("# base\nflag: off\napi_key: foo$bar\n", Some("mode: $BOUNCER_MODE\n")).unwrap();
    let keys: Keys = doc.parse().unwrap();
    assert_eq!(
        (keys.mode.as_deref(), keys.api_key.as_deref(), keys.flag),
        (Some("dry-run"), Some("foo$bar"), Some(false))
    );
    assert_eq!(doc.merged_text(), "flag: off\napi_key: foo$bar\nmode: $BOUNCER_MODE\n");
    let place = |key| doc.place_of(key).unwrap().to_string();
    assert_eq!((place("api_key").as_str(), place("mode").as_str()), ("/etc/b.yaml:3", "/etc/b.yaml.local:1"));
}

#[test]
fn without_a_local_file_the_text_is_unchanged() {
    let text = "# ${KEY}\nmode:   '$BOUNCER_MODE'   # spaced\n\napi_key: ${KEY}\n";
    let doc = document(text, None).unwrap();
    assert_eq!(doc.merged_text(), text);
    assert_eq!(doc.parse::<Keys>().unwrap().mode.as_deref(), Some("dry-run"));
    assert_eq!(doc.place_of("api_key").unwrap().line, 4);
    assert!(!format!("{doc:?}").contains("KEY"));
}

#[test]
fn variables_are_expanded_in_values_and_nowhere_else() {
    let doc =
        document("flag: $YES # $BREAK $LOOP\nlist: $NUMBERS\n", Some("# $LOOP\nmode: '$NUMBERS'\n")).unwrap();
    let keys: Keys = doc.parse().unwrap();
    assert_eq!((keys.flag, keys.list, keys.mode.as_deref()), (Some(true), Some(vec![1, 2]), Some("[1, 2]")));
    let wrong =
        document("a: 1\nflag: $NUMBERS\nlist: [3, $KEY]\n", None).unwrap().parse::<Keys>().unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "unable to load configuration: expected true or false, not a list (flag at /etc/b.yaml:2); \
         expected a whole number from 0 to 255 (list[1] at /etc/b.yaml:3, now \"s3cret\")"
    );
}

#[test]
fn a_file_without_end_is_read_to_a_limit() {
    let refused = Document::load(std::path::Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(refused.contains("larger than 16777216 bytes"), "{refused}");
}

#[test]
fn refusals_name_file_and_position() {
    assert_eq!(
        refusal("x: 1\nx: 2\n", None),
        "unable to read config file: /etc/b.yaml: [2:1] mapping key \"x\" already defined at [1:1]"
    );
    assert_eq!(
        refusal("x: 1\n", Some("y: 1\ny: 2\n")),
        "unable to read config file: /etc/b.yaml.local: [2:1] mapping key \"y\" already defined at [1:1]"
    );
    assert!(refusal("a: 1\n", Some("\na: [1]\n")).starts_with(
        "unable to read config file: can't merge a sequence into a scalar (a at /etc/b.yaml.local:2)"
    ));
    assert!(
        refusal("- a\n", None)
            .starts_with("unable to read config file: /etc/b.yaml: [1:1] the document is a sequence")
    );
    let broken = refusal("ok: 1\nx: $BREAK\n", None);
    assert!(broken.starts_with("unable to load configuration: failed to unmarshal: "), "{broken}");
    assert!(broken.contains("(x at /etc/b.yaml:2, after environment expansion)"), "{broken}");
    assert!(refusal("ok: 1\nx: $LOOP\n", None).contains("LOOP refers to itself"));
}

#[test]
fn every_wrong_value_is_named_with_its_line() {
    let doc =
        document("flag: maybe\nlist: [1, 2, 300]\n", Some("mode: [a]\napi_key: {k: s3cret}\n")).unwrap();
    let error = doc.parse::<Keys>().unwrap_err().to_string();
    assert_eq!(
        error,
        "unable to load configuration: \
         expected true or false (flag at /etc/b.yaml:1, now \"maybe\"); \
         expected a whole number from 0 to 255 (list[2] at /etc/b.yaml:2, now \"300\"); \
         expected text, not a list (mode at /etc/b.yaml.local:1); \
         this is not text; put the value in quotes (api_key at /etc/b.yaml.local:2)"
    );
}

#[test]
fn problems_found_later_get_their_line_too() {
    let doc = document("mode: x\napi_key: ${KEY}\n", None).unwrap();
    let mut problems = Problems::new();
    problems.add("mode", "firewall 'x' is not supported");
    problems.add("api_key", "too short");
    problems.add("api_url", "missing");
    assert_eq!(
        doc.locate(problems).to_string(),
        "firewall 'x' is not supported (mode at /etc/b.yaml:1, now \"x\"); \
         too short (api_key at /etc/b.yaml:2, now [redacted]); missing (api_url)"
    );
}

#[test]
fn unknown_keys_carry_place_and_suggestion() {
    let doc = document("mode: x\n", Some("flags: yes\n")).unwrap();
    let unknown = doc.unknown_keys(&["mode", "flag"]);
    assert_eq!(
        unknown[0].to_string(),
        "unknown key `flags` at /etc/b.yaml.local:1 has no effect; did you mean `flag`?"
    );
    assert_eq!(unknown.len(), 1);
}

#[test]
fn files_are_read_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.yaml");
    let missing = Document::load(&path).unwrap_err().to_string();
    assert_eq!(
        missing,
        format!(
            "unable to read config file: while reading yaml file: open {}: no such file or directory",
            path.display()
        )
    );
    std::fs::write(&path, "mode: a\n").unwrap();
    assert!(Document::load(&path).unwrap().local_path().is_none());
    std::fs::write(dir.path().join("b.yaml.local"), "mode: b\n").unwrap();
    let doc = Document::load(&path).unwrap();
    assert_eq!(doc.parse::<Keys>().unwrap().mode.as_deref(), Some("b"));
    assert!(doc.local_path().is_some());
}

mod properties {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Texts that are nearly YAML.
    fn scraps() -> impl Strategy<Value = String> {
        let scrap = prop_oneof![
            Just("a: ".to_owned()),
            Just("b:\n".to_owned()),
            Just("  - ".to_owned()),
            Just("\n".to_owned()),
            Just("  ".to_owned()),
            Just("$A".to_owned()),
            Just("${KEY}".to_owned()),
            Just("${".to_owned()),
            Just("$".to_owned()),
            Just("&x ".to_owned()),
            Just("*x".to_owned()),
            Just("<<: ".to_owned()),
            Just("\"".to_owned()),
            Just("'".to_owned()),
            Just("|\n".to_owned()),
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just("[".to_owned()),
            Just("]".to_owned()),
            Just(", ".to_owned()),
            Just("---\n".to_owned()),
            Just("!!str ".to_owned()),
            Just("# c\n".to_owned()),
            "[ -~äß\u{85}\u{2028}]{0,6}",
        ];
        prop::collection::vec(scrap, 0..24).prop_map(|scraps| scraps.concat())
    }

    fn values() -> impl Strategy<Value = BTreeMap<String, Vec<String>>> {
        prop::collection::btree_map(
            "[a-z]{1,4}",
            prop::collection::vec("[ -~äß\n\t\u{7f}\u{85}\u{2028}\u{feff}]{0,12}", 0..4),
            0..6,
        )
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(base in scraps(), local in prop::option::of(scraps())) {
            if let Ok(doc) = document(&base, local.as_deref()) {
                let _ = doc.parse::<Keys>();
                let _ = doc.unknown_keys(&["a"]);
                let _ = doc.text_without_secrets(&["a"]);
            }
        }

        #[test]
        fn a_missing_key_stays_the_same_key_when_merged(local in prop_oneof![Just(""), Just("a: 1")]) {
            let base = "<<: # c\n  : ";
            let key = |local| {
                let document = Document::from_text(Path::new("x"), base, local, &|_| None).unwrap();
                document.parse::<BTreeMap<String, Option<serde_json::Value>>>().unwrap().contains_key("~")
            };
            prop_assert!(key(None) && key(Some(local)));
        }

        #[test]
        fn an_empty_local_file_changes_no_value(base in scraps()) {
            type Values = BTreeMap<String, Option<serde_json::Value>>;
            let env = |_: &str| None;
            let path = Path::new("x");
            let (Ok(plain), Ok(merged)) =
                (Document::from_text(path, &base, None, &env), Document::from_text(path, &base, Some(""), &env))
            else {
                return Ok(());
            };
            if let (Ok(plain), Ok(merged)) = (plain.parse::<Values>(), merged.parse::<Values>()) {
                prop_assert_eq!(plain, merged);
            }
        }

        #[test]
        fn a_merged_document_reads_back_the_same(values in values()) {
            let yaml: String = values
                .iter()
                .map(|(key, items)| format!("{key}: {}\n", serde_json::to_string(items).unwrap().replace('\u{7f}', "\\u007f").replace('\u{feff}', "\\ufeff").replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028")))
                .collect();
            let doc = Document::from_text(Path::new("x"), "", Some(&yaml), &|_| None).unwrap();
            prop_assert_eq!(doc.parse::<BTreeMap<String, Vec<String>>>().unwrap(), values);
        }
    }
}

#[test]
fn files_with_secrets_are_listed() {
    let files = |base: &str, local: Option<&str>| {
        let document =
            Document::from_text(Path::new("x.yaml"), base, local, &|_| Some("/from/env".to_owned()));
        let files = document.unwrap().secret_files();
        files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    for (base, local, listed) in [
        ("api_key: abc", None, &["x.yaml"][..]),
        ("api_key: ''", None, &[]),
        ("api_key: ${API_KEY}", None, &[]),
        ("api_key: <API_KEY>", None, &[]),
        ("mode: nftables", None, &[]),
        ("mode: nftables", Some("api_key: abc"), &["x.yaml.local"]),
        ("api_key: abc", Some("api_key: def"), &["x.yaml.local"]),
        ("a: {auto_registration: {token: abc}}", None, &["x.yaml"]),
        ("db_config: {password: abc}", None, &["x.yaml"]),
        ("endpoints: [{headers: {X-Any: abc}}]", None, &["x.yaml"]),
        ("endpoints: [{signing_secrets: [abc]}]", None, &["x.yaml"]),
        ("url: https://user:pass@host/", None, &["x.yaml"]),
        ("url: https://host/a@b", None, &[]),
        ("api_key_file: /etc/key", None, &["/etc/key"]),
        ("api_key_file: credential", None, &[]),
        ("key_path: $DIR", None, &["/from/env"]),
        ("tls: {cert_file: /c, key_file: /k, ca_cert_path: /ca}", None, &["/k"]),
        ("listen: [{tls: {certificates: [{certificate: /c, key: /k}]}}]", None, &["/k"]),
        ("db: {ssl_client_key: /k, ssl_client_cert: /c}", None, &["/k"]),
        ("api: {client: {credentials_path: /no/such/file}}", None, &[]),
        (
            "e: [{header_files: {X-Any: /h}, signing_secret_files: [/s, /t], url_file: /u}]",
            None,
            &["/h", "/s", "/t", "/u"],
        ),
    ] {
        assert_eq!(files(base, local), listed, "{base} {local:?}");
    }
}

#[test]
fn a_file_of_credentials_counts_if_a_secret_is_written_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials.yaml");
    let main = format!("api: {{client: {{credentials_path: {}}}}}", path.display());
    let document = Document::from_text(Path::new("x.yaml"), &main, None, &|_| None).unwrap();
    for (text, listed) in [
        ("url: http://x/\nlogin: a\npassword: b\n".to_owned(), vec![path.clone()]),
        ("url: http://x/\nlogin: a\npassword: ${PASSWORD}\n".to_owned(), vec![]),
        ("url: https://x/\ncert_path: /c\nkey_path: /k\n".to_owned(), vec![PathBuf::from("/k")]),
        (format!("credentials_path: {}\n", path.display()), vec![]),
        ("not: [yaml".to_owned(), vec![]),
    ] {
        std::fs::write(&path, &text).unwrap();
        assert_eq!(document.secret_files(), listed, "{text}");
    }
}
