//! Group membership through kernel sockets: `AF_XDP` joins nothing, so that IGMP reports and the card's filter need a socket that does.
//!
//! Held by the `xdp` link. Guards: a group is joined once however often it is asked for, and every membership ends with the link.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use super::interface::{datagram_socket, set_option};

/// The memberships of one interface.
#[derive(Debug)]
pub(super) struct Membership {
    interface: u32,
    /// Each holds as many groups as the kernel allows a socket (`igmp_max_memberships`, 20 by default).
    sockets: Vec<OwnedFd>,
    /// Which group is on which socket.
    groups: Vec<(Ipv4Addr, usize)>,
}

impl Membership {
    pub(super) fn new(interface: u32) -> Self {
        Self { interface, sockets: Vec::new(), groups: Vec::new() }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.groups.iter().map(|entry| entry.0)
    }

    pub(super) fn holds(&self, group: Ipv4Addr) -> bool {
        self.groups().any(|held| held == group)
    }

    pub(super) fn join(&mut self, group: Ipv4Addr) -> io::Result<()> {
        if self.holds(group) {
            return Ok(());
        }
        let full = |error: &io::Error| error.raw_os_error() == Some(libc::ENOBUFS);
        let on_last = match self.sockets.last() {
            Some(socket) => self.change(socket, libc::IP_ADD_MEMBERSHIP, group),
            None => Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
        };
        match on_last {
            Err(error) if full(&error) => {
                let socket = datagram_socket()?;
                self.change(&socket, libc::IP_ADD_MEMBERSHIP, group)?;
                self.sockets.push(socket);
            }
            other => other?,
        }
        self.groups.push((group, self.sockets.len() - 1));
        Ok(())
    }

    pub(super) fn leave(&mut self, group: Ipv4Addr) -> io::Result<()> {
        let Some(at) = self.groups.iter().position(|entry| entry.0 == group) else {
            return Ok(());
        };
        self.change(&self.sockets[self.groups[at].1], libc::IP_DROP_MEMBERSHIP, group)?;
        self.groups.swap_remove(at);
        Ok(())
    }

    fn change(&self, socket: &OwnedFd, option: i32, group: Ipv4Addr) -> io::Result<()> {
        let request = libc::ip_mreqn {
            imr_multiaddr: libc::in_addr { s_addr: u32::from_ne_bytes(group.octets()) },
            imr_address: libc::in_addr { s_addr: 0 },
            imr_ifindex: self.interface as i32,
        };
        set_option(socket.as_raw_fd(), libc::IPPROTO_IP, option, &request)
    }
}
