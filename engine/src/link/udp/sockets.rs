//! The two sockets of a `udp` link, and all that the kernel is told about them.
//!
//! ```text
//!   groups   [any address]:multicast_port, on our interface   what comes to groups; holds the memberships
//!   host     our address:unicast_port                         what comes to us alone; all that leaves
//! ```
//!
//! Two sockets even where the ports are equal: the kernel gives a packet to one host to the socket that is bound to its very address, so
//! that a link that hears groups only never takes a publisher's NAKs away. `host` is not tied to the interface, because what this host
//! sends to itself comes in by loopback. Several links and programs share the ports (`SO_REUSEADDR`): what comes to a group reaches all of
//! them. `SO_REUSEPORT` is not set: nothing is to be divided among them.
//!
//! Opened by the link. Guards: neither socket hears a group that it did not join, nor sends what would need fragments.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io;
use std::os::fd::OwnedFd;

use super::config::{Refusal, UdpConfig, UdpError, UdpTaken};
use crate::link::kernel::channels::hear_all_groups;
use crate::link::kernel::filter::{self, Front};
use crate::link::kernel::interface::Interface;
use crate::link::kernel::messages::{UDP_GRO, UDP_SEGMENT};
use crate::link::kernel::socket::{
    KernelAddress, bind, bind_to_interface, family_of, open, set_option, set_receive_buffer,
};

const SO_RXQ_OVFL: i32 = 40;
const IPV6_FREEBIND: i32 = 78;
/// `ip_mtu_discover` that sets DF and believes no ICMP: what is too long for the interface is refused, whatever a router is said to say.
const PMTUDISC_PROBE: i32 = 3;
/// TTL towards one host; the next PGM hop is on this network or a few routers away.
const UNICAST_TTL: i32 = 64;
/// Octets on their way to the card: 16 joined datagrams. The kernel's default holds three, and every call would find it full.
const SEND_BUFFER: i32 = 1 << 20;

/// The sockets of a link.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) groups: OwnedFd,
    pub(super) host: OwnedFd,
    pub(super) hear_unicast: bool,
}

impl Sockets {
    pub(super) fn open(
        config: &UdpConfig,
        interface: &Interface,
        address: IpAddr,
    ) -> Result<(Self, UdpTaken), UdpError> {
        let mut taken = UdpTaken { gso: false, gro: false, receive_buffer: 0, refusals: Vec::new() };
        let opening = Opening { config, interface, address };
        let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let groups = opening.socket(SocketAddr::new(any, config.multicast_port))?;
        // Half the filter, as every packet is asked for its interface besides: without the right to it nothing is lost.
        let _ = bind_to_interface(&groups, interface.index);
        // A port of its own where nothing is to be heard.
        let port = if config.hear_unicast { config.unicast_port } else { 0 };
        let host = opening.socket(SocketAddr::new(address, port))?;
        opening.set_up_sending(&host)?;
        taken.receive_buffer = opening.enlarge_queue(&groups)?;
        if config.hear_unicast {
            taken.receive_buffer = taken.receive_buffer.min(opening.enlarge_queue(&host)?);
        } else {
            // Nobody reads what comes to that port: it shall not pile up in the kernel.
            opening.shut(&host)?;
        }
        if taken.receive_buffer < config.receive_buffer {
            taken.refusals.push(Refusal {
                attempt: "the receive buffer wanted",
                reason: format!(
                    "{} of {} octets; raise net.core.rmem_max, or grant cap_net_admin",
                    taken.receive_buffer, config.receive_buffer
                ),
            });
        }
        if config.gso {
            // Zero is no size of a segment: it only asks whether there is such an option.
            match set_option(&host, libc::SOL_UDP, UDP_SEGMENT, &0_i32) {
                Ok(()) => taken.gso = true,
                Err(error) => taken.refusals.push(Refusal { attempt: "UDP GSO", reason: error.to_string() }),
            }
        }
        if config.gro {
            let both = [&groups, &host].into_iter().try_for_each(|one| set_option(one, libc::SOL_UDP, UDP_GRO, &1_i32));
            match both {
                Ok(()) => taken.gro = true,
                Err(error) => taken.refusals.push(Refusal { attempt: "UDP GRO", reason: error.to_string() }),
            }
        }
        Ok((Self { groups, host, hear_unicast: config.hear_unicast }, taken))
    }

    /// Sockets that are asked for packets.
    pub(super) fn heard(&self) -> usize {
        if self.hear_unicast { 2 } else { 1 }
    }

    /// One of those.
    pub(super) fn hearing(&self, number: usize) -> &OwnedFd {
        if number == 0 { &self.groups } else { &self.host }
    }
}

/// What all sockets of a link are made from.
struct Opening<'a> {
    config: &'a UdpConfig,
    interface: &'a Interface,
    address: IpAddr,
}

impl Opening<'_> {
    /// A bound socket that says where each packet came in and what it lost.
    fn socket(&self, address: SocketAddr) -> Result<OwnedFd, UdpError> {
        let open = || {
            let socket = open(family_of(self.address), libc::SOCK_DGRAM, libc::IPPROTO_UDP)?;
            set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1_i32)?;
            set_option(&socket, libc::SOL_SOCKET, SO_RXQ_OVFL, &1_i32)?;
            if self.address.is_ipv4() {
                set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, &1_i32)?;
            } else {
                set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &1_i32)?;
                set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &1_i32)?;
                // An address is ours before the network has confirmed that it is nobody else's.
                set_option(&socket, libc::IPPROTO_IPV6, IPV6_FREEBIND, &1_i32)?;
            }
            hear_all_groups(&socket, self.address, false)?;
            bind(&socket, &KernelAddress::new(address, self.interface.index))?;
            Ok(socket)
        };
        open().map_err(|error: io::Error| {
            let what = if error.kind() == io::ErrorKind::AddrInUse {
                format!("binding to {address}, which a program has for itself: end it or choose another port,")
            } else {
                format!("binding to {address}")
            };
            self.failed(what, error)
        })
    }

    fn set_up_sending(&self, socket: &OwnedFd) -> Result<(), UdpError> {
        let (ttl, tos) = (i32::from(self.config.ttl), i32::from(self.config.tos));
        let loopback = i32::from(self.config.loopback);
        // The kernel cuts it down to what is allowed.
        let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER);
        let set = || match self.address {
            IpAddr::V4(address) => {
                let ip = |option, value: i32| set_option(socket, libc::IPPROTO_IP, option, &value);
                let way_out = libc::ip_mreqn {
                    imr_multiaddr: libc::in_addr { s_addr: 0 },
                    imr_address: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
                    imr_ifindex: self.interface.index as i32,
                };
                set_option(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &way_out)?;
                ip(libc::IP_MULTICAST_TTL, ttl)?;
                ip(libc::IP_MULTICAST_LOOP, loopback)?;
                ip(libc::IP_TTL, UNICAST_TTL)?;
                ip(libc::IP_TOS, tos)?;
                // conformance 16: DF is set, nothing is fragmented.
                ip(libc::IP_MTU_DISCOVER, PMTUDISC_PROBE)
            }
            IpAddr::V6(_) => {
                let ip = |option, value: i32| set_option(socket, libc::IPPROTO_IPV6, option, &value);
                ip(libc::IPV6_MULTICAST_IF, self.interface.index as i32)?;
                ip(libc::IPV6_MULTICAST_HOPS, ttl)?;
                ip(libc::IPV6_MULTICAST_LOOP, loopback)?;
                ip(libc::IPV6_UNICAST_HOPS, UNICAST_TTL)?;
                ip(libc::IPV6_TCLASS, tos)?;
                ip(libc::IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
            }
        };
        set().map_err(|error| self.failed("setting TTL, TOS and the way to groups".into(), error))
    }

    /// Asks for the queue that is wanted; octets it got.
    fn enlarge_queue(&self, socket: &OwnedFd) -> Result<u32, UdpError> {
        let got = set_receive_buffer(socket, self.config.receive_buffer);
        got.map_err(|error| self.failed("asking for a receive buffer".into(), error))
    }

    /// Lets nothing in.
    fn shut(&self, socket: &OwnedFd) -> Result<(), UdpError> {
        let shut = filter::attach(socket, Front::Nothing, &[], &[]);
        shut.map_err(|error| self.failed("shutting its filter".into(), error))
    }

    fn failed(&self, attempt: String, error: io::Error) -> UdpError {
        UdpError::Socket { interface: self.interface.name.clone(), attempt, error }
    }
}
