//! End-to-end tests that run the built binaries against real peers, and their harness.
//!
//! A test (*story*) runs in a world of its own: network namespaces joined by veth pairs, created by starting the test
//! binary again under `unshare`, so that it needs no root and changes no rule of the host.
//!
//! ```ignore
//! #[test]
//! fn a_banned_visitor_is_cut_off_and_let_back_in() -> Outcome {
//!     story(|world| {
//!         let lapi = Lapi::start(world, Make::Ours)?;
//!         let firewall = Firewall::start(world, &lapi.access())?;
//!         let _service = world.router.echoes_on(80)?;
//!         let ban = lapi.ban(world.visitor.v4())?;
//!         eventually("the visitor is cut off", || !world.visitor.reaches(&world.router, 80))?;
//!         lapi.lift(ban)?;
//!         eventually("the visitor is let back in", || world.visitor.reaches(&world.router, 80))?;
//!         firewall.stop()
//!     })
//! }
//! ```

/// Runs tests against our LAPI and against CrowdSec's: each name is a function `fn name(world: &World, make: Make) ->
/// Outcome` beside it, and becomes the tests `name::ours` and `name::stock`.
#[macro_export]
macro_rules! against_either_lapi {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            #[test]
            fn ours() -> $crate::Outcome {
                $crate::story(|world| super::$name(world, $crate::Make::Ours))
            }

            #[test]
            fn stock() -> $crate::Outcome {
                $crate::story(|world| super::$name(world, $crate::Make::Stock))
            }
        }
    )+ };
}

mod application;
mod browser;
mod captcha_service;
mod custom_bouncer;
pub mod documented;
mod evidence;
mod firewall;
mod firewall_host;
mod fresh_host;
mod fresh_network;
mod history;
mod host;
mod http_client;
mod lapi;
mod log_processor;
mod lossy_link;
mod mmdb;
mod namespaces;
mod nft;
mod nft_monitor;
mod nginx_front;
mod notify;
mod outcome;
mod pebble;
mod peer_fronts;
mod postgres;
mod process;
mod proxy;
mod raw_upstream;
mod reach;
mod receiver;
mod recording_program;
mod service_stand_in;
mod site;
mod small_disk;
mod tls_visitor;
pub mod tools;
mod udp_probe;
mod veth;
mod wait;
mod webhook;
mod world;

pub use application::Application;
pub use browser::Browser;
pub use captcha_service::CaptchaService;
pub use custom_bouncer::CustomBouncer;
pub use firewall::{Config, Firewall, Implementation};
pub use firewall_host::{FirewallHost, agree, all_have_banned};
pub use fresh_host::{Debian, FreshHost, packages};
pub use fresh_network::FreshNetwork;
pub use history::{History, Moment};
pub use host::Host;
pub use http_client::{HttpClient, Reply, read_reply, request};
pub use lapi::{
    Access, AlertId, Authority, Ban, Certificate, Fault, Lapi, LapiProcess, Machine, Make, RecordedRequest,
    SHIPPED_PROFILES, ScriptedLapi, Setup, many_addresses, tls_config,
};
pub use log_processor::{LogProcessor, guesses, quiet_hours};
pub use lossy_link::{LinkConditions, LossyLink};
pub use mmdb::{Place, write_mmdb};
pub use namespaces::{command_inside, enter, inside, story, story_within};
pub use nft::{Element, Ruleset, Set};
pub use nft_monitor::NftMonitor;
pub use nginx_front::NginxFront;
pub use notify::Notify;
pub use outcome::{Doing, Failure, Outcome};
pub use pebble::{Pebble, PebbleOptions, PebblePlace};
pub use peer_fronts::{FrontKind, PeerFront};
pub use postgres::{AS_POSTGRES_USER, Postgres, postgres_programs};
pub use process::Process;
pub use proxy::{Proxy, ProxyConfig};
pub use raw_upstream::{RawRequest, RawUpstream};
pub use reach::{Echo, connect, still_answers};
pub use receiver::{
    Decides, Entries, Reaction, ReceivedEvent, ReceivedRequest, Receiver, Truth, webhook_file,
};
pub use recording_program::{Call, FedProcess, RecordingProgram};
pub use service_stand_in::{ServiceRequest, ServiceResponse, ServiceRules, ServiceStandIn};
pub use site::Site;
pub use small_disk::fill_disk;
pub use tls_visitor::{CurlReply, TlsVisitor, base64_of_first};
pub use udp_probe::UdpProbe;
pub use wait::{Holds, default_timeout, eventually, eventually_within, pace, throughout};
pub use webhook::Webhook;
pub use world::World;

pub use rustix::process::Signal;
