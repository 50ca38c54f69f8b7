//! PGM in UDP, by the kernel's own sockets: for whoever has no privilege, and where nothing else can be had.
//!
//! ```text
//!   UdpLink ── sockets     one for groups, one for our address; all that the kernel is told about them
//!      ├────── outlet      batch ─> messages of many packets (GSO) ─> one call
//!      ├────── intake      one call ─> datagrams of many packets (GRO) ─> a frame each
//!      │          └─ cut   how room is cut for them
//!      └────── wanted      which packets are for us
//! ```
//!
//! Opened by an endpoint, which gets the link and a pool of frames of the size that suits it. Guards: no call a packet where packets come
//! or go in numbers; a frame is the kernel's only during a call.
//!
//! What it cannot do: UDP has no Router Alert, so that the mark on a packet is passed over. And Linux gives what is sent to one host to
//! one socket alone, however many programs share address and port: see [`UdpConfig::hear_unicast`]. With loopback on, a link that joined
//! the group it sends to hears itself; whoever needs to know tells packets apart by their session, as two processes of one host have one
//! address.

mod config;
mod cut;
mod intake;
mod outlet;
mod sockets;
#[cfg(test)]
mod tests;
mod wanted;

use core::fmt;
use core::net::IpAddr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

pub use config::{Refusal, UdpConfig, UdpError, UdpTaken};

use super::kernel::claims::{Claim, Kind};
use super::kernel::interface::Interface;
use super::kernel::membership;
use super::{Channel, Link, LinkError};
use crate::frame::{PathFacts, Pool, RxBatch, TxBatch};
use crate::time::Time;
use crate::wire::HEADER_LEN;
use crate::wire::net::UDP_HEADER_LEN;
use intake::Intake;
use outlet::Outlet;
use sockets::Sockets;
use wanted::{Joined, Wanted};

/// What a `udp` link counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpCounters {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Packets handed up.
    pub received: u64,
    /// Packets not sent because they exceed the MTU.
    pub too_long: u64,
    /// Packets that the network refused: the interface is down, there is no route, a firewall forbids it.
    pub unsent: u64,
    /// Calls to the kernel to send.
    pub transmit_calls: u64,
    /// Calls to the kernel to receive.
    pub receive_calls: u64,
    /// Calls to receive that the kernel answered with an error.
    pub receive_errors: u64,
    /// Messages of several packets that the kernel took (GSO).
    pub joined_sent: u64,
    /// Datagrams of several packets that came (GRO).
    pub joined: u64,
    /// Packets that did not come where they were expected and were copied into a frame.
    pub copied: u64,
    /// Datagrams that our sockets' queues had no room for, as far as the kernel has told.
    pub kernel_drops: u64,
    /// Packets longer than a frame.
    pub truncated: u64,
    /// Datagrams that are no packet: shorter than a PGM header, from nowhere, or by another interface.
    pub rejected: u64,
    /// Packets that nobody here asked for, by group, port, address or source.
    pub unclaimed: u64,
    /// Times that there was no frame to receive into.
    pub starved: u64,
}

/// A `udp` link on one interface.
pub struct UdpLink {
    interface: Interface,
    address: IpAddr,
    path: PathFacts,
    /// None once it is shut down.
    sockets: Option<Sockets>,
    wanted: Wanted,
    intake: Intake,
    outlet: Outlet,
    /// Names the encapsulation among claims.
    form: String,
    taken: UdpTaken,
    counters: UdpCounters,
}

impl UdpLink {
    /// Opens a link.
    pub fn open(config: &UdpConfig) -> Result<(Self, Pool), UdpError> {
        let interface = Interface::find(&config.interface)?;
        let address = interface.address(config.address)?;
        let headers = UDP_HEADER_LEN as u32 + if address.is_ipv4() { 20 } else { 40 };
        let mtu = interface.mtu.min(config.mtu.unwrap_or(u16::MAX).into());
        if mtu < headers + HEADER_LEN as u32 {
            return Err(UdpError::Mtu { interface: interface.name, mtu, headers });
        }
        config.check(mtu, headers, intake::slots(config.batch) as u32)?;
        let layout = config.layout(mtu);
        let mut pool = Pool::anonymous(layout)?;
        pool.set_fill_reserve(intake::slots(config.batch) as u32);
        let (sockets, taken) = Sockets::open(config, &interface, address)?;
        let ports = (config.unicast_port, config.multicast_port);
        let link = Self {
            path: PathFacts { nla: address, mtu: mtu as u16, front: 0, alert: 0, ip_header: headers as u16 },
            sockets: Some(sockets),
            wanted: Wanted::new(address),
            intake: Intake::new(layout, config.batch, taken.gro, interface.index),
            outlet: Outlet::new(config.batch, taken.gso, ports, interface.index, (headers as usize, mtu as usize)),
            // conformance 17: the ports are whatever both ends agree on.
            form: format!("udp-{}-{}", config.unicast_port, config.multicast_port),
            taken,
            counters: UdpCounters::default(),
            interface,
            address,
        };
        Ok((link, pool))
    }

    /// What the link took, and what better it was refused.
    pub fn taken(&self) -> &UdpTaken {
        &self.taken
    }

    /// What was counted.
    pub fn counters(&self) -> &UdpCounters {
        &self.counters
    }

    /// What to wait on for packets to come; nothing once it is shut down.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let sockets = self.sockets.iter();
        sockets.flat_map(|sockets| (0..sockets.heard()).map(|number| sockets.hearing(number).as_fd()))
    }

    /// Brings the kernel's membership of a group in line with what the channels want, which was `before`.
    fn follow(&self, group: IpAddr, before: Option<&Vec<IpAddr>>) -> Result<(), LinkError> {
        let Some(sockets) = &self.sockets else { return Ok(()) };
        let after = self.wanted.sources_of(group);
        if before == after.as_ref() {
            return Ok(());
        }
        if before.is_some() {
            // What is left was joined; if the interface has gone meanwhile, so has the membership.
            let _ = membership::leave(&sockets.groups, self.interface.index, group);
        }
        let Some(sources) = after else { return Ok(()) };
        membership::join(&sockets.groups, self.interface.index, group, &sources).map_err(|error| {
            let hint = match error.raw_os_error() {
                Some(libc::ENOBUFS) => " (a socket's limit: raise net.ipv4.igmp_max_memberships or igmp_max_msf)",
                _ => "",
            };
            LinkError::System { attempt: format!("joining {group} on {}{hint}", self.interface.name), error }
        })
    }

    fn failed(&self, what: &str, error: io::Error) -> LinkError {
        LinkError::System { attempt: format!("{what} on {}", self.interface.name), error }
    }
}

impl Link for UdpLink {
    fn path(&self) -> PathFacts {
        self.path
    }

    fn join(&mut self, channel: Channel, sources: &[IpAddr]) -> Result<(), LinkError> {
        if !channel.group.is_multicast() || channel.group.is_ipv4() != self.address.is_ipv4() {
            let error = io::Error::other(format!("not a multicast address of the family of {}", self.address));
            return Err(self.failed(&format!("joining {}", channel.group), error));
        }
        let before = self.wanted.sources_of(channel.group);
        let at = self.wanted.joined.iter().position(|one| one.channel == channel);
        let replaced = match at {
            Some(at) => Some(core::mem::replace(&mut self.wanted.joined[at].sources, sources.to_vec())),
            None => {
                let place = (self.interface.name.as_str(), self.interface.index);
                let claim = Claim::hold(Kind::Udp, place, &self.form, channel)?;
                self.wanted.joined.push(Joined { channel, sources: sources.to_vec(), _claim: Some(claim) });
                None
            }
        };
        let joined = self.follow(channel.group, before.as_ref());
        if joined.is_err() {
            // As it was before, as far as the kernel still allows it.
            let failed = self.wanted.sources_of(channel.group);
            match (at, replaced) {
                (Some(at), Some(sources)) => self.wanted.joined[at].sources = sources,
                _ => drop(self.wanted.joined.pop()),
            }
            let _ = self.follow(channel.group, failed.as_ref());
        }
        joined
    }

    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        let Some(at) = self.wanted.joined.iter().position(|one| one.channel == channel) else { return Ok(()) };
        let before = self.wanted.sources_of(channel.group);
        self.wanted.joined.remove(at);
        self.follow(channel.group, before.as_ref())
    }

    fn listen(&mut self, port: u16) -> Result<(), LinkError> {
        if !self.wanted.ports.contains(&port) {
            self.wanted.ports.push(port);
        }
        Ok(())
    }

    fn unlisten(&mut self, port: u16) -> Result<(), LinkError> {
        self.wanted.ports.retain(|&one| one != port);
        Ok(())
    }

    #[inline(never)]
    fn receive(&mut self, _now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        let Some(sockets) = &self.sockets else { return Ok(0) };
        let before = into.len();
        match self.intake.receive(sockets, pool, &self.wanted, &mut self.counters, into) {
            Ok(()) => Ok(into.len() - before),
            Err(error) => Err(self.failed("receiving", error)),
        }
    }

    #[inline(never)]
    fn send(&mut self, _now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        let Some(sockets) = &self.sockets else { return Ok(0) };
        if from.is_empty() {
            return Ok(0);
        }
        let Self { outlet, taken, counters, .. } = self;
        let no_gso = |error: &io::Error| {
            taken.gso = false;
            taken.refusals.push(Refusal { attempt: "UDP GSO", reason: format!("{error}, when it was used") });
        };
        match outlet.send(&sockets.host, pool, from, counters, no_gso) {
            Ok(took) => Ok(took),
            Err(error) => Err(self.failed("sending", error)),
        }
    }

    /// Now, while packets wait here that a full batch had no room for: no socket will tell.
    fn deadline(&self) -> Option<Time> {
        self.intake.has_waiting().then_some(Time::ZERO)
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        self.sockets = None;
        self.wanted.joined.clear();
        self.wanted.ports.clear();
        self.intake.shut_down(pool);
    }
}

impl fmt::Debug for UdpLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, taken, .. } = self;
        f.debug_struct("UdpLink").field("interface", interface).field("taken", taken).finish_non_exhaustive()
    }
}
