//! Builders of every packet that carries no data.
//!
//! Called by source, receiver and network element for the packet they are about to send. Each function writes one whole
//! packet and returns its length.

#![forbid(unsafe_code)]

use core::net::IpAddr;

use super::writer::Significance::{Network, Receiver};
use super::writer::{OptionWriter, Writer};
use super::{BuildError, Session};
use crate::wire::header::{Ack, Flags, HEADER_LEN, Nak, PacketType, Poll, Polr, Spm};
use crate::wire::options::{Cr, CrRequest, MAX_NAK_LIST, NakBoIvl, NakBoRng, ParityPrm, PgmccFeedback, Rst, code};
use crate::wire::sqn::Sqn;

/// The options of an SPM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpmOptions {
    /// `OPT_JOIN`: the lowest SQN that a late joiner may ask for.
    pub join: Option<Sqn>,
    /// `OPT_NAK_BO_IVL`: the back-off interval for NAKs.
    pub nak_bo_ivl: Option<NakBoIvl>,
    /// `OPT_NAK_BO_RNG`: the range of that interval.
    pub nak_bo_rng: Option<NakBoRng>,
    /// `OPT_PARITY_PRM`: parity parameters.
    pub parity_prm: Option<ParityPrm>,
    /// `OPT_CURR_TGSIZE`: data packets of a transmission group cut short.
    pub curr_tgsize: Option<u32>,
    /// `OPT_NBR_UNREACH`: the upstream neighbour is out of reach.
    pub nbr_unreach: bool,
    /// `OPT_CRQST`: congestion reports wanted.
    pub crqst: Option<CrRequest>,
    /// `OPT_FIN`: the session has ended.
    pub fin: bool,
    /// `OPT_RST`: the session was given up.
    pub rst: Option<Rst>,
}

/// Writes an SPM.
pub fn spm(buf: &mut [u8], session: &Session, spm: &Spm, options: &SpmOptions) -> Result<usize, BuildError> {
    let mut writer = Writer::new(buf, HEADER_LEN);
    writer.sqn(spm.sqn)?;
    writer.sqn(spm.trail)?;
    writer.sqn(spm.lead)?;
    writer.nla(spm.path, 0)?;

    let mut out = writer.options();
    put_nak_bo_ivl(&mut out, options.nak_bo_ivl)?;
    if let Some(range) = options.nak_bo_rng {
        out.put(code::NAK_BO_RNG, Network, [0, 0], |body| {
            // RFC 3208 §15.4.2: the maximum stands first.
            body.u32(range.max_us)?;
            body.u32(range.min_us)
        })?;
    }
    if let Some(parity) = options.parity_prm {
        let mode =
            (u8::from(parity.proactive) * ParityPrm::PROACTIVE) | (u8::from(parity.on_demand) * ParityPrm::ON_DEMAND);
        if mode == 0 || !parity.tg_size.is_power_of_two() || !ParityPrm::TG_SIZES.contains(&parity.tg_size) {
            return Err(BuildError::ParityParameters);
        }
        out.put(code::PARITY_PRM, Network, [0, mode], |body| body.u32(parity.tg_size))?;
    }
    if let Some(size) = options.curr_tgsize {
        out.put(code::CURR_TGSIZE, Network, [0, 0], |body| body.u32(size))?;
    }
    if options.nbr_unreach {
        out.mark(code::NBR_UNREACH, Network, 0)?;
    }
    if let Some(request) = options.crqst {
        out.mark(code::CRQST, Network, request.bits())?;
    }
    if let Some(sqn) = options.join {
        out.put(code::JOIN, Receiver, [0, 0], |body| body.sqn(sqn))?;
    }
    if options.fin {
        out.mark(code::FIN, Receiver, 0)?;
    }
    if let Some(rst) = options.rst {
        if rst.code > Rst::CODE {
            return Err(BuildError::FieldOverflow { what: "the code of OPT_RST" });
        }
        out.mark(code::RST, Receiver, (u8::from(rst.no_naks) * Rst::NO_NAKS) | rst.code)?;
    }
    out.finish(PacketType::Spm, session, Flags::NONE)
}

fn put_nak_bo_ivl(out: &mut OptionWriter<'_>, option: Option<NakBoIvl>) -> Result<(), BuildError> {
    let Some(backoff) = option else { return Ok(()) };
    out.put(code::NAK_BO_IVL, Network, [0, 0], |body| {
        body.u32(backoff.ivl_us)?;
        body.sqn(backoff.poll_sqn)
    })
}

/// Which of the three packets of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NakType {
    /// Request for a repair, upstream.
    Nak,
    /// NAK that asks for no repair, upstream.
    Nnak,
    /// Confirmation, downstream.
    Ncf,
}

impl NakType {
    const fn packet(self) -> PacketType {
        match self {
            Self::Nak => PacketType::Nak,
            Self::Nnak => PacketType::Nnak,
            Self::Ncf => PacketType::Ncf,
        }
    }
}

/// The options of a NAK or NCF beside the list. Each belongs in one of them only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NakOptions {
    /// `OPT_NAK_BO_IVL`, in an NCF.
    pub nak_bo_ivl: Option<NakBoIvl>,
    /// `OPT_NBR_UNREACH`, in an NCF.
    pub nbr_unreach: bool,
    /// `OPT_PATH_NLA`, in an NCF.
    pub path_nla: Option<IpAddr>,
    /// `OPT_CR`, in a NAK.
    pub cr: Option<Cr>,
    /// `OPT_PGMCC_FEEDBACK`, in a NAK.
    pub pgmcc_feedback: Option<PgmccFeedback>,
}

impl NakOptions {
    /// No option.
    pub const NONE: Self =
        Self { nak_bo_ivl: None, nbr_unreach: false, path_nla: None, cr: None, pgmcc_feedback: None };

    fn stray(&self, kind: NakType) -> Option<&'static str> {
        let in_ncf = [
            (self.nak_bo_ivl.is_some(), "OPT_NAK_BO_IVL"),
            (self.nbr_unreach, "OPT_NBR_UNREACH"),
            (self.path_nla.is_some(), "OPT_PATH_NLA"),
        ];
        let in_nak = [(self.cr.is_some(), "OPT_CR"), (self.pgmcc_feedback.is_some(), "OPT_PGMCC_FEEDBACK")];
        let in_ncf = in_ncf.into_iter().filter(|_| kind != NakType::Ncf);
        let in_nak = in_nak.into_iter().filter(|_| kind != NakType::Nak);
        in_ncf.chain(in_nak).find(|(given, _)| *given).map(|(_, name)| name)
    }
}

/// Writes a NAK, NNAK or NCF. `list` holds the requested SQNs beside the one in `nak`.
///
/// In a NAK or NNAK the list must ascend. An NCF confirms the list of the NAK as it came.
pub fn nak(
    buf: &mut [u8],
    kind: NakType,
    session: &Session,
    parity: bool,
    nak: &Nak,
    list: &[Sqn],
    options: &NakOptions,
) -> Result<usize, BuildError> {
    let packet = kind.packet();
    if let Some(option) = options.stray(kind) {
        return Err(BuildError::OptionNotAllowed { option, packet: packet.name() });
    }
    // RFC 3208 §9.3, conformance 28: at most 62, ascending, none twice, none equal to the one in the header.
    if list.len() > MAX_NAK_LIST {
        return Err(BuildError::NakListTooLong { len: list.len() });
    }
    let ascends = list.is_sorted_by(|earlier, later| later.is_after(*earlier));
    if kind != NakType::Ncf && (!ascends || list.contains(&nak.sqn)) {
        return Err(BuildError::NakListOrder);
    }

    let mut writer = Writer::new(buf, HEADER_LEN);
    writer.sqn(nak.sqn)?;
    writer.nla(nak.source, 0)?;
    writer.nla(nak.group, 0)?;

    let mut out = writer.options();
    if !list.is_empty() {
        out.put(code::NAK_LIST, Network, [0, 0], |body| list.iter().try_for_each(|sqn| body.sqn(*sqn)))?;
    }
    put_nak_bo_ivl(&mut out, options.nak_bo_ivl)?;
    if options.nbr_unreach {
        out.mark(code::NBR_UNREACH, Network, 0)?;
    }
    if let Some(address) = options.path_nla {
        // RFC 3208 §15.4.4: a bare address, without an address family.
        out.put(code::PATH_NLA, Network, [0, 0], |body| body.address(address))?;
    }
    if let Some(report) = options.cr {
        out.put(code::CR, Network, [0, report.reports.bits()], |body| {
            body.sqn(report.lead)?;
            body.u16(report.worst_link)?;
            body.u16(report.worst_path)?;
            body.u16(report.receiver_path)?;
            body.u16(0)?;
            body.nla(report.receiver, 0)
        })?;
    }
    put_pgmcc_feedback(&mut out, options.pgmcc_feedback)?;
    out.finish(packet, session, if parity { Flags::PARITY } else { Flags::NONE })
}

fn put_pgmcc_feedback(out: &mut OptionWriter<'_>, option: Option<PgmccFeedback>) -> Result<(), BuildError> {
    let Some(feedback) = option else { return Ok(()) };
    out.put(code::PGMCC_FEEDBACK, Receiver, [0, 0], |body| {
        body.u32(feedback.timestamp_ms)?;
        // The loss rate stands where other NLAs have reserved octets.
        body.nla(feedback.receiver, feedback.loss)
    })
}

/// Writes a POLL.
pub fn poll(buf: &mut [u8], session: &Session, poll: &Poll, nak_bo_ivl: Option<NakBoIvl>) -> Result<usize, BuildError> {
    let mut writer = Writer::new(buf, HEADER_LEN);
    writer.sqn(poll.sqn)?;
    writer.u16(poll.round)?;
    writer.u16(poll.s_type)?;
    writer.nla(poll.path, 0)?;
    writer.u32(poll.backoff_us)?;
    writer.u32(poll.rand)?;
    writer.u32(poll.mask)?;
    let mut out = writer.options();
    put_nak_bo_ivl(&mut out, nak_bo_ivl)?;
    out.finish(PacketType::Poll, session, Flags::NONE)
}

/// Writes a POLR. `redirect` is the address of a designated local repairer; `fec_capable` says that it can supply parity.
pub fn polr(
    buf: &mut [u8],
    session: &Session,
    polr: &Polr,
    redirect: Option<IpAddr>,
    fec_capable: bool,
) -> Result<usize, BuildError> {
    let mut writer = Writer::new(buf, HEADER_LEN);
    writer.sqn(polr.sqn)?;
    writer.u16(polr.round)?;
    writer.u16(0)?;
    let mut out = writer.options();
    if let Some(address) = redirect {
        out.put(code::REDIRECT, Network, [0, 0], |body| body.nla(address, 0))?;
    }
    out.finish(PacketType::Polr, session, if fec_capable { Flags::PARITY } else { Flags::NONE })
}

/// Writes an SPMR.
pub fn spmr(buf: &mut [u8], session: &Session) -> Result<usize, BuildError> {
    Writer::new(buf, HEADER_LEN).options().finish(PacketType::Spmr, session, Flags::NONE)
}

/// Writes an ACK of PGMCC.
pub fn ack(buf: &mut [u8], session: &Session, ack: &Ack, feedback: Option<PgmccFeedback>) -> Result<usize, BuildError> {
    let mut writer = Writer::new(buf, HEADER_LEN);
    writer.sqn(ack.rx_max)?;
    writer.u32(ack.bitmap)?;
    let mut out = writer.options();
    put_pgmcc_feedback(&mut out, feedback)?;
    out.finish(PacketType::Ack, session, Flags::NONE)
}
