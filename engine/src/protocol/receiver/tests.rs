//! The receiver against hand-made packets in virtual time.
//!
//! [`Bench`] plays the network: it builds packets, hands them in, steps to each deadline, parses what comes out, and keeps what the application
//! is told. When it is dropped it demands every frame back.

mod crowd;
mod delivery;
mod end;
mod hostile;
mod join;
mod oracle;
mod repair;
mod settings;
mod spm;

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use super::{Receiver, ReceiverConfig};
use crate::frame::{Incoming, Layout, PathFacts, Pool, To, TxBatch};
use crate::protocol::config::Profile;
use crate::protocol::{Delivery, End, Event, LossCause, Sink};
use crate::time::Time;
use crate::wire::build::{self, Content, DataOptions, DataTemplate, DataType, NakOptions, NakType, SpmOptions};
use crate::wire::checksum::sum;
use crate::wire::{Fragment, Gsi, Header, Kind, Limits, Nak, Poll, Spm, Sqn, Tsi, parse};

pub(super) const US: u64 = 1_000;
pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;

pub(super) const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3));
pub(super) const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(super) const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));
pub(super) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));
pub(super) const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub(super) const PORT: u16 = 7500;
pub(super) const TSI: Tsi = Tsi::new(Gsi::new([1, 2, 3, 4, 5, 6]), 1000);

pub(super) const PATH: PathFacts = PathFacts { nla: OURS, mtu: 1500, front: 34, alert: 4, ip_header: 20 };

pub(super) fn config(profile: Profile) -> ReceiverConfig {
    let mut config = ReceiverConfig::profile(profile, GROUP, PORT);
    config.window_slots = 1024;
    config.held_max = 1024;
    config.sessions_max = 8;
    config
}

/// What the application was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Opened(u32),
    Data(u32),
    Loss(u32, u32, LossCause),
    Closed(End),
}

/// Keeps what the application was told, and gives the frames back.
#[derive(Default)]
pub(super) struct Application {
    pub(super) said: Vec<(Tsi, Said)>,
    pub(super) payloads: Vec<Vec<u8>>,
    /// Whether sessions were said to be joined from their start.
    pub(super) from_start: Vec<bool>,
}

impl Sink for Application {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        self.said.push((delivery.tsi, Said::Data(delivery.sqn.get())));
        self.payloads.push(pool.bytes(&delivery.frame).to_vec());
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        let (tsi, said) = match event {
            Event::Opened { tsi, first, from_start, .. } => {
                self.from_start.push(from_start);
                (tsi, Said::Opened(first.get()))
            }
            Event::Loss { tsi, first, last, cause } => (tsi, Said::Loss(first.get(), last.get(), cause)),
            Event::Closed { tsi, end } => (tsi, Said::Closed(end)),
        };
        self.said.push((tsi, said));
    }
}

/// A packet that the receiver sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: u64,
    pub(super) to: To,
    pub(super) header: Header,
    pub(super) packet: Vec<u8>,
}

impl Sent {
    /// The SQNs of a NAK.
    pub(super) fn sqns(&self) -> Vec<u32> {
        let Kind::Nak(nak) = self.header.kind else { return Vec::new() };
        let list = self.header.options.nak_list(&self.packet);
        core::iter::once(nak.sqn).chain(list).map(Sqn::get).collect()
    }
}

/// The packet of one fragment.
pub(super) fn fragment(first: u32, offset: u32, apdu_len: u32) -> DataOptions {
    let fragment = Fragment { first_sqn: Sqn::new(first), offset, apdu_len };
    DataOptions { fragment: Some(fragment), ..DataOptions::NONE }
}

pub(super) fn spm(sqn: u32, trail: u32, lead: u32) -> Spm {
    Spm { sqn: Sqn::new(sqn), trail: Sqn::new(trail), lead: Sqn::new(lead), path: SOURCE }
}

pub(super) const PLAIN: SpmOptions = SpmOptions {
    join: None,
    nak_bo_ivl: None,
    nak_bo_rng: None,
    parity_prm: None,
    curr_tgsize: None,
    nbr_unreach: false,
    crqst: None,
    fin: false,
    rst: None,
};

/// A receiver and its network.
pub(super) struct Bench {
    pub(super) pool: Pool,
    pub(super) receiver: Receiver,
    pub(super) now: u64,
    pub(super) application: Application,
    pub(super) sent: Vec<Sent>,
    pub(super) tsi: Tsi,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    out: TxBatch,
}

impl Bench {
    pub(super) fn new(config: &ReceiverConfig) -> Self {
        Self::seeded(config, 1)
    }

    pub(super) fn seeded(config: &ReceiverConfig, seed: u64) -> Self {
        Self::over(4096, config, seed)
    }

    /// One of a thousand.
    pub(super) fn small(config: &ReceiverConfig, seed: u64) -> Self {
        Self::over(16, config, seed)
    }

    fn over(frames: u32, config: &ReceiverConfig, seed: u64) -> Self {
        Self {
            pool: Pool::anonymous(Layout::standard(frames)).expect("a small mapping"),
            receiver: Receiver::new(config, PATH, seed).expect("a good configuration"),
            now: 5 * SECOND,
            application: Application::default(),
            sent: Vec::new(),
            tsi: TSI,
            from: SOURCE,
            to: GROUP,
            out: TxBatch::new(64),
        }
    }

    pub(super) fn session(&self) -> build::Session {
        build::Session { tsi: self.tsi, data_port: PORT }
    }

    /// Hands a packet in.
    pub(super) fn packet(&mut self, packet: &[u8]) {
        let limits = Limits { max_apdu: 1 << 24, max_fragments: 1 << 16 };
        let header = parse(packet, &limits).expect("the bench builds valid packets");
        let mut frame = self.pool.take_for_fill().expect("a frame to receive into");
        frame.set_range(frame.start(), packet.len() as u16);
        self.pool.bytes_mut(&mut frame).copy_from_slice(packet);
        let incoming = Incoming { frame, from: self.from, to: self.to };
        let now = Time::from_nanos(self.now);
        self.receiver.handle(now, &header, incoming, &mut self.pool, &mut self.application);
        self.poll();
    }

    /// What an endpoint does after every batch.
    pub(super) fn poll(&mut self) {
        let now = Time::from_nanos(self.now);
        self.receiver.advance(now, &mut self.pool, &mut self.application);
        self.receiver.transmit(now, &mut self.pool, &mut self.out);
        while let Some(outgoing) = self.out.pop() {
            assert!(!outgoing.router_alert, "receivers send nothing that routers must look at");
            let packet = self.pool.bytes(&outgoing.frame).to_vec();
            let layout = self.pool.layout();
            assert_eq!(outgoing.frame.start(), layout.start + PATH.front, "where the link expects it");
            let header = parse(&packet, &Limits::default()).expect("what is sent is valid");
            self.sent.push(Sent { at: self.now, to: outgoing.to, header, packet });
            self.pool.put(outgoing.frame);
        }
    }

    /// Lets time pass, stopping at every deadline.
    pub(super) fn pass(&mut self, ns: u64) {
        let until = self.now + ns;
        let mut idle = 0;
        while let Some(deadline) = self.receiver.deadline() {
            let deadline = deadline.as_nanos().max(self.now);
            if deadline > until {
                break;
            }
            idle = if deadline == self.now { idle + 1 } else { 0 };
            assert!(idle < 100_000, "the deadline stands still");
            self.now = deadline;
            self.poll();
        }
        self.now = until;
    }

    pub(super) fn data_with(
        &mut self,
        data_type: DataType,
        sqn: u32,
        trail: u32,
        options: &DataOptions,
        payload: &[u8],
    ) {
        let front = build::DATA_HEADER_LEN + options.len();
        let mut packet = vec![0; front];
        packet.extend_from_slice(payload);
        let template = DataTemplate::new(&self.session());
        let (sqn, trail) = (Sqn::new(sqn), Sqn::new(trail));
        let len = payload.len() as u16;
        let sum = sum(payload);
        template
            .data(&mut packet[..front], data_type, Content::Original, sqn, trail, options, len, sum)
            .expect("a data packet");
        self.packet(&packet);
    }

    /// ODATA whose payload is its SQN.
    pub(super) fn odata(&mut self, sqn: u32, trail: u32) {
        self.data_with(DataType::Odata, sqn, trail, &DataOptions::NONE, &sqn.to_be_bytes());
    }

    pub(super) fn rdata(&mut self, sqn: u32, trail: u32) {
        self.data_with(DataType::Rdata, sqn, trail, &DataOptions::NONE, &sqn.to_be_bytes());
    }

    pub(super) fn spm_with(&mut self, spm: Spm, options: &SpmOptions) {
        let mut packet = [0; 200];
        let len = build::spm(&mut packet, &self.session(), &spm, options).expect("an SPM");
        self.packet(&packet[..len]);
    }

    pub(super) fn spm(&mut self, sqn: u32, trail: u32, lead: u32) {
        self.spm_with(spm(sqn, trail, lead), &PLAIN);
    }

    pub(super) fn nak_like(&mut self, kind: NakType, sqns: &[u32], options: &NakOptions) {
        let nak = Nak { sqn: Sqn::new(sqns[0]), source: SOURCE, group: GROUP };
        let list: Vec<Sqn> = sqns[1..].iter().copied().map(Sqn::new).collect();
        let mut packet = [0; 400];
        let len = build::nak(&mut packet, kind, &self.session(), false, &nak, &list, options).expect("a NAK");
        self.packet(&packet[..len]);
    }

    pub(super) fn ncf(&mut self, sqns: &[u32]) {
        self.nak_like(NakType::Ncf, sqns, &NakOptions::NONE);
    }

    /// A NAK of another receiver, multicast with TTL 1.
    pub(super) fn peer_nak(&mut self, sqns: &[u32]) {
        let from = core::mem::replace(&mut self.from, PEER);
        self.nak_like(NakType::Nak, sqns, &NakOptions::NONE);
        self.from = from;
    }

    pub(super) fn peer_spmr(&mut self) {
        let from = core::mem::replace(&mut self.from, PEER);
        let mut packet = [0; 64];
        let len = build::spmr(&mut packet, &self.session()).expect("an SPMR");
        self.packet(&packet[..len]);
        self.from = from;
    }

    pub(super) fn poll_packet(&mut self, sqn: u32, round: u16) {
        let poll = Poll { sqn: Sqn::new(sqn), round, s_type: 0, path: SOURCE, backoff_us: 1000, rand: 1, mask: 0 };
        let mut packet = [0; 100];
        let len = build::poll(&mut packet, &self.session(), &poll, None).expect("a POLL");
        self.packet(&packet[..len]);
    }

    /// What was said of our session since the last call.
    pub(super) fn said(&mut self) -> Vec<Said> {
        self.application.said.drain(..).map(|(_, said)| said).collect()
    }

    /// SQNs of all NAKs that went to one host, in the order sent.
    pub(super) fn naked(&self) -> Vec<u32> {
        self.naks().flat_map(Sent::sqns).collect()
    }

    /// NAKs that went to one host.
    pub(super) fn naks(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| matches!((sent.to, sent.header.kind), (To::Unicast(_), Kind::Nak(_))))
    }

    pub(super) fn spmrs(&self) -> Vec<&Sent> {
        self.sent.iter().filter(|sent| sent.header.kind == Kind::Spmr).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.receiver.close(&mut self.pool, &mut self.application);
            let census = self.pool.census();
            assert_eq!((census.out, census.free), (0, census.total), "frames are missing");
        }
    }
}

/// A profile whose timers are round numbers: back-off up to 50 ms, 200 ms for an NCF, 500 ms for data, no reordering tolerance.
pub(super) fn plain() -> ReceiverConfig {
    let mut config = config(Profile::Wan);
    config.reorder_packets = 0;
    config.reorder_time = Duration::ZERO;
    config.nak_rpt_ivl = super::Interval::Fixed(Duration::from_millis(200));
    config.nak_rdata_ivl = super::Interval::Fixed(Duration::from_millis(500));
    config.on_loss = super::OnLoss::Skip;
    config
}

/// A bench that has joined: SPM heard, data up to `sqn` delivered.
pub(super) fn joined(config: &ReceiverConfig, sqn: u32) -> Bench {
    let mut bench = Bench::new(config);
    bench.spm(1, sqn, sqn.wrapping_sub(1));
    bench.odata(sqn, sqn);
    assert_eq!(bench.said(), [Said::Opened(sqn), Said::Data(sqn)]);
    bench
}
