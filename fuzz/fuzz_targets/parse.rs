//! The parser against any bytes: no panic, nothing outside the packet, and what was read means the same when it is built
//! again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgmx::wire::{self, Limits, net, parse};

#[path = "../../engine/src/wire/tests/model.rs"]
mod model;

use model::Packet;

fuzz_target!(|bytes: &[u8]| {
    network(bytes);
    packet(bytes);
    // Behind the checksum the other rules are hard to find by chance: look there with a right one as well.
    let mut repaired = bytes.to_vec();
    if let Some(field) = repaired.get_mut(6..8) {
        field.fill(0);
        let checksum = wire::checksum::sum(&repaired).finish();
        repaired[6..8].copy_from_slice(&checksum.to_be_bytes());
        packet(&repaired);
    }
});

fn network(bytes: &[u8]) {
    for header in [net::parse_frame(bytes), net::parse_ip(bytes)].into_iter().flatten() {
        assert_eq!(header.payload(bytes).len(), header.payload_len as usize);
        if let Ok(udp) = net::parse_udp(bytes, &header) {
            assert_eq!(udp.payload(bytes).len(), udp.payload_len as usize);
        }
    }
}

fn packet(bytes: &[u8]) {
    let limits = Limits::default();
    let Ok(header) = parse(bytes, &limits) else { return };
    assert_eq!(header.payload(bytes).len(), header.payload_len as usize);
    // A header beside other bytes than its own gives nothing, but does not panic.
    Packet::read(&header, &bytes[..bytes.len() / 2]);

    let said = Packet::read(&header, bytes);
    // Not everything that may be received may be sent: NAK lists out of order, for one.
    if let Ok(again) = said.build() {
        let header = parse(&again, &limits).expect("what we build, we read");
        assert_eq!(Packet::read(&header, &again), said);
    }
}
