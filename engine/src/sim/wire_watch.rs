//! The wire watch: sees every packet that any endpoint sends, and every request that really reaches a source, and knows what may
//! come when. It shares no code with the state machines it watches but the parser, whose octets `form` checks again.

use core::cell::RefCell;
use core::net::IpAddr;
use std::rc::Rc;

use super::form;
use super::ledger::Ledgers;
use crate::frame::To;
use crate::time::Time;
use crate::wire::{self, Header, Kind, Limits, Nak, Sqn, Tsi};

/// A token bucket that only watches: exact in octets × nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct RateWatch {
    rate_bytes_per_s: u64,
    bucket_bytes: u64,
    level: i128,
    seen: Time,
}

const SECOND_NS: i128 = 1_000_000_000;

impl RateWatch {
    /// Watches that no interval `t` sees more than `bucket + rate · t` octets.
    pub fn new(rate_bytes_per_s: u64, bucket_bytes: u64) -> Self {
        Self { rate_bytes_per_s, bucket_bytes, level: i128::from(bucket_bytes) * SECOND_NS, seen: Time::ZERO }
    }

    /// Whether these octets are within the limit.
    pub fn takes(&mut self, now: Time, octets: u32) -> bool {
        let gained = i128::from(now.since(self.seen)) * i128::from(self.rate_bytes_per_s);
        self.level = (self.level + gained).min(i128::from(self.bucket_bytes) * SECOND_NS);
        self.seen = now;
        self.level -= i128::from(octets) * SECOND_NS;
        self.level >= 0
    }
}

/// What the watch has to know about a source.
#[derive(Clone, Debug)]
pub struct SourceFacts {
    /// Its session.
    pub tsi: Tsi,
    /// Its node.
    pub node: u32,
    /// Its address.
    pub nla: IpAddr,
    /// Its group.
    pub group: IpAddr,
    /// Its data-destination port.
    pub data_port: u16,
    /// Whether SPMs, NCFs and RDATA carry Router Alert.
    pub router_alert: bool,
    /// An SQN may be confirmed only so often; 0 for no limit.
    pub ncf_limit_ns: u64,
    /// NAKs below the trail are not confirmed.
    pub confirms_window_only: bool,
    /// Octets of IP headers.
    pub ip_header: u32,
    /// The rate and what it counts.
    pub rate: Option<RateWatch>,
    /// Whether repairs count.
    pub rate_counts_rdata: bool,
}

struct SourceWatch {
    facts: SourceFacts,
    ledger: usize,
    spm_sqn: Option<Sqn>,
    /// Packets sent once: the next ODATA has this position.
    sent: i64,
    trail: i64,
    /// By position: when it was last confirmed, and whether anybody ever asked for it.
    confirmed: Vec<Option<Time>>,
    asked: Vec<bool>,
    /// NAKs that must be confirmed, oldest first.
    unconfirmed: std::collections::VecDeque<(Time, i64)>,
    /// How many NAKs were not confirmed, and the first of them.
    unanswered: (u64, Option<(Time, i64)>),
    /// Not confirmed, and excused if the trail turns out to have passed them by then.
    doubtful: Vec<i64>,
    fin: bool,
    rst: bool,
    retired: bool,
}

/// How many packets of each kind were sent, in the order of [`WireCounts::NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts(pub [u64; 7]);

impl WireCounts {
    /// Names of the kinds.
    pub const NAMES: [&'static str; 7] = ["SPM", "ODATA", "RDATA", "NAK", "NCF", "SPMR", "other"];

    fn index(kind: &Kind) -> usize {
        match kind {
            Kind::Spm(_) => 0,
            Kind::Odata(_) => 1,
            Kind::Rdata(_) => 2,
            Kind::Nak(_) => 3,
            Kind::Ncf(_) => 4,
            Kind::Spmr => 5,
            _ => 6,
        }
    }

    /// ODATA packets.
    pub fn odata(&self) -> u64 {
        self.0[1]
    }
    /// RDATA packets.
    pub fn rdata(&self) -> u64 {
        self.0[2]
    }
    /// NAK packets, of both ways.
    pub fn naks(&self) -> u64 {
        self.0[3]
    }
    /// NCF packets.
    pub fn ncfs(&self) -> u64 {
        self.0[4]
    }
}

/// Sees everything. One per simulated world.
pub struct WireWatch {
    ledgers: Rc<RefCell<Ledgers>>,
    completion_ns: u64,
    sources: Vec<SourceWatch>,
    limits: Limits,
    /// The first thing that was wrong.
    fault: Option<String>,
    digest: u64,
    /// What was sent.
    pub counts: WireCounts,
}

impl WireWatch {
    /// A watch over sessions that write these ledgers.
    ///
    /// Links keep sent frames for `completion_ns`.
    pub fn new(ledgers: Rc<RefCell<Ledgers>>, completion_ns: u64) -> Self {
        Self {
            ledgers,
            completion_ns,
            sources: Vec::new(),
            limits: Limits { max_apdu: u32::MAX, max_fragments: u32::MAX },
            fault: None,
            digest: 0,
            counts: WireCounts::default(),
        }
    }

    /// A source begins; its ledger is in place.
    pub fn begin(&mut self, facts: SourceFacts) {
        let ledger = self.ledgers.borrow().find(facts.tsi).expect("the ledger comes first");
        self.sources.push(SourceWatch {
            facts,
            ledger,
            spm_sqn: None,
            sent: 0,
            trail: 0,
            confirmed: Vec::new(),
            asked: Vec::new(),
            unconfirmed: std::collections::VecDeque::new(),
            unanswered: (0, None),
            doubtful: Vec::new(),
            fin: false,
            rst: false,
            retired: false,
        });
    }

    /// The application has closed the session: every SPM from now on says so.
    pub fn closes(&mut self, tsi: Tsi) {
        self.each(tsi, |source| source.fin = true);
    }

    /// The application has aborted the session: every SPM from now on says so.
    pub fn aborts(&mut self, tsi: Tsi) {
        self.each(tsi, |source| source.rst = true);
    }

    /// The source is gone, or done: it owes nobody anything.
    pub fn retires(&mut self, tsi: Tsi) {
        self.each(tsi, |source| {
            source.retired = true;
            source.unconfirmed.clear();
            source.doubtful.clear();
        });
    }

    fn each(&mut self, tsi: Tsi, change: impl Fn(&mut SourceWatch)) {
        self.sources.iter_mut().filter(|source| source.facts.tsi == tsi).for_each(change);
    }

    /// The first thing that was wrong.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// A digest of all octets sent, with their times and senders.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The oldest position that a session has advertised.
    pub fn trail(&self, tsi: Tsi) -> i64 {
        self.sources.iter().find(|source| source.facts.tsi == tsi).map_or(0, |source| source.trail)
    }

    fn digest_word(&mut self, word: u64) {
        self.digest = (self.digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }

    fn digest_packet(&mut self, now: Time, node: u32, packet: &[u8]) {
        self.digest_word(now.as_nanos());
        self.digest_word(u64::from(node) << 32 | packet.len() as u64);
        for chunk in packet.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.digest_word(u64::from_le_bytes(word));
        }
    }

    #[cold]
    fn blame(&mut self, now: Time, node: u32, what: impl core::fmt::Display, packet: &[u8]) {
        if self.fault.is_none() {
            let hex: Vec<String> = packet.iter().take(64).map(|octet| format!("{octet:02x}")).collect();
            self.fault = Some(format!("wire, {} ns, node {node}: {what}; packet {}", now.as_nanos(), hex.join("")));
        }
    }

    /// A node sends a packet.
    pub fn sent(&mut self, now: Time, node: u32, packet: &[u8], to: To, router_alert: bool) {
        self.digest_packet(now, node, packet);
        let header = match wire::parse(packet, &self.limits) {
            Ok(header) => header,
            Err(reject) => return self.blame(now, node, format_args!("sent what nobody can parse: {reject}"), packet),
        };
        self.counts.0[WireCounts::index(&header.kind)] += 1;
        let judged = form::fault(packet, &header)
            .map_or_else(|| self.judge(now, node, packet, &header, to, router_alert), |fault| Err(fault.to_owned()));
        if let Err(what) = judged {
            self.blame(now, node, what, packet);
        }
    }

    fn judge(
        &mut self,
        now: Time,
        node: u32,
        packet: &[u8],
        header: &Header,
        to: To,
        router_alert: bool,
    ) -> Result<(), String> {
        let Some(source) = self.sources.iter_mut().find(|source| source.facts.tsi == header.tsi) else {
            return Err(format!("{} of a session that does not exist", header.packet_type().name()));
        };
        unless(header.data_port == source.facts.data_port, "another data-destination port")?;
        if header.packet_type().is_upstream() {
            return source.judge_upstream(packet, header, to, router_alert);
        }
        if node != source.facts.node {
            // RFC 3208 §15.3.2: a unicast NCF that says so is repeated for the neighbours. Nothing else is.
            let relayed = matches!(header.kind, Kind::Ncf(_)) && header.options.nbr_unreach();
            return unless(relayed && to == To::Neighbours(source.facts.group), "somebody else speaks for the source");
        }
        unless(!source.retired, "a packet after the end")?;
        let ledgers = self.ledgers.borrow();
        source.judge_downstream(now, packet, header, to, router_alert, &ledgers)
    }

    /// A packet has reached a source.
    pub fn reached(&mut self, now: Time, node: u32, packet: &[u8]) {
        let Ok(header) = wire::parse(packet, &self.limits) else { return };
        let Kind::Nak(nak) = header.kind else { return };
        let known = |source: &&mut SourceWatch| source.facts.tsi == header.tsi && source.facts.node == node;
        let Some(source) = self.sources.iter_mut().find(known) else { return };
        let ledgers = self.ledgers.borrow();
        let position = |sqn: Sqn| ledgers.0[source.ledger].position(sqn);
        if source.retired || nak.source != source.facts.nla || nak.group != source.facts.group {
            return;
        }
        let head = position(nak.sqn);
        for asked in core::iter::once(head).chain(header.options.nak_list(packet).map(position)) {
            if (0..source.sent).contains(&asked) {
                source.asked[asked as usize] = true;
            }
        }
        let from = if source.facts.confirms_window_only { source.trail } else { 0 };
        if (from..source.sent).contains(&head) && !source.rst {
            source.unconfirmed.push_back((now, head));
        }
    }

    /// Whether every request was confirmed; called now and then, and at the end.
    pub fn check_confirmations(&mut self, now: Time) {
        // RFC 3208 §5.2: at once. A batch ahead of it is all that may delay it, or a pool whose last frame has to come back first.
        let at_once_ns = 1_000_000 + 4 * self.completion_ns;
        for source in &mut self.sources {
            while let Some(&(at, position)) = source.unconfirmed.front() {
                if now.since(at) <= at_once_ns {
                    break;
                }
                source.unconfirmed.pop_front();
                let last = source.confirmed[position as usize];
                if last.is_some_and(|last| last.plus(source.facts.ncf_limit_ns) >= at) {
                    continue;
                }
                if source.facts.confirms_window_only {
                    source.doubtful.push(position);
                } else {
                    source.unanswered.0 += 1;
                    source.unanswered.1.get_or_insert((at, position));
                }
            }
        }
    }

    /// Holds what was not confirmed against what the source says that it dropped, in a flood.
    pub fn check_dropped(&mut self, tsi: Tsi, dropped: u64) {
        let Some(source) = self.sources.iter().find(|source| source.facts.tsi == tsi) else { return };
        if let (count, Some((at, position))) = source.unanswered
            && count > dropped
        {
            let what =
                format!("{count} NAKs were not confirmed, {dropped} of them knowingly; one for position {position}");
            self.blame(at, source.facts.node, what, &[]);
        }
    }
}

fn unless(good: bool, otherwise: &str) -> Result<(), String> {
    if good { Ok(()) } else { Err(otherwise.to_owned()) }
}

impl SourceWatch {
    fn judge_upstream(&self, packet: &[u8], header: &Header, to: To, router_alert: bool) -> Result<(), String> {
        unless(!router_alert, "Router Alert on an upstream packet")?;
        match (header.kind, to) {
            (Kind::Nak(nak), To::Unicast(address)) => {
                unless(address == self.facts.nla, "a NAK to another than the path of the SPMs")?;
                self.judge_nak(packet, header, &nak)
            }
            (Kind::Nak(nak), To::Neighbours(group)) => {
                unless(group == self.facts.group, "a NAK to another group")?;
                self.judge_nak(packet, header, &nak)
            }
            (Kind::Spmr, To::Neighbours(group)) => unless(group == self.facts.group, "an SPMR to another group"),
            (Kind::Spmr, To::Unicast(address)) => unless(address == self.facts.nla, "an SPMR to another source"),
            (_, to) => Err(format!("{} to {to:?}", header.packet_type().name())),
        }
    }

    fn judge_nak(&self, packet: &[u8], header: &Header, nak: &Nak) -> Result<(), String> {
        unless(nak.source == self.facts.nla, "NAK_SRC is not the source")?;
        unless(nak.group == self.facts.group, "NAK_GRP is not the group")?;
        let mut before = nak.sqn;
        for sqn in header.options.nak_list(packet) {
            unless(sqn.is_after(before), "a NAK list that does not ascend")?;
            before = sqn;
        }
        Ok(())
    }

    fn judge_downstream(
        &mut self,
        now: Time,
        packet: &[u8],
        header: &Header,
        to: To,
        router_alert: bool,
        ledgers: &Ledgers,
    ) -> Result<(), String> {
        let ledger = &ledgers.0[self.ledger];
        let alert = if router_alert && self.facts.nla.is_ipv4() { 4 } else { 0 };
        let octets = packet.len() as u32 + self.facts.ip_header + alert;
        unless(octets <= 1500, "longer than the MTU")?;
        let counted = match header.kind {
            Kind::Spm(_) | Kind::Odata(_) => true,
            Kind::Rdata(_) => self.facts.rate_counts_rdata,
            _ => false,
        };
        if counted && let Some(rate) = &mut self.facts.rate {
            unless(rate.takes(now, octets), "above the rate limit")?;
        }
        if !matches!(header.kind, Kind::Ncf(_)) {
            unless(to == To::Group(self.facts.group), "not to the group")?;
        }
        let wants_alert = self.facts.router_alert && !matches!(header.kind, Kind::Odata(_));
        unless(router_alert == wants_alert, "Router Alert where it does not belong, or none where it does")?;
        match header.kind {
            Kind::Spm(spm) => {
                if let Some(last) = self.spm_sqn {
                    unless(spm.sqn == last.next(), "SPM_SQN does not count by one")?;
                }
                self.spm_sqn = Some(spm.sqn);
                unless(spm.path == self.facts.nla, "SPM_PATH is not the interface")?;
                let (trail, lead) = (ledger.position(spm.trail), ledger.position(spm.lead));
                unless(lead == self.sent - 1, "SPM_LEAD is not what was sent last")?;
                self.judge_trail(trail)?;
                // FIN names the last packet: it comes when the application has closed and all it gave has been sent.
                let over = self.fin && self.sent as u64 == ledger.sent();
                unless(self.rst || header.options.fin() == over, "OPT_FIN does not tell the truth")?;
                unless(header.options.rst(packet).is_some() == self.rst, "OPT_RST does not tell the truth")
            }
            Kind::Odata(data) => {
                unless(self.spm_sqn.is_some(), "data before the first SPM")?;
                let position = ledger.position(data.sqn);
                unless(position == self.sent, "ODATA out of sequence")?;
                self.sent += 1;
                self.confirmed.push(None);
                self.asked.push(false);
                self.judge_data(packet, header, position, ledger.position(data.trail), ledger)
            }
            Kind::Rdata(data) => {
                let position = ledger.position(data.sqn);
                unless((self.trail..self.sent).contains(&position), "RDATA outside the window")?;
                unless(self.asked[position as usize], "RDATA that nobody asked for")?;
                unless(self.confirmed[position as usize].is_some(), "RDATA before its NCF")?;
                self.judge_data(packet, header, position, ledger.position(data.trail), ledger)
            }
            Kind::Ncf(ncf) => {
                unless(ncf.source == self.facts.nla && ncf.group == self.facts.group, "NCF with other addresses")?;
                for sqn in core::iter::once(ncf.sqn).chain(header.options.nak_list(packet)) {
                    let position = ledger.position(sqn);
                    unless((0..self.sent).contains(&position), "NCF for what was not sent")?;
                    unless(self.asked[position as usize], "NCF that nobody asked for")?;
                    self.confirmed[position as usize] = Some(now);
                }
                match to {
                    To::Group(group) => unless(group == self.facts.group, "NCF to another group"),
                    To::Unicast(_) => unless(header.options.nbr_unreach(), "a unicast NCF without OPT_NBR_UNREACH"),
                    To::Neighbours(_) => Err("NCF to neighbours".to_owned()),
                }
            }
            _ => Err(format!("{} from a source", header.packet_type().name())),
        }
    }

    fn judge_trail(&mut self, trail: i64) -> Result<(), String> {
        unless(trail >= self.trail, "the trail moved back")?;
        unless(trail <= self.sent, "the trail is ahead of what was sent")?;
        self.trail = trail;
        let passed = self.doubtful.drain(..).all(|position| position < trail);
        unless(passed, "a NAK for the window was not confirmed")
    }

    fn judge_data(
        &mut self,
        packet: &[u8],
        header: &Header,
        position: i64,
        trail: i64,
        ledger: &super::ledger::Ledger,
    ) -> Result<(), String> {
        self.judge_trail(trail)?;
        unless(trail <= position, "data behind its own trail")?;
        let Some(sent) = ledger.packets.get(position as usize) else { return Err("data nobody published".to_owned()) };
        let payload = header.payload(packet);
        unless(payload.len() == usize::from(sent.len), "another payload length than published")?;
        unless(ledger.matches(position as u64, payload), "another payload than published")?;
        match header.options.fragment(packet) {
            None => unless(sent.packets == 1, "a fragment without OPT_FRAGMENT"),
            Some(fragment) => {
                let first = ledger.position(fragment.first_sqn);
                let right = first == position - i64::from(sent.index)
                    && fragment.offset == sent.offset
                    && fragment.apdu_len == sent.apdu_len
                    && sent.packets > 1;
                unless(right, "OPT_FRAGMENT does not fit what was published")
            }
        }
    }
}
