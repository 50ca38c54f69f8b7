//! What an interface and its driver are and offer, as the kernel tells everybody who asks.
//!
//! Called by `auto`, to choose, and by `pgmx doctor`, to explain. Needs no right and changes nothing: what a driver can do with XDP is
//! read from what it says of itself, never tried out, because an attached program resets the link of some cards. Guards: what the kernel
//! does not say is `None`, never a guess.

use core::net::IpAddr;
use std::ffi::CString;
use std::io;

use super::InterfaceError;
use super::kernel::details;
use super::kernel::ethtool::Driver;
use super::kernel::interface::{self, Interface};
use super::kernel::socket::open;
use crate::wire::net::MacAddr;

/// What the driver says it can do with XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct XdpFeatures {
    /// Runs programs, natively.
    pub native: bool,
    /// Redirects to `AF_XDP` sockets.
    pub redirect: bool,
    /// Sends what others redirect to it.
    pub transmit: bool,
    /// `AF_XDP` without a copy.
    pub zero_copy: bool,
    /// Frames in several buffers.
    pub multi_buffer: bool,
}

impl XdpFeatures {
    fn of_bits(bits: u64) -> Self {
        // `NETDEV_XDP_ACT_*` of linux/netdev.h.
        let bit = |n: u32| bits >> n & 1 == 1;
        Self { native: bit(0), redirect: bit(1), transmit: bit(2), zero_copy: bit(3), multi_buffer: bit(5) }
    }
}

/// How an XDP program that is there is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attached {
    /// In the driver.
    Native,
    /// Behind it.
    Generic,
    /// In the card.
    Offloaded,
    /// Several at once.
    Several,
}

/// The XDP program that an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its number, as in `bpftool prog show id`.
    pub id: u32,
    /// Where it is attached.
    pub attached: Attached,
}

/// An interface, as it is now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Survey {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Octets of its largest IP packet.
    pub mtu: u32,
    /// `veth`, `vlan`, `bridge` and the like; `None` for a card.
    pub kind: Option<String>,
    /// Whether it was set up.
    pub up: bool,
    /// Whether there is a network on the other end.
    pub carrier: bool,
    /// Whether all it sends comes back to this host.
    pub loopback: bool,
    /// Whether it does multicast.
    pub multicast: bool,
    /// Name and version of its driver.
    pub driver: Option<(String, String)>,
    /// Queues that receive.
    pub queues: u32,
    /// The most that could.
    pub queues_max: Option<u32>,
    /// What its driver can do with XDP; Linux 6.3 or later knows.
    pub xdp: Option<XdpFeatures>,
    /// The XDP program on it.
    pub program: Option<Program>,
    /// The offloads that are on, by their ethtool names.
    pub offloads: Option<Vec<String>>,
}

impl Survey {
    /// Asks about the interface of this name, number or address.
    pub fn of(wanted: &str) -> Result<Self, InterfaceError> {
        let Interface { name, index, mac, addresses, mtu, queues, .. } = Interface::find(wanted)?;
        let failed = |what, error| InterfaceError::Kernel { what, interface: name.clone(), error };
        let link = details::link(index).map_err(|error| failed("the state", error))?;
        let control =
            open(libc::AF_INET, libc::SOCK_DGRAM, 0).map_err(|error| failed("a socket for questions", error))?;
        let c_name = CString::new(name.as_str()).unwrap_or_default();
        let driver = Driver::new(&control, &c_name);
        let flag = |flag: i32| link.flags & flag as u32 != 0;
        Ok(Self {
            driver: driver.name().ok(),
            queues,
            queues_max: driver.queues().ok().map(|queues| queues.1),
            xdp: details::xdp_features(index).ok().map(XdpFeatures::of_bits),
            program: link.program.and_then(|(id, attached)| program(id, attached)),
            offloads: driver.offloads().ok(),
            up: flag(libc::IFF_UP),
            carrier: link.carrier,
            loopback: flag(libc::IFF_LOOPBACK),
            multicast: flag(libc::IFF_MULTICAST),
            kind: link.kind,
            name,
            index,
            mac,
            addresses,
            mtu,
        })
    }

    /// Whether an offload is on; `None` if the driver does not say.
    pub fn offload(&self, name: &str) -> Option<bool> {
        Some(self.offloads.as_ref()?.iter().any(|one| one == name))
    }
}

/// The names of all interfaces.
pub fn interfaces() -> io::Result<Vec<String>> {
    interface::names()
}

fn program(id: u32, attached: u8) -> Option<Program> {
    // `XDP_ATTACHED_*` of linux/if_link.h; 0 is none.
    let attached = match attached {
        1 => Attached::Native,
        2 => Attached::Generic,
        3 => Attached::Offloaded,
        4 => Attached::Several,
        _ => return None,
    };
    Some(Program { id, attached })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_what_it_is() {
        let survey = Survey::of("lo").expect("every namespace has it");
        assert!(survey.loopback && survey.program.is_none() && survey.driver.is_none());
        assert!(survey.xdp.is_none_or(|xdp| !xdp.native && !xdp.zero_copy), "{:?}", survey.xdp);
        assert_eq!(survey.offload("no-such-offload"), Some(false));
        assert!(interfaces().expect("a list").contains(&"lo".to_owned()));
        assert!(matches!(Survey::of("nowhere0"), Err(InterfaceError::Unknown { .. })));
    }

    #[test]
    fn the_bits_of_a_driver_become_abilities() {
        assert_eq!(XdpFeatures::of_bits(0), XdpFeatures::default());
        let all_but_native = XdpFeatures::of_bits(0b10_1110);
        assert!(!all_but_native.native && all_but_native.zero_copy && all_but_native.multi_buffer);
        assert_eq!(program(7, 2), Some(Program { id: 7, attached: Attached::Generic }));
        assert_eq!(program(7, 0), None);
    }
}
