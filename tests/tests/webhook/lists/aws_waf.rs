//! IP sets of AWS WAF: lock tokens, and signatures that are computed anew by Python.

use std::collections::BTreeSet;
use std::time::Duration;

use palisade_e2e::{Outcome, ServiceRequest, ServiceResponse, ServiceRules, story, tools};
use serde_json::{Value, json};

use super::{ListService, RunningList};

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "token/of+the=story";

/// Computes the signature of a request from AWS' documentation, and prints whether it is the request's.
const VERIFIER: &str = r#"
import hashlib, hmac, json, re, sys
given = json.load(sys.stdin)
headers = given["headers"]
found = re.fullmatch(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?"
    r"Signature=([0-9a-f]{64})", headers["authorization"])
key_id, date, region, service, signed, signature = found.groups()
names = signed.split(";")
assert names == sorted(names) and {"host", "x-amz-date", "x-amz-target", "x-amz-security-token"} <= set(names), names
assert (key_id, region, service) == (given["key_id"], "eu-west-1", "wafv2"), found.groups()
assert headers["x-amz-date"].startswith(date)
sha = lambda text: hashlib.sha256(text.encode()).hexdigest()
canonical = "\n".join([
    given["method"], given["target"], "",
    *(name + ":" + " ".join(headers[name].split()) for name in names), "", signed, sha(given["body"])])
scope = "/".join([date, region, service, "aws4_request"])
text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, sha(canonical)])
key = ("AWS4" + given["secret"]).encode()
for part in [date, region, service, "aws4_request"]:
    key = hmac.new(key, part.encode(), hashlib.sha256).digest()
print("valid" if hmac.new(key, text.encode(), hashlib.sha256).hexdigest() == signature else "invalid")
"#;

struct IpSet {
    name: &'static str,
    version: &'static str,
    addresses: BTreeSet<String>,
    lock: usize,
}

pub(super) struct AwsWafRules {
    sets: [IpSet; 2],
    uploads: usize,
    delay: Duration,
    failures: usize,
}

impl Default for AwsWafRules {
    fn default() -> Self {
        let set = |name, version| IpSet { name, version, addresses: BTreeSet::new(), lock: 1 };
        let sets = [set("blocked4", "IPV4"), set("blocked6", "IPV6")];
        Self { sets, uploads: 0, delay: Duration::ZERO, failures: 0 }
    }
}

fn amazon_error(status: u16, name: &str) -> ServiceResponse {
    ServiceResponse::json(
        status,
        &json!({ "__type": format!("com.amazonaws.wafv2#{name}"), "message": "not now" }),
    )
}

/// A CIDR block of this version, as a set requires.
fn block(version: &str, address: &Value) -> Result<String, String> {
    let text = address.as_str().ok_or("an address is no text")?;
    let net: ipnet_text::Block = text.parse()?;
    if (net.is_v4, version) != (true, "IPV4") && (net.is_v4, version) != (false, "IPV6") {
        return Err(format!("{text} in a set of {version}"));
    }
    Ok(text.to_owned())
}

/// Reads CIDR blocks without the crate that the program writes them with.
mod ipnet_text {
    use std::net::IpAddr;

    pub(super) struct Block {
        pub(super) is_v4: bool,
    }

    impl std::str::FromStr for Block {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let (base, length) = text.split_once('/').ok_or_else(|| format!("{text} has no length"))?;
            let base: IpAddr = base.parse().map_err(|_| format!("{text} is no block"))?;
            let length: u8 = length.parse().map_err(|_| format!("{text} is no block"))?;
            match (base.is_ipv4(), length) {
                (true, 1..=32) | (false, 1..=128) => Ok(Self { is_v4: base.is_ipv4() }),
                _ => Err(format!("{text} has no length that a set takes")),
            }
        }
    }
}

impl AwsWafRules {
    fn update(&mut self, index: usize, asked: &Value) -> Result<ServiceResponse, String> {
        self.uploads += 1;
        let mut keys: Vec<_> = asked.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if keys != ["Addresses", "Description", "Id", "LockToken", "Name", "Scope"] {
            return Err(format!("an update has {keys:?}"));
        }
        let set = &mut self.sets[index];
        if let Some(left) = self.failures.checked_sub(1) {
            self.failures = left;
            return Ok(match left % 4 {
                // Another client has changed the set.
                0 => {
                    set.lock += 1;
                    amazon_error(400, "WAFOptimisticLockException")
                }
                1 => amazon_error(400, "ThrottlingException"),
                2 => amazon_error(500, "WAFInternalErrorException"),
                _ => amazon_error(400, "WAFUnavailableEntityException"),
            });
        }
        if asked["LockToken"] != format!("lock-{}", set.lock) {
            return Ok(amazon_error(400, "WAFOptimisticLockException"));
        }
        let addresses = asked["Addresses"].as_array().ok_or("no addresses")?;
        let blocks = addresses.iter().map(|address| block(set.version, address));
        set.addresses = blocks.collect::<Result<_, _>>()?;
        if set.addresses.len() != addresses.len() || addresses.len() > 10_000 {
            return Err("too many addresses, or one twice".to_owned());
        }
        set.lock += 1;
        let next = format!("lock-{}", set.lock);
        Ok(ServiceResponse::json(200, &json!({ "NextLockToken": next }))
            .after(std::mem::take(&mut self.delay)))
    }
}

impl ServiceRules for AwsWafRules {
    fn respond(&mut self, request: &ServiceRequest) -> Result<ServiceResponse, String> {
        if (request.method.as_str(), request.target.as_str()) != ("POST", "/")
            || request.header("content-type") != "application/x-amz-json-1.1"
            || request.header("x-amz-security-token") != TOKEN
            || !request.header("authorization").starts_with("AWS4-HMAC-SHA256 ")
        {
            return Err(format!("{} {} with {:?}", request.method, request.target, request.headers));
        }
        let asked: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
        let is_named = |set: &IpSet| asked["Name"] == set.name && asked["Id"] == format!("id-{}", set.name);
        let Some(index) = self.sets.iter().position(is_named).filter(|_| asked["Scope"] == "REGIONAL") else {
            return Err(format!("an unknown set: {asked}"));
        };
        match request.header("x-amz-target") {
            "AWSWAF_20190729.GetIPSet" => {
                let set = &self.sets[index];
                let shown = json!({
                    "Name": set.name, "Id": format!("id-{}", set.name), "Description": "list of a story",
                    "ARN": format!("arn:aws:wafv2:eu-west-1:1:regional/ipset/{}", set.name),
                    "IPAddressVersion": set.version, "Addresses": set.addresses,
                });
                Ok(ServiceResponse::json(
                    200,
                    &json!({ "IPSet": shown, "LockToken": format!("lock-{}", set.lock) }),
                ))
            }
            "AWSWAF_20190729.UpdateIPSet" if asked["Description"] == "list of a story" => {
                self.update(index, &asked)
            }
            other => Err(format!("the action {other}: {asked}")),
        }
    }
}

impl ListService for AwsWafRules {
    fn keys(url: &str) -> Value {
        let set = |name: &str| json!({ "name": name, "id": format!("id-{name}") });
        let aws_waf = json!({
            "region": "eu-west-1", "ipv4": set("blocked4"), "ipv6": set("blocked6"),
            "access_key_id": KEY_ID, "secret_access_key": SECRET, "session_token": TOKEN,
        });
        json!({ "url": format!("{url}/"), "replace": { "aws_waf": aws_waf } })
    }

    fn listed(&self) -> BTreeSet<String> {
        let all = self.sets.iter().flat_map(|set| &set.addresses);
        all.map(|text| text.strip_suffix("/32").unwrap_or(text).to_owned()).collect()
    }

    fn uploads(&self) -> usize {
        self.uploads
    }

    fn hold_next(&mut self, delay: Duration) {
        self.delay = delay;
    }

    fn fail_next(&mut self, count: usize) {
        self.failures = count;
    }
}

fn verdict(request: &ServiceRequest, secret: &str) -> Outcome<String> {
    let headers: serde_json::Map<String, Value> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let input = json!({
        "method": request.method, "target": request.target, "headers": headers, "body": request.body,
        "key_id": KEY_ID, "secret": secret,
    });
    let mut python = tools::command("python3")?;
    python.args(["-c", VERIFIER]);
    Ok(tools::run(&mut python, &input.to_string())?.into_stdout()?.trim().to_owned())
}

#[test]
fn ip_sets_follow_bans_and_lifts() -> Outcome {
    story(|world| super::follows_bans_and_lifts(world, AwsWafRules::default()))
}

#[test]
fn unchanged_ip_sets_are_not_uploaded_twice_nor_after_a_restart() -> Outcome {
    story(|world| super::is_not_uploaded_twice(world, AwsWafRules::default()))
}

#[test]
fn ip_sets_are_updated_until_that_is_accepted() -> Outcome {
    story(|world| super::is_repeated_until_accepted(world, AwsWafRules::default()))
}

#[test]
fn no_ip_set_is_emptied_before_the_first_decisions() -> Outcome {
    story(|world| super::waits_for_the_first_decisions(world, AwsWafRules::default()))
}

#[test]
fn a_kill_during_an_update_leaves_the_right_ip_sets() -> Outcome {
    story(|world| super::survives_a_kill_during_an_upload(world, AwsWafRules::default()))
}

#[test]
fn requests_to_aws_have_the_signature_that_its_documentation_describes() -> Outcome {
    story(|world| {
        let running = RunningList::start(world, AwsWafRules::default(), &["192.0.2.1", "2001:db8:1::/48"])?;
        running.lists(&["192.0.2.1", "2001:db8:1::/48"])?;
        running.accepted(1)?;
        let requests = running.service.requests();
        assert!(requests.len() >= 4, "{requests:?}");
        for request in &requests {
            assert_eq!(verdict(request, SECRET)?, "valid", "{request:?}");
            let mut changed = request.clone();
            changed.body.push(' ');
            assert_eq!(verdict(&changed, SECRET)?, "invalid");
        }
        assert!(!running.webhook.log().contains(SECRET) && !running.webhook.log().contains(TOKEN));
        Ok(())
    })
}
