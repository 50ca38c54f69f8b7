//! Raw links on hosts of a test: opened there, driven from one thread, so that every test runs in one order.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use pgmx::frame::{Incoming, Outgoing, Pool, RxBatch, To, TxBatch};
use pgmx::link::raw::{RawConfig, RawLink};
use pgmx::link::{Address, Channel, Link};
use pgmx::time::Time;
use pgmx::wire::PacketType;

use super::netns::{Host, Port};

pub const DATA_PORT: u16 = 7500;
pub const SOURCE_PORT: u16 = 7400;
const PATIENCE: Duration = Duration::from_secs(20);
pub const NOW: Time = Time::ZERO;

/// The two families, each by a group of it.
pub fn families() -> [IpAddr; 2] {
    [[239, 192, 0, 1].into(), "ff0e::113:1".parse().expect("a group")]
}

pub fn channel(group: IpAddr) -> Channel {
    Channel { group, data_port: DATA_PORT }
}

/// The octets of a PGM packet as far as a link looks at them, and a payload.
pub fn packet(from: u16, to: u16, kind: PacketType, payload: &[u8]) -> Vec<u8> {
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &[kind.code(), 0, 0, 0], payload].concat()
}

/// ODATA of the usual session.
pub fn data(payload: &[u8]) -> Vec<u8> {
    packet(SOURCE_PORT, DATA_PORT, PacketType::Odata, payload)
}

/// A packet that came in.
#[derive(Debug, PartialEq, Eq)]
pub struct Came {
    pub octets: Vec<u8>,
    pub from: IpAddr,
    pub to: IpAddr,
}

/// A link with its pool and batches.
pub struct Side {
    pub link: RawLink,
    pub pool: Pool,
    pub out: TxBatch,
    pub back: RxBatch,
}

impl Side {
    pub fn open(host: &Host, interface: &str, family: IpAddr, change: impl FnOnce(&mut RawConfig)) -> Self {
        let mut config = RawConfig::new(interface);
        config.address = Address::suiting(family);
        config.frames = 1024;
        change(&mut config);
        let (mut link, pool) = host.inside(|| RawLink::open(&config)).expect("a raw link");
        link.listen(SOURCE_PORT).expect("a port");
        Self { link, pool, out: TxBatch::new(256), back: RxBatch::new(256) }
    }

    pub fn on(host: &Host, port: &Port, family: IpAddr) -> Self {
        Self::open(host, &port.interface, family, |_| {})
    }

    /// A claim is made in the namespace of the calling thread.
    pub fn join(&mut self, host: &Host, channel: Channel, sources: &[IpAddr]) {
        host.inside(|| self.link.join(channel, sources)).expect("a group");
    }

    pub fn push(&mut self, octets: &[u8], to: To, router_alert: bool) {
        let path = self.link.path();
        let start = self.pool.layout().start + path.front + if router_alert { path.alert } else { 0 };
        let mut frame = self.pool.take().expect("a free frame");
        frame.set_range(start, octets.len() as u16);
        self.pool.bytes_mut(&mut frame).copy_from_slice(octets);
        self.out.push(Outgoing { frame, to, router_alert });
    }

    pub fn flush(&mut self) -> usize {
        self.link.send(NOW, &mut self.pool, &mut self.out).expect("no packet stops a link")
    }

    pub fn send(&mut self, octets: &[u8], to: To) {
        self.push(octets, to, false);
        assert_eq!(self.flush(), 1, "{:?}", self.link.counters());
    }

    /// One turn.
    pub fn poll(&mut self) -> Vec<Came> {
        let count = self.link.receive(NOW, &mut self.pool, &mut self.back).expect("no packet stops a link");
        assert_eq!(count, self.back.len());
        let mut came = Vec::new();
        while let Some(Incoming { frame, from, to }) = self.back.pop() {
            came.push(Came { octets: self.pool.bytes(&frame).to_vec(), from, to });
            self.pool.put(frame);
        }
        came
    }

    /// A turn with packets.
    pub fn receive_some(&mut self) -> Vec<Came> {
        loop {
            self.await_packets();
            let came = self.poll();
            if !came.is_empty() {
                return came;
            }
        }
    }

    /// Turns until so many packets came.
    pub fn receive(&mut self, count: usize) -> Vec<Came> {
        let mut came = Vec::new();
        while came.len() < count {
            came.extend(self.receive_some());
        }
        assert_eq!(came.len(), count, "more than was sent");
        came
    }

    /// Turns without a packet until something else is so.
    pub fn turns_until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "it never was: {:?}", self.link.counters());
            assert_eq!(self.poll(), []);
        }
    }

    /// Sleeps until the link can be read.
    pub fn await_packets(&self) {
        let mut wanted = libc::pollfd { fd: self.link.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which lives through the call.
        let readable = unsafe { libc::poll(&raw mut wanted, 1, PATIENCE.as_millis() as i32) };
        assert_eq!(readable, 1, "nothing came: {:?}", self.link.counters());
    }

    /// The octets of one packet.
    pub fn receive_one(&mut self) -> Vec<u8> {
        self.receive(1).remove(0).octets
    }

    /// All frames are home.
    pub fn close(mut self) {
        while let Some(outgoing) = self.out.pop() {
            self.pool.put(outgoing.frame);
        }
        self.link.shut_down(&mut self.pool);
        let census = self.pool.census();
        assert_eq!((census.free, census.out, census.slots, census.lent), (census.total, 0, 0, 0));
    }
}

/// All frames of an interface as the kernel shows them to whoever asks.
pub struct Tap(std::os::fd::OwnedFd);

impl Tap {
    pub fn open(host: &Host, interface: &str) -> Self {
        use std::os::fd::FromRawFd;
        const ALL: u16 = 3;
        host.inside(|| {
            let name = std::ffi::CString::new(interface).expect("no zero in it");
            // SAFETY: the name ends with a zero and lives through the call; a socket is opened and no memory touched.
            let (index, socket) = unsafe {
                let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
                (libc::if_nametoindex(name.as_ptr()), libc::socket(libc::AF_PACKET, kind, i32::from(ALL.to_be())))
            };
            assert!(index > 0 && socket >= 0, "a packet socket: {}", std::io::Error::last_os_error());
            // SAFETY: just opened and nobody else's.
            let tap = Self(unsafe { std::os::fd::OwnedFd::from_raw_fd(socket) });
            // SAFETY: a structure of integers, for which all zeroes is a value.
            let mut address: libc::sockaddr_ll = unsafe { core::mem::zeroed() };
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = ALL.to_be();
            address.sll_ifindex = index as i32;
            let octets = size_of::<libc::sockaddr_ll>() as u32;
            // SAFETY: the kernel reads as many octets as the address has.
            let bound = unsafe { libc::bind(socket, (&raw const address).cast(), octets) };
            assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
            tap
        })
    }

    /// The next frame that carries protocol 113.
    pub fn next(&mut self) -> (pgmx::wire::net::NetHeader, Vec<u8>) {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 65_536];
        loop {
            assert!(Instant::now() < deadline, "nothing was seen on the wire");
            // SAFETY: the kernel writes at most as many octets as the buffer has.
            let len = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let Ok(len) = usize::try_from(len) else { continue };
            if let Ok(header) = pgmx::wire::net::parse_frame(&buffer[..len])
                && header.proto == pgmx::wire::net::PROTO_PGM
            {
                return (header, buffer[..len].to_vec());
            }
        }
    }
}
