//! What runs covered: which faults, which endings, which special cases, in how many seeds.

use core::fmt;

use super::net::SimLink;
use super::run::Outcome;
use super::scenario::{Ending, Scenario, SourcePlan};
use super::wire_watch::WireCounts;
use crate::link::faults::{FaultCounts, Faults};

/// What happened in one run. Counts what took place, not what was planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// What the faulty links did.
    pub done: FaultCounts,
    /// Packets lost in full queues.
    pub overruns: u64,
    /// Times that a node did nothing though something was to be done.
    pub stalls: u64,
    /// Times that a publisher found its window full.
    pub back_pressure: u64,
    /// Sources that died and came back with another TSI.
    pub restarts: u64,
    /// Sessions ended by FIN.
    pub fins: u64,
    /// Sessions ended by RST.
    pub rsts: u64,
    /// Sessions that fell silent.
    pub silences: u64,
    /// Sessions whose SQNs wrap.
    pub wraps: u64,
    /// Sessions with messages of several packets.
    pub fragmented: u64,
    /// Receivers that join late.
    pub late_joins: u64,
    /// Repairs sent.
    pub repairs: u64,
    /// Whether it was over IPv6.
    pub ipv6: u64,
}

impl Coverage {
    pub(super) fn plan(&mut self, scenario: &Scenario, source: &SourcePlan) {
        let first = source.config.initial_sqn.map_or(0, crate::wire::Sqn::get);
        self.wraps += u64::from(first.checked_add(source.messages).is_none());
        self.fragmented += u64::from(source.fragmented_permille > 0);
        self.late_joins = scenario.receivers.iter().filter(|receiver| receiver.joins_ns > 0).count() as u64;
        self.ipv6 = u64::from(scenario.group.is_ipv6());
    }

    pub(super) fn ending(&mut self, ending: Ending) {
        match ending {
            Ending::Fin => self.fins += 1,
            Ending::Rst(_) => self.rsts += 1,
            Ending::Silence => self.silences += 1,
        }
    }

    pub(super) fn faults(&mut self, link: &Faults<SimLink>) {
        for counts in [link.receive_counts(), link.send_counts()] {
            let done = &mut self.done;
            done.packets += counts.packets;
            done.lost += counts.lost;
            done.lost_in_bursts += counts.lost_in_bursts;
            done.lost_by_list += counts.lost_by_list;
            done.cut += counts.cut;
            done.duplicated += counts.duplicated;
            done.reordered += counts.reordered;
            done.corrupted += counts.corrupted;
            done.truncated += counts.truncated;
            done.delayed += counts.delayed;
            done.over_bound += counts.over_bound;
            done.no_frame += counts.no_frame;
        }
    }

    pub(super) fn wire(&mut self, counts: &WireCounts) {
        self.repairs = counts.rdata();
    }

    /// Everything by name.
    fn items(&self) -> [(&'static str, bool, u64); 21] {
        let done = &self.done;
        [
            ("random loss", true, done.lost),
            ("burst loss", true, done.lost_in_bursts),
            ("listed loss", true, done.lost_by_list),
            ("one-way cut", true, done.cut),
            ("duplication", true, done.duplicated),
            ("reordering", true, done.reordered),
            ("corruption", true, done.corrupted),
            ("truncation", true, done.truncated),
            ("delay", true, done.delayed),
            ("end by FIN", true, self.fins),
            ("end by RST", true, self.rsts),
            ("end by silence", true, self.silences),
            ("late joiners", true, self.late_joins),
            ("stalled receivers", true, self.stalls),
            ("restarted sources", true, self.restarts),
            ("SQN wrap", true, self.wraps),
            ("fragmented APDUs", true, self.fragmented),
            ("repairs", true, self.repairs),
            ("full windows", false, self.back_pressure),
            ("full queues", false, self.overruns),
            ("IPv6", false, self.ipv6),
        ]
    }
}

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seeds played.
    pub seeds: u64,
    /// Packets delivered.
    pub delivered: u64,
    /// Octets delivered.
    pub octets: u64,
    /// Packets reported lost.
    pub lost: u64,
    /// Receivers.
    pub receivers: u64,
    /// Virtual time.
    pub virtual_ns: u128,
    /// Packets sent, by kind.
    pub wire: WireCounts,
    /// In how many seeds each item came.
    pub seeds_with: [u64; 21],
    /// How often each item came.
    pub counts: [u64; 21],
    /// Seeds that failed, with what was wrong.
    pub failures: Vec<(u64, String)>,
    /// All digests in one, whatever the order of the seeds.
    pub digest: u64,
}

impl Report {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.delivered += outcome.delivered;
        self.octets += outcome.octets;
        self.lost += outcome.lost;
        self.receivers += outcome.receivers;
        self.virtual_ns += u128::from(outcome.virtual_ns);
        for (sum, count) in self.wire.0.iter_mut().zip(outcome.wire.0) {
            *sum += count;
        }
        for (n, (_, _, count)) in outcome.coverage.items().into_iter().enumerate() {
            self.seeds_with[n] += u64::from(count > 0);
            self.counts[n] += count;
        }
        self.digest = self.digest.wrapping_add(outcome.digest.wrapping_mul(outcome.seed | 1));
        if let Some(fault) = &outcome.fault {
            self.failures.push((outcome.seed, fault.clone()));
        }
    }

    /// Adds what another thread came to.
    pub fn merge(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.delivered += other.delivered;
        self.octets += other.octets;
        self.lost += other.lost;
        self.receivers += other.receivers;
        self.virtual_ns += other.virtual_ns;
        for (sum, count) in self.wire.0.iter_mut().zip(other.wire.0) {
            *sum += count;
        }
        for n in 0..self.counts.len() {
            self.seeds_with[n] += other.seeds_with[n];
            self.counts[n] += other.counts[n];
        }
        self.digest = self.digest.wrapping_add(other.digest);
        self.failures.extend(other.failures.iter().cloned());
    }

    /// What must come in a twentieth of the seeds and did not.
    pub fn uncovered(&self) -> Vec<&'static str> {
        let items = Coverage::default().items();
        let rare = |n: usize| items[n].1 && self.seeds_with[n] * 20 < self.seeds;
        (0..items.len()).filter(|&n| rare(n)).map(|n| items[n].0).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds = self.seeds.max(1);
        writeln!(
            f,
            "{} seeds, {} packets delivered ({} octets), {} reported lost, {:.1} receivers on average, {} virtual seconds",
            self.seeds,
            self.delivered,
            self.octets,
            self.lost,
            self.receivers as f64 / seeds as f64,
            self.virtual_ns / 1_000_000_000,
        )?;
        let kinds: Vec<String> =
            WireCounts::NAMES.iter().zip(self.wire.0).map(|(name, count)| format!("{count} {name}")).collect();
        writeln!(f, "sent: {}", kinds.join(", "))?;
        writeln!(f, "{:<20} {:>9} {:>7} {:>14}", "covered", "seeds", "%", "times")?;
        for (n, (name, _, _)) in Coverage::default().items().into_iter().enumerate() {
            let with = self.seeds_with[n];
            let percent = with as f64 * 100.0 / seeds as f64;
            writeln!(f, "{name:<20} {with:>9} {percent:>6.1}% {:>14}", self.counts[n])?;
        }
        writeln!(f, "digest {:016x}", self.digest)
    }
}
