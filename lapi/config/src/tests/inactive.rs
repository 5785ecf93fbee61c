//! Files of features that have no effect yet: what the stock server refuses is refused.

use std::{fs, path::Path};

use crate::Config;

const KEYS: &str = "    online_client: {credentials_path: online.yaml}
    capi_whitelists_path: whitelists.yaml
    console_path: console.yaml
";

/// The result for these files in the folder of the configuration, with `{}` for the folder.
fn check(files: &[(&str, &str)], names: &[&str], top: &str) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display().to_string();
    for (name, text) in [("online.yaml", ""), ("whitelists.yaml", "{}")].iter().chain(files) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // "-" is no file.
        let _ = fs::remove_file(&path);
        match *text {
            "-" => {}
            "/" => fs::create_dir(&path).unwrap(),
            text => fs::write(&path, text).unwrap(),
        }
    }
    let keys = KEYS
        .replace(": online", &format!(": {root}/online"))
        .replace("_path: w", &format!("_path: {root}/w"));
    let keys = keys.replace("_path: c", &format!("_path: {root}/c"));
    let text = format!(
        "api:\n  server:\n    listen_uri: 127.0.0.1:8080\n    profiles_path: /p\n{keys}\
         db_config: {{type: sqlite, db_path: /x}}\n{top}\n"
    );
    let config = Config::from_text(&folder.path().join("config.yaml"), &text).unwrap();
    let shown = |text: String| text.replace(&root, "{}");
    match config.check_inactive_files(names) {
        Ok(warnings) => Ok(warnings.into_iter().map(shown).collect()),
        Err(error) => Err(shown(error.to_string())),
    }
}

#[test]
fn files_that_stop_the_stock_server_stop_ours() {
    let parse = "failed to parse api server credentials configuration file '{}/online.yaml': ";
    for (file, text, meant) in [
        (
            "online.yaml",
            "-",
            "loading online client credentials: open {}/online.yaml: no such file or directory",
        ),
        ("online.yaml", "/", "loading online client credentials: open {}/online.yaml: is a directory"),
        ("online.yaml", "url: [\n", parse),
        ("online.yaml", "- a\n", parse),
        ("online.yaml", "url: x\nlogn: y\n", "unknown key `logn`"),
        ("whitelists.yaml", "-", "capi whitelist file '{}/whitelists.yaml' does not exist"),
        ("whitelists.yaml", "\n", "while parsing capi whitelist file '{}/whitelists.yaml': empty file"),
        ("whitelists.yaml", "# none\n", "while parsing capi whitelist file '{}/whitelists.yaml': empty file"),
        ("whitelists.yaml", "ips: [blahblah]", "'{}/whitelists.yaml': invalid IP address: blahblah"),
        ("whitelists.yaml", "cidrs: [192.0.2.1]", "'{}/whitelists.yaml': invalid CIDR address: 192.0.2.1"),
        ("whitelists.yaml", "ips: {a: b}", "while parsing capi whitelist file '{}/whitelists.yaml': "),
        ("console.yaml", "share_custom: perhaps", "unmarshaling console config file '{}/console.yaml': "),
        (
            "console.yaml",
            "[",
            "while loading console options: unmarshaling console config file '{}/console.yaml': ",
        ),
        (
            "console.yaml",
            "/",
            "while loading console options: reading console config file '{}/console.yaml': ",
        ),
    ] {
        let error = check(&[(file, text)], &[], "").expect_err(text);
        assert!(error.contains(meant), "{file} {text:?}: {error}");
    }
}

#[test]
fn files_that_the_stock_server_takes_are_taken() {
    let complete = "url: https://api.example/\nlogin: l\npassword: s3cret\npapi_url: x\n";
    let files = [
        ("online.yaml", complete),
        ("whitelists.yaml", "ips: [192.0.2.1, '2001:db8::1']\ncidrs: [192.0.2.0/24]\nother: 1\n"),
        ("console.yaml", "share_custom: true\nshare_context: null\nnew_option: yes\n"),
    ];
    assert_eq!(check(&files, &[], ""), Ok(vec![]));
    for (text, field) in
        [("", "login"), ("login: l\n", "password"), ("login: l\npassword: p\nurl: ''\n", "url")]
    {
        let warnings = check(&[("online.yaml", text)], &[], "").unwrap();
        let meant = format!("can't load CAPI credentials from '{{}}/online.yaml' (missing {field} field)");
        assert_eq!(warnings, [meant]);
    }
}

#[test]
fn notifications_have_to_be_defined() {
    const TOP: &str =
        "plugin_config: {user: nobody, group: nogroup}\nconfig_paths: {plugin_dir: /p, notification_dir: {}}";
    let folder = tempfile::tempdir().unwrap();
    let top = |folder: &Path| TOP.replace("{}}", &format!("{}}}", folder.display()));
    let dir = folder.path().join("notifications");
    let broker = "api server init: plugin broker: loading config: ";
    let run = |names: &[&str]| check(&[], names, &top(&dir));
    let missing = format!("{broker}open {}: no such file or directory", dir.display());
    assert_eq!(run(&["http"]).unwrap_err(), missing);

    fs::create_dir(&dir).unwrap();
    fs::write(
        dir.join("http.yaml"),
        "type: http\nname: http_default\ngroup_wait: 30s\nformat: |\n  {{.|toJson}}\n\
        url: x\nheaders: {a: b}\n---\n# nothing\n---\ntype: http\nname: second\ntimeout: 5\nmax_retry: 3\n",
    )
    .unwrap();
    fs::write(dir.join("notes.txt"), "[").unwrap();
    let warnings = run(&["http_default", "second"]).unwrap();
    assert!(
        warnings.iter().any(|line| {
            line == "notifications in profiles have no effect yet: nothing is sent to http_default, second"
        }),
        "{warnings:?}"
    );
    assert_eq!(run(&["slack"]).unwrap_err(), format!("{broker}config file for plugin slack not found"));

    let bad = dir.join("slack.yml");
    for (text, reason) in [
        ("name: slack\n", "document 0: missing required field 'type'"),
        ("type: a\nname: b\n---\nname: c\n", "document 1: missing required field 'type'"),
        ("type: a\nname: b\n---\ntype: [\n", "document 1: "),
        ("type: a\ngroup_wait: 5x\n", "document 0: group_wait: "),
        ("type: a\ngroup_threshold: many\n", "document 0: "),
    ] {
        fs::write(&bad, text).unwrap();
        let error = run(&["http_default"]).unwrap_err();
        assert!(
            error.starts_with(&format!("{broker}error in {}: {reason}", bad.display())),
            "{text:?}: {error}"
        );
    }
    fs::write(&bad, "type: slack\nname: second\n").unwrap();
    let warnings = run(&["second"]).unwrap();
    assert!(warnings.contains(&"notification 'second' is defined multiple times".to_owned()), "{warnings:?}");

    for (top, reason) in [
        ("", "the plugin_config section is missing"),
        ("plugin_config: {user: a, group: b}", "config_paths.plugin_dir is not defined"),
        (&*top(&dir).replace("nogroup", "''"), "both plugin user and group must be set"),
    ] {
        let error = check(&[], &["second"], top).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}
