//! The receiver against any sequence of packets and pauses: no panic, every frame accounted for, and every SQN told at most once, in order.
//!
//! The bytes are a program: each step builds a valid packet from small numbers (so that they meet), hands in raw bytes, or lets time pass.

#![no_main]

use core::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use pgmx::frame::{Incoming, Layout, PathFacts, Pool, TxBatch};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::{OnLoss, Order, Receiver, ReceiverConfig};
use pgmx::protocol::{Delivery, Event, Sink};
use pgmx::time::Time;
use pgmx::wire::build::{self, Content, DataOptions, DataTemplate, DataType, NakOptions, NakType, SpmOptions};
use pgmx::wire::{Fragment, Gsi, Limits, Nak, NakBoIvl, NakBoRng, Poll, Rst, Spm, Sqn, Tsi, checksum, parse};

const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3));
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const PORT: u16 = 7500;
const SESSIONS: usize = 4;

/// Reads the program; zeroes when it is over.
struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn octet(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes([self.octet(), self.octet(), self.octet(), self.octet()])
    }

    /// Mostly near the wrap, sometimes anywhere.
    fn sqn(&mut self) -> Sqn {
        match self.octet() {
            255 => Sqn::new(self.number()),
            254 => Sqn::new(u32::from(self.octet()) << 24),
            near => Sqn::new(u32::from(near).wrapping_sub(100)),
        }
    }
}

/// Demands the order that was promised.
struct Judge {
    in_order: bool,
    next: [Option<Sqn>; SESSIONS],
    /// Octets of an APDU begun and not yet finished.
    apdu: Option<(Tsi, u32)>,
}

impl Judge {
    fn account(&mut self, tsi: Tsi, first: Sqn, last: Sqn) {
        let next = &mut self.next[usize::from(tsi.port) % SESSIONS];
        let expected = next.expect("something of a session that was not opened");
        if self.in_order {
            assert_eq!(expected, first);
            *next = Some(last.next());
        }
    }
}

impl Sink for Judge {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        self.account(delivery.tsi, delivery.sqn, delivery.sqn);
        let begun = self.apdu.take();
        if let Some(place) = delivery.place {
            let expected = begun.map_or((delivery.tsi, 0), |begun| begun);
            assert_eq!((delivery.tsi, place.offset), expected, "an APDU in pieces");
            if !delivery.is_last() {
                self.apdu = Some((delivery.tsi, place.offset + delivery.frame.len() as u32));
            }
        } else {
            assert_eq!(begun, None, "an APDU was cut short");
        }
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        assert_eq!(self.apdu, None, "an APDU was cut short");
        match event {
            Event::Opened { tsi, first, .. } => {
                let next = &mut self.next[usize::from(tsi.port) % SESSIONS];
                assert_eq!(*next, None, "opened twice");
                *next = Some(first);
            }
            Event::Loss { tsi, first, last, .. } => self.account(tsi, first, last),
            Event::Closed { tsi, .. } => {
                let next = self.next[usize::from(tsi.port) % SESSIONS].take();
                assert!(next.is_some(), "closed, but not opened");
            }
        }
    }
}

fn step(program: &mut Program<'_>, packet: &mut [u8; 600]) -> usize {
    let kind = program.octet();
    let tsi = Tsi::new(Gsi::new([1; 6]), u16::from(kind >> 4) % SESSIONS as u16);
    let session = build::Session { tsi, data_port: PORT };
    let source = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    match kind % 9 {
        0..=2 => {
            let (sqn, trail, what) = (program.sqn(), program.sqn(), program.octet());
            let place = program.octet();
            let len = u32::from(what & 3);
            let fragment = (what & 4 != 0).then(|| Fragment {
                first_sqn: sqn.minus(u32::from(place & 7)),
                offset: u32::from(place & 7) * len,
                apdu_len: u32::from(place >> 3) * len,
            });
            let options = DataOptions {
                fragment,
                join: (what & 8 != 0).then(|| program.sqn()),
                syn: what & 16 != 0,
                fin: what & 0xE0 == 0xE0,
                ..DataOptions::NONE
            };
            let data_type = if kind % 9 == 2 { DataType::Rdata } else { DataType::Odata };
            let front = build::DATA_HEADER_LEN + options.len();
            let sum = checksum::sum(&[0; 3][..len as usize]);
            packet[front..front + len as usize].fill(0);
            let template = DataTemplate::new(&session);
            template
                .data(&mut packet[..front], data_type, Content::Original, sqn, trail, &options, len as u16, sum)
                .map_or(0, |()| front + len as usize)
        }
        3 => {
            let spm = Spm { sqn: program.sqn(), trail: program.sqn(), lead: program.sqn(), path: source };
            let what = program.octet();
            let options = SpmOptions {
                join: (what & 1 != 0).then(|| program.sqn()),
                nak_bo_ivl: (what & 2 != 0)
                    .then(|| NakBoIvl { ivl_us: program.number(), poll_sqn: Sqn::new(u32::from(what & 4)) }),
                nak_bo_rng: (what & 8 != 0).then(|| NakBoRng { max_us: program.number(), min_us: program.number() }),
                nbr_unreach: what & 0x30 == 0x30,
                fin: what & 0xC0 == 0xC0,
                rst: (what & 0xC0 == 0x40 && what & 4 != 0).then_some(Rst { no_naks: what & 1 != 0, code: 3 }),
                ..SpmOptions::default()
            };
            build::spm(packet, &session, &spm, &options).unwrap_or(0)
        }
        4 | 5 => {
            let first = program.sqn();
            let list: Vec<Sqn> = (1..=u32::from(program.octet()) % 63).map(|step| first.plus(step)).collect();
            let nak = Nak { sqn: first, source, group: GROUP };
            let is_ncf = kind % 9 == 4;
            let unreachable = is_ncf && program.octet() > 240;
            let options =
                NakOptions { nbr_unreach: unreachable, path_nla: unreachable.then_some(source), ..NakOptions::NONE };
            let kind = if is_ncf { NakType::Ncf } else { NakType::Nak };
            build::nak(packet, kind, &session, false, &nak, &list, &options).unwrap_or(0)
        }
        6 => build::spmr(packet, &session).unwrap_or(0),
        7 => {
            let sqn = program.sqn();
            let poll = Poll { sqn, round: 0, s_type: 0, path: source, backoff_us: 1, rand: 1, mask: 0 };
            build::poll(packet, &session, &poll, None).unwrap_or(0)
        }
        _ => {
            let len = usize::from(program.octet());
            packet[..len].fill_with(|| program.octet());
            len
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut program = Program(bytes);
    let setting = program.octet();
    let mut config = ReceiverConfig::profile(Profile::ALL[usize::from(setting & 3)].1, GROUP, PORT);
    config.window_slots = 64;
    config.held_max = if setting & 4 != 0 { 5 } else { 64 };
    config.sessions_max = if setting & 8 != 0 { 2 } else { 8 };
    config.order = if setting & 16 != 0 { Order::AsComplete } else { Order::InOrder };
    config.on_loss = if setting & 32 != 0 { OnLoss::Reset } else { OnLoss::Skip };
    let path = PathFacts { nla: OURS, mtu: 1500, front: 34, alert: 4, ip_header: 20 };
    let mut pool = Pool::anonymous(Layout::standard(128)).expect("a small mapping");
    let mut receiver = Receiver::new(&config, path, u64::from(setting)).expect("a good configuration");
    let mut judge = Judge { in_order: setting & 16 == 0, next: [None; SESSIONS], apdu: None };
    let mut out = TxBatch::new(8);
    let mut now = 1_000_000_u64;
    let mut packet = [0_u8; 600];
    let limits = Limits { max_apdu: 1 << 24, max_fragments: 1 << 16 };

    while !program.0.is_empty() {
        let len = step(&mut program, &mut packet);
        if let Ok(header) = parse(&packet[..len], &limits) {
            let mut frame = pool.take_for_fill().expect("frames come back");
            frame.set_range(frame.start(), len as u16);
            pool.bytes_mut(&mut frame).copy_from_slice(&packet[..len]);
            let place = program.octet();
            let from = IpAddr::V4(Ipv4Addr::new(10, 0, 0, if place & 7 == 7 { 9 } else { 1 }));
            let to = if place & 0x38 == 0x38 { OURS } else { GROUP };
            let incoming = Incoming { frame, from, to };
            receiver.handle(Time::from_nanos(now), &header, incoming, &mut pool, &mut judge);
        }
        // Pauses from nothing to a quarter of an hour.
        let pause = program.octet();
        now += u64::from(pause & 15) << (2 * (pause >> 4));
        let mut turns = 0;
        loop {
            receiver.advance(Time::from_nanos(now), &mut pool, &mut judge);
            receiver.transmit(Time::from_nanos(now), &mut pool, &mut out);
            while let Some(outgoing) = out.pop() {
                assert!(parse(pool.bytes(&outgoing.frame), &Limits::default()).is_ok(), "an invalid packet was sent");
                pool.put(outgoing.frame);
            }
            turns += 1;
            assert!(turns < 1000, "the deadline stands still");
            if receiver.deadline().is_none_or(|at| at.as_nanos() > now) {
                break;
            }
        }
        let held: u32 = receiver.sessions().map(|session| session.held).sum();
        let census = pool.census();
        assert!(census.adds_up() && census.out == held, "{census:?}, held {held}");
    }
    receiver.close(&mut pool, &mut judge);
    assert_eq!(pool.census().out, 0);
});
