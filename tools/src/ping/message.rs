//! What ping sends and pong sends back: a number, whose it is, and octets that fill it up.
//!
//! ```text
//!   0        8        16
//!   | number | course | pattern ...        both numbers little-endian
//! ```
//!
//! Guards: an answer is counted only if it is octet for octet what was asked, by this course.

use pgmx::endpoint::MessageView;

/// Octets of the numbers in front.
pub(crate) const HEAD: usize = 16;
/// The number of a ping that only asks whether somebody answers.
pub(crate) const HELLO: u64 = u64::MAX;

/// The messages of one course.
#[derive(Debug)]
pub(crate) struct Form {
    octets: Vec<u8>,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// The answer to the ping of this number.
    Answer(u64),
    /// An answer of this course that is not what was asked.
    Corrupt,
    /// Something of somebody else.
    Stranger,
}

impl Form {
    /// Messages of `len` octets, at least [`HEAD`].
    pub(crate) fn new(len: usize, course: u64) -> Self {
        let mut octets: Vec<u8> = (0..len.max(HEAD)).map(|n| (n as u8).wrapping_mul(37) ^ 0x5a).collect();
        octets[8..HEAD].copy_from_slice(&course.to_le_bytes());
        Self { octets }
    }

    /// The ping of this number.
    #[inline]
    pub(crate) fn ping(&mut self, number: u64) -> &[u8] {
        self.octets[..8].copy_from_slice(&number.to_le_bytes());
        &self.octets
    }

    /// What a message is to this course.
    #[inline]
    pub(crate) fn read(&self, message: &MessageView<'_>) -> Came {
        match message.as_slice() {
            Some(octets) => self.judge(octets),
            None => self.judge(&message.to_vec()),
        }
    }

    #[inline]
    fn judge(&self, octets: &[u8]) -> Came {
        let (Some(number), Some(course)) = (octets.first_chunk(), octets.get(8..HEAD)) else { return Came::Stranger };
        if course != &self.octets[8..HEAD] {
            return Came::Stranger;
        }
        if octets[HEAD..] == self.octets[HEAD..] { Came::Answer(u64::from_le_bytes(*number)) } else { Came::Corrupt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_is_an_answer() {
        let mut form = Form::new(64, 7);
        let asked = form.ping(3).to_vec();
        assert_eq!(form.judge(&asked), Came::Answer(3));
        let mut damaged = asked.clone();
        damaged[40] ^= 1;
        assert_eq!(form.judge(&damaged), Came::Corrupt);
        assert_eq!(form.judge(&asked[..63]), Came::Corrupt);
        assert_eq!(form.judge(&asked[..15]), Came::Stranger);
        assert_eq!(form.judge(Form::new(64, 8).ping(3)), Came::Stranger);
    }
}
