//! Real PGM packets: one of every type that an endpoint sends, and data of any length.

use std::net::IpAddr;

use pgmx::wire::build::{
    self, Content, DATA_HEADER_LEN, DataOptions, DataTemplate, DataType, NakOptions, NakType, Session, SpmOptions,
};
use pgmx::wire::{
    Ack, Fragment, Gsi, Nak, NakBoIvl, NakBoRng, ParityPrm, PgmccData, PgmccFeedback, Poll, Polr, Rst, Spm, Sqn, Tsi,
    checksum,
};

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

/// A data packet with options, of 100 octets.
fn data_with(kind: DataType, content: Content, options: &DataOptions) -> Vec<u8> {
    let front = DATA_HEADER_LEN + options.len();
    let mut packet = vec![0; front];
    packet.extend([0x5a; 100]);
    let sum = checksum::sum(&packet[front..]);
    let template = DataTemplate::new(&session(SOURCE_PORT, DATA_PORT));
    let (sqn, trail) = (Sqn::new(40), Sqn::new(1));
    template
        .data(&mut packet[..front], kind, content, sqn, trail, options, 100, sum)
        .expect("options that belong there");
    packet
}

/// The types beside [`every_type`] and the options that we can write, as far as other tools know them.
pub fn every_option(source: IpAddr, group: IpAddr) -> Vec<(&'static str, Vec<u8>)> {
    let session = session(SOURCE_PORT, DATA_PORT);
    let built = |write: &dyn Fn(&mut [u8]) -> Result<usize, build::BuildError>| {
        let mut packet = vec![0; 1400];
        let len = write(&mut packet).expect("it fits");
        packet.truncate(len);
        packet
    };
    let spm = Spm { sqn: Sqn::new(9), trail: Sqn::new(1), lead: Sqn::new(40), path: source };
    let spm_with = |options: SpmOptions| built(&|buffer| build::spm(buffer, &session, &spm, &options));
    let nak = Nak { sqn: Sqn::new(7), source, group };
    let nak_with = |kind, parity, list: &[Sqn], options: NakOptions| {
        built(&|buffer| build::nak(buffer, kind, &session, parity, &nak, list, &options))
    };
    let back_off = NakBoIvl { ivl_us: 50_000, poll_sqn: Sqn::new(0) };
    let parity = ParityPrm { proactive: true, on_demand: true, tg_size: 64 };
    let busy = SpmOptions {
        join: Some(Sqn::new(3)),
        nak_bo_ivl: Some(back_off),
        nak_bo_rng: Some(NakBoRng { max_us: 2_000_000, min_us: 1_000 }),
        parity_prm: Some(parity),
        curr_tgsize: Some(41),
        ..SpmOptions::default()
    };
    let lone = |proactive, on_demand| Some(ParityPrm { proactive, on_demand, tg_size: 8 });
    let feedback = PgmccFeedback { timestamp_ms: 123_456, loss: 655, receiver: source };
    let poll =
        Poll { sqn: Sqn::new(3), round: 1, s_type: 0, path: source, backoff_us: 50_000, rand: 0xdead_beef, mask: 0xff };
    let polr = Polr { sqn: Sqn::new(3), round: 1 };
    let ack = Ack { rx_max: Sqn::new(40), bitmap: 0xffff_fffd };
    let none = DataOptions::NONE;
    let place = Fragment { first_sqn: Sqn::new(40), offset: 0, apdu_len: 300 };
    let list: Vec<Sqn> = (8..11).map(Sqn::new).collect();
    let (odata, rdata) = (DataType::Odata, DataType::Rdata);
    let own = Content::Original;
    vec![
        ("SPM with many options", spm_with(busy)),
        ("SPM with RST", spm_with(SpmOptions { rst: Some(Rst { no_naks: true, code: 5 }), ..SpmOptions::default() })),
        ("SPM of pro-active parity", spm_with(SpmOptions { parity_prm: lone(true, false), ..SpmOptions::default() })),
        (
            "SPM of parity on demand",
            spm_with(SpmOptions { parity_prm: lone(false, true), fin: true, ..SpmOptions::default() }),
        ),
        ("ODATA with SYN", data_with(odata, own, &DataOptions { syn: true, ..none })),
        ("ODATA with JOIN", data_with(odata, own, &DataOptions { join: Some(Sqn::new(3)), ..none })),
        ("RDATA with FIN", data_with(rdata, own, &DataOptions { fin: true, ..none })),
        (
            "RDATA with a fragment, SYN and JOIN",
            data_with(rdata, own, &DataOptions { fragment: Some(place), syn: true, join: Some(Sqn::new(3)), ..none }),
        ),
        ("ODATA that ends a group", data_with(odata, own, &DataOptions { curr_tgsize: Some(41), ..none })),
        ("parity", data_with(odata, Content::Parity, &DataOptions { parity_grp: Some(1), ..none })),
        ("parity of several lengths", data_with(rdata, Content::VariableParity, &none)),
        (
            "ODATA with PGMCC",
            data_with(
                odata,
                own,
                &DataOptions { pgmcc_data: Some(PgmccData { timestamp_ms: 1, acker: source }), ..none },
            ),
        ),
        ("NAK of parity", nak_with(NakType::Nak, true, &[], NakOptions::NONE)),
        (
            "NAK with PGMCC",
            nak_with(NakType::Nak, false, &[], NakOptions { pgmcc_feedback: Some(feedback), ..NakOptions::NONE }),
        ),
        ("NNAK", nak_with(NakType::Nnak, false, &[], NakOptions::NONE)),
        ("NNAK with a list", nak_with(NakType::Nnak, false, &list, NakOptions::NONE)),
        (
            "NCF with a back-off",
            nak_with(NakType::Ncf, false, &list, NakOptions { nak_bo_ivl: Some(back_off), ..NakOptions::NONE }),
        ),
        ("POLL", built(&|buffer| build::poll(buffer, &session, &poll, None))),
        ("POLL with a back-off", built(&|buffer| build::poll(buffer, &session, &poll, Some(back_off)))),
        ("POLR", built(&|buffer| build::polr(buffer, &session, &polr, None, false))),
        ("POLR of a repairer", built(&|buffer| build::polr(buffer, &session, &polr, Some(source), true))),
        ("ACK", built(&|buffer| build::ack(buffer, &session, &ack, None))),
        ("ACK with feedback", built(&|buffer| build::ack(buffer, &session, &ack, Some(feedback)))),
    ]
}
