//! Seeded randomness for back-offs: xorshift64*, small and good enough to spread timers.

/// A deterministic generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose sequence the seed decides; neighbouring seeds give unrelated sequences.
    pub fn new(seed: u64) -> Self {
        // splitmix64 step: spreads small seeds and never yields the fixed point 0.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)) | 1)
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `0..=most`: RFC 3208's random intervals.
    #[inline]
    pub fn up_to(&mut self, most: u64) -> u64 {
        self.below(most.saturating_add(1))
    }

    /// True `numerator` times in `denominator`.
    #[inline]
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_uniform_repeatable_and_within_bounds() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            let n = a.below(10);
            assert_eq!(n, b.below(10));
            counts[n as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (9_500..10_500).contains(&count)), "{counts:?}");
        assert_eq!(a.below(0), 0);
        assert_ne!(Rng::new(0).next_u64(), Rng::new(1).next_u64());
    }
}
