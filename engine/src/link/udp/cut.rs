//! How the room for the next datagrams is cut, so that packets that come joined into one land in frames of their own.
//!
//! ```text
//!   nothing joined lately    [ frame       ][ spill ]   [ frame       ][ spill ]   ...   one frame a datagram, whatever its size
//!   joined, 3 of 1400        [1400][1400][1400][ spill ]   ...                           one frame a packet
//! ```
//!
//! The kernel says how a datagram was joined only with the datagram, so that the last ones are the best guess. Where it is wrong, what
//! lies across frames or in the spill is copied once. Asked by `intake`; pure.

/// Octets that a joined datagram can have.
pub(super) const JOINED_MAX: usize = 65_536;
/// Packets of a joined datagram that get frames of their own; the kernel joins no more by itself, and lets up to 128 pass unsplit.
pub(super) const PIECES_MAX: usize = 64;
/// Calls without joined datagrams before none are expected: heartbeats between two bursts must not cost a copy of the second.
const PATIENCE: u32 = 16;

/// How the room of a datagram is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Octets of each piece.
    pub(super) piece: usize,
    /// Pieces in frames; behind them comes the spill.
    pub(super) pieces: usize,
}

impl Cut {
    /// Octets in frames.
    pub(super) fn covered(self) -> usize {
        self.piece * self.pieces
    }

    /// Whether each packet of a datagram, of `segment` octets but for the last, lies in a frame of its own or, all of it, behind them.
    pub(super) fn suits(self, octets: usize, segment: usize) -> bool {
        segment == self.piece || (octets <= segment && octets <= self.piece)
    }
}

/// What one socket is expected to bring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expectation {
    /// Octets of each packet of a joined datagram, and packets of it; none if `count` is zero.
    segment: usize,
    count: usize,
    /// Calls that brought something, but nothing joined.
    without: u32,
    /// The same two, of the call under way.
    seen_segment: usize,
    seen_count: usize,
}

impl Expectation {
    /// How to cut room into frames of `frame` octets.
    pub(super) fn cut(&self, frame: usize) -> Cut {
        if self.count == 0 || self.segment > frame {
            return Cut { piece: frame, pieces: 1 };
        }
        let whole = JOINED_MAX.div_ceil(self.segment);
        Cut { piece: self.segment, pieces: self.count.min(whole).min(PIECES_MAX) }
    }

    /// A datagram came.
    pub(super) fn saw(&mut self, octets: usize, segment: usize) {
        if octets > segment {
            self.seen_segment = segment;
            self.seen_count = self.seen_count.max(octets.div_ceil(segment));
        }
    }

    /// All datagrams of a call were seen.
    pub(super) fn settle(&mut self) {
        if self.seen_count == 0 {
            self.without = self.without.saturating_add(1);
            if self.without >= PATIENCE {
                self.count = 0;
            }
            return;
        }
        // Up at once, down by halves: a frame too many is only left over, one too few costs a copy.
        self.count = if self.seen_count >= self.count { self.seen_count } else { self.count.midpoint(self.seen_count) };
        self.segment = self.seen_segment;
        (self.without, self.seen_count) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 2048;

    fn call(expectation: &mut Expectation, datagrams: &[(usize, usize)]) -> Cut {
        for &(octets, segment) in datagrams {
            expectation.saw(octets, segment);
        }
        expectation.settle();
        expectation.cut(FRAME)
    }

    #[test]
    fn what_came_joined_is_expected_again_until_it_stayed_away_for_long() {
        let mut expectation = Expectation::default();
        let whole = Cut { piece: FRAME, pieces: 1 };
        assert_eq!(expectation.cut(FRAME), whole);
        assert_eq!(call(&mut expectation, &[(300, 300), (2000, 2000)]), whole);
        assert_eq!(call(&mut expectation, &[(300, 300), (250, 100), (100, 100)]), Cut { piece: 100, pieces: 3 });
        for _ in 1..PATIENCE {
            assert_eq!(call(&mut expectation, &[(48, 48)]), Cut { piece: 100, pieces: 3 });
        }
        assert_eq!(call(&mut expectation, &[(48, 48)]), whole);
    }

    #[test]
    fn more_packets_are_expected_at_once_and_fewer_by_and_by() {
        let mut expectation = Expectation::default();
        assert_eq!(call(&mut expectation, &[(6400, 100)]).pieces, 64);
        assert_eq!(call(&mut expectation, &[(200, 100)]).pieces, 33);
        assert_eq!(call(&mut expectation, &[(200, 100)]).pieces, 17);
        assert_eq!(call(&mut expectation, &[(5000, 100)]).pieces, 50);
    }

    #[test]
    fn no_cut_exceeds_what_a_datagram_or_a_frame_holds() {
        for segment in [1, 64, 1472, FRAME, FRAME + 1, 40_000, 65_535] {
            for count in [2, 44, 64, 128, 65_535] {
                let mut expectation = Expectation::default();
                let cut = call(&mut expectation, &[((segment * count).min(65_535), segment)]);
                assert!((1..=PIECES_MAX).contains(&cut.pieces) && (1..=FRAME).contains(&cut.piece), "{cut:?}");
                assert!(cut.covered() < JOINED_MAX + FRAME, "{cut:?}");
            }
        }
    }

    #[test]
    fn a_cut_suits_packets_of_its_size_and_single_ones_that_fit_a_piece() {
        let cut = Cut { piece: 100, pieces: 4 };
        for (octets, segment) in [(400, 100), (350, 100), (1000, 100), (100, 100), (7, 7), (7, 100)] {
            assert!(cut.suits(octets, segment), "{octets} {segment}");
        }
        for (octets, segment) in [(101, 101), (100, 50), (90, 50), (400, 200)] {
            assert!(!cut.suits(octets, segment), "{octets} {segment}");
        }
    }
}
