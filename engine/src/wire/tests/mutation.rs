//! Known packets, broken at random: never a panic, and never a packet dropped without its counter.

use super::model::Packet;
use super::wire::{Kind, PlainData, RejectCounters, parse_plain};
use super::*;

/// Marsaglia's xorshift: any 64 bits but zero are a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Values that lengths and counts break on.
const EDGES: [u8; 16] = [0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 20, 0x7F, 0x80, 0x81, 0xFE, 0xFF];

fn mutate(random: &mut Random, packet: &mut Vec<u8>) {
    match random.below(6) {
        0 => {
            for _ in 0..=random.below(8) {
                let at = random.below(packet.len().max(1));
                if let Some(octet) = packet.get_mut(at) {
                    *octet ^= 1 << random.below(8);
                }
            }
        }
        1 => {
            let len = random.below(packet.len() + 1);
            packet.truncate(len);
        }
        2 => {
            for _ in 0..=random.below(32) {
                let octet = random.next() as u8;
                packet.push(octet);
            }
        }
        3 => {
            for _ in 0..=random.below(3) {
                let at = random.below(packet.len().max(1));
                if let Some(octet) = packet.get_mut(at) {
                    *octet = EDGES[random.below(EDGES.len())];
                }
            }
        }
        4 => {
            // The TSDU length, near the truth.
            let len = packet.len().saturating_sub(random.below(64)) as u16;
            if let Some(field) = packet.get_mut(14..16) {
                field.copy_from_slice(&len.to_be_bytes());
            }
        }
        _ => {
            let other = golden::ALL[random.below(golden::ALL.len())];
            let cut = random.below(packet.len().min(other.len()) + 1);
            packet.truncate(cut);
            packet.extend_from_slice(&other[cut..]);
        }
    }
}

/// RFC 3208 §9, conformance 29, 156
#[test]
fn mutated_packets_are_read_or_counted_and_never_panic() {
    let rounds = 10_000_000_u64;
    let mut random = Random(0x5EED_0F3D_208A_113D);
    let mut counters = RejectCounters::default();
    let (mut read_well, mut rebuilt_well) = (0u64, 0u64);
    for round in 0..rounds {
        let mut packet = golden::ALL[random.below(golden::ALL.len())].to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut random, &mut packet);
        }
        if round % 2 == 0 {
            repair(&mut packet);
        }
        // The short way for plain data may never decide otherwise than the long one.
        assert_eq!(read(&packet), parse::parse_general(&packet, Limits::default()), "{packet:02x?}");
        match read(&packet) {
            Err(reject) => counters.count(reject),
            Ok(header) => {
                read_well += 1;
                // The words of a plain header say what the header says, whether they were loaded or made from it.
                let loaded = parse_plain(&packet).and_then(Result::ok);
                assert_eq!(loaded.map(PlainData::header), header.plain().map(|_| header), "{packet:02x?}");
                if let Some(plain) = header.plain() {
                    assert_eq!(plain.header(), header);
                    assert!(plain.is_of(header.tsi.key()));
                    assert_eq!(plain.is_new(), matches!(header.kind, Kind::Odata(_)) && !header.flags.is_parity());
                }
                // What came through means the same when it is said in our own words.
                let said = Packet::read(&header, &packet);
                if let Ok(again) = said.build() {
                    rebuilt_well += 1;
                    let header = read(&again).expect("our own words are right");
                    assert_eq!(Packet::read(&header, &again), said, "{packet:02x?}");
                }
            }
        }
    }
    assert_eq!(read_well + counters.total(), rounds);
    // The mutations would prove nothing if they all failed at the checksum, or none did.
    assert!(read_well > rounds / 50 && rebuilt_well > read_well / 2, "{read_well} read, {rebuilt_well} rebuilt");
    let reached = counters.iter().filter(|(_, count)| *count > 0).count();
    assert!(reached > Reject::ALL.len() * 3 / 4, "{reached} rules reached of {}", Reject::ALL.len());
}
