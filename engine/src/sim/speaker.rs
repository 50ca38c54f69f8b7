//! The application that publishes into a simulated session, and what the wire watch has to know of it.

use super::ledger::Ledger;
use super::scenario::{DATA_PORT, SourcePlan};
use super::wire_watch::{RateWatch, SourceFacts};
use crate::endpoint::SourceId;
use crate::frame::{ClaimError, PathFacts};
use crate::protocol::Rng;
use crate::protocol::source::{Advance, Burst, Publisher, Rate, SourceConfig};
use crate::time::{Time, nanos};
use crate::wire::Tsi;

/// The two copies of a NAK come within this time, or count as two.
const COPY_NS: u64 = 50_000_000;

/// An application that publishes, and its session.
pub(super) struct Speaker {
    pub(super) plan: SourcePlan,
    pub(super) tsi: Tsi,
    pub(super) node: Option<usize>,
    pub(super) id: Option<SourceId>,
    pub(super) publisher: Option<Publisher>,
    pub(super) ledger: usize,
    pub(super) left: u32,
    /// A message that found the window full: its length, and whether it takes several packets.
    pub(super) waiting: Option<(usize, bool)>,
    pub(super) rng: Rng,
    pub(super) over: Option<Time>,
}

impl Speaker {
    /// Publishes a burst, or as much of it as the window takes; says whether the window was full.
    pub(super) fn publish(&mut self, ledger: &mut Ledger) -> Result<bool, String> {
        let Some(publisher) = &mut self.publisher else { return Ok(false) };
        for _ in 0..self.plan.burst.min(self.left) {
            let (len, fragmented) = self.waiting.take().unwrap_or_else(|| draw_len(&mut self.rng, &self.plan));
            match put(publisher, ledger, len, fragmented) {
                Ok(()) => self.left -= 1,
                Err(ClaimError::Full) => {
                    if self.plan.config.advance == Advance::Application {
                        // The application lets go of the older half.
                        let half = u64::from(self.plan.config.window_slots / 2);
                        publisher.advance_trail(publisher.sqn_of(ledger.sent().saturating_sub(half)));
                    }
                    self.waiting = Some((len, fragmented));
                    return Ok(true);
                }
                Err(error) => return Err(format!("a message of {len} octets was refused: {error}")),
            }
        }
        Ok(false)
    }
}

/// What the watch has to know of a source.
pub(super) fn facts(config: &SourceConfig, copies: bool, tsi: Tsi, node: u32, path: &PathFacts) -> SourceFacts {
    let packet = u64::from(path.ip_octets(usize::from(path.tpdu_max()), true));
    let rate = match config.rate {
        Rate::Max => None,
        Rate::OctetsPerSecond(rate) => Some(RateWatch::new(
            rate,
            match config.burst {
                Burst::Packets(packets) => u64::from(packets) * packet,
                Burst::Time(time) => {
                    (u128::from(rate) * time.as_nanos() / 1_000_000_000).max(u128::from(packet)) as u64
                }
            },
        )),
    };
    SourceFacts {
        tsi,
        node,
        nla: path.nla,
        group: config.group,
        data_port: DATA_PORT,
        router_alert: config.router_alert,
        // Where NAKs are also multicast, the second copy is not confirmed again.
        ncf_limit_ns: nanos(config.ncf_repeat).max(if copies { COPY_NS } else { 0 }),
        confirms_window_only: !config.confirm_late_naks,
        ip_header: u32::from(path.ip_header),
        rate,
        rate_counts_rdata: config.advance != Advance::Time,
    }
}

/// Length of the next message, and whether it takes several packets.
fn draw_len(rng: &mut Rng, plan: &SourcePlan) -> (usize, bool) {
    if rng.chance(u64::from(plan.fragmented_permille), 1000) {
        return (1_500 + rng.below(14_000) as usize, true);
    }
    (rng.below(u64::from(plan.len_max) + 1) as usize, false)
}

/// Publishes a message and enters it in the books.
fn put(publisher: &mut Publisher, ledger: &mut Ledger, len: usize, fragmented: bool) -> Result<(), ClaimError> {
    let position = ledger.sent();
    if !fragmented {
        let mut claim = publisher.claim(len.min(publisher.claim_max()))?;
        ledger.fill(position, &mut claim);
        let len = claim.len() as u16;
        claim.commit();
        ledger.record(core::iter::once(len));
        return Ok(());
    }
    let mut claim = publisher.claim_apdu(len)?;
    let mut lens = Vec::new();
    for n in 0..claim.chunks() {
        let chunk = claim.chunk(n);
        ledger.fill(position + n, chunk);
        lens.push(chunk.len() as u16);
    }
    claim.commit();
    ledger.record(lens.into_iter());
    Ok(())
}
