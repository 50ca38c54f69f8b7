//! What a socket link receives: the channels it joined, the ports it listens on, and which packet belongs to them.
//!
//! Used by the links that receive from kernel sockets. A join takes three steps, in this order: the claim, that no link which takes
//! packets off the interface is in the way; the filter, so that nothing of ours is thrown away; the membership, which brings it in. A
//! step that fails undoes those before it. Guards: nothing is handed up that was not asked for, however much else the kernel delivers:
//! the exact (group, data port), the sources of a channel, our own address and ports.
//!
//! A socket is a member of 20 IPv4 groups at most (`igmp_max_memberships`). Groups beyond are held by sockets that receive nothing, and
//! the receiving socket then hears every group of the host, which the check above sorts out.

use core::net::IpAddr;
use std::io;
use std::os::fd::AsRawFd;

use super::super::{Channel, LinkError};
use super::claims::{Claim, Kind};
use super::filter::{self, Front};
use super::membership::{self, Memberships};
use super::socket::set_option;
use crate::wire::PacketType;

/// Whose a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum Whose {
    /// Ours.
    Ours,
    /// For a channel that nobody here joined, or a port that nobody listens on.
    Unclaimed,
    /// For a channel of ours, but none of the sources it was joined with.
    OtherSource,
}

#[derive(Debug)]
struct Joined {
    channel: Channel,
    /// Sorted; none means all.
    sources: Vec<IpAddr>,
    _claim: Claim,
}

#[derive(Debug)]
struct Group {
    address: IpAddr,
    /// What all its channels together need; sorted; none means all.
    sources: Vec<IpAddr>,
    /// Whether the receiving socket itself is the member.
    is_own: bool,
}

/// The channels and ports of one link.
#[derive(Debug)]
pub(in crate::link) struct Channels {
    kind: Kind,
    /// Encapsulation, as claims tell it apart.
    form: String,
    interface: (String, u32),
    address: IpAddr,
    /// How the socket filter finds PGM; `None` where there is none.
    front: Option<Front>,
    /// Sorted by group and port.
    joined: Vec<Joined>,
    /// The one found last: most packets of a batch belong together.
    last: usize,
    groups: Vec<Group>,
    /// Sorted.
    ports: Vec<u16>,
    beyond: Memberships,
}

impl Channels {
    /// None yet. `front` says how the filter of the receiving socket finds PGM; `None` leaves the socket without one.
    pub(in crate::link) fn new(
        kind: Kind,
        form: &str,
        interface: (&str, u32),
        address: IpAddr,
        front: Option<Front>,
    ) -> Self {
        Self {
            kind,
            form: form.into(),
            interface: (interface.0.into(), interface.1),
            address,
            front,
            joined: Vec::new(),
            last: 0,
            groups: Vec::new(),
            ports: Vec::new(),
            beyond: Memberships::new(interface.1),
        }
    }

    /// Whose a packet is, by its addresses and its first octets. Bounded work on any octets.
    #[inline]
    pub(in crate::link) fn whose(&mut self, from: IpAddr, to: IpAddr, packet: &[u8]) -> Whose {
        let Some(&[s0, s1, d0, d1, kind]) = packet.first_chunk() else { return Whose::Unclaimed };
        let to_port = u16::from_be_bytes([d0, d1]);
        if !to.is_multicast() {
            let ours = to == self.address && self.ports.binary_search(&to_port).is_ok();
            return if ours { Whose::Ours } else { Whose::Unclaimed };
        }
        // RFC 3208 §8.3, conformance 11: upstream the ports are swapped.
        let upstream = PacketType::from_code(kind & 0xF).is_some_and(PacketType::is_upstream);
        let data_port = if upstream { u16::from_be_bytes([s0, s1]) } else { to_port };
        let channel = Channel { group: to, data_port };
        if self.joined.get(self.last).is_none_or(|joined| joined.channel != channel) {
            match self.find(channel) {
                Ok(at) => self.last = at,
                Err(_) => return Whose::Unclaimed,
            }
        }
        let sources = &self.joined[self.last].sources;
        if sources.is_empty() || sources.binary_search(&from).is_ok() { Whose::Ours } else { Whose::OtherSource }
    }

    /// Where a channel stands, or would stand.
    fn find(&self, channel: Channel) -> Result<usize, usize> {
        self.joined.binary_search_by(|joined| {
            (joined.channel.group, joined.channel.data_port).cmp(&(channel.group, channel.data_port))
        })
    }

    /// Joins a channel with a socket; joining again replaces the sources.
    pub(in crate::link) fn join(
        &mut self,
        socket: &impl AsRawFd,
        channel: Channel,
        sources: &[IpAddr],
    ) -> Result<(), LinkError> {
        let group = channel.group;
        if !group.is_multicast() || group.is_ipv4() != self.address.is_ipv4() {
            let family = if self.address.is_ipv4() { "IPv4" } else { "IPv6" };
            let why = format!("not an {family} multicast address, and the link is at {}", self.address);
            return Err(self.failed("joining", group, io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        let mut sources = sources.to_vec();
        sources.sort_unstable();
        sources.dedup();
        let undo = match self.find(channel) {
            Ok(at) => {
                let before = core::mem::replace(&mut self.joined[at].sources, sources);
                (at, Some(before))
            }
            Err(at) => {
                let claim = Claim::hold(self.kind, (&self.interface.0, self.interface.1), &self.form, channel)?;
                self.joined.insert(at, Joined { channel, sources, _claim: claim });
                (at, None)
            }
        };
        let joined = self.filter(socket).and_then(|()| self.follow(socket, group));
        if let Err(error) = joined {
            match undo {
                (at, Some(before)) => self.joined[at].sources = before,
                (at, None) => drop(self.joined.remove(at)),
            }
            let _ = self.filter(socket);
            return Err(self.failed("joining", group, with_remedy(error)));
        }
        Ok(())
    }

    /// Leaves a channel.
    pub(in crate::link) fn leave(&mut self, socket: &impl AsRawFd, channel: Channel) -> Result<(), LinkError> {
        let Ok(at) = self.find(channel) else { return Ok(()) };
        self.joined.remove(at);
        let left = self.follow(socket, channel.group).and_then(|()| self.filter(socket));
        left.map_err(|error| self.failed("leaving", channel.group, error))
    }

    /// Receives what is sent to our address and this port.
    pub(in crate::link) fn listen(&mut self, socket: &impl AsRawFd, port: u16) -> Result<(), LinkError> {
        if let Err(at) = self.ports.binary_search(&port) {
            self.ports.insert(at, port);
        }
        self.filter(socket).map_err(|error| self.port_failed("listening on", port, error))
    }

    /// No longer receives it.
    pub(in crate::link) fn unlisten(&mut self, socket: &impl AsRawFd, port: u16) -> Result<(), LinkError> {
        if let Ok(at) = self.ports.binary_search(&port) {
            self.ports.remove(at);
        }
        self.filter(socket).map_err(|error| self.port_failed("no longer listening on", port, error))
    }

    /// Leaves all channels and ports: for a link that shuts down. What cannot be left ends with the socket.
    pub(in crate::link) fn leave_all(&mut self, socket: &impl AsRawFd) {
        self.ports.clear();
        while let Some(joined) = self.joined.pop() {
            let _ = self.follow(socket, joined.channel.group);
        }
        let _ = self.filter(socket);
    }

    /// Fits the socket's filter to the channels and ports.
    fn filter(&self, socket: &impl AsRawFd) -> io::Result<()> {
        let Some(front) = self.front else { return Ok(()) };
        let mut data: Vec<u16> = self.joined.iter().map(|joined| joined.channel.data_port).collect();
        let mut all = [&data[..], &self.ports].concat();
        for ports in [&mut data, &mut all] {
            ports.sort_unstable();
            ports.dedup();
        }
        filter::attach(socket, front, &all, &data)
    }

    /// Fits the membership of a group to its channels.
    fn follow(&mut self, socket: &impl AsRawFd, group: IpAddr) -> io::Result<()> {
        let index = self.interface.1;
        let channels = || self.joined.iter().filter(|joined| joined.channel.group == group);
        let is_wanted = channels().next().is_some();
        let mut sources = Vec::new();
        if channels().all(|joined| !joined.sources.is_empty()) {
            sources = channels().flat_map(|joined| &joined.sources).copied().collect();
            sources.sort_unstable();
            sources.dedup();
        }
        match (self.groups.iter().position(|one| one.address == group), is_wanted) {
            (Some(at), true) => {
                let held = &mut self.groups[at];
                if held.sources != sources {
                    if held.is_own {
                        membership::refine(socket, index, group, &sources)?;
                    } else {
                        self.beyond.join(group, &sources)?;
                    }
                    held.sources = sources;
                }
            }
            (None, true) => {
                let is_own = match membership::join(socket, index, group, &sources) {
                    Ok(()) => true,
                    Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM)) => {
                        // Too many for one socket, unless another one is refused as well.
                        self.beyond.join(group, &sources)?;
                        hear_all_groups(socket, group, true)?;
                        false
                    }
                    Err(error) => return Err(error),
                };
                self.groups.push(Group { address: group, sources, is_own });
            }
            (Some(at), false) => {
                let held = self.groups.swap_remove(at);
                if held.is_own {
                    membership::leave(socket, index, group)?;
                } else {
                    self.beyond.leave(group);
                    if self.groups.iter().all(|other| other.is_own) {
                        hear_all_groups(socket, group, false)?;
                    }
                }
            }
            (None, false) => {}
        }
        Ok(())
    }

    #[cold]
    fn failed(&self, what: &str, group: IpAddr, error: io::Error) -> LinkError {
        LinkError::System { attempt: format!("{what} {group} on {}", self.interface.0), error }
    }

    #[cold]
    fn port_failed(&self, what: &str, port: u16, error: io::Error) -> LinkError {
        LinkError::System { attempt: format!("{what} port {port} on {}", self.interface.0), error }
    }
}

/// Whether a socket hears the groups that others on this host joined.
pub(in crate::link) fn hear_all_groups(socket: &impl AsRawFd, family: IpAddr, all: bool) -> io::Result<()> {
    const IPV6_MULTICAST_ALL: i32 = 29;
    let (level, option) = if family.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MULTICAST_ALL)
    } else {
        (libc::IPPROTO_IPV6, IPV6_MULTICAST_ALL)
    };
    set_option(socket, level, option, &i32::from(all))
}

/// What to do about the one refusal that has a remedy.
fn with_remedy(error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(libc::ENOBUFS) {
        return error;
    }
    let remedy =
        "too many sources for one group; name fewer, or raise `sysctl net.ipv4.igmp_max_msf` (net.ipv6.mld_max_msf)";
    io::Error::new(error.kind(), format!("{error}: {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::super::interface::Interface;
    use super::super::socket::{family_of, open};
    use super::*;
    use std::os::fd::OwnedFd;

    const HERE: IpAddr = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);
    const ELSEWHERE: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(127, 0, 0, 9));

    fn channels() -> (Channels, OwnedFd) {
        let lo = Interface::find("lo").expect("loopback");
        let socket = open(family_of(HERE), libc::SOCK_DGRAM, 0).expect("IPv4");
        hear_all_groups(&socket, HERE, false).expect("any socket can");
        (Channels::new(Kind::Raw, "channels-test", ("lo", lo.index), HERE, Some(Front::Ipv4)), socket)
    }

    fn group(n: u8) -> IpAddr {
        [239, 255, 114, n].into()
    }

    fn channel(n: u8, data_port: u16) -> Channel {
        Channel { group: group(n), data_port }
    }

    fn packet(from: u16, to: u16, kind: PacketType) -> [u8; 5] {
        let ([s0, s1], [d0, d1]) = (from.to_be_bytes(), to.to_be_bytes());
        [s0, s1, d0, d1, kind.code()]
    }

    fn hears_all_groups(socket: &OwnedFd) -> bool {
        super::super::socket::option(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL).expect("any socket") != 0
    }

    /// RFC 3208 §8.3, conformance 11
    #[test]
    fn a_packet_is_ours_by_group_and_data_port_or_by_address_and_port() {
        let (mut channels, socket) = channels();
        channels.join(&socket, channel(1, 7500), &[]).expect("a group");
        channels.join(&socket, channel(2, 7600), &[]).expect("a group");
        channels.listen(&socket, 7400).expect("a port");
        let mut whose = |to, packet: &[u8]| channels.whose(ELSEWHERE, to, packet);
        let (data, nak) = (packet(7400, 7500, PacketType::Odata), packet(7500, 7400, PacketType::Nak));
        assert_eq!(whose(group(1), &data), Whose::Ours);
        assert_eq!(whose(group(1), &nak), Whose::Ours, "of another receiver");
        assert_eq!(whose(group(2), &data), Whose::Unclaimed, "another group");
        assert_eq!(whose(group(2), &nak), Whose::Unclaimed);
        assert_eq!(whose(group(3), &data), Whose::Unclaimed, "no group of ours");
        assert_eq!(whose(group(1), &packet(7500, 7400, PacketType::Odata)), Whose::Unclaimed, "downstream");
        assert_eq!(whose(HERE, &nak), Whose::Ours);
        assert_eq!(whose(HERE, &data), Whose::Unclaimed, "a port that nobody listens on");
        assert_eq!(whose(ELSEWHERE, &nak), Whose::Unclaimed, "another address of this host");
        for len in 0..nak.len() {
            assert_eq!(whose(HERE, &nak[..len]), Whose::Unclaimed);
        }
        channels.leave(&socket, channel(2, 7600)).expect("a group");
        channels.leave(&socket, channel(1, 7500)).expect("a group");
        channels.unlisten(&socket, 7400).expect("a port");
        assert_eq!(channels.whose(ELSEWHERE, group(1), &data), Whose::Unclaimed);
        assert_eq!(channels.whose(ELSEWHERE, HERE, &nak), Whose::Unclaimed);
    }

    #[test]
    fn the_sources_of_a_channel_are_its_own_and_the_membership_serves_all_of_a_group() {
        let (mut channels, socket) = channels();
        let (one, two): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        channels.join(&socket, channel(10, 1), &[two, one, two]).expect("two sources");
        channels.join(&socket, channel(10, 2), &[two]).expect("one source");
        assert_eq!(channels.groups[0].sources, [one, two]);
        let mut whose = |from, port| channels.whose(from, group(10), &packet(9, port, PacketType::Odata));
        assert_eq!([whose(one, 1), whose(two, 1), whose(ELSEWHERE, 1)], [Whose::Ours, Whose::Ours, Whose::OtherSource]);
        assert_eq!([whose(one, 2), whose(two, 2)], [Whose::OtherSource, Whose::Ours]);
        channels.join(&socket, channel(10, 2), &[]).expect("all sources");
        assert!(channels.groups[0].sources.is_empty());
        channels.leave(&socket, channel(10, 2)).expect("a group");
        assert_eq!(channels.groups[0].sources, [one, two]);
        channels.leave(&socket, channel(10, 1)).expect("a group");
        assert!(channels.groups.is_empty());
        membership::join(&socket, channels.interface.1, group(10), &[]).expect("no membership was left behind");
    }

    #[test]
    fn groups_beyond_those_of_one_socket_are_held_elsewhere_and_all_are_left_again() {
        let (mut channels, socket) = channels();
        for n in 0..40 {
            channels.join(&socket, channel(n, 7500), &[]).expect("any group can be joined on loopback");
        }
        let beyond = channels.groups.iter().filter(|group| !group.is_own).count();
        // A system may allow more than the usual 20.
        assert_eq!(hears_all_groups(&socket), beyond > 0);
        for n in 0..40 {
            assert_eq!(channels.whose(HERE, group(n), &packet(1, 7500, PacketType::Odata)), Whose::Ours);
            channels.leave(&socket, channel(n, 7500)).expect("a group");
        }
        assert!(channels.groups.is_empty() && !hears_all_groups(&socket));
    }

    #[test]
    fn what_cannot_be_joined_leaves_no_trace_and_says_why() {
        let (mut channels, socket) = channels();
        for group in [HERE, "ff02::1".parse().expect("an address")] {
            let refused = channels.join(&socket, Channel { group, data_port: 1 }, &[]).expect_err("no such group here");
            assert!(refused.to_string().contains("not an IPv4 multicast address"), "{refused}");
        }
        let many: Vec<IpAddr> = (0..100).map(|n| [10, 0, 0, n].into()).collect();
        channels.join(&socket, channel(20, 1), &many[..1]).expect("one source");
        for port in [1, 2] {
            let refused = channels.join(&socket, channel(20, port), &many).expect_err("too many").to_string();
            assert!(refused.contains("igmp_max_msf"), "{refused}");
        }
        assert_eq!((channels.joined.len(), channels.groups.len()), (1, 1));
        assert_eq!(channels.whose(many[1], group(20), &packet(9, 1, PacketType::Odata)), Whose::OtherSource);
        Claim::hold(Kind::Xdp, ("lo", channels.interface.1), "channels-test", channel(20, 2)).expect("no claim stays");
        channels.leave_all(&socket);
        assert!(channels.joined.is_empty() && channels.groups.is_empty());
    }
}
