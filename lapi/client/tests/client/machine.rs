//! The machine client: login, retries, and errors.

use std::time::Duration;

use palisade_client::{
    MachineAuth, MachineClient, MachineConfig, MachineError, Registered, Retries, Secret, UserAgent,
};
use palisade_wire::Registration;

use crate::peer::{Answer, Peer, sized};

fn token(text: &str) -> Answer {
    let body = format!(r#"{{"code":200,"expire":"2999-01-01T00:00:00+02:00","token":"{text}"}}"#);
    sized("200 OK", "", body)
}

fn config(peer: &Peer) -> MachineConfig {
    let auth = MachineAuth::Password { login: "m".into(), password: Secret::new("hunter2") };
    MachineConfig::new(format!("http://{}", peer.at()), auth)
}

fn client(config: &MachineConfig) -> MachineClient {
    MachineClient::new(config, &UserAgent::new("palisade", "v0.1.0").unwrap()).unwrap()
}

#[tokio::test]
async fn one_login_serves_many_requests_and_a_refusal_makes_a_new_one() {
    let peer = Peer::on_tcp(vec![
        token("first"),
        sized("200 OK", "", "null"),
        sized("401 Unauthorized", "", r#"{"code":401,"message":"token is expired"}"#),
        token("second"),
        sized("200 OK", "", r#"{"nbDeleted":"3"}"#),
    ])
    .await;
    let client = client(&MachineConfig { scenarios: vec!["a/b".into()], ..config(&peer) });
    assert_eq!(client.alerts(&[("limit", "5".into())]).await.unwrap(), []);
    assert_eq!(client.delete_decisions(&[("ip", "192.0.2.1".into())]).await.unwrap().count, 3);

    let requests = peer.requests();
    assert!(requests[0].starts_with("post /v1/watchers/login "), "{}", requests[0]);
    assert!(requests[0].ends_with(r#"{"machine_id":"m","password":"hunter2","scenarios":["a/b"]}"#));
    assert!(requests[0].contains("user-agent: palisade/v0.1.0"));
    assert!(requests[1].starts_with("get /v1/alerts?limit=5 ") && requests[1].contains("bearer first"));
    assert!(requests[2].starts_with("delete /v1/decisions?ip=192.0.2.1 "));
    assert!(requests[4].contains("authorization: bearer second"));
}

#[tokio::test]
async fn only_so_many_new_tokens_are_bought() {
    let refusal = || sized("403 Forbidden", "", r#"{"message":"access forbidden"}"#);
    let peer = Peer::on_tcp(vec![token("1"), refusal(), token("2"), refusal(), token("3"), refusal()]).await;
    let error = client(&config(&peer)).delete_alert(9).await.unwrap_err();
    assert_eq!(error.to_string(), "API error: access forbidden");
    assert_eq!(error.status(), Some(403));
}

#[tokio::test]
async fn a_busy_lapi_is_retried_only_if_configured() {
    let busy = || sized("503 Service Unavailable", "", "");
    let retries = Retries { busy: vec![Duration::ZERO], login: vec![Duration::ZERO] };
    let peer = Peer::on_tcp(vec![busy(), token("t"), busy(), sized("201 Created", "", r#"["7"]"#)]).await;
    let patient = client(&MachineConfig { retries, ..config(&peer) });
    assert_eq!(patient.post_alerts(&[palisade_wire::Alert::default()]).await.unwrap(), ["7"]);
    let posted = peer.requests().remove(3);
    assert!(posted.contains(r#""decisions":[],"events":[]"#), "lists are lists: {posted}");

    let peer = Peer::on_tcp(vec![busy()]).await;
    let error = client(&config(&peer)).heartbeat().await.unwrap_err();
    let call = format!("Get \"http://{}/v1/heartbeat\"", peer.at());
    assert_eq!(error.to_string(), format!("{call}: API error: http code 503, no response body"));
}

#[tokio::test]
async fn a_registration_returns_whether_it_is_validated() {
    let peer = Peer::on_tcp(vec![
        sized("201 Created", "", ""),
        sized("202 Accepted", "", ""),
        sized("403 Forbidden", "", r#"{"message":"user 'm': user already exist"}"#),
    ])
    .await;
    let client = client(&MachineConfig { auth: MachineAuth::None, ..config(&peer) });
    let mut registration =
        Registration { machine_id: "m".into(), password: "p".into(), registration_token: String::new() };
    assert_eq!(client.register(&registration).await.unwrap(), Registered::Pending);
    registration.registration_token = "t".repeat(32);
    assert_eq!(client.register(&registration).await.unwrap(), Registered::Validated);
    let error = client.register(&registration).await.unwrap_err();
    assert_eq!(error.to_string(), "API error: user 'm': user already exist");

    let requests = peer.requests();
    assert!(requests[0].ends_with(r#"{"machine_id":"m","password":"p"}"#), "{}", requests[0]);
    assert!(requests[1].contains(r#""registration_token":"ttt"#));
}

#[tokio::test]
async fn other_servers_are_recognised() {
    let peer = Peer::on_tcp(vec![
        token("t"),
        sized("200 OK", "", "<html>"),
        sized("302 Found", "Location: http://elsewhere/\r\n", ""),
    ])
    .await;
    let client = client(&config(&peer));
    assert!(matches!(client.alert(1).await, Err(MachineError::Unexpected { .. })));
    let error = client.check_allowlist("10.0.0.0/8").await.unwrap_err();
    assert!(error.to_string().contains("elsewhere"), "{error}");
    assert!(peer.requests()[2].starts_with("get /v1/allowlists/check/10.0.0.0%2f8 "));
}

#[tokio::test]
async fn messages_name_the_setting_of_the_credentials_file() {
    let vacant = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let auth = || MachineAuth::Password { login: "m".into(), password: Secret::new("hunter2") };
    let error = client(&MachineConfig::new(format!("http://{vacant}"), auth())).login().await.unwrap_err();
    let text = palisade_go_compat::with_causes(&error);
    assert!(text.contains("is `url` right? (connection refused)") && !text.contains("api_url"), "{text}");
    let agent = UserAgent::new("palisade", "v0.1.0").unwrap();
    let error = MachineClient::new(&MachineConfig::new("ftp://lapi/", auth()), &agent).unwrap_err();
    assert!(error.to_string().starts_with("`url` \"ftp://lapi/\" cannot be used"), "{error}");
}
