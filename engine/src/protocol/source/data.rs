//! Data on its way out: new packets in sequence, repairs between them.
//!
//! Called by [`Source::transmit`] once NCFs and SPMs are out. The hot path of the sending side is [`Source::send_new`]: one loop, one
//! header written in front of a payload that stays where the publisher put it, one token handed over. Guards: SQNs leave in order,
//! nothing leaves beyond the rate, and neither new data nor repairs starve the other.

use super::rate::{Class, Limiter};
use super::{RETRY_NS, Source};
use crate::frame::{Apdu, Frame, Outgoing, Pool, TxBatch};
use crate::time::Time;
use crate::wire::build::{Content, DATA_HEADER_LEN, DataOptions, DataType, RECORDS_HEADER_LEN, patch_data, patch_join};
use crate::wire::{Fragment, Sqn, checksum};

/// How far new data and repairs may get out of balance, in octets × percent: some large packets' worth.
const BALANCE_MAX: i64 = 100 * 65_536;

/// Repairs looked at in vain in one call: bounds its time. The rest is looked at in the next.
const PASSED_MAX: u32 = 256;

/// No second look at a slot in flight sooner than this. Completions take microseconds; asking much faster only burns cycles.
const IN_FLIGHT_RETRY_NS: u64 = 10_000;

/// What became of the repair that was next.
enum Repair {
    /// It left, with this many octets.
    Left(u32),
    /// It was none, or has to wait for its slot or its NCF; there may be another.
    Passed,
    /// No repair can leave until the rate allows it.
    OutOfRate,
    /// No repair can leave until a frame is free.
    OutOfFrames,
}

/// Whether the rate lets new data of `octets` leave; if so, it is counted, else `after` says when it will.
fn admit(limiter: &mut Limiter, octets: u32, after: &mut Time) -> bool {
    let allowed = limiter.allows(Class::Sustained, octets);
    if allowed {
        limiter.sent(Class::Sustained, octets);
    } else {
        *after = limiter.ready_at(Class::Sustained, octets);
    }
    allowed
}

impl Source {
    /// Sends new data and repairs, as many as there is room and rate for.
    pub(super) fn send_data(&mut self, now: Time, pool: &mut Pool, out: &mut TxBatch) {
        let head = if self.spms.opened() && self.finish.sends_data() { self.window.head() } else { self.next };
        // Where NCFs wait for frames, new data goes on, and so do repairs that were confirmed, whose frames are their own.
        if self.repairs.next_due().is_some_and(|due| due <= now) {
            self.send_mixed(now, pool, out, head);
        } else if self.next < head {
            self.send_new(now, pool, out, head);
        }
    }

    /// Repairs are waiting: shares room and rate between them and new data.
    #[cold]
    fn send_mixed(&mut self, now: Time, pool: &mut Pool, out: &mut TxBatch, head: u64) {
        let share = i64::from(self.config.repair_share);
        let apart = self.limiter.repairs_apart();
        let (mut repairs_stopped, mut data_stopped) = (false, false);
        self.repairs_after = now;
        // Repairs that send nothing, because they have to wait or the trail has passed them, are bounded apart.
        let mut passed = 0;
        // conformance 43: an SPM may be due after so many packets, and then goes before the next of them.
        while out.room() > 0 && self.spms.packets_left() > 0 {
            let repair = !repairs_stopped && self.repairs.peek(now).is_some();
            let new = !data_stopped && self.next < head;
            if !repair {
                if new {
                    self.send_new(now, pool, out, head);
                }
                return;
            }
            // RFC 3208 §5.1.3, conformance 36, 159: weighted sharing; whoever is alone takes all and owes nothing.
            if !new {
                self.balance = 0;
            }
            if new && self.balance < 0 {
                let before = self.stats.odata_octets;
                let next = self.next;
                self.send_new(now, pool, out, next + 1);
                data_stopped = self.next == next;
                if data_stopped && !apart {
                    // One rate for both: whose turn it is waits, or the smaller packets would take it all.
                    self.repairs_after = self.data_after;
                    return;
                }
                let octets = (self.stats.odata_octets - before) as i64;
                self.balance = (self.balance + octets * share).min(BALANCE_MAX);
                continue;
            }
            match self.send_repair(now, pool, out) {
                Repair::Left(octets) => {
                    self.balance = (self.balance - i64::from(octets) * (100 - share)).max(-BALANCE_MAX);
                }
                Repair::Passed => {
                    passed += 1;
                    repairs_stopped = passed >= PASSED_MAX;
                }
                Repair::OutOfFrames => repairs_stopped = true,
                Repair::OutOfRate if apart => repairs_stopped = true,
                Repair::OutOfRate => {
                    self.data_after = self.repairs_after;
                    return;
                }
            }
        }
        self.data_after = now;
    }

    /// Sends what was committed, in order, up to the position `end`.
    #[inline]
    pub(super) fn send_new(&mut self, now: Time, pool: &mut Pool, out: &mut TxBatch, end: u64) {
        let first = self.next;
        // conformance 43: an SPM may be due after so many packets, and then goes before the next of them.
        let end = end.min(first + (out.room() as u64).min(self.spms.packets_left()));
        // RFC 3208 §8.2, conformance 38: the trail of this moment.
        let trail = self.sqn_of(self.window.trail());
        let payload_before = self.stats.odata_payload;
        self.data_after = now;
        while self.next < end {
            let from = self.next;
            // A batch grows until nothing is in front of it and the rate lets it leave.
            if from == self.window.settled() && !self.seal() {
                break;
            }
            let end = end.min(self.window.settled());
            if from == self.syn_position || self.config.late_join_percent.is_some() {
                self.send_with_options(pool, out, trail);
            } else {
                match (self.config.batch, self.limiter.is_limited()) {
                    (false, false) => self.send_plain::<false, false>(pool, out, end, trail),
                    (false, true) => self.send_plain::<false, true>(pool, out, end, trail),
                    (true, false) => self.send_plain::<true, false>(pool, out, end, trail),
                    (true, true) => self.send_plain::<true, true>(pool, out, end, trail),
                }
            }
            if self.next == from && !(self.data_after == now && self.send_with_options(pool, out, trail)) {
                break;
            }
        }
        let packets = self.next - first;
        if packets > 0 {
            self.stats.odata += packets;
            let headers = u64::from(self.path.ip_octets(DATA_HEADER_LEN, false));
            self.stats.odata_octets += self.stats.odata_payload - payload_before + packets * headers;
            self.spms.on_data(now, packets);
            self.trail.on_sent(now);
        }
    }

    /// Makes the newest packet final, if the rate lets it leave as it is. It leaves at once then, with the same octets.
    // Out of line, because only sessions that batch come here.
    #[inline(never)]
    fn seal(&mut self) -> bool {
        let Self { window, limiter, path, data_after, next, .. } = self;
        let (position, layout) = (*next, window.layout());
        window.seal(|slot| {
            let front = DATA_HEADER_LEN + usize::from(layout.options(position, slot.apdu.is_some()));
            let octets = path.ip_octets(front + usize::from(slot.len), false);
            let allowed = limiter.allows(Class::Sustained, octets);
            if !allowed {
                *data_after = limiter.ready_at(Class::Sustained, octets);
            }
            allowed
        })
    }

    /// The hot loop: packets without options, or batches with theirs, until one has others or the rate is used up.
    #[inline]
    fn send_plain<const BATCH: bool, const LIMITED: bool>(
        &mut self,
        pool: &mut Pool,
        out: &mut TxBatch,
        end: u64,
        trail: Sqn,
    ) {
        let front = if BATCH { RECORDS_HEADER_LEN } else { DATA_HEADER_LEN };
        let Self { window, template, limiter, path, data_after, first, to, next, .. } = self;
        let (template, first, to) = (*template, *first, *to);
        let mut payload_octets = 0_u64;
        let mut out = out.tail();
        let begin = *next;
        *next = window.lend_plain::<BATCH>(
            pool,
            begin..end,
            front as u16,
            |len| {
                if !LIMITED {
                    return true;
                }
                let octets = path.ip_octets(front + usize::from(len), false);
                admit(limiter, octets, data_after)
            },
            |position, len, packet, frame| {
                // RFC 3208 §5.1.1, conformance 31: numbered as submitted, sent in sequence.
                let sqn = first.plus(position as u32);
                if BATCH {
                    if let Some((header, payload)) = packet.split_first_chunk_mut() {
                        template.records(header, sqn, trail, len, checksum::sum(payload));
                    }
                } else if let Some((header, payload)) = packet.split_first_chunk_mut() {
                    let sum = checksum::sum(payload);
                    template.plain(header, DataType::Odata, Content::Original, sqn, trail, len, sum);
                }
                payload_octets += u64::from(len);
                out.push_with(|| Outgoing { frame, to, router_alert: false });
            },
        );
        self.stats.odata_payload += payload_octets;
        self.stats.odata_octets += (self.next - begin) * (front - DATA_HEADER_LEN) as u64;
    }

    /// The next packet, which has options. False when it could not leave.
    #[cold]
    fn send_with_options(&mut self, pool: &mut Pool, out: &mut TxBatch, trail: Sqn) -> bool {
        let position = self.next;
        let slot = self.window.slot(position);
        let options = self.data_options(position, slot.apdu);
        let front = DATA_HEADER_LEN + options.len();
        let octets = self.path.ip_octets(front + usize::from(slot.len), false);
        if !admit(&mut self.limiter, octets, &mut self.data_after) {
            return false;
        }
        let sqn = self.sqn_of(position);
        if let Some(packet) = self.window.packet_mut(pool, position, front as u16) {
            let (header, payload) = packet.split_at_mut(front);
            let (kind, content, sum) = (DataType::Odata, Content::Original, checksum::sum(payload));
            let built = self.template.data(header, kind, content, sqn, trail, &options, slot.len, sum);
            debug_assert!(built.is_ok(), "options that do not fit the room left for them");
        }
        let Some(frame) = self.window.lend(pool, position, front as u16) else {
            debug_assert!(false, "a slot that was never sent is in flight");
            return false;
        };
        out.push(Outgoing { frame, to: self.to, router_alert: false });
        self.next = position + 1;
        self.stats.odata_payload += u64::from(slot.len);
        self.stats.odata_octets += options.len() as u64;
        true
    }

    #[cold]
    fn data_options(&self, position: u64, apdu: Option<Apdu>) -> DataOptions {
        DataOptions {
            // RFC 3208 §9.2.2, conformance 39, 40: on every fragment and on nothing else.
            fragment: apdu.map(|apdu| Fragment {
                first_sqn: self.sqn_of(position - u64::from(apdu.index)),
                offset: apdu.offset,
                apdu_len: apdu.len,
            }),
            // RFC 3208 §9.6.2, conformance 41: the first packet alone.
            syn: position == self.syn_position,
            // RFC 3208 §9.4, conformance 42: while data flows, whoever comes late hears data before the next SPM.
            join: self.join(),
            records: self.config.batch && apdu.is_none(),
            ..DataOptions::NONE
        }
    }

    /// Sends the repair that is due first.
    fn send_repair(&mut self, now: Time, pool: &mut Pool, out: &mut TxBatch) -> Repair {
        let Some(position) = self.repairs.peek(now) else { return Repair::Passed };
        if position < self.window.trail() {
            self.repairs.expire();
            self.stats.repairs_expired += 1;
            return Repair::Passed;
        }
        // RFC 3208 §5.1.3, conformance 159: no repair before its NCF.
        if self.repairs.is_unconfirmed(position, self.inbox.left()) {
            self.repairs.defer(self.control_after);
            return Repair::Passed;
        }
        if self.window.in_flight(pool, position) {
            self.repairs.defer(now.plus(IN_FLIGHT_RETRY_NS));
            self.stats.repairs_deferred += 1;
            return Repair::Passed;
        }
        let slot = self.window.slot(position);
        let syn = position == self.syn_position;
        let options = if slot.apdu.is_some() || syn || self.config.batch || self.config.late_join_percent.is_some() {
            self.data_options(position, slot.apdu).len()
        } else {
            0
        };
        let front = (DATA_HEADER_LEN + options) as u16;
        let octets = self.path.ip_octets(usize::from(front + slot.len), self.config.router_alert);
        if !self.limiter.allows(Class::Repair, octets) {
            self.repairs_after = self.limiter.ready_at(Class::Repair, octets);
            return Repair::OutOfRate;
        }
        let Some(frame) = self.repair_frame(pool, position, front) else {
            self.repairs_after = now.plus(RETRY_NS);
            return Repair::OutOfFrames;
        };
        self.limiter.sent(Class::Repair, octets);
        // RFC 3208 §4, §5.3, conformance 15, 56: multicast, with Router Alert.
        out.push(Outgoing { frame, to: self.to, router_alert: self.config.router_alert });
        let may_hold = self.repairs.may_hold(position);
        let naks = self.repairs.sent(now);
        if may_hold {
            self.trail.on_repair(now, position, self.window.trail());
        }
        self.back_off.on_repair(naks);
        self.spms.on_data(now, 1);
        self.stats.rdata += 1;
        self.stats.rdata_octets += u64::from(octets);
        Repair::Left(octets)
    }

    /// The packet as a repair: the very frame where the header form is the same, a copy where Router Alert makes it longer.
    fn repair_frame(&mut self, pool: &mut Pool, position: u64, front: u16) -> Option<Frame> {
        // RFC 3208 §8.2, conformance 38: the payload of then, the trail of now.
        let (trail, join) = (self.sqn_of(self.window.trail()), self.join());
        if !self.config.router_alert || self.path.alert == 0 {
            let packet = self.window.packet_mut(pool, position, front)?;
            patch_data(packet, DataType::Rdata, trail);
            join.inspect(|join| patch_join(packet, *join));
            return self.window.lend(pool, position, front);
        }
        let mut frame = self.loose(pool)?;
        let packet = self.window.packet_mut(pool, position, front)?;
        frame.set_range(frame.start(), packet.len() as u16);
        let copy = pool.bytes_mut(&mut frame);
        copy.copy_from_slice(packet);
        patch_data(copy, DataType::Rdata, trail);
        join.inspect(|join| patch_join(copy, *join));
        Some(frame)
    }
}
