//! Plays any octets as a life of a source: publishing, NAKs, time, completions, the end; and watches every packet that leaves.
//!
//! Shared by the test that feeds it random octets and by the fuzz target that looks for the bad ones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use pgmx::frame::{Frame, Layout, Outgoing, PathFacts, Pool, To, TxBatch};
use pgmx::protocol::config::Profile;
use pgmx::protocol::source::{
    Advance, BackOffTuning, Burst, Linger, Publisher, Rate, RepairDelay, Source, SourceConfig, SourceState,
};
use pgmx::time::Time;
use pgmx::wire::build::{self, NakOptions, NakType, Session};
use pgmx::wire::{Gsi, Header, Kind, Limits, Nak, Sqn, Tsi, parse};

const NLA: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const GROUP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(239, 192, 0, 1));
const PATH: PathFacts = PathFacts { nla: NLA, mtu: 600, front: 42, alert: 4, ip_header: 20 };
const SESSION: Session = Session { tsi: Tsi { gsi: Gsi::new([1, 2, 3, 4, 5, 6]), port: 4711 }, data_port: 7500 };
const LIMITS: Limits = Limits { max_apdu: 1 << 24, max_fragments: 1 << 16 };
const SLOTS: u32 = 32;

/// The octets that decide everything; zeros when they are used up.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.octet() % bound
    }

    fn flag(&mut self) -> bool {
        self.octet() & 1 == 1
    }
}

/// What has been seen of the session, and what must hold of the next packet.
#[derive(Default)]
struct Watch {
    payloads: HashMap<u32, Vec<u8>>,
    lead: Option<Sqn>,
    trail: Option<Sqn>,
    spm: Option<Sqn>,
    ended: bool,
    reset: bool,
    asked: bool,
    /// Excess over the rate in billionths of an octet: at most the bucket, if the rate holds over every interval.
    excess: u128,
    at: Time,
}

struct Life {
    source: Source,
    publisher: Publisher,
    pool: Pool,
    now: Time,
    in_flight: Vec<Frame>,
    config: SourceConfig,
    watch: Watch,
    packets: u64,
}

/// Plays the script. Returns how many packets left.
pub(crate) fn play(script: &[u8]) -> u64 {
    let mut script = Script(script);
    let config = draw(&mut script);
    // Often so few that control packets run out of them.
    let spare = if script.flag() { script.below(4) } else { script.octet() };
    let frames = SLOTS + 1 + u32::from(spare);
    let mut pool = Pool::anonymous(Layout::standard(frames)).expect("a small mapping");
    let now = Time::from_nanos(1_000_000);
    let (source, publisher) =
        Source::new(&config, PATH, SESSION.tsi, &mut pool, now, 1).expect("a valid configuration");
    let watch = Watch { at: now, ..Watch::default() };
    let mut life = Life { source, publisher, pool, now, in_flight: Vec::new(), config, watch, packets: 0 };
    while !script.0.is_empty() {
        life.step(&mut script);
    }
    life.end()
}

fn draw(script: &mut Script<'_>) -> SourceConfig {
    let profile = Profile::ALL[usize::from(script.below(4))].1;
    let mut config = SourceConfig::profile(profile, GROUP, SESSION.data_port);
    config.window_slots = SLOTS;
    config.initial_sqn = Some(Sqn::new(u32::MAX - 40));
    config.rate = if script.flag() { Rate::OctetsPerSecond(100_000 << script.below(10)) } else { Rate::Max };
    config.advance =
        [Advance::Data, Advance::Application, Advance::Time, Advance::Windows][usize::from(script.below(4))];
    if matches!(config.advance, Advance::Time | Advance::Windows) {
        config.rate = Rate::OctetsPerSecond(100_000);
        config.window_time = Duration::from_millis(100);
    }
    config.burst = Burst::Packets(1 + u32::from(script.below(8)));
    if script.below(8) == 0 {
        config.peak = Rate::OctetsPerSecond(200_000_000);
    }
    config.advance_percent = 1 + script.below(50);
    config.repair_share = 1 + script.below(99);
    config.router_alert = script.flag();
    config.syn = script.flag();
    config.late_join_percent = Some(script.below(101));
    config.repair_delay = [RepairDelay::None, RepairDelay::Fixed(Duration::from_micros(300)), RepairDelay::Windows]
        [usize::from(script.below(3))];
    config.ambient_packets = [None, Some(1 + u32::from(script.below(16)))][usize::from(script.flag())];
    config.dup_nak_max = Some(2 + u16::from(script.octet()));
    if script.flag() {
        let (min, max) = (Duration::from_millis(1), Duration::from_secs(1));
        config.back_off = Some(BackOffTuning { min, max, start: min, probes: 2 });
    }
    let at_most = Duration::from_millis(200);
    config.linger = Linger::Quiet { quiet: at_most / 4, at_most };
    config.abort_linger = config.linger;
    config
}

impl Life {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(32) {
            0..=4 => {
                let len = usize::from(script.octet()) * 2;
                let message = vec![script.octet(); len];
                let _ = self.publisher.publish(&message);
            }
            5 => {
                let message = vec![script.octet(); usize::from(script.octet()) * 40];
                let _ = self.publisher.publish(&message);
            }
            // Abandoned.
            6 => drop(self.publisher.claim(usize::from(script.octet()))),
            7..=12 => self.nak(script),
            13 => self.raw(script),
            14 => self.spmr(),
            15..=17 => self.now = self.now.plus(1 << script.below(30)),
            18..=20 => {
                if let Some(at) = self.source.deadline() {
                    self.now = self.now.max(at);
                }
            }
            21..=23 => {
                let keep = self.in_flight.len() / (1 + usize::from(script.below(4)));
                for frame in self.in_flight.drain(keep..) {
                    self.pool.put(frame);
                }
            }
            24 => self.publisher.advance_trail(self.sqn(script)),
            25 => {
                let sqn = self.sqn(script);
                self.source.advance_trail_to(&self.pool, sqn);
            }
            26 if script.below(16) == 0 => self.source.close(self.now),
            27 if script.below(32) == 0 => {
                self.source.abort(self.now, script.octet());
                self.watch.reset = true;
            }
            28 => self.settle(script.flag()),
            _ => self.transmit(1 + usize::from(script.below(64))),
        }
    }

    /// Calls the source until nothing is due any more, which has to come without time going on, whether frames come back or not.
    fn settle(&mut self, complete: bool) {
        for _ in 0..1_000 {
            if self.source.deadline().is_none_or(|at| at > self.now) {
                return;
            }
            self.transmit(64);
            if complete {
                for frame in self.in_flight.drain(..) {
                    self.pool.put(frame);
                }
            }
        }
        panic!("due for ever at {:?}", self.now);
    }

    /// A sequence number about the window.
    fn sqn(&self, script: &mut Script<'_>) -> Sqn {
        let (trail, lead) = self.source.window();
        match script.below(8) {
            0 => lead.plus(u32::from(script.octet())),
            1 => trail.minus(u32::from(script.octet())),
            2 => Sqn::new(u32::from(script.octet()) << 24),
            _ => trail.plus(u32::from(script.octet()) % (lead.next().distance_from(trail)).max(1)),
        }
    }

    fn nak(&mut self, script: &mut Script<'_>) {
        let first = self.sqn(script);
        let list: Vec<Sqn> = (1..=u32::from(script.octet() >> 2)).take(62).map(|n| first.plus(n)).collect();
        let source = if script.below(16) == 0 { GROUP } else { NLA };
        let nak = Nak { sqn: first, source, group: GROUP };
        let mut buf = [0; 600];
        let kind = if script.below(16) == 0 { NakType::Nnak } else { NakType::Nak };
        let parity = script.below(16) == 0;
        let len = build::nak(&mut buf, kind, &SESSION, parity, &nak, &list, &NakOptions::NONE).expect("it fits");
        let from = IpAddr::from([10, 0, 0, 2 + script.below(4)]);
        let to = if script.below(4) == 0 { GROUP } else { NLA };
        self.arrive(&buf[..len], from, to);
    }

    fn spmr(&mut self) {
        let mut buf = [0; 100];
        let len = build::spmr(&mut buf, &SESSION).expect("it fits");
        self.arrive(&buf[..len], GROUP, NLA);
    }

    /// Octets of the script as a packet, with a right checksum.
    fn raw(&mut self, script: &mut Script<'_>) {
        let len = script.0.len().min(usize::from(script.octet()));
        let mut packet: Vec<u8> = (0..len).map(|_| script.octet()).collect();
        if len < 16 {
            return;
        }
        packet[..4].copy_from_slice(&[0x1d, 0x4c, 0x12, 0x67]);
        packet[6..8].fill(0);
        packet[8..14].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        let checksum = pgmx::wire::checksum::sum(&packet).finish();
        packet[6..8].copy_from_slice(&checksum.to_be_bytes());
        self.arrive(&packet, IpAddr::from([10, 0, 0, 3]), NLA);
    }

    fn arrive(&mut self, packet: &[u8], from: IpAddr, to: IpAddr) {
        if let Ok(header) = parse(packet, &LIMITS) {
            self.watch.asked |= matches!(header.kind, Kind::Nak(_));
            self.source.handle(self.now, &header, packet, from, to);
        }
    }

    fn transmit(&mut self, room: usize) {
        let done = self.source.state() == SourceState::Done;
        let mut out = TxBatch::new(room);
        self.source.transmit(self.now, &mut self.pool, &mut out);
        while let Some(Outgoing { frame, to, router_alert }) = out.pop() {
            assert!(!done, "a packet from a source that is done");
            let bytes = self.pool.bytes(&frame).to_vec();
            let header = parse(&bytes, &LIMITS).expect("what we send, we read");
            let octets = PATH.ip_octets(bytes.len(), router_alert);
            assert!(octets <= u32::from(PATH.mtu));
            let wanted = self.config.router_alert && !matches!(header.kind, Kind::Odata(_));
            assert_eq!(router_alert, wanted);
            self.watch.packet(self.now, &header, &bytes, to);
            self.watch.rate(self.now, &header, octets, &self.config);
            self.in_flight.push(frame);
            self.packets += 1;
        }
        let census = self.pool.census();
        assert!(census.adds_up(), "{census:?}");
        assert_eq!(census.out + census.lent, self.in_flight.len() as u32, "{census:?}");
        let (trail, lead) = self.source.window();
        assert!(lead.next().distance_from(trail) <= SLOTS);
    }

    /// Closes what is open, lets time pass until the end, and gives everything back.
    fn end(mut self) -> u64 {
        self.source.close(self.now);
        for _ in 0..20_000 {
            self.transmit(64);
            for frame in self.in_flight.drain(..) {
                self.pool.put(frame);
            }
            let Some(at) = self.source.deadline() else { break };
            self.now = self.now.max(at);
        }
        assert_eq!(self.source.state(), SourceState::Done, "it never ends");
        let Self { source, publisher, mut pool, packets, .. } = self;
        drop(publisher);
        assert!(source.retire(&mut pool).is_ok(), "nothing is in flight, and nobody publishes");
        let census = pool.census();
        assert_eq!(census.free, census.total);
        packets
    }
}

impl Watch {
    fn packet(&mut self, now: Time, header: &Header, bytes: &[u8], to: To) {
        assert_eq!((header.tsi, header.data_port), (SESSION.tsi, SESSION.data_port));
        assert!(now >= self.at);
        match header.kind {
            Kind::Odata(data) => {
                assert!(!self.ended && !self.reset, "new data after the end");
                let expected = self.lead.map_or(Sqn::new(u32::MAX - 40), Sqn::next);
                assert_eq!(data.sqn, expected);
                assert!(self.spm.is_some(), "data before the first SPM");
                self.lead = Some(data.sqn);
                self.moved(data.trail);
                self.payloads.insert(data.sqn.get(), header.payload(bytes).to_vec());
                assert_eq!(to, To::Group(GROUP));
            }
            Kind::Rdata(data) => {
                self.moved(data.trail);
                assert!(data.sqn.at_or_after(data.trail), "a repair from below the trail");
                assert!(self.asked);
                assert_eq!(self.payloads.get(&data.sqn.get()).map(Vec::as_slice), Some(header.payload(bytes)));
                assert_eq!(to, To::Group(GROUP));
            }
            Kind::Spm(spm) => {
                assert_eq!(spm.sqn, self.spm.map_or(Sqn::new(0), Sqn::next));
                self.spm = Some(spm.sqn);
                assert_eq!(spm.lead, self.lead.unwrap_or(Sqn::new(u32::MAX - 41)));
                self.moved(spm.trail);
                assert_eq!(header.options.rst(bytes).is_some(), self.reset, "RST in every SPM after an abort");
                assert!(header.options.fin() || !self.ended || self.reset, "FIN in every SPM after the first");
                self.ended |= header.options.fin();
                let join = header.options.join(bytes).expect("OPT_JOIN");
                assert!(join.at_or_after(spm.trail) && join.at_or_before(spm.lead.next()));
                assert_eq!(spm.path, NLA);
            }
            Kind::Ncf(_) => {
                assert!(self.asked, "an NCF that nobody asked for");
                assert_eq!(header.options.nbr_unreach(), matches!(to, To::Unicast(_)));
            }
            kind => panic!("{kind:?} from a source"),
        }
    }

    fn moved(&mut self, trail: Sqn) {
        assert!(self.trail.is_none_or(|before| trail.at_or_after(before)), "the trail went back");
        let end = self.lead.map_or(Sqn::new(u32::MAX - 40), Sqn::next);
        assert!(trail.at_or_before(end), "the trail passed the lead");
        self.trail = Some(trail);
    }

    fn rate(&mut self, now: Time, header: &Header, octets: u32, config: &SourceConfig) {
        let Rate::OctetsPerSecond(rate) = config.rate else { return };
        let counts = match header.kind {
            Kind::Ncf(_) => false,
            Kind::Rdata(_) => config.advance != Advance::Time,
            _ => true,
        };
        if counts {
            self.excess = self.excess.saturating_sub(u128::from(now.since(self.at)) * u128::from(rate));
            self.excess += u128::from(octets) * 1_000_000_000;
            self.at = now;
            let Burst::Packets(packets) = config.burst else { return };
            assert!(self.excess <= u128::from(packets) * u128::from(PATH.mtu) * 1_000_000_000, "above the rate");
        }
    }
}
