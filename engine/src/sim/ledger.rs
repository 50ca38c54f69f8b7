//! What was sent: for each session the packets in order, and the octets that each must have.
//!
//! A payload follows from the session and the packet's position, so that nothing has to be kept to check it.

use crate::wire::{Sqn, Tsi};

/// Place of a packet in the sequence of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Octets of payload.
    pub len: u16,
    /// Octets of the APDU before it.
    pub offset: u32,
    /// Octets of the APDU.
    pub apdu_len: u32,
    /// How many positions after the first packet of its APDU.
    pub index: u32,
    /// How many packets its APDU takes.
    pub packets: u32,
}

/// One session as its application filled it.
#[derive(Debug)]
pub struct Ledger {
    /// The session.
    pub tsi: Tsi,
    /// SQN of the first packet.
    pub first: Sqn,
    /// The packets.
    pub packets: Vec<Sent>,
    seed: u64,
}

/// splitmix64's finish: every bit of the input reaches every bit of the output.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Octets of the payload words: cheap, but no two packets look alike.
#[inline]
fn word(seed: u64, n: u64) -> u64 {
    let word = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word ^ (word >> 29)
}

impl Ledger {
    /// A session that has sent nothing.
    pub fn new(tsi: Tsi, first: Sqn) -> Self {
        let octets = tsi.gsi.octets();
        let gsi = octets.iter().fold(0_u64, |sum, &octet| sum << 8 | u64::from(octet));
        Self { tsi, first, packets: Vec::new(), seed: mix(gsi << 16 | u64::from(tsi.port)) }
    }

    fn packet_seed(&self, position: u64) -> u64 {
        mix(self.seed ^ position.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// Writes the payload of the packet at `position`.
    pub fn fill(&self, position: u64, payload: &mut [u8]) {
        let seed = self.packet_seed(position);
        let mut words = payload.chunks_exact_mut(8);
        let mut n = 0;
        for chunk in &mut words {
            chunk.copy_from_slice(&word(seed, n).to_le_bytes());
            n += 1;
        }
        let rest = words.into_remainder();
        let last = word(seed, n).to_le_bytes();
        let len = rest.len();
        rest.copy_from_slice(&last[..len]);
    }

    /// Whether these are the octets of the packet at `position`.
    pub fn matches(&self, position: u64, payload: &[u8]) -> bool {
        let seed = self.packet_seed(position);
        let mut words = payload.chunks_exact(8);
        let mut n = 0;
        let mut difference = 0;
        for chunk in &mut words {
            let mut octets = [0; 8];
            octets.copy_from_slice(chunk);
            difference |= u64::from_le_bytes(octets) ^ word(seed, n);
            n += 1;
        }
        let rest = words.remainder();
        difference == 0 && rest == &word(seed, n).to_le_bytes()[..rest.len()]
    }

    /// Records an APDU whose packets have these lengths.
    pub fn record(&mut self, lens: impl Iterator<Item = u16>) {
        let begin = self.packets.len();
        let mut offset = 0;
        for (index, len) in lens.enumerate() {
            self.packets.push(Sent { len, offset, apdu_len: 0, index: index as u32, packets: 0 });
            offset += u32::from(len);
        }
        let packets = (self.packets.len() - begin) as u32;
        for packet in &mut self.packets[begin..] {
            packet.apdu_len = offset;
            packet.packets = packets;
        }
    }

    /// The position of an SQN, which may lie before the first or behind the last.
    pub fn position(&self, sqn: Sqn) -> i64 {
        i64::from(sqn.distance_from(self.first) as i32)
    }

    /// How many packets were sent.
    pub fn sent(&self) -> u64 {
        self.packets.len() as u64
    }
}

/// All sessions of a run.
#[derive(Debug, Default)]
pub struct Ledgers(pub Vec<Ledger>);

impl Ledgers {
    /// The number of a session.
    pub fn find(&self, tsi: Tsi) -> Option<usize> {
        self.0.iter().position(|ledger| ledger.tsi == tsi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Gsi;

    #[test]
    fn a_payload_is_recognised_whole_and_at_its_own_place_only() {
        let ledger = Ledger::new(Tsi::new(Gsi::new([1, 2, 3, 4, 5, 6]), 7), Sqn::new(u32::MAX));
        for len in [0, 1, 7, 8, 9, 64, 1400] {
            let mut payload = vec![0; len];
            ledger.fill(3, &mut payload);
            assert!(ledger.matches(3, &payload));
            if len >= 7 {
                assert!(!ledger.matches(4, &payload));
                payload[len - 1] ^= 1;
                assert!(!ledger.matches(3, &payload));
            }
        }
        assert_eq!(ledger.position(Sqn::new(1)), 2);
        assert_eq!(ledger.position(Sqn::new(u32::MAX - 1)), -1);
    }
}
