//! The Internet checksum: one's complement sum of 16-bit words.
//!
//! Used by the parser, the builders, the IP headers and by a source that sums a payload once and sends it many times. A
//! [`Sum`] is a partial sum; partial sums of parts that start at even offsets add up to the sum of the whole.
//!
//! Words are summed in little-endian order and swapped once at the end: the one's complement sum does not mind the byte
//! order (RFC 1071 §2 B), and on the machines we run on this saves a swap per word.

#![deny(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod simd;
#[cfg(test)]
mod tests;

/// From here on the vector kernel wins over the portable one. Below, the dispatch and the sum over the lanes cost more
/// than they save; most PGM packets of a low-latency stream are below. Too low costs small packets some instructions, too
/// high costs packets around it some cycles; both are flat around this value.
const SIMD_MIN_LEN: usize = 256;

/// A partial one's complement sum.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum of both parts. The part that `later` covers must start at an even offset of the whole.
    #[inline]
    #[must_use]
    pub const fn combine(self, later: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(later.0);
        // Cannot overflow again: a sum that wrapped is at most 2^64 - 2.
        Self(sum + carry as u64)
    }

    /// The sum with one 16-bit word more.
    #[inline]
    #[must_use]
    pub const fn plus_u16(self, word: u16) -> Self {
        self.combine(Self(word.swap_bytes() as u64))
    }

    /// The sum with two 16-bit words more.
    #[inline]
    #[must_use]
    pub const fn plus_u32(self, words: u32) -> Self {
        self.combine(Self(words.swap_bytes() as u64))
    }

    /// The sum with eight octets a word more, which were loaded in little-endian order.
    #[inline]
    pub(super) fn plus_le_u64s<const WORDS: usize>(self, words: [u64; WORDS]) -> Self {
        Self(add(self.0, words.into_iter()))
    }

    /// The sum in 16 bits. Zero only when every octet was zero.
    #[inline]
    pub const fn fold(self) -> u16 {
        self.fold_le().swap_bytes()
    }

    #[inline]
    const fn fold_le(self) -> u16 {
        // The upper half of a word plus its own rotation is upper half + lower half + the carry of that very sum.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        let sum = sum.wrapping_add(sum.rotate_left(16)) >> 16;
        sum as u16
    }

    /// The checksum to put on the wire: the complement, never zero.
    #[inline]
    pub const fn finish(self) -> u16 {
        self.finish_le().swap_bytes()
    }

    #[inline]
    pub(super) const fn finish_le(self) -> u16 {
        // RFC 3208 §8, conformance 7: a computed zero is sent as 0xFFFF, because zero says "no checksum".
        let complement = !self.fold_le();
        if complement == 0 { 0xFFFF } else { complement }
    }
}

/// The sum of `bytes`; an odd length counts as if one zero octet followed.
#[inline]
pub fn sum(bytes: &[u8]) -> Sum {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= SIMD_MIN_LEN {
        return simd::sum_long(bytes);
    }
    portable(bytes)
}

/// True when the checksum inside `packet` is right: the whole, checksum included, sums to all ones.
#[inline]
pub fn verify(packet: &[u8]) -> bool {
    sum(packet).fold_le() == 0xFFFF
}

/// The portable kernel: 64-bit words with the carry going round, eight of them a step. Compiles to one add-with-carry per
/// eight octets; a short packet takes no loop but this one. Inlined: a call costs a short packet a tenth of its sum.
#[inline(always)]
#[allow(clippy::inline_always)] // it is too long for the compiler's taste, and called where every packet comes by
fn portable(bytes: &[u8]) -> Sum {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut sum = 0u64;
    for block in blocks {
        sum = add_words(sum, block.as_chunks::<8>().0);
    }
    if rest.is_empty() {
        return Sum(sum);
    }
    let mut rest = rest;
    if let Some((block, after)) = rest.split_first_chunk::<32>() {
        sum = add_words(sum, block.as_chunks::<8>().0);
        rest = after;
    }
    if let Some((half, after)) = rest.split_first_chunk::<16>() {
        sum = add_words(sum, half.as_chunks::<8>().0);
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk::<8>() {
        sum = add_words(sum, &[*word]);
        rest = after;
    }
    if rest.is_empty() { Sum(sum) } else { Sum(sum).combine(Sum(tail(rest))) }
}

/// `sum` and these words.
#[inline]
fn add_words(sum: u64, words: &[[u8; 8]]) -> u64 {
    add(sum, words.iter().map(|word| u64::from_le_bytes(*word)))
}

/// `sum` and these words, each carry added to the next word and the last one to the result.
#[inline]
fn add(mut sum: u64, words: impl Iterator<Item = u64>) -> u64 {
    let mut carry = false;
    for word in words {
        let (partial, first) = sum.overflowing_add(word);
        let (partial, second) = partial.overflowing_add(u64::from(carry));
        sum = partial;
        carry = first | second;
    }
    // Cannot overflow: a carry leaves at most 2^64 - 2, by the same bound at every step before.
    sum + u64::from(carry)
}

/// Up to seven octets as the low end of a little-endian word; the zeros above are the padding.
#[inline]
fn tail(rest: &[u8]) -> u64 {
    // RFC 3208 §8, conformance 6: an odd length is padded with a zero octet.
    let mut word = 0u64;
    let mut rest = rest;
    let mut shift = 0;
    if let Some((octets, after)) = rest.split_first_chunk::<4>() {
        word = u64::from(u32::from_le_bytes(*octets));
        rest = after;
        shift = 32;
    }
    if let Some((octets, after)) = rest.split_first_chunk::<2>() {
        word |= u64::from(u16::from_le_bytes(*octets)) << shift;
        rest = after;
        shift += 16;
    }
    if let Some(octet) = rest.first() {
        word |= u64::from(*octet) << shift;
    }
    word
}

/// The checksum after one 16-bit word of its packet changed from `old` to `new` (RFC 1624, equation 3). Never zero.
#[inline]
pub const fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(0).plus_u16(!checksum).plus_u16(!old).plus_u16(new).finish()
}

/// The checksum after two 16-bit words of its packet changed from `old` to `new` (RFC 1624, equation 3). Never zero.
#[inline]
pub const fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    Sum(0).plus_u16(!checksum).plus_u32(!old).plus_u32(new).finish()
}
