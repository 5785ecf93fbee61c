//! Checks the `replace` block: receivers of whole lists.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::super::file::{AwsWafFile, CloudflareFile, EndpointFile, IpSetFile, ReplaceFile};
use super::super::{AwsWafConfig, HttpConfig, ReplaceConfig, ReplaceService};
use super::Check;

const CLOUDFLARE_API: &str = "https://api.cloudflare.com/client/v4";

impl Check<'_> {
    pub(super) fn replace(
        &mut self,
        key: &str,
        file: ReplaceFile,
        endpoint: &mut EndpointFile,
    ) -> Option<ReplaceConfig> {
        self.refuse_delivery_keys(key, endpoint);
        let block = format!("{key}.replace");
        let second = Duration::from_secs(1);
        let interval = self.wrong.duration(format!("{block}.interval"), file.interval, 30 * second, second);
        let max_entries =
            self.wrong.number(format!("{block}.max_entries"), file.max_entries, 10_000, (1, 1_000_000));
        let service = match (file.cloudflare, file.aws_waf) {
            (Some(_), Some(_)) => {
                self.wrong.add(
                    format!("{block}.aws_waf"),
                    "there is `cloudflare` too; give each an endpoint of its own",
                );
                return None;
            }
            (Some(cloudflare), None) => self.cloudflare(key, cloudflare, endpoint)?,
            (None, Some(aws)) => self.aws_waf(key, aws, endpoint)?,
            (None, None) => {
                if endpoint.method.is_none() {
                    endpoint.method = Some("PUT".to_owned());
                }
                ReplaceService::Http(Arc::new(self.http(key, endpoint)?.0))
            }
        };
        Some(ReplaceConfig { service, interval, max_entries, aggregate: file.aggregate.unwrap_or(false) })
    }

    fn cloudflare(
        &mut self,
        key: &str,
        file: CloudflareFile,
        endpoint: &mut EndpointFile,
    ) -> Option<ReplaceService> {
        let block = format!("{key}.replace.cloudflare");
        let account = self.word(&format!("{block}.account"), file.account, "the account's id");
        let list = self.word(&format!("{block}.list"), file.list, "the list's id");
        let http = self.api(key, endpoint, CLOUDFLARE_API.to_owned())?;
        if http.auth.bearer.is_none() {
            self.wrong
                .add(format!("{key}.bearer_file"), "give an API token that may edit account filter lists");
        }
        let long_ipv6 = file.long_ipv6.unwrap_or_default();
        Some(ReplaceService::Cloudflare { account: account?, list: list?, long_ipv6, http: Arc::new(http) })
    }

    fn aws_waf(
        &mut self,
        key: &str,
        file: AwsWafFile,
        endpoint: &mut EndpointFile,
    ) -> Option<ReplaceService> {
        let block = format!("{key}.replace.aws_waf");
        let cloudfront = file.cloudfront.unwrap_or(false);
        let given = file.region.or_else(|| cloudfront.then(|| "us-east-1".to_owned()));
        let region = self.word(&format!("{block}.region"), given, "the region, such as eu-west-1")?;
        if cloudfront && region != "us-east-1" {
            self.wrong.add(format!("{block}.region"), "sets of CloudFront are in us-east-1");
        }
        let keys = [
            ("bearer", endpoint.bearer.is_some()),
            ("bearer_file", endpoint.bearer_file.is_some()),
            ("basic", endpoint.basic.is_some()),
        ];
        self.refuse(key, &keys, "requests are signed with the access key");
        let http = self.api(key, endpoint, format!("https://wafv2.{region}.amazonaws.com/"))?;
        let ipv4 = file.ipv4.and_then(|set| self.ip_set(&format!("{block}.ipv4"), set));
        let ipv6 = file.ipv6.and_then(|set| self.ip_set(&format!("{block}.ipv6"), set));
        if ipv4.is_none() && ipv6.is_none() {
            self.wrong.add(block.clone(), "name an IP set, `ipv4` or `ipv6`, by its name and id");
        }
        let access_key_id =
            self.word(&format!("{block}.access_key_id"), file.access_key_id, "the access key");
        let secret_key = format!("{block}.secret_access_key");
        let secret = self.secret(&secret_key, file.secret_access_key, file.secret_access_key_file);
        if secret.is_none() {
            self.wrong.add(secret_key, "give the secret of the access key, or `secret_access_key_file`");
        }
        let session_token =
            self.secret(&format!("{block}.session_token"), file.session_token, file.session_token_file);
        Some(ReplaceService::AwsWaf(Arc::new(AwsWafConfig {
            region,
            cloudfront,
            ipv4,
            ipv6,
            access_key_id: access_key_id?,
            secret_access_key: secret?,
            session_token,
            http: Arc::new(http),
        })))
    }

    /// A list is sent whole, so there is nothing to put together, to keep or to repeat.
    fn refuse_delivery_keys(&mut self, key: &str, endpoint: &EndpointFile) {
        let keys = [
            ("events", endpoint.events.is_some()),
            ("initial", endpoint.initial.is_some()),
            ("batch", endpoint.batch.is_some()),
            ("parallel", endpoint.parallel.is_some()),
            ("hold_repeats", endpoint.hold_repeats.is_some()),
            ("replay_at_start", endpoint.replay_at_start.is_some()),
            ("keep_history", endpoint.keep_history.is_some()),
            ("max_dead_letters", endpoint.max_dead_letters.is_some()),
        ];
        self.refuse(key, &keys, "it has no effect on whole lists");
    }

    /// The HTTP keys of an endpoint whose URL is known.
    fn api(&mut self, key: &str, endpoint: &mut EndpointFile, url: String) -> Option<HttpConfig> {
        let keys = [
            ("method", endpoint.method.is_some()),
            ("template", endpoint.template.is_some()),
            ("template_file", endpoint.template_file.is_some()),
            ("body", endpoint.body.is_some()),
            ("content_type", endpoint.content_type.is_some()),
            ("options", endpoint.options.is_some()),
            ("signing_secrets", endpoint.signing_secrets.is_some()),
            ("signing_secret_files", endpoint.signing_secret_files.is_some()),
            ("hmac", endpoint.hmac.is_some()),
        ];
        self.refuse(key, &keys, "it has no effect on this service");
        if endpoint.url_file.is_none() {
            endpoint.url.get_or_insert(url);
        }
        let (mut http, _) = self.http(key, endpoint)?;
        http.method = Method::POST;
        Some(http)
    }

    fn ip_set(&mut self, key: &str, file: IpSetFile) -> Option<(String, String)> {
        let name = self.word(&format!("{key}.name"), file.name, "the set's name");
        let id = self.word(&format!("{key}.id"), file.id, "the set's id");
        Some((name?, id?))
    }

    /// A text of letters, digits, `-`, `_` and `.`: what may become part of a URL unchanged.
    fn word(&mut self, key: &str, given: Option<String>, what: &str) -> Option<String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let sound = given.filter(|text| !text.is_empty() && text.len() <= 128 && text.bytes().all(is_plain));
        if sound.is_none() {
            self.wrong.add(key, format!("give {what}: letters, digits, - and _"));
        }
        sound
    }
}
