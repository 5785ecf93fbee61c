//! The evaluation of rules and chains, as tables.

use std::net::IpAddr;

use super::super::ruleset::{Base, Rule, SetShape};
use super::*;
use crate::clause::Side;
use crate::netlink::nfproto;

/// Sets in memory: elements by key.
#[derive(Default)]
struct Table(HashMap<(String, Vec<u8>), Element>);

impl Sets for Table {
    fn find(&mut self, set: &SetKey, key: &[u8]) -> Membership {
        match self.0.get(&(set.2.clone(), key.to_vec())) {
            Some(element) => Membership::Has(element.clone()),
            None => Membership::Lacks,
        }
    }
}

fn chain(name: &str, base: bool, rules: Vec<Vec<Expression>>) -> Chain {
    let base = base.then(|| Base { kind: "filter".into(), hook: 1, priority: 0, accepts: true });
    let rules = (1..).zip(rules).map(|(handle, expressions)| Rule { handle, expressions }).collect();
    Chain { family: nfproto::INET, table: "t".into(), name: name.into(), base, rules }
}

fn source(address: &str) -> Vec<Expression> {
    let IpAddr::V4(address) = address.parse().unwrap() else { panic!("IPv4 only") };
    vec![
        Expression::Load(Content::Network(12, 4), 1),
        Expression::Compare(1, Comparison::Equal, address.octets().to_vec()),
    ]
}

fn port(number: u16) -> Vec<Expression> {
    vec![
        Expression::Load(Content::TransportProtocol, 1),
        Expression::Compare(1, Comparison::Equal, vec![6]),
        Expression::Load(Content::Transport(2, 2), 1),
        Expression::Compare(1, Comparison::Equal, number.to_be_bytes().to_vec()),
    ]
}

fn interface_is(name: &str) -> Vec<Expression> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    vec![Expression::Load(Content::Interface, 1), Expression::Compare(1, Comparison::Equal, bytes)]
}

fn established() -> Vec<Expression> {
    vec![
        Expression::Load(Content::ConnectionState, 1),
        Expression::Bits { from: 1, to: 1, mask: 6_u32.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expression::Compare(1, Comparison::NotEqual, vec![0; 4]),
    ]
}

fn with(mut expressions: Vec<Expression>, verdict: Verdict) -> Vec<Expression> {
    expressions.push(Expression::Verdict(verdict));
    expressions
}

fn evaluate(chains: Vec<Chain>, port: Option<u16>) -> Outcome {
    let shape = SetShape { flags: 0, key_bytes: 4 };
    let sets = HashMap::from([((nfproto::INET, "t".into(), "s".into()), shape)]);
    let ruleset = Ruleset { chains, sets, ..Ruleset::default() };
    let elements = HashMap::from([(("s".to_owned(), vec![192, 0, 2, 7]), Element::default())]);
    let packet = Packet::new("192.0.2.7".parse().unwrap(), Side::Source, port.map(|number| (6, number)));
    let base = ruleset.chains[0].clone();
    base_chain(&ruleset, &mut Table(elements), &base, &packet)
}

#[test]
fn rules_match_or_do_not_or_cannot_be_judged() {
    let mask = |bytes: [u8; 4], net: [u8; 4]| {
        vec![
            Expression::Load(Content::Network(12, 4), 1),
            Expression::Bits { from: 1, to: 1, mask: bytes.to_vec(), xor: vec![0; 4] },
            Expression::Compare(1, Comparison::Equal, net.to_vec()),
        ]
    };
    let lookup = |inverted| {
        vec![
            Expression::Load(Content::Network(12, 4), 8),
            Expression::Lookup { set: "s".into(), register: 8, inverted, result: None },
        ]
    };
    let family = |number| {
        vec![Expression::Load(Content::Family, 1), Expression::Compare(1, Comparison::Equal, vec![number])]
    };
    let range = |from: u16, to: u16, inside| {
        vec![
            Expression::Load(Content::Transport(2, 2), 1),
            Expression::Range {
                register: 1,
                inside,
                from: from.to_be_bytes().to_vec(),
                to: to.to_be_bytes().to_vec(),
            },
        ]
    };
    let destination = vec![
        Expression::Load(Content::Network(16, 4), 1),
        Expression::Compare(1, Comparison::Equal, vec![9; 4]),
    ];
    let opaque = vec![Expression::Opaque("limit".into())];
    for (expressions, given, expected) in [
        (source("192.0.2.7"), None, Truth::Yes),
        (source("192.0.2.8"), None, Truth::No),
        (destination, None, Truth::Unknown),
        (mask([255, 255, 255, 0], [192, 0, 2, 0]), None, Truth::Yes),
        (mask([255, 255, 255, 0], [192, 0, 3, 0]), None, Truth::No),
        (lookup(false), None, Truth::Yes),
        (lookup(true), None, Truth::No),
        (family(nfproto::IPV4), None, Truth::Yes),
        (family(nfproto::IPV6), None, Truth::No),
        (port(22), Some(22), Truth::Yes),
        (port(22), Some(23), Truth::No),
        (port(22), None, Truth::Unknown),
        (range(20, 30, true), Some(22), Truth::Yes),
        (range(20, 30, false), Some(22), Truth::No),
        (range(20, 30, true), None, Truth::Unknown),
        (interface_is("lo"), None, Truth::No),
        (interface_is("eth0"), None, Truth::Unknown),
        (established(), None, Truth::No),
        (opaque.clone(), None, Truth::Unknown),
        // What does not match does not match, whatever else is unknown.
        ([opaque, source("192.0.2.8")].concat(), None, Truth::No),
    ] {
        let outcome = evaluate(vec![chain("c", true, vec![with(expressions.clone(), Verdict::Drop)])], given);
        let truth = match (&outcome.verdict, outcome.doubts.len()) {
            (Verdict::Drop, 0) => Truth::Yes,
            (Verdict::Accept, 0) => Truth::No,
            _ => Truth::Unknown,
        };
        assert_eq!(truth, expected, "{expressions:?}");
    }
}

#[test]
fn jumps_come_back_and_gotos_do_not() {
    let drop_all = vec![Expression::Verdict(Verdict::Drop)];
    let to = |verdict| vec![Expression::Verdict(verdict)];
    let (jump, goto) = (Verdict::Jump("d".into()), Verdict::Goto("d".into()));
    let empty = || chain("d", false, vec![to(Verdict::Return), drop_all.clone()]);
    let outcome = evaluate(vec![chain("c", true, vec![to(jump.clone()), drop_all.clone()]), empty()], None);
    assert_eq!(outcome.by, Some(Place { chain: "c".into(), handle: 2 }));
    let outcome = evaluate(vec![chain("c", true, vec![to(goto), drop_all.clone()]), empty()], None);
    assert_eq!((outcome.verdict, outcome.by), (Verdict::Accept, None));
    let denies = chain("d", false, vec![drop_all]);
    let outcome = evaluate(vec![chain("c", true, vec![to(jump.clone()), to(Verdict::Accept)]), denies], None);
    assert_eq!(outcome.by, Some(Place { chain: "d".into(), handle: 1 }));
    let circle = chain("d", false, vec![to(jump.clone())]);
    assert!(evaluate(vec![chain("c", true, vec![to(jump)]), circle], None).cut_off);
}

#[test]
fn what_cannot_be_judged_is_a_doubt_and_is_passed_over() {
    let rules = vec![
        with(interface_is("eth1"), Verdict::Return),
        with(port(22), Verdict::Jump("d".into())),
        vec![Expression::Verdict(Verdict::Reject)],
    ];
    let inner = chain("d", false, vec![vec![Expression::Verdict(Verdict::Accept)]]);
    let outcome = evaluate(vec![chain("c", true, rules), inner], None);
    assert_eq!(outcome.verdict, Verdict::Reject);
    let doubts: Vec<_> = outcome.doubts.iter().map(|doubt| doubt.verdict.to_string()).collect();
    assert_eq!(doubts, ["return", "accept"]);
    assert_eq!(outcome.may_deny().count(), 0);
}

#[test]
fn the_policy_decides_last() {
    let mut strict = chain("c", true, vec![with(source("192.0.2.8"), Verdict::Accept)]);
    if let Some(base) = &mut strict.base {
        base.accepts = false;
    }
    let outcome = evaluate(vec![strict], None);
    assert_eq!((outcome.verdict, outcome.by), (Verdict::Drop, None));
}
