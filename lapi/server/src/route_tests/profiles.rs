//! Profiles at work.

use serde_json::json;

use super::stand::Stand;

#[tokio::test]
async fn a_profiles_simulated_decision_is_not_enforced() {
    let profiles = "name: rehearsal\nfilters:\n - Alert.Remediation == true\ndecisions:\n - type: ban\n   \
                    duration: 4h\n   simulated: true\non_success: break\n";
    let stand = Stand::with(profiles, "").await;
    stand.post_alerts(&[stand.alert("192.0.2.1")]).await;
    assert_eq!(stand.get("/v1/alerts/1").await.json()["decisions"][0]["simulated"], true);
    assert!(stand.pull("?startup=true").await.0.is_empty());
    assert_eq!(stand.bouncer(axum::http::Method::GET, "/v1/decisions?ip=192.0.2.1").await.text, "null");
}

#[tokio::test]
async fn an_own_decision_may_be_simulated_by_itself() {
    let stand = Stand::new().await;
    let mut rehearsed = stand.decision("192.0.2.1", "1h");
    rehearsed["simulated"] = json!(true);
    stand.post_alerts(&[stand.by_hand(&[rehearsed, stand.decision("192.0.2.2", "1h")])]).await;
    assert_eq!(stand.pull("").await.0, ["192.0.2.2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_offender_is_banned_for_longer() {
    let profiles = "name: longer\nfilters:\n - Alert.Remediation == true\ndecisions:\n - type: ban\n   duration: 4h\n\
                    duration_expr: \"Sprintf('%dh', (GetDecisionsCount(Alert.GetValue()) + 1) * 4)\"\n\
                    on_success: break\n";
    let stand = Stand::with(profiles, "").await;
    for (message, duration) in [("first", "4h0m0s"), ("second", "8h0m0s"), ("third", "12h0m0s")] {
        let mut alert = stand.alert("192.0.2.1");
        alert["message"] = json!(message);
        let id = stand.post_alerts(&[alert]).await.remove(0);
        let read = stand.get(&format!("/v1/alerts/{id}")).await.json();
        assert_eq!(read["decisions"][0]["duration"], duration);
    }
}
