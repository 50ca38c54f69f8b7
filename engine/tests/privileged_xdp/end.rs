//! One end of a cable, with all that a test does with it. One thread drives both ends, so that nothing races; every wait has an end.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use pgmx::frame::{Outgoing, Pool, RxBatch, To, TxBatch};
use pgmx::link::xdp::{Verdict, XdpConfig, XdpError, XdpLink};
use pgmx::link::{Address, Channel, Link, LinkError};
use pgmx::time::Time;
use pgmx::wire::build::{Content, DATA_HEADER_LEN, DataTemplate, DataType, Session};
use pgmx::wire::{Gsi, Kind, Limits, Sqn, Tsi, checksum, parse};

use crate::netns::{Host, Port};

pub(super) const DATA_PORT: u16 = 7500;
const SOURCE_PORT: u16 = 7400;
const PATIENCE: Duration = Duration::from_secs(20);
const RING: u32 = 128;

/// A packet that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) payload: Vec<u8>,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
}

/// A link on a host, and what it needs.
pub(super) struct End<'h> {
    pub(super) host: &'h Host,
    pub(super) port: Port,
    pub(super) link: XdpLink,
    pub(super) pool: Pool,
    out: TxBatch,
    back: RxBatch,
    begun: Instant,
}

/// What is asked for unless a test changes it.
pub(super) fn config(port: &Port) -> XdpConfig {
    let mut config = XdpConfig::new(&port.interface);
    config.frames = 8 * 2 * RING;
    config.ring = RING;
    config.tx_budget = 64;
    config
}

/// The group of this address's family.
pub(super) fn group(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { [239, 192, 0, 1].into() } else { "ff15::113:1".parse().expect("a group") }
}

/// The address of either family as a choice.
pub(super) const FAMILIES: [Address; 2] = [Address::Ipv4, Address::Ipv6];

/// ODATA with this payload, octet for octet.
pub(super) fn odata(payload: &[u8]) -> Vec<u8> {
    let tsi = Tsi { gsi: Gsi::from_host_name("left"), port: SOURCE_PORT };
    let template = DataTemplate::new(&Session { tsi, data_port: DATA_PORT });
    let mut packet = vec![0; DATA_HEADER_LEN];
    let (head, sum) = (packet.first_chunk_mut().expect("a header"), checksum::sum(payload));
    let sqn = Sqn::new(0);
    template.plain(head, DataType::Odata, Content::Original, sqn, sqn, payload.len() as u16, sum);
    packet.extend_from_slice(payload);
    packet
}

impl<'h> End<'h> {
    pub(super) fn try_open(host: &'h Host, port: &Port, change: impl FnOnce(&mut XdpConfig)) -> Result<Self, XdpError> {
        let mut config = config(port);
        change(&mut config);
        let (mut link, pool) = host.inside(|| XdpLink::open(&config))?;
        for port in [DATA_PORT, SOURCE_PORT] {
            link.listen(port).expect("a port");
        }
        let (out, back) = (TxBatch::new(64), RxBatch::new(64));
        Ok(Self { host, port: port.clone(), link, pool, out, back, begun: Instant::now() })
    }

    pub(super) fn open(host: &'h Host, port: &Port, change: impl FnOnce(&mut XdpConfig)) -> Self {
        Self::try_open(host, port, change).expect("an AF_XDP link on a veth cable")
    }

    pub(super) fn now(&self) -> Time {
        Time::from_nanos(self.begun.elapsed().as_nanos() as u64)
    }

    pub(super) fn address(&self) -> IpAddr {
        self.link.path().nla
    }

    pub(super) fn group(&self) -> IpAddr {
        group(self.address())
    }

    pub(super) fn join(&mut self, sources: &[IpAddr]) {
        let channel = Channel { group: self.group(), data_port: DATA_PORT };
        self.host.inside(|| self.link.join(channel, sources)).expect("a group");
    }

    /// Hands one packet to the link.
    pub(super) fn send(&mut self, payload: &[u8], to: To) {
        self.try_send(payload, to).expect("a link that works");
    }

    pub(super) fn try_send(&mut self, payload: &[u8], to: To) -> Result<(), LinkError> {
        let packet = odata(payload);
        let mut frame = self.pool.take().expect("a free frame");
        frame.set_range(self.pool.layout().start + self.link.path().front, packet.len() as u16);
        self.pool.bytes_mut(&mut frame).copy_from_slice(&packet);
        self.out.push(Outgoing { frame, to, router_alert: false });
        assert_eq!(self.link.send(self.now(), &mut self.pool, &mut self.out)?, 1);
        Ok(())
    }

    /// Sends one packet to the group, and waits until it has left.
    pub(super) fn tell(&mut self, payload: &[u8]) {
        self.send(payload, To::Group(self.group()));
        let deadline = Instant::now() + PATIENCE;
        while self.link.in_flight() > 0 {
            assert!(self.turn().is_none(), "nobody sends to us");
            assert!(Instant::now() < deadline, "it does not leave: {:?}", self.link.counters());
        }
    }

    /// One turn of receiving, at most one packet.
    pub(super) fn turn(&mut self) -> Option<Came> {
        if self.back.is_empty() {
            self.link.receive(self.now(), &mut self.pool, &mut self.back).expect("a link that works");
        }
        let incoming = self.back.pop()?;
        let packet = self.pool.bytes(&incoming.frame);
        let header = parse(packet, &Limits::default()).expect("a packet of ours");
        assert!(matches!(header.kind, Kind::Odata(_)), "{header:?}");
        let came = Came { payload: header.payload(packet).to_vec(), from: incoming.from, to: incoming.to };
        self.pool.put(incoming.frame);
        Some(came)
    }

    /// Turns until a packet came.
    pub(super) fn hear(&mut self) -> Came {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(came) = self.turn() {
                return came;
            }
            assert!(
                Instant::now() < deadline,
                "nothing came: {:?} {:?} {:?}",
                self.link.counters(),
                self.link.ring_statistics(),
                Verdict::ALL.map(|verdict| (verdict, self.steered(verdict)))
            );
        }
    }

    /// Turns until a verdict was met so many times.
    pub(super) fn await_verdict(&mut self, verdict: Verdict, times: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.steered(verdict) < times {
            assert!(self.turn().is_none(), "not for us");
            assert!(Instant::now() < deadline, "{verdict:?} {} times", self.steered(verdict));
        }
    }

    pub(super) fn steered(&self, verdict: Verdict) -> u64 {
        self.link.steered(verdict).expect("a counter")
    }

    /// Closes the link and accounts for every frame.
    pub(super) fn close(mut self) {
        if let Ok(statistics) = self.link.ring_statistics() {
            assert_eq!(statistics.invalid, 0, "the kernel refused a descriptor");
        }
        self.link.shut_down(&mut self.pool);
        let census = self.pool.census();
        assert_eq!((census.free, census.out, census.lent), (census.total, 0, 0));
    }
}
