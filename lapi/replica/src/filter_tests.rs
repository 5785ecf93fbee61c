use super::*;
use palisade_model::{Commit, Target};
use palisade_wire::UnixMillis;

fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (name.to_owned(), value.to_owned())
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn row(origin: &str, scenario: &str, scope: &str, kind: &str, value: &str) -> StoredDecision {
    StoredDecision {
        id: 1,
        commit: Commit(1),
        until: UnixMillis(1),
        alert: 1,
        simulated: false,
        uuid: None,
        origin: origin.into(),
        scenario: scenario.into(),
        target: Target::stored(scope, value),
        remediation: kind.into(),
    }
}

/// Both forms of the query must agree.
fn passes(filter: &Filter, row: &StoredDecision) -> bool {
    let label = crate::label::Labels::default().of(row, false);
    let packed = Packed::new(row, label);
    let fast = crate::matcher::Matcher::new(filter.clone()).matches(&packed);
    assert_eq!(filter.matches(row), fast, "{filter:?} {row:?}");
    fast
}

#[test]
fn every_stream_parameter_means_what_it_means_to_the_stock_server() {
    let ip = row("crowdsec", "crowdsecurity/SSH-bf", "Ip", "ban", "192.0.2.7");
    let range = row("lists", "tor", "Range", "captcha", "192.0.2.0/24");
    let country = row("cscli", "by hand", "Country", "ban", "FR");
    let old = row("cscli", "by hand", "ip", "ban", "192.0.2.7");
    let six = row("CAPI", "http:scan", "Ip", "ban", "2001:db8::7");
    let mapped = row("cscli", "x", "Ip", "ban", "::ffff:192.0.2.7");
    let all = [&ip, &range, &country, &old, &six, &mapped];
    for (query, wanted) in [
        ("", [true, true, false, false, true, true]),
        ("scopes=ip", [true, false, false, false, true, true]),
        ("scopes=IP,COUNTRY", [true, false, true, false, true, true]),
        ("scopes=ip, range", [true, false, false, false, true, true]),
        ("scope=country", [false; 6]),
        ("scope=country&scopes=country,ip", [false, false, true, false, false, false]),
        ("scopes=", [false; 6]),
        ("scopes=country&scopes=ip", [false, false, true, false, false, false]),
        ("origins=lists,CAPI", [false, true, false, false, true, false]),
        ("origins=Lists", [false; 6]),
        ("origins= lists", [false; 6]),
        ("scenarios_containing=ssh", [true, false, false, false, false, false]),
        ("scenarios_containing=SSH,TOR", [true, true, false, false, false, false]),
        ("scenarios_containing=ssh,", [true, true, false, false, true, true]),
        ("scenarios_not_containing=ssh", [false, true, false, false, true, true]),
        ("scenarios_not_containing=", [false; 6]),
        ("scenarios_not_containing=ssh, tor", [false, true, false, false, true, true]),
        ("value=192.0.2.7", [true, false, false, false, false, false]),
        ("type=captcha", [false, true, false, false, false, false]),
        ("ip=192.0.2.7", [true, true, false, false, false, true]),
        ("ip=::ffff:192.0.2.7", [true, true, false, false, false, true]),
        ("range=192.0.2.0/25", [false, true, false, false, false, false]),
        ("range=192.0.2.99/24", [false, true, false, false, false, false]),
        ("range=192.0.2.0/24&contains=false", [true, true, false, false, false, true]),
        ("ip=192.0.2.0/16&contains=0", [true, true, false, false, false, true]),
        ("range=::/0&contains=false", [false, false, false, false, true, false]),
        ("range=0.0.0.0/0&contains=false", [true, true, false, false, false, true]),
        (
            "community_pull=false&additional_pull=false&limit=zz&id_gt=zz&offset=9",
            [true, true, false, false, true, true],
        ),
    ] {
        let request = Filter::for_stream(&pairs(query)).unwrap();
        assert_eq!(all.map(|row| passes(&request.filter, row)), wanted, "{query}");
    }
}

#[test]
fn start_up_and_de_duplication_are_literal_and_simulated_is_anything_but_false() {
    for (query, startup, dedup, simulated) in [
        ("", false, true, false),
        ("startup=true", true, true, false),
        ("startup=True&dedup=False", false, true, false),
        ("startup=1&dedup=0", false, true, false),
        ("startup=&dedup=", false, true, false),
        ("dedup=false", false, false, false),
        ("startup=false&startup=true", false, true, false),
        ("simulated=true", false, true, true),
        ("simulated=", false, true, true),
        ("simulated=false", false, true, false),
    ] {
        let request = Filter::for_stream(&pairs(query)).unwrap();
        assert_eq!((request.startup, request.dedup), (startup, dedup), "{query}");
        let row = StoredDecision { simulated: true, ..row("a", "b", "Ip", "ban", "192.0.2.1") };
        assert_eq!(passes(&request.filter, &row), simulated, "{query}");
    }
}

#[test]
fn a_query_has_no_scopes_of_its_own_but_paging() {
    let filter = Filter::for_query(&pairs("limit=10&offset=2&id_gt=7")).unwrap();
    assert_eq!((filter.limit, filter.offset, filter.id_gt), (Some(10), 2, Some(7)));
    assert!(passes(&filter, &row("cscli", "x", "session", "ban", "abc")));
    let filter = Filter::for_query(&pairs("limit=-1&offset=-1")).unwrap();
    assert_eq!((filter.limit, filter.offset), (None, 0));
    for query in ["scope=country&value=FR", "scopes=Country&value=FR&startup=true&dedup=false"] {
        let filter = Filter::for_query(&pairs(query)).unwrap();
        assert!(passes(&filter, &row("cscli", "x", "Country", "ban", "FR")));
        assert!(!passes(&filter, &row("cscli", "x", "AS", "ban", "FR")));
    }
}

#[test]
fn a_deletion_means_simulated_ones_too_and_knows_few_parameters() {
    let uuid = "0b4c2f50-2a6e-4b0d-8c3e-0a4b5c6d7e8f";
    let ban = StoredDecision {
        uuid: Some(uuid.parse().unwrap()),
        simulated: true,
        ..row("cscli", "by hand", "Ip", "ban", "192.0.2.1")
    };
    for (query, wanted) in [
        ("", true),
        ("scope=ip&origin=cscli&scenario=by hand&type=ban&value=192.0.2.1&ip=192.0.2.1", true),
        ("scopes=Ip", true),
        ("scopes=Ip,Range", false),
        ("origin=cscli,CAPI", false),
        ("scenario=by", false),
        (&format!("uuid=nonsense&uuid={uuid}"), true),
        ("uuid=nonsense", false),
        ("range=192.0.2.0/24", false),
        ("range=192.0.2.0/24&contains=false", true),
    ] {
        assert_eq!(passes(&Filter::for_deletion(&pairs(query)).unwrap(), &ban), wanted, "{query}");
    }
}

#[test]
fn refusals_are_in_the_words_of_the_stock_server() {
    let stream = |query: &str| Filter::for_stream(&pairs(query)).unwrap_err().to_string();
    let query = |query: &str| Filter::for_query(&pairs(query)).unwrap_err().to_string();
    let deletion = |query: &str| Filter::for_deletion(&pairs(query)).unwrap_err().to_string();
    let address = "unable to convert 'zz' to int: invalid ip address 'zz': invalid ip address / range";
    assert_eq!([stream("ip=zz"), query("range=zz"), deletion("ip=zz")], [address; 3].map(str::to_owned));
    assert_eq!(query("ip=192.0.2.1&range=zz"), address);
    assert_eq!(
        query("range=192.0.2.0/33"),
        "unable to convert '192.0.2.0/33' to int: invalid ip range '192.0.2.0/33': invalid CIDR address: \
         192.0.2.0/33: invalid ip address / range"
    );
    assert_eq!(
        query("ip="),
        "unable to convert '' to int: invalid ip address '': invalid ip address / range"
    );
    assert_eq!(
        stream("contains=maybe"),
        "invalid contains value: strconv.ParseBool: parsing \"maybe\": invalid syntax: invalid filter"
    );
    assert_eq!(
        query("limit=ten"),
        "invalid limit value: strconv.Atoi: parsing \"ten\": invalid syntax: invalid filter"
    );
    assert_eq!(
        query("id_gt=99999999999999999999"),
        "invalid id_gt value: strconv.Atoi: parsing \"99999999999999999999\": value out of range: invalid filter"
    );
    assert_eq!(
        query("offset="),
        "invalid offset value: strconv.Atoi: parsing \"\": invalid syntax: invalid filter"
    );
    for name in ["limit", "scenarios_containing", "origins", "simulated", "id"] {
        assert_eq!(deletion(&format!("{name}=1")), format!("'{name}' doesn't exist: invalid filter"));
    }
}
