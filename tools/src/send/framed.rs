//! `--framing zmq`: messages become the stream of a ZeroMQ PUB.
//!
//! Between a [`Feed`] and the publisher. One step fills one packet, in place, with as many messages as are due and fit: under load they
//! share packets; one that is alone leaves alone, at once. Guards: a message that was cut by the end of a packet goes on in the next one
//! before any other begins, as it was, however long the window is full in between.

use std::os::fd::BorrowedFd;

use pgmx::framing::zmq::{Encoder, HEAD_MAX, OFFSET_LEN};
use pgmx::time::Time;

use super::feed::{Feed, Next, Offer, Step, refused};
use crate::common::drive::Publish;
use crate::common::failure::Failure;

/// The message that is being published.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    len: usize,
    /// When its first octet was.
    published_ns: u64,
    /// Its parts that are.
    parts: usize,
}

/// A feed's messages, framed.
pub(super) struct Framed {
    feed: Feed,
    encoder: Encoder,
    /// Octets of a packet, at most.
    tsdu_max: usize,
    /// Parts that each message is cut into.
    parts: usize,
    under_way: Option<UnderWay>,
}

impl Framed {
    /// Messages of `parts` parts each, in packets of up to `tsdu_max` octets.
    pub(super) fn new(feed: Feed, parts: usize, tsdu_max: usize) -> Self {
        Self { feed, encoder: Encoder::new(), tsdu_max, parts, under_way: None }
    }
}

impl Offer for Framed {
    #[inline]
    fn publish(&mut self, wall_ns: u64, due: u64, to: &mut impl Publish) -> Result<Step, Failure> {
        let Self { feed, encoder, tsdu_max, parts, under_way } = self;
        let room = to.claim_max().min(*tsdu_max);
        // With which a packet is full.
        let block = room.saturating_sub(OFFSET_LEN + HEAD_MAX).max(1);
        let begin = |feed: &mut Feed| {
            let begun = |len| UnderWay { len, published_ns: wall_ns, parts: 0 };
            feed.next(block).map(|next| if let Next::Message(len) = next { Ok(begun(len)) } else { Err(next) })
        };
        if under_way.is_none() {
            // Nothing is claimed for nothing.
            match begin(feed)? {
                Ok(begun) => *under_way = Some(begun),
                Err(Next::Ended) => return Ok(Step::Ended),
                Err(_) => return Ok(Step::Empty),
            }
        }
        let (mut messages, mut octets) = (0, 0);
        let mut failure = None;
        let published = to.publish_packet(room, |room| {
            let mut tsdu = encoder.tsdu(room);
            while let Some(message) = under_way {
                let UnderWay { len, published_ns, .. } = *message;
                while message.parts < *parts {
                    let [from, end] = [0, 1].map(|n| part_begin(len, message.parts + n, *parts));
                    let write = |at, room: &mut [u8]| feed.fill(published_ns, len, from + at, room);
                    if !tsdu.part_in_place(end - from, message.parts + 1 < *parts, write) {
                        return tsdu.finish();
                    }
                    message.parts += 1;
                }
                feed.advance();
                messages += 1;
                octets += len;
                let more = messages < due && !tsdu.is_full();
                *under_way = match if more { begin(feed) } else { Ok(Err(Next::Empty)) } {
                    Ok(next) => next.ok(),
                    Err(failed) => {
                        failure = Some(failed);
                        None
                    }
                };
            }
            tsdu.finish()
        });
        match (failure, published) {
            (Some(failure), _) => Err(failure),
            (None, Ok(())) => Ok(Step::Published { messages, octets }),
            (None, Err(error)) => refused(error),
        }
    }

    #[inline]
    fn look(&mut self, now: Time, slept: bool) -> Result<(), Failure> {
        self.feed.look(now, slept)
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.feed.wake()
    }

    #[inline]
    fn is_midway(&self) -> bool {
        self.encoder.is_midway()
    }
}

/// Where part `n` of `parts` begins in a message of `len` octets: they are of nearly equal length.
#[inline]
fn part_begin(len: usize, n: usize, parts: usize) -> usize {
    (len as u64 * n as u64 / parts as u64) as usize
}

#[cfg(test)]
mod tests {
    use pgmx::frame::ClaimError;
    use pgmx::framing::zmq::Decoder;
    use pgmx::wire::{Gsi, Sqn, Tsi};

    use super::*;
    use crate::common::generate::{Checker, Generator};
    use crate::common::numbers::Sizes;

    /// Keeps what is published, as long as there is room.
    #[derive(Default)]
    struct Tape {
        tsdus: Vec<Vec<u8>>,
        free: u64,
    }

    impl Publish for Tape {
        fn publish(&mut self, _: &[u8]) -> Result<(), ClaimError> {
            unreachable!("packet by packet")
        }
        fn publish_in_place(&mut self, _: usize, _: impl FnMut(usize, &mut [u8])) -> Result<(), ClaimError> {
            unreachable!("packet by packet")
        }
        fn publish_packet(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Result<(), ClaimError> {
            self.free = self.free.checked_sub(1).ok_or(ClaimError::Full)?;
            let mut tsdu = vec![0; len];
            let used = write(&mut tsdu);
            tsdu.truncate(used);
            self.tsdus.push(tsdu);
            Ok(())
        }
        fn next_sqn(&self) -> Sqn {
            Sqn::new(self.tsdus.len() as u32)
        }
        fn claim_max(&self) -> usize {
            1000
        }
    }

    fn generated(min: u32, max: u32, parts: usize) -> Framed {
        Framed::new(Feed::Generated(Generator::new(Sizes { min, max })), parts, 205)
    }

    #[test]
    fn messages_share_packets_as_far_as_they_are_due() {
        let mut framed = generated(20, 20, 1);
        let mut tape = Tape { free: 100, ..Tape::default() };
        // 9 of 22 octets go whole into 205, behind the offset, and 5 of the tenth.
        let steps = [3, 1, 100].map(|due| framed.publish(1, due, &mut tape).expect("no file"));
        assert_eq!(steps, [3, 1, 9].map(|messages: u64| Step::Published { messages, octets: 20 * messages as usize }));
        let lens: Vec<usize> = tape.tsdus.iter().map(Vec::len).collect();
        assert_eq!(lens, [2 + 66, 2 + 22, 205]);
        // The tenth was begun, and is brought to its end though only one is due.
        assert!(framed.is_midway());
        assert_eq!(framed.publish(1, 1, &mut tape), Ok(Step::Published { messages: 1, octets: 20 }));
        assert!(!framed.is_midway());
        assert_eq!(tape.tsdus[3].len(), 2 + 22 - 5);
    }

    #[test]
    fn a_message_goes_on_as_it_was_however_often_the_window_is_full_in_between() {
        for parts in [1, 3, 50] {
            let mut framed = generated(0, 3000, parts);
            let mut tape = Tape::default();
            let (mut messages, mut wall_ns, mut refused) = (0, 1_000_000, 0);
            while messages < 100 || framed.is_midway() {
                wall_ns += 1000;
                tape.free = wall_ns / 1000 % 3;
                for _ in 0..2 {
                    match framed.publish(wall_ns, 100, &mut tape).expect("no file") {
                        Step::Published { messages: more, .. } => messages += more,
                        step => {
                            assert_eq!(step, Step::Full);
                            refused += 1;
                        }
                    }
                }
            }
            let (mut decoder, mut checker) = (Decoder::new(), Checker::new());
            for tsdu in &tape.tsdus {
                let taken = decoder.take(tsdu, |message| {
                    assert_eq!(message.parts().len(), parts);
                    let chunks = message.parts().map(|part| part.octets);
                    checker.check(Tsi::new(Gsi::new([1; 6]), 1), message.len(), chunks, wall_ns);
                });
                assert_eq!(taken, Ok(()));
            }
            assert_eq!((checker.delivered, checker.corrupt, checker.lost), (messages, 0, 0));
            assert!(refused > 100, "the window was full now and then");
        }
    }

    #[test]
    fn parts_are_of_nearly_equal_length_and_make_up_the_message() {
        for (len, parts) in [(0, 3), (2, 3), (10, 1), (10, 3), (10, 10), (1 << 24, 100)] {
            let begins: Vec<usize> = (0..=parts).map(|n| part_begin(len, n, parts)).collect();
            assert_eq!((begins[0], begins[parts]), (0, len));
            let lens: Vec<usize> = begins.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, most) = (lens.iter().min(), lens.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{lens:?}");
        }
    }
}
