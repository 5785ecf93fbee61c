//! The commands of `docs/proxy.md`, `docs/proxy-decisions.md` and `docs/proxy-tls.md`, as they are printed there, and the
//! configuration of `docs/moving-over.md`.

use palisade_e2e::documented::{self, Shell, block};
use palisade_e2e::{Failure, Lapi, Make, Outcome, eventually, story, tools};

#[test]
fn the_commands_of_the_pages_run() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        lapi.ban("192.0.2.7")?;
        let access = lapi.access();
        let program = tools::ours("palisade-proxy")?.display().to_string();
        let mut shell = Shell::new(world, &world.router, &[("palisade-proxy", program)])?;
        // The six lines of the page.
        let file = block("docs/proxy.md", "yaml", "routes:")?;
        let state = world.fresh_path("state");
        let file = file.replace("http://127.0.0.1:8080/", &access.url)
            + &format!("state_dir: {}\ntrusted_proxies: [10.0.0.1]\n", state.display());
        std::fs::write(shell.folder.join("palisade-proxy.yaml"), file)?;
        shell.variables.push(("API_KEY".to_owned(), access.key));
        shell.replaced.push(("/etc/crowdsec/bouncers/palisade-proxy.yaml", "palisade-proxy.yaml".to_owned()));

        let first = block("docs/proxy.md", "sh", "# serves")?;
        let [_, tests, serves] = first.lines().collect::<Vec<_>>()[..] else {
            return Err(Failure::new(format!("not three commands: {first}")));
        };
        assert!(shell.succeed(tests)?.contains("config is valid"));
        let command = shell.command(&format!("exec {serves}"))?;
        let _proxy = world.start(&world.router, "palisade-proxy", command)?;
        // The packaged file is the default of these.
        shell.replaced.push(("palisade-proxy ", "palisade-proxy -c palisade-proxy.yaml ".to_owned()));
        for page in ["docs/proxy.md", "docs/proxy-decisions.md"] {
            for line in block(page, "sh", "palisade-proxy explain")?.lines() {
                eventually(line, || Ok::<_, Failure>(shell.run(line)?.code == 0))?;
                let said = shell.succeed(line)?;
                let is_about_the_ban = line.contains("192.0.2.7");
                assert!(!is_about_the_ban || said.contains("ban"), "{line}: {said}");
            }
        }
        Ok(())
    })
}

#[test]
fn the_file_for_the_change_from_a_plugin_is_valid() -> Outcome {
    story(|world| {
        let shell = Shell::new(world, &world.router, &[])?;
        let packaged = documented::repository("packaging/config/palisade-proxy.yaml")?;
        std::fs::write(shell.folder.join("palisade-proxy.yaml"), packaged.replace("${API_KEY}", "key"))?;
        let page = block("docs/moving-over.md", "yaml", "log_only")?;
        std::fs::write(shell.folder.join("palisade-proxy.yaml.local"), page)?;
        let program = tools::ours("palisade-proxy")?.display().to_string();
        let said = shell.succeed(&format!("{program} -c palisade-proxy.yaml -t"))?;
        assert!(said.contains("config is valid"), "{said}");
        let merged = shell.succeed(&format!("{program} -c palisade-proxy.yaml -T"))?;
        assert!(merged.contains("8088") && merged.contains("log_only"), "{merged}");
        Ok(())
    })
}

/// An authority in `chain.pem`, a certificate of it in `cert.pem`, and what its OCSP responder answers from.
const AUTHORITY: &str = r#"
key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
openssl req -x509 $key -keyout ca.key -out chain.pem -subj /CN=authority -days 2 2>log
openssl req $key -keyout cert.key -out cert.csr -subj /CN=shop.example.org 2>log
echo "authorityInfoAccess=OCSP;URI:http://127.0.0.1:$PORT" >extensions
openssl x509 -req -in cert.csr -CA chain.pem -CAkey ca.key -set_serial 0x1001 -days 1 -extfile extensions -out cert.pem 2>log
printf 'V\t%s\t\t1001\tunknown\t/CN=shop.example.org\n' "$(date -u -d '+1 day' +%y%m%d%H%M%SZ)" >index
"#;

#[test]
fn the_command_for_ocsp_fetches_a_response() -> Outcome {
    story(|world| {
        let mut shell = Shell::new(world, &world.router, &[])?;
        let port = world.router.free_port()?;
        shell.variables.push(("PORT".to_owned(), port.to_string()));
        // The system's authorities.
        let trusted = shell.folder.join("chain.pem").display().to_string();
        shell.variables.push(("SSL_CERT_FILE".to_owned(), trusted));
        shell.succeed(AUTHORITY)?;
        let responder = "exec openssl ocsp -index index -port $PORT -CA chain.pem -rsigner chain.pem -rkey ca.key -ndays 1";
        let _responder = world.start(&world.router, "the responder", shell.command(responder)?)?;
        let fetches = block("docs/proxy-tls.md", "sh", "openssl ocsp")?;
        eventually("the response is fetched", || Ok::<_, Failure>(shell.run(&fetches)?.code == 0))?;
        let shown = shell.succeed("openssl ocsp -respin ocsp.der -resp_text -noverify")?;
        assert!(shown.contains("Cert Status: good"), "{shown}");
        Ok(())
    })
}
