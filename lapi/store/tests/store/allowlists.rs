//! Allowlists.

use palisade_model::{Change, Target};
use palisade_store::{NewAllowlistItem, NewDecision, StoreError};

use super::db::{Db, HOUR, NOW, ban, banning, later, row, store_one};

fn item(value: &str) -> NewAllowlistItem {
    NewAllowlistItem { value: value.into(), ..NewAllowlistItem::default() }
}

pub(crate) async fn lists_and_items(db: Db) {
    let store = db.open().await;
    store.create_allowlist(NOW, "zoo", "animals").await.unwrap();
    store.create_allowlist(NOW, "Office", "").await.unwrap();
    store.create_allowlist(NOW, "bar", "").await.unwrap();
    let taken = store.create_allowlist(NOW, "zoo", "").await.unwrap_err();
    assert_eq!(taken, StoreError::Exists { kind: "allowlist", name: "zoo".into() });
    let items = vec![
        NewAllowlistItem { comment: "lan".into(), ..item("10.0.0.0/8") },
        item("10.0.0.0/8"),
        item("300.1.2.3"),
        NewAllowlistItem { expires_at: Some(later(HOUR)), ..item("2001:db8::1") },
    ];
    let outcome = store.add_to_allowlist(later(1), "zoo", items).await.unwrap();
    assert_eq!(outcome.added, ["10.0.0.0/8", "2001:db8::1"]);
    assert_eq!(
        (outcome.existing, outcome.invalid),
        (vec![("10.0.0.0/8".into(), "10.0.0.0/8".into())], vec!["300.1.2.3".into()])
    );
    let missing = StoreError::NotFound { kind: "allowlist", name: "x".into() };
    assert_eq!(store.add_to_allowlist(NOW, "x", vec![item("::1")]).await.unwrap_err(), missing);
    assert_eq!(store.remove_from_allowlist(NOW, "x", &[]).await.unwrap_err(), missing);
    assert_eq!(store.delete_allowlist("x").await.unwrap_err(), missing);

    let lists = store.allowlists(NOW, false).await.unwrap();
    let told: Vec<_> = lists.iter().map(|list| (list.name.as_str(), list.size, list.items.len())).collect();
    assert_eq!(told, [("Office", 0, 0), ("bar", 0, 0), ("zoo", 2, 0)]);
    let zoo = store.allowlist(NOW, "zoo").await.unwrap().unwrap();
    assert_eq!((zoo.description.as_str(), zoo.created_at, zoo.updated_at), ("animals", NOW, later(1)));
    assert_eq!((zoo.items[0].comment.as_str(), zoo.items[1].expires_at), ("lan", Some(later(HOUR))));
    assert_eq!(store.allowlists(NOW, true).await.unwrap()[2], zoo);
    // Expired items are not reported.
    assert_eq!(store.allowlist(later(HOUR), "zoo").await.unwrap().unwrap().size, 1);
    assert_eq!(store.allowlist(NOW, "nothing").await.unwrap(), None);

    let values = ["10.0.0.0/8".to_owned(), "10.9.9.9".to_owned()];
    let removed = store.remove_from_allowlist(later(2), "zoo", &values).await.unwrap();
    assert_eq!((removed.count, removed.missing), (1, vec!["10.9.9.9".to_owned()]));
    assert_eq!(store.remove_from_allowlist(later(3), "zoo", &values).await.unwrap().count, 0);
    assert_eq!(store.allowlist(NOW, "zoo").await.unwrap().unwrap().updated_at, later(2));
    assert_eq!(store.head().await.unwrap().registry_version, 5);
    store.delete_allowlist("zoo").await.unwrap();
    assert_eq!(store.allowlists(NOW, true).await.unwrap().len(), 2);
}

pub(crate) async fn one_prefix_is_one_item_however_it_is_spelled(db: Db) {
    const SPELLINGS: [(&str, &[&str]); 3] = [
        ("10.0.0.1", &["10.0.0.1/32", "::ffff:10.0.0.1", "::FFFF:a00:1/128"]),
        ("192.0.2.0/24", &["192.0.2.7/24", "::ffff:192.0.2.9/120"]),
        ("2001:DB8::1", &["2001:db8:0::1/128", "2001:0db8:0000:0000:0000:0000:0000:0001"]),
    ];
    let store = db.open().await;
    store.create_allowlist(NOW, "l", "").await.unwrap();
    let values = async || {
        let list = store.allowlist(NOW, "l").await.unwrap().unwrap();
        assert_eq!(list.size, list.items.len() as u64);
        list.items.into_iter().map(|item| item.value).collect::<Vec<_>>()
    };
    let firsts = SPELLINGS.map(|(first, _)| first);
    let added = store.add_to_allowlist(NOW, "l", firsts.map(item).to_vec()).await.unwrap();
    assert_eq!(added.added, firsts);
    for (first, others) in SPELLINGS {
        let again: Vec<_> = others.iter().map(|other| item(other)).collect();
        let outcome = store.add_to_allowlist(NOW, "l", again).await.unwrap();
        let known: Vec<_> = others.iter().map(|other| ((*other).to_owned(), first.to_owned())).collect();
        assert_eq!((outcome.added, outcome.existing), (vec![], known));
    }
    // The spelling of the first is kept.
    assert_eq!(values().await, firsts);
    for (first, others) in SPELLINGS {
        for other in others.iter().chain([&first]) {
            let removed = store.remove_from_allowlist(NOW, "l", &[(*other).to_owned()]).await.unwrap();
            assert_eq!((removed.count, removed.missing.len()), (1, 0), "{other}");
            assert!(!values().await.contains(&first.to_owned()));
            store.add_to_allowlist(NOW, "l", vec![item(first)]).await.unwrap();
        }
    }
    // In one command, too.
    let all = ["10.0.0.1/32".to_owned(), "10.0.0.1".to_owned()];
    let removed = store.remove_from_allowlist(NOW, "l", &all).await.unwrap();
    assert_eq!((removed.count, removed.missing.len()), (1, 0));
    let twice = vec![item("10.0.0.1/32"), item("::ffff:10.0.0.1")];
    let outcome = store.add_to_allowlist(NOW, "l", twice).await.unwrap();
    assert_eq!((outcome.added.len(), outcome.existing.len()), (1, 1));
}

pub(crate) async fn expired_items_may_be_added_again(db: Db) {
    let store = db.open().await;
    store.create_allowlist(NOW, "l", "").await.unwrap();
    let short = NewAllowlistItem { expires_at: Some(later(5)), ..item("::1") };
    store.add_to_allowlist(NOW, "l", vec![short]).await.unwrap();
    assert_eq!(store.add_to_allowlist(later(4), "l", vec![item("::1")]).await.unwrap().existing.len(), 1);
    assert_eq!(store.add_to_allowlist(later(5), "l", vec![item("::1")]).await.unwrap().added, ["::1"]);
    assert_eq!(store.allowlist(later(6), "l").await.unwrap().unwrap().items.len(), 1);
}

pub(crate) async fn decisions_under_an_item_end(db: Db) {
    let store = db.open().await;
    let mut new = banning(&[
        "10.1.2.3",
        "10.0.0.0/7",
        "11.0.0.1",
        "10.2.0.0/16",
        "2001:db8::5",
        "2001:db8::/31",
        "10.1.2.4",
    ]);
    new.decisions[6].until = later(-1);
    new.decisions.push(NewDecision { target: Target::stored("Country", "FR"), ..ban("FR") });
    let (_, rows, _) = store_one(&store, new).await;
    assert_eq!(store.apply_allowlists(NOW).await.unwrap().count, 0);
    store.create_allowlist(NOW, "l", "").await.unwrap();
    store.create_allowlist(NOW, "m", "").await.unwrap();
    let gone = NewAllowlistItem { expires_at: Some(later(-1)), ..item("11.0.0.0/8") };
    store.add_to_allowlist(NOW, "l", vec![item("10.0.0.0/8"), gone]).await.unwrap();
    store.add_to_allowlist(NOW, "m", vec![item("2001:db8::/32"), item("10.1.2.3")]).await.unwrap();
    let ended = store.apply_allowlists(later(1)).await.unwrap();
    let (_, changes) = ended.commit.unwrap();
    let values: Vec<String> = changes.into_iter().map(row).map(|row| row.target.value.text()).collect();
    assert_eq!(
        (ended.count, values.join(" ")),
        (5, "10.1.2.3 10.0.0.0/7 10.2.0.0/16 2001:db8::5 2001:db8::/31".into())
    );
    assert_eq!(store.apply_allowlists(later(2)).await.unwrap().count, 0);
    let told = store.changes_since(palisade_model::Commit(1), 100).await.unwrap();
    assert!(matches!(&told[0].1[0], Change::Put(row) if row.until == later(1) && row.id == rows[0].id));
}
