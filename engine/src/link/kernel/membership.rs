//! Group membership: what IGMP and MLD report, and what the card's filter lets in.
//!
//! [`join`], [`refine`] and [`leave`] change the membership of one socket. [`Memberships`] keeps those of a link that has no kernel socket of its
//! own to receive with (`AF_XDP` joins nothing). Guards: a group is joined once however often it is asked for, and every membership ends
//! with its socket.

use core::net::IpAddr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::socket::{KernelAddress, family_of, open, set_option};

/// `struct group_req`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Group {
    interface: u32,
    group: libc::sockaddr_storage,
}

/// `struct group_source_req`.
#[repr(C)]
#[derive(Clone, Copy)]
struct GroupAndSource {
    interface: u32,
    group: libc::sockaddr_storage,
    source: libc::sockaddr_storage,
}

/// `struct group_filter` with room for as many sources as the kernel takes over IPv6 (`mld_max_msf`); over IPv4 it takes 10
/// (`igmp_max_msf`) unless told otherwise.
#[repr(C)]
#[derive(Clone, Copy)]
struct Filter {
    interface: u32,
    group: libc::sockaddr_storage,
    mode: u32,
    count: u32,
    sources: [libc::sockaddr_storage; MAX_SOURCES],
}

const MAX_SOURCES: usize = 64;

const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_LEAVE_GROUP: i32 = 45;
const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
const MCAST_MSFILTER: i32 = 48;
const MCAST_EXCLUDE: u32 = 0;
const MCAST_INCLUDE: u32 = 1;

/// Makes a socket a member on an interface: of the group, or of the group as these sources fill it.
pub(in crate::link) fn join(
    socket: &impl AsRawFd,
    interface: u32,
    group: IpAddr,
    sources: &[IpAddr],
) -> io::Result<()> {
    if sources.is_empty() {
        return change(socket, interface, MCAST_JOIN_GROUP, group);
    }
    for &source in sources {
        let request = GroupAndSource {
            interface,
            group: *KernelAddress::of(group, interface).storage(),
            source: *KernelAddress::of(source, interface).storage(),
        };
        if let Err(error) = set_option(socket, level(group), MCAST_JOIN_SOURCE_GROUP, &request) {
            // Half a membership is none; that it cannot be left when it was never joined is no news.
            let _ = leave(socket, interface, group);
            return Err(error);
        }
    }
    Ok(())
}

/// Changes the sources of a socket that is a member already, without leaving in between.
pub(in crate::link) fn refine(
    socket: &impl AsRawFd,
    interface: u32,
    group: IpAddr,
    sources: &[IpAddr],
) -> io::Result<()> {
    if sources.len() > MAX_SOURCES {
        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    }
    let group_address = *KernelAddress::of(group, interface).storage();
    let mut filter = Filter {
        interface,
        group: group_address,
        // All but none is all.
        mode: if sources.is_empty() { MCAST_EXCLUDE } else { MCAST_INCLUDE },
        count: sources.len() as u32,
        sources: [group_address; MAX_SOURCES],
    };
    for (place, &source) in filter.sources.iter_mut().zip(sources) {
        *place = *KernelAddress::of(source, interface).storage();
    }
    set_option(socket, level(group), MCAST_MSFILTER, &filter)
}

/// Ends the membership of a socket, whatever its sources.
pub(in crate::link) fn leave(socket: &impl AsRawFd, interface: u32, group: IpAddr) -> io::Result<()> {
    change(socket, interface, MCAST_LEAVE_GROUP, group)
}

fn change(socket: &impl AsRawFd, interface: u32, option: i32, group: IpAddr) -> io::Result<()> {
    let request = Group { interface, group: *KernelAddress::of(group, interface).storage() };
    set_option(socket, level(group), option, &request)
}

fn level(group: IpAddr) -> i32 {
    if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 }
}

/// The memberships of a link on one interface, on sockets that receive nothing.
#[derive(Debug)]
pub(in crate::link) struct Memberships {
    interface: u32,
    /// One for each group: a socket may be a member of 20 groups only (`igmp_max_memberships`).
    held: Vec<(IpAddr, Vec<OwnedFd>)>,
}

/// Sources that one socket may name (`igmp_max_msf`).
#[cfg(feature = "xdp")]
const SOURCES_MAX: usize = 10;

impl Memberships {
    pub(in crate::link) fn new(interface: u32) -> Self {
        Self { interface, held: Vec::new() }
    }

    /// Joins a group; joining again replaces the sources.
    pub(in crate::link) fn join(&mut self, group: IpAddr, sources: &[IpAddr]) -> io::Result<()> {
        let socket = self.member(group, sources)?;
        self.hold(group, vec![socket]);
        Ok(())
    }

    /// As [`Memberships::join`], with however many sources: on as many sockets as it takes.
    #[cfg(feature = "xdp")]
    pub(in crate::link) fn join_many(&mut self, group: IpAddr, sources: &[IpAddr]) -> io::Result<()> {
        if sources.is_empty() {
            return self.join(group, sources);
        }
        let sockets: io::Result<Vec<OwnedFd>> =
            sources.chunks(SOURCES_MAX).map(|sources| self.member(group, sources)).collect();
        self.hold(group, sockets?);
        Ok(())
    }

    fn member(&self, group: IpAddr, sources: &[IpAddr]) -> io::Result<OwnedFd> {
        let socket = open(family_of(group), libc::SOCK_DGRAM, 0)?;
        join(&socket, self.interface, group, sources)?;
        Ok(socket)
    }

    fn hold(&mut self, group: IpAddr, sockets: Vec<OwnedFd>) {
        // The new ones are there before the old ones go, so that the card never stops listening.
        self.leave(group);
        self.held.push((group, sockets));
    }

    /// Leaves a group.
    pub(in crate::link) fn leave(&mut self, group: IpAddr) {
        self.held.retain(|entry| entry.0 != group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> u32 {
        // SAFETY: the name ends with a zero and lives through the call.
        unsafe { libc::if_nametoindex(c"lo".as_ptr()) }
    }

    #[test]
    fn a_hundred_groups_are_joined_once_each_and_left_again() {
        let mut memberships = Memberships::new(loopback());
        let group = |n: u8| IpAddr::from([239, 255, 113, n]);
        for n in 0..100 {
            memberships.join(group(n), &[]).expect("any group can be joined on loopback");
            memberships.join(group(n), &[[127, 0, 0, 1].into(), [127, 0, 0, 2].into()]).expect("with sources");
        }
        assert_eq!(memberships.held.len(), 100);
        for n in 0..100 {
            memberships.leave(group(n));
        }
        assert!(memberships.held.is_empty());
    }

    #[test]
    fn a_member_changes_its_sources_in_place() {
        let socket = open(libc::AF_INET, libc::SOCK_DGRAM, 0).expect("IPv4");
        let (at, group) = (loopback(), IpAddr::from([239, 255, 113, 113]));
        let sources: Vec<IpAddr> = (1..4).map(|n| [127, 0, 0, n].into()).collect();
        assert!(refine(&socket, at, group, &[]).is_err(), "no member yet");
        join(&socket, at, group, &sources[..2]).expect("two sources");
        for sources in [&sources[1..], &[], &sources[..1], &[]] {
            refine(&socket, at, group, sources).expect("a member");
        }
        assert!(join(&socket, at, group, &[]).is_err(), "a member of all by now");
        assert!(refine(&socket, at, group, &[sources[0]; 65]).is_err(), "too many");
        leave(&socket, at, group).expect("a member");
    }

    #[cfg(feature = "xdp")]
    #[test]
    fn a_group_has_as_many_sources_as_are_named() {
        let mut memberships = Memberships::new(loopback());
        let group = IpAddr::from([239, 255, 113, 101]);
        let sources: Vec<IpAddr> = (1..=35).map(|n| [10, 0, 0, n].into()).collect();
        memberships.join_many(group, &sources).expect("more sources than a socket takes");
        assert_eq!(memberships.held[0].1.len(), 4);
    }

    #[test]
    fn a_host_is_no_group() {
        assert!(Memberships::new(loopback()).join([10, 0, 0, 1].into(), &[]).is_err());
    }
}
