//! Functions on addresses, ranges and geographic positions.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    arguments::text_at,
    error::Fault,
    function::{Pure, Signature},
    limits::Budget,
    value::{Type, Value},
};

const TEXT: Type = Type::Text;

pub(super) fn all() -> Vec<(Signature, Pure)> {
    vec![
        (Signature::new("IsIP", &[TEXT], Type::Bool), is_ip as Pure),
        (Signature::new("IsIPV4", &[TEXT], Type::Bool), is_ipv4),
        (Signature::new("IsIPV6", &[TEXT], Type::Bool), is_ipv6),
        (Signature::new("IpInRange", &[TEXT, TEXT], Type::Bool), ip_in_range),
        (Signature::new("IpToRange", &[TEXT, TEXT], TEXT), ip_to_range),
        (Signature::new("Distance", &[TEXT, TEXT, TEXT, TEXT], Type::Float), distance),
    ]
}

/// Parses an address; an IPv4-mapped IPv6 address becomes IPv4.
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn is_ip<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(Value::Bool(address(text_at(args, 0)?).is_some()))
}

fn is_ipv4<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(Value::Bool(address(text_at(args, 0)?).is_some_and(|address| address.is_ipv4())))
}

fn is_ipv6<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(Value::Bool(address(text_at(args, 0)?).is_some_and(|address| address.is_ipv6())))
}

/// False if either argument is invalid.
fn ip_in_range<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    let (ip, range) = (address(text_at(args, 0)?), text_at(args, 1)?.parse::<IpNet>());
    Ok(Value::Bool(matches!((ip, range), (Some(ip), Ok(range)) if range.contains(&ip))))
}

/// `192.0.2.17` and `24` (or `/24`) is `192.0.2.0/24`; empty if the arguments are invalid.
fn ip_to_range<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    let (ip, bits) = (address(text_at(args, 0)?), text_at(args, 1)?);
    let bits = bits.strip_prefix('/').unwrap_or(bits).parse::<u8>();
    let range = match (ip, bits) {
        (Some(ip), Ok(bits)) => IpNet::new(ip, bits).ok(),
        _ => None,
    };
    Ok(Value::from(range.map_or(String::new(), |range| range.trunc().to_string())))
}

/// Kilometres between two positions given as texts; 0 if either is at 0,0, which means unknown.
fn distance<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    let mut degrees = [0.0_f64; 4];
    for (index, degree) in degrees.iter_mut().enumerate() {
        let text = text_at(args, index)?;
        *degree = text.parse().map_err(|_| Fault(format!("{:?} is no number of degrees", &**text)))?;
    }
    let [lat1, lon1, lat2, lon2] = degrees;
    if (lat1 == 0.0 && lon1 == 0.0) || (lat2 == 0.0 && lon2 == 0.0) {
        return Ok(Value::Float(0.0));
    }
    /// The mean radius of the earth in kilometres.
    const EARTH: f64 = 6371.0;
    let (phi1, phi2) = (lat1.to_radians(), lat2.to_radians());
    let half_lat = ((phi2 - phi1) / 2.0).sin();
    let half_lon = ((lon2 - lon1).to_radians() / 2.0).sin();
    let chord = half_lat * half_lat + phi1.cos() * phi2.cos() * half_lon * half_lon;
    Ok(Value::Float(2.0 * EARTH * chord.sqrt().atan2((1.0 - chord).max(0.0).sqrt())))
}
