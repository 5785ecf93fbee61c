//! Machines, bouncers, settings, usage metrics.

use palisade_model::Commit;
use palisade_store::{
    Autodelete, BouncerDeletion, BouncerUpdate, InstanceReport, MachineUpdate, NewBouncer, NewMachine,
    Retention, StoreError, UsageKind, UsageRow, base_name,
};

use super::db::{DAY, Db, HOUR, NOW, later};

fn machine(name: &str) -> NewMachine {
    NewMachine {
        name: name.into(),
        password: "$2a$10$hash".into(),
        auth_type: "password".into(),
        validated: true,
        ip: "10.0.0.7".into(),
    }
}

fn bouncer(name: &str, key: &str) -> NewBouncer {
    NewBouncer {
        name: name.into(),
        key_hash: key.into(),
        auth_type: "api-key".into(),
        ..NewBouncer::default()
    }
}

fn no_such(kind: &'static str, name: &str) -> StoreError {
    StoreError::NotFound { kind, name: name.into() }
}

pub(crate) async fn machines_are_added_changed_and_deleted(db: Db) {
    let store = db.open().await;
    let made = store.create_machine(NOW, NewMachine { validated: false, ..machine("web-1") }).await.unwrap();
    assert_eq!((made.last_push, made.last_heartbeat, made.created_at), (Some(NOW), None, NOW));
    assert_eq!(
        (made.password.as_str(), made.validated, made.ip.as_str()),
        ("$2a$10$hash", false, "10.0.0.7")
    );
    let taken = store.create_machine(NOW, machine("web-1")).await.unwrap_err();
    assert_eq!(taken, StoreError::Exists { kind: "machine", name: "web-1".into() });
    store.create_machine(NOW, machine("Web-1")).await.unwrap();
    store.validate_machine(later(1), "web-1", true).await.unwrap();
    store.set_machine_password(later(2), "web-1", "other").await.unwrap();
    let now = store.machine("web-1").await.unwrap().unwrap();
    assert_eq!((now.validated, now.password.as_str(), now.updated_at), (true, "other", later(2)));
    let names: Vec<String> = store.machines().await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["web-1", "Web-1"]);
    let registry_version = store.head().await.unwrap().registry_version;
    assert_eq!(registry_version, 4);
    store.delete_machine("web-1").await.unwrap();
    assert_eq!(store.machine("web-1").await.unwrap(), None);
    assert_eq!(store.delete_machine("web-1").await, Err(no_such("machine", "web-1")));
    assert_eq!(store.validate_machine(NOW, "x", true).await, Err(no_such("machine", "x")));
    assert_eq!(store.set_machine_password(NOW, "x", "y").await, Err(no_such("machine", "x")));
    assert_eq!(store.head().await.unwrap().registry_version, registry_version + 1);
    let id = store.machine("Web-1").await.unwrap().unwrap().id;
    assert_eq!(store.delete_machines(&[id, 999]).await.unwrap(), 1);
}

pub(crate) async fn what_machines_did_is_noted(db: Db) {
    let store = db.open().await;
    let made = store.create_machine(NOW, machine("web-1")).await.unwrap();
    let registry_version = store.head().await.unwrap().registry_version;
    let update = MachineUpdate {
        id: made.id,
        ip: Some("10.0.0.8".into()),
        version: Some("v1.7.8".into()),
        scenarios: Some("a,b".into()),
        last_heartbeat: Some(later(1)),
        last_seen: Some(later(1)),
        last_push: Some(later(2)),
        os: Some(("debian".into(), "linux".into(), "12".into())),
        feature_flags: Some("x,y".into()),
        hub_state: Some("{}".into()),
        datasources: Some("{\"file\":2}".into()),
    };
    let nothing = MachineUpdate { id: made.id, ..MachineUpdate::default() };
    let gone = MachineUpdate { id: 999, ip: Some("x".into()), ..MachineUpdate::default() };
    store.update_machines(later(3), vec![update, nothing, gone]).await.unwrap();
    store.update_machines(later(9), vec![]).await.unwrap();
    let expected = palisade_store::Machine {
        ip: "10.0.0.8".into(),
        version: "v1.7.8".into(),
        scenarios: "a,b".into(),
        last_heartbeat: Some(later(1)),
        last_push: Some(later(2)),
        os_name: "debian".into(),
        os_family: "linux".into(),
        os_version: "12".into(),
        feature_flags: "x,y".into(),
        hub_state: "{}".into(),
        datasources: "{\"file\":2}".into(),
        updated_at: later(3),
        ..made
    };
    assert_eq!(store.machine("web-1").await.unwrap(), Some(expected));
    assert_eq!(store.head().await.unwrap().registry_version, registry_version);
}

pub(crate) async fn idle_machines_are_found(db: Db) {
    let store = db.open().await;
    for (name, validated, made, heard) in [
        ("fresh", true, -2 * HOUR, Some(-1)),
        ("silent", true, -2 * HOUR, Some(-HOUR)),
        ("never", true, -2 * HOUR, None),
        ("new", true, 0, None),
        ("pending", false, 0, None),
    ] {
        let made =
            store.create_machine(later(made), NewMachine { validated, ..machine(name) }).await.unwrap();
        let heard = heard.map(later);
        let update = MachineUpdate { id: made.id, last_heartbeat: heard, ..MachineUpdate::default() };
        store.update_machines(NOW, vec![update]).await.unwrap();
    }
    let names = async |pending_only| {
        let idle = store.idle_machines(later(-HOUR / 2), pending_only).await.unwrap();
        idle.into_iter().map(|one| one.name).collect::<Vec<_>>()
    };
    assert_eq!(names(false).await, ["silent", "never", "pending"]);
    assert_eq!(names(true).await, ["pending"]);
}

fn deleted(names: &[&str]) -> BouncerDeletion {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    BouncerDeletion::Deleted { names, same_key: Vec::new() }
}

pub(crate) async fn bouncers_are_added_changed_and_deleted(db: Db) {
    let store = db.open().await;
    let made = store.create_bouncer(NOW, bouncer("fw", "k1")).await.unwrap();
    assert_eq!((made.last_pull, made.cursor, made.ip.as_str(), made.auto_created), (None, None, "", false));
    let taken = store.create_bouncer(NOW, bouncer("fw", "k2")).await.unwrap_err();
    assert_eq!(taken, StoreError::Exists { kind: "bouncer", name: "fw".into() });
    // One key under two names is allowed.
    store.create_bouncer(NOW, bouncer("fw2", "k1")).await.unwrap();
    let names = |list: Vec<palisade_store::Bouncer>| list.into_iter().map(|one| one.name).collect::<Vec<_>>();
    assert_eq!(names(store.bouncers().await.unwrap()), ["fw", "fw2"]);
    assert_eq!(store.bouncer("fw").await.unwrap(), Some(made));
    assert_eq!(store.head().await.unwrap().registry_version, 2);
    let gone = store.delete_bouncer("fw").await.unwrap();
    assert_eq!(gone, BouncerDeletion::Deleted { names: vec!["fw".into()], same_key: vec!["fw2".into()] });
    assert_eq!(store.delete_bouncer("fw").await, Err(no_such("bouncer", "fw")));
    assert_eq!(store.head().await.unwrap().registry_version, 3);
}

pub(crate) async fn addresses_that_share_a_key_get_one_row_each(db: Db) {
    let store = db.open().await;
    store.create_bouncer(NOW, bouncer("fw", "k1")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let store = store.clone();
        tasks.spawn(async move {
            let parent = if n % 2 == 0 { "fw" } else { "fw@10.0.0.9@::1" };
            store.bouncer_at(NOW, parent, "api-key", "k1", &format!("10.0.0.{}", n % 4)).await.unwrap()
        });
    }
    let mut rows: Vec<(i64, String)> =
        tasks.join_all().await.into_iter().map(|one| (one.id, one.name)).collect();
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), 4);
    assert_eq!(store.bouncers().await.unwrap().len(), 5);
    let child = store.bouncer("fw@10.0.0.1").await.unwrap().unwrap();
    assert_eq!((child.auto_created, child.ip.as_str(), child.key_hash.as_str()), (true, "10.0.0.1", "k1"));
    // Left over from an earlier key: taken over instead of locking that address out for ever.
    let taken = store.bouncer_at(later(1), "fw", "api-key", "k2", "10.0.0.1").await.unwrap();
    assert_eq!((taken.name.as_str(), taken.key_hash.as_str(), taken.last_pull), ("fw@10.0.0.1", "k2", None));
    assert_ne!(taken.id, child.id, "late news about the old one must not be taken for news about the new");
    // An operator's own row is not.
    store.create_bouncer(NOW, bouncer("fw@10.0.0.77", "other")).await.unwrap();
    let refused = store.bouncer_at(NOW, "fw", "api-key", "k1", "10.0.0.77").await.unwrap_err();
    assert_eq!(refused, StoreError::Exists { kind: "bouncer", name: "fw@10.0.0.77".into() });
    for (name, base) in [("a@1.2.3.4@::1", "a"), ("a@b", "a@b"), ("@1.2.3.4", ""), ("a", "a")] {
        assert_eq!(base_name(name), base);
    }
}

pub(crate) async fn deleting_a_bouncer_takes_its_children(db: Db) {
    let store = db.open().await;
    for name in ["fw", "f_", "fw2", "FW"] {
        store.create_bouncer(NOW, bouncer(name, name)).await.unwrap();
        store.bouncer_at(NOW, name, "api-key", name, "10.0.0.1").await.unwrap();
    }
    store.create_bouncer(NOW, bouncer("fw@made-by-hand", "x")).await.unwrap();
    store.bouncer_at(NOW, "CN", "tls", "", "10.0.0.1").await.unwrap();
    let refused = store.delete_bouncer("fw@10.0.0.1").await.unwrap();
    assert_eq!(refused, BouncerDeletion::AutoCreated { parent: "fw".into() });
    let gone = store.delete_bouncer("f_").await.unwrap();
    assert_eq!(gone, deleted(&["f_", "f_@10.0.0.1"]));
    let gone = store.delete_bouncer("fw").await.unwrap();
    assert_eq!(gone, deleted(&["fw", "fw@10.0.0.1"]));
    let gone = store.delete_bouncer("CN@10.0.0.1").await.unwrap();
    assert_eq!(gone, deleted(&["CN@10.0.0.1"]));
    let left: Vec<String> = store.bouncers().await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(left, ["fw2", "fw2@10.0.0.1", "FW", "FW@10.0.0.1", "fw@made-by-hand"]);
    let ids: Vec<i64> = store.bouncers().await.unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(store.delete_bouncers(&ids[..2]).await.unwrap(), 2);
}

pub(crate) async fn what_bouncers_did_is_noted(db: Db) {
    let store = db.open().await;
    let made = store.create_bouncer(NOW, bouncer("fw", "k1")).await.unwrap();
    let update = BouncerUpdate {
        id: made.id,
        last_pull: Some(later(1)),
        last_seen: Some(later(1)),
        cursor: Some((Commit(7), later(1))),
        ip: Some("10.0.0.5".into()),
        kind: Some("crowdsec-firewall-bouncer".into()),
        version: Some("v0.0.34".into()),
        os: Some(("debian".into(), "linux".into(), "12".into())),
        feature_flags: Some(String::new()),
    };
    let pulled = BouncerUpdate { id: made.id, last_pull: Some(later(5)), ..BouncerUpdate::default() };
    store.update_bouncers(later(1), vec![update, pulled]).await.unwrap();
    let other = store.create_bouncer(NOW, bouncer("other", "k2")).await.unwrap();
    let moved = |id, commit| BouncerUpdate {
        id,
        cursor: Some((Commit(commit), later(2))),
        ..BouncerUpdate::default()
    };
    store
        .update_bouncers(later(2), vec![moved(other.id, 3), moved(999, 1), moved(made.id, 8)])
        .await
        .unwrap();
    assert_eq!(store.bouncer("other").await.unwrap().unwrap().cursor, Some((Commit(3), later(2))));
    let expected = palisade_store::Bouncer {
        last_pull: Some(later(5)),
        cursor: Some((Commit(8), later(2))),
        ip: "10.0.0.5".into(),
        kind: "crowdsec-firewall-bouncer".into(),
        version: "v0.0.34".into(),
        os_name: "debian".into(),
        os_family: "linux".into(),
        os_version: "12".into(),
        updated_at: later(2),
        ..made
    };
    assert_eq!(store.bouncer("fw").await.unwrap(), Some(expected));
    assert_eq!(store.head().await.unwrap().registry_version, 2);
}

pub(crate) async fn older_reports_do_not_replace_newer_ones(db: Db) {
    let store = db.open().await;
    let bouncer = store.create_bouncer(NOW, bouncer("fw", "k1")).await.unwrap();
    let machine = store.create_machine(NOW, machine("m")).await.unwrap();
    let note = async |now, last_pull, cursor, ip: Option<&str>| {
        let ip = ip.map(str::to_owned);
        let update = BouncerUpdate { id: bouncer.id, last_pull, cursor, ip, ..BouncerUpdate::default() };
        store.update_bouncers(now, vec![update]).await.unwrap();
        let now = store.bouncer("fw").await.unwrap().unwrap();
        (now.last_pull, now.cursor)
    };
    // Alone, and together with another change, which uses another statement.
    for ip in [None, Some("192.0.2.1")] {
        let base = if ip.is_some() { HOUR } else { 0 };
        let at = |millis| later(base + millis);
        let place = |commit, millis| Some((Commit(commit), at(millis)));
        assert_eq!(note(at(9), Some(at(5)), place(7, 5), ip).await, (Some(at(5)), place(7, 5)));
        assert_eq!(note(at(9), Some(at(3)), place(9, 3), ip).await, (Some(at(5)), place(7, 5)), "older");
        assert_eq!(note(at(9), Some(at(6)), None, ip).await, (Some(at(6)), place(7, 5)), "apart");
        assert_eq!(note(at(9), None, place(8, 8), ip).await, (Some(at(6)), place(8, 8)));
        // The writer's clock was ahead by a day.
        assert_eq!(note(at(DAY), Some(at(DAY)), place(9, DAY), ip).await, (Some(at(DAY)), place(9, DAY)));
        assert_eq!(note(at(10), Some(at(10)), place(8, 10), ip).await, (Some(at(10)), place(8, 10)));
    }
    let beat = async |millis| {
        let update = MachineUpdate {
            id: machine.id,
            last_heartbeat: Some(later(millis)),
            last_push: Some(later(millis)),
            ..MachineUpdate::default()
        };
        store.update_machines(later(9), vec![update]).await.unwrap();
        let now = store.machine("m").await.unwrap().unwrap();
        assert_eq!(now.last_push, now.last_heartbeat);
        now.last_heartbeat
    };
    assert_eq!(beat(5).await, Some(later(5)));
    assert_eq!(beat(3).await, Some(later(5)));
    assert_eq!(beat(7).await, Some(later(7)));
}

pub(crate) async fn a_fresh_row_is_adopted_once(db: Db) {
    let store = db.open().await;
    let fresh = store.create_bouncer(NOW, bouncer("fw", "k1")).await.unwrap();
    let (one, other) = tokio::join!(
        store.adopt_bouncer(NOW, fresh.id, "10.0.0.1"),
        store.adopt_bouncer(NOW, fresh.id, "10.0.0.2")
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(usize::from(one.is_some()) + usize::from(other.is_some()), 1, "{one:?} {other:?}");
    assert_eq!(store.head().await.unwrap().registry_version, 2, "others must see who has it");
    assert_eq!(store.adopt_bouncer(NOW, 999, "10.0.0.1").await, Ok(None));
}

pub(crate) async fn machines_that_share_a_key_are_listed_one_by_one(db: Db) {
    let store = db.open().await;
    let fw = store.create_bouncer(NOW, bouncer("fw", "k1")).await.unwrap().id;
    let other = store.create_bouncer(NOW, bouncer("other", "k2")).await.unwrap().id;
    let seen = |bouncer, instance: &str, at, commit| InstanceReport {
        bouncer,
        instance: instance.to_owned(),
        ip: "192.0.2.1".to_owned(),
        kind: "palisade-firewall".to_owned(),
        version: format!("v{commit}"),
        at: later(at),
        commit: Commit(commit),
    };
    let listed = async |bouncer| -> Vec<(String, String, u64)> {
        let all = store.bouncer_instances(bouncer).await.unwrap();
        all.into_iter().map(|one| (one.bouncer, one.instance, one.commit.0)).collect()
    };
    let owned = |list: &[(&str, &str, u64)]| -> Vec<(String, String, u64)> {
        list.iter().map(|(a, b, n)| ((*a).to_owned(), (*b).to_owned(), *n)).collect()
    };
    store.upsert_instances(vec![]).await.unwrap();
    // Of several updates of one row the latest counts; those of a deleted bouncer are ignored.
    let first = vec![seen(other, "c", 1, 1), seen(fw, "b", 3, 3), seen(fw, "b", 2, 2), seen(fw, "a", 1, 1)];
    store.upsert_instances([first, vec![seen(999, "x", 1, 1)]].concat()).await.unwrap();
    assert_eq!(listed(None).await, owned(&[("fw", "a", 1), ("fw", "b", 3), ("other", "c", 1)]));
    // What another LAPI saw later stays.
    store.upsert_instances(vec![seen(fw, "a", 9, 9), seen(fw, "b", 1, 1)]).await.unwrap();
    assert_eq!(listed(Some("fw")).await, owned(&[("fw", "a", 9), ("fw", "b", 3)]));
    let a = store.bouncer_instances(Some("fw")).await.unwrap().remove(0);
    assert_eq!(
        (a.ip.as_str(), a.kind.as_str(), a.version.as_str()),
        ("192.0.2.1", "palisade-firewall", "v9")
    );
    assert_eq!(a.last_seen, later(9));
    assert_eq!(
        store.head().await.unwrap().registry_version,
        2,
        "nobody has to read the registry again for it"
    );
    // Ten thousand of a bouncer at most; the oldest give way.
    let many = (0..10_001).map(|n| seen(fw, &format!("n{n:05}"), 100 + n, 1)).collect();
    store.upsert_instances(many).await.unwrap();
    let left = listed(Some("fw")).await;
    assert_eq!((left.len(), left[0].1.as_str(), left[9999].1.as_str()), (10_000, "n00001", "n10000"));
    assert_eq!(listed(Some("other")).await.len(), 1);
    // Silent for a week.
    store.upsert_instances(vec![seen(other, "late", 50_000, 1)]).await.unwrap();
    let flushed = store.flush(later(7 * DAY + 40_000), &Retention::default()).await.unwrap();
    assert_eq!((flushed.instances, listed(None).await), (10_001, owned(&[("other", "late", 1)])));
    store.delete_bouncer("other").await.unwrap();
    assert_eq!(listed(None).await, []);
}

pub(crate) async fn idle_bouncers_are_found(db: Db) {
    let store = db.open().await;
    for (name, made, pulled) in [
        ("fresh", -2 * HOUR, Some(-1)),
        ("silent", -2 * HOUR, Some(-HOUR)),
        ("never", -HOUR, None),
        ("new", 0, None),
    ] {
        let made = store.create_bouncer(later(made), bouncer(name, name)).await.unwrap();
        let update = BouncerUpdate { id: made.id, last_pull: pulled.map(later), ..BouncerUpdate::default() };
        store.update_bouncers(NOW, vec![update]).await.unwrap();
    }
    let idle = store.idle_bouncers(later(-HOUR / 2)).await.unwrap();
    assert_eq!(idle.into_iter().map(|one| one.name).collect::<Vec<_>>(), ["silent", "never"]);
}

pub(crate) async fn requests_count_as_use(db: Db) {
    let store = db.open().await;
    let (cutoff, recent) = (later(-HOUR), later(-1));
    let long_ago = later(-DAY);
    let asking = store.create_machine(long_ago, machine("asking")).await.unwrap().id;
    store.create_machine(long_ago, machine("silent")).await.unwrap();
    let beat = MachineUpdate { id: asking, last_heartbeat: Some(long_ago), ..MachineUpdate::default() };
    let seen = MachineUpdate { id: asking, last_seen: Some(recent), ..MachineUpdate::default() };
    store.update_machines(NOW, vec![beat, seen]).await.unwrap();
    let idle: Vec<String> =
        store.idle_machines(cutoff, false).await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(idle, ["silent"]);

    for name in ["asking", "silent"] {
        let id = store.create_bouncer(long_ago, bouncer(name, name)).await.unwrap().id;
        let pulled = BouncerUpdate { id, last_pull: Some(long_ago), ..BouncerUpdate::default() };
        let last_seen = (name == "asking").then_some(recent);
        let seen = BouncerUpdate { id, last_seen, ..BouncerUpdate::default() };
        store.update_bouncers(NOW, vec![pulled, seen]).await.unwrap();
    }
    let idle = store.idle_bouncers(cutoff).await.unwrap();
    assert_eq!(idle.into_iter().map(|one| one.name).collect::<Vec<_>>(), ["silent"]);
    let keep = Autodelete { secret: Some(std::time::Duration::from_secs(3600)), cert: None };
    let keep = Retention { bouncers: keep, machines: keep, ..Retention::default() };
    store.flush(NOW, &keep).await.unwrap();
    let bouncers: Vec<String> = store.bouncers().await.unwrap().into_iter().map(|one| one.name).collect();
    let machines: Vec<String> = store.machines().await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(bouncers, ["asking"]);
    // One that never sent a heartbeat is not flushed, as in the stock server.
    assert_eq!(machines, ["asking", "silent"]);
}

/// Random histories of keys that are shared by addresses, with rows pruned, flushed and deleted: a key that still works
/// is listed, and deleting the rows an operator may delete ends it.
pub(crate) async fn every_key_can_be_revoked_whatever_rows_are_gone(db: Db) {
    let store = db.open().await;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = move |bound: u64| {
        // Xorshift: the same histories in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    let names = ["a", "b", "a@x"];
    for round in 0..40 {
        for step in 0..12 {
            let now = later(i64::from(round) * DAY + i64::from(step) * HOUR);
            let key = format!("k{}", below(3));
            match below(8) {
                0 | 1 => {
                    // Fails when the name is taken.
                    store.create_bouncer(now, bouncer(names[below(3) as usize], &key)).await.ok();
                }
                2..=4 => {
                    // As the LAPI serves a request: the unused row, or one for the address.
                    let rows = store.bouncers().await.unwrap();
                    let rows: Vec<_> = rows.iter().filter(|row| row.key_hash == key).collect();
                    let ip = format!("10.0.0.{}", below(3));
                    let row = match rows[..] {
                        [] => continue,
                        [only] if only.ip.is_empty() => store.adopt_bouncer(now, only.id, &ip).await.unwrap(),
                        [first, ..] => match rows.iter().find(|row| row.ip == ip) {
                            Some(row) => Some((*row).clone()),
                            None => store.bouncer_at(now, &first.name, "api-key", &key, &ip).await.ok(),
                        },
                    };
                    let pull = row.map(|row| BouncerUpdate {
                        id: row.id,
                        last_pull: Some(now),
                        ..BouncerUpdate::default()
                    });
                    store.update_bouncers(now, pull.into_iter().collect()).await.unwrap();
                }
                5 => {
                    let cutoff = palisade_wire::UnixMillis(now.0 - below(6).cast_signed() * HOUR);
                    let ids: Vec<i64> =
                        store.idle_bouncers(cutoff).await.unwrap().iter().map(|row| row.id).collect();
                    // Also a part of what was shown, as the rest may have been deleted meanwhile.
                    let some = ids.len().min(below(4) as usize);
                    store.delete_bouncers(&ids[..some]).await.unwrap();
                }
                6 => {
                    let secret = Some(std::time::Duration::from_secs((1 + below(6)) * 3600));
                    let bouncers = Autodelete { secret, cert: None };
                    store.flush(now, &Retention { bouncers, ..Retention::default() }).await.unwrap();
                }
                _ => {
                    store.delete_bouncer(names[below(3) as usize]).await.ok();
                }
            }
        }
        let rows = store.bouncers().await.unwrap();
        let key = format!("k{}", below(3));
        let of_key: Vec<_> = rows.into_iter().filter(|row| row.key_hash == key).collect();
        let own: Vec<_> = of_key.iter().filter(|row| !row.auto_created).collect();
        let named = if own.is_empty() { of_key.iter().take(1).collect() } else { own };
        for (n, row) in named.iter().enumerate() {
            let left: Vec<_> = named[n + 1..].iter().map(|row| row.name.clone()).collect();
            match store.delete_bouncer(&row.name).await.unwrap() {
                BouncerDeletion::Deleted { same_key, .. } => assert_eq!(same_key, left, "{key} in {round}"),
                refused @ BouncerDeletion::AutoCreated { .. } => panic!("{refused:?} for {row:?}"),
            }
        }
        let rows = store.bouncers().await.unwrap();
        assert!(rows.iter().all(|row| row.key_hash != key), "{key} in round {round}: {rows:#?}");
    }
}

pub(crate) async fn settings_are_set_once(db: Db) {
    let store = db.open().await;
    assert_eq!(store.setting("jwt").await.unwrap(), None);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let store = store.clone();
        tasks
            .spawn(async move { store.setting_or_insert(NOW, "jwt", &format!("secret {n}")).await.unwrap() });
    }
    let mut answers = tasks.join_all().await;
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(store.setting("jwt").await.unwrap().as_ref(), answers.first());
    assert_eq!(store.setting_or_insert(NOW, "else", "").await.unwrap(), "");
    assert_eq!(store.setting("else").await.unwrap().as_deref(), Some(""));
}

pub(crate) async fn usage_is_kept(db: Db) {
    let store = db.open().await;
    let row = |kind, producer: &str, at| UsageRow {
        kind,
        producer: producer.into(),
        received_at: later(at),
        payload: format!("{{\"metrics\":[{at}]}}"),
    };
    use UsageKind::{LogProcessor, RemediationComponent};
    let rows = [
        row(RemediationComponent, "fw", 5),
        row(RemediationComponent, "nginx", 3),
        row(LogProcessor, "fw", 1),
        row(RemediationComponent, "fw", 2),
    ];
    for row in &rows {
        store.add_usage(row.clone()).await.unwrap();
    }
    let [a, b, c, d] = rows;
    assert_eq!(store.usage(RemediationComponent, None).await.unwrap(), [d.clone(), b, a.clone()]);
    assert_eq!(store.usage(RemediationComponent, Some("fw")).await.unwrap(), [d, a]);
    assert_eq!(store.usage(LogProcessor, None).await.unwrap(), [c]);
}
