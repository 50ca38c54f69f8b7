//! The way round through the kernel, for packets to a host whose card nobody knows yet: it resolves the card as it does for everybody.
//!
//! A raw socket on the interface that takes whole IP packets. Used by the `xdp` link, for what has one destination and no headers of
//! ours. Guards: only our interface, and never more than the packet that was handed in.

use core::net::IpAddr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::link::kernel::socket::{KernelAddress, bind_to_interface, family_of, open, set_option};

#[derive(Debug)]
pub(super) struct Detour {
    socket: OwnedFd,
    interface: u32,
}

impl Detour {
    /// For packets of this family, out of this interface.
    pub(super) fn open(address: IpAddr, interface: u32) -> io::Result<Self> {
        const IPV6_HDRINCL: i32 = 36;
        let socket = open(family_of(address), libc::SOCK_RAW, libc::IPPROTO_RAW)?;
        let (level, option) =
            if address.is_ipv4() { (libc::IPPROTO_IP, libc::IP_HDRINCL) } else { (libc::IPPROTO_IPV6, IPV6_HDRINCL) };
        set_option(&socket, level, option, &1_i32)?;
        bind_to_interface(&socket, interface)?;
        Ok(Self { socket, interface })
    }

    /// Sends an IP packet with its header.
    pub(super) fn send(&self, packet: &[u8], to: IpAddr) -> io::Result<()> {
        let to = KernelAddress::of(to, self.scope(to));
        // SAFETY: the kernel reads the packet and the address, both of which live through the call.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_DONTWAIT,
                core::ptr::from_ref(to.storage()).cast(),
                to.len(),
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn scope(&self, to: IpAddr) -> u32 {
        match to {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => self.interface,
            _ => 0,
        }
    }
}
