//! Requests that are refused before their body is read, by a client that is still sending it.

use palisade_e2e::{Authority, Lapi, Make, Outcome, story, tools};
use serde_json::Value;

/// Each a few times, as whether a client gets the answer was a matter of chance.
const TIMES: usize = 20;

#[test]
fn curl_gets_the_answer_whatever_it_sends() -> Outcome {
    story(|world| {
        let authority = Authority::new(world)?;
        let lapi = Lapi::start_with_tls(world, Make::Ours, &authority)?;
        for size in [10, 20_000, 3_000_000] {
            let body = world.fresh_path("body");
            std::fs::write(&body, vec![b'x'; size])?;
            for (path, status) in
                [("v1/alerts", 401), ("v1/usage-metrics", 403), ("v1/nowhere", 404), ("health", 405)]
            {
                for version in ["--http2", "--http1.1"] {
                    // The large ones take a while.
                    for _ in 0..TIMES.min(10_000_000 / size) {
                        let mut curl = tools::command("curl")?;
                        curl.args([
                            "-s",
                            "-S",
                            version,
                            "-w",
                            "\n%{http_code}",
                            "--max-time",
                            "60",
                            "--cacert",
                        ]);
                        curl.arg(authority.path()).arg("--data-binary").arg(format!("@{}", body.display()));
                        curl.arg(format!("{}{path}", lapi.url()));
                        let got = world.router.run(|| tools::run(&mut curl, ""))?;
                        let said = got.into_stdout()?;
                        let (answer, code) = said.rsplit_once('\n').unwrap_or_default();
                        assert_eq!(code, status.to_string(), "{version} {path} {size}: {said}");
                        if status < 404 {
                            let answer: Value = serde_json::from_str(answer)?;
                            assert!(answer["message"].is_string(), "{answer}");
                        }
                    }
                }
            }
        }
        Ok(())
    })
}
