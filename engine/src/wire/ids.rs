//! Who is speaking: the Global Source ID and the Transport Session ID.
//!
//! Used by everybody above `wire`. Guards: a TSI is always GSI plus *data-source* port, whatever the direction of the
//! packet it was read from (the parser resolves that).

#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;

/// Global Source ID: six octets that name a source host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Gsi([u8; 6]);

impl Gsi {
    /// The GSI with these octets on the wire.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The octets on the wire.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The GSI that the RFC recommends for a host of this DNS name.
    ///
    /// ```
    /// assert_eq!(pgmx::wire::Gsi::from_host_name("pgm.example.com").to_string(), "52aaa6aecb1a");
    /// ```
    pub fn from_host_name(name: &str) -> Self {
        // RFC 3208 §8, conformance 13: the low-order 48 bits of the MD5 of the DNS name, that is, its last six octets.
        let [.., a, b, c, d, e, f] = super::md5::digest(name.as_bytes());
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for Gsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Gsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a GSI or a TSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct ParseIdError {
    expected: &'static str,
}

impl FromStr for Gsi {
    type Err = ParseIdError;

    /// Twelve hexadecimal digits; one dot, colon or dash between any two octets is allowed.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong =
            ParseIdError { expected: "a GSI of twelve hexadecimal digits, such as 52aaa6aecb1a or 52aaa6.aecb1a" };
        let mut octets = [0u8; 6];
        let mut rest = text;
        for (index, octet) in octets.iter_mut().enumerate() {
            if index > 0 {
                rest = rest.strip_prefix(['.', ':', '-']).unwrap_or(rest);
            }
            let (digits, tail) = rest.split_at_checked(2).ok_or(wrong)?;
            // `from_str_radix` would accept a sign.
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong);
            }
            *octet = u8::from_str_radix(digits, 16).map_err(|_| wrong)?;
            rest = tail;
        }
        if rest.is_empty() { Ok(Self(octets)) } else { Err(wrong) }
    }
}

/// Transport Session ID: the name of one session in the whole network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tsi {
    /// The source host.
    pub gsi: Gsi,
    /// The data-source port, unique in that host.
    pub port: u16,
}

impl Tsi {
    /// The session of this source host and data-source port.
    pub const fn new(gsi: Gsi, port: u16) -> Self {
        Self { gsi, port }
    }

    /// The whole TSI in one word, to be compared: different for different TSIs, and without further meaning.
    #[inline]
    pub const fn key(self) -> u64 {
        let [a, b, c, d, e, f] = self.gsi.0;
        let [g, h] = self.port.to_be_bytes();
        u64::from_le_bytes([g, h, a, b, c, d, e, f])
    }
}

impl fmt::Display for Tsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.gsi, self.port)
    }
}

impl fmt::Debug for Tsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Tsi {
    type Err = ParseIdError;

    /// A GSI, a dot, and the port in decimal.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = ParseIdError { expected: "a TSI, such as 52aaa6aecb1a.12345" };
        let (gsi, port) = text.rsplit_once('.').ok_or(wrong)?;
        Ok(Self { gsi: gsi.parse().map_err(|_| wrong)?, port: port.parse().map_err(|_| wrong)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3208 §8, conformance 13
    #[test]
    fn the_default_gsi_is_the_last_six_octets_of_the_md5_of_the_host_name() {
        let gsi = Gsi::from_host_name("pgm.example.com");
        assert_eq!(gsi.octets(), [0x52, 0xaa, 0xa6, 0xae, 0xcb, 0x1a]);
    }

    #[test]
    fn two_tsis_have_one_key_only_if_they_are_one() {
        let tsi = Tsi::new(Gsi::new([1, 2, 3, 4, 5, 6]), 0x0708);
        for octet in 0..6 {
            let mut octets = tsi.gsi.octets();
            octets[octet] ^= 0x80;
            assert_ne!(Tsi::new(Gsi::new(octets), tsi.port).key(), tsi.key());
        }
        for bit in 0..16 {
            assert_ne!(Tsi::new(tsi.gsi, tsi.port ^ 1 << bit).key(), tsi.key());
        }
        assert_eq!(Tsi::new(tsi.gsi, tsi.port).key(), tsi.key());
    }

    #[test]
    fn a_tsi_survives_the_way_through_text() {
        let tsi = Tsi::new(Gsi::new([0x52, 0xaa, 0xa6, 0xae, 0xcb, 0x1a]), 12345);
        assert_eq!(tsi.to_string(), "52aaa6aecb1a.12345");
        assert_eq!("52aaa6aecb1a.12345".parse(), Ok(tsi));
        assert_eq!("52aaa6.aecb1a".parse(), Ok(tsi.gsi));
        assert_eq!("52:aa:a6:ae:cb:1a".parse(), Ok(tsi.gsi));
    }

    #[test]
    fn a_text_that_is_no_id_is_refused() {
        for text in
            ["", "52aaa6aecb1", "52aaa6aecb1a0", "+2aaa6aecb1a", "zzaaa6aecb1a", "52aaa6aecb1é", "52..aaa6aecb1a"]
        {
            assert!(text.parse::<Gsi>().is_err(), "{text:?}");
        }
        for text in ["52aaa6aecb1a", "52aaa6aecb1a.65536", "52aaa6aecb1a.", ".1"] {
            assert!(text.parse::<Tsi>().is_err(), "{text:?}");
        }
    }
}
