//! Tests of the whole codec: known packets, round trips, broken packets.

mod format;
mod golden;
mod known;
mod model;
mod mutation;
mod peers;
mod rejects;
mod roundtrip;

use crate::wire;

use core::net::{IpAddr, Ipv4Addr};

use wire::build::Session;
use wire::{Gsi, Header, Limits, Reject, Sqn, Tsi, checksum, parse};

/// The session of the known packets.
const SESSION: Session =
    Session { tsi: Tsi::new(Gsi::new([0x52, 0xaa, 0xa6, 0xae, 0xcb, 0x1a]), 12345), data_port: 7500 };
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 192, 0, 1));
const RECEIVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99));
const REPAIRER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 50));

fn s(value: u32) -> Sqn {
    Sqn::new(value)
}

fn read(packet: &[u8]) -> Result<Header, Reject> {
    parse(packet, &Limits::default())
}

/// Makes the checksum of a changed packet right again, so that a deeper rule is reached.
fn repair(packet: &mut [u8]) {
    if packet.len() >= 8 {
        packet[6..8].fill(0);
        let checksum = checksum::sum(packet).finish();
        packet[6..8].copy_from_slice(&checksum.to_be_bytes());
    }
}
