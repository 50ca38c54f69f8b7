//! The vector kernel of the checksum: AVX2, for packets of some hundred octets and more.
//!
//! Called by [`super::sum`] alone. Guards: it returns the very sum that the portable kernel returns, and is entered only
//! on a processor that has AVX2.

#![allow(unsafe_code)]
// The loads and the store are the unaligned ones.
#![allow(clippy::cast_ptr_alignment)]

use core::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_loadu_si256, _mm256_setzero_si256, _mm256_srli_epi64, _mm256_storeu_si256,
};

use super::{Sum, portable};

/// The sum of a long slice, by the best kernel that this processor has.
#[inline(never)]
pub(super) fn sum_long(bytes: &[u8]) -> Sum {
    // The standard library asks the processor once and keeps the answer: afterwards this is a load and a test.
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor was just found to have AVX2, the only demand of the callee.
        unsafe { avx2(bytes) }
    } else {
        portable(bytes)
    }
}

/// The sum of `bytes`, 64 octets a step.
///
/// Per 64-bit lane two running sums are kept: of the whole words, modulo 2^64, and of their upper halves. The lower
/// halves follow from both, so that the loop needs no mask: four instructions for 32 octets.
#[target_feature(enable = "avx2")]
pub(super) fn avx2(bytes: &[u8]) -> Sum {
    let (blocks, rest) = bytes.as_chunks::<64>();
    // The lower halves of a lane must not overflow 64 bits: at most 2^32 words a lane. No slice is that long here.
    debug_assert!(blocks.len() < 1 << 30, "packets are at most 64 KiB");
    let zero = _mm256_setzero_si256();
    let (mut whole_a, mut upper_a, mut whole_b, mut upper_b) = (zero, zero, zero, zero);
    for block in blocks {
        // SAFETY: the block is 64 octets long, and the load has no alignment demand.
        let a = unsafe { _mm256_loadu_si256(block.as_ptr().cast::<__m256i>()) };
        // SAFETY: octets 32..64 of the same block.
        let b = unsafe { _mm256_loadu_si256(block.as_ptr().add(32).cast::<__m256i>()) };
        whole_a = _mm256_add_epi64(whole_a, a);
        upper_a = _mm256_add_epi64(upper_a, _mm256_srli_epi64::<32>(a));
        whole_b = _mm256_add_epi64(whole_b, b);
        upper_b = _mm256_add_epi64(upper_b, _mm256_srli_epi64::<32>(b));
    }
    let whole = lanes(_mm256_add_epi64(whole_a, whole_b));
    let upper = lanes(_mm256_add_epi64(upper_a, upper_b));
    let mut sum = portable(rest);
    for (whole, upper) in whole.into_iter().zip(upper) {
        let lower = whole.wrapping_sub(upper << 32);
        sum = sum.combine(Sum(lower)).combine(Sum(upper));
    }
    sum
}

#[target_feature(enable = "avx2")]
fn lanes(vector: __m256i) -> [u64; 4] {
    let mut out = [0u64; 4];
    // SAFETY: the array is 32 octets long, and the store has no alignment demand.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast::<__m256i>(), vector) };
    out
}
