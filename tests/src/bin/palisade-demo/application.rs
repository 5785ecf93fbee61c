//! What the doors protect: a service on each host with a firewall, and the application behind the proxy.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use palisade_e2e::{Host, Outcome};

use crate::http::{self, Response};

/// The port of the application, on the loopback of its host.
pub(crate) const PORT: u16 = 3000;

/// A service that answers with its host's name.
pub(crate) fn greets(host: &Host, port: u16) -> Outcome {
    let greeting = format!("{} answers\n", host.name());
    http::serve(host, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), move |_| Response {
        status: "200 OK",
        content_type: "text/plain",
        body: greeting.clone(),
    })
}

/// The application: a page that shows the address of the client, as forwarded by the proxy.
pub(crate) fn start(host: &Host) -> Outcome {
    http::serve(host, SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), |request| {
        let client = request.header("x-forwarded-for").and_then(|text| text.parse::<IpAddr>().ok());
        let client = client.map_or("unknown".to_owned(), |address| address.to_string());
        Response {
            status: "200 OK",
            content_type: "text/html; charset=utf-8",
            body: format!(
                "<!doctype html><title>The application</title>\n\
                 <h1>Come in</h1><p>You are {client}.\n"
            ),
        }
    })
}
