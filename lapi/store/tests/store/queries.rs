//! Finding alerts.

use palisade_store::{AlertQuery, NewAlert, Store};

use super::db::{Db, HOUR, NOW, alert, ban, later, store_one};

/// Seven alerts, each with something of its own.
async fn filled(store: &Store) {
    let with = |scenario: &str, value: &str, decisions: Vec<palisade_store::NewDecision>| NewAlert {
        alert: alert(scenario, value),
        decisions,
        digest: None,
    };
    // 1: a plain ban.
    store_one(store, with("ssh-bf", "192.0.2.1", vec![ban("192.0.2.1")])).await;
    // 2: a range, a captcha, ended; another scenario in its decision.
    let mut ended = ban("198.51.100.0/24");
    (ended.remediation, ended.until, ended.scenario) = ("captcha".into(), later(-HOUR), "manual".into());
    let mut range = with("http-scan", "198.51.100.0/24", vec![ended]);
    range.alert.source.scope = "Range".into();
    store_one(store, range).await;
    // 3: nothing done about it, simulated.
    let mut bare = with("ssh-bf", "192.0.2.3", vec![]);
    (bare.alert.simulated, bare.alert.kind) = (true, "waf".into());
    store_one(store, bare).await;
    // 4: a blocklist.
    let mut listed = ban("203.0.113.7");
    (listed.origin, listed.scenario) = ("lists".into(), "tor".into());
    let mut list = with("update : +1/-0 IPs", "", vec![listed]);
    list.alert.source.scope = "lists:tor".into();
    store_one(store, list).await;
    // 5: what is left of a community pull.
    let mut pull = with("update : +0/-0 IPs", "", vec![]);
    pull.alert.source.scope = "crowdsecurity/community-blocklist".into();
    store_one(store, pull).await;
    // 6: two decisions, of both families; started long ago.
    let mut old = with("ssh-bf", "2001:db8::1", vec![ban("2001:db8::1"), ban("192.0.2.0/28")]);
    old.alert.start_at = "2026-06-01T00:00:00Z".into();
    store_one(store, old).await;
    // 7: stored an hour before the others, scope in another language.
    let mut country = ban("FR");
    country.target = palisade_model::Target::stored("Country", "FR");
    let mut new = with("manual", "FR", vec![country]);
    new.alert.source.scope = "Country".into();
    store.add_alerts(later(-HOUR), None, vec![new]).await.unwrap();
}

fn ids(alerts: &[palisade_wire::Alert]) -> Vec<i64> {
    alerts.iter().map(|alert| alert.id).collect()
}

fn query(text: &str) -> AlertQuery {
    let pairs: Vec<(String, String)> = text
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    AlertQuery::parse(&pairs, false).unwrap()
}

pub(crate) async fn every_filter_finds_what_it_names(db: Db) {
    let store = db.open().await;
    filled(&store).await;
    for (text, expected) in [
        ("", &[6, 5, 4, 3, 2, 1, 7][..]),
        ("scope=ip", &[6, 3, 1]),
        ("scope=RANGE", &[2]),
        ("scope=Country", &[7]),
        ("scope=country", &[]),
        ("value=192.0.2.1", &[1]),
        // Of 7 it is the decision's.
        ("scenario=ssh-bf", &[6, 3, 1, 7]),
        ("scenario=manual", &[2, 7]),
        ("scenario=tor", &[4]),
        ("ip=192.0.2.1", &[6, 1]),
        ("ip=192.0.2.9", &[6]),
        ("ip=::ffff:192.0.2.9", &[6]),
        ("ip=198.51.100.200", &[2]),
        ("range=198.51.100.0/25", &[2]),
        ("range=198.51.0.0/16", &[]),
        ("range=198.51.0.0/16&contains=false", &[2]),
        ("range=192.0.2.0/24&contains=false", &[6, 1]),
        ("range=2001:db8::/32&contains=false", &[6]),
        ("range=::/0&contains=false", &[6]),
        ("range=0.0.0.0/0&contains=false", &[6, 4, 2, 1]),
        ("ip=2001:db8::2", &[]),
        ("since=24h", &[5, 4, 3, 2, 1, 7]),
        ("until=24h", &[6]),
        ("created_before=30m", &[7]),
        ("decision_type=captcha", &[2]),
        ("origin=lists", &[4]),
        ("origin=lists&include_capi=false", &[4]),
        ("include_capi=false", &[6, 3, 2, 1, 7]),
        ("has_active_decision=true", &[6, 4, 1, 7]),
        ("has_active_decision=false", &[5, 3]),
        ("kind=waf", &[3]),
        ("simulated=false", &[6, 5, 4, 2, 1, 7]),
        ("simulated=true", &[6, 5, 4, 3, 2, 1, 7]),
        ("ip=192.0.2.1&origin=crowdsec&scope=Ip&since=24h", &[1]),
    ] {
        let found = store.alerts(&query(text), NOW).await.unwrap();
        assert_eq!(ids(&found), expected, "{text}");
    }
}

pub(crate) async fn order_and_limit(db: Db) {
    let store = db.open().await;
    filled(&store).await;
    for (text, expected) in [
        ("sort=ASC", &[7, 1, 2, 3, 4, 5, 6][..]),
        ("sort=ASC&limit=2", &[7, 1]),
        ("limit=2", &[6, 5]),
        ("limit=0", &[6, 5, 4, 3, 2, 1, 7]),
    ] {
        assert_eq!(ids(&store.alerts(&query(text), NOW).await.unwrap()), expected, "{text}");
    }
    for _ in 0..3 {
        let batch = (0..50).map(|_| super::db::banning(&["192.0.2.1"])).collect();
        store.add_alerts(NOW, None, batch).await.unwrap();
    }
    assert_eq!(store.alerts(&query(""), NOW).await.unwrap().len(), 100);
    let above = AlertQuery { after_id: Some(155), ..AlertQuery::default() };
    assert_eq!(ids(&store.alerts(&above, NOW).await.unwrap()), [157, 156]);
}

pub(crate) async fn decisions_come_with_their_alerts(db: Db) {
    let store = db.open().await;
    filled(&store).await;
    let all = store.alerts(&query("ip=192.0.2.1"), NOW).await.unwrap();
    let values: Vec<Vec<&str>> =
        all.iter().map(|alert| alert.decisions.iter().map(|one| one.value.as_str()).collect()).collect();
    assert_eq!(values, [vec!["2001:db8::1", "192.0.2.0/28"], vec!["192.0.2.1"]]);
    let ended = &store.alerts(&query("decision_type=captcha"), NOW).await.unwrap()[0].decisions[0];
    assert_eq!(ended.duration, "-1h0m0s");
    let without = store.alerts(&query("with_decisions=false"), NOW).await.unwrap();
    assert!(without.iter().all(|alert| alert.decisions.is_empty()));
}
