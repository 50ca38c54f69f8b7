//! Puts fields into a slice, one after the other, and keeps the books of the options.
//!
//! Called by the builders of control packets and of data packets with options. Guards: nothing is written outside the
//! slice; `OPT_LENGTH`, `OPT_END` and the two option flags always agree with the options that were put.

#![forbid(unsafe_code)]

use core::net::IpAddr;

use super::{BuildError, Session};
use crate::wire::checksum;
use crate::wire::header::{Flags, HEADER_LEN, PacketType};
use crate::wire::options::{END, MAX_OPTIONS, OPTION_HEADER_LEN, code};
use crate::wire::sqn::Sqn;

/// Whether an option matters to network elements.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Significance {
    Network,
    Receiver,
}

pub(super) struct Writer<'a> {
    buf: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Starts at octet `at` of `buf`.
    pub(super) fn new(buf: &'a mut [u8], at: usize) -> Self {
        Self { buf, at }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        let field = self.buf.get_mut(self.at..).and_then(|rest| rest.get_mut(..bytes.len()));
        field.ok_or(BuildError::BufferTooSmall)?.copy_from_slice(bytes);
        self.at += bytes.len();
        Ok(())
    }

    pub(super) fn u16(&mut self, value: u16) -> Result<(), BuildError> {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> Result<(), BuildError> {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn sqn(&mut self, sqn: Sqn) -> Result<(), BuildError> {
        self.u32(sqn.get())
    }

    /// Address family, the two octets after it, and the address.
    pub(super) fn nla(&mut self, address: IpAddr, second: u16) -> Result<(), BuildError> {
        // RFC 3208 §8, conformance 18: AFI 1 for IPv4, 2 for IPv6.
        self.u16(if address.is_ipv4() { 1 } else { 2 })?;
        self.u16(second)?;
        self.address(address)
    }

    pub(super) fn address(&mut self, address: IpAddr) -> Result<(), BuildError> {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    /// Starts the options; nothing is written before the first one.
    pub(super) fn options(self) -> OptionWriter<'a> {
        OptionWriter {
            start: self.at,
            writer: self,
            last: None,
            count: 0,
            least: Significance::Network,
            flags: Flags::NONE,
        }
    }
}

pub(super) struct OptionWriter<'a> {
    writer: Writer<'a>,
    /// Where `OPT_LENGTH` stands, if there is any option.
    start: usize,
    /// Where the last option starts.
    last: Option<usize>,
    count: usize,
    least: Significance,
    flags: Flags,
}

impl OptionWriter<'_> {
    /// Puts one option. `body_len` octets follow its header, put by `body`. `reserved` and `specific` are the third and
    /// fourth octet of the header.
    pub(super) fn put(
        &mut self,
        code: u8,
        significance: Significance,
        [reserved, specific]: [u8; 2],
        body: impl FnOnce(&mut Writer<'_>) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        // RFC 3208 §9.1, conformance 22: what matters to network elements comes first, so that they can stop there.
        debug_assert!(self.least <= significance, "option {code:#04x} after one of less significance");
        // RFC 3208 §9.1, conformance 23: no builder has more than 11 options to put.
        self.count += 1;
        debug_assert!(self.count <= MAX_OPTIONS);
        self.least = significance;

        let writer = &mut self.writer;
        if self.last.is_none() {
            // RFC 3208 §9.1, conformance 20: OPT_LENGTH first; the total is filled in at the end.
            writer.bytes(&[code::LENGTH, OPTION_HEADER_LEN as u8, 0, 0])?;
            self.flags = self.flags | Flags::OPT_PRESENT;
        }
        // RFC 3208 §8, conformance 4: OPT_NETWORK when any option matters to network elements.
        if significance == Significance::Network {
            self.flags = self.flags | Flags::OPT_NETWORK;
        }
        let start = writer.at;
        self.last = Some(start);
        writer.bytes(&[code, 0, reserved, specific])?;
        body(writer)?;
        let len = writer.at - start;
        writer.buf[start + 1] = u8::try_from(len).map_err(|_| BuildError::FieldOverflow { what: "an option" })?;
        Ok(())
    }

    /// An option that is its header alone.
    pub(super) fn mark(&mut self, code: u8, significance: Significance, specific: u8) -> Result<(), BuildError> {
        self.put(code, significance, [0, specific], |_| Ok(()))
    }

    /// Closes the options. Gives the flags they call for, and the octet after them.
    pub(super) fn close(&mut self) -> (Flags, usize) {
        if let Some(last) = self.last {
            // RFC 3208 §9.1, conformance 21: OPT_END on the last option alone.
            self.writer.buf[last] |= END;
            let total = ((self.writer.at - self.start) as u16).to_be_bytes();
            self.writer.buf[self.start + 2..self.start + 4].copy_from_slice(&total);
        }
        (self.flags, self.writer.at)
    }

    /// Closes a control packet: common header, flags, checksum. Gives its length.
    pub(super) fn finish(mut self, packet: PacketType, session: &Session, flags: Flags) -> Result<usize, BuildError> {
        let (option_flags, len) = self.close();
        let head = self.writer.buf.first_chunk_mut::<HEADER_LEN>().ok_or(BuildError::BufferTooSmall)?;
        // RFC 3208 §8.3, conformance 11, 12: upstream packets carry the session's ports the other way round.
        let (source, destination) = if packet.is_upstream() {
            (session.data_port, session.tsi.port)
        } else {
            (session.tsi.port, session.data_port)
        };
        head[0..2].copy_from_slice(&source.to_be_bytes());
        head[2..4].copy_from_slice(&destination.to_be_bytes());
        // RFC 3208 §8, conformance 2: the code alone, version and reserved bits zero.
        head[4] = packet.code();
        head[5] = (flags | option_flags).bits();
        head[6..8].fill(0);
        head[8..14].copy_from_slice(&session.tsi.gsi.octets());
        // RFC 3208 §8, conformance 10: no TSDU in a control packet.
        head[14..16].fill(0);
        let checksum = checksum::sum(&self.writer.buf[..len]).finish();
        self.writer.buf[6..8].copy_from_slice(&checksum.to_be_bytes());
        Ok(len)
    }
}
