//! Messages that check themselves: made by `send`, checked by `recv --verify`.
//!
//! ```text
//!   octet 0      8           16
//!         number  published   octets of a fixed table, from places that follow from number, time and length
//! ```
//!
//! Numbers count from 0; the time is nanoseconds since 1970; both are little-endian. A message shorter than that has as much of it as
//! fits. Making and checking one costs a copy and a comparison. Guards: whatever was changed, cut, doubled or left out is counted, and
//! nothing is counted as delivered that did not come as it was made.

use pgmx::frame::copy_octets;
use pgmx::wire::Tsi;

use super::numbers::Sizes;
use super::report::Latency;

/// Octets that come from one place of the table. A power of two; no run of packets has a length that would put the same octets at two
/// places of one message, because each block has a place of its own.
const BLOCK: usize = 4096;
/// Number and time.
const HEAD: usize = 16;
/// A latency beyond an hour is a clock that is wrong.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// The table: two blocks, so that a block may begin anywhere in the first.
#[derive(Debug)]
struct Pattern(Box<[u8; 2 * BLOCK]>);

impl Pattern {
    fn new() -> Self {
        let mut table = Box::new([0; 2 * BLOCK]);
        for (n, word) in table.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&mix(n as u64).to_le_bytes());
        }
        Self(table)
    }

    /// The octets of a block that begin at its octet `at`.
    #[inline]
    fn block(&self, seed: u64, block: usize, at: usize) -> &[u8] {
        let place = (mix(seed ^ (block as u64) << 48) >> 52) as usize;
        &self.0[place + at..place + BLOCK]
    }
}

#[inline]
fn mix(x: u64) -> u64 {
    let x = (x ^ x >> 31).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x ^ x >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// What a message's octets follow from.
#[derive(Clone, Copy, Debug)]
struct Recipe {
    head: [u8; HEAD],
    seed: u64,
}

impl Recipe {
    #[inline]
    fn new(number: u64, published_ns: u64, len: usize) -> Self {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&number.to_le_bytes());
        head[8..].copy_from_slice(&published_ns.to_le_bytes());
        Self { head, seed: Self::seed(number, published_ns, len) }
    }

    #[inline]
    fn seed(number: u64, published_ns: u64, len: usize) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ published_ns.rotate_left(32) ^ len as u64
    }

    /// Calls `each` with the octets that belong at `at` and behind, `len` in all, piece by piece, until it says no.
    #[inline]
    fn pieces(&self, pattern: &Pattern, mut at: usize, len: usize, mut each: impl FnMut(&[u8]) -> bool) -> bool {
        let end = at + len;
        if at < HEAD {
            let piece = &self.head[at..end.min(HEAD)];
            at += piece.len();
            if !each(piece) {
                return false;
            }
        }
        while at < end {
            let (block, within) = ((at - HEAD) / BLOCK, (at - HEAD) % BLOCK);
            let piece = pattern.block(self.seed, block, within);
            let piece = &piece[..piece.len().min(end - at)];
            at += piece.len();
            if !each(piece) {
                return false;
            }
        }
        true
    }
}

/// Makes messages.
#[derive(Debug)]
pub(crate) struct Generator {
    pattern: Pattern,
    sizes: Sizes,
    number: u64,
}

impl Generator {
    /// The first message has the number 0.
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self { pattern: Pattern::new(), sizes, number: 0 }
    }

    /// Octets of the next message.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        let Sizes { min, max } = self.sizes;
        if min == max {
            return min as usize;
        }
        let among = u64::from(max - min) + 1;
        min as usize + (((mix(self.number) >> 32) * among) >> 32) as usize
    }

    /// Writes a piece of the next message, whose octets begin at `at`.
    #[inline(always)]
    #[allow(clippy::inline_always)] // small messages are made by the ten million
    pub(crate) fn fill(&self, published_ns: u64, len: usize, at: usize, to: &mut [u8]) {
        let wanted = to.len();
        if let Some((head, rest)) = to.split_first_chunk_mut::<HEAD>()
            && at == 0
            && wanted <= HEAD + BLOCK / 2
        {
            // Word by word: sixteen octets that were just stored as two words are slow to load.
            head[..8].copy_from_slice(&self.number.to_le_bytes());
            head[8..].copy_from_slice(&published_ns.to_le_bytes());
            let seed = Recipe::seed(self.number, published_ns, len);
            copy_octets(rest, &self.pattern.block(seed, 0, 0)[..wanted - HEAD]);
        } else {
            self.fill_by_pieces(published_ns, len, at, to);
        }
    }

    #[inline(never)]
    fn fill_by_pieces(&self, published_ns: u64, len: usize, at: usize, mut to: &mut [u8]) {
        let recipe = Recipe::new(self.number, published_ns, len);
        recipe.pieces(&self.pattern, at, to.len(), |piece| {
            let (now, later) = core::mem::take(&mut to).split_at_mut(piece.len());
            now.copy_from_slice(piece);
            to = later;
            true
        });
    }

    /// The message was published.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.number += 1;
    }
}

/// What is known of a session's messages.
#[derive(Debug)]
struct Known {
    tsi: Tsi,
    /// The number that comes next; `None` before the first message.
    expected: Option<u64>,
    /// Packets reported lost since the last message: if no other comes, no number tells of them.
    unproven: u64,
}

/// Checks messages.
#[derive(Debug)]
pub(crate) struct Checker {
    pattern: Pattern,
    sessions: Vec<Known>,
    /// Where the session of the last message stands.
    last: usize,
    /// Messages that came as they were made, and in their turn.
    pub(crate) delivered: u64,
    /// Messages that did not.
    pub(crate) corrupt: u64,
    /// Messages that will never come.
    pub(crate) lost: u64,
    /// From publication to delivery, where both clocks are of one mind.
    pub(crate) latency: Latency,
}

impl Checker {
    /// Nothing has come yet.
    pub(crate) fn new() -> Self {
        Self {
            pattern: Pattern::new(),
            sessions: Vec::new(),
            last: 0,
            delivered: 0,
            corrupt: 0,
            lost: 0,
            latency: Latency::new(),
        }
    }

    /// Messages that are accounted for.
    #[inline]
    pub(crate) fn seen(&self) -> u64 {
        self.delivered + self.corrupt + self.lost
    }

    #[inline]
    fn session(&mut self, tsi: Tsi) -> &mut Known {
        if self.sessions.get(self.last).is_none_or(|known| known.tsi != tsi) {
            self.find(tsi);
        }
        &mut self.sessions[self.last]
    }

    #[cold]
    fn find(&mut self, tsi: Tsi) {
        self.last = self.sessions.iter().position(|known| known.tsi == tsi).unwrap_or_else(|| {
            self.sessions.push(Known { tsi, expected: None, unproven: 0 });
            self.sessions.len() - 1
        });
    }

    /// A message of `len` octets, in pieces, that came at this time of day.
    #[inline]
    pub(crate) fn check<'m>(
        &mut self,
        tsi: Tsi,
        len: usize,
        chunks: impl Iterator<Item = &'m [u8]> + Clone,
        received_ns: u64,
    ) {
        let head = head(chunks.clone());
        let known = self.session(tsi);
        let expected = known.expected;
        let (number, published_ns) = read(head, len, expected.unwrap_or(0));
        let recipe = Recipe::new(number, published_ns, len);
        let pattern = &self.pattern;
        let mut at = 0;
        let mut chunks = chunks;
        let is_sound = chunks.all(|chunk| {
            // Number and time are where these octets follow from: there is nothing to hold them against.
            let skip = HEAD.saturating_sub(at).min(chunk.len());
            let (begin, mut rest) = (at + skip, &chunk[skip..]);
            at += chunk.len();
            recipe.pieces(pattern, begin, rest.len(), |piece| {
                let (now, later) = rest.split_at(piece.len());
                rest = later;
                now == piece
            })
        });
        if expected == Some(number) && is_sound && at == len {
            self.delivered += 1;
            let known = &mut self.sessions[self.last];
            known.expected = Some(number + 1);
            known.unproven = 0;
        } else {
            self.judge(number, is_sound && at == len);
        }
        if is_sound && len >= HEAD && received_ns.wrapping_sub(published_ns) <= LATENCY_MAX_NS {
            self.latency.record(received_ns - published_ns);
        }
    }

    /// A message that is not the next one, or damaged.
    #[cold]
    fn judge(&mut self, number: u64, is_sound: bool) {
        let known = &mut self.sessions[self.last];
        match known.expected {
            // Its number says nothing: it stands for the one that was expected.
            Some(expected) if !is_sound => {
                self.corrupt += 1;
                known.expected = Some(expected + 1);
            }
            None if !is_sound => self.corrupt += 1,
            // It came before, or others overtook it.
            Some(expected) if number < expected => self.corrupt += 1,
            Some(expected) => {
                self.lost += number - expected;
                self.delivered += 1;
                known.expected = Some(number + 1);
            }
            None => {
                // Where we joined is where it begins for us; what was reported lost since has no numbers.
                self.lost += known.unproven;
                self.delivered += 1;
                known.expected = Some(number + 1);
            }
        }
        known.unproven = 0;
    }

    /// A whole message that is not wanted: it is not checked, but those before it that did not come are missing.
    pub(crate) fn pass_over<'m>(&mut self, tsi: Tsi, len: usize, chunks: impl Iterator<Item = &'m [u8]>) {
        let head = head(chunks);
        let known = self.session(tsi);
        let expected = known.expected;
        let (number, _) = read(head, len, expected.unwrap_or(0));
        let missing = match expected {
            Some(expected) if number < expected => return,
            Some(expected) => number - expected,
            None => known.unproven,
        };
        known.expected = Some(number + 1);
        known.unproven = 0;
        self.lost += missing;
    }

    /// Packets of a session were reported lost.
    pub(crate) fn on_loss(&mut self, tsi: Tsi, packets: u64) {
        self.session(tsi).unproven += packets;
    }

    /// No more messages of a session will come.
    pub(crate) fn on_closed(&mut self, tsi: Tsi) {
        let unproven = core::mem::take(&mut self.session(tsi).unproven);
        self.lost += unproven;
        let at = self.last;
        self.sessions.swap_remove(at);
        self.last = 0;
    }

    /// No more messages will come; `of` were to come, if that is known.
    pub(crate) fn finish(&mut self, of: Option<u64>) {
        for known in &mut self.sessions {
            self.lost += core::mem::take(&mut known.unproven);
        }
        self.lost += of.unwrap_or(0).saturating_sub(self.seen());
    }
}

/// The first octets of a message; zeroes where it has none.
#[inline]
fn head<'m>(mut chunks: impl Iterator<Item = &'m [u8]>) -> [u8; HEAD] {
    let first = chunks.next().unwrap_or_default();
    if let Some(head) = first.first_chunk() {
        return *head;
    }
    let mut head = [0; HEAD];
    head.iter_mut().zip(first.iter().chain(chunks.flatten())).for_each(|(to, from)| *to = *from);
    head
}

/// Number and time of a message, as far as it is long enough to have them. What is missing of the number is taken from the one that
/// is expected: the message is the nearest one that ends so.
#[inline]
fn read(head: [u8; HEAD], len: usize, expected: u64) -> (u64, u64) {
    let [number, published_ns] = [0, 8].map(|at| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default()));
    if len >= 8 {
        // A time that is cut short is as it came: there is nothing to hold it against.
        return (number, published_ns);
    }
    let bits = 8 * len as u32;
    let modulus = 1_u64 << bits;
    let ahead = number.wrapping_sub(expected) & (modulus - 1);
    let nearest =
        if ahead <= modulus / 2 || expected + ahead < modulus { expected + ahead } else { expected + ahead - modulus };
    (nearest, published_ns)
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
