//! A packet as plain values, to go from values to bytes and back.
//!
//! Shared by the tests here and by the fuzz target of the parser. Reads through the public accessors alone, builds through the
//! public builders alone; so `read` and `build` together say what a packet means and nothing else.

use super::wire::build::{
    self, BuildError, Content, DATA_HEADER_LEN, DataOptions, DataTemplate, DataType, NakOptions, NakType, Session,
    SpmOptions,
};
use super::wire::{Ack, Header, Kind, Nak, NakBoIvl, PgmccFeedback, Poll, Polr, Spm, Sqn, checksum};
use core::net::IpAddr;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Packet {
    pub(super) session: Session,
    pub(super) body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    Spm(Spm, SpmOptions),
    Nak(NakType, bool, Nak, Vec<Sqn>, NakOptions),
    Poll(Poll, Option<NakBoIvl>),
    Polr(Polr, Option<IpAddr>, bool),
    Spmr,
    Ack(Ack, Option<PgmccFeedback>),
    Data { kind: DataType, content: Content, sqn: Sqn, trail: Sqn, options: DataOptions, payload: Vec<u8> },
}

impl Packet {
    /// What `packet`, which parsed to `header`, says.
    pub(super) fn read(header: &Header, packet: &[u8]) -> Self {
        let options = &header.options;
        let nak = |kind, nak| {
            let rest = NakOptions {
                nak_bo_ivl: options.nak_bo_ivl(packet),
                nbr_unreach: options.nbr_unreach(),
                path_nla: options.path_nla(packet),
                cr: options.cr(packet),
                pgmcc_feedback: options.pgmcc_feedback(packet),
            };
            Body::Nak(kind, header.flags.is_parity(), nak, options.nak_list(packet).collect(), rest)
        };
        let data = |kind, sqn, trail| Body::Data {
            kind,
            content: if header.flags.is_variable_parity() {
                Content::VariableParity
            } else if header.flags.is_parity() {
                Content::Parity
            } else {
                Content::Original
            },
            sqn,
            trail,
            options: DataOptions {
                curr_tgsize: options.curr_tgsize(packet),
                fragment: options.fragment(packet),
                encoded_fragment: options.encoded_fragment(packet),
                join: options.join(packet),
                parity_grp: options.parity_grp(packet),
                syn: options.syn(),
                fin: options.fin(),
                pgmcc_data: options.pgmcc_data(packet),
                records: options.records(),
            },
            payload: header.payload(packet).to_vec(),
        };
        let body = match header.kind {
            Kind::Spm(spm) => Body::Spm(
                spm,
                SpmOptions {
                    join: options.join(packet),
                    nak_bo_ivl: options.nak_bo_ivl(packet),
                    nak_bo_rng: options.nak_bo_rng(packet),
                    parity_prm: options.parity_prm(packet),
                    curr_tgsize: options.curr_tgsize(packet),
                    nbr_unreach: options.nbr_unreach(),
                    crqst: options.crqst(packet),
                    fin: options.fin(),
                    rst: options.rst(packet),
                },
            ),
            Kind::Poll(poll) => Body::Poll(poll, options.nak_bo_ivl(packet)),
            Kind::Polr(polr) => Body::Polr(polr, options.redirect(packet), header.flags.is_parity()),
            Kind::Odata(fields) => data(DataType::Odata, fields.sqn, fields.trail),
            Kind::Rdata(fields) => data(DataType::Rdata, fields.sqn, fields.trail),
            Kind::Nak(fields) => nak(NakType::Nak, fields),
            Kind::Nnak(fields) => nak(NakType::Nnak, fields),
            Kind::Ncf(fields) => nak(NakType::Ncf, fields),
            Kind::Spmr => Body::Spmr,
            Kind::Ack(ack) => Body::Ack(ack, options.pgmcc_feedback(packet)),
        };
        Self { session: Session { tsi: header.tsi, data_port: header.data_port }, body }
    }

    /// The bytes that say it.
    pub(super) fn build(&self) -> Result<Vec<u8>, BuildError> {
        let session = &self.session;
        if let Body::Data { kind, content, sqn, trail, options, payload } = &self.body {
            let front = DATA_HEADER_LEN + options.len();
            let mut packet = vec![0xEE; front];
            packet.extend_from_slice(payload);
            let sum = checksum::sum(payload);
            let template = DataTemplate::new(session);
            let len = payload.len() as u16;
            template.data(&mut packet[..front], *kind, *content, *sqn, *trail, options, len, sum)?;
            return Ok(packet);
        }
        // What was in the buffer before must not show.
        let mut packet = vec![0xEE; 2048];
        let buf = &mut packet[..];
        let len = match &self.body {
            Body::Spm(spm, options) => build::spm(buf, session, spm, options)?,
            Body::Nak(kind, parity, nak, list, options) => {
                build::nak(buf, *kind, session, *parity, nak, list, options)?
            }
            Body::Poll(poll, backoff) => build::poll(buf, session, poll, *backoff)?,
            Body::Polr(polr, redirect, fec) => build::polr(buf, session, polr, *redirect, *fec)?,
            Body::Spmr => build::spmr(buf, session)?,
            Body::Ack(ack, feedback) => build::ack(buf, session, ack, *feedback)?,
            Body::Data { .. } => unreachable!("built above"),
        };
        packet.truncate(len);
        Ok(packet)
    }
}
