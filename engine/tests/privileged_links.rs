//! The link suite over a veth cable between two hosts, for every kind of link and for pairs of kinds. Needs root:
//! `cargo test --test privileged_links -- --ignored`.

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;
#[path = "link_suite/mod.rs"]
mod suite;

use pgmx::link::Address::{Ipv4, Ipv6};
#[cfg(feature = "xdp")]
use suite::bench::Promises;
use suite::bench::{Bench, Setup};
use suite::wired::{RAW_PROMISES, UDP_PROMISES, over_a_cable, raw, udp};
#[cfg(feature = "xdp")]
use suite::wired::{XDP_PROMISES, native};

#[cfg(feature = "xdp")]
fn xdp_native_v4(setup: &Setup) -> Bench {
    over_a_cable(setup, Ipv4, native, native, XDP_PROMISES)
}

#[cfg(feature = "xdp")]
fn xdp_to_raw(setup: &Setup) -> Bench {
    over_a_cable(setup, Ipv4, native, raw, Promises { idle_calls: 1, ..XDP_PROMISES })
}

#[cfg(feature = "xdp")]
fn raw_to_xdp(setup: &Setup) -> Bench {
    over_a_cable(setup, Ipv4, raw, native, RAW_PROMISES)
}

fn raw_v4(setup: &Setup) -> Bench {
    over_a_cable(setup, Ipv4, raw, raw, RAW_PROMISES)
}

fn raw_v6(setup: &Setup) -> Bench {
    over_a_cable(setup, Ipv6, raw, raw, RAW_PROMISES)
}

fn udp_v4(setup: &Setup) -> Bench {
    over_a_cable(setup, Ipv4, udp, udp, UDP_PROMISES)
}

fn udp_v6(setup: &Setup) -> Bench {
    over_a_cable(setup, Ipv6, udp, udp, UDP_PROMISES)
}

#[cfg(feature = "xdp")]
link_suite! { #[ignore = "needs root"] xdp_native_on_ipv4, crate::xdp_native_v4, every kernel cabled }
#[cfg(feature = "xdp")]
link_suite! { #[ignore = "needs root"] xdp_to_raw, crate::xdp_to_raw, every kernel cabled }
#[cfg(feature = "xdp")]
link_suite! { #[ignore = "needs root"] raw_to_xdp, crate::raw_to_xdp, every kernel cabled }
link_suite! { #[ignore = "needs root"] raw_on_ipv4, crate::raw_v4, every kernel cabled }
link_suite! { #[ignore = "needs root"] raw_on_ipv6, crate::raw_v6, every kernel cabled }
link_suite! { #[ignore = "needs root"] udp_on_ipv4, crate::udp_v4, every kernel cabled }
link_suite! { #[ignore = "needs root"] udp_on_ipv6, crate::udp_v6, every kernel cabled }
