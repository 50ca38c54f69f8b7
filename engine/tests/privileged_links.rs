//! The link suite over a veth cable between two hosts, for every kind of link and for pairs of kinds. Needs root:
//! `cargo test --test privileged_links -- --ignored`.

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;
#[path = "link_suite/mod.rs"]
mod suite;

use pgmx::link::Address::{Ipv4, Ipv6};
use suite::wired::{RAW_PROMISES, UDP_PROMISES, over_a_cable, raw, udp};

/// The suite on a bench for each line.
macro_rules! cables {
    ($($name:ident: $family:ident, $left:ident to $right:ident, $promises:expr;)*) => {
        $(link_suite! {
            #[ignore = "needs root"]
            $name,
            |setup: &super::suite::bench::Setup| crate::over_a_cable(setup, crate::$family, crate::$left, crate::$right, $promises),
            every kernel cabled
        })*
    };
}

cables! {
    raw_v4: Ipv4, raw to raw, crate::RAW_PROMISES;
    raw_v6: Ipv6, raw to raw, crate::RAW_PROMISES;
    udp_v4: Ipv4, udp to udp, crate::UDP_PROMISES;
    udp_v6: Ipv6, udp to udp, crate::UDP_PROMISES;
}

#[cfg(feature = "xdp")]
use suite::bench::{Bench, Promises, Setup};
#[cfg(feature = "xdp")]
use suite::wired::{TAG, TAGS, XDP_PROMISES, generic, native, tagged, twice_tagged, xdp_in_udp};

#[cfg(feature = "xdp")]
cables! {
    xdp_native_v4: Ipv4, native to native, crate::XDP_PROMISES;
    xdp_native_v6: Ipv6, native to native, crate::XDP_PROMISES;
    xdp_generic_v4: Ipv4, generic to generic, crate::XDP_PROMISES;
    xdp_generic_v6: Ipv6, generic to generic, crate::XDP_PROMISES;
    xdp_in_udp_v4: Ipv4, xdp_in_udp to xdp_in_udp, crate::XDP_PROMISES;
    xdp_in_udp_v6: Ipv6, xdp_in_udp to xdp_in_udp, crate::XDP_PROMISES;
    xdp_to_raw_v4: Ipv4, native to raw, crate::Promises { idle_calls: 1, ..crate::XDP_PROMISES };
    xdp_to_raw_v6: Ipv6, native to raw, crate::Promises { idle_calls: 1, ..crate::XDP_PROMISES };
    raw_to_xdp_v4: Ipv4, raw to native, crate::RAW_PROMISES;
    raw_to_xdp_v6: Ipv6, raw to native, crate::RAW_PROMISES;
    xdp_to_udp_v4: Ipv4, xdp_in_udp to udp, crate::Promises { idle_calls: 2, any_octets: false, ..crate::XDP_PROMISES };
    udp_to_xdp_v4: Ipv4, udp to xdp_in_udp, crate::UDP_PROMISES;
}

#[cfg(feature = "xdp")]
fn with_a_tag(setup: &Setup) -> Bench {
    Bench { vlans: TAG, ..over_a_cable(setup, Ipv4, tagged, tagged, XDP_PROMISES) }
}

#[cfg(feature = "xdp")]
fn with_two_tags(setup: &Setup) -> Bench {
    Bench { vlans: TAGS, ..over_a_cable(setup, Ipv6, twice_tagged, twice_tagged, XDP_PROMISES) }
}

#[cfg(feature = "xdp")]
link_suite! { #[ignore = "needs root"] xdp_tagged_v4, crate::with_a_tag, every kernel cabled }
#[cfg(feature = "xdp")]
link_suite! { #[ignore = "needs root"] xdp_tagged_twice_v6, crate::with_two_tags, every kernel cabled }
