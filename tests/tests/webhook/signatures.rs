//! Signatures and credentials, checked by other implementations: the Standard Webhooks library of PyPI, OpenSSL and
//! nginx.

use std::path::Path;

use palisade_e2e::{
    Authority, NginxFront, Outcome, ReceivedRequest, Receiver, ScriptedLapi, Webhook, World, eventually,
    story, tools, webhook_file,
};
use serde_json::{Value, json};

const NEW_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OLD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Reads `{"check": [arguments…], "body", "headers"}` and prints what the library says.
const VERIFIER: &str = r#"
import base64, hashlib, hmac, json, sys
from standardwebhooks import Webhook, WebhookVerificationError

given = json.load(sys.stdin)
kind, *rest = given["check"]
headers, body = given["headers"], given["body"]
if kind == "standard":
    try:
        Webhook(rest[0]).verify(body, headers)
        print("valid")
    except WebhookVerificationError as error:
        print(error)
else:
    header, digest, secret = rest
    mac = hmac.new(secret.encode(), body.encode(), getattr(hashlib, digest)).digest()
    print(headers[header] in (digest + "=" + mac.hex(), base64.b64encode(mac).decode()) and "valid" or "invalid")
"#;

/// An endpoint with these keys, and the messages of its first snapshot and of a ban.
fn messages(world: &World, keys: Value) -> Outcome<(Vec<ReceivedRequest>, Webhook)> {
    let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
    lapi.ban("192.0.2.1");
    let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", keys)]);
    let webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
    eventually("the snapshot is complete", || receiver.snapshots() > 0)?;
    // Not ASCII, so that bytes are signed and not characters.
    let mut ban = palisade_e2e::Ban::of("192.0.2.2");
    ban.scenario = "«ünïcode» \"quoted\" \u{2028}".to_owned();
    lapi.ban(ban);
    eventually("the ban arrives", || receiver.holds().len() == 2)?;
    Ok((receiver.requests(), webhook))
}

/// What the verifier says of a message.
fn verdict(message: &ReceivedRequest, check: &[&str]) -> Outcome<String> {
    let headers: serde_json::Map<String, Value> =
        message.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let input = json!({ "check": check, "body": message.body, "headers": headers }).to_string();
    let mut python = tools::command("python3")?;
    python.env("PYTHONPATH", tools::standard_webhooks()?).args(["-c", VERIFIER]);
    Ok(tools::run(&mut python, &input)?.into_stdout()?.trim().to_owned())
}

#[test]
fn the_library_of_standard_webhooks_verifies_each_message_with_each_secret() -> Outcome {
    story(|world| {
        let keys = json!({ "signing_secrets": [NEW_SECRET, OLD_SECRET] });
        let (messages, webhook) = messages(world, keys)?;
        assert!(messages.len() >= 4, "{messages:?}");
        for message in &messages {
            for secret in [NEW_SECRET, OLD_SECRET] {
                assert_eq!(verdict(message, &["standard", secret])?, "valid", "{message:?}");
            }
            assert_eq!(verdict(message, &["standard", OTHER_SECRET])?, "No matching signature found");
            let mut changed = message.clone();
            changed.body.push(' ');
            assert_eq!(verdict(&changed, &["standard", NEW_SECRET])?, "No matching signature found");
        }
        let (_, status) = webhook.command(world, &["status"])?;
        for text in [webhook.log(), status] {
            assert!(![NEW_SECRET, OLD_SECRET].iter().any(|secret| text.contains(&secret[6..])), "{text}");
        }
        Ok(())
    })
}

/// A new key pair: the secret, and the file of the public key.
fn key_pair(folder: &Path) -> Outcome<(String, std::path::PathBuf)> {
    std::fs::create_dir_all(folder)?;
    let (private, public) = (folder.join("private.pem"), folder.join("public.pem"));
    let openssl = || tools::command("openssl");
    tools::output(openssl()?.args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&private))?;
    tools::output(openssl()?.args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public))?;
    let der = folder.join("private.der");
    tools::output(openssl()?.args(["pkey", "-outform", "DER", "-in"]).arg(&private).arg("-out").arg(&der))?;
    // PKCS #8: the seed comes last.
    let der = std::fs::read(der)?;
    let seed = folder.join("seed");
    std::fs::write(&seed, &der[der.len() - 32..])?;
    let text = tools::output(openssl()?.args(["base64", "-A", "-in"]).arg(&seed))?;
    Ok((format!("whsk_{}", text.trim()), public))
}

#[test]
fn openssl_verifies_ed25519_signatures() -> Outcome {
    story(|world| {
        let folder = world.fresh_path("keys");
        let (secret, public) = key_pair(&folder)?;
        let secret_file = folder.join("secret");
        std::fs::write(&secret_file, format!("{secret}\n"))?;
        let keys = json!({ "signing_secrets": [NEW_SECRET], "signing_secret_files": [secret_file] });
        let (messages, _webhook) = messages(world, keys)?;
        let (signature, content) = (folder.join("signature"), folder.join("content"));
        for message in &messages {
            assert_eq!(verdict(message, &["standard", NEW_SECRET])?, "valid");
            let header = |name| message.header(name).unwrap_or_default();
            let text = header("webhook-signature").split(' ').find_map(|one| one.strip_prefix("v1a,"));
            std::fs::write(folder.join("text"), text.unwrap_or_default())?;
            let mut decode = tools::command("openssl")?;
            decode.args(["base64", "-d", "-A", "-in"]).arg(folder.join("text")).arg("-out").arg(&signature);
            tools::output(&mut decode)?;
            let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), message.body);
            std::fs::write(&content, signed)?;
            let mut verify = tools::command("openssl")?;
            verify.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"]).arg(&public);
            verify.arg("-in").arg(&content).arg("-sigfile").arg(&signature);
            assert!(tools::output(&mut verify)?.contains("Verified Successfully"));
        }
        Ok(())
    })
}

#[test]
fn an_hmac_in_a_header_of_its_own_is_that_of_python() -> Outcome {
    story(|world| {
        let secret = "It's a Secret to Everybody";
        let (github, _webhook) = messages(world, json!({ "hmac": { "secret": secret } }))?;
        for message in &github {
            assert_eq!(verdict(message, &["hmac", "x-hub-signature-256", "sha256", secret])?, "valid");
            assert!(message.header("webhook-signature").is_none() && message.header("webhook-id").is_some());
        }
        let hmac = json!({
            "secret": secret, "header": "X-Shop-Hmac", "algorithm": "sha512", "encoding": "base64", "prefix": "",
        });
        for message in &messages(world, json!({ "hmac": hmac }))?.0 {
            assert_eq!(verdict(message, &["hmac", "x-shop-hmac", "sha512", secret])?, "valid");
        }
        Ok(())
    })
}

#[test]
fn credentials_and_headers_are_sent_and_not_shown() -> Outcome {
    story(|world| {
        let file = world.fresh_path("token");
        std::fs::write(&file, "token-of-a-file\n")?;
        let cases = [
            (json!({ "bearer": "token-in-clear" }), "Bearer token-in-clear", "token-in-clear"),
            (json!({ "bearer_file": file }), "Bearer token-of-a-file", "token-of-a-file"),
            (json!({ "basic": { "user": "soar", "password": "hush" } }), "Basic c29hcjpodXNo", "hush"),
        ];
        for (mut keys, expected, secret) in cases {
            keys["headers"] = json!({ "X-Tenant": "blue", "X-Api-Key": "key-of-a-header" });
            let (messages, webhook) = messages(world, keys)?;
            for message in &messages {
                assert_eq!(message.header("authorization"), Some(expected));
                assert_eq!(message.header("x-tenant"), Some("blue"));
                assert_eq!(message.header("content-type"), Some("application/json"));
                assert!(message.header("user-agent").is_some_and(|agent| agent.contains("palisade-webhook")));
            }
            let (_, status) = webhook.command(world, &["status"])?;
            for text in [webhook.log(), status] {
                assert!(!text.contains(secret) && !text.contains("key-of-a-header"), "{text}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_receiver_that_requires_a_certificate_is_sent_one() -> Outcome {
    story(|world| {
        let authority = Authority::new(world)?;
        let (server, client) = (authority.server()?, authority.client("soar", "webhooks")?);
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        lapi.ban("192.0.2.1");
        let block = format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client on; \
             location / {{ proxy_pass http://{}; }}",
            server.cert.display(),
            server.key.display(),
            authority.path().display(),
            receiver.address()
        );
        let nginx = NginxFront::start_server(world, &world.router, "ssl", &block)?;
        let url = format!("https://127.0.0.1:{}/hook", nginx.port());
        let ca = authority.path();
        let tls = |tls: Value| receiver.endpoint("soar", json!({ "url": url, "tls": tls }));
        for (tls, problem) in [
            (tls(json!({ "certificate": client.cert, "key": client.key })), "certificate"),
            (tls(json!({ "ca": ca })), "400 Bad Request"),
        ] {
            let config = webhook_file(&lapi.access(), &[tls]);
            let webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
            eventually("the endpoint is paused", || {
                let (_, status) = webhook.command(world, &["status"])?;
                Ok(status.contains("PAUSED") && status.contains(problem))
            })?;
            assert_eq!(receiver.request_count(), 0);
        }
        let tls = tls(json!({ "ca": ca, "certificate": client.cert, "key": client.key }));
        let config = webhook_file(&lapi.access(), &[tls]);
        let _webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        eventually("the snapshot is complete", || receiver.snapshots() > 0)?;
        receiver.is_content()
    })
}
