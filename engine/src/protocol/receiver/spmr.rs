//! Requests for an SPM (RFC 3208 §13): when data is heard and no SPM, so that NAKs would have no destination.
//!
//! `data` starts it, an SPM ends it. Guards the pace: never without a random delay, never repeated before SPMR_SPM_IVL, and not at all while
//! another receiver asks for the same.

use super::session::{Ctx, NEVER, Session};
use super::stats::count;
use crate::frame::{Outgoing, To, TxBatch};
use crate::time::Time;
use crate::wire::build;

/// How far the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spmr {
    /// Not needed.
    Idle,
    /// Listens for another receiver's until then.
    BackOff(Time),
    /// Goes with the next transmission.
    Due,
    /// Was sent, by us or by another: waits for the SPM until then.
    Wait(Time),
}

impl Spmr {
    pub(super) fn deadline(self) -> Time {
        match self {
            Self::Idle | Self::Due => NEVER,
            Self::BackOff(at) | Self::Wait(at) => at,
        }
    }

    pub(super) fn is_due(self) -> bool {
        self == Self::Due
    }
}

impl Session {
    /// Data came: without an SPM, ask for one.
    pub(super) fn want_spm<S>(&mut self, ctx: &mut Ctx<'_, S>) {
        if self.spm.is_none() && self.spmr == Spmr::Idle {
            // RFC 3208 §13.5, conformance 110: random over SPMR_BO_IVL.
            self.spmr = Spmr::BackOff(ctx.now.plus(ctx.rng.up_to(ctx.set.spmr_bo_ns)));
        }
    }

    pub(super) fn run_spmr<S>(&mut self, ctx: &mut Ctx<'_, S>) {
        match self.spmr {
            Spmr::BackOff(at) if ctx.now >= at => self.spmr = Spmr::Due,
            // RFC 3208 §13.5, conformance 112: SPMR_SPM_IVL is over: the procedure begins again.
            Spmr::Wait(at) if ctx.now >= at => {
                self.spmr = Spmr::BackOff(ctx.now.plus(ctx.rng.up_to(ctx.set.spmr_bo_ns)));
            }
            _ => {}
        }
    }

    /// Another receiver's SPMR was heard on the group.
    pub(super) fn on_spmr<S>(&mut self, ctx: &mut Ctx<'_, S>) {
        // RFC 3208 §13.5, conformance 111: refrain, and wait for the SPM that it will bring.
        if matches!(self.spmr, Spmr::BackOff(_) | Spmr::Due) {
            self.spmr = Spmr::Wait(ctx.now.plus(ctx.set.spmr_spm_ns));
            count!(self, ctx, spmrs_suppressed);
        }
    }

    /// Sends what is due.
    pub(super) fn send_spmr<S>(&mut self, out: &mut TxBatch, ctx: &mut Ctx<'_, S>) {
        if self.spmr != Spmr::Due || out.room() < 2 {
            return;
        }
        let session = build::Session { tsi: self.tsi, data_port: ctx.set.data_port };
        // RFC 3208 §13.5, conformance 110: first to the group with TTL 1, then to the source.
        for to in [To::Neighbours(ctx.set.group), To::Unicast(self.source)] {
            let Some(frame) = super::control_frame(ctx.pool, ctx.set, |buf| build::spmr(buf, &session)) else {
                count!(self, ctx, no_frame);
                break;
            };
            out.push(Outgoing { frame, to, router_alert: false });
            if matches!(to, To::Unicast(_)) {
                count!(self, ctx, spmrs_sent);
            }
        }
        self.spmr = Spmr::Wait(ctx.now.plus(ctx.set.spmr_spm_ns));
    }
}
