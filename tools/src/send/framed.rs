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
    use super::*;

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
