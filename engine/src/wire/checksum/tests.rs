//! The kernels against a sum written as the RFC words it.

use proptest::prelude::*;

use super::*;

/// RFC 1071 taken literally: 16-bit words in network order, carries added back one by one.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += (u32::from(pair[0]) << 8) | u32::from(*pair.get(1).unwrap_or(&0));
        if sum > 0xFFFF {
            sum -= 0xFFFF;
        }
    }
    sum as u16
}

fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// RFC 3208 §8, conformance 6
#[test]
fn all_kernels_agree_for_every_length_and_alignment() {
    let noise = pattern(1024);
    let ones = vec![0xFF; 1024];
    for bytes in [&noise, &ones] {
        for start in 0..33 {
            for len in 0..330 {
                let slice = &bytes[start..start + len];
                let expected = naive(slice);
                assert_eq!(portable(slice).fold(), expected, "portable, {start}+{len}");
                assert_eq!(sum(slice).fold(), expected, "dispatched, {start}+{len}");
                #[cfg(target_arch = "x86_64")]
                assert_eq!(simd::sum_long(slice).fold(), expected, "vector, {start}+{len}");
            }
        }
    }
    for len in [1452, 1500, 4096, 9000, 65_535] {
        let long = vec![0xFF; len];
        assert_eq!(sum(&long).fold(), naive(&long), "{len}");
        let long = pattern(len);
        assert_eq!(sum(&long).fold(), naive(&long), "{len}");
    }
}

#[test]
fn no_carry_is_lost_between_words_on_the_edge() {
    // All five-word packets of the words that carry, or nearly do.
    let edges = [0, 1, 2, u64::MAX - 1, u64::MAX];
    for choice in 0..5u32.pow(5) {
        let words = (0..5).map(|place| edges[(choice / 5u32.pow(place) % 5) as usize]);
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        assert_eq!(portable(&bytes).fold(), naive(&bytes), "{bytes:02x?}");
    }
}

#[test]
fn zero_octets_alone_fold_to_zero() {
    assert_eq!(sum(&[0; 40]).fold(), 0);
    assert_eq!(sum(&[]).finish(), 0xFFFF);
}

/// RFC 3208 §8, conformance 7
#[test]
fn a_computed_zero_is_finished_as_all_ones() {
    assert_eq!(sum(&[0xFF, 0xFF]).finish(), 0xFFFF);
    assert_eq!(sum(&[0xFF, 0xFE, 0x00, 0x01]).finish(), 0xFFFF);
}

#[test]
fn the_largest_partial_sums_combine_without_losing_the_carry() {
    let most = Sum(u64::MAX);
    assert_eq!(most.combine(most).fold(), 0xFFFF);
    assert_eq!(most.combine(Sum(1)).fold_le(), 1);
    assert_eq!(Sum(0xFFFF_FFFF_FFFF_0000).fold_le(), 0xFFFF);
}

proptest! {
    #[test]
    fn parts_add_up_to_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in 0usize..300) {
        let cut = (cut * 2).min(bytes.len() & !1);
        let (front, back) = bytes.split_at(cut);
        prop_assert_eq!(sum(front).combine(sum(back)).fold(), naive(&bytes));
    }

    #[test]
    fn an_updated_checksum_equals_a_new_one(
        mut bytes in proptest::collection::vec(any::<u8>(), 8..200), at in 0usize..90, new in any::<u32>(), edge in 0u8..6
    ) {
        // All ones and all zeros are where one's complement has two names for nothing.
        let new = match edge { 0 => 0, 1 => u32::MAX, 2 => 0xFFFF_0000, _ => new };
        bytes[0] = 0x30;
        let at = 2 + (at * 2) % ((bytes.len() - 6 + 1) & !1).max(2);
        prop_assume!(at + 4 <= bytes.len());
        let before = sum(&bytes).finish();
        let old = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        bytes[at..at + 4].copy_from_slice(&new.to_be_bytes());
        prop_assert_eq!(update32(before, old, new), sum(&bytes).finish());
        let halves = update16(update16(before, (old >> 16) as u16, (new >> 16) as u16), old as u16, new as u16);
        prop_assert_eq!(halves, sum(&bytes).finish());
    }
}
