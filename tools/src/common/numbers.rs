//! Numbers as people write them: rates, sizes, seconds.
//!
//! Called by the parsers of arguments. Guards: what is read is in range, and what is refused is refused with an example.

use std::time::Duration;

use pgmx::link::Encapsulation;
use pgmx::protocol::source::Rate;

/// Octets of the largest message: what receivers take in by default.
pub(crate) const MESSAGE_MAX: u32 = 1 << 24;

/// Sizes of messages, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The shortest.
    pub(crate) min: u32,
    /// The longest.
    pub(crate) max: u32,
}

/// `BITS/S` with a suffix k, M or G; or `max`. In octets of IP.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    let octets = scaled(text).filter(|bits| (8.0..=8e12).contains(bits)).map(|bits| (bits / 8.0) as u64);
    octets
        .map(Rate::OctetsPerSecond)
        .ok_or_else(|| "a rate in bits of IP per second such as 500k, 40M or 1.5G, at least 8, or max".into())
}

/// A number per second, with a suffix k, M or G.
pub(crate) fn per_second(text: &str) -> Result<f64, String> {
    scaled(text)
        .filter(|number| (0.001..=1e9).contains(number))
        .ok_or_else(|| "messages per second such as 1000, 50k or 2.5M; 0.001 to 1G are possible".into())
}

/// A number of messages, with a suffix k, M or G.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    scaled(text)
        .filter(|number| (1.0..=1e15).contains(number) && number.fract() == 0.0)
        .map(|number| number as u64)
        .ok_or_else(|| "a number of messages such as 1000, 50k or 1M, at least 1".into())
}

/// `GROUPS` or `GROUPS,HOSTS`: UDP ports.
pub(crate) fn udp_ports(text: &str) -> Result<Encapsulation, String> {
    let (groups, hosts) = text.split_once(',').unwrap_or((text, text));
    let read = |port: &str| port.parse::<u16>().ok().filter(|port| *port != 0);
    match (read(groups), read(hosts)) {
        (Some(multicast_port), Some(unicast_port)) => Ok(Encapsulation::Udp { unicast_port, multicast_port }),
        _ => Err("a port such as 3056, or two such as 3056,3055; 1 to 65535 are possible".into()),
    }
}

/// A number of seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=1e7).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds such as 10 or 0.5".into())
}

/// `OCTETS` or `MIN-MAX`.
pub(crate) fn sizes(text: &str) -> Result<Sizes, String> {
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    let read = |text: &str| text.parse::<u32>().ok().filter(|octets| *octets <= MESSAGE_MAX);
    match (read(min), read(max)) {
        (Some(min), Some(max)) if min <= max => Ok(Sizes { min, max }),
        _ => Err(format!("octets of a message such as 64, or a range such as 16-1400; at most {MESSAGE_MAX}")),
    }
}

/// A number with a suffix k, M or G.
fn scaled(text: &str) -> Option<f64> {
    let (number, scale) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        b'G' => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    // Neither signs nor exponents, `inf` or `nan`.
    let is_plain = !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    is_plain.then(|| number.parse::<f64>().ok()).flatten().map(|number| number * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert_eq!(rate("8"), Ok(Rate::OctetsPerSecond(1)));
        assert_eq!(rate("1.5G"), Ok(Rate::OctetsPerSecond(187_500_000)));
        assert_eq!(per_second("2.5M"), Ok(2.5e6));
        assert_eq!(per_second("0.5"), Ok(0.5));
        assert_eq!(count("1M"), Ok(1_000_000));
        assert_eq!(count("20000"), Ok(20_000));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(sizes("64"), Ok(Sizes { min: 64, max: 64 }));
        assert_eq!(sizes("16-1400"), Ok(Sizes { min: 16, max: 1400 }));
        assert_eq!(udp_ports("3056"), Ok(Encapsulation::one_port(3056)));
        assert_eq!(udp_ports("3056,3055"), Ok(Encapsulation::UDP));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "k", "7", "-8", "1e9", "inf", "nan", "9999G", "MAX", "1 G"] {
            assert!(rate(text).is_err(), "{text}");
        }
        for text in ["0", "1.5", "-1", "1e6", "M", "many"] {
            assert!(count(text).is_err(), "{text}");
        }
        for text in ["0", "-1", "inf", "NaN", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        for text in ["", "-", "9-8", "16777217", "1-", "-5", "big"] {
            assert!(sizes(text).is_err(), "{text}");
        }
        for text in ["", "0", "3056,", ",3055", "3056,0", "65536", "3056,3055,3054"] {
            assert!(udp_ports(text).is_err(), "{text}");
        }
        assert!(per_second("0").is_err() && per_second("2G").is_err());
    }
}
