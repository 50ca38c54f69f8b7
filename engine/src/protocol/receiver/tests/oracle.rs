//! Random sources on random networks: whatever happens, every SQN from the joining point on is delivered once or reported lost once, in order both,
//! and the session ends as its source said.

use std::collections::BTreeMap;

use super::super::{OnLoss, OnRst, Order};
use super::*;
use crate::protocol::Rng;
use crate::wire::Rst;

/// What the source sent as one SQN.
#[derive(Clone)]
struct Piece {
    options: DataOptions,
    payload: Vec<u8>,
}

struct World {
    rng: Rng,
    first: u32,
    pieces: Vec<Piece>,
    /// Packets on their way: time and number to what they are.
    wire: BTreeMap<(u64, u64), Vec<u8>>,
    number: u64,
    loss_percent: u64,
    duplicate_percent: u64,
    jitter: u64,
    sent: usize,
    kept: usize,
    spm_sqn: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let first = if rng.chance(1, 3) { u32::MAX - rng.below(100) as u32 } else { rng.next_u64() as u32 };
        let count = 50 + rng.below(400) as usize;
        let fragment_percent = rng.below(60);
        let mut pieces: Vec<Piece> = Vec::new();
        while pieces.len() < count {
            let octet = pieces.len() as u8;
            if rng.chance(fragment_percent, 100) {
                let parts = 1 + rng.below(12) as u32;
                let apdu_first = first.wrapping_add(pieces.len() as u32);
                for part in 0..parts {
                    let options = fragment(apdu_first, part * 3, parts * 3);
                    pieces.push(Piece { options, payload: vec![octet, part as u8, 7] });
                }
            } else {
                pieces.push(Piece { options: DataOptions::NONE, payload: vec![octet; rng.below(5) as usize] });
            }
        }
        let loss_percent = [0, 2, 10, 40][rng.below(4) as usize];
        let duplicate_percent = [0, 5, 30][rng.below(3) as usize];
        let jitter = [0, 5 * US, 200 * US, 3 * MS][rng.below(4) as usize];
        let kept = [20, 100, 10_000][rng.below(3) as usize];
        Self {
            rng,
            first,
            pieces,
            wire: BTreeMap::new(),
            number: 0,
            loss_percent,
            duplicate_percent,
            jitter,
            sent: 0,
            kept,
            spm_sqn: 0,
        }
    }

    fn sqn(&self, index: usize) -> u32 {
        self.first.wrapping_add(index as u32)
    }

    fn trail(&self) -> usize {
        self.sent.saturating_sub(self.kept)
    }

    fn launch(&mut self, now: u64, packet: &[u8]) {
        if self.rng.chance(self.loss_percent, 100) {
            return;
        }
        let copies = if self.rng.chance(self.duplicate_percent, 100) { 2 } else { 1 };
        for _ in 0..copies {
            self.number += 1;
            let at = now + 20 * US + self.rng.up_to(self.jitter);
            self.wire.insert((at, self.number), packet.to_vec());
        }
    }

    fn data(&mut self, now: u64, data_type: DataType, index: usize) {
        let Piece { options, payload } = self.pieces[index].clone();
        let front = build::DATA_HEADER_LEN + options.len();
        let mut packet = vec![0; front];
        packet.extend_from_slice(&payload);
        let template = DataTemplate::new(&build::Session { tsi: TSI, data_port: PORT });
        let (sqn, trail) = (Sqn::new(self.sqn(index)), Sqn::new(self.sqn(self.trail())));
        let len = payload.len() as u16;
        template
            .data(&mut packet[..front], data_type, Content::Original, sqn, trail, &options, len, sum(&payload))
            .expect("a data packet");
        self.launch(now, &packet);
    }

    fn spm(&mut self, now: u64, options: &SpmOptions) {
        self.spm_sqn += 1;
        let news = spm(self.spm_sqn, self.sqn(self.trail()), self.sqn(self.sent).wrapping_sub(1));
        let mut packet = [0; 100];
        let session = build::Session { tsi: TSI, data_port: PORT };
        let len = build::spm(&mut packet, &session, &news, options).expect("an SPM");
        self.launch(now, &packet[..len]);
    }

    fn answer(&mut self, now: u64, asked: &Sent) {
        if self.rng.chance(self.loss_percent, 100) {
            return;
        }
        let sqns = asked.sqns();
        for &sqn in &sqns {
            let index = sqn.wrapping_sub(self.first) as usize;
            assert!(index < self.sent, "a NAK for what was not sent");
        }
        let nak = Nak { sqn: Sqn::new(sqns[0]), source: SOURCE, group: GROUP };
        let list: Vec<Sqn> = sqns[1..].iter().copied().map(Sqn::new).collect();
        let mut packet = [0; 400];
        let session = build::Session { tsi: TSI, data_port: PORT };
        let len =
            build::nak(&mut packet, NakType::Ncf, &session, false, &nak, &list, &NakOptions::NONE).expect("an NCF");
        self.launch(now, &packet[..len]);
        for sqn in sqns {
            let index = sqn.wrapping_sub(self.first) as usize;
            if index >= self.trail() {
                self.data(now, DataType::Rdata, index);
            }
        }
    }
}

fn run(bench: &mut Bench, world: &mut World, ns: u64) {
    let until = bench.now + ns;
    loop {
        let arrival = world.wire.keys().next().map_or(u64::MAX, |key| key.0);
        let deadline = bench.receiver.deadline().map_or(u64::MAX, |at| at.as_nanos().max(bench.now));
        let next = arrival.min(deadline);
        if next > until {
            break;
        }
        bench.now = bench.now.max(next);
        match world.wire.pop_first() {
            Some((_, packet)) if arrival <= deadline => bench.packet(&packet),
            other => {
                if let Some((key, packet)) = other {
                    world.wire.insert(key, packet);
                }
                bench.poll();
            }
        }
        for sent in core::mem::take(&mut bench.sent) {
            if matches!(sent.header.kind, Kind::Nak(_)) {
                world.answer(bench.now, &sent);
            }
        }
    }
    bench.now = until;
}

/// What became of each SQN from the joining point to the last one accounted for.
fn check(world: &World, bench: &Bench, order: Order) -> Option<End> {
    let mut fate: BTreeMap<u32, bool> = BTreeMap::new();
    let mut payloads = bench.application.payloads.iter();
    let (mut first, mut next, mut end) = (None, None, None);
    for (_, said) in &bench.application.said {
        assert_eq!(end, None, "something was said after the end");
        match *said {
            Said::Opened(sqn) => {
                assert_eq!(first, None, "opened twice");
                (first, next) = (Some(sqn), Some(sqn));
            }
            Said::Data(sqn) => {
                let piece = &world.pieces[sqn.wrapping_sub(world.first) as usize];
                assert_eq!(payloads.next(), Some(&piece.payload), "{sqn}");
                assert_eq!(fate.insert(sqn.wrapping_sub(world.first), true), None, "{sqn} twice");
                if order == Order::InOrder {
                    assert_eq!(next, Some(sqn), "out of order");
                    next = Some(sqn.wrapping_add(1));
                }
            }
            Said::Loss(from, to, _) => {
                let (from, to) = (from.wrapping_sub(world.first), to.wrapping_sub(world.first));
                assert!(from <= to && (to as usize) < world.pieces.len());
                for index in from..=to {
                    assert_eq!(fate.insert(index, false), None, "{index} twice");
                }
                if order == Order::InOrder {
                    assert_eq!(next, Some(world.sqn(from as usize)), "a loss out of order");
                    next = Some(world.sqn(to as usize + 1));
                }
            }
            Said::Closed(how) => end = Some(how),
        }
    }
    // Whole APDUs or nothing.
    for (&index, &delivered) in &fate {
        if let Some(place) = world.pieces[index as usize].options.fragment {
            let apdu = place.first_sqn.get().wrapping_sub(world.first);
            let whole = (apdu..apdu + place.apdu_len / 3).all(|part| fate.get(&part).copied() == Some(delivered));
            assert!(whole || !delivered, "half an APDU was delivered");
        }
    }
    if let (Some(first), Some(End::Finished)) = (first, end) {
        let first = first.wrapping_sub(world.first);
        let all = (first as usize..world.pieces.len()).all(|index| fate.contains_key(&(index as u32)));
        assert!(all || first as usize == world.pieces.len(), "finished without everything");
    }
    end
}

fn play(seed: u64) -> (Option<End>, u64, u64) {
    let mut world = World::new(seed);
    let mut rng = Rng::new(seed ^ 0xABCD);
    let profile = Profile::ALL[rng.below(4) as usize].1;
    let mut config = config(profile);
    config.window_slots = 64 << rng.below(4);
    config.held_max = [8, 64, 4096][rng.below(3) as usize];
    config.order = if rng.chance(1, 3) { Order::AsComplete } else { Order::InOrder };
    config.on_loss = if rng.chance(1, 3) { OnLoss::Reset } else { OnLoss::Skip };
    config.on_rst = if rng.chance(1, 2) { OnRst::EndAtOnce } else { OnRst::FinishWindow };
    let mut bench = Bench::seeded(&config, seed);
    let ending = rng.below(4);
    if rng.chance(2, 3) {
        world.spm(bench.now, &PLAIN);
    }
    // The packets before we came.
    world.sent = if rng.chance(1, 3) { rng.below(world.pieces.len() as u64 / 2) as usize } else { 0 };
    let pace = [2 * US, 50 * US, 2 * MS][rng.below(3) as usize];
    while world.sent < world.pieces.len() {
        let index = world.sent;
        world.sent += 1;
        world.data(bench.now, DataType::Odata, index);
        if rng.chance(1, 20) {
            world.spm(bench.now, &PLAIN);
        }
        let pause = if rng.chance(1, 50) { 20 * MS } else { pace };
        run(&mut bench, &mut world, pause);
    }
    // The end, on a network that has become good.
    let calm = rng.chance(1, 2);
    if calm {
        world.loss_percent = 0;
    }
    let options = match ending {
        0 => SpmOptions { rst: Some(Rst { no_naks: rng.chance(1, 2), code: 9 }), ..PLAIN },
        1 => PLAIN,
        _ => SpmOptions { fin: true, ..PLAIN },
    };
    // A receiver that may hold eight packets only, on a network that loses two of five, takes its time.
    for _ in 0..10_000 {
        world.spm(bench.now, &options);
        run(&mut bench, &mut world, SECOND);
        if ending == 1 && world.spm_sqn > 200 || matches!(bench.application.said.last(), Some((_, Said::Closed(_)))) {
            break;
        }
    }
    for _ in 0..5 {
        world.spm(bench.now, &options);
        run(&mut bench, &mut world, SECOND);
    }
    if std::env::var_os("PGMX_SHOW").is_some() {
        println!("{profile:?} ending {ending} from {}: {:?}", world.first, bench.application.said);
    }
    let end = check(&world, &bench, config.order);
    let opened = bench.application.said.iter().any(|(_, said)| matches!(said, Said::Opened(_)));
    match end {
        Some(End::Lost(_)) => assert_eq!(config.on_loss, OnLoss::Reset),
        Some(End::Finished) => assert!(ending >= 2),
        Some(End::Aborted(code)) => assert_eq!((code, ending), (9, 0)),
        None => assert!(!opened || ending == 1, "seed {seed}: no end although one was told"),
        // Ten SPMs lost in a row.
        Some(End::Expired) => assert!(!calm && world.loss_percent == 40, "seed {seed}: expired"),
        other => panic!("seed {seed}: {other:?}"),
    }
    let stats = bench.receiver.stats().all;
    if calm
        && config.held_max >= 64
        && world.kept == 10_000
        && config.on_loss == OnLoss::Skip
        && ending != 0
        && profile != Profile::Windows
    {
        assert_eq!(stats.lost_packets, 0, "seed {seed}: lost although all of it was kept and the network became good");
    }
    (end, stats.delivered_packets, stats.lost_packets)
}

#[test]
fn whatever_the_network_does_every_packet_is_delivered_or_told_lost_exactly_once() {
    if let Some(seed) = std::env::var("PGMX_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{:?}", play(seed));
        return;
    }
    let seeds = if std::env::var_os("PGMX_LONG").is_some() { 50_000 } else { 500 };
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let (mut delivered, mut lost) = (0, 0);
    for seed in 0..seeds {
        let played = std::panic::catch_unwind(|| play(seed));
        let (end, came, gone) = played.unwrap_or_else(|_| panic!("replay with PGMX_SEED={seed}"));
        *ends.entry(format!("{end:?}")).or_default() += 1;
        delivered += came;
        lost += gone;
    }
    // The test is worth what it covers.
    assert!(delivered > 50 * seeds && lost > seeds && ends.len() >= 5, "{delivered} delivered, {lost} lost, {ends:?}");
}
