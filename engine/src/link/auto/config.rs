//! What any link may be asked for. What only some links know is marked so; the others do without, or are refused by name.
//!
//! Filled in by whoever opens a link. Guards: nothing is passed over in silence that would change which packets come in.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use crate::link::{Address, Encapsulation};
use crate::wire::net::Vlans;

/// Which way packets go from and to the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Io {
    /// The best that can be had.
    #[default]
    Auto,
    /// AF_XDP in the driver, zero-copy or copy.
    Xdp,
    /// AF_XDP behind the driver: on any interface, slower.
    XdpGeneric,
    /// Raw sockets.
    Raw,
    /// UDP sockets.
    Udp,
}

impl Io {
    /// Every way.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Xdp, Self::XdpGeneric, Self::Raw, Self::Udp];

    /// As it is written on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Raw => "raw",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A way that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no way `{0}` to the network; there are: auto, xdp, xdp-generic, raw, udp")]
pub struct UnknownIo(String);

impl FromStr for Io {
    type Err = UnknownIo;

    fn from_str(text: &str) -> Result<Self, UnknownIo> {
        Self::ALL.into_iter().find(|io| io.name() == text).ok_or_else(|| UnknownIo(text.into()))
    }
}

/// What a link is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkConfig {
    /// The interface: its name, number or address.
    pub interface: String,
    /// Which of its addresses is ours, and with it the family that the link carries.
    pub address: Address,
    /// What PGM travels in. It must suit `io`: [`LinkConfig::io`] sees to that.
    pub encapsulation: Encapsulation,
    /// Which way packets go.
    pub io: Io,
    /// Frames in all: transmit windows, what is held out of order or delivered, and the link's own; `None` takes the link's default.
    pub frames: Option<u32>,
    /// Time to live of packets to a group.
    pub ttl: u8,
    /// Type-of-service octet.
    pub tos: u8,
    /// Whether other programs of this host hear what we send to groups. AF_XDP cannot: there they do not.
    pub loopback: bool,
    /// Senders whose packets reach us, by prefix; if there are none, everybody's do.
    pub sources: Vec<(IpAddr, u8)>,
    /// The VLAN tags of our frames, outermost first. AF_XDP only: sockets are opened on the kernel's VLAN device instead.
    pub vlans: Vlans,
    /// The queues to open, the first of them to send; if there are none, all. AF_XDP only.
    pub queues: Vec<u32>,
    /// Whether a program that has the interface makes room. AF_XDP only.
    pub replace: bool,
    /// Microseconds for which a call may run the driver, instead of its interrupts; 0 leaves it to them. AF_XDP only.
    pub busy_poll_us: u32,
    /// Whether packets to our address are for this link, where the kernel gives them to one program alone. UDP sockets only.
    pub hear_unicast: bool,
}

impl LinkConfig {
    /// Good values for this interface: native PGM over IPv4, the best way there is.
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.into(),
            address: Address::default(),
            encapsulation: Encapsulation::default(),
            io: Io::default(),
            frames: None,
            ttl: 16,
            tos: 0,
            loopback: true,
            sources: Vec::new(),
            vlans: Vlans::NONE,
            queues: Vec::new(),
            replace: false,
            busy_poll_us: 0,
            hear_unicast: true,
        }
    }

    /// This way and no other. Asking for UDP sockets where native PGM was meant means the ports of other implementations, 3055 and 3056:
    /// the peers have to be asked for the same.
    #[must_use]
    pub fn io(mut self, io: Io) -> Self {
        self.io = io;
        if io == Io::Udp && self.encapsulation == Encapsulation::Pgm {
            self.encapsulation = Encapsulation::UDP;
        }
        self
    }

    /// PGM in this.
    #[must_use]
    pub fn encapsulation(mut self, encapsulation: Encapsulation) -> Self {
        self.encapsulation = encapsulation;
        // In whichever order both were said.
        let io = self.io;
        self.io(io)
    }

    /// Our address of the family of this group.
    #[must_use]
    pub fn suiting(mut self, group: IpAddr) -> Self {
        self.address = Address::suiting(group);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_written_as_it_is_read() {
        for io in Io::ALL {
            assert_eq!(io.to_string().parse(), Ok(io));
        }
        let unknown = "dpdk".parse::<Io>().expect_err("not here").to_string();
        assert_eq!(unknown, "no way `dpdk` to the network; there are: auto, xdp, xdp-generic, raw, udp");
    }

    #[test]
    fn udp_sockets_for_native_pgm_mean_the_two_ports_of_others() {
        let encapsulation = |config: LinkConfig| config.encapsulation;
        assert_eq!(encapsulation(LinkConfig::new("x").io(Io::Udp)), Encapsulation::UDP);
        assert_eq!(
            encapsulation(LinkConfig::new("x").io(Io::Udp).encapsulation(Encapsulation::Pgm)),
            Encapsulation::UDP
        );
        let one = Encapsulation::one_port(7500);
        assert_eq!(encapsulation(LinkConfig::new("x").encapsulation(one).io(Io::Udp)), one);
        assert_eq!(encapsulation(LinkConfig::new("x").io(Io::Raw)), Encapsulation::Pgm);
    }
}
