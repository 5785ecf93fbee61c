//! TLS as openssl and curl see it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use palisade_e2e::{
    Authority, Certificate, Lapi, Make, Outcome, Proxy, ProxyConfig, TlsVisitor, World, base64_of_first,
    eventually, story, tools,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};

/// A proxy with a TLS listener, whose port is returned.
fn configure(world: &World, lapi: &Lapi, upstream: &str, tls: Value) -> Outcome<(ProxyConfig, u16)> {
    let port = world.router.free_port()?;
    let config = ProxyConfig::new(world, &lapi.access(), upstream)?
        .push("listen", json!({ "address": format!(":{port}"), "tls": tls }));
    Ok((config, port))
}

fn files(certificate: &Certificate) -> Value {
    json!({ "certificate": certificate.cert, "key": certificate.key })
}

fn visitor(world: &World, port: u16, authority: &Authority) -> TlsVisitor {
    TlsVisitor::new(&world.visitor, SocketAddr::new(world.router.v4(), port), &authority.path())
}

fn shown(certificate: &Certificate) -> Outcome<String> {
    Ok(base64_of_first(&std::fs::read_to_string(&certificate.cert)?))
}

/// An OCSP response for a certificate, signed by its authority.
fn ocsp_response(world: &World, authority: &Authority, certificate: &Certificate) -> Outcome<PathBuf> {
    let folder = world.fresh_path("ocsp");
    std::fs::create_dir_all(&folder)?;
    let index = folder.join("index.txt");
    std::fs::write(&index, format!("V\t991231235959Z\t\t{:02X}\tunknown\t/CN=site\n", certificate.serial))?;
    let (request, response, ca, key) =
        (folder.join("request.der"), folder.join("response.der"), authority.path(), authority.key()?);
    let run = |arguments: &[(&str, &Path)], more: &[&str]| -> Outcome {
        let mut command = tools::command("openssl")?;
        command.args(["ocsp", "-no_nonce"]).args(more);
        for (flag, path) in arguments {
            command.arg(flag).arg(path);
        }
        tools::output(&mut command).map(drop)
    };
    run(&[("-issuer", &ca), ("-cert", &certificate.cert), ("-reqout", &request)], &[])?;
    let signer = [("-index", index.as_path()), ("-CA", &ca), ("-rsigner", &ca), ("-rkey", &key)];
    run(&[signer.as_slice(), &[("-reqin", &request), ("-respout", &response)]].concat(), &["-ndays", "2"])?;
    Ok(response)
}

#[test]
fn openssl_gets_the_certificate_of_the_name_with_a_stapled_response_and_no_old_protocol() -> Outcome {
    story(|world| {
        let (lapi, authority) = (Lapi::start(world, Make::Ours)?, Authority::new(world)?);
        let app = world.application(&world.router)?;
        let rsa = authority.site("rsa", &["shop.test"], &KeyPair::generate_for(&PKCS_RSA_SHA256)?)?;
        let ecdsa =
            authority.site("ecdsa", &["shop.test"], &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;
        let wildcard = authority.site("wildcard", &["*.blog.test"], &KeyPair::generate()?)?;
        let stapled = ocsp_response(world, &authority, &ecdsa)?;
        let with_ocsp = json!({ "certificate": ecdsa.cert, "key": ecdsa.key, "ocsp": stapled });
        let tls = json!({ "certificates": [files(&rsa), with_ocsp, files(&wildcard)] });
        let (config, port) = configure(world, &lapi, &app.url(), tls)?;
        let modern = world.router.free_port()?;
        let only_13 = json!({ "certificates": [files(&wildcard)], "tls12": false });
        let config = config.push("listen", json!({ "address": format!(":{modern}"), "tls": only_13 }));
        let proxy = Proxy::start(world, &config)?;
        let client = visitor(world, port, &authority);

        for (name, flags, expected) in [
            (Some("shop.test"), &[][..], &ecdsa),
            (Some("shop.test"), &["-sigalgs", "RSA-PSS+SHA256"], &rsa),
            (Some("shop.test"), &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], &rsa),
            (Some("SHOP.test"), &[], &ecdsa),
            (Some("my.blog.test"), &[], &wildcard),
            (Some("unknown.test"), &[], &ecdsa),
            (None, &[], &ecdsa),
        ] {
            assert_eq!(client.certificate(name, flags)?, shown(expected)?, "{name:?} {flags:?}");
        }
        let seen = client.handshake(Some("shop.test"), &["-status", "-alpn", "h2,http/1.1"])?;
        for expected in [
            "Verify return code: 0 (ok)",
            "OCSP Response Status: successful",
            "Cert Status: good",
            "ALPN protocol: h2",
            "TLSv1.3",
        ] {
            assert!(seen.contains(expected), "{expected} is not in {seen}");
        }
        let seen = client.handshake(Some("my.blog.test"), &["-status"])?;
        assert!(seen.contains("OCSP response: no response sent"), "{seen}");

        // What testssl.sh and its like look for.
        let seen = client.handshake(Some("shop.test"), &["-tls1_2"])?;
        assert!(seen.contains("Cipher is ECDHE-ECDSA-"), "{seen}");
        for old in [&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], &["-tls1", "-cipher", "ALL:@SECLEVEL=0"]] {
            let seen = client.handshake(Some("shop.test"), old)?;
            assert!(seen.contains("Cipher is (NONE)") && seen.contains("SSL alert"), "{old:?}: {seen}");
        }
        for weak in [
            "kRSA",
            "DHE",
            "ECDHE+SHA1",
            "ECDHE+SHA256:ECDHE+SHA384:!AESGCM:!CHACHA20",
            "NULL:@SECLEVEL=0",
            "3DES:@SECLEVEL=0",
        ] {
            let seen = client.handshake(Some("shop.test"), &["-tls1_2", "-cipher", weak])?;
            assert!(seen.contains("Cipher is (NONE)") || seen.contains("no cipher match"), "{weak}: {seen}");
        }
        let seen = visitor(world, modern, &authority).handshake(Some("my.blog.test"), &["-tls1_2"])?;
        assert!(seen.contains("Cipher is (NONE)") && seen.contains("SSL alert"), "{seen}");

        for (version, answer) in [("--http1.1", "GET /x HTTP/1.1"), ("--http2", "GET /x HTTP/1.1")] {
            let reply = client.curl("shop.test", "/x", &[version])?;
            assert_eq!(reply.statuses, [200], "{}", reply.error);
            assert!(reply.body.contains(answer), "{}", reply.body);
        }
        assert!(proxy.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_host_that_the_certificate_does_not_cover_is_misdirected() -> Outcome {
    story(|world| {
        let (lapi, authority) = (Lapi::start(world, Make::Ours)?, Authority::new(world)?);
        let app = world.application(&world.router)?;
        let shop = authority.site("shop", &["shop.test", "*.shop.test"], &KeyPair::generate()?)?;
        let bank = authority.site("bank", &["bank.test"], &KeyPair::generate()?)?;
        let tls = json!({ "certificates": [files(&shop), files(&bank)] });
        let (config, port) = configure(world, &lapi, &app.url(), tls)?;
        let _proxy = Proxy::start(world, &config)?;
        let client = visitor(world, port, &authority);
        for version in ["--http1.1", "--http2"] {
            for (host, status) in
                [("shop.test", 200), ("img.shop.test", 200), ("bank.test", 421), ("x.test", 421)]
            {
                let header = format!("Host: {host}:{port}");
                let reply = client.curl("shop.test", "/", &[version, "-H", &header])?;
                assert_eq!(reply.statuses, [status], "{version} {host}: {}", reply.error);
            }
        }
        Ok(())
    })
}

#[test]
fn with_client_authorities_only_clients_with_a_certificate_of_them_get_in() -> Outcome {
    story(|world| {
        let (lapi, authority) = (Lapi::start(world, Make::Ours)?, Authority::new(world)?);
        let clients = Authority::new(world)?;
        let app = world.application(&world.router)?;
        let site = authority.site("site", &["shop.test"], &KeyPair::generate()?)?;
        let tls = json!({ "certificates": [files(&site)], "client_ca": clients.path() });
        let (config, port) = configure(world, &lapi, &app.url(), tls)?;
        let _proxy = Proxy::start(world, &config)?;
        let client = visitor(world, port, &authority);
        let with = |certificate: &Certificate| {
            let (cert, key) = (certificate.cert.display().to_string(), certificate.key.display().to_string());
            client.curl("shop.test", "/", &["--cert", &cert, "--key", &key])
        };
        let reply = with(&clients.client("known", "")?)?;
        assert_eq!(reply.statuses, [200], "{}", reply.error);
        assert_eq!(client.curl("shop.test", "/", &[])?.statuses, [0]);
        assert_eq!(with(&authority.client("stranger", "")?)?.statuses, [0]);
        Ok(())
    })
}

#[test]
fn certificates_are_replaced_under_load_and_broken_files_change_nothing() -> Outcome {
    story(|world| {
        let (lapi, authority) = (Lapi::start(world, Make::Ours)?, Authority::new(world)?);
        let app = world.application(&world.router)?;
        let first = authority.site("site", &["shop.test"], &KeyPair::generate()?)?;
        let (config, port) = configure(world, &lapi, &app.url(), json!({ "certificates": [files(&first)] }))?;
        let mut proxy = Proxy::start(world, &config)?;
        let client = visitor(world, port, &authority);
        let before = client.certificate(Some("shop.test"), &[])?;

        // One connection for all its requests, and one for each, all the time.
        let kept = std::thread::spawn({
            let client = client.clone();
            move || client.curl("shop.test", "/[1-400]", &["--http1.1", "--rate", "50/s", "-o", "/dev/null"])
        });
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let fresh = std::thread::spawn({
            let (client, stop) = (client.clone(), stop.clone());
            move || -> Outcome<usize> {
                let mut count = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let reply = client.curl("shop.test", "/", &["-o", "/dev/null"])?;
                    assert_eq!(reply.statuses, [200], "{}", reply.error);
                    count += 1;
                }
                Ok(count)
            }
        });

        let second = authority.site("site", &["shop.test", "www.shop.test"], &KeyPair::generate()?)?;
        proxy.reload()?;
        let after = client.certificate(Some("shop.test"), &[])?;
        assert_eq!(after, shown(&second)?);
        assert_ne!(after, before);

        std::fs::write(&second.key, "no key")?;
        proxy.reload()?;
        assert_eq!(client.certificate(Some("shop.test"), &[])?, after);
        let log = proxy.log();
        let expected = "the certificate cannot be reloaded; the previous one stays in use";
        assert!(log.contains(expected) && log.contains("site.key"), "{log}");

        // Without a signal, within the minute.
        let third = authority.site("site", &["shop.test"], &KeyPair::generate()?)?;
        let third = shown(&third)?;
        palisade_e2e::eventually_within(
            std::time::Duration::from_secs(120),
            "the file is read again",
            || Ok(client.certificate(Some("shop.test"), &[])? == third),
        )?;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let fresh = fresh.join().expect("no request failed")?;
        let kept = kept.join().expect("curl ran")?;
        assert_eq!((kept.statuses.len(), kept.connections), (400, 1), "{}", kept.error);
        assert!(kept.statuses.iter().all(|status| *status == 200) && fresh > 0, "{kept:?}");
        assert!(proxy.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_certificate_that_cannot_be_used_is_found_by_the_test_of_the_configuration() -> Outcome {
    story(|world| {
        let (lapi, authority) = (Lapi::start(world, Make::Ours)?, Authority::new(world)?);
        let site = authority.site("site", &["shop.test"], &KeyPair::generate()?)?;
        let other = authority.site("other", &["shop.test"], &KeyPair::generate()?)?;
        let mixed = json!({ "certificates": [{ "certificate": site.cert, "key": other.key }] });
        let (config, _) = configure(world, &lapi, "http://127.0.0.1:1", mixed)?;
        let path = config.write(world)?;
        let mut command = tools::command(tools::ours("palisade-proxy")?)?;
        command.arg("-c").arg(&path).arg("-t");
        let mut process = world.start(&world.router, "test", command)?;
        assert_eq!(process.end()?.code(), Some(1));
        let log = process.log();
        eventually("the reason is printed", || process.log().contains("does not belong to the certificate"))?;
        assert!(log.contains("site.pem") && log.contains("other.key"), "{log}");
        Ok(())
    })
}
