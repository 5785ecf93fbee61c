//! What a visitor sees in a real browser.

use std::net::IpAddr;

use palisade_e2e::{
    Ban, Browser, Lapi, Make, Outcome, Proxy, ProxyConfig, World, against_either_lapi, eventually, story,
};
use serde_json::json;

/// No part of the page is wider than the window.
const FITS: &str = "document.documentElement.scrollWidth <= innerWidth";

/// Waits until requests of the visitor that are no pages are refused.
fn wait_until_refused(world: &World, proxy: &Proxy) -> Outcome {
    eventually("the decision is in force", || Ok(proxy.get(&world.visitor, "/", &[])?.status == 403))
        .map(drop)
}

fn url(proxy: &Proxy, path: &str) -> String {
    format!("http://{}{path}", proxy.address())
}

#[test]
fn a_banned_visitor_sees_a_page_that_suits_language_screen_and_light() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let app = world.application(&world.router)?;
        let config = ProxyConfig::new(world, &lapi.access(), &app.url())?
            .set("pages", json!({"contact": "mailto-is-added@example.org"}));
        let proxy = Proxy::start(world, &config)?;
        lapi.ban(world.visitor.v4())?;
        wait_until_refused(world, &proxy)?;
        let mut browser = Browser::start(world, &world.visitor)?;
        for (languages, tag, title) in [
            ("en", "en", "Access denied"),
            ("de-CH,de;q=0.9", "de", "Zugriff gesperrt"),
            ("fr", "fr", "Accès refusé"),
            ("es-419", "es", "Acceso denegado"),
            ("ja", "ja", "アクセスが拒否されました"),
            ("nl", "en", "Access denied"),
        ] {
            browser.speak(languages)?;
            browser.resize(320, 640)?;
            browser.open(&url(&proxy, "/private?x=1"))?;
            let text = browser.text()?;
            assert!(text.contains(title) && text.contains("198.51.100.77"), "{languages}: {text}");
            assert_eq!(browser.evaluate("document.documentElement.lang")?, tag);
            assert_eq!(browser.evaluate("document.scripts.length")?, 0);
            assert_eq!(browser.evaluate(FITS)?, true, "{languages} on a narrow screen");
            browser.picture(&format!("banned-{tag}"))?;
        }
        let background = "getComputedStyle(document.body).backgroundColor";
        let brightness =
            format!("{background}.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + +part, 0)");
        browser.prefer("light")?;
        let light = browser.evaluate(&brightness)?.as_f64().unwrap_or_default();
        browser.prefer("dark")?;
        let dark = browser.evaluate(&brightness)?.as_f64().unwrap_or_default();
        assert!(light > 600.0 && dark < 150.0, "background: {light} light, {dark} dark");
        browser.resize(1200, 800)?;
        browser.picture("banned-dark")?;
        assert!(app.requests().iter().all(|request| !request.contains("private")), "{:?}", app.requests());
        assert_eq!(browser.problems()?, [""; 0]);
        Ok(())
    })
}

against_either_lapi!(a_proof_of_work_opens_the_page_that_was_asked_for_to_its_client_alone);

fn a_proof_of_work_opens_the_page_that_was_asked_for_to_its_client_alone(
    world: &World,
    make: Make,
) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let app = world.application(&world.router)?;
    let proxy = Proxy::start(world, &ProxyConfig::new(world, &lapi.access(), &app.url())?)?;
    // One decision for two addresses.
    lapi.ban(Ban::of("198.51.100.0/24").kind("captcha"))?;
    wait_until_refused(world, &proxy)?;
    assert!(app.requests().is_empty() || app.requests().iter().all(|request| request.starts_with("GET / ")));
    let before = app.requests().len();
    let mut browser = Browser::start(world, &world.visitor)?;

    browser.run_scripts(false)?;
    browser.resize(320, 640)?;
    browser.open(&url(&proxy, "/shop?item=1&color=%C3%A9"))?;
    let text = browser.text()?;
    assert!(text.contains("One moment, please") && text.contains("This check needs JavaScript"), "{text}");
    assert_eq!(browser.evaluate(FITS)?, true, "on a narrow screen");
    assert_eq!(browser.cookies()?, []);
    browser.picture("captcha-without-scripts")?;
    browser.run_scripts(true)?;
    browser.requests()?;

    browser.open(&url(&proxy, "/shop?item=1&color=%C3%A9"))?;
    browser.wait_for("the application is shown", "document.body.innerText.startsWith('GET /shop')")?;
    let page = url(&proxy, "/shop?item=1&color=%C3%A9");
    assert_eq!(browser.evaluate("location.href")?, page);
    let solution = format!("POST {}", url(&proxy, "/.well-known/palisade/captcha"));
    let requests = browser.requests()?;
    assert!(requests.contains(&solution), "{requests:?}");
    let received = app.requests().split_off(before);
    let pages: Vec<&String> = received.iter().filter(|request| !request.contains("favicon")).collect();
    assert_eq!(pages.len(), 1, "{received:?}");
    assert!(!pages[0].contains("palisade_captcha"), "the application does not see the proof: {received:?}");

    let cookies = browser.cookies()?;
    let [(name, proof, is_visible)] = cookies.as_slice() else { panic!("{cookies:?}") };
    assert_eq!((name.as_str(), *is_visible), ("palisade_captcha", false));
    browser.open(&url(&proxy, "/other"))?;
    assert!(browser.text()?.contains("GET /other"), "the proof counts for all pages");

    let agent = browser.evaluate("navigator.userAgent")?;
    let cookie = format!("{name}={proof}");
    let headers = [
        ("cookie", cookie.as_str()),
        ("user-agent", agent.as_str().unwrap_or_default()),
        ("accept", "text/html"),
    ];
    let own = proxy.get(&world.visitor, "/copied", &headers)?;
    assert!(own.text().starts_with("GET /copied"), "{}", own.text());
    world.visitor.add_address("198.51.100.78")?;
    let another: IpAddr = [198, 51, 100, 78].into();
    let copied = proxy.get_from(&world.visitor, another, "/copied", &headers)?;
    assert!(copied.text().contains("One moment, please"), "from another address: {}", copied.text());
    assert_eq!(browser.problems()?, [""; 0]);
    Ok(())
}

#[test]
fn captcha_services_are_shown_solved_and_verified() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let app = world.application(&world.router)?;
        let service = world.captcha_service(&world.router)?;
        let base = ProxyConfig::new(world, &lapi.access(), &app.url())?;
        let config = |provider: &str, class: &str, field: &str| {
            let captcha = json!({
                "provider": provider,
                "site_key": "the-site",
                "secret_key": "the-secret",
                "script_url": service.script_url(class, field),
                "widget_class": class,
                "response_field": field,
                "verify_url": service.verify_url(),
                "send_address": true,
            });
            base.clone().set("captcha", captcha)
        };
        let mut proxy = Proxy::start(world, &config("hcaptcha", "h-captcha", "h-captcha-response"))?;
        lapi.ban(Ban::of(world.visitor.v4().to_string()).kind("captcha"))?;
        wait_until_refused(world, &proxy)?;
        let mut browser = Browser::start(world, &world.visitor)?;
        browser.resize(320, 640)?;
        for (provider, class, field) in [
            ("hcaptcha", "h-captcha", "h-captcha-response"),
            ("recaptcha", "g-recaptcha", "g-recaptcha-response"),
            ("turnstile", "cf-turnstile", "cf-turnstile-response"),
            ("custom", "our-widget", "our-response"),
        ] {
            config(provider, class, field).write_to(proxy.config_file())?;
            proxy.reload()?;
            browser.forget_cookies()?;
            let verified = service.forms().len();
            browser.open(&url(&proxy, &format!("/{provider}?a=b")))?;
            browser.wait_for("the widget is shown", "document.getElementById('wrong') !== null")?;
            assert_eq!(browser.evaluate(FITS)?, true, "{provider} on a narrow screen");
            assert!(browser.text()?.contains("right for the-site"), "{provider}: {}", browser.text()?);
            browser.picture(&format!("captcha-{provider}"))?;
            browser.evaluate("document.getElementById('wrong').click()")?;
            browser.wait_for(
                "the page is shown again",
                "document.querySelector('[role=alert]') !== null && document.getElementById('right') !== null",
            )?;
            browser.evaluate("document.getElementById('right').click()")?;
            let shown = format!("document.body.innerText.startsWith('GET /{provider}?a=b ')");
            browser.wait_for("the application is shown", &shown)?;
            assert_eq!(browser.evaluate("location.href")?, url(&proxy, &format!("/{provider}?a=b")));
            let forms = service.forms().split_off(verified);
            assert_eq!(forms.len(), 2, "{forms:?}");
            for part in ["secret=the%2Dsecret", "sitekey=the%2Dsite", "remoteip=198%2E51%2E100%2E77"] {
                assert!(forms[1].contains(part), "{forms:?}");
            }
        }
        assert_eq!(browser.problems()?, [""; 0]);
        Ok(())
    })
}

#[test]
fn a_form_is_kept_out_until_the_captcha_is_solved_and_a_broken_service_lets_nobody_in() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let app = world.application(&world.router)?;
        let service = world.captcha_service(&world.router)?;
        let captcha = json!({
            "provider": "custom",
            "site_key": "site",
            "secret_key": "secret",
            "script_url": service.script_url("widget-1", "answer"),
            "widget_class": "widget-1",
            "response_field": "answer",
            "verify_url": service.verify_url(),
        });
        let config = ProxyConfig::new(world, &lapi.access(), &app.url())?.set("captcha", captcha);
        let proxy = Proxy::start(world, &config)?;
        let mut browser = Browser::start(world, &world.visitor)?;
        browser.open(&url(&proxy, "/form"))?;
        lapi.ban(Ban::of(world.visitor.v4().to_string()).kind("captcha"))?;
        wait_until_refused(world, &proxy)?;

        browser.evaluate(
            "{ const form = document.createElement('form');
               form.method = 'post'; form.action = '/comment?thread=7';
               const text = document.createElement('input'); text.name = 'text'; text.value = 'precious';
               form.append(text); document.body.append(form); form.submit(); }",
        )?;
        browser.wait_for("the widget is shown", "document.getElementById('right') !== null")?;
        let text = browser.text()?;
        assert!(text.contains("What you have just sent was not accepted"), "{text}");
        browser.picture("captcha-after-a-form")?;

        service.set_broken(true);
        browser.evaluate("document.getElementById('right').click()")?;
        browser.wait_for(
            "the failure is shown",
            "document.body.innerText.includes('The check is not available')",
        )?;
        browser.picture("captcha-failed")?;
        assert_eq!(browser.cookies()?, []);
        service.set_broken(false);

        browser.open(&url(&proxy, "/comment?thread=7"))?;
        browser.wait_for("the widget is shown", "document.getElementById('right') !== null")?;
        assert!(!browser.text()?.contains("What you have just sent"));
        browser.evaluate("document.getElementById('right').click()")?;
        browser.wait_for(
            "the application is shown",
            "document.body.innerText.startsWith('GET /comment?thread=7 ')",
        )?;
        assert!(app.requests().iter().all(|request| !request.contains("precious")), "{:?}", app.requests());
        assert_eq!(browser.problems()?, [""; 0]);
        Ok(())
    })
}
