//! NAKs that only say again what the list before them said.
//!
//! Behind each NAK with a list, OpenPGM 5.3 sends another one for the first SQN of that list alone, at once. Where its two packets are
//! drawn apart, the second arrives when the repair has left already, and would bring the same repair again. No other receiver does so: a
//! receiver is known by the habit, and from then on the second NAK is dropped. Called by `nak` for each NAK that came by unicast. Guards: a
//! NAK is dropped only if it follows a list that was answered, within a time in which nobody who misses a repair asks again.

use core::net::IpAddr;

use crate::time::Time;
use crate::wire::Sqn;

/// Receivers watched at a time.
const WATCHED_MAX: usize = 16;
/// The habit is believed after so many lists in a row, and no longer after one without: by chance, a receiver whose first repair got lost
/// asks for it alone once in a while, but hardly ever three times running.
const BELIEVED: u8 = 3;
/// The second NAK comes within this: scheduling delays of the receiver's host, up to 3 ms seen; far below the 200 ms at which such
/// receivers repeat.
const WITHIN_NS: u64 = 5_000_000;
/// A list of this many SQNs is followed by none.
const FULL: usize = 63;

/// What is known of one receiver.
#[derive(Clone, Copy, Debug)]
struct Watched {
    from: IpAddr,
    /// The first SQN of its last list, and when that came, until its next NAK.
    list: Option<(Sqn, Time)>,
    /// Lists in a row that were echoed.
    streak: u8,
}

/// The receivers that sent lists.
#[derive(Debug)]
pub(super) struct Echoes {
    watched: [Option<Watched>; WATCHED_MAX],
    oldest: usize,
}

impl Echoes {
    pub(super) fn new() -> Self {
        Self { watched: [None; WATCHED_MAX], oldest: 0 }
    }

    /// A NAK for `sqns` SQNs, of which `first` stands in its header. Whether to drop it.
    pub(super) fn is_echo(&mut self, now: Time, from: IpAddr, first: Sqn, sqns: usize) -> bool {
        let known = self.watched.iter_mut().flatten().find(|one| one.from == from);
        if sqns > 1 {
            let list = (sqns < FULL).then_some((first, now));
            if let Some(one) = known {
                if one.list.is_some() {
                    // The list before had none.
                    one.streak = 0;
                }
                one.list = list;
            } else {
                self.watched[self.oldest] = Some(Watched { from, list, streak: 0 });
                self.oldest = (self.oldest + 1) % WATCHED_MAX;
            }
            return false;
        }
        let Some(one) = known else { return false };
        let Some((head, at)) = one.list.take() else { return false };
        if head != first || now.since(at) > WITHIN_NS {
            one.streak = 0;
            return false;
        }
        let believed = one.streak >= BELIEVED;
        one.streak = one.streak.saturating_add(1);
        believed
    }
}
