//! Benches over a cable between two hosts: every kind of link against every other that it can talk to.

use std::net::IpAddr;

use pgmx::frame::Pool;
use pgmx::link::Address;
#[cfg(feature = "xdp")]
use pgmx::link::xdp::{XdpConfig, XdpLink};

use super::bench::{Bench, Promises, Setup, group_like};
use super::end::{End, Tally, Tested};
use crate::netns::{Cable, Host, Pair, Port};

/// A kind of link, opened on the host of the calling thread.
pub type Kind = fn(&Port, Address, &Setup) -> (Box<dyn Tested>, Pool);

/// What a kind of link promises about system calls.
const fn promises(idle_calls: u64, packets_a_call: u64) -> Promises {
    Promises { unicast: true, idle_calls, packets_a_call, waits: true }
}

/// Two links of these kinds at the ends of a cable.
pub fn over_a_cable(setup: &Setup, address: Address, left: Kind, right: Kind, promises: Promises) -> Bench {
    let pair = Pair::new(&[Cable { mtu: setup.mtu, ..Cable::default() }]).expect("two hosts");
    let end = |kind: Kind, host: &Host, port: &Port, setup: &Setup| {
        let (link, pool) = host.inside(|| kind(port, address, setup));
        End::new(link, pool, Some(host.inside(Host::current).expect("a namespace")), setup.batch)
    };
    let right_setup = Setup { ring: setup.right_ring.unwrap_or(setup.ring), ..setup.clone() };
    let left = end(left, &pair.left, &pair.left_ports[0], setup);
    let right = end(right, &pair.right, &pair.right_ports[0], &right_setup);
    Bench { group: group_like(left.address(), 1), left, right, promises, pair: Some(pair), marks: 0 }
}

#[cfg(feature = "xdp")]
mod xdp {
    use super::{Address, IpAddr, Pool, Port, Promises, Setup, Tally, Tested, XdpConfig, XdpLink, promises};

    impl Tested for XdpLink {
        fn tally(&self) -> Tally {
            let counters = self.counters();
            Tally {
                sent: counters.sent,
                received: counters.received,
                too_long: counters.too_long,
                send_calls: counters.transmit_calls,
                receive_calls: counters.receive_calls,
                dropped: counters.rejected.total(),
            }
        }
    }

    /// At least 32 packets a call, and none when idle.
    pub const PROMISES: Promises = promises(0, 32);

    pub fn native(port: &Port, address: Address, setup: &Setup) -> (Box<dyn Tested>, Pool) {
        let mut config = XdpConfig::new(&port.interface);
        config.frames = setup.frames;
        config.ring = setup.ring;
        config.tx_budget = setup.tx_budget;
        config.frame_size = if setup.mtu > 1700 { 4096 } else { 2048 };
        assert_eq!(address, Address::Ipv4);
        config.address = match IpAddr::from(port.address) {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let (link, pool) = XdpLink::open(&config).expect("an AF_XDP link on a veth cable");
        (Box::new(link), pool)
    }
}

#[cfg(feature = "xdp")]
pub use xdp::{PROMISES as XDP_PROMISES, native};
