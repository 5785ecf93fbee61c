//! Certificates by ACME, from Debian's pebble.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use palisade_e2e::{
    Authority, Lapi, Make, Outcome, Pebble, PebbleOptions, PebblePlace, Proxy, ProxyConfig, Signal,
    TlsVisitor, World, eventually, eventually_within, story,
};
use serde_json::json;

/// A proxy whose TLS listener has certificates by ACME only.
struct Site {
    authority: Authority,
    place: PebblePlace,
    options: PebbleOptions,
    config: ProxyConfig,
    storage: PathBuf,
    _lapi: Lapi,
}

impl Site {
    fn new(world: &World, challenge: &str, names: &[&str]) -> Outcome<Self> {
        let (lapi, authority) = (Lapi::start(world, Make::Ours)?, Authority::new(world)?);
        let app = world.application(&world.router)?;
        let (place, port) = (PebblePlace::new(world, &authority)?, world.router.free_port()?);
        let storage = world.fresh_path("acme");
        let config = ProxyConfig::new(world, &lapi.access(), &app.url())?
            .push("listen", json!({ "address": format!(":{port}"), "tls": { "acme": names } }))
            // A directory must be able to validate names in spite of it.
            .set("listen.0.redirect_to_https", true)
            .set("acme", place.config(challenge))
            .set("acme.storage", storage.display().to_string());
        let options = PebbleOptions { ports: (config.port(), port), ..PebbleOptions::default() };
        Ok(Self { authority, place, options, config, storage, _lapi: lapi })
    }

    fn pebble(&self, world: &World) -> Outcome<Pebble> {
        Pebble::start(world, &self.authority, &self.place, &self.options)
    }

    /// Who trusts what this pebble issues.
    fn visitor(&self, world: &World, pebble: &Pebble) -> Outcome<TlsVisitor> {
        let address = SocketAddr::new(world.router.v4(), self.options.ports.1);
        Ok(TlsVisitor::new(&world.visitor, address, &pebble.root(&self.authority)?))
    }

    /// A file of the storage.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let folder = std::fs::read_dir(&self.storage).ok()?.flatten().next()?.path();
        let file = folder.join(name);
        file.is_file().then_some(file)
    }
}

/// Waits until curl accepts the certificate for `name`.
fn trusted(client: &TlsVisitor, name: &str) -> Outcome<Duration> {
    eventually_within(Duration::from_secs(120), "the certificate is accepted", || {
        let reply = client.curl(name, "/", &[])?;
        Ok(reply.statuses == [200])
    })
}

#[test]
fn certificates_by_http_01_are_obtained_and_kept_over_a_restart() -> Outcome {
    story(|world| {
        let site = Site::new(world, "http-01", &["shop.test", "www.shop.test"])?;
        let pebble = site.pebble(world)?;
        let proxy = Proxy::start(world, &site.config)?;
        let client = site.visitor(world, &pebble)?;
        // Ready before there is a certificate, with one that nobody accepts.
        let reply = client.curl("shop.test", "/", &["-k"])?;
        assert_eq!(reply.statuses, [200], "{}", reply.error);
        trusted(&client, "shop.test")?;
        trusted(&client, "www.shop.test")?;
        let reply = proxy.get(&world.visitor, "/.well-known/acme-challenge/unknown", &[("X-Test", "1")])?;
        assert!((300..400).contains(&reply.status), "{}", reply.status);
        let (_, status) = proxy.command(world, &["status"])?;
        assert!(status.contains("shop.test"), "{status}");

        let kept = client.certificate(Some("shop.test"), &[])?;
        let key = std::fs::read(site.file("account.key").expect("the account is kept"))?;
        assert!(proxy.stop()?.success());
        let proxy = Proxy::start(world, &site.config)?;
        assert_eq!(client.certificate(Some("shop.test"), &[])?, kept);
        trusted(&client, "www.shop.test")?;
        assert_eq!(std::fs::read(site.file("account.key").expect("the account is kept"))?, key);
        assert_eq!((pebble.count("accounts in memory"), pebble.count("Issued certificate")), (1, 2));
        assert!(proxy.stop()?.success());
        Ok(())
    })
}

#[test]
fn certificates_by_tls_alpn_01_are_obtained_and_renewed_in_time() -> Outcome {
    story(|world| {
        let mut site = Site::new(world, "tls-alpn-01", &["shop.test"])?;
        site.options.lifetime = 45;
        let pebble = site.pebble(world)?;
        let proxy = Proxy::start(world, &site.config)?;
        let client = site.visitor(world, &pebble)?;
        trusted(&client, "shop.test")?;
        let first = client.certificate(Some("shop.test"), &[])?;
        eventually_within(Duration::from_secs(120), "it is renewed", || {
            let reply = client.curl("shop.test", "/", &[])?;
            assert_eq!(reply.statuses, [200], "it must never expire: {}", reply.error);
            Ok(client.certificate(Some("shop.test"), &[])? != first)
        })?;
        // The protocol of the challenge carries no HTTP.
        let seen = client.handshake(Some("shop.test"), &["-alpn", "acme-tls/1"])?;
        assert!(!seen.contains("ALPN protocol: acme-tls/1"), "no order is under way: {seen}");
        assert!(proxy.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_directory_that_is_away_at_the_start_is_tried_again() -> Outcome {
    story(|world| {
        let site = Site::new(world, "http-01", &["shop.test"])?;
        let mut proxy = Proxy::start(world, &site.config)?;
        proxy.process().wait_for_log("none could be obtained by ACME")?;
        let (_, status) = proxy.command(world, &["status"])?;
        assert!(status.contains("the directory cannot be reached"), "{status}");
        let pebble = site.pebble(world)?;
        trusted(&site.visitor(world, &pebble)?, "shop.test")?;
        // Tried a few times, not all the time.
        let tries = proxy.log().matches("none could be obtained by ACME").count();
        assert!((1..=5).contains(&tries), "{tries}");
        Ok(())
    })
}

#[test]
fn an_order_that_a_kill_cut_off_is_completed_after_the_restart() -> Outcome {
    story(|world| {
        let mut site = Site::new(world, "http-01", &["shop.test"])?;
        site.options.sleep = 5;
        let pebble = site.pebble(world)?;
        let mut proxy = Proxy::start(world, &site.config)?;
        eventually("an order is under way", || site.file("shop.test.order.json").is_some())?;
        proxy.process().kill()?;
        assert!(site.file("shop.test.pem").is_none(), "the kill was in the middle");
        let key = std::fs::read(site.file("account.key").expect("kept before it was used"))?;
        drop(proxy);
        let proxy = Proxy::start(world, &site.config)?;
        trusted(&site.visitor(world, &pebble)?, "shop.test")?;
        assert_eq!(std::fs::read(site.file("account.key").expect("still there"))?, key);
        assert_eq!(pebble.count("accounts in memory"), 1);
        eventually("nothing is left over", || {
            site.file("shop.test.order.json").is_none() && site.file("shop.test.attempts.json").is_none()
        })?;
        assert!(proxy.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_name_that_cannot_be_proven_holds_up_no_other_and_names_change_at_a_reload() -> Outcome {
    story(|world| {
        // Nothing listens where pebble validates the first one.
        let mut site = Site::new(world, "tls-alpn-01", &["shop.test"])?;
        let open = site.options.ports.1;
        site.options.ports.1 = world.router.free_port()?;
        let pebble = site.pebble(world)?;
        let mut proxy = Proxy::start(world, &site.config)?;
        proxy.process().wait_for_log("none could be obtained by ACME")?;
        let (_, status) = proxy.command(world, &["status"])?;
        assert!(status.contains("check that the name's address leads here"), "{status}");
        // Kept over a restart: an order that failed is not repeated at once.
        proxy.process().signal(Signal::TERM)?;
        assert!(proxy.process().end()?.success());
        let orders = pebble.count("orders in the db");
        drop(proxy);

        site.options.ports.1 = open;
        let config = site.config.clone().set("listen.1.tls.acme", json!(["shop.test", "blog.test"]));
        let config = config.set("acme.challenge", "http-01");
        let proxy = Proxy::start(world, &config)?;
        let client = site.visitor(world, &pebble)?;
        trusted(&client, "blog.test")?;
        assert_eq!(pebble.count("orders in the db"), orders + 1);
        assert!(!client.curl("shop.test", "/", &[])?.error.is_empty());

        let mut proxy = proxy;
        config.set("listen.1.tls.acme", json!(["blog.test", "news.test"])).write_to(proxy.config_file())?;
        proxy.reload()?;
        trusted(&client, "news.test")?;
        assert_eq!(pebble.count("orders in the db"), orders + 2);
        assert!(proxy.stop()?.success());
        Ok(())
    })
}
