//! Sequence numbers: 32-bit and circular.
//!
//! Everybody who holds a data SQN, an `SPM_SQN` or a `POLL_SQN` holds a [`Sqn`]. Guards one invariant: nobody compares two
//! sequence numbers with `<`. There is no `Ord`, because order on a circle depends on where one stands.

#![forbid(unsafe_code)]

use core::fmt;

/// A circular 32-bit sequence number.
///
/// ```
/// use pgmx::wire::Sqn;
/// let last = Sqn::new(u32::MAX);
/// assert!(last.next().is_after(last));
/// assert_eq!(last.next().distance_from(last), 1);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sqn(u32);

impl Sqn {
    /// The sequence number with this value on the wire.
    #[inline]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The value on the wire.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// True when `self` lies within half the space after `other`. A distance of exactly 2^31 is not after.
    #[inline]
    pub const fn is_after(self, other: Self) -> bool {
        // RFC 3208 §6.2: greater means greater within half the number space.
        (self.0.wrapping_sub(other.0) as i32) > 0
    }

    /// True when `other` lies within half the space after `self`.
    #[inline]
    pub const fn is_before(self, other: Self) -> bool {
        other.is_after(self)
    }

    /// Equal or after.
    #[inline]
    pub const fn at_or_after(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) >= 0
    }

    /// Equal or before.
    #[inline]
    pub const fn at_or_before(self, other: Self) -> bool {
        other.at_or_after(self)
    }

    /// Steps forward from `origin` to `self`, modulo 2^32.
    #[inline]
    pub const fn distance_from(self, origin: Self) -> u32 {
        self.0.wrapping_sub(origin.0)
    }

    /// `steps` forward.
    #[inline]
    pub const fn plus(self, steps: u32) -> Self {
        Self(self.0.wrapping_add(steps))
    }

    /// `steps` backward.
    #[inline]
    pub const fn minus(self, steps: u32) -> Self {
        Self(self.0.wrapping_sub(steps))
    }

    /// The one that follows.
    #[inline]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The one before.
    #[inline]
    pub const fn prev(self) -> Self {
        self.minus(1)
    }
}

impl fmt::Debug for Sqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Sqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        let last = Sqn::new(u32::MAX);
        let first = Sqn::new(0);
        assert_eq!(last.next(), first);
        assert_eq!(first.prev(), last);
        assert!(first.is_after(last) && last.is_before(first));
        assert!(!last.is_after(first) && !first.is_before(last));
        assert!(first.at_or_after(first) && first.at_or_before(first));
        assert!(!first.is_after(first) && !first.is_before(first));
        assert_eq!(first.distance_from(last), 1);
        assert_eq!(last.distance_from(first), u32::MAX);
    }

    #[test]
    fn half_the_space_away_is_neither_after_nor_before() {
        for base in [0, 7, 0x7FFF_FFFF, 0x8000_0000, u32::MAX] {
            let a = Sqn::new(base);
            let b = a.plus(1 << 31);
            assert!(!b.is_after(a) && !b.is_before(a));
            assert!(!b.at_or_after(a) && !b.at_or_before(a));
            assert!(b.prev().is_after(a));
            assert!(b.next().is_before(a));
        }
    }
}
