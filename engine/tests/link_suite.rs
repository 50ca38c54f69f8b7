//! The link suite on the links that need no privilege: memory, faults, and UDP on loopback.

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;
#[path = "link_suite/mod.rs"]
mod suite;

link_suite! { memory, crate::suite::bench::memory, every }
link_suite! { quiet_faults, crate::suite::bench::quiet_faults, every }
link_suite! { udp_on_loopback, crate::suite::wired::udp_on_loopback, every kernel }
