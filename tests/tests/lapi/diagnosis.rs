//! What is wrong between a client and the LAPI is said once, in the words of the file that is edited, with the next step: by
//! the command and by the bouncer alike.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use palisade_e2e::{
    Access, Authority, Config, Doing as _, Implementation, Lapi, LapiProcess, Make, Outcome, Setup, World,
    story, tls_config,
};
use serde_json::{Value, json};

/// A situation: the URL, whether the authority is trusted, and what both clients say. `SETTING` is the name of the setting.
struct Situation {
    url: String,
    is_trusted: bool,
    parts: &'static [&'static str],
}

/// A server on the router that answers every request with this.
fn answering(world: &World, answer: &'static str) -> Outcome<String> {
    let listener = world.router.run(|| TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Ok(format!("http://{address}/"))
}

/// A LAPI behind TLS with this certificate, on all of the router's addresses.
fn behind_tls(world: &World, config: Value, port: u16) -> Outcome<LapiProcess> {
    let mut setup = Setup { config, ..Setup::default() };
    setup.config["api"]["server"]["listen_uri"] = json!(format!("0.0.0.0:{port}"));
    LapiProcess::start(world, Make::Ours, &setup)
}

fn situations(world: &World, plain: &str, tls: u16, expired: u16) -> Outcome<Vec<Situation>> {
    const PAGE: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 22\r\nConnection: close\r\n\r\n\
                        <html>not here</html>\n";
    const PROXY: &str = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 24\r\nConnection: \
                         close\r\n\r\n<html>bad gateway</html>";
    let closed = world.router.free_port()?;
    let situation = |url: String, is_trusted, parts| Situation { url, is_trusted, parts };
    let root = plain.trim_end_matches('/');
    Ok(vec![
        situation(format!("{root}/v1"), false, &["leave `/v1` out of SETTING"]),
        situation(format!("{root}/elsewhere"), false, &["does SETTING lead to the LAPI's root?"]),
        situation(
            root.replace("http://", "https://"),
            false,
            &["does not speak TLS", "should SETTING begin with http://"],
        ),
        situation(format!("http://127.0.0.1:{tls}"), false, &["SETTING", "begin with https://"]),
        situation(format!("http://127.0.0.1:{closed}"), false, &["connection refused", "is SETTING right?"]),
        situation(
            "http://no-such-host.invalid:8080".to_owned(),
            false,
            &["lookup no-such-host.invalid: ", "the name in SETTING"],
        ),
        situation(
            format!("https://127.0.0.1:{tls}"),
            false,
            &["signed by unknown authority", "`ca_cert_path`"],
        ),
        situation(
            format!("https://127.0.0.2:{tls}"),
            true,
            &["certificate is valid for localhost, 127.0.0.1", "not 127.0.0.2", "SETTING"],
        ),
        situation(
            format!("https://127.0.0.1:{expired}"),
            true,
            &["has expired, or this host's clock is wrong"],
        ),
        situation(answering(world, PAGE)?, false, &["a web server and no LAPI", "is SETTING right"]),
        situation(
            answering(world, PROXY)?,
            false,
            &["a proxy answers, and not the LAPI behind it", "SETTING"],
        ),
        situation(
            answering(world, "SSH-2.0-OpenSSH_9.2\r\n")?,
            false,
            &["does not speak HTTP", "SETTING", "another service"],
        ),
        situation(answering(world, "")?, false, &["was reached, but closed the connection", "SETTING"]),
        situation(
            "http://$NOT_SET_ANYWHERE:8080".to_owned(),
            false,
            &["variable NOT_SET_ANYWHERE, which SETTING refers to"],
        ),
    ])
}

#[test]
fn each_trouble_is_named_with_its_setting() -> Outcome {
    story(|world| {
        let authority = Authority::new(world)?;
        let lapi = Lapi::start(world, Make::Ours)?;
        let (tls, expired) = (world.router.free_port()?, world.router.free_port()?);
        let _tls = behind_tls(world, tls_config(&authority)?, tls)?;
        let mut config = tls_config(&authority)?;
        let old = authority.expired_server()?;
        config["api"]["server"]["tls"]["cert_file"] = json!(old.cert);
        config["api"]["server"]["tls"]["key_file"] = json!(old.key);
        let _expired = behind_tls(world, config, expired)?;

        let file = lapi.config().with_file_name("credentials.yaml");
        let firewall = Implementation::under_test()?;
        for Situation { url, is_trusted, parts } in situations(world, &lapi.url(), tls, expired)? {
            let mut credentials = json!({ "url": url, "login": "harness", "password": "harness" });
            let mut config = Config::new(world, &Access { url: url.clone(), key: lapi.access().key })?;
            if is_trusted {
                credentials["ca_cert_path"] = json!(authority.path());
                config = config.set_path("ca_cert_path", &authority.path());
            }
            std::fs::write(&file, credentials.to_string())?;
            let command = lapi.tool(&["lapi", "status"])?;
            let config = config.write(world)?.display().to_string();
            let (status, checked) = firewall.run(world, &["-c", &config, "check"])?;
            assert!(!status.success(), "{url}: {checked}");
            let named = format!("`url` in {}", file.display());
            let failed = command.err.lines().last().doing("no line")?.to_owned();
            assert!(failed.starts_with("Error: palisade lapi status: "), "{url}: {failed}");
            let step = checked.lines().find(|line| line.contains(" failed ") || line.contains("level=fatal"));
            let step = step.doing(format_args!("no failed step for {url} in {checked}"))?.to_owned();
            for (text, setting) in [(&failed, named.as_str()), (&step, "`api_url`")] {
                for part in parts {
                    let part = part.replace("SETTING", setting);
                    assert!(text.contains(&part), "{url}: {part:?} is not in: {text}");
                    assert_eq!(
                        text.matches(&part).count(),
                        if part == setting { text.matches(setting).count() } else { 1 },
                        "once: {text}"
                    );
                }
                let is_reached = !["connection refused", "lookup "].iter().any(|words| text.contains(words));
                assert!(!(is_reached && text.contains("cannot reach")), "{url}: {text}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_check_goes_step_by_step() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        lapi.ban("198.51.100.77")?;
        let firewall = Implementation::under_test()?;
        let access = lapi.access();
        let config = Config::new(world, &access)?.write(world)?.display().to_string();
        let (status, text) = firewall.run(world, &["-c", &config, "check"])?;
        assert!(status.success(), "{text}");
        let version = concat!("palisade-lapi v", env!("CARGO_PKG_VERSION"));
        for line in [
            "  resolve  ok       127.0.0.1".to_owned(),
            format!("  connect  ok       {}", lapi.address()),
            "  tls      skipped  on this host".to_owned(),
            "  key      ok       accepted".to_owned(),
            format!("  version  ok       {version}"),
            "  clock    ok       the same as here".to_owned(),
            "  granted  ok       decisions, usage metrics, push".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in {text}");
        }
        // A check is no pull: nothing of the bouncer's position or listing changes.
        let bouncers = lapi.bouncers()?;
        assert!(bouncers.iter().all(|row| row["last_pull"].is_null()), "{bouncers:#?}");

        let wrong = Access { key: "wrong".to_owned(), ..access };
        let config = Config::new(world, &wrong)?.write(world)?.display().to_string();
        let (status, text) = firewall.run(world, &["-c", &config, "check", "-json"])?;
        assert!(!status.success(), "{text}");
        let json: Value =
            serde_json::from_str(text.lines().find(|line| line.starts_with('{')).unwrap_or(&text))?;
        let steps = json["lapis"][0]["steps"].as_array().doing("no steps")?;
        let results: Vec<&str> = steps.iter().filter_map(|step| step["result"].as_str()).collect();
        assert_eq!(results, ["ok", "ok", "skipped", "failed", "skipped", "skipped", "skipped"], "{json:#}");
        let detail = steps[3]["detail"].as_str().unwrap_or_default();
        assert!(
            detail.contains("refused the key in `api_key` (403); run `cscli bouncers add NAME`"),
            "{detail}"
        );

        // The command prints what the LAPI holds after the stock lines.
        let status = lapi.admin(&["lapi", "status", "-o", "human"])?;
        let ours =
            status.split_once("You can successfully interact with Local API (LAPI)\n").doing("not in")?.1;
        assert_eq!(
            ours,
            format!(
                "Version: {version}\nClock: the same as here\nDatabase: sqlite\nMachines: 1\nBouncers: 1\nDecisions: 1\n\
             Push: 0 waiting\n"
            )
        );
        Ok(())
    })
}

#[test]
fn a_check_of_a_stock_lapi_moves_nothing() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Stock)?;
        let firewall = Implementation::under_test()?;
        let config = Config::new(world, &lapi.access())?.write(world)?.display().to_string();
        let before = lapi.bouncers()?;
        let (status, text) = firewall.run(world, &["-c", &config, "check"])?;
        assert!(status.success(), "{text}");
        assert!(text.contains("  key      ok       accepted\n"), "{text}");
        assert!(text.contains("  version  ok       not told, as by a stock LAPI\n"), "{text}");
        let pulls = |rows: &[Value]| rows.iter().map(|row| row["last_pull"].clone()).collect::<Vec<_>>();
        assert_eq!(pulls(&lapi.bouncers()?), pulls(&before));
        Ok(())
    })
}
