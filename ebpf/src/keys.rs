//! The keys of the maps, as `maps.h` lays them out: addresses and ports as on the wire.
//!
//! Used by the loader alone. Guards: one address and port has one key, and every octet of it is set.

use std::net::IpAddr;

/// `struct host`: a word of version in the processor's order, four of address.
pub(crate) type Host = [u8; 20];
/// `struct endpoint`: a host, its port, two octets of zero.
pub(crate) type Endpoint = [u8; 24];

/// Octets of the version, which prefixes always compare.
const VERSION: usize = 4;

pub(crate) fn host(address: IpAddr) -> Host {
    let mut key = [0; 20];
    let (version, at) = key.split_at_mut(VERSION);
    match address {
        IpAddr::V4(address) => {
            version.copy_from_slice(&4_u32.to_ne_bytes());
            at[..4].copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            version.copy_from_slice(&6_u32.to_ne_bytes());
            at.copy_from_slice(&address.octets());
        }
    }
    key
}

pub(crate) fn endpoint(address: IpAddr, port: u16) -> Endpoint {
    let mut key = [0; 24];
    key[..20].copy_from_slice(&host(address));
    key[20..22].copy_from_slice(&port.to_be_bytes());
    key
}

/// How many bits of a host's key a prefix of its address compares.
pub(crate) fn prefix_bits(bits: u8) -> u32 {
    8 * VERSION as u32 + u32::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn an_address_of_one_version_is_none_of_the_other() {
        let mapped: Ipv6Addr = "::ffff:239.0.0.1".parse().expect("an address");
        assert_ne!(endpoint([239, 0, 0, 1].into(), 7), endpoint(mapped.into(), 7));
    }

    #[test]
    fn address_and_port_stand_as_on_the_wire() {
        let key = endpoint([239, 1, 2, 3].into(), 0x1234);
        assert_eq!(key[4..8], [239, 1, 2, 3]);
        assert_eq!(key[8..20], [0; 12]);
        assert_eq!(key[20..], [0x12, 0x34, 0, 0]);
    }
}
