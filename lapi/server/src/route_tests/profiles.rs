//! Profiles at work.

use serde_json::json;

use crate::test_server::TestServer;

#[tokio::test]
async fn a_profiles_simulated_decision_is_not_enforced() {
    let profiles = "name: rehearsal\nfilters:\n - Alert.Remediation == true\ndecisions:\n - type: ban\n   \
                    duration: 4h\n   simulated: true\non_success: break\n";
    let server = TestServer::with(profiles, "").await;
    server.post_alerts(&[server.alert("192.0.2.1")]).await;
    assert_eq!(server.get("/v1/alerts/1").await.json()["decisions"][0]["simulated"], true);
    assert!(server.pull("?startup=true").await.0.is_empty());
    assert_eq!(server.bouncer(axum::http::Method::GET, "/v1/decisions?ip=192.0.2.1").await.text, "null");
}

#[tokio::test]
async fn an_own_decision_may_be_simulated_by_itself() {
    let server = TestServer::new().await;
    let mut rehearsed = server.decision("192.0.2.1", "1h");
    rehearsed["simulated"] = json!(true);
    server.post_alerts(&[server.by_hand(&[rehearsed, server.decision("192.0.2.2", "1h")])]).await;
    assert_eq!(server.pull("").await.0, ["192.0.2.2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_offender_is_banned_for_longer() {
    let profiles = "name: longer\nfilters:\n - Alert.Remediation == true\ndecisions:\n - type: ban\n   duration: 4h\n\
                    duration_expr: \"Sprintf('%dh', (GetDecisionsCount(Alert.GetValue()) + 1) * 4)\"\n\
                    on_success: break\n";
    let server = TestServer::with(profiles, "").await;
    for (message, duration) in [("first", "4h0m0s"), ("second", "8h0m0s"), ("third", "12h0m0s")] {
        let mut alert = server.alert("192.0.2.1");
        alert["message"] = json!(message);
        let id = server.post_alerts(&[alert]).await.remove(0);
        let read = server.get(&format!("/v1/alerts/{id}")).await.json();
        assert_eq!(read["decisions"][0]["duration"], duration);
    }
}

/// Profiles whose filters fail when they are evaluated, and one that decides.
const FAILING: [&str; 4] = [
    "CrowdsecCTI(Alert.GetValue()).GetMaliciousnessScore() > 0.5",
    "GeoIPEnrich(Alert.GetValue())?.Country.IsoCode == 'FR'",
    "Alert.Events[99].Timestamp == ''",
    "GetActiveDecisionsCount(Alert.GetScenario()) > 1",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_fails_leaves_the_alert_to_the_others() {
    for filter in FAILING {
        for on_error in ["continue", "ignore", "apply", "break"] {
            let profiles = format!(
                "name: fails\nfilters:\n - \"{filter}\"\ndecisions: [{{type: captcha}}]\non_error: {on_error}\n---\n\
                 name: decides\nfilters: ['Alert.Remediation']\ndecisions: [{{type: ban}}]\n"
            );
            let server = TestServer::with(&profiles, "").await;
            let id = server.post_alerts(&[server.alert("192.0.2.1")]).await.remove(0);
            let read = server.get(&format!("/v1/alerts/{id}")).await.json();
            let decisions =
                read["decisions"].as_array().unwrap_or_else(|| panic!("{filter} {on_error}: {read}"));
            assert_eq!(decisions.len(), 1, "{filter} {on_error}: {read}");
            assert_eq!(decisions[0]["type"], "ban", "{filter} {on_error}");
        }
    }
}
