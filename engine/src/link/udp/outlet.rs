//! Datagrams out: a batch leaves by as few calls as there are limits.
//!
//! ```text
//!   batch     [A 1400][A 1400][A 900][A 1400][B 64]           packets, each in its frame
//!   messages  [A 1400, 1400, 900: cut at 1400][A 1400][B 64]  one call
//! ```
//!
//! With GSO, packets in a row to one destination and of one size, the last of which may be shorter, are one message that the kernel, or
//! the card, cuts again. The octets are read before the call returns: every frame goes back to the pool at once.
//!
//! Driven by the link. Guards: what is not taken stays in the batch, in order; what the network refuses is counted and gone, so that it
//! holds nobody else up; no more calls than messages.

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::os::fd::OwnedFd;

use super::UdpCounters;
use crate::frame::{Outgoing, Pool, To, TxBatch};
use crate::link::kernel::messages::{Sending, UDP_SEGMENT};
use crate::link::kernel::socket::KernelAddress;

/// Packets in one message: what every kernel with GSO cuts (`UDP_MAX_SEGMENTS`, doubled in newer ones).
const SEGMENTS_MAX: usize = 64;
/// Packets in one call: as many pages of pieces as a megabyte of full packets needs.
const PACKETS_MAX: usize = 1024;
/// Octets of an IP packet with all that is in it.
const IP_OCTETS_MAX: usize = 65_535;

/// Whether packets are put together.
#[derive(Debug)]
enum Gso {
    Off,
    On,
    /// The kernel refused a message of several packets with this. If it takes the first of them alone, it was GSO that it refused.
    Doubted(io::Error),
}

pub(super) struct Outlet {
    sending: Sending,
    /// Packets in each message.
    packets: Box<[u16]>,
    gso: Gso,
    batch: usize,
    unicast_port: u16,
    multicast_port: u16,
    /// The interface: where link-local addresses are meant.
    interface: u32,
    /// Octets of IP and UDP headers, and of the longest IP packet.
    headers: usize,
    mtu: usize,
}

impl Outlet {
    pub(super) fn new(
        batch: usize,
        gso: bool,
        (unicast_port, multicast_port): (u16, u16),
        interface: u32,
        (headers, mtu): (usize, usize),
    ) -> Self {
        Self {
            sending: Sending::new(batch, PACKETS_MAX),
            packets: vec![0; batch].into(),
            gso: if gso { Gso::On } else { Gso::Off },
            batch,
            unicast_port,
            multicast_port,
            interface,
            headers,
            mtu,
        }
    }

    /// Sends from the front of the batch; how many packets it took. If it turned out that GSO cannot be had, `no_gso` hears why.
    #[inline]
    pub(super) fn send(
        &mut self,
        socket: &OwnedFd,
        pool: &mut Pool,
        from: &mut TxBatch,
        counters: &mut UdpCounters,
        no_gso: impl FnOnce(&io::Error),
    ) -> io::Result<usize> {
        let had = from.len();
        let mut no_gso = Some(no_gso);
        loop {
            self.drop_too_long(pool, from, counters);
            if from.is_empty() {
                break;
            }
            self.gather(pool, from.as_slice());
            counters.transmit_calls += 1;
            // SAFETY: the octets are those of frames in the batch, which nobody touches before the call returns.
            match unsafe { self.sending.send(socket, 0) } {
                // Would be a call that neither took nor refused anything.
                Ok(0) => break,
                Ok(messages) => {
                    let packets = self.packets[..messages].iter().map(|&packets| usize::from(packets)).sum();
                    counters.sent += packets as u64;
                    let joined = self.packets[..messages].iter().filter(|&&packets| packets > 1).count();
                    counters.joined_sent += joined as u64;
                    take(packets, pool, from);
                    if let Some(error) = self.give_up_gso() {
                        // Heard once at most: it is off from now on.
                        if let Some(no_gso) = no_gso.take() {
                            no_gso(&error);
                        }
                    }
                }
                Err(error) => {
                    if !self.refused(error, pool, from, counters)? {
                        break;
                    }
                }
            }
        }
        Ok(had - from.len())
    }

    /// The kernel took packets one by one: if it refused them together before, that was for good. Says why.
    #[inline]
    fn give_up_gso(&mut self) -> Option<io::Error> {
        if !matches!(self.gso, Gso::Doubted(_)) {
            return None;
        }
        match core::mem::replace(&mut self.gso, Gso::Off) {
            Gso::Doubted(error) => Some(error),
            Gso::Off | Gso::On => None,
        }
    }

    /// Decides what becomes of the first message, which the kernel refused; whether to go on.
    #[cold]
    fn refused(
        &mut self,
        error: io::Error,
        pool: &mut Pool,
        from: &mut TxBatch,
        counters: &mut UdpCounters,
    ) -> io::Result<bool> {
        match error.raw_os_error() {
            // No room in a queue: later.
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => {
                counters.full += 1;
                return Ok(false);
            }
            Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT) => return Err(error),
            // A device that fills in no checksums, a route through IPsec: one by one it may go.
            Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP) if self.packets[0] > 1 && matches!(self.gso, Gso::On) => {
                self.gso = Gso::Doubted(error);
                return Ok(true);
            }
            Some(libc::EMSGSIZE) => {
                // The interface's MTU has shrunk since the link was opened.
                counters.too_long += u64::from(self.packets[0]);
                take(usize::from(self.packets[0]), pool, from);
            }
            // An interface that is down or has lost its address, no route, a firewall: nothing will go there now. One call is enough to
            // know it of all that follow on the same way.
            code => {
                let alike = from.as_slice().iter().take_while(|out| from.front().is_some_and(|to| out.to == to.to));
                let packets = alike.count();
                match code {
                    Some(libc::EPERM | libc::EACCES) => counters.forbidden += packets as u64,
                    _ => counters.unreachable += packets as u64,
                }
                take(packets, pool, from);
            }
        }
        if matches!(self.gso, Gso::Doubted(_)) {
            // Refused one by one as well: it was not GSO.
            self.gso = Gso::On;
        }
        Ok(true)
    }

    /// What the interface cannot carry whole goes nowhere.
    #[inline]
    fn drop_too_long(&self, pool: &mut Pool, from: &mut TxBatch, counters: &mut UdpCounters) {
        // conformance 16: never beyond the MTU.
        while from.front().is_some_and(|out| out.frame.len() + self.headers > self.mtu) {
            counters.too_long += 1;
            take(1, pool, from);
        }
    }

    /// Makes messages of the first packets, as far as one call can take them and none is too long.
    #[inline]
    fn gather(&mut self, pool: &Pool, packets: &[Outgoing]) {
        self.sending.clear();
        let together = if matches!(self.gso, Gso::On) { SEGMENTS_MAX } else { 1 };
        let fits = |out: &Outgoing| out.frame.len() + self.headers <= self.mtu;
        let mut rest = &packets[..packets.len().min(PACKETS_MAX)];
        while let Some(first) = rest.first()
            && fits(first)
            && self.sending.len() < self.batch
        {
            let (to, port, neighbours) = match first.to {
                To::Group(group) => (group, self.multicast_port, false),
                To::Neighbours(group) => (group, self.multicast_port, true),
                To::Unicast(host) => (host, self.unicast_port, false),
            };
            let count = alike(&rest[..rest.len().min(together)], IP_OCTETS_MAX - self.headers);
            self.packets[self.sending.len()] = count as u16;
            self.sending.begin(&KernelAddress::new(SocketAddr::new(to, port), self.interface));
            for out in &rest[..count] {
                self.sending.add(pool.bytes(&out.frame));
            }
            if neighbours {
                // RFC 3208 §6.3, conformance 104: a NAK's copy for the neighbours stays on this network.
                let (level, option) = match to {
                    IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL),
                    IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
                };
                self.sending.say(level, option, &1_i32.to_ne_bytes());
            }
            if count > 1 {
                self.sending.say(libc::SOL_UDP, UDP_SEGMENT, &(first.frame.len() as u16).to_ne_bytes());
            }
            rest = &rest[count..];
        }
    }
}

/// How many of the first packets can be one message: to one destination, of one size but for the last, which may be shorter.
#[inline]
fn alike(packets: &[Outgoing], octets_max: usize) -> usize {
    let Some((first, others)) = packets.split_first() else { return 0 };
    let size = first.frame.len();
    let mut octets = size;
    let mut count = 1;
    if size == 0 {
        // Nothing can be cut at nothing.
        return count;
    }
    for out in others {
        let len = out.frame.len();
        octets += len;
        if out.to != first.to || len > size || len == 0 || octets > octets_max {
            break;
        }
        count += 1;
        if len < size {
            break;
        }
    }
    count
}

/// Takes packets off the batch: their frames are free.
#[inline]
fn take(packets: usize, pool: &mut Pool, from: &mut TxBatch) {
    for _ in 0..packets {
        let Some(out) = from.pop() else { break };
        pool.put(out.frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Layout;

    /// Packets of these sizes, all to one group but those marked.
    fn packets(pool: &mut Pool, sizes: &[(usize, bool)]) -> Vec<Outgoing> {
        let group = IpAddr::from([239, 192, 0, 1]);
        let mut packet = |&(size, elsewhere): &(usize, bool)| {
            let mut frame = pool.take().expect("a frame");
            frame.set_range(0, size as u16);
            Outgoing {
                frame,
                to: if elsewhere { To::Neighbours(group) } else { To::Group(group) },
                router_alert: false,
            }
        };
        sizes.iter().map(&mut packet).collect()
    }

    #[test]
    fn a_message_ends_with_a_shorter_packet_before_a_longer_one_and_where_the_way_parts() {
        let mut pool = Pool::anonymous(Layout { frame_size: 2048, frames: 256, start: 0 }).expect("a small mapping");
        let same = |size, count| vec![(size, false); count];
        for (sizes, count) in [
            (vec![], 0),
            (same(100, 1), 1),
            (same(100, 5), 5),
            (vec![(100, false), (100, false), (60, false), (60, false)], 3),
            (vec![(100, false), (101, false)], 1),
            (vec![(100, false), (100, true)], 1),
            (vec![(100, false), (0, false)], 1),
            (vec![(0, false), (0, false)], 1),
            // 65,507 octets are 44 packets of 1472 and no more.
            (same(1472, 64), 44),
            (same(1023, 64), 64),
        ] {
            let packets = packets(&mut pool, &sizes);
            assert_eq!(alike(&packets, 65_507), count, "{sizes:?}");
            for out in packets {
                pool.put(out.frame);
            }
        }
    }
}
