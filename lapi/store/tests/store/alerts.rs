//! Taking alerts in, telling them again, deleting them.

use palisade_model::{Change, Target};
use palisade_store::{AlertQuery, NewAlert, NewMachine};
use palisade_wire::{Event, MetaItem, UnixMillis};

use super::db::{Db, HOUR, NOW, SECOND, alert, ban, banning, later, loaded, row, store_one};

pub(crate) async fn stored_alerts_are_returned(db: Db) {
    let store = db.open().await;
    store
        .create_machine(
            NOW,
            NewMachine { name: "web-1".into(), auth_type: "password".into(), ..NewMachine::default() },
        )
        .await
        .unwrap();
    let mut posted = alert("ssh-bf", "192.0.2.7");
    posted.kind = "crowdsec".into();
    posted.simulated = true;
    posted.scenario_hash = "abc".into();
    posted.scenario_version = "0.3".into();
    posted.uuid = "0c8b8a2e-6a66-4b7c-9a5e-0f5b1d9b2a11".into();
    posted.source.as_name = "Example".into();
    posted.source.as_number = "64500".into();
    posted.source.cn = "FR".into();
    posted.source.range = "192.0.2.0/24".into();
    posted.source.latitude = 48.8582;
    posted.source.longitude = -2.2945;
    let mut decision = ban("192.0.2.7");
    decision.simulated = true;
    let new = NewAlert { alert: posted.clone(), decisions: vec![decision], digest: None };
    let added = store.add_alerts(later(SECOND), Some("web-1"), vec![new]).await.unwrap();
    assert_eq!(added.ids.iter().map(|one| (one.alert, one.repeated)).collect::<Vec<_>>(), [(1, false)]);

    let told = store.alert(1, later(60 * SECOND)).await.unwrap().unwrap();
    let mut expected = posted;
    expected.id = 1;
    expected.machine_id = "web-1".into();
    expected.created_at = "2026-07-01T10:00:01Z".into();
    expected.start_at = "2026-07-01T09:59:00Z".into();
    expected.stop_at = "2026-07-01T09:59:30Z".into();
    expected.decisions = told.decisions.clone();
    assert_eq!(told, expected);
    let [decision] = &told.decisions[..] else { panic!("{:?}", told.decisions) };
    assert_eq!(
        (decision.id, decision.duration.as_str(), decision.simulated, decision.uuid.as_str()),
        (1, "59m0s", true, "")
    );
    assert_eq!(store.machine("web-1").await.unwrap().unwrap().last_push, Some(later(SECOND)));
    assert_eq!(store.alert(2, NOW).await.unwrap(), None);
    // After its end, the time since is reported as negative, in whole seconds.
    let told = store.alert(1, later(HOUR + 1500)).await.unwrap().unwrap();
    assert_eq!(told.decisions[0].duration, "-2s");
}

pub(crate) async fn events_and_context_are_kept(db: Db) {
    let store = db.open().await;
    let item = |key: &str, value: &str| MetaItem { key: key.to_owned(), value: value.to_owned() };
    let mut posted = alert("ssh-bf", "192.0.2.7");
    posted.events = vec![
        Event {
            timestamp: "2026-07-01T11:59:00.25+02:00".into(),
            meta: Some(vec![item("user", "root"), item("user", "é")]),
        },
        Event { timestamp: "no time".into(), meta: Some(vec![item("line", &"x".repeat(9000))]) },
    ];
    posted.meta = vec![item(&"k".repeat(300), &"v".repeat(5000)), item("paths", "[\"/a\"]")];
    let (id, _, _) = store_one(&store, NewAlert { alert: posted, decisions: vec![], digest: None }).await;
    let told = store.alert(id, NOW).await.unwrap().unwrap();
    assert_eq!(told.events[0].timestamp, "2026-07-01 09:59:00.25 +0000 UTC");
    assert_eq!(told.events[0].meta, Some(vec![item("user", "root"), item("user", "é")]));
    assert_eq!(told.events[1].timestamp, "2026-07-01 10:00:00 +0000 UTC");
    assert_eq!(told.events[1].meta.as_ref().unwrap()[0].value, format!("{}<stripped>", "x".repeat(2048)));
    assert_eq!(told.meta, [item(&"k".repeat(255), &"v".repeat(4095)), item("paths", "[\"/a\"]")]);
    assert_eq!((told.uuid.len(), told.decisions.len()), (36, 0));
}

pub(crate) async fn an_unknown_machine_owns_nothing(db: Db) {
    let store = db.open().await;
    store.add_alerts(NOW, Some("nobody"), vec![banning(&["192.0.2.1"])]).await.unwrap();
    let known = NewMachine { name: "gone".into(), auth_type: "password".into(), ..NewMachine::default() };
    store.create_machine(NOW, known).await.unwrap();
    store.add_alerts(NOW, Some("gone"), vec![banning(&["192.0.2.2"])]).await.unwrap();
    store.delete_machine("gone").await.unwrap();
    for id in [1, 2] {
        assert_eq!(store.alert(id, NOW).await.unwrap().unwrap().machine_id, "N/A");
    }
}

pub(crate) async fn values_of_other_scopes_are_stored(db: Db) {
    let store = db.open().await;
    let mut country = banning(&["FR"]);
    country.decisions[0].target = Target::parse("Country", "FR").unwrap();
    let (_, rows, _) = store_one(&store, country.clone()).await;
    assert_eq!(rows[0].target, country.decisions[0].target);
}

pub(crate) async fn odd_texts_survive(db: Db) {
    let store = db.open().await;
    let odd = "'; DROP TABLE alerts; -- \" \\ % _ \u{1F980} $1 ?";
    let mut new = banning(&["192.0.2.1"]);
    new.alert.scenario = odd.to_owned();
    new.alert.message = "zero \0 byte".to_owned();
    new.decisions[0].scenario = odd.into();
    new.decisions[0].target = Target::parse(odd, "192.0.2.999").unwrap();
    let (id, rows, _) = store_one(&store, new).await;
    assert_eq!(rows[0].target.scope.as_str(), odd);
    let query = AlertQuery { scenario: Some(odd.to_owned()), ..AlertQuery::default() };
    let told = store.alerts(&query, NOW).await.unwrap();
    assert_eq!((told[0].id, told[0].decisions[0].scope.as_str()), (id, odd));
    assert!(told[0].message.starts_with("zero "), "{:?}", told[0].message);
    let extreme = NewAlert {
        decisions: vec![
            palisade_store::NewDecision { until: UnixMillis(i64::MAX), ..ban("::1") },
            palisade_store::NewDecision { until: UnixMillis(i64::MIN), ..ban("ffff::/16") },
        ],
        ..banning(&[])
    };
    let (id, _, _) = store_one(&store, extreme).await;
    assert_eq!(store.alert(id, NOW).await.unwrap().unwrap().decisions.len(), 2);
}

pub(crate) async fn a_repeat_is_recognised(db: Db) {
    let store = db.open().await;
    let digested = |digest: u8| NewAlert { digest: Some([digest; 32]), ..banning(&["192.0.2.1"]) };
    // Twice in one batch is twice: only what was stored before is a repeat.
    let first = store.add_alerts(NOW, None, vec![digested(1), digested(1), digested(2)]).await.unwrap();
    assert!(first.ids.iter().all(|one| !one.repeated));
    let again =
        store.add_alerts(later(HOUR - 1), None, vec![digested(2), digested(3), digested(1)]).await.unwrap();
    let told: Vec<_> = again.ids.iter().map(|one| (one.alert, one.repeated)).collect();
    assert_eq!(told, [(3, true), (4, false), (2, true)]);
    assert_eq!(again.commits.len(), 1);
    let whole = store.add_alerts(later(HOUR - 1), None, vec![digested(2)]).await.unwrap();
    assert!(whole.commits.is_empty());
    // An hour later it is another one.
    let late = store.add_alerts(later(HOUR + 1), None, vec![digested(2)]).await.unwrap();
    assert_eq!((late.ids[0].alert, late.ids[0].repeated), (5, false));
    // Without decisions too.
    let bare = NewAlert { decisions: vec![], ..digested(9) };
    store.add_alerts(NOW, None, vec![bare.clone()]).await.unwrap();
    assert!(store.add_alerts(NOW, None, vec![bare]).await.unwrap().ids[0].repeated);
}

pub(crate) async fn a_repeat_of_what_was_lifted_is_stored(db: Db) {
    let store = db.open().await;
    let digested = || NewAlert { digest: Some([7; 32]), ..banning(&["192.0.2.1", "192.0.2.2"]) };
    let (first, rows, _) = store_one(&store, digested()).await;
    store.end_decisions(later(1), &[rows[0].id]).await.unwrap();
    assert!(store.add_alerts(later(2), None, vec![digested()]).await.unwrap().ids[0].repeated);
    store.end_decisions(later(3), &[rows[1].id]).await.unwrap();
    let again = store.add_alerts(later(4), None, vec![digested()]).await.unwrap();
    assert!(!again.ids[0].repeated && again.ids[0].alert > first);
}

pub(crate) async fn a_repeat_of_what_has_ended_is_stored(db: Db) {
    let store = db.open().await;
    let digested = |seconds: i64| {
        let short = palisade_store::NewDecision { until: later(seconds), ..ban("192.0.2.1") };
        let long = palisade_store::NewDecision { until: later(HOUR), ..ban("192.0.2.2") };
        NewAlert { digest: Some([7; 32]), decisions: vec![short, long], ..banning(&[]) }
    };
    let first = store_one(&store, digested(3)).await.0;
    let repeat =
        async |at: i64, seconds| store.add_alerts(later(at), None, vec![digested(seconds)]).await.unwrap();
    assert_eq!(repeat(2, 5).await.ids[0].alert, first);
    let again = repeat(3, 6).await;
    assert!(!again.ids[0].repeated && !again.commits.is_empty());
    assert_eq!(repeat(5, 8).await.ids[0].alert, again.ids[0].alert);
}

pub(crate) async fn deletion_counts_all_and_is_announced(db: Db) {
    let store = db.open().await;
    for n in 0..450 {
        let mut new = banning(&["192.0.2.1"]);
        if n % 2 == 0 {
            new.alert.scenario = "http-scan".into();
        }
        if n == 0 {
            // Ended before the retained history: not reported.
            new.decisions[0].until = later(-48 * HOUR);
        }
        store.add_alerts(NOW, None, vec![new]).await.unwrap();
    }
    let head = store.head().await.unwrap().commit;
    let query = AlertQuery::parse(
        &[("scenario".to_owned(), "http-scan".to_owned()), ("limit".to_owned(), "5".to_owned())],
        true,
    )
    .unwrap();
    let deleted = store.delete_alerts(later(1), &query).await.unwrap();
    assert_eq!(deleted.count, 225);
    let told: usize = deleted.commits.iter().map(|(_, changes)| changes.len()).sum();
    assert_eq!(told, 224);
    assert!(
        deleted.commits.iter().flat_map(|(_, changes)| changes).all(|one| matches!(one, Change::Removed(_)))
    );
    assert_eq!(store.changes_since(head, 10_000).await.unwrap(), deleted.commits);
    let left = store.alerts(&AlertQuery::default(), NOW).await.unwrap();
    assert_eq!(left.len(), 225);
    let all = store.delete_alerts(later(2), &AlertQuery::default()).await.unwrap();
    assert_eq!(all.count, 225);
    assert_eq!(store.delete_alerts(later(2), &AlertQuery::default()).await.unwrap().count, 0);
    let (changes, _) = loaded(&store, later(3)).await;
    assert_eq!(changes.len(), 449);
    // Their end is the deletion, and not this load: nothing that was announced before is announced again.
    assert!(changes.into_iter().all(|change| row(change).until <= later(2)));
}

pub(crate) async fn one_alert_is_deleted(db: Db) {
    let store = db.open().await;
    store_one(&store, banning(&["192.0.2.1", "192.0.2.2"])).await;
    store_one(&store, banning(&["192.0.2.3"])).await;
    let deleted = store.delete_alert(later(1), 1).await.unwrap();
    assert_eq!((deleted.count, deleted.commits[0].1.len()), (1, 2));
    assert_eq!(store.delete_alert(later(1), 1).await.unwrap().count, 0);
    assert_eq!(store.alerts(&AlertQuery::default(), NOW).await.unwrap().len(), 1);
    // Numbers are never used again.
    let (alert, rows, _) = store_one(&store, banning(&["192.0.2.4"])).await;
    assert_eq!((alert, rows[0].id), (3, 4));
}

pub(crate) async fn alerts_are_counted_by_scenario(db: Db) {
    let store = db.open().await;
    store_one(&store, banning(&["192.0.2.1"])).await;
    store_one(&store, banning(&["192.0.2.2"])).await;
    let mut listed = banning(&["192.0.2.3"]);
    listed.decisions[0].origin = "lists".into();
    store_one(&store, listed).await;
    assert_eq!(store.alert_counts().await.unwrap(), [("ssh-bf".to_owned(), 2)]);
}
