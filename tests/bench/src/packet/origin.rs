//! Where decisions come from: the origins a LAPI names, and subscribed lists.

use ipnet::IpNet;

/// An origin, and its scenario; for `lists` the name of the list.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    origin: &'static str,
    scenario: String,
}

impl Origin {
    /// So many different ones; each becomes a set of its own in a stock bouncer.
    pub(crate) fn several(count: usize) -> Vec<Self> {
        let known = [("CAPI", "http:scan"), ("crowdsec", "crowdsecurity/ssh-bf"), ("cscli", "manual")];
        let known = known.map(|(origin, scenario)| Self { origin, scenario: scenario.to_owned() });
        let lists = (1..).map(|n| Self { origin: "lists", scenario: format!("blocklist-{n}") });
        known.into_iter().chain(lists).take(count).collect()
    }

    /// The end of the name of a stock bouncer's set.
    pub(crate) fn set_suffix(&self) -> String {
        match self.origin {
            "lists" => format!("lists-{}", self.scenario),
            origin => origin.to_owned(),
        }
    }

    /// The decision of a stock LAPI that bans this.
    pub(crate) fn decision(&self, id: usize, net: IpNet) -> String {
        let host = net.prefix_len() == net.max_prefix_len();
        let (scope, value) = if host { ("Ip", net.addr().to_string()) } else { ("Range", net.to_string()) };
        let Self { origin, scenario } = self;
        format!(
            r#"{{"duration":"{}h59m58s","id":{id},"origin":"{origin}","scenario":"{scenario}","scope":"{scope}","type":"ban","value":"{value}"}}"#,
            23 + id % 100
        )
    }
}
