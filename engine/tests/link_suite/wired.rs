//! Benches over a cable between two hosts: every kind of link against every other that it can talk to.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use pgmx::frame::Pool;
use pgmx::link::Address;
use pgmx::link::raw::{RawConfig, RawLink};
use pgmx::link::udp::{UdpConfig, UdpLink};
use pgmx::wire::net::{UDP_MULTICAST_PORT, UDP_UNICAST_PORT, Vlans};

use super::bench::{Bench, Promises, Setup, group_like};
use super::end::{End, Tally, Tested};
use crate::netns::{Cable, Host, NICS, Pair, Port};

/// The tag of tagged links, and those of links with two; the cable has VLAN devices for neither.
pub const TAG: Vlans = Vlans::one(5);
/// See [`TAG`].
pub const TAGS: Vlans = Vlans::two(100, 7);

/// A kind of link, opened on the host of the calling thread.
pub type Kind = fn(&Port, Address, &Setup) -> (Box<dyn Tested>, Pool);

/// What a sender of a kind promises about system calls, if the receiver makes so many when idle.
const fn promises(packets_a_call: u64, idle_calls: u64) -> Promises {
    Promises { unicast: true, loops: false, idle_calls, packets_a_call, any_octets: true, waits: true }
}

/// Two links of these kinds at the ends of a cable.
pub fn over_a_cable(setup: &Setup, address: Address, left: Kind, right: Kind, promises: Promises) -> Bench {
    let pair = Pair::new(&[Cable { mtu: setup.mtu, ..Cable::default() }]).expect("two hosts");
    if std::env::var_os(NICS).is_some() {
        // The driver tells a card of a new group some time after the group was joined; what is sent at once would be missed.
        for (host, port) in [(&pair.left, &pair.left_ports[0]), (&pair.right, &pair.right_ports[0])] {
            host.ip(&["link", "set", "dev", &port.interface, "allmulticast", "on"]).expect("an interface");
        }
    }
    let end = |kind: Kind, host: &Host, port: &Port, setup: &Setup| {
        let (link, pool) = host.inside(|| kind(port, address, setup));
        End::new(link, pool, Some(host.inside(Host::current).expect("a namespace")), setup.batch)
    };
    let right_setup = Setup { ring: setup.right_ring.unwrap_or(setup.ring), ..setup.clone() };
    let left = end(left, &pair.left, &pair.left_ports[0], setup);
    let right = end(right, &pair.right, &pair.right_ports[0], &right_setup);
    Bench {
        group: group_like(left.address(), 1),
        left,
        right,
        promises,
        pair: Some(pair),
        vlans: Vlans::NONE,
        marks: 0,
    }
}

impl Tested for RawLink {
    fn tally(&self) -> Tally {
        let counters = self.counters();
        Tally {
            sent: counters.sent,
            received: counters.received,
            too_long: counters.too_long,
            send_calls: counters.transmit_calls,
            receive_calls: counters.receive_calls,
            dropped: counters.rejected.total() + counters.unclaimed + counters.other_source + counters.cut,
        }
    }
}

/// 64 packets a call, and one call when idle.
pub const RAW_PROMISES: Promises = promises(64, 1);

/// Raw sockets.
pub fn raw(port: &Port, address: Address, setup: &Setup) -> (Box<dyn Tested>, Pool) {
    let mut config = RawConfig::new(&port.interface);
    config.address = address;
    config.frames = setup.frames;
    config.loopback = false;
    let (link, pool) = RawLink::open(&config).expect("a raw link on a veth cable");
    (Box::new(link), pool)
}

impl Tested for UdpLink {
    fn tally(&self) -> Tally {
        let counters = self.counters();
        Tally {
            sent: counters.sent,
            received: counters.received,
            too_long: counters.too_long,
            send_calls: counters.transmit_calls,
            receive_calls: counters.receive_calls,
            dropped: counters.rejected + counters.unclaimed + counters.cut,
        }
    }
}

/// 64 packets a call, and when idle one call for each of the two sockets.
pub const UDP_PROMISES: Promises = promises(64, 2);

/// UDP on the two ports of other implementations.
pub fn udp(port: &Port, address: Address, setup: &Setup) -> (Box<dyn Tested>, Pool) {
    let mut config = UdpConfig::new(&port.interface, UDP_UNICAST_PORT, UDP_MULTICAST_PORT);
    config.address = address;
    config.frames = setup.frames;
    config.loopback = false;
    let (link, pool) = UdpLink::open(&config).expect("a udp link on a veth cable");
    (Box::new(link), pool)
}

/// Two `udp` links on loopback, on ports that no other bench of this host uses: one address, and what is sent to it is for the right end.
pub fn udp_on_loopback(setup: &Setup) -> Bench {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let port = 20_000 + ((std::process::id() as u16 % 300) * 100 + number % 100) % 30_000;
    let end = |hear_unicast| {
        let mut config = UdpConfig::new("lo", port, port);
        config.frames = setup.frames;
        config.mtu = Some(setup.mtu as u16);
        config.hear_unicast = hear_unicast;
        let (link, pool) = UdpLink::open(&config).expect("nobody is asked for a right");
        End::new(Box::new(link), pool, None, setup.batch)
    };
    let (left, right) = (end(false), end(true));
    let group = IpAddr::from([239, 255, 7, number as u8]);
    Bench {
        group,
        left,
        right,
        promises: Promises { loops: true, ..UDP_PROMISES },
        pair: None,
        vlans: Vlans::NONE,
        marks: 0,
    }
}

#[cfg(feature = "xdp")]
mod xdp {
    use super::{Address, Pool, Port, Promises, Setup, TAG, TAGS, Tally, Tested, promises};
    use pgmx::link::Encapsulation;
    use pgmx::link::xdp::{Attach, XdpConfig, XdpLink};

    impl Tested for XdpLink {
        fn tally(&self) -> Tally {
            let counters = self.counters();
            Tally {
                sent: counters.sent,
                received: counters.received,
                too_long: counters.too_long,
                send_calls: counters.transmit_calls,
                receive_calls: counters.receive_calls,
                dropped: counters.rejected.total() + counters.unwanted,
            }
        }
    }

    /// At least 32 packets a call, and none when idle.
    pub const XDP_PROMISES: Promises = promises(32, 0);

    fn open(
        port: &Port,
        address: Address,
        setup: &Setup,
        change: impl FnOnce(&mut XdpConfig),
    ) -> (Box<dyn Tested>, Pool) {
        let mut config = XdpConfig::new(&port.interface);
        config.address = address;
        config.frames = setup.frames;
        config.ring = setup.ring;
        config.tx_budget = setup.tx_budget;
        change(&mut config);
        let (link, pool) = XdpLink::open(&config).expect("an AF_XDP link on a veth cable");
        (Box::new(link), pool)
    }

    /// In the driver.
    pub fn native(port: &Port, address: Address, setup: &Setup) -> (Box<dyn Tested>, Pool) {
        open(port, address, setup, |config| config.attach = Attach::Native)
    }

    /// Behind it.
    pub fn generic(port: &Port, address: Address, setup: &Setup) -> (Box<dyn Tested>, Pool) {
        open(port, address, setup, |config| config.attach = Attach::Generic)
    }

    /// With a VLAN tag.
    pub fn tagged(port: &Port, address: Address, setup: &Setup) -> (Box<dyn Tested>, Pool) {
        open(port, address, setup, |config| config.vlans = TAG)
    }

    /// With two tags.
    pub fn twice_tagged(port: &Port, address: Address, setup: &Setup) -> (Box<dyn Tested>, Pool) {
        open(port, address, setup, |config| config.vlans = TAGS)
    }

    /// In UDP.
    pub fn xdp_in_udp(port: &Port, address: Address, setup: &Setup) -> (Box<dyn Tested>, Pool) {
        open(port, address, setup, |config| config.encapsulation = Encapsulation::UDP)
    }
}

#[cfg(feature = "xdp")]
#[allow(unused_imports)] // not every user has cables
pub use xdp::{XDP_PROMISES, generic, native, tagged, twice_tagged, xdp_in_udp};
