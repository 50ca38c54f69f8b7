//! What the generator sends: the template of a session's data, and its SPMs.
//!
//! Called by whoever feeds. Guards: what is sent is what a source would send, octet by octet, but for the numbers that the generator's
//! program writes.

use std::net::Ipv4Addr;

use pgmx::wire::build::{Content, DataTemplate, DataType, Session, SpmOptions, spm};
use pgmx::wire::net::{Envelope, EnvelopeConfig, LinkLayer, Transport, Vlans, multicast_mac};
use pgmx::wire::{Gsi, Spm, Sqn, Tsi, checksum};

use super::words;

/// Octets in front of a payload: Ethernet, IPv4, PGM.
pub const HEADERS: usize = 14 + 20 + 24;
/// Octets of a frame that are on the wire and not in it: its checksum, its preamble and the gap behind it.
pub const AROUND: usize = 24;
/// The largest payload of a frame.
pub const PAYLOAD_MAX: usize = 1500 - 20 - 24;
/// An SPM and the headers in front of it.
const SPM_MAX: usize = 128;

/// Who sends, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Speaker {
    /// Hardware address of the interface that packets leave by.
    pub mac: [u8; 6],
    /// Its address.
    pub address: Ipv4Addr,
    /// The group.
    pub group: Ipv4Addr,
    /// The session's data port; its source port is one less.
    pub data_port: u16,
}

impl Speaker {
    fn session(&self) -> Session {
        let tsi = Tsi { gsi: Gsi::from_host_name("generator"), port: self.data_port.wrapping_sub(1) };
        Session { tsi, data_port: self.data_port }
    }

    fn envelope(&self, router_alert: bool) -> Result<Envelope, String> {
        let destination = multicast_mac(self.group.into());
        let link = Some(LinkLayer { source: self.mac, destination, vlans: Vlans::NONE });
        let config = EnvelopeConfig {
            link,
            source: self.address.into(),
            destination: self.group.into(),
            ttl: 16,
            tos: 0,
            router_alert,
            transport: Transport::Pgm,
        };
        Envelope::new(&config).map_err(words("the headers of a packet"))
    }

    /// A data packet with so many octets of payload.
    ///
    /// # Errors
    /// If that is more than a frame holds.
    pub fn data(&self, payload: usize) -> Result<Vec<u8>, String> {
        if payload == 0 || payload > PAYLOAD_MAX {
            return Err(format!("a payload of {payload} octets refused: 1 to {PAYLOAD_MAX}"));
        }
        let mut frame = vec![0x5a; HEADERS + payload];
        let sum = checksum::sum(&frame[HEADERS..]);
        let envelope = self.envelope(false)?;
        let (front, rest) = frame.split_at_mut(envelope.header_len());
        envelope.write(front, rest.len()).map_err(words("the headers of a packet"))?;
        let head = rest.first_chunk_mut().ok_or("a packet without room for its header")?;
        let (zero, template) = (Sqn::new(0), DataTemplate::new(&self.session()));
        template.plain(head, DataType::Odata, Content::Original, zero, zero, payload as u16, sum);
        Ok(frame)
    }

    /// The SPM of this number, when so many packets were sent of which `window` are kept.
    ///
    /// # Errors
    /// Never, as long as an SPM is as short as it is.
    pub fn spm(&self, number: u32, sent: u64, window: u32) -> Result<Vec<u8>, String> {
        let lead = Sqn::new((sent as u32).wrapping_sub(1));
        let trail = Sqn::new(if sent < u64::from(window) { 0 } else { (sent as u32).wrapping_sub(window) });
        let spm_fields = Spm { sqn: Sqn::new(number), trail, lead, path: self.address.into() };
        let mut room = [0; SPM_MAX];
        let octets = spm(&mut room, &self.session(), &spm_fields, &SpmOptions::default()).map_err(words("an SPM"))?;
        let envelope = self.envelope(false)?;
        let mut frame = vec![0; envelope.header_len() + octets];
        let (front, rest) = frame.split_at_mut(envelope.header_len());
        envelope.write(front, octets).map_err(words("the headers of an SPM"))?;
        rest.copy_from_slice(&room[..octets]);
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmx::wire::{Kind, Limits, parse};

    const SPEAKER: Speaker = Speaker {
        mac: [2, 0, 0, 0, 0, 1],
        address: Ipv4Addr::new(10, 0, 0, 1),
        group: Ipv4Addr::new(239, 192, 0, 1),
        data_port: 7500,
    };

    #[test]
    fn a_parser_takes_what_is_sent_for_what_it_is_meant() {
        let data = SPEAKER.data(1400).expect("it fits");
        assert_eq!(data.len(), HEADERS + 1400);
        let header = parse(&data[34..], &Limits::default()).expect("a packet");
        assert!(matches!(header.kind, Kind::Odata(data) if data.sqn == Sqn::new(0)), "{header:?}");
        assert_eq!((header.tsi, header.data_port), (SPEAKER.session().tsi, 7500));

        let spm = SPEAKER.spm(7, 1000, 100).expect("it fits");
        let header = parse(&spm[34..], &Limits::default()).expect("a packet");
        let Kind::Spm(spm) = header.kind else { panic!("{header:?}") };
        assert_eq!((spm.sqn, spm.trail, spm.lead), (Sqn::new(7), Sqn::new(900), Sqn::new(999)));
        assert_eq!((header.tsi, spm.path), (SPEAKER.session().tsi, SPEAKER.address.into()));
    }

    #[test]
    fn a_payload_that_no_frame_holds_is_refused() {
        assert!(SPEAKER.data(PAYLOAD_MAX).is_ok());
        assert!(SPEAKER.data(PAYLOAD_MAX + 1).is_err() && SPEAKER.data(0).is_err());
    }
}
