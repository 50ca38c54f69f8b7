//! The capture: wraps any link and writes what it sends and receives into a pcap file. Taps of the kernel see no frame of AF_XDP, so
//! that this is how to look at one's own end of such a link.
//!
//! The file is a classic pcap with nanoseconds, its records IP packets: PGM as it is, behind IP (and UDP) headers made from what links
//! tell of a packet. Known are source, destination, Router Alert and TTL of what we send, and source and destination of what we
//! receive; the rest (TTL and Router Alert of what came in, UDP source ports) is what this link itself would send. A packet that the
//! link took and then dropped, because it exceeds the MTU for instance, is in the file.
//!
//! Wrapped by whoever opens a link. Guards: a file that cannot be written never disturbs the traffic, and a packet that the link
//! did not take is not in it. It writes from the thread that polls: on a slow disk that costs time, a capture is for looking.

use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::{Encapsulation, Link, LinkError};
use crate::frame::{Pool, RxBatch, To, TxBatch};
use crate::time::{Time, nanos};
use crate::wire::checksum;
use crate::wire::net::{Envelope, EnvelopeConfig, Transport};

/// Octets that are gathered before they are written: some hundred packets share a system call.
const GATHER: usize = 256 * 1024;
/// What was gathered is written after a second of silence, so that a file can be looked at while it grows.
const PAUSE_NS: u64 = 1_000_000_000;
/// The first words of the file: nanoseconds, version 2.4, zone and accuracy unused, packets never cut short, IP packets.
const MAGIC: u32 = 0xa1b2_3c4d;
const LONGEST: u32 = 262_144;
const LINKTYPE_RAW: u32 = 101;
/// Octets in front of each packet: seconds, nanoseconds, length here and on the wire.
const RECORD: usize = 16;

/// How packets are written down.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaptureConfig {
    /// What PGM travels in on the link.
    pub encapsulation: Encapsulation,
    /// Time to live of packets to a group, and of all whose own is not known.
    pub ttl: u8,
    /// Type-of-service octet.
    pub tos: u8,
    /// Octets that the file may have; what would exceed them, and all behind it, is left out. `None`: as many as come.
    pub octets_max: Option<u64>,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self { encapsulation: Encapsulation::Pgm, ttl: 16, tos: 0, octets_max: None }
    }
}

/// Why a capture could not begin.
#[derive(Debug, thiserror::Error)]
#[error("writing packets to {} failed: {error}; name a file in a directory that exists and is yours", path.display())]
pub struct CaptureError {
    /// The file.
    pub path: PathBuf,
    /// What the operating system said.
    pub error: io::Error,
}

/// What a capture counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureCounts {
    /// Packets written, or gathered to be.
    pub packets: u64,
    /// Octets of the file with them.
    pub octets: u64,
    /// Packets left out: the file was full, or could no longer be written.
    pub left_out: u64,
    /// Writes that failed; after the first nothing more is written.
    pub errors: u64,
}

/// How many packets a file lacks, for who does not own the link any more.
#[derive(Clone, Debug, Default)]
pub struct Lacks(Arc<AtomicU64>);

impl Lacks {
    /// Packets left out so far, or at least one where a write failed.
    pub fn packets(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A link whose packets are written down.
pub struct Capture<L, W: Write = File> {
    inner: L,
    tape: Option<Tape<W>>,
}

impl<L: Link> Capture<L> {
    /// Writes to the file at `path`, which is made anew.
    pub fn to_file(inner: L, path: &Path, config: &CaptureConfig) -> Result<Self, CaptureError> {
        let failed = |error| CaptureError { path: path.into(), error };
        Self::to(inner, File::create(path).map_err(failed)?, config).map_err(failed)
    }

    /// Writes nothing: for programs that capture when they are asked to.
    pub fn none(inner: L) -> Self {
        Self { inner, tape: None }
    }
}

impl<L: Link, W: Write> Capture<L, W> {
    /// Writes to `out`, with the head of the file at once.
    pub fn to(inner: L, out: W, config: &CaptureConfig) -> io::Result<Self> {
        let tape = Tape::new(out, config, inner.path().nla)?;
        Ok(Self { inner, tape: Some(tape) })
    }

    /// The link behind the capture.
    pub fn inner(&self) -> &L {
        &self.inner
    }

    /// What was counted.
    pub fn counts(&self) -> CaptureCounts {
        self.tape.as_ref().map(|tape| tape.counts).unwrap_or_default()
    }

    /// To be asked later, from any thread, whether the file lacks packets.
    pub fn lacks(&self) -> Lacks {
        self.tape.as_ref().map(|tape| tape.lacks.clone()).unwrap_or_default()
    }

    /// Writes what was gathered.
    pub fn flush(&mut self) {
        if let Some(tape) = &mut self.tape {
            tape.write_out();
        }
    }
}

impl<L: Link, W: Write> Link for Capture<L, W> {
    pass_on!(inner);

    #[inline]
    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        let Some(tape) = &mut self.tape else { return self.inner.receive(now, pool, into) };
        let before = into.len();
        let answer = self.inner.receive(now, pool, into);
        // Also what came before something failed.
        for incoming in &into.as_slice()[before..] {
            tape.received(now, incoming.from, incoming.to, pool.bytes(&incoming.frame));
        }
        if into.len() == before {
            tape.rest(now);
        }
        answer
    }

    #[inline]
    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        let Some(tape) = &mut self.tape else { return self.inner.send(now, pool, from) };
        // Written down before the link has them, because nobody may look into them afterwards; what it does not take is struck out.
        tape.begin();
        for outgoing in from.as_slice() {
            tape.leaves(now, outgoing.to, outgoing.router_alert, pool.bytes(&outgoing.frame));
        }
        let before = from.len();
        let answer = self.inner.send(now, pool, from);
        tape.keep(before - from.len());
        answer
    }

    fn deadline(&self) -> Option<Time> {
        self.inner.deadline()
    }

    fn wait(&self, at_most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<(), LinkError> {
        self.inner.wait(at_most, wake)
    }

    fn loops_back(&self) -> bool {
        self.inner.loops_back()
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        self.inner.shut_down(pool);
        self.flush();
    }
}

impl<L, W: Write> Drop for Capture<L, W> {
    fn drop(&mut self) {
        if let Some(tape) = &mut self.tape {
            tape.write_out();
        }
    }
}

/// Headers made once for a run of packets that differ in nothing but their octets.
struct Stamp {
    config: EnvelopeConfig,
    envelope: Envelope,
}

/// Where a tape can be taken back to.
#[derive(Clone, Copy)]
struct Mark {
    gathered: usize,
    ended: bool,
    counts: CaptureCounts,
}

/// The file, and what is gathered for it.
struct Tape<W> {
    out: W,
    config: CaptureConfig,
    nla: IpAddr,
    gathered: Vec<u8>,
    /// How it stood at [`Tape::begin`] and after each packet since.
    marks: Vec<Mark>,
    /// The wall clock at a time of the engine, from which all others follow.
    clock: Option<(Time, u64)>,
    written_at: Time,
    /// Of what leaves, and of what comes in.
    stamps: [Option<Stamp>; 2],
    /// A packet did not fit, or a write failed: nothing more is written.
    ended: bool,
    counts: CaptureCounts,
    lacks: Lacks,
}

/// TTL of packets to one host, as links send them.
const UNICAST_TTL: u8 = 64;

const LEAVES: usize = 0;
const COMES: usize = 1;

impl<W: Write> Tape<W> {
    fn new(mut out: W, config: &CaptureConfig, nla: IpAddr) -> io::Result<Self> {
        let words = [MAGIC, 2 | 4 << 16, 0, 0, LONGEST, LINKTYPE_RAW];
        let head: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        out.write_all(&head)?;
        Ok(Self {
            out,
            config: config.clone(),
            nla,
            // A batch of ordinary packets on top, so that it does not grow.
            gathered: Vec::with_capacity(GATHER + 64 * 2048),
            marks: Vec::with_capacity(65),
            clock: None,
            written_at: Time::ZERO,
            stamps: [None, None],
            ended: false,
            counts: CaptureCounts { octets: head.len() as u64, ..CaptureCounts::default() },
            lacks: Lacks::default(),
        })
    }

    fn received(&mut self, now: Time, from: IpAddr, to: IpAddr, packet: &[u8]) {
        let config = self.headers(from, to, self.config.ttl, false);
        self.record(now, COMES, config, packet);
        if self.gathered.len() >= GATHER {
            self.write_out();
        }
    }

    /// What follows until [`Tape::keep`] is not settled yet.
    fn begin(&mut self) {
        self.marks.clear();
        self.mark();
    }

    fn mark(&mut self) {
        self.marks.push(Mark { gathered: self.gathered.len(), ended: self.ended, counts: self.counts });
    }

    fn leaves(&mut self, now: Time, to: To, router_alert: bool, packet: &[u8]) {
        let (to, ttl) = match to {
            To::Group(to) => (to, self.config.ttl),
            To::Unicast(to) => (to, UNICAST_TTL),
            To::Neighbours(to) => (to, 1),
        };
        let config = self.headers(self.nla, to, ttl, router_alert);
        self.record(now, LEAVES, config, packet);
        self.mark();
    }

    /// Of the packets since [`Tape::begin`] the first `packets` were sent, the others were not.
    fn keep(&mut self, packets: usize) {
        if let Some(&Mark { gathered, ended, counts }) = self.marks.get(packets) {
            self.gathered.truncate(gathered);
            if counts.left_out < self.counts.left_out {
                self.lacks.0.store(counts.left_out.max(counts.errors), Ordering::Relaxed);
            }
            (self.ended, self.counts) = (ended, counts);
        }
        if self.gathered.len() >= GATHER {
            self.write_out();
        }
    }

    fn headers(&self, source: IpAddr, destination: IpAddr, ttl: u8, router_alert: bool) -> EnvelopeConfig {
        let transport = match self.config.encapsulation {
            Encapsulation::Pgm => Transport::Pgm,
            Encapsulation::Udp { unicast_port, multicast_port } => Transport::Udp {
                source_port: unicast_port,
                destination_port: if destination.is_multicast() { multicast_port } else { unicast_port },
            },
        };
        let router_alert = router_alert && transport == Transport::Pgm;
        EnvelopeConfig { link: None, source, destination, ttl, tos: self.config.tos, router_alert, transport }
    }

    /// Appends a packet, unless it does not fit.
    fn record(&mut self, now: Time, side: usize, config: EnvelopeConfig, packet: &[u8]) {
        if self.stamps[side].as_ref().is_none_or(|stamp| stamp.config != config) {
            self.stamps[side] = Envelope::new(&config).ok().map(|envelope| Stamp { config, envelope });
        }
        // Both addresses of a packet are of one family, or it never was a packet.
        let Some(Stamp { envelope, .. }) = &self.stamps[side] else { return self.leave_out() };
        let headers = envelope.header_len();
        let octets = (RECORD + headers + packet.len()) as u64;
        if self.ended || self.config.octets_max.is_some_and(|most| self.counts.octets + octets > most) {
            self.ended = true;
            return self.leave_out();
        }
        let (at, len) = (self.gathered.len(), (headers + packet.len()) as u32);
        let wall_ns = wall(&mut self.clock, now);
        for word in [(wall_ns / 1_000_000_000) as u32, (wall_ns % 1_000_000_000) as u32, len, len] {
            self.gathered.extend_from_slice(&word.to_le_bytes());
        }
        self.gathered.resize(at + RECORD + headers, 0);
        let front = &mut self.gathered[at + RECORD..];
        if envelope.write(front, packet.len()).is_err() {
            // Longer than an IP packet can be.
            self.gathered.truncate(at);
            return self.leave_out();
        }
        if matches!(config.transport, Transport::Udp { .. })
            && let Some(sum) = front.last_chunk_mut()
        {
            // The envelope takes the packet's own checksum for right. What came in need not have one, or a right one.
            *sum = checksum::sum(packet).plus_u16(!u16::from_be_bytes(*sum)).finish().to_be_bytes();
        }
        self.gathered.extend_from_slice(packet);
        self.counts.packets += 1;
        self.counts.octets += octets;
    }

    #[cold]
    fn leave_out(&mut self) {
        self.counts.left_out += 1;
        self.lacks.0.store(self.counts.left_out, Ordering::Relaxed);
    }

    /// Nothing came: time to write, if there was none for long.
    fn rest(&mut self, now: Time) {
        if !self.gathered.is_empty() && now.since(self.written_at) >= PAUSE_NS {
            self.written_at = now;
            self.write_out();
        }
    }

    fn write_out(&mut self) {
        if !self.gathered.is_empty() && self.out.write_all(&self.gathered).and_then(|()| self.out.flush()).is_err() {
            self.counts.errors += 1;
            self.ended = true;
            // Not counted: which of them are in the file nobody knows.
            self.lacks.0.fetch_max(1, Ordering::Relaxed);
        }
        self.gathered.clear();
    }
}

/// Nanoseconds since 1970: the wall clock when it was first asked, and from there on the engine's time, which never jumps.
fn wall(clock: &mut Option<(Time, u64)>, now: Time) -> u64 {
    let (then, wall_ns) = *clock.get_or_insert_with(|| {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (now, nanos(since_1970))
    });
    wall_ns.saturating_add(now.since(then))
}

#[cfg(test)]
mod tests;
