//! What receivers ask for: NAKs are judged, confirmed and turned into repairs (RFC 3208 §5.2, §5.3).
//!
//! Called by [`Source::handle`] for upstream packets. Everything in here comes from the network: the work per packet is bounded by
//! the 63 SQNs that a NAK can name, and the memory by the queue of confirmations and the table of slots. Guards: only a NAK for our
//! session, our address, our group and for what we did send has any effect.

use core::net::IpAddr;
use std::collections::VecDeque;

use super::Source;
use super::echo::Echoes;
use crate::time::Time;
use crate::wire::{Header, Kind, Nak, Sqn};

/// Entries that an `OPT_NAK_LIST` can have.
const LIST_MAX: usize = 62;
/// Confirmations that wait for the next transmission; a poll handles 64 packets at most, so this is several polls' worth.
const CONFIRMATIONS_MAX: usize = 256;
/// NCFs in a row, after which data that waits for them has its turn before new ones. A quarter of a batch: NAKs that come in a
/// normal way never add up to it.
const RUN_MAX: u32 = 16;
/// Late NAKs remembered, so that a storm of them is confirmed no faster than one for the window.
const LATE_MAX: usize = 64;
/// NAKs remembered to tell the second copy of one from a NAK of its own.
const RECENT_MAX: usize = 16;
/// The two copies of a NAK leave back to back. Far below the 0.75 s after which the profiles with copies repeat a NAK.
const COPY_WITHIN_NS: u64 = 50_000_000;

/// An NCF to be sent: the NAK turned round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirmation {
    pub(super) nak: Nak,
    list: [Sqn; LIST_MAX],
    len: u8,
    /// Whom to tell instead of the group, while multicast is assumed broken.
    pub(super) unicast: Option<IpAddr>,
}

impl Confirmation {
    /// The SQNs beside the one in the header.
    pub(super) fn list(&self) -> &[Sqn] {
        &self.list[..usize::from(self.len)]
    }

    fn sqns(&self) -> impl Iterator<Item = Sqn> {
        core::iter::once(self.nak.sqn).chain(self.list().iter().copied())
    }
}

/// A NAK that was heard a moment ago.
#[derive(Clone, Copy, Debug)]
struct Recent {
    from: IpAddr,
    sqn: Sqn,
    multicast: bool,
    at: Time,
}

/// NAKs that came, as far as they are not in the slots.
#[derive(Debug)]
pub(super) struct Inbox {
    confirmations: VecDeque<Confirmation>,
    /// When an NCF for a late SQN may leave again.
    late: [(Sqn, Time); LATE_MAX],
    recent: [Option<Recent>; RECENT_MAX],
    oldest: usize,
    echoes: Echoes,
    /// NCFs that were queued so far, and that left.
    queued: u64,
    left: u64,
    /// NCFs that left since everything else last had its turn.
    run: u32,
    /// RFC 3208 §15.3: the network is assumed broken until the next SPM.
    pub(super) contained: bool,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            confirmations: VecDeque::with_capacity(CONFIRMATIONS_MAX),
            late: [(Sqn::default(), Time::ZERO); LATE_MAX],
            recent: [None; RECENT_MAX],
            oldest: 0,
            echoes: Echoes::new(),
            queued: 0,
            left: 0,
            run: 0,
            contained: false,
        }
    }

    /// The confirmation that waits longest.
    #[inline]
    pub(super) fn front(&self) -> Option<&Confirmation> {
        self.confirmations.front()
    }

    /// It left.
    pub(super) fn pop(&mut self) {
        self.confirmations.pop_front();
        self.left += 1;
        self.run = self.run.saturating_add(1);
    }

    /// How many NCFs have left: those with a number up to this.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Whether NCFs left since [`Inbox::yielded`].
    #[inline]
    pub(super) fn ran(&self) -> bool {
        self.run > 0
    }

    /// Everything else has its turn.
    pub(super) fn yielded(&mut self) {
        self.run = 0;
    }

    pub(super) fn clear(&mut self) {
        self.confirmations.clear();
        self.left = self.queued;
    }

    /// Whether this is the other copy of a NAK that was already counted: receivers multicast one with TTL 1 and send one to us.
    fn is_copy(&mut self, now: Time, from: IpAddr, sqn: Sqn, multicast: bool) -> bool {
        let twin = self.recent.iter_mut().find(|slot| {
            slot.is_some_and(|nak| {
                nak.from == from && nak.sqn == sqn && nak.multicast != multicast && now.since(nak.at) < COPY_WITHIN_NS
            })
        });
        if let Some(twin) = twin {
            *twin = None;
            return true;
        }
        self.recent[self.oldest] = Some(Recent { from, sqn, multicast, at: now });
        self.oldest = (self.oldest + 1) % RECENT_MAX;
        false
    }

    fn late_slot(&mut self, sqn: Sqn) -> &mut (Sqn, Time) {
        &mut self.late[sqn.get() as usize % LATE_MAX]
    }
}

/// Where a sequence number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Kept for repair, at this position.
    Window(u64),
    /// Gone.
    Late,
    /// Never sent.
    Ahead,
}

impl Source {
    /// A packet for us: `header` was parsed from `packet`, which came `from` there and was sent `to` the group or to us.
    pub fn handle(&mut self, now: Time, header: &Header, packet: &[u8], from: IpAddr, to: IpAddr) {
        if header.tsi != self.session.tsi || header.data_port != self.session.data_port {
            self.stats.naks_foreign += u64::from(matches!(header.kind, Kind::Nak(_)));
            self.stats.stray += u64::from(!matches!(header.kind, Kind::Nak(_)));
            return;
        }
        match header.kind {
            Kind::Nak(nak) => self.on_nak(now, nak, header, packet, from, to),
            Kind::Spmr => {
                self.stats.spmrs += 1;
                self.spms.request(now);
            }
            // RFC 3208 §9.5, conformance 61: feedback that provokes neither NCF nor repair.
            Kind::Nnak(_) => self.stats.nnaks += 1,
            Kind::Ack(_) => self.stats.acks += 1,
            Kind::Polr(_) => self.stats.polrs += 1,
            _ => self.stats.stray += 1,
        }
    }

    fn standing(&self, sqn: Sqn) -> Standing {
        let trail = self.window.trail();
        let ahead = sqn.distance_from(self.sqn_of(trail));
        if u64::from(ahead) < self.next - trail {
            Standing::Window(trail + u64::from(ahead))
        } else if ahead > 1 << 31 {
            Standing::Late
        } else {
            Standing::Ahead
        }
    }

    /// Whether a NAK names our address and our group, and came to one of them.
    fn is_ours(&self, nak: &Nak, to: IpAddr) -> bool {
        // conformance 58: so does rule 12 of the parser's checklist.
        let to_group = to == self.group;
        // conformance 164: some receivers name the SPM path they know, which is the address they sent the NAK to.
        let path = self.config.accept_path_as_source && !to_group && nak.source == to;
        nak.group == self.group && (nak.source == self.path.nla || path) && (to_group || to == self.path.nla || path)
    }

    fn on_nak(&mut self, now: Time, nak: Nak, header: &Header, packet: &[u8], from: IpAddr, to: IpAddr) {
        if !self.is_ours(&nak, to) {
            self.stats.naks_foreign += 1;
            return;
        }
        if header.flags.is_parity() {
            self.stats.naks_parity += 1;
            return;
        }
        if !self.finish.answers() {
            self.stats.naks_unanswered += 1;
            return;
        }
        let mut asked = Confirmation { nak, list: [nak.sqn; LIST_MAX], len: 0, unicast: None };
        for (entry, sqn) in asked.list.iter_mut().zip(header.options.nak_list(packet)) {
            *entry = sqn;
            asked.len += 1;
        }
        // conformance 58: we know what we sent; whoever asks for more is mistaken in all of it.
        if asked.sqns().any(|sqn| self.standing(sqn) == Standing::Ahead) {
            self.stats.naks_ahead += 1;
            return;
        }
        if self.inbox.is_copy(now, from, nak.sqn, to == self.group) {
            self.stats.nak_copies += 1;
            return;
        }
        // RFC 3208 §5.2: what a list has asked for a moment ago is on its way, confirmed and queued.
        if to != self.group && self.inbox.echoes.is_echo(now, from, nak.sqn, usize::from(asked.len) + 1) {
            self.stats.nak_echoes += 1;
            return;
        }
        self.stats.naks += 1;
        self.stats.nak_sqns += u64::from(asked.len) + 1;
        self.finish.on_nak(now);
        let confirm = self.wants_confirmation(now, &asked);
        self.enter(now, &asked, from, confirm);
        if confirm {
            self.confirm(now, &asked, from);
        } else {
            self.stats.ncfs_suppressed += 1;
        }
    }

    /// Whether any of the SQNs may be confirmed now.
    fn wants_confirmation(&mut self, now: Time, asked: &Confirmation) -> bool {
        asked.sqns().any(|sqn| match self.standing(sqn) {
            Standing::Window(position) => self.repairs.may_confirm(now, position),
            // RFC 3208 §5.2, conformance 53: any NAK, even for what can no longer be repaired; Windows confirms its window only.
            Standing::Late if self.config.confirm_late_naks => {
                let slot = *self.inbox.late_slot(sqn);
                slot.0 != sqn || now >= slot.1
            }
            Standing::Late | Standing::Ahead => false,
        })
    }

    /// Queues the repairs.
    fn enter(&mut self, now: Time, asked: &Confirmation, from: IpAddr, confirm: bool) {
        let view = self.view();
        let from = short(from);
        let mut late = false;
        for sqn in asked.sqns() {
            match self.standing(sqn) {
                Standing::Window(position) => {
                    if self.repairs.may_hold(position) {
                        self.stats.holds += u64::from(self.trail.on_nak(now, position, &view));
                    }
                    let asked = self.repairs.on_nak(now, position, from, view.trail, view.next - 1);
                    self.stats.naks_duplicate += u64::from(!asked.queued);
                    if self.back_off.on_nak(now, asked.naks) && confirm {
                        self.repairs.contained(position);
                        self.contain();
                    }
                }
                Standing::Late => {
                    // conformance 57: no repair, and it is counted.
                    self.stats.naks_too_late += 1;
                    late = true;
                }
                Standing::Ahead => {}
            }
        }
        if late {
            // The receiver learns from the next trail it sees that the data is gone; it should not have to wait for it.
            self.spms.request(now);
        }
    }

    /// Whether anything but NCFs waits to be sent.
    fn has_others(&self, now: Time) -> bool {
        let data = self.finish.sends_data() && self.next < self.window.head();
        data || self.spms.is_due(now) || self.repairs.next_due().is_some_and(|due| due <= now)
    }

    fn contain(&mut self) {
        // RFC 3208 §15.3: confirm by unicast until an SPM is out, and send that SPM.
        self.inbox.contained = true;
        self.stats.containments += 1;
        self.spms.demand();
    }

    fn confirm(&mut self, now: Time, asked: &Confirmation, from: IpAddr) {
        // RFC 3208 §5.1.3, conformance 159: NCFs that are pending go before all else, so in a flood no more may be pending than
        // leave room for what waits behind them.
        let starving = self.inbox.run >= RUN_MAX && self.has_others(now);
        if starving || self.inbox.confirmations.len() == CONFIRMATIONS_MAX {
            // The repair comes all the same, or the receiver asks again; by then there is room.
            self.stats.ncfs_dropped += 1;
            for sqn in asked.sqns() {
                if let Standing::Window(position) = self.standing(sqn) {
                    self.repairs.follows(position, self.inbox.queued);
                }
            }
            return;
        }
        let late_until = now.plus(self.ncf_repeat_ns);
        self.inbox.queued += 1;
        for sqn in asked.sqns() {
            match self.standing(sqn) {
                Standing::Window(position) => self.repairs.confirmed(now, position, self.inbox.queued),
                Standing::Late => *self.inbox.late_slot(sqn) = (sqn, late_until),
                Standing::Ahead => {}
            }
        }
        let unicast = self.inbox.contained.then_some(from);
        self.inbox.confirmations.push_back(Confirmation { unicast, ..*asked });
    }
}

/// An address in 32 bits, to compare with itself.
fn short(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits ^ (bits >> 32) ^ (bits >> 64) ^ (bits >> 96)) as u32
        }
    }
}
