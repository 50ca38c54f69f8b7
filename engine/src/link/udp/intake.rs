//! Datagrams in: a call fills frames with as many as are there; packets are handed up as fast as there is room for them.
//!
//! ```text
//!   slots   [f][f][f][f] ...      frames that wait to be received into, the first pieces of each datagram's room
//!   spill   [64 KiB][64 KiB] ...  behind the pieces: what did not fit them, at the place it has in the datagram
//! ```
//!
//! A datagram that suits its `cut` is handed up where it lies; any other is made whole in the spill and its packets copied out of it,
//! each once and counted. What is not handed up yet waits here, at most one call's worth, and no call is made before it is gone.
//!
//! Driven by the link. Guards: a frame in a slot is nobody else's; a packet handed up lies in one frame, whatever came.

use core::net::IpAddr;
use std::io;

use super::UdpCounters;
use super::cut::{Cut, Expectation, JOINED_MAX, PIECES_MAX};
use super::sockets::Sockets;
use crate::frame::{Frame, Incoming, Pool, RxBatch};
use crate::link::kernel::channels::{Channels, Whose};
use crate::link::kernel::messages::{Receiving, Said};
use crate::wire::HEADER_LEN;

/// A datagram that is being handed up.
#[derive(Debug)]
struct Open {
    octets: usize,
    /// Octets of each packet but the last.
    segment: usize,
    /// The next packet, and where it begins.
    packet: usize,
    at: usize,
    /// Whether all of it lies in the spill, else its first pieces lie in frames.
    spilt: bool,
    from: IpAddr,
    to: IpAddr,
}

pub(super) struct Intake {
    receiving: Receiving,
    /// The number of the pool that all frames in the slots are of.
    pool: u32,
    slots: Box<[Option<Frame>]>,
    /// As many times [`JOINED_MAX`] as datagrams are received at a call; nothing where none can be joined.
    spill: Box<[u8]>,
    /// Where in a frame a packet begins, and how long it can be.
    start: u16,
    room: usize,
    batch: usize,
    interface: u32,
    expectations: [Expectation; 2],
    /// What each socket said of its losses last.
    dropped: [u32; 2],
    /// How the room on offer is cut, and for how many datagrams; whether frames were replaced since.
    cut: Cut,
    offered: usize,
    holes: bool,
    /// The socket of the last call, the datagrams it brought, those done with, and the one under way.
    socket: usize,
    came: usize,
    done: usize,
    open: Option<Open>,
    /// Which socket is asked first: they take turns, so that neither starves the other.
    turn: usize,
}

/// Frames that wait to be received into.
pub(super) fn slots(batch: usize) -> usize {
    batch.max(PIECES_MAX)
}

impl Intake {
    /// Takes its frames at once: they are there whoever takes how many others.
    pub(super) fn new(pool: &mut Pool, batch: usize, gro: bool, interface: u32) -> Self {
        let layout = pool.layout();
        let spills = if gro { batch } else { 0 };
        Self {
            receiving: Receiving::new(batch, if gro { PIECES_MAX + 1 } else { 1 }, true),
            pool: pool.id(),
            slots: (0..slots(batch)).map(|_| pool.take_for_fill()).collect(),
            // Zeroed by the kernel when first touched, which is never where datagrams come as expected.
            spill: vec![0; spills * JOINED_MAX].into(),
            start: layout.start,
            room: ((layout.frame_size - u32::from(layout.start)) as usize).min(usize::from(u16::MAX)),
            batch,
            interface,
            expectations: [Expectation::default(); 2],
            dropped: [0; 2],
            cut: Cut { piece: 0, pieces: 1 },
            offered: 0,
            holes: true,
            socket: 0,
            came: 0,
            done: 0,
            open: None,
            turn: 0,
        }
    }

    /// Whether packets wait for room.
    #[inline]
    pub(super) fn has_waiting(&self) -> bool {
        self.done < self.came
    }

    /// Hands up what waits, then asks each socket once, as long as there is room.
    #[inline]
    pub(super) fn receive(
        &mut self,
        sockets: &Sockets,
        pool: &mut Pool,
        channels: &mut Channels,
        counters: &mut UdpCounters,
        into: &mut RxBatch,
    ) -> io::Result<()> {
        // Frames that were offered long ago must still be there.
        assert!(pool.id() == self.pool, "a pool of another link");
        self.hand_up(pool, channels, counters, into);
        let heard = sockets.heard();
        for n in 0..heard {
            if self.has_waiting() || into.room() == 0 {
                break;
            }
            let number = (self.turn + n) % heard;
            let messages = self.offer(number, into.room(), pool, counters);
            if messages == 0 {
                break;
            }
            counters.receive_calls += 1;
            // SAFETY: the room on offer is that of our spill, and of frames in our slots, all of the one pool that they ever come from,
            // which is borrowed: it is there, and nobody else has it.
            let came = unsafe { self.receiving.receive(sockets.hearing(number), messages) };
            (self.socket, self.done, self.came) = (number, 0, tolerate(came, counters)?);
            self.hand_up(pool, channels, counters, into);
        }
        self.turn = (self.turn + 1) % heard;
        Ok(())
    }

    /// Makes room for datagrams; how many. None only if the pool is out of frames.
    #[inline]
    fn offer(&mut self, socket: usize, room: usize, pool: &mut Pool, counters: &mut UdpCounters) -> usize {
        let mut ready = self.slots.len();
        let refilled = self.holes;
        if self.holes {
            ready = self.refill(pool, counters);
            if ready == 0 {
                return 0;
            }
        }
        let mut cut = self.expectations[socket].cut(self.room);
        cut.pieces = cut.pieces.min(ready);
        let messages = (room / cut.pieces).clamp(1, self.batch.min(ready / cut.pieces));
        if refilled || cut != self.cut || messages > self.offered {
            self.cut = cut;
            self.offered = messages;
            for message in 0..messages {
                self.offer_one(message, pool);
            }
        }
        messages
    }

    fn offer_one(&mut self, message: usize, pool: &mut Pool) {
        let Self { receiving, slots, spill, cut, start, .. } = self;
        let first = message * cut.pieces;
        for (piece, slot) in slots[first..first + cut.pieces].iter_mut().enumerate() {
            // Every slot up to the last that is on offer was filled.
            if let Some(frame) = slot {
                frame.set_range(*start, cut.piece as u16);
                receiving.offer(message, piece, pool.bytes_mut(frame));
            }
        }
        let mut pieces = cut.pieces;
        if let Some(spill) = spill.get_mut(message * JOINED_MAX + cut.covered()..(message + 1) * JOINED_MAX)
            && !spill.is_empty()
        {
            receiving.offer(message, pieces, spill);
            pieces += 1;
        }
        receiving.set_pieces(message, pieces);
    }

    /// Fills the slots; how many are full now, from the first on.
    fn refill(&mut self, pool: &mut Pool, counters: &mut UdpCounters) -> usize {
        self.holes = false;
        for at in 0..self.slots.len() {
            if self.slots[at].is_some() {
                continue;
            }
            self.slots[at] = pool.take_for_fill();
            if self.slots[at].is_none() {
                self.holes = true;
                counters.starved += 1;
                return self.close_up(at);
            }
        }
        self.slots.len()
    }

    /// Moves the frames that there are in front of all empty slots, of which `hole` is the first.
    #[cold]
    fn close_up(&mut self, hole: usize) -> usize {
        let mut full = hole;
        for at in hole..self.slots.len() {
            if self.slots[at].is_some() {
                self.slots.swap(full, at);
                full += 1;
            }
        }
        full
    }

    /// Hands packets up until there is no more room, frame or datagram.
    #[inline]
    fn hand_up(&mut self, pool: &mut Pool, channels: &mut Channels, counters: &mut UdpCounters, into: &mut RxBatch) {
        while self.done < self.came {
            let mut open = match self.open.take() {
                Some(open) => Some(open),
                None => self.look_at(self.done, pool, counters),
            };
            if let Some(datagram) = &mut open {
                self.hand_up_packets(datagram, pool, channels, counters, into);
                if datagram.at < datagram.octets {
                    self.open = open;
                    return;
                }
            }
            self.done += 1;
            if self.done == self.came {
                self.expectations[self.socket].settle();
            }
        }
    }

    /// Reads what the kernel said about a datagram; nothing if it is of no use.
    #[inline]
    fn look_at(&mut self, number: usize, pool: &Pool, counters: &mut UdpCounters) -> Option<Open> {
        let message = self.receiving.message(number);
        let octets = message.len;
        let (mut to, mut segment) = (None, octets);
        for said in message.beside() {
            match said {
                Said::Destination(address, interface) => to = Some((address, interface)),
                Said::Segment(size) => segment = size.min(octets),
                Said::Drops(count) => {
                    // A count that runs over; the difference does not.
                    let before = core::mem::replace(&mut self.dropped[self.socket], count);
                    counters.kernel_drops += u64::from(count.wrapping_sub(before));
                }
            }
        }
        // What comes to a group by another interface is not ours; to our address it may come by loopback.
        let to = to.filter(|(to, interface)| !to.is_multicast() || *interface == self.interface);
        let (Some(from), Some((to, _)), 1..) = (message.sender(), to, octets) else {
            counters.rejected += 1;
            return None;
        };
        let is_cut = message.is_cut;
        self.expectations[self.socket].saw(octets, segment);
        if is_cut || segment > self.room {
            counters.cut += octets.div_ceil(segment) as u64;
            return None;
        }
        counters.joined += u64::from(octets > segment);
        let spilt = !self.cut.suits(octets, segment);
        if spilt {
            self.spill_all(number, octets, pool);
        }
        Some(Open { octets, segment, packet: 0, at: 0, spilt, from: from.ip(), to })
    }

    /// Copies what lies in frames in front of what lies in the spill.
    fn spill_all(&mut self, number: usize, octets: usize, pool: &Pool) {
        let spill = &mut self.spill[number * JOINED_MAX..][..JOINED_MAX];
        let pieces = &self.slots[number * self.cut.pieces..][..self.cut.pieces];
        for (frame, to) in pieces.iter().flatten().zip(spill[..octets].chunks_mut(self.cut.piece)) {
            to.copy_from_slice(&pool.bytes(frame)[..to.len()]);
        }
    }

    #[inline]
    fn hand_up_packets(
        &mut self,
        datagram: &mut Open,
        pool: &mut Pool,
        channels: &mut Channels,
        counters: &mut UdpCounters,
        into: &mut RxBatch,
    ) {
        let Open { octets, segment, from, to, .. } = *datagram;
        let slots = if datagram.spilt { 0 } else { self.cut.pieces };
        let first = self.done * self.cut.pieces;
        while datagram.at < octets && into.room() > 0 {
            let len = segment.min(octets - datagram.at);
            let frame = if datagram.packet < slots {
                let slot = &mut self.slots[first + datagram.packet];
                let Some(mut frame) = slot.take() else { unreachable!("a slot on offer was empty") };
                frame.set_range(self.start, len as u16);
                if is_ours(channels, from, to, pool.bytes(&frame), counters) {
                    self.holes = true;
                    Some(frame)
                } else {
                    frame.set_range(self.start, self.cut.piece as u16);
                    *slot = Some(frame);
                    None
                }
            } else {
                let packet = &self.spill[self.done * JOINED_MAX + datagram.at..][..len];
                if is_ours(channels, from, to, packet, counters) {
                    let Some(mut frame) = pool.take_for_fill() else {
                        counters.starved += 1;
                        return;
                    };
                    frame.set_range(self.start, len as u16);
                    pool.bytes_mut(&mut frame).copy_from_slice(packet);
                    counters.copied += 1;
                    Some(frame)
                } else {
                    None
                }
            };
            datagram.at += len;
            datagram.packet += 1;
            if let Some(frame) = frame {
                counters.received += 1;
                into.push(Incoming { frame, from, to });
            }
        }
    }

    /// Gives every frame back and forgets what waits.
    pub(super) fn shut_down(&mut self, pool: &mut Pool) {
        (self.done, self.came, self.offered, self.holes, self.open) = (0, 0, 0, true, None);
        for frame in self.slots.iter_mut().filter_map(Option::take) {
            pool.put(frame);
        }
    }
}

#[inline]
fn is_ours(channels: &mut Channels, from: IpAddr, to: IpAddr, packet: &[u8], counters: &mut UdpCounters) -> bool {
    if packet.len() < HEADER_LEN {
        counters.rejected += 1;
        return false;
    }
    match channels.whose(from, to, packet) {
        Whose::Ours => return true,
        Whose::Unclaimed => counters.unclaimed += 1,
        Whose::OtherSource => counters.other_source += 1,
    }
    false
}

/// What the network did to a socket is no error of the link: it is counted, and the next call finds it gone.
fn tolerate(came: io::Result<usize>, counters: &mut UdpCounters) -> io::Result<usize> {
    match came {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT)) => {
            counters.receive_errors += 1;
            Ok(0)
        }
        came => came,
    }
}
