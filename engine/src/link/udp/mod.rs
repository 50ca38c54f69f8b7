//! PGM in UDP, by the kernel's own sockets: for whoever has no privilege, and where nothing else can be had.
//!
//! ```text
//!   UdpLink ── sockets     one for groups, one for our address; all that the kernel is told about them
//!      ├────── outlet      batch ─> messages of many packets (GSO) ─> one call
//!      ├────── intake      one call ─> datagrams of many packets (GRO) ─> a frame each
//!      │          └─ cut   how room is cut for them
//!      └────── kernel::channels   which packets are for us: no filter in the kernel, because those of several sessions may come as one
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

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

pub use config::{Refusal, UdpConfig, UdpError, UdpTaken};

use super::kernel::channels::Channels;
use super::kernel::claims::{self, Kind};
use super::kernel::interface::Interface;
use super::kernel::presence::Presence;
use super::kernel::wait::until_readable;
use super::{Channel, Link, LinkError};
use crate::frame::{PathFacts, Pool, RxBatch, TxBatch};
use crate::time::Time;
use crate::wire::HEADER_LEN;
use crate::wire::net::UDP_HEADER_LEN;
use intake::Intake;
use outlet::Outlet;
use sockets::Sockets;

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
    /// Packets not sent because nothing leads to their destination: the interface is down or gone, or there is no such host.
    pub unreachable: u64,
    /// Packets not sent because the kernel does not let them out: a firewall.
    pub forbidden: u64,
    /// Times that the kernel had no room; what it did not take stayed in the batch.
    pub full: u64,
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
    pub cut: u64,
    /// Datagrams that are no packet: shorter than a PGM header, from nowhere, or by another interface.
    pub rejected: u64,
    /// Packets for channels and ports that nobody here asked for.
    pub unclaimed: u64,
    /// Packets from sources that their channel was not joined with.
    pub other_source: u64,
    /// Times that there was no frame to receive into.
    pub starved: u64,
}

/// A `udp` link on one interface.
pub struct UdpLink {
    interface: Interface,
    path: PathFacts,
    /// None once it is shut down.
    sockets: Option<Sockets>,
    channels: Channels,
    intake: Intake,
    outlet: Outlet,
    presence: Presence,
    loopback: bool,
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
        let mut pool = Pool::anonymous(config.layout(mtu))?;
        pool.set_fill_reserve(intake::slots(config.batch) as u32);
        let (sockets, taken) = Sockets::open(config, &interface, address)?;
        let ports = (config.unicast_port, config.multicast_port);
        let link = Self {
            path: PathFacts { nla: address, mtu: mtu as u16, front: 0, alert: 0, ip_header: headers as u16 },
            sockets: Some(sockets),
            // conformance 17: the ports are whatever both ends agree on.
            channels: Channels::new(
                Kind::Udp,
                &claims::form(config.encapsulation(), &[]),
                (&interface.name, interface.index),
                address,
                None,
            ),
            intake: Intake::new(&mut pool, config.batch, taken.gro, interface.index),
            outlet: Outlet::new(config.batch, taken.gso, ports, interface.index, (headers as usize, mtu as usize)),
            presence: Presence::of((&interface.name, interface.index)),
            loopback: config.loopback,
            taken,
            counters: UdpCounters::default(),
            interface,
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

    #[cold]
    fn failed(&self, what: &str, error: io::Error) -> LinkError {
        LinkError::System { attempt: format!("{what} on {}", self.interface.name), error }
    }
}

impl Link for UdpLink {
    fn path(&self) -> PathFacts {
        self.path
    }

    fn join(&mut self, channel: Channel, sources: &[IpAddr]) -> Result<(), LinkError> {
        let Some(sockets) = &self.sockets else { return Ok(()) };
        self.channels.join(&sockets.groups, channel, sources)
    }

    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        let Some(sockets) = &self.sockets else { return Ok(()) };
        self.channels.leave(&sockets.groups, channel)
    }

    fn listen(&mut self, port: u16) -> Result<(), LinkError> {
        let Some(sockets) = &self.sockets else { return Ok(()) };
        self.channels.listen(&sockets.host, port)
    }

    fn unlisten(&mut self, port: u16) -> Result<(), LinkError> {
        let Some(sockets) = &self.sockets else { return Ok(()) };
        self.channels.unlisten(&sockets.host, port)
    }

    #[inline(never)]
    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        let Some(sockets) = &self.sockets else { return Ok(0) };
        let before = into.len();
        match self.intake.receive(sockets, pool, &mut self.channels, &mut self.counters, into) {
            Ok(()) => {
                let came = into.len() - before;
                self.presence.check(now, came, &sockets.groups).map(|()| came)
            }
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

    fn wait(&self, at_most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        if self.intake.has_waiting() {
            return Ok(());
        }
        let descriptors = self.descriptors().map(|socket| socket.as_raw_fd()).chain(wake.map(|wake| wake.as_raw_fd()));
        until_readable(descriptors, at_most).map_err(|error| self.failed("waiting for packets", error))
    }

    fn loops_back(&self) -> bool {
        self.loopback
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        if let Some(sockets) = self.sockets.take() {
            self.channels.leave_all(&sockets.groups);
        }
        self.intake.shut_down(pool);
    }
}

impl fmt::Debug for UdpLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, taken, .. } = self;
        f.debug_struct("UdpLink").field("interface", interface).field("taken", taken).finish_non_exhaustive()
    }
}
