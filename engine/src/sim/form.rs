//! The form of a packet, checked octet by octet against RFC 3208 §8 and §9 and without a line of the codec under test.

use crate::wire::{Header, Kind, PacketType};

const END: u8 = 0x80;
const OPT_PRESENT: u8 = 0x01;
const OPT_NETWORK: u8 = 0x02;
const VAR_PKTLEN: u8 = 0x40;
const PARITY: u8 = 0x80;

/// Codes of the options that network elements look at. OPT_CURR_TGSIZE is one of them too, except on ODATA.
const NETWORK: [u8; 9] = [0x02, 0x04, 0x05, 0x07, 0x08, 0x0B, 0x0C, 0x10, 0x11];

/// Octets in front of the options.
fn fixed_len(packet: &[u8], header: &Header) -> usize {
    let nla = |at: usize| match packet[at + 1] {
        1 => 4 + 4,
        _ => 4 + 16,
    };
    match header.kind {
        Kind::Spm(_) => 16 + 12 + nla(28),
        Kind::Odata(_) | Kind::Rdata(_) | Kind::Polr(_) | Kind::Ack(_) => 24,
        Kind::Nak(_) | Kind::Nnak(_) | Kind::Ncf(_) => 20 + nla(20) + nla(20 + nla(20)),
        Kind::Spmr => 16,
        Kind::Poll(_) => 16 + 8 + nla(24) + 12,
    }
}

fn is_network_significant(kind: PacketType, code: u8) -> bool {
    NETWORK.contains(&code) || (code == 0x0A && kind != PacketType::Odata)
}

/// What a packet that was sent does wrong, if anything.
pub(super) fn fault(packet: &[u8], header: &Header) -> Option<&'static str> {
    let kind = header.packet_type();
    let flags = packet[5];
    if packet[4] & 0xf0 != 0 {
        return Some("version or reserved bits set");
    }
    if flags & !(OPT_PRESENT | OPT_NETWORK | VAR_PKTLEN | PARITY) != 0 || flags & (VAR_PKTLEN | PARITY) == VAR_PKTLEN {
        return Some("flags that do not exist or do not go together");
    }
    let checksum = u16::from_be_bytes([packet[6], packet[7]]);
    if checksum == 0 {
        return Some("no checksum");
    }
    if sum(packet) != 0xffff {
        return Some("wrong checksum");
    }
    let tsdu = usize::from(u16::from_be_bytes([packet[14], packet[15]]));
    if !kind.is_data() && tsdu != 0 {
        return Some("a payload length in a packet without payload");
    }
    let fixed = fixed_len(packet, header);
    if flags & OPT_PRESENT == 0 {
        if flags & OPT_NETWORK != 0 {
            return Some("network-significant options without options");
        }
        return (packet.len() != fixed + tsdu).then_some("a length that does not add up");
    }
    let options = &packet[fixed..packet.len() - tsdu];
    options_fault(options, kind, flags)
}

fn options_fault(options: &[u8], kind: PacketType, flags: u8) -> Option<&'static str> {
    if options.len() < 8 || options[0] != 0 || options[1] != 4 {
        return Some("options that do not begin with OPT_LENGTH");
    }
    if usize::from(u16::from_be_bytes([options[2], options[3]])) != options.len() {
        return Some("a total length of options that is not theirs");
    }
    let (mut at, mut count, mut ended, mut network_over, mut network) = (4, 0, false, false, false);
    while at < options.len() {
        if ended {
            return Some("an option behind the last");
        }
        let (code, len) = (options[at] & !END, usize::from(options[at + 1]));
        if len < 4 || at + len > options.len() {
            return Some("an option longer than its packet");
        }
        ended = options[at] & END != 0;
        if flags & PARITY == 0 && (options[at + 2] != 0 || options[at + 3] & 0x80 != 0) {
            return Some("reserved bits, F or U set in an option");
        }
        if is_network_significant(kind, code) {
            if network_over {
                return Some("a network-significant option behind one that is not");
            }
            network = true;
        } else {
            network_over = true;
        }
        count += 1;
        at += len;
    }
    if !ended {
        return Some("no OPT_END");
    }
    if count > 16 {
        return Some("more than 16 options");
    }
    (network != (flags & OPT_NETWORK != 0)).then_some("OPT_NETWORK does not tell the truth")
}

/// One's complement sum of 16-bit words.
fn sum(packet: &[u8]) -> u16 {
    let mut sum = 0_u32;
    let mut words = packet.chunks_exact(2);
    for word in &mut words {
        sum += u32::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        sum += u32::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
