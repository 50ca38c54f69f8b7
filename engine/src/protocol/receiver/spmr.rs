//! Requests for an SPM (RFC 3208 §13): when data is heard and no SPM, so that NAKs would have no destination; and when a session that had
//! SPMs is about to expire for want of one.
//!
//! `data` starts the first, silence the second, an SPM ends both. Guards the pace: never without a random delay, never repeated before
//! SPMR_SPM_IVL, not at all while another receiver asks for the same, and a session that has fallen silent is asked a few times only.

use super::config::Settings;
use super::session::{Ctx, NEVER, Session};
use super::stats::count;
use crate::frame::{Outgoing, To, TxBatch};
use crate::time::Time;
use crate::wire::build;

/// How often a session that has fallen silent is asked for an SPM before it expires: at half of the time, at three quarters, and so on.
/// Some sources space their SPMs by half a minute, also while they send data, and a request may get lost.
const SILENCE_ASKS: u8 = 3;

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

    /// When a session that had SPMs is asked for another, because it expires if none comes; not before SPMR_SPM_IVL is over.
    pub(super) fn ask_at(&self, set: &Settings) -> Time {
        let asks = self.spm.is_some() && self.ending.is_none() && self.spmr == Spmr::Idle;
        if asks && self.silence_asks < SILENCE_ASKS {
            self.spm_at.plus(set.expiry_ns - (set.expiry_ns >> (self.silence_asks + 1)))
        } else {
            NEVER
        }
    }

    /// An SPMR has left, ours or another receiver's: waits for what it brings.
    fn spmr_left(&mut self, set: &Settings, now: Time) {
        self.silence_asks += u8::from(self.spm.is_some());
        self.spmr = Spmr::Wait(now.plus(set.spmr_spm_ns));
    }

    pub(super) fn run_spmr<S>(&mut self, ctx: &mut Ctx<'_, S>) {
        match self.spmr {
            // RFC 3208 §13.5, conformance 89, 110: silence is not believed before the source was asked.
            Spmr::Idle if ctx.now >= self.ask_at(ctx.set) => {
                self.spmr = Spmr::BackOff(ctx.now.plus(ctx.rng.up_to(ctx.set.spmr_bo_ns)));
            }
            Spmr::BackOff(at) if ctx.now >= at => self.spmr = Spmr::Due,
            // A session that had SPMs has its own times for the next one.
            Spmr::Wait(at) if ctx.now >= at && self.spm.is_some() => self.spmr = Spmr::Idle,
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
            self.spmr_left(ctx.set, ctx.now);
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
        self.spmr_left(ctx.set, ctx.now);
    }
}
