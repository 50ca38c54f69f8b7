//! Real PGM packets: one of every type that an endpoint sends, and data of any length.

use std::net::IpAddr;

use pgmx::wire::build::{
    self, Content, DATA_HEADER_LEN, DataOptions, DataTemplate, DataType, NakOptions, NakType, Session, SpmOptions,
};
use pgmx::wire::{Fragment, Gsi, Nak, Spm, Sqn, Tsi, checksum};

/// The session's source port.
pub const SOURCE_PORT: u16 = 7400;
/// Its data port.
pub const DATA_PORT: u16 = 7500;

/// The session of these ports.
pub fn session(source_port: u16, data_port: u16) -> Session {
    Session { tsi: Tsi::new(Gsi::from_host_name("suite"), source_port), data_port }
}

/// ODATA of the suite's session whose payload follows from its number.
pub fn odata(number: u32, payload_len: usize) -> Vec<u8> {
    data_on(&session(SOURCE_PORT, DATA_PORT), DataType::Odata, number, payload_len)
}

/// Data of any session.
pub fn data_on(session: &Session, kind: DataType, number: u32, payload_len: usize) -> Vec<u8> {
    let mut packet = vec![0; DATA_HEADER_LEN];
    packet.extend((0..payload_len).map(|n| (number as usize * 31 + n * 7 + n / 251) as u8));
    let sum = checksum::sum(&packet[DATA_HEADER_LEN..]);
    let head = packet.first_chunk_mut().expect("a header");
    let (sqn, trail) = (Sqn::new(number), Sqn::new(0));
    DataTemplate::new(session).plain(head, kind, Content::Original, sqn, trail, payload_len as u16, sum);
    packet
}

/// The number of a data packet.
pub fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[16..20].try_into().expect("four octets"))
}

/// A fragment of an APDU.
fn fragment(session: &Session) -> Vec<u8> {
    let fragment = Fragment { first_sqn: Sqn::new(4), offset: 100, apdu_len: 300 };
    let options = DataOptions { fragment: Some(fragment), ..DataOptions::default() };
    let front = DATA_HEADER_LEN + options.len();
    let mut packet = vec![0; front];
    packet.extend([0x5a; 100]);
    let sum = checksum::sum(&packet[front..]);
    let (sqn, trail, template) = (Sqn::new(5), Sqn::new(0), DataTemplate::new(session));
    template
        .data(&mut packet[..front], DataType::Odata, Content::Original, sqn, trail, &options, 100, sum)
        .expect("an option that belongs there");
    packet
}

/// A packet of every type, by name. `source` sends the data, and `group` hears it.
pub fn every_type(source: IpAddr, group: IpAddr) -> Vec<(&'static str, Vec<u8>)> {
    let session = session(SOURCE_PORT, DATA_PORT);
    let built = |write: &dyn Fn(&mut [u8]) -> usize| {
        let mut packet = vec![0; 1400];
        let len = write(&mut packet);
        packet.truncate(len);
        packet
    };
    let spm = Spm { sqn: Sqn::new(9), trail: Sqn::new(1), lead: Sqn::new(40), path: source };
    let fin = SpmOptions { fin: true, ..SpmOptions::default() };
    let nak = Nak { sqn: Sqn::new(7), source, group };
    let list: Vec<Sqn> = (8..70).map(Sqn::new).collect();
    let nak_of = |kind, list: &[Sqn]| {
        built(&|buffer| build::nak(buffer, kind, &session, false, &nak, list, &NakOptions::NONE).expect("it fits"))
    };
    vec![
        ("ODATA", data_on(&session, DataType::Odata, 5, 100)),
        ("RDATA", data_on(&session, DataType::Rdata, 5, 101)),
        ("fragment", fragment(&session)),
        ("SPM", built(&|buffer| build::spm(buffer, &session, &spm, &SpmOptions::default()).expect("it fits"))),
        ("SPM with FIN", built(&|buffer| build::spm(buffer, &session, &spm, &fin).expect("it fits"))),
        ("NAK", nak_of(NakType::Nak, &[])),
        ("NAK with a list", nak_of(NakType::Nak, &list)),
        ("NCF", nak_of(NakType::Ncf, &[])),
        ("NCF with a list", nak_of(NakType::Ncf, &list)),
        ("SPMR", built(&|buffer| build::spmr(buffer, &session).expect("it fits"))),
    ]
}
