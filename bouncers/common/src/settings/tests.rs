use std::io;
use std::path::Path;

use palisade_client::ProxyConfig;

use super::*;

fn settings_in(text: &str, credentials: Option<&str>) -> Result<LapiSettings, String> {
    let document =
        Document::from_text(Path::new("x.yaml"), text, None, &|_| None).map_err(|e| e.to_string())?;
    let env = ProcessEnv {
        credentials: credentials.map(PathBuf::from),
        state_dir: Some("/var/lib/palisade-test".into()),
        proxy: ProxyConfig::default(),
        read: &|path| match path.to_str() {
            Some("/run/creds/api_key") => Ok(b"from-credential\n".to_vec()),
            Some("/run/creds/other") => Ok(b"from-other".to_vec()),
            Some("/etc/key") => Ok(b"  from-file \n".to_vec()),
            Some("/etc/empty") => Ok(b"\n".to_vec()),
            Some("/etc/two-lines") => Ok(b"a\nb\n".to_vec()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        },
    };
    LapiSettings::of(&document, &env).map_err(|error| error.to_string())
}

fn settings(text: &str) -> Result<LapiSettings, String> {
    settings_in(text, None)
}

fn key_of(settings: &LapiSettings) -> &str {
    match &settings.client.auth {
        Auth::Key(key) => key.reveal(),
        Auth::Certificate { .. } => panic!("a certificate"),
    }
}

#[test]
fn a_stock_file_reads_as_it_always_did() {
    let read = settings(
        "mode: nftables\nupdate_frequency: 10s\napi_url: http://127.0.0.1:8080/\napi_key: foo$bar\n\
         insecure_skip_verify: off\nretry_initial_connect: true\nscopes: [Ip, Range]\norigins: [cscli]\n\
         scenarios_containing: [ssh]\nscenarios_not_containing: [probing]\n",
    )
    .unwrap();
    assert_eq!(read.client.url, "http://127.0.0.1:8080/");
    assert_eq!(key_of(&read), "foo$bar");
    assert!(!read.client.insecure_skip_verify);
    assert_eq!(read.cadence.interval, Duration::from_secs(10));
    assert_eq!((read.cadence.resync, read.cadence.resync_by_size), (Duration::from_secs(3600), true));
    assert_eq!(read.retry_initial_connect, Some(true));
    let query = "origins=cscli&scenarios_containing=ssh&scenarios_not_containing=probing&scopes=Ip%2CRange";
    assert_eq!(read.query.to_query_string(), query);
    assert_eq!(read.warnings, Vec::<String>::new());
    assert_eq!(read.control_socket().unwrap(), Path::new("/var/lib/palisade-test/control.sock"));
}

#[test]
fn the_errors_are_the_stock_ones() {
    for (text, error) in [
        ("api_key: k\nupdate_frequency: 1s", "config does not contain LAPI url"),
        ("api_url: ''\napi_key: k\nupdate_frequency: 1s", "config does not contain LAPI url"),
        ("api_url: http://x\nupdate_frequency: 1s", "config does not contain LAPI key or certificate"),
        (
            "api_url: http://x\napi_key:\nupdate_frequency: 1s",
            "config does not contain LAPI key or certificate",
        ),
        (
            "api_url: http://x\napi_key: k\ncert_path: c\nkey_path: p",
            "api client init: cannot use both API key and certificate auth",
        ),
        (
            "api_url: http://x\napi_key: k\nupdate_frequency: soon",
            "unable to parse lapi update interval 'soon': time: invalid duration \"soon\"",
        ),
        (
            "api_url: http://x\napi_key: k\nupdate_frequency: 10",
            "unable to parse lapi update interval '10': time: missing unit in duration \"10\"",
        ),
        ("api_url: http://x\napi_key: k\nupdate_frequency: 0s", "lapi update interval must be positive"),
        ("api_url: http://x\napi_key: k\nupdate_frequency: -1s", "lapi update interval must be positive"),
    ] {
        let found = settings(text).unwrap_err();
        assert!(found.starts_with(&format!("unable to configure bouncer: {error}")), "{text}: {found}");
    }
}

#[test]
fn everything_wrong_is_said_at_once_and_without_the_key() {
    let error =
        settings("api_key: hush\nkey_path: p\nupdate_frequency: 0s\nresync_interval: 1ms").unwrap_err();
    for part in ["LAPI url", "both API key", "must be positive (update_frequency at x.yaml:3", "at least 1s"]
    {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn defaults_are_said() {
    let read = settings("api_url: http://x\napi_key: <API_KEY>\nstate_dir: ''").unwrap();
    assert_eq!(read.warnings[0], "lapi update interval is not defined, using default value of 10s");
    assert!(read.warnings[1].contains("placeholder"));
    assert_eq!(read.cadence.interval, Duration::from_secs(10));
    assert!(read.state_dir.is_none() && read.state_file(None).is_none());
    assert_eq!(read.retry_initial_connect, None);
}

#[test]
fn short_intervals_are_legal() {
    let read =
        settings("api_url: http://x\napi_key: k\nupdate_frequency: 0.01s\nresync_interval: 30m").unwrap();
    assert_eq!(read.cadence.interval, Duration::from_millis(10));
    assert_eq!((read.cadence.resync, read.cadence.resync_by_size), (Duration::from_secs(1800), false));
}

#[test]
fn half_a_certificate_is_an_error() {
    for (text, missing) in [("cert_path: c", "key_path"), ("key_path: p", "cert_path")] {
        let error = settings(&format!("api_url: https://x\n{text}")).unwrap_err();
        assert!(error.contains("missing;") && error.contains(missing), "{error}");
    }
    let read = settings("api_url: https://x\ncert_path: c\nkey_path: p\nca_cert_path: ca").unwrap();
    assert_eq!(read.client.auth, Auth::Certificate { cert: "c".into(), key: "p".into() });
    assert_eq!(read.client.ca.as_deref(), Some(Path::new("ca")));
}

#[test]
fn the_key_may_live_elsewhere() {
    let creds = Some("/run/creds");
    for (line, credentials, key) in [
        ("api_key_file: /etc/key", None, "from-file"),
        ("api_key_file: /etc/key", creds, "from-file"),
        ("api_key_file: other", creds, "from-other"),
        ("", creds, "from-credential"),
        ("api_key: written", creds, "written"),
    ] {
        let read = settings_in(&format!("api_url: http://x\n{line}"), credentials).unwrap();
        assert_eq!(key_of(&read), key, "{line}");
    }
    for (line, credentials, error) in [
        ("api_key_file: other", None, "LoadCredential="),
        ("api_key_file: missing", creds, "cannot read /run/creds/missing"),
        ("api_key_file: /etc/empty", None, "does not hold a key"),
        ("api_key_file: /etc/two-lines", None, "does not hold a key"),
        ("api_key_file: /etc/key\napi_key: k", None, "remove one of them"),
        (
            "api_key_file: /etc/key\ncert_path: c\nkey_path: p",
            None,
            "cannot use both API key and certificate auth",
        ),
        ("", Some("/run/none"), "config does not contain LAPI key or certificate"),
    ] {
        let found = settings_in(&format!("api_url: http://x\n{line}"), credentials).unwrap_err();
        assert!(found.contains(error), "{line}: {found}");
    }
}

#[test]
fn a_key_of_digits_is_a_text() {
    assert_eq!(key_of(&settings("api_url: http://x\napi_key: 0123456").unwrap()), "0123456");
}

#[test]
fn a_memory_written_for_other_types_is_another_one() {
    let read = settings("api_url: http://x/\napi_key: k").unwrap();
    let text = |types: Option<&[String]>| format!("{:?}", read.state_file(types).unwrap());
    assert_ne!(text(Some(&["ban".to_owned()])), text(Some(&["ban".to_owned(), "captcha".to_owned()])));
    assert_ne!(text(Some(&["ban".to_owned()])), text(None));
}

#[test]
fn several_lapis_are_one_list_in_order() {
    let read = settings(
        "api_url: http://a:8080/\napi_urls: ['http://b:8080', 'http://a:8080', 'http://b:8080/']\napi_key: k\n",
    )
    .unwrap();
    assert_eq!(read.urls, ["http://a:8080/", "http://b:8080"]);
    let lapis = read.connect(&UserAgent::new("palisade-test", "v1").unwrap()).unwrap();
    assert_eq!(lapis.urls(), "http://a:8080/, http://b:8080/");
    let alone = settings("api_urls: [http://b:8080]\napi_key: k\n").unwrap();
    assert_eq!((alone.client.url.as_str(), alone.urls.len()), ("http://b:8080", 1));
    for (text, error) in [
        ("api_key: k\napi_urls: []\n", "config does not contain LAPI url"),
        ("api_key: k\napi_urls: ['', http://b]\n", "api_urls"),
        ("api_key: k\napi_urls: http://b\n", "api_urls"),
    ] {
        let said = settings(text).unwrap_err();
        assert!(said.contains(error), "{said}");
    }
}

#[test]
fn push_is_on_unless_it_is_switched_off() {
    let wait = |line: &str| {
        settings(&format!("api_url: http://a\napi_key: k\n{line}\n")).map(|it| it.cadence.max_wait)
    };
    for (line, seconds) in [("", 25), ("push_wait: 0", 0), ("push_wait: 0s", 0), ("push_wait: 2m", 120)] {
        assert_eq!(wait(line), Ok(Duration::from_secs(seconds)), "{line}");
    }
    for line in ["push_wait: 1s", "push_wait: 6m", "push_wait: -5s", "push_wait: soon"] {
        let said = wait(line).unwrap_err();
        assert!(said.contains("push_wait") && said.contains("x.yaml:3"), "{said}");
    }
}

#[test]
fn an_instance_is_named_by_the_file_or_by_the_host() {
    let mut read = settings("api_url: http://a\napi_key: k\nstate_dir: ''\n").unwrap();
    assert_eq!(read.client.instance, None, "who only looks keeps no name");
    read.assign_instance();
    assert!(read.client.instance.is_some_and(|name| name.contains('/')));
    let mut read = settings("api_url: http://a\napi_key: k\ninstance: web-1\n").unwrap();
    read.assign_instance();
    assert_eq!(read.client.instance.as_deref(), Some("web-1"));
    assert!(settings("api_url: http://a\napi_key: k\ninstance: 'web 1'\n").unwrap_err().contains("instance"));
}

#[test]
fn a_missing_authority_file_is_named_once() {
    let read = settings("api_url: https://192.0.2.1\napi_key: k\nca_cert_path: /no/such/ca.pem").unwrap();
    let error = read.connect(&UserAgent::new("a", "b").unwrap()).unwrap_err();
    let text = palisade_go_compat::with_causes(&error);
    assert_eq!(text.matches("/no/such/ca.pem").count(), 1, "{text}");
    assert!(text.starts_with("unable to configure bouncer: unable to load CA certificate '/no/such/ca.pem'"));
    assert!(text.ends_with("correct `ca_cert_path`"), "{text}");
}

#[test]
fn a_wrong_address_is_named_by_the_key_that_holds_it() {
    let agent = palisade_client::UserAgent::new("a", "b").unwrap();
    for (keys, name) in [
        ("api_url: ftp://x/", "`api_url` \"ftp://x/\""),
        ("api_url: http://x/\napi_urls: [ftp://y/]", "`api_urls` \"ftp://y/\""),
        ("api_urls: [ftp://z/]", "`api_urls` \"ftp://z/\""),
        ("api_url: http://$NOT_SET_HERE/", "variable NOT_SET_HERE, which `api_url` refers to, is not set"),
    ] {
        let settings = settings(&format!("{keys}\napi_key: k\n")).unwrap();
        let error = settings.connect(&agent).unwrap_err().to_string();
        assert!(error.contains(name), "{keys}: {error}");
    }
}
