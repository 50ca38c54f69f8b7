//! The link suite over a veth cable between two hosts, for every kind of link and for pairs of kinds. Needs root:
//! `cargo test --test privileged_links -- --ignored`.

#![cfg(feature = "xdp")]

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;
#[path = "link_suite/mod.rs"]
mod suite;

use pgmx::link::Address;
use suite::bench::{Bench, Setup};
use suite::wired::{self, over_a_cable};

fn xdp_native(setup: &Setup) -> Bench {
    over_a_cable(setup, Address::Ipv4, wired::native, wired::native, wired::XDP_PROMISES)
}

link_suite! { #[ignore = "needs root"] xdp, crate::xdp_native, every kernel cabled }
