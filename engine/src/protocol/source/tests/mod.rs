//! Tests of the source in virtual time: a bench that steps it from deadline to deadline and reads what comes out.

mod batch;
mod config;
mod data;
mod finish;
mod nak;
mod spm;
mod trail;

use core::net::IpAddr;
use core::time::Duration;

use super::*;
use crate::frame::{Frame, Layout};
use crate::protocol::config::Profile;
use crate::time::nanos;
use crate::wire::build::NakOptions;
use crate::wire::{Data, Flags, Gsi, Header, Kind, Limits, Nak, parse};

pub(super) const NLA: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));
pub(super) const GROUP: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(239, 192, 0, 1));
pub(super) const RECEIVER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 2));
pub(super) const PATH: PathFacts = PathFacts { nla: NLA, mtu: 1500, front: 42, alert: 4, ip_header: 20 };
pub(super) const SESSION: Session =
    Session { tsi: Tsi { gsi: Gsi::new([1, 2, 3, 4, 5, 6]), port: 4711 }, data_port: 7500 };
pub(super) const LIMITS: Limits = Limits { max_apdu: 1 << 24, max_fragments: 1 << 16 };

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// A packet that left.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: Time,
    pub(super) header: Header,
    pub(super) bytes: Vec<u8>,
    pub(super) to: To,
    pub(super) router_alert: bool,
}

impl Sent {
    pub(super) fn octets(&self) -> u64 {
        u64::from(PATH.ip_octets(self.bytes.len(), self.router_alert))
    }

    pub(super) fn odata(&self) -> Option<Data> {
        if let Kind::Odata(data) = self.header.kind { Some(data) } else { None }
    }

    pub(super) fn rdata(&self) -> Option<Data> {
        if let Kind::Rdata(data) = self.header.kind { Some(data) } else { None }
    }

    pub(super) fn ncf(&self) -> Option<Nak> {
        if let Kind::Ncf(ncf) = self.header.kind { Some(ncf) } else { None }
    }

    pub(super) fn spm(&self) -> Option<Spm> {
        if let Kind::Spm(spm) = self.header.kind { Some(spm) } else { None }
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.header.payload(&self.bytes)
    }
}

/// One source, driven.
pub(super) struct Bench {
    pub(super) source: Source,
    pub(super) publisher: Publisher,
    pub(super) pool: Pool,
    pub(super) now: Time,
    pub(super) sent: Vec<Sent>,
    /// Keep what is sent in flight instead of completing it at once.
    pub(super) hold: bool,
    pub(super) in_flight: Vec<Frame>,
    out: TxBatch,
}

/// The configuration of most tests: a small window, and numbers that are easy to reason about.
pub(super) fn config(profile: Profile) -> SourceConfig {
    let mut config = SourceConfig::profile(profile, GROUP, SESSION.data_port);
    config.window_slots = 64;
    config.initial_sqn = Some(Sqn::new(1000));
    if config.rate != Rate::Max {
        config.rate = Rate::OctetsPerSecond(1_000_000);
        config.window_time = ms(50);
    }
    config
}

impl Bench {
    pub(super) fn new(config: &SourceConfig) -> Self {
        Self::with_pool(config, Layout::standard(config.window_slots + 256))
    }

    pub(super) fn with_pool(config: &SourceConfig, layout: Layout) -> Self {
        let mut pool = Pool::anonymous(layout).expect("a small mapping");
        let now = Time::from_nanos(1_000_000_000);
        let (source, publisher) =
            Source::new(config, PATH, SESSION.tsi, &mut pool, now, 7).unwrap_or_else(|error| panic!("{error}"));
        let out = TxBatch::new(64);
        Self { source, publisher, pool, now, sent: Vec::new(), hold: false, in_flight: Vec::new(), out }
    }

    /// One that has sent its opening SPMs; they are not kept.
    pub(super) fn opened(config: &SourceConfig) -> Self {
        let mut bench = Self::new(config);
        while !bench.source.spms.opened() {
            bench.next();
        }
        bench.sent.clear();
        bench
    }

    /// One call of `transmit`. Returns how many packets left.
    pub(super) fn transmit(&mut self) -> usize {
        self.source.transmit(self.now, &mut self.pool, &mut self.out);
        let mut packets = 0;
        while let Some(Outgoing { frame, to, router_alert }) = self.out.pop() {
            let bytes = self.pool.bytes(&frame).to_vec();
            let header = parse(&bytes, &LIMITS).unwrap_or_else(|reject| panic!("sent what nobody accepts: {reject}"));
            assert!(PATH.ip_octets(bytes.len(), router_alert) <= u32::from(PATH.mtu), "longer than the MTU");
            let alert = if router_alert { PATH.alert } else { 0 };
            assert_eq!(frame.start(), self.pool.layout().start + PATH.front + alert, "not where a packet begins");
            self.sent.push(Sent { at: self.now, header, bytes, to, router_alert });
            if self.hold {
                self.in_flight.push(frame);
            } else {
                self.pool.put(frame);
            }
            packets += 1;
        }
        packets
    }

    /// All that has to leave now.
    pub(super) fn flush(&mut self) {
        for _ in 0..100_000 {
            if self.transmit() == 0 && self.source.deadline().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("the source wants to be called for ever at {:?}", self.now);
    }

    /// Goes to the next deadline and sends what is due. Returns false when there is none.
    pub(super) fn next(&mut self) -> bool {
        self.flush();
        let Some(at) = self.source.deadline() else { return false };
        self.now = at;
        self.flush();
        true
    }

    /// Goes on from deadline to deadline until `time` has passed.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now.plus(nanos(time));
        self.flush();
        while let Some(at) = self.source.deadline().filter(|at| *at <= end) {
            self.now = at;
            self.flush();
        }
        self.now = end;
        self.flush();
    }

    /// What is in flight comes back.
    pub(super) fn complete(&mut self) {
        for frame in self.in_flight.drain(..) {
            self.pool.put(frame);
        }
    }

    /// Publishes `count` packets that can be told apart, and sends them.
    pub(super) fn publish(&mut self, count: u64) {
        for _ in 0..count {
            let payload = payload_of(self.publisher.next_sqn());
            if self.publisher.publish(&payload).is_err() {
                self.flush();
                self.publisher.publish(&payload).expect("room in the window");
            }
        }
        self.flush();
    }

    /// A receiver's packet arrives.
    pub(super) fn arrive(&mut self, packet: &[u8], from: IpAddr, to: IpAddr) {
        let header = parse(packet, &LIMITS).unwrap_or_else(|reject| panic!("the test built nonsense: {reject}"));
        self.source.handle(self.now, &header, packet, from, to);
    }

    /// A NAK for these sequence numbers arrives; nothing is sent yet.
    pub(super) fn nak(&mut self, sqns: &[u32]) {
        self.nak_from(RECEIVER, sqns);
    }

    pub(super) fn nak_from(&mut self, from: IpAddr, sqns: &[u32]) {
        let packet = nak_packet(NakType::Nak, &SESSION, NLA, GROUP, sqns);
        self.arrive(&packet, from, NLA);
    }

    pub(super) fn spmr(&mut self) {
        let mut buf = [0; 100];
        let len = build::spmr(&mut buf, &SESSION).expect("it fits");
        self.arrive(&buf[..len], RECEIVER, NLA);
    }

    /// What was sent since the last call.
    pub(super) fn take(&mut self) -> Vec<Sent> {
        core::mem::take(&mut self.sent)
    }

    pub(super) fn odata(&self) -> Vec<u32> {
        self.sent.iter().filter_map(|sent| sent.odata().map(|data| data.sqn.get())).collect()
    }

    pub(super) fn rdata(&self) -> Vec<u32> {
        self.sent.iter().filter_map(|sent| sent.rdata().map(|data| data.sqn.get())).collect()
    }

    pub(super) fn ncfs(&self) -> Vec<u32> {
        self.sent.iter().filter_map(|sent| sent.ncf().map(|ncf| ncf.sqn.get())).collect()
    }

    pub(super) fn spms(&self) -> Vec<Spm> {
        self.sent.iter().filter_map(Sent::spm).collect()
    }
}

/// The payload that [`Bench::publish`] gives to a sequence number: of many lengths, the empty one among them.
pub(super) fn payload_of(sqn: Sqn) -> Vec<u8> {
    (0..sqn.get() % 97).map(|n| (n ^ sqn.get()) as u8).collect()
}

pub(super) fn nak_packet(kind: NakType, session: &Session, source: IpAddr, group: IpAddr, sqns: &[u32]) -> Vec<u8> {
    let list: Vec<Sqn> = sqns[1..].iter().map(|sqn| Sqn::new(*sqn)).collect();
    let nak = Nak { sqn: Sqn::new(sqns[0]), source, group };
    let mut buf = vec![0; 1500];
    let len = build::nak(&mut buf, kind, session, false, &nak, &list, &NakOptions::NONE).expect("it fits");
    buf.truncate(len);
    buf
}

#[test]
fn a_source_gives_every_frame_back_once_it_is_done_and_its_publisher_is_gone() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.hold = true;
    bench.publish(5);
    bench.source.close(bench.now);
    bench.run(Duration::from_secs(40));
    assert_eq!(bench.source.state(), SourceState::Done);
    let Bench { source, publisher, mut pool, in_flight, .. } = bench;
    let Err(source) = source.retire(&mut pool) else { panic!("frames are in flight") };
    for frame in in_flight {
        pool.put(frame);
    }
    let Err(source) = source.retire(&mut pool) else { panic!("the publisher is still there") };
    drop(publisher);
    assert!(source.retire(&mut pool).is_ok());
    let census = pool.census();
    assert_eq!(census.free, census.total);
}

#[test]
fn the_same_seed_and_inputs_give_the_same_octets() {
    let play = |seed: u64| {
        let mut config = config(Profile::Lan);
        config.initial_sqn = None;
        let mut bench = Bench::new(&config);
        (bench.source, bench.publisher) =
            Source::new(&config, PATH, SESSION.tsi, &mut bench.pool, bench.now, seed).expect("a second window fits");
        bench.run(ms(10));
        let first = bench.publisher.next_sqn().get();
        bench.publish(20);
        bench.nak(&[first + 3, first + 5]);
        bench.run(ms(100));
        bench.sent.iter().map(|sent| sent.bytes.clone()).collect::<Vec<_>>()
    };
    assert_eq!(play(1), play(1));
    assert_ne!(play(1), play(2), "the seed decides where the session begins");
}

#[test]
fn packets_of_other_sessions_and_kinds_are_counted_and_change_nothing() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.publish(1);
    let spm = bench.take()[0].clone();
    bench.arrive(&spm.bytes, NLA, GROUP);
    let mut buf = [0; 100];
    let other = Session { tsi: Tsi { port: 9, ..SESSION.tsi }, ..SESSION };
    let len = build::spmr(&mut buf, &other).expect("it fits");
    bench.arrive(&buf[..len], RECEIVER, NLA);
    bench.flush();
    assert_eq!(bench.source.stats().stray, 2);
    assert!(bench.sent.is_empty());
}

#[test]
fn flags_of_parity_are_refused_until_there_is_parity() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.publish(1);
    bench.take();
    let nak = Nak { sqn: Sqn::new(1000), source: NLA, group: GROUP };
    let mut buf = [0; 100];
    let len = build::nak(&mut buf, NakType::Nak, &SESSION, true, &nak, &[], &NakOptions::NONE).expect("it fits");
    assert!(parse(&buf[..len], &LIMITS).expect("valid").flags.contains(Flags::PARITY));
    bench.arrive(&buf[..len], RECEIVER, NLA);
    bench.flush();
    assert!(bench.sent.is_empty());
    assert_eq!(bench.source.stats().naks_parity, 1);
}
