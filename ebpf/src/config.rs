//! What the steering program is asked for.
//!
//! Filled in by the `xdp` link; checked here before anything is loaded. Guards: a program is never loaded with options that can match
//! nothing; the refusal names the field, the value and what is possible.

use std::net::IpAddr;

use crate::SteeringError;

/// UDP ports that the program has room for: two by practice, and two to spare while ports change.
pub const UDP_PORTS_MAX: usize = 4;

/// Prefixes that the allow-list has room for; `max_entries` of `sources` in `maps.h`.
pub const SOURCES_MAX: usize = 1024;

/// Octets of `struct options` in `maps.h`.
const OPTIONS: usize = 32;

/// Where the program may be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Attach {
    /// In the driver where it can; else behind it.
    #[default]
    NativeElseGeneric,
    /// In the driver or nowhere.
    Native,
    /// Behind the driver, without asking for better.
    Generic,
}

/// How many packets towards a source (NAK, NNAK, SPMR, POLR, ACK) one sender may have in a time slice. What is above is dropped: a
/// flood of NAKs costs the program's few instructions, and no worker's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamBudget {
    /// Packets in a slice; not 0.
    pub packets: u32,
    /// Milliseconds of a slice; not 0.
    pub per_ms: u32,
}

/// What the steering program is asked for.
#[derive(Clone, Debug)]
pub struct SteeringConfig {
    /// The interface's name, for people.
    pub interface: String,
    /// Its number.
    pub index: u32,
    /// Where the program may be attached.
    pub attach: Attach,
    /// Whether it takes the place of a program that is there.
    pub replace: bool,
    /// VLAN numbers, outermost first, at most two: a frame must carry exactly these. Tags of number 0 carry a priority only, and are
    /// looked through. A tag that the card or a virtual cable keeps beside the frame is not in it: have it left there (`ethtool -K IF
    /// rxvlan off`; on a veth pair `txvlan off` at the other end).
    pub vlans: Vec<u16>,
    /// PGM in UDP to these ports is steered; if there are none, PGM right behind IP is.
    pub udp_ports: Vec<u16>,
    /// Senders whose packets are steered, whatever their kind, by prefix; if there are none, everybody's are.
    pub sources: Vec<(IpAddr, u8)>,
    /// What one sender may send upstream; `None`: anything.
    pub upstream_budget: Option<UpstreamBudget>,
}

impl SteeringConfig {
    /// PGM right behind IP, without VLANs, from everybody, on this interface.
    pub fn new(interface: &str, index: u32) -> Self {
        Self {
            interface: interface.into(),
            index,
            attach: Attach::default(),
            replace: false,
            vlans: Vec::new(),
            udp_ports: Vec::new(),
            sources: Vec::new(),
            upstream_budget: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), SteeringError> {
        let wrong = |field, value, allowed: &str| Err(SteeringError::Config { field, value, allowed: allowed.into() });
        if self.vlans.len() > 2 || self.vlans.iter().any(|vlan| !(1..=4094).contains(vlan)) {
            return wrong("vlans", format!("{:?}", self.vlans), "up to two numbers from 1 to 4094, outermost first");
        }
        if self.udp_ports.len() > UDP_PORTS_MAX || self.udp_ports.contains(&0) {
            return wrong("udp_ports", format!("{:?}", self.udp_ports), "up to four numbers from 1 to 65535");
        }
        if self.sources.len() > SOURCES_MAX {
            return wrong("sources", format!("{} prefixes", self.sources.len()), "up to 1024 prefixes");
        }
        if let Some((address, bits)) = self.sources.iter().find(|(address, bits)| *bits > width(*address)) {
            return wrong("sources", format!("{address}/{bits}"), "a prefix no longer than the address");
        }
        match self.upstream_budget {
            Some(UpstreamBudget { packets, per_ms }) if packets == 0 || per_ms == 0 => {
                wrong("upstream_budget", format!("{packets} packets per {per_ms} ms"), "both at least 1")
            }
            _ => Ok(()),
        }
    }

    /// `struct options` in `maps.h`.
    pub(crate) fn options(&self) -> [u8; OPTIONS] {
        let budget = self.upstream_budget.unwrap_or(UpstreamBudget { packets: 0, per_ms: 0 });
        let vlans = self.vlans.iter().fold(0, |word, vlan| word << 12 | u32::from(*vlan));
        let mut options = [0; OPTIONS];
        options[0..8].copy_from_slice(&(u64::from(budget.per_ms) * 1_000_000).to_ne_bytes());
        options[8..12].copy_from_slice(&budget.packets.to_ne_bytes());
        options[12..16].copy_from_slice(&vlans.to_ne_bytes());
        for (to, port) in options[16..24].chunks_exact_mut(2).zip(&self.udp_ports) {
            to.copy_from_slice(&port.to_be_bytes());
        }
        options[24..28].copy_from_slice(&u32::from(!self.sources.is_empty()).to_ne_bytes());
        options
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut SteeringConfig)) -> String {
        let mut config = SteeringConfig::new("eth0", 2);
        change(&mut config);
        config.check().expect_err("cannot work").to_string()
    }

    #[test]
    fn options_that_can_match_nothing_are_refused_by_name_with_what_is_possible() {
        let vlans = "allowed is up to two numbers from 1 to 4094, outermost first";
        assert_eq!(refused(|config| config.vlans = vec![0]), format!("vlans = [0] refused: {vlans}"));
        assert_eq!(refused(|config| config.vlans = vec![4095]), format!("vlans = [4095] refused: {vlans}"));
        assert_eq!(refused(|config| config.vlans = vec![1, 2, 3]), format!("vlans = [1, 2, 3] refused: {vlans}"));
        assert!(refused(|config| config.udp_ports = vec![0]).starts_with("udp_ports = [0] refused"));
        assert!(refused(|config| config.udp_ports = vec![1; 5]).contains("up to four"));
        let long = refused(|config| config.sources = vec![([10, 0, 0, 1].into(), 33)]);
        assert_eq!(long, "sources = 10.0.0.1/33 refused: allowed is a prefix no longer than the address");
        assert!(refused(|config| config.sources = vec![([10, 0, 0, 1].into(), 32); 1025]).contains("1024"));
        let none = UpstreamBudget { packets: 0, per_ms: 1 };
        assert!(refused(|config| config.upstream_budget = Some(none)).contains("0 packets per 1 ms"));
    }

    #[test]
    fn every_set_of_vlans_has_a_word_of_its_own() {
        let word = |vlans: &[u16]| {
            let options = SteeringConfig { vlans: vlans.into(), ..SteeringConfig::new("eth0", 2) }.options();
            u32::from_ne_bytes([options[12], options[13], options[14], options[15]])
        };
        assert_eq!([word(&[]), word(&[7]), word(&[4094]), word(&[1, 7])], [0, 7, 4094, 0x1007]);
    }

    #[test]
    fn what_is_not_asked_for_is_zero() {
        assert_eq!(SteeringConfig::new("eth0", 2).options(), [0; OPTIONS]);
    }
}
