//! A batch of records: several small messages in one TSDU, each with its length in front.
//!
//! ```text
//!   | length 16 | octets ... | length 16 | octets ... | ...
//! ```
//!
//! Written by publishers that batch, read by whoever hands messages to an application. Guards: a length that leads beyond the end of the
//! payload ends the batch and is told; nothing of such a record is handed on.

/// Octets in front of each record.
pub const RECORD_HEADER_LEN: usize = 2;

/// The records of a payload, in order.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    is_cut: bool,
}

impl<'a> Records<'a> {
    /// Reads a payload.
    #[inline]
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, is_cut: false }
    }

    /// Whether the batch ended in the middle of a record. Known once the iterator has ended.
    #[inline]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Octets not read yet.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.rest.split_first_chunk().and_then(|(len, rest)| {
            let len = usize::from(u16::from_be_bytes(*len));
            rest.split_at_checked(len)
        });
        if let Some((record, rest)) = record {
            self.rest = rest;
            return Some(record);
        }
        self.is_cut = true;
        self.rest = &[];
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_were_written_and_an_empty_one_is_one() {
        let mut records = Records::new(&[0, 2, b'a', b'b', 0, 0, 0, 1, b'c']);
        assert_eq!(records.by_ref().collect::<Vec<_>>(), [&b"ab"[..], b"", b"c"]);
        assert!(!records.is_cut());
    }

    #[test]
    fn a_length_beyond_the_end_ends_the_batch() {
        for payload in [&[0, 1, b'a', 0][..], &[0, 1, b'a', 0, 2, b'b'], &[0, 1, b'a', 255, 255]] {
            let mut records = Records::new(payload);
            assert_eq!(records.by_ref().collect::<Vec<_>>(), [b"a"]);
            assert!(records.is_cut());
        }
    }
}
