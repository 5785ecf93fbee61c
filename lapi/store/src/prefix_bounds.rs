//! Prefixes as the database stores them: first and last address, 4 or 16 bytes, compared bytewise.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::engine::Sql;

/// The first and last address of a prefix.
pub(crate) fn bounds(net: &IpNet) -> (Vec<u8>, Vec<u8>) {
    (octets(net.network()), octets(net.broadcast()))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

/// The first addresses of all prefixes that contain this one, without duplicates. Every stored pair of bounds is a
/// prefix, so one that covers this prefix begins at one of them: at most 129 index lookups instead of a scan of half
/// the index.
fn beginnings(net: &IpNet) -> Vec<Vec<u8>> {
    let mut list: Vec<Vec<u8>> = (0..=net.prefix_len())
        .filter_map(|length| IpNet::new(net.addr(), length).ok())
        .map(|around| octets(around.network()))
        .collect();
    // Shorter prefixes often begin at the same address, and equal ones are neighbours.
    list.dedup();
    list
}

/// Appends the condition that the decision's prefix covers `net`.
pub(crate) fn push_covers(sql: &mut Sql, table: &str, net: &IpNet) {
    sql.push(table).push("start_ip").in_bytes(beginnings(net));
    sql.push(" AND ").push(table).push("end_ip >= ").arg(bounds(net).1);
}

/// Appends the condition that the decision's prefix lies within `net`.
pub(crate) fn push_within(sql: &mut Sql, table: &str, net: &IpNet) {
    let (first, last) = bounds(net);
    let size = i64::try_from(first.len()).expect("4 or 16");
    sql.push(table).push("start_ip >= ").arg(first);
    sql.push(" AND ").push(table).push("start_ip <= ").arg(last.clone());
    sql.push(" AND ").push(table).push("end_ip <= ").arg(last);
    // Bytes are compared from the front, so an IPv6 address can lie between two IPv4 addresses.
    sql.push(" AND length(").push(table).push("start_ip) = ").arg(size);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_covered_from_few_places() {
        let host: IpNet = "10.0.0.1/32".parse().unwrap();
        let starts = beginnings(&host);
        assert_eq!(starts, [vec![0, 0, 0, 0], vec![8, 0, 0, 0], vec![10, 0, 0, 0], vec![10, 0, 0, 1]]);
        let range: IpNet = "10.1.2.3/8".parse().unwrap();
        assert_eq!(bounds(&range), (vec![10, 0, 0, 0], vec![10, 255, 255, 255]));
        assert_eq!(beginnings(&"ffff::ffff/128".parse().unwrap()).len(), 33);
    }
}
