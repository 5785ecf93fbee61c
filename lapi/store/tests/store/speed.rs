//! Figures, not judgements: run with `--release -- --ignored --nocapture speed`.

use std::time::Instant;

use super::db::{Db, NOW, banning, loaded, store_one};
use super::imports::import_of;

pub(crate) async fn figures(db: Db) {
    let store = db.open().await;
    let import = import_of(100_000);
    let began = Instant::now();
    store.add_alerts(NOW, None, vec![import]).await.unwrap();
    println!("import of 100,000 decisions: {:?}", began.elapsed());

    let began = Instant::now();
    let (changes, _) = loaded(&store, NOW).await;
    println!("loading {}: {:?}", changes.len(), began.elapsed());

    let began = Instant::now();
    for _ in 0..200 {
        store_one(&store, banning(&["192.0.2.1"])).await;
    }
    println!("200 alerts, one after the other: {:?}", began.elapsed());

    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let store = store.clone();
        tasks.spawn(async move { store_one(&store, banning(&["192.0.2.1"])).await });
    }
    tasks.join_all().await;
    println!("1,000 alerts at once: {:?}", began.elapsed());

    for query in
        ["limit=100", "has_active_decision=true&include_capi=false&limit=100", "ip=10.0.0.77", "origin=CAPI"]
    {
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let query = palisade_store::AlertQuery::parse(&pairs, false).unwrap();
        let began = Instant::now();
        let found = store.alerts(&query, NOW).await.unwrap().len();
        println!("alerts of {pairs:?}: {found} in {:?}", began.elapsed());
    }
    let host = palisade_net::parse_prefix("10.0.0.77").unwrap();
    let began = Instant::now();
    for _ in 0..100 {
        store.decision_counts(&host, None, None).await.unwrap();
    }
    println!("100 counts of an address: {:?}", began.elapsed());
    let ids: Vec<i64> = (1..=100_000).collect();
    let began = Instant::now();
    store.end_decisions(NOW, &ids).await.unwrap();
    println!("ending 100,000: {:?}", began.elapsed());
    let began = Instant::now();
    store.delete_alert(NOW, 1).await.unwrap();
    println!("deleting 100,000: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn speed_on_sqlite() {
    figures(Db::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn speed_on_postgres() {
    figures(Db::postgres()).await;
}
