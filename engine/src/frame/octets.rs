//! Copying octets where most packets are short.
//!
//! For whoever copies a payload or a packet. The copy of the standard library is a call into the C library, which costs a short packet
//! more than the move itself, and every register around it. Guards: the very octets, and none beside them.

#![forbid(unsafe_code)]

/// Copies `from` to `to`, which is as long.
///
/// From 32 to 128 octets, that is small messages with and without headers, are two blocks, which overlap in the middle.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
#[allow(clippy::inline_always)] // the point of it
pub fn copy_octets(to: &mut [u8], from: &[u8]) {
    assert!(to.len() == from.len(), "a copy to another length");
    if !(32..=128).contains(&from.len()) {
        copy_by_call(to, from);
    } else if from.len() <= 64 {
        two_blocks::<32>(to, from);
    } else {
        two_blocks::<64>(to, from);
    }
}

/// The first and the last `N` octets of at most `2 N`.
#[inline(always)]
#[allow(clippy::inline_always)]
fn two_blocks<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        if let Some(place) = to.first_chunk_mut::<N>() {
            *place = *first;
        }
        if let Some(place) = to.last_chunk_mut::<N>() {
            *place = *last;
        }
    }
}

// Out of line, so that its registers are not saved where it is not called.
#[inline(never)]
#[cold]
fn copy_by_call(to: &mut [u8], from: &[u8]) {
    to.copy_from_slice(from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_and_nothing_beside_it() {
        let from: Vec<u8> = (0..300_u16).map(|n| n as u8 | 1).collect();
        for len in 0..300 {
            let mut to = vec![0; 310];
            copy_octets(&mut to[5..5 + len], &from[..len]);
            assert_eq!(to[5..5 + len], from[..len]);
            assert!(to[..5].iter().chain(&to[5 + len..]).all(|&octet| octet == 0), "{len}");
        }
    }

    #[test]
    #[should_panic(expected = "another length")]
    fn a_copy_to_another_length_is_refused() {
        copy_octets(&mut [0; 40], &[0; 41]);
    }
}
