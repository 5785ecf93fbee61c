//! A proxy in front of one application.

use palisade_e2e::{
    Ban, Lapi, Make, Outcome, Proxy, ProxyConfig, ScriptedLapi, World, against_either_lapi, eventually, story,
};

against_either_lapi!(a_banned_visitor_gets_a_page_and_others_the_application);

fn a_banned_visitor_gets_a_page_and_others_the_application(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let app = world.application(&world.router)?;
    let proxy = Proxy::start(world, &ProxyConfig::new(world, &lapi.access(), &app.url())?)?;
    let (visitor, neighbour) = (&world.visitor, &world.neighbour);
    let reply = proxy.get(visitor, "/hello?x=1", &[])?;
    assert_eq!((reply.status, reply.text().contains("GET /hello?x=1")), (200, true), "{}", reply.text());
    let ban = lapi.ban(visitor.v4())?;
    eventually("the visitor is banned", || Ok(proxy.get(visitor, "/", &[])?.status == 403))?;
    assert_eq!(proxy.get(neighbour, "/", &[])?.status, 200);
    for command in ["lookup", "check"] {
        let (_, said) = proxy.command(world, &[command, "198.51.100.77"])?;
        assert!(said.contains("198.51.100.77: ban for"), "{command}: {said}");
    }
    lapi.lift(ban)?;
    eventually("the visitor is let back in", || Ok(proxy.get(visitor, "/", &[])?.status == 200))?;
    assert!(proxy.stop()?.success());
    Ok(())
}

#[test]
fn a_ban_may_close_the_connection_and_headers_may_show_decisions() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban(Ban::of(world.visitor.v4().to_string()));
        lapi.ban(Ban::of(world.neighbour.v4().to_string()).kind("captcha"));
        let app = world.application(&world.router)?;
        let config = ProxyConfig::new(world, &lapi.access(), &app.url())?
            .set("routes.0.decisions.ban_action", "close")
            .set("debug_headers", true);
        let proxy = Proxy::start(world, &config)?;
        assert!(proxy.get(&world.visitor, "/", &[]).is_err(), "the connection ends without a response");
        let reply = proxy.get(&world.neighbour, "/", &[("Accept", "text/html")])?;
        assert_eq!(reply.header("x-palisade-remediation"), Some("captcha"));
        assert!(app.requests().is_empty());
        Ok(())
    })
}
