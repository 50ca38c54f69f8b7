//! Questions to the kernel's routing: which interface carries a VLAN of another one, and which card leads to a host.
//!
//! One socket, opened in the network namespace of the calling thread and asked from then on wherever its owner runs. The kernel answers
//! within the call that asks, so nothing here waits. Used by the `xdp` link, never on its hot path. Guards: an answer is believed only
//! as far as its lengths add up, and only when it answers the question that was asked last.

use core::mem::size_of;
use core::net::IpAddr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::attributes::{attribute, put};
use super::socket::{family_of, open, set_option};
use crate::wire::net::MacAddr;

/// `struct nlmsghdr`, `ifinfomsg`, `rtmsg`, `ndmsg`: their octets.
const HEADER: usize = 16;
const LINK_INFO: usize = 16;
const ROUTE: usize = 12;
const NEIGHBOUR: usize = 12;

/// `linux/if_link.h`.
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;
/// `linux/rtnetlink.h`.
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const RTN_UNICAST: u8 = 1;
const RTM_F_FIB_MATCH: u32 = 0x2000;
/// `linux/neighbour.h`.
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_REACHABLE: u16 = 0x02;
const NUD_STALE: u16 = 0x04;
const NUD_DELAY: u16 = 0x08;
const NUD_PROBE: u16 = 0x10;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

/// Where a packet to a host goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum NextHop {
    /// Nowhere: no route leads there through this interface.
    Unreachable,
    /// There is a route, and the kernel does not know the card at its next hop.
    Unresolved,
    /// To this card. It is `confirmed` if the kernel made sure of it lately, or was told so.
    Card {
        /// Its address.
        mac: MacAddr,
        /// Whether the kernel relies on it without asking first.
        confirmed: bool,
    },
}

/// A socket to ask with.
#[derive(Debug)]
pub(in crate::link) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    /// Answers are read here: a link's description takes 1.5 KiB, more with many virtual functions; a part of a list up to 32 KiB.
    answer: Box<[u8]>,
}

impl Netlink {
    pub(in crate::link) fn open() -> io::Result<Self> {
        const SOL_NETLINK: i32 = 270;
        const NETLINK_GET_STRICT_CHK: i32 = 12;
        let socket = open(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
        // Filters in the questions are honoured; without it lists are longer and the answers the same.
        let _ = set_option(&socket, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &1_i32);
        Ok(Self { socket, sequence: 0, answer: vec![0; 64 * 1024].into() })
    }

    /// The interface that carries VLAN `vid` of interface `lower`.
    pub(in crate::link) fn vlan_device(&mut self, lower: u32, vid: u16) -> io::Result<Option<u32>> {
        Ok(self.vlans_on(lower)?.into_iter().find(|vlan| vlan.0 == vid).map(|vlan| vlan.1))
    }

    /// The VLANs of interface `lower`, each with the interface that carries it.
    pub(in crate::link) fn vlans_on(&mut self, lower: u32) -> io::Result<Vec<(u16, u32)>> {
        let mut found = Vec::new();
        self.ask(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; LINK_INFO], |kind, body| {
            if kind == libc::RTM_NEWLINK {
                found.extend(vlan_on(body, lower));
            }
        })?;
        Ok(found)
    }

    /// The next hop to a host through this interface.
    pub(in crate::link) fn next_hop(&mut self, interface: u32, host: IpAddr) -> io::Result<NextHop> {
        let Some(hop) = self.route(interface, host)? else { return Ok(NextHop::Unreachable) };
        let mut question = vec![0; NEIGHBOUR];
        question[0] = family_of(hop) as u8;
        question[4..8].copy_from_slice(&interface.to_ne_bytes());
        put_address(&mut question, NDA_DST, hop);
        let mut found = NextHop::Unresolved;
        let asked = self.ask(libc::RTM_GETNEIGH, 0, &question, |kind, body| {
            if kind == libc::RTM_NEWNEIGH
                && let Some(card) = card(body)
            {
                found = card;
            }
        });
        match asked {
            Ok(()) => Ok(found),
            // It never heard of the host.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(NextHop::Unresolved),
            Err(error) => Err(error),
        }
    }

    /// Whom to hand a packet for this host to: the host itself, or a router.
    fn route(&mut self, interface: u32, host: IpAddr) -> io::Result<Option<IpAddr>> {
        let mut question = vec![0; ROUTE];
        question[0] = family_of(host) as u8;
        question[1] = if host.is_ipv4() { 32 } else { 128 };
        put_address(&mut question, RTA_DST, host);
        put(&mut question, RTA_OIF, &interface.to_ne_bytes());
        // Asked for an interface by name, IPv4 takes every host without a route for a neighbour: is there one at all?
        let mut is_route = question.clone();
        is_route[8..12].copy_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
        if self.ask_route(&is_route, |_| ())?.is_none() {
            return Ok(None);
        }
        Ok(self.ask_route(&question, |body| hop(body, interface, host))?.flatten())
    }

    /// What is read in the answer to a question for a route; `None` if there is no route.
    fn ask_route<T>(&mut self, question: &[u8], read: impl Fn(&[u8]) -> T) -> io::Result<Option<T>> {
        let mut found = None;
        let asked = self.ask(libc::RTM_GETROUTE, 0, question, |kind, body| {
            if kind == libc::RTM_NEWROUTE {
                found = Some(read(body));
            }
        });
        match asked.as_ref().err().and_then(io::Error::raw_os_error) {
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES | libc::ENODEV) => Ok(None),
            _ => asked.map(|()| found),
        }
    }

    /// Sends a question and hands out each message of the answer: its kind and what follows its header.
    fn ask(&mut self, kind: u16, flags: i32, question: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = vec![0; HEADER];
        request[0..4].copy_from_slice(&((HEADER + question.len()) as u32).to_ne_bytes());
        request[4..6].copy_from_slice(&kind.to_ne_bytes());
        request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        request[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        request.extend_from_slice(question);
        // SAFETY: the kernel reads that many octets of a message that lives through the call.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        // A list comes in parts; each read takes one, and the kernel ends the list or the answers run out.
        loop {
            let room = self.answer.len();
            // SAFETY: the kernel writes at most `room` octets into a buffer of that size.
            let came = unsafe { libc::recv(self.socket.as_raw_fd(), self.answer.as_mut_ptr().cast(), room, 0) };
            if came < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut more = false;
            for message in messages(&self.answer[..came as usize]) {
                if message.sequence != self.sequence {
                    // The rest of an answer that was given up.
                    more = true;
                    continue;
                }
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return refusal(message.body),
                    _ => each(message.kind, message.body),
                }
                more = message.flags & libc::NLM_F_MULTI as u16 != 0;
            }
            if !more {
                return Ok(());
            }
        }
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages that lie one behind the other in what was read.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    core::iter::from_fn(move || {
        let header = bytes.first_chunk::<HEADER>()?;
        let octets = word(header, 0) as usize;
        let body = bytes.get(HEADER..octets)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: word(header, 8),
            body,
        };
        // Each takes at least its own header off the front, so this ends.
        bytes = bytes.get(octets.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// What an error message says; a zero in it is an acknowledgement.
fn refusal(body: &[u8]) -> io::Result<()> {
    match body.first_chunk::<4>().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// The VLAN that the interface of a link message carries, if it is one of interface `lower`, and the number of that which carries it.
fn vlan_on(body: &[u8], lower: u32) -> Option<(u16, u32)> {
    let (info, attributes) = body.split_at_checked(LINK_INFO)?;
    let below = attribute(attributes, IFLA_LINK)?;
    let details = attribute(attributes, IFLA_LINKINFO)?;
    let kind = attribute(details, IFLA_INFO_KIND)?;
    let number = attribute(attribute(details, IFLA_INFO_DATA)?, IFLA_VLAN_ID)?;
    // Of another network namespace, whose numbers mean other interfaces.
    let is_here = attribute(attributes, IFLA_LINK_NETNSID).is_none();
    let fits = kind.strip_suffix(b"\0").unwrap_or(kind) == b"vlan" && below == lower.to_ne_bytes();
    let vid = u16::from_ne_bytes(*number.first_chunk()?);
    (fits && is_here).then(|| (vid, word(info, 4)))
}

/// The next hop that a route message names.
fn hop(body: &[u8], interface: u32, host: IpAddr) -> Option<IpAddr> {
    let (route, attributes) = body.split_at_checked(ROUTE)?;
    // Our own addresses, broadcasts and groups are routes as well.
    let leads_there = route[7] == RTN_UNICAST && attribute(attributes, RTA_OIF) == Some(&interface.to_ne_bytes());
    if !leads_there {
        return None;
    }
    if let Some(via) = attribute(attributes, RTA_VIA) {
        // The family first: a router of the other one.
        return address(via.get(2..)?);
    }
    match attribute(attributes, RTA_GATEWAY) {
        Some(gateway) => address(gateway),
        None => Some(host),
    }
}

/// What a neighbour message says of a card.
fn card(body: &[u8]) -> Option<NextHop> {
    let (neighbour, attributes) = body.split_at_checked(NEIGHBOUR)?;
    let state = u16::from_ne_bytes([neighbour[8], neighbour[9]]);
    let confirmed = state & (NUD_REACHABLE | NUD_DELAY | NUD_PROBE | NUD_NOARP | NUD_PERMANENT) != 0;
    let mac = attribute(attributes, NDA_LLADDR)?.try_into().ok()?;
    (confirmed || state & NUD_STALE != 0).then_some(NextHop::Card { mac, confirmed })
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

fn put_address(question: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => put(question, kind, &v4.octets()),
        IpAddr::V6(v6) => put(question, kind, &v6.octets()),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + size_of::<u32>()).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> u32 {
        // SAFETY: the name ends with a zero and lives through the call.
        unsafe { libc::if_nametoindex(c"lo".as_ptr()) }
    }

    fn with(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, kind, value);
        bytes
    }

    #[test]
    fn our_own_addresses_and_groups_and_what_no_route_leads_to_are_no_destinations() {
        let mut netlink = Netlink::open().expect("a socket");
        for host in ["127.0.0.1", "127.255.255.255", "239.1.1.1", "255.255.255.255", "192.0.2.1", "::1", "2001:db8::1"]
        {
            let host = host.parse().expect("an address");
            let hop = netlink.next_hop(loopback(), host).expect("an answer");
            assert_eq!(hop, NextHop::Unreachable, "{host}");
        }
        assert_eq!(netlink.vlan_device(loopback(), 7).expect("an answer"), None);
    }

    #[test]
    fn a_vlan_is_found_by_what_it_lies_on_and_its_number() {
        let details =
            [with(IFLA_INFO_KIND, b"vlan\0"), with(IFLA_INFO_DATA, &with(IFLA_VLAN_ID, &5_u16.to_ne_bytes()))];
        let mut body = vec![0; LINK_INFO];
        body[4..8].copy_from_slice(&9_u32.to_ne_bytes());
        body.extend(with(IFLA_LINK, &3_u32.to_ne_bytes()));
        body.extend(with(IFLA_LINKINFO, &details.concat()));
        assert_eq!(vlan_on(&body, 3), Some((5, 9)));
        assert_eq!(vlan_on(&body, 4), None);
        for cut in 0..body.len() {
            assert_eq!(vlan_on(&body[..cut], 3), None, "cut at {cut}");
        }
        body.extend(with(IFLA_LINK_NETNSID, &[0; 4]));
        assert_eq!(vlan_on(&body, 3), None, "on an interface of another namespace");
    }

    #[test]
    fn a_card_counts_with_an_address_that_the_kernel_uses() {
        let body = |state: u16| {
            let mut body = vec![0; NEIGHBOUR];
            body[8..10].copy_from_slice(&state.to_ne_bytes());
            body.extend(with(NDA_LLADDR, &[2; 6]));
            body
        };
        assert_eq!(card(&body(NUD_REACHABLE)), Some(NextHop::Card { mac: [2; 6], confirmed: true }));
        assert_eq!(card(&body(NUD_STALE)), Some(NextHop::Card { mac: [2; 6], confirmed: false }));
        assert_eq!(card(&body(0x20)), None, "failed");
        assert_eq!(card(&body(NUD_REACHABLE)[..NEIGHBOUR]), None, "no address");
    }

    #[test]
    fn lengths_that_do_not_add_up_end_the_answer() {
        assert_eq!(messages(&[255; 40]).count(), 0);
        assert_eq!(messages(&[0; 40]).count(), 0, "shorter than its header");
        assert!(refusal(&[]).is_err());
    }
}
