//! Opening the socket: every option it has, in an order that lets nothing in that is not of our interface.
//!
//! Called once for each `raw` link. Guards: when a socket comes out of here its buffer is empty and its filter shut, it hears no group
//! that it did not join, and it speaks on one interface only.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::config::{RawConfig, RawError, Taken};
use crate::link::LinkError;
use crate::link::kernel::channels::hear_all_groups;
use crate::link::kernel::filter::{self, Front};
use crate::link::kernel::interface::Interface;
use crate::link::kernel::socket::{
    KernelAddress, bind, bind_to_interface, family_of, open, set_option, set_receive_buffer,
};
use crate::wire::net::PROTO_PGM;
use core::net::IpAddr;

const SO_RXQ_OVFL: i32 = 40;
const IPV6_FREEBIND: i32 = 78;

/// What PGM is behind where a socket of this family reads.
pub(super) fn front(address: IpAddr) -> Front {
    if address.is_ipv4() { Front::Ipv4 } else { Front::Nothing }
}

/// The socket of a link.
pub(super) fn socket(config: &RawConfig, interface: &Interface, address: IpAddr) -> Result<(OwnedFd, Taken), RawError> {
    // RFC 3208 §8, conformance 1: PGM is IP protocol 113.
    let socket = open(family_of(address), libc::SOCK_RAW, i32::from(PROTO_PGM)).map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            let binary = std::env::current_exe().map_or_else(|_| "BINARY".into(), |path| path.display().to_string());
            return RawError::NotPermitted { interface: interface.name.clone(), binary };
        }
        refused("opening a raw socket", interface, error)
    })?;
    let step = |what: &str, result: io::Result<()>| result.map_err(|error| refused(what, interface, error));
    step("shutting the filter of a raw socket", filter::attach(&socket, front(address), &[], &[]))?;
    step("binding a raw socket", bind_to_interface(&socket, interface.index))?;
    step("keeping foreign groups from a raw socket", hear_all_groups(&socket, address, false))?;
    for (what, level, option, value) in options(config, address) {
        step(what, set_option(&socket, level, option, &value))?;
    }
    if address.is_ipv4() {
        // Where packets to a group leave.
        let request = libc::ip_mreqn {
            imr_multiaddr: libc::in_addr { s_addr: 0 },
            imr_address: libc::in_addr { s_addr: 0 },
            imr_ifindex: interface.index as i32,
        };
        step(
            "choosing the interface of groups",
            set_option(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request),
        )?;
    }
    let receive_buffer = set_receive_buffer(&socket, config.receive_buffer)
        .map_err(|error| refused("asking for a receive buffer", interface, error))?;
    if address.is_ipv6() {
        // Without an address the kernel hands the groups of all memberships of the host to an IPv6 socket, whatever their sources.
        let ours = KernelAddress::of(address, interface.index);
        step("binding a raw socket to our address", bind(&socket, &ours))?;
    }
    discard(&socket);
    Ok((socket, Taken { receive_buffer, receive_buffer_wanted: config.receive_buffer }))
}

/// Options that are numbers.
fn options(config: &RawConfig, address: IpAddr) -> Vec<(&'static str, i32, i32, i32)> {
    let loopback = i32::from(config.loopback);
    let mut options = vec![("asking for the count of drops", libc::SOL_SOCKET, SO_RXQ_OVFL, 1)];
    if address.is_ipv4() {
        let level = libc::IPPROTO_IP;
        options.extend([
            ("bringing our own IPv4 header", level, libc::IP_HDRINCL, 1),
            ("setting multicast loopback", level, libc::IP_MULTICAST_LOOP, loopback),
            // Stands in our header already; the kernel takes the packet's priority in its own queues from here.
            ("setting the type of service", level, libc::IP_TOS, config.tos.into()),
        ]);
    } else {
        let level = libc::IPPROTO_IPV6;
        options.extend([
            ("bringing our own IPv6 header", level, libc::IPV6_HDRINCL, 1),
            ("setting multicast loopback", level, libc::IPV6_MULTICAST_LOOP, loopback),
            ("asking for destinations", level, libc::IPV6_RECVPKTINFO, 1),
            ("setting the traffic class", level, libc::IPV6_TCLASS, config.tos.into()),
            // An address is ours before the network has confirmed that it is nobody else's.
            ("binding early", level, IPV6_FREEBIND, 1),
        ]);
    }
    options
}

/// Empties the buffer: between its opening and the filter a socket hears all of the protocol on every interface.
fn discard(socket: &OwnedFd) {
    let mut octet = 0_u8;
    // Nothing is added any more: as many turns as the buffer holds.
    // SAFETY: the kernel writes at most one octet into a place that lives through the call.
    while unsafe { libc::recv(socket.as_raw_fd(), (&raw mut octet).cast(), 1, libc::MSG_DONTWAIT) } >= 0 {}
}

fn refused(what: &str, interface: &Interface, error: io::Error) -> RawError {
    LinkError::System { attempt: format!("{what} on {}", interface.name), error }.into()
}
