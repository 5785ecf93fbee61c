//! Queries for the decisions on one target.

use std::time::{Duration, Instant};

use crate::peer::{Answer, Peer, chunked, chunks, sized};
use palisade_client::{Auth, Client, ClientConfig, DecisionTarget, PullError, Secret, UserAgent};

const TWO: &str = r#"[{"duration":"4h","id":2,"origin":"cscli","scenario":"s","scope":"Ip","type":"ban","value":"192.0.2.1"},{"bad":1},{"duration":"1h","id":3,"origin":"lists","scenario":"tor","scope":"Range","type":"captcha","value":"192.0.2.0/24"}]"#;
const LONGEST: Duration = Duration::from_millis(300);

fn client_of(peer: &Peer) -> Client {
    let config = ClientConfig::new(format!("http://{}", peer.at()), Auth::Key(Secret::new("secret-key")));
    Client::new(&config, &UserAgent::new("palisade-test", "v0.1.0").unwrap()).unwrap()
}

async fn ask(client: &Client, target: DecisionTarget<'_>) -> Result<(Vec<String>, u64), PullError> {
    let mut seen = Vec::new();
    let unreadable = client
        .decisions_on(target, LONGEST, &mut |decision| {
            seen.push(format!("{} {}", decision.value, decision.kind));
        })
        .await?;
    Ok((seen, unreadable))
}

#[tokio::test]
async fn decisions_on_addresses_and_names_are_read() {
    let peer =
        Peer::on_tcp(vec![sized("200 OK", "", TWO), chunked(&["null"]), sized("200 OK", "", "[]")]).await;
    let client = client_of(&peer);
    let (seen, unreadable) =
        ask(&client, DecisionTarget::Address("192.0.2.1".parse().unwrap())).await.unwrap();
    assert_eq!((seen, unreadable), (vec!["192.0.2.1 ban".to_owned(), "192.0.2.0/24 captcha".to_owned()], 1));
    let country = DecisionTarget::Named { scope: "Country", value: "FR" };
    assert_eq!(ask(&client, country).await.unwrap().0.len(), 0);
    let six = DecisionTarget::Address("2001:db8::1".parse().unwrap());
    assert_eq!(ask(&client, six).await.unwrap().0.len(), 0);
    let requests = peer.requests();
    for (request, line) in requests.iter().zip([
        "get /v1/decisions?ip=192.0.2.1 http/1.1\r\n",
        "get /v1/decisions?scope=country&value=fr http/1.1\r\n",
        "get /v1/decisions?ip=2001%3adb8%3a%3a1 http/1.1\r\n",
    ]) {
        assert!(request.starts_with(line) && request.contains("x-api-key: secret-key"), "{request}");
    }
}

#[tokio::test]
async fn an_incomplete_or_late_answer_is_none() {
    let target = DecisionTarget::Address("192.0.2.1".parse().unwrap());
    for answer in [
        Answer::ThenClose(chunks(&["[{\"duration\":"])),
        Answer::ThenSilence(chunks(&["[{\"duration\":"])),
        Answer::ThenSilence(Vec::new()),
        Answer::ThenDrips(chunks(&["["]), b"1\r\n \r\n".to_vec(), 20),
        sized("200 OK", "", "{}"),
        sized("500 Internal Server Error", "", "{\"message\":\"no\"}"),
        sized("403 Forbidden", "", "{\"message\":\"access forbidden\"}"),
        Answer::Whole(chunks(&[&format!("[{}", " ".repeat(3 << 20))])),
    ] {
        let peer = Peer::on_tcp(vec![answer]).await;
        let began = Instant::now();
        let asked = tokio::time::timeout(Duration::from_secs(20), ask(&client_of(&peer), target)).await;
        assert!(asked.unwrap().is_err());
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
