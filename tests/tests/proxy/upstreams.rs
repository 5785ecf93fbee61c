//! Real servers as upstreams: nginx and Caddy, over TCP, unix sockets, TLS, HTTP/2, with the PROXY protocol; and what
//! happens when one dies.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use palisade_e2e::{
    HttpClient, Lapi, Make, Outcome, Process, Proxy, ProxyConfig, World, eventually, pace, story, tools,
};
use serde_json::json;

/// A page of 64 KiB in which every part differs.
fn page() -> String {
    (0..8192).map(|number| format!("{number:07}\n")).collect()
}

/// A folder with what servers serve.
fn site(world: &World) -> Outcome<PathBuf> {
    let folder = world.fresh_path("www");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("page"), page())?;
    std::fs::write(folder.join("small"), "small")?;
    Ok(folder)
}

/// nginx with these `server` blocks.
fn nginx(world: &World, servers: &str) -> Outcome<Process> {
    let folder = world.fresh_path("nginx");
    std::fs::create_dir_all(&folder)?;
    let shown = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {shown}/{kind};"))
        .concat();
    let text = format!(
        "user root root; daemon off; master_process off; pid {shown}/pid; error_log stderr; events {{}}\n\
         http {{ {temporary} access_log off; {servers} }}\n"
    );
    let config = folder.join("nginx.conf");
    std::fs::write(&config, text)?;
    let mut command = tools::command(tools::peers_dir()?.join("root/usr/sbin/nginx"))?;
    command.arg("-p").arg(&folder).args(["-e", "stderr", "-c"]).arg(&config);
    world.start(&world.router, "nginx", command)
}

fn listens(world: &World, port: u16) -> Outcome {
    let connects = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    eventually("the server listens", || world.router.run(connects)).map(drop)
}

/// A proxy with one pool, `pool`, whose keys are added to `upstreams`.
fn proxy(world: &World, lapi: &Lapi, mut pool: serde_json::Value) -> Outcome<Proxy> {
    pool["name"] = json!("application");
    let config = ProxyConfig::new(world, &lapi.access(), "application")?.push("upstreams", pool);
    Proxy::start(world, &config)
}

/// Fetches both files a number of times on one connection.
fn fetch_all(world: &World, proxy: &Proxy, times: usize) -> Outcome {
    let mut client = HttpClient::new(proxy.address()).with_timeout(Duration::from_secs(60));
    let page = page();
    world.visitor.run(|| -> Outcome {
        for _ in 0..times {
            for (path, expected) in [("/small", "small"), ("/page", page.as_str())] {
                let reply = client.ask("GET", path, &[], None)?;
                assert!(reply.status == 200 && reply.text() == expected, "{path}: {}", reply.status);
                assert_eq!(reply.header("content-length"), Some(expected.len().to_string().as_str()));
            }
            let head = client.ask("HEAD", "/page", &[], None)?;
            assert_eq!((head.status, head.header("content-length")), (200, Some("65536")));
            assert_eq!(client.ask("GET", "/none", &[], None)?.status, 404);
        }
        Ok(())
    })
}

#[test]
fn nginx_serves_over_tcp_and_a_unix_socket() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let (port, folder) = (world.router.free_port()?, site(world)?);
        let socket = world.fresh_path("nginx.sock");
        let _nginx = nginx(
            world,
            &format!(
                "keepalive_requests 7; server {{ listen 127.0.0.1:{port}; listen unix:{}; root {}; }}",
                socket.display(),
                folder.display()
            ),
        )?;
        listens(world, port)?;
        // Connections end after seven requests each, which no client may notice.
        for url in [format!("http://127.0.0.1:{port}"), format!("unix:{}", socket.display())] {
            let proxy = proxy(world, &lapi, json!({ "servers": [{ "url": url }] }))?;
            fetch_all(world, &proxy, 30)?;
        }
        Ok(())
    })
}

#[test]
fn nginx_learns_the_client_by_the_proxy_protocol() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let port = world.router.free_port()?;
        let _nginx = nginx(
            world,
            &format!(
                "server {{ listen 127.0.0.1:{port} proxy_protocol; \
                 location / {{ return 200 '$proxy_protocol_addr $proxy_protocol_server_port'; }} }}"
            ),
        )?;
        listens(world, port)?;
        for version in ["v1", "v2"] {
            let servers = json!([{ "url": format!("http://127.0.0.1:{port}") }]);
            let proxy = proxy(world, &lapi, json!({ "servers": servers, "proxy_protocol": version }))?;
            // In turn: a connection that announced one client must not serve the other.
            for _ in 0..3 {
                for host in [&world.visitor, &world.neighbour] {
                    let expected = format!("{} {}", host.v4(), proxy.address().port());
                    assert_eq!(proxy.get(host, "/", &[])?.text(), expected);
                }
            }
        }
        Ok(())
    })
}

fn caddy(world: &World, plain: u16, tls: u16, folder: &Path) -> Outcome<(Process, PathBuf)> {
    let data = world.fresh_path("caddy");
    std::fs::create_dir_all(&data)?;
    let text = format!(
        "{{\n admin off\n skip_install_trust\n auto_https disable_redirects\n servers {{\n  protocols h1 h2 h2c\n }}\n}}\n\
         http://:{plain} {{\n root * {folder}\n file_server\n}}\n\
         https://localhost:{tls} {{\n tls internal\n root * {folder}\n file_server\n header Seen {{http.request.proto}}\n}}\n",
        folder = folder.display()
    );
    let config = data.join("Caddyfile");
    std::fs::write(&config, text)?;
    let mut command = tools::command(tools::peer("caddy")?)?;
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&config);
    command.env("XDG_DATA_HOME", &data).env("XDG_CONFIG_HOME", &data).env("HOME", &data);
    let process = world.start(&world.router, "caddy", command)?;
    listens(world, plain)?;
    listens(world, tls)?;
    let root = data.join("caddy/pki/authorities/local/root.crt");
    eventually("Caddy has its own authority", || root.is_file())?;
    Ok((process, root))
}

#[test]
fn caddy_serves_over_http1_http2_and_tls() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let (plain, tls, folder) = (world.router.free_port()?, world.router.free_port()?, site(world)?);
        let (_caddy, root) = caddy(world, plain, tls, &folder)?;
        let (plain, tls) = (format!("http://127.0.0.1:{plain}"), format!("https://localhost:{tls}"));
        for (url, protocol, seen) in [
            (&plain, "http1", None),
            (&plain, "http2", None),
            (&tls, "http1", Some("HTTP/1.1")),
            (&tls, "http2", Some("HTTP/2.0")),
            (&tls, "auto", Some("HTTP/2.0")),
        ] {
            let pool = json!({
                "servers": [{ "url": url }],
                "protocol": protocol,
                "host": "localhost",
                "tls": { "ca": root },
            });
            let proxy = proxy(world, &lapi, pool)?;
            if let Some(seen) = seen {
                // The handshake begins with the certificate, which Caddy makes in the background.
                eventually("Caddy has a certificate", || {
                    let reply = proxy.get(&world.visitor, "/small", &[])?;
                    Ok(reply.status == 200 && reply.header("seen") == Some(seen))
                })?;
            }
            fetch_all(world, &proxy, 10)?;
        }
        Ok(())
    })
}

#[test]
fn an_upstream_that_dies_under_load_costs_no_idempotent_request() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let (one, two, folder) = (world.router.free_port()?, world.router.free_port()?, site(world)?);
        let start = |port: u16| {
            nginx(world, &format!("server {{ listen 127.0.0.1:{port}; root {}; }}", folder.display()))
        };
        let (mut first, _second) = (start(one)?, start(two)?);
        listens(world, one)?;
        listens(world, two)?;
        let url = |port: u16| json!({ "url": format!("http://127.0.0.1:{port}") });
        let pool = json!({ "servers": [url(one), url(two)], "retries": 2, "failure_pause": "500ms" });
        let proxy = proxy(world, &lapi, pool)?;
        let (ends, answered, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let load = || {
            let mut client = HttpClient::new(proxy.address()).with_timeout(Duration::from_secs(60));
            world.visitor.run(|| {
                while !ends.load(Ordering::Relaxed) {
                    match client.ask("GET", "/small", &[], None) {
                        Ok(reply) if reply.status == 200 => answered.fetch_add(1, Ordering::Relaxed),
                        _ => failed.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
        };
        std::thread::scope(|threads| -> Outcome {
            let ended = EndsLoad(&ends);
            for _ in 0..8 {
                threads.spawn(load);
            }
            let passes = |more: u64| {
                let before = answered.load(Ordering::Relaxed);
                eventually("requests are answered", || answered.load(Ordering::Relaxed) > before + more)
            };
            for _ in 0..3 {
                passes(200)?;
                first.kill()?;
                passes(200)?;
                first = start(one)?;
                listens(world, one)?;
                pace(Duration::from_millis(600));
            }
            passes(200)?;
            drop(ended);
            Ok(())
        })?;
        assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", answered.load(Ordering::Relaxed));
        Ok(())
    })
}

/// Ends the load, also when the story fails.
struct EndsLoad<'a>(&'a AtomicBool);

impl Drop for EndsLoad<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_pool_that_is_down_is_answered_at_once_and_recovers() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let (port, folder) = (world.router.free_port()?, site(world)?);
        let pool = json!({
            "servers": [{ "url": format!("http://127.0.0.1:{port}") }],
            "health_check": { "path": "/small", "interval": "100ms", "unhealthy_after": 2, "healthy_after": 2 },
        });
        let proxy = proxy(world, &lapi, pool)?;
        eventually("checks find it down", || Ok(proxy.get(&world.visitor, "/small", &[])?.status == 503))?;
        let reply = proxy.get(&world.visitor, "/small", &[("Accept", "text/html")])?;
        assert_eq!(reply.status, 503);
        let _nginx =
            nginx(world, &format!("server {{ listen 127.0.0.1:{port}; root {}; }}", folder.display()))?;
        eventually("checks find it up", || Ok(proxy.get(&world.visitor, "/small", &[])?.status == 200))?;
        Ok(())
    })
}
