//! SPMs (RFC 3208 §6.2, §15.3): the path for NAKs, the window, and the end of the session.
//!
//! `Receiver` hands in each SPM of the session, and what NCFs and POLLs say about timers and unreachable neighbours. Guards the sequence: an
//! SPM that is not newer than the last changes nothing.

use core::net::{IpAddr, Ipv4Addr};

use super::config::{JoinOn, OnRst};
use super::session::{Ctx, Ending, LastSpm, Phase, Session};
use super::spmr::Spmr;
use super::stats::count;
use crate::protocol::{End, Sink};
use crate::wire::{Header, NakBoIvl, NakBoRng, Rst, Spm, Sqn};

/// What the options of an SPM say.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpmOptions {
    join: Option<Sqn>,
    nak_bo_ivl: Option<NakBoIvl>,
    nak_bo_rng: Option<NakBoRng>,
    rst: Option<Rst>,
    fin: bool,
    pub(super) nbr_unreach: bool,
}

impl SpmOptions {
    pub(super) fn read(header: &Header, packet: &[u8]) -> Self {
        let options = &header.options;
        Self {
            join: options.join(packet),
            nak_bo_ivl: options.nak_bo_ivl(packet),
            nak_bo_rng: options.nak_bo_rng(packet),
            rst: options.rst(packet),
            fin: options.fin(),
            nbr_unreach: options.nbr_unreach(),
        }
    }

    /// Whether a session can begin with such an SPM: not with the end, and not with a notice of a broken network.
    pub(super) fn can_begin(&self) -> bool {
        !self.fin && self.rst.is_none() && !self.nbr_unreach
    }
}

/// Whether NAKs can be sent to an address.
fn is_destination(path: IpAddr, nla: IpAddr) -> bool {
    let broadcast = path == IpAddr::V4(Ipv4Addr::BROADCAST);
    let elsewhere = path.is_loopback() && !nla.is_loopback();
    path.is_ipv4() == nla.is_ipv4() && !path.is_multicast() && !path.is_unspecified() && !broadcast && !elsewhere
}

impl Session {
    pub(super) fn on_spm<S: Sink>(&mut self, spm: &Spm, options: &SpmOptions, ctx: &mut Ctx<'_, &mut S>) {
        // RFC 3208 §15.3.2, conformance 108: such an SPM repeats the sequence number of the last regular one: looked at before the sequence.
        if options.nbr_unreach {
            self.silence_from(Some(spm.path), ctx);
            return;
        }
        // RFC 3208 §6.2, conformance 76: out of sequence: discarded as a whole.
        if self.spm.is_some_and(|last| !spm.sqn.is_after(last.sqn)) {
            count!(self, ctx, spms_out_of_sequence);
            return;
        }
        // conformance 162: where a NAK cannot go is no path; the last good one stays.
        if !is_destination(spm.path, ctx.set.nla) {
            count!(self, ctx, spms_bad_path);
            return;
        }
        count!(self, ctx, spms);
        if self.phase == Phase::Over {
            // RFC 3208 §9.7.2: once a source has said that it ends, all its SPMs say so. Who takes up an old TSI again, as some do, is heard again
            // as soon as the old session is forgotten, which his SPMs do not put off.
            if !self.ended_by_source || options.fin || options.rst.is_some() {
                self.spm_at = ctx.now;
            }
            return;
        }
        self.spm_at = ctx.now;
        // RFC 3208 §6.2, conformance 75: NAKs go to the path of the most recent SPM in sequence.
        self.prove(ctx, |session| session.spm = Some(LastSpm { sqn: spm.sqn, path: spm.path }));
        // RFC 3208 §13.5, conformance 111: an SPM makes an SPMR needless.
        self.spmr = Spmr::Idle;
        self.silence_asks = 0;
        self.silenced = false;
        if let Some(range) = options.nak_bo_rng {
            self.adapt.advertised_bounds(range.min_us, range.max_us);
        }
        self.on_nak_bo_ivl(options.nak_bo_ivl);
        // RFC 3208 §8.1, conformance 109: an SPM can say that it knows nothing of the window.
        if let Some((trail, lead)) = spm.window() {
            self.on_window(trail, lead, options.join, ctx);
        }
        self.on_end_options(spm, options, ctx);
        self.drain(ctx);
    }

    fn on_window<S: Sink>(&mut self, trail: Sqn, lead: Sqn, join: Option<Sqn>, ctx: &mut Ctx<'_, &mut S>) {
        if self.phase == Phase::Heard {
            // conformance 86: some profiles wait for original data.
            if ctx.set.join_on == JoinOn::Odata {
                return;
            }
            // conformance 72: what was sent before we came is not ours, unless it is offered (RFC 3208 §9.4.2, conformance 73).
            let first = super::data::clamp_join(join.filter(|_| ctx.set.take_history), trail, lead.next());
            self.join(first, trail);
        }
        // RFC 3208 §6.2, conformance 77: SPMs may lag behind data: older values are ignored, each by itself.
        self.on_trail(trail);
        if self.expected.is_before(self.trail) {
            // First the edge, then the lead: a window may have moved so far that its lead is half the number space from the old edge.
            self.drain(ctx);
        }
        let is_ahead = lead.is_after(self.lead) && lead.at_or_after(self.expected);
        if self.phase == Phase::Live && is_ahead && self.can_exist(lead) {
            // RFC 3208 §6.3, conformance 90: a lead that we have not reached is a gap, whatever its length (conformance 158).
            self.extend(lead, lead.next(), ctx);
        }
    }

    fn on_end_options<S: Sink>(&mut self, spm: &Spm, options: &SpmOptions, ctx: &mut Ctx<'_, &mut S>) {
        if self.phase != Phase::Live {
            if options.fin || options.rst.is_some() {
                self.close(End::Finished, ctx);
            }
            return;
        }
        // An SPM without a window cannot say where the session ends: what we know counts.
        let last = spm.window().map_or(self.lead, |(_, lead)| if lead.is_after(self.lead) { lead } else { self.lead });
        if let Some(rst) = options.rst {
            let end = End::Aborted(rst.code);
            self.open(self.expected, ctx);
            // RFC 3208 §9.8.1, conformance 88: with N nobody will answer; without it the profile decides.
            if rst.no_naks || ctx.set.on_rst == OnRst::EndAtOnce {
                self.end(end, ctx);
            } else if self.ending.is_none_or(|ending| ending.end == End::Finished) {
                self.ending = Some(Ending { last, end });
            }
        } else if options.fin && self.ending.is_none() {
            // RFC 3208 §9.7.1, conformance 87: everything up to the lead is still recovered and delivered.
            self.ending = Some(Ending { last, end: End::Finished });
        }
        self.flowing &= self.ending.is_none();
    }

    /// OPT_NAK_BO_IVL of an SPM or an NCF.
    pub(super) fn on_nak_bo_ivl(&mut self, option: Option<NakBoIvl>) {
        let Some(NakBoIvl { ivl_us, poll_sqn }) = option else { return };
        // RFC 3208 §15.2.2, conformance 106: usable at once, or when we took part in the poll it was derived from. Else the previous value stays:
        // to stop asking, as the text has it, would let one packet silence everybody.
        let usable = poll_sqn == Sqn::new(0) || self.poll.is_some_and(|seen| seen.at_or_before(poll_sqn));
        if usable {
            self.adapt.advertised(ivl_us);
        }
    }

    /// OPT_NBR_UNREACH from a neighbour: our parent's silences us. Returns whether it was our parent's.
    pub(super) fn silence_from<S>(&mut self, neighbour: Option<IpAddr>, ctx: &mut Ctx<'_, S>) -> bool {
        let parent = self.spm.map(|spm| spm.path);
        // RFC 3208 §15.3.2, conformance 108: of our parent only.
        if parent.is_none() || parent != neighbour {
            count!(self, ctx, nbr_unreach_ignored);
            return false;
        }
        self.silenced = true;
        count!(self, ctx, silenced);
        true
    }

    /// A POLL was heard; its answer is not ours to give yet, but its number makes an advertised NAK_BO_IVL usable.
    pub(super) fn on_poll<S>(&mut self, sqn: Sqn, round: u16, ctx: &mut Ctx<'_, S>) {
        count!(self, ctx, polls);
        if round == 0 && self.poll.is_none() {
            self.poll = Some(sqn);
        }
    }
}
