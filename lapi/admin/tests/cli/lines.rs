//! Command lines that are wrong, and commands that need neither database nor LAPI.

use crate::world::World;

#[test]
fn wrong_lines_are_refused_with_the_texts_of_cscli() {
    let world = World::new();
    for (line, error) in [
        ("bouncers foo", "Error: unknown command \"foo\" for \"cscli bouncers\""),
        ("foo", "Error: unknown command \"foo\" for \"cscli\""),
        ("bouncers add", "Error: cscli bouncers add: accepts 1 arg(s), received 0"),
        ("bouncers delete", "Error: cscli bouncers delete: requires at least 1 arg(s), only received 0"),
        ("bouncers list --nope", "Error: cscli bouncers list: unknown flag: --nope"),
        (
            "decisions add -i 1.2.3.4 -d foobar",
            "Error: cscli decisions add: invalid argument \"foobar\" for \"-d, --duration\" flag: time: invalid \
             duration \"foobar\"",
        ),
        ("decisions import", "Error: cscli decisions import: required flag(s) \"input\" not set"),
        ("decisions add -i x", "Error: cscli decisions add: x is not a valid ip"),
        ("decisions add -r 1.2.3.4", "Error: cscli decisions add: 1.2.3.4 is not a valid range"),
        ("decisions delete", "Error: cscli decisions delete: at least one filter or --all must be specified"),
        (
            "decisions add",
            "Error: cscli decisions add: missing arguments, a value is required (--ip, --range or --scope and --value)",
        ),
        ("machines add", "Error: cscli machines add: please specify a machine name to add, or use --auto"),
        (
            "machines add m",
            "Error: cscli machines add: please specify a password with --password or use --auto",
        ),
        ("metrics show foo", "Error: cscli metrics show: unknown metrics type: foo"),
        ("bouncers list -o xml", "Error: output format 'xml' invalid: expected one of human, json, raw"),
    ] {
        assert_eq!(world.fails(line), error, "{line}");
    }
    let missing = format!("open {}: no such file or directory", world.path("credentials.yaml").display());
    assert_eq!(
        world.fails("decisions list"),
        format!("Error: cscli decisions list: loading api client: while reading yaml file: {missing}")
    );
    // Help is printed on standard output, before the error.
    assert!(world.run("bouncers foo").out.contains("Usage:"));
    assert!(world.run("bouncers delete").out.contains("Usage:"));
    assert!(world.ok("bouncers").contains("Usage:"));
    assert!(world.ok("decisions add --help").contains("--duration"));
}

#[test]
fn a_configuration_error_is_reported_without_the_command() {
    let world = World::new();
    std::fs::remove_file(world.path("config.yaml")).unwrap();
    let path = world.path("config.yaml").display().to_string();
    assert_eq!(
        world.fails("bouncers list"),
        format!("Error: while reading yaml file: open {path}: no such file or directory")
    );
    // These need none.
    assert!(world.ok("version").starts_with("version: v"));
    assert!(world.ok("--version").starts_with("version: v"));
    assert!(world.ok("completion bash").contains("cscli"));
}

#[test]
fn database_commands_need_a_lapi_on_this_host() {
    let world = World::new();
    world.write("config.yaml.local", "api: {server: {enable: false}}\n");
    assert_eq!(
        world.fails("bouncers list"),
        "Error: cscli bouncers list: local API is disabled -- this command must be run on the local API machine"
    );
}

#[test]
fn the_configuration_is_shown_merged() {
    let world = World::new();
    world.write("config.yaml.local", "api: {server: {listen_uri: 0.0.0.0:9000}}\n");
    assert!(world.ok("config show-yaml").contains("0.0.0.0:9000"));
    assert_eq!(world.ok("config show --key Config.API.Server.ListenURI"), "0.0.0.0:9000\n");
    let run = world.run("config show");
    assert!(run.code == 0 && run.out.contains("  - Listen URL              : 0.0.0.0:9000\n"), "{}", run.out);
    // What can be read is shown all the same.
    let missing = "failed to load API client configuration: while reading yaml file: open ";
    assert!(run.err.contains(missing), "{}", run.err);

    let world = World::with_lapi("http://127.0.0.1:8080");
    for (key, shown) in [
        ("Common.LogLevel", "4"),
        ("Common.LogMedia", "stdout"),
        ("Prometheus.Enabled", "true"),
        ("API.Server.Enable", "nil"),
        ("API.Client.Credentials.URL", "http://127.0.0.1:8080/"),
        ("API.Client.Credentials.Password", "secret"),
    ] {
        assert_eq!(world.ok(&format!("config show --key Config.{key}")), format!("{shown}\n"), "{key}");
    }
    for output in ["human", "json", "raw"] {
        let shown = world.ok(&format!("config show -o {output}"));
        assert!(shown.contains("127.0.0.1:8080") && !shown.contains("secret"), "{output}: {shown}");
    }
    assert_eq!(world.ok("config show --key Config.Common.LogLevel -o json"), "\"info\"\n");
    assert!(world.fails("config show --key Config.Nope").contains("'Config.Nope'"));
}

#[test]
fn profiles_are_tested_without_a_server() {
    let world = World::new();
    let text = world.ok("profiles test --ip 1.2.3.4 --scenario a/b");
    assert!(text.starts_with("Profile default_ip_remediation: matched\n"), "{text}");
    assert!(text.contains("| ban    | 4h0m0s   | Ip:1.2.3.4  | a/b    | crowdsec |"), "{text}");
    assert!(world.ok("profiles test --ip 1.2.3.4 --remediation false").contains("No decision"));
    world.write(
        "alert.json",
        r#"[{"scenario":"x","remediation":true,"source":{"scope":"Ip","value":"5.6.7.8"}}]"#,
    );
    assert!(world.ok("profiles test alert.json -o raw").contains("ban,4h0m0s,Ip,5.6.7.8,crowdsec,false"));
    world.write("profiles.yaml", "name: broken\nfilters: [\"Alert.Nope == 1\"]\n");
    assert!(world.fails("profiles test --ip 1.2.3.4").contains("profiles.yaml"));
}

#[test]
fn help_is_printed_for_every_command() {
    let world = World::new();
    let same = |asked: &str, flag: &str| {
        let (asked, flag) = (world.ok(asked), world.ok(flag));
        assert!(asked.contains("Usage:"), "{asked}");
        assert_eq!(asked, flag);
    };
    same("help", "--help");
    same("help decisions", "decisions --help");
    same("help decision", "decisions --help");
    same("decisions help", "decisions --help");
    same("decisions help add", "decisions add --help");
    same("help decisions add", "decisions add --help");
    same("-o raw help decisions add", "decisions add --help");
    for (group, commands) in [
        ("alerts", &["list", "inspect", "delete", "flush"][..]),
        ("allowlists", &["create", "list", "delete", "add", "import", "remove", "inspect", "check"]),
        ("bouncers", &["list", "add", "delete", "prune", "inspect"]),
        ("config", &["show", "show-yaml"]),
        ("decisions", &["list", "add", "delete", "import"]),
        ("lapi", &["register", "status"]),
        ("machines", &["list", "add", "delete", "prune", "validate", "inspect"]),
        ("metrics", &["show", "list"]),
        ("pki", &["init", "server", "client", "revoke"]),
        ("profiles", &["test"]),
    ] {
        same(&format!("{group} help"), &format!("{group} --help"));
        same(&format!("help {group}"), &format!("{group} --help"));
        for command in commands {
            same(&format!("help {group} {command}"), &format!("{group} {command} --help"));
        }
    }
    for single in ["completion", "version"] {
        same(&format!("help {single}"), &format!("{single} --help"));
    }
    assert_eq!(world.fails("help nonsense"), "Error: Unknown help topic [`nonsense`]");
    assert_eq!(world.fails("help decisions nonsense"), "Error: Unknown help topic [`decisions` `nonsense`]");
    // A name is no command.
    assert!(world.ok("bouncers add help -o raw").len() == 43);
}

#[test]
fn credentials_that_every_user_can_read_are_warned_of() {
    let world = World::new();
    world.write("credentials.yaml", "url: http://127.0.0.1:1/\nlogin: host1\npassword: secret\n");
    let path = world.path("credentials.yaml").display().to_string();
    let warning =
        format!("{path} holds a secret and can be read by every user (mode 0644); run: chmod 0640 {path}");
    for (mode, name, is_warned) in
        [(0o644, "palisade", true), (0o600, "palisade", false), (0o644, "cscli", false)]
    {
        world.chmod("credentials.yaml", mode);
        let run = world.run_as(name, &["lapi", "status"], "");
        assert_eq!(run.err.contains(&warning), is_warned, "{mode:o} {name}: {}", run.err);
    }
}

#[test]
fn certificates_are_made_for_one_authority_only() {
    let world = World::new();
    // No configuration is needed.
    std::fs::remove_file(world.path("config.yaml")).unwrap();
    let error = world.fails("pki client --machine web-1 --out pki");
    assert!(error.contains("cannot read pki/ca-key.pem"), "{error}");
    world.ok("pki init --out pki");
    world.ok("pki init --out other");
    world.ok("pki server --out pki --name lapi.example.org --name 10.0.0.2 --days 30");
    world.ok("pki client --out other --bouncer gate");
    let key = world.read("pki/lapi.example.org-key.pem");
    for (line, words) in [
        ("pki init --out pki", "pki/ca.pem exists and is not overwritten"),
        (
            "pki server --out pki --name lapi.example.org",
            "pki/lapi.example.org.pem exists and is not overwritten",
        ),
        ("pki server --out pki --name https://lapi", "cannot be a name"),
        ("pki server --out pki --name lapi:8080", "without scheme and port"),
        ("pki client --out pki --machine ../ca", "cannot be a name"),
        ("pki revoke --out pki other/gate.pem", "other/gate.pem was not signed by the authority in pki"),
        ("pki revoke --out pki pki/ca.pem", "was not signed by"),
        ("pki revoke --out pki config.yaml", "cannot read config.yaml"),
    ] {
        let error = world.fails(line);
        assert!(error.contains(words), "{line}: {error}");
    }
    assert_eq!(world.read("pki/lapi.example.org-key.pem"), key);
    // Revoking is idempotent and adds up.
    world.ok("pki client --out pki --machine web-1");
    assert!(world.ok("pki revoke --out pki pki/web-1.pem").contains("1 certificate(s)"));
    let said = world.ok("pki revoke --out pki pki/web-1.pem pki/lapi.example.org.pem");
    assert!(said.contains("2 certificate(s)"), "{said}");
    // A key of another authority does not sign.
    std::fs::copy(world.path("other/ca-key.pem"), world.path("pki/ca-key.pem")).unwrap();
    let error = world.fails("pki client --out pki --machine web-2");
    assert!(error.contains("does not belong to"), "{error}");
    assert!(!world.path("pki/web-2.pem").exists());
}
