//! What came of it all: what is written as `results.json`, and read again to draw the report.
//!
//! Guards: nothing that was asked for is missing here: what could not be measured has its reason in its place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::statistics::Figure;

/// Names of metrics, as `results.json` has them.
pub mod metric {
    /// Messages a second, delivered; with several receivers the mean over them.
    pub const MESSAGES: &str = "messages_per_s";
    /// Data packets a second.
    pub const PACKETS: &str = "packets_per_s";
    /// Gigabits of messages a second.
    pub const PAYLOAD_GBIT: &str = "payload_gbit_per_s";
    /// Gigabits that a wire would have carried.
    pub const WIRE_GBIT: &str = "wire_gbit_per_s";
    /// Messages lost for good, all receivers together.
    pub const LOST: &str = "lost";
    /// Messages that came damaged, twice or out of order.
    pub const CORRUPT: &str = "corrupt";
    /// Processor seconds that the sender takes for a million messages.
    pub const SENDER_CPU: &str = "sender_cpu_s_per_million";
    /// The same of a receiver.
    pub const RECEIVER_CPU: &str = "receiver_cpu_s_per_million";
    /// System calls of the sender per data packet.
    pub const SENDER_CALLS: &str = "sender_calls_per_packet";
    /// The same of the receiver.
    pub const RECEIVER_CALLS: &str = "receiver_calls_per_packet";
    /// NAKs that left for each packet that was lost.
    pub const NAKS: &str = "naks_per_loss";
    /// The part of the time that both sides of a bare contestant had their processors.
    pub const ATTENTION: &str = "attention";
    /// Latency, or round trip.
    pub const P50: &str = "p50_ns";
    /// See [`P50`].
    pub const P90: &str = "p90_ns";
    /// See [`P50`].
    pub const P99: &str = "p99_ns";
    /// See [`P50`].
    pub const P999: &str = "p999_ns";
    /// See [`P50`].
    pub const MAX: &str = "max_ns";
    /// From the loss to the delivery.
    pub const REPAIR_P50: &str = "repair_p50_ns";
    /// See [`REPAIR_P50`].
    pub const REPAIR_P99: &str = "repair_p99_ns";
    /// See [`REPAIR_P50`].
    pub const REPAIR_MAX: &str = "repair_max_ns";
}

/// One repetition of one play.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What was measured, by name.
    pub metrics: BTreeMap<String, f64>,
    /// Latencies: percentile and nanoseconds.
    pub curve: Vec<(f64, f64)>,
    /// The file with all of them.
    pub histogram: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
}

impl Sample {
    /// Adds a metric.
    pub fn set(&mut self, name: &str, value: f64) {
        self.metrics.insert(name.into(), value);
    }
}

/// A play and its samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// What tells it from the others of its bout.
    pub id: String,
    /// Who, in a word.
    pub who: String,
    /// Who, for people.
    pub title: String,
    /// The colour in figures.
    pub family: String,
    /// Octets of a message.
    pub size: u32,
    /// How many received.
    pub receivers: u8,
    /// Packets of ten thousand that were lost on the way in.
    pub loss: u16,
    /// The way that was taken, as the contestant says it.
    pub form: String,
    /// How it was begun, each end.
    pub commands: Vec<String>,
    /// A sample for each repetition.
    pub samples: Vec<Sample>,
}

impl Played {
    /// A metric, repetition by repetition.
    pub fn each(&self, metric: &str) -> Vec<Option<f64>> {
        self.samples.iter().map(|sample| sample.metrics.get(metric).copied()).collect()
    }

    /// A metric over all repetitions.
    pub fn figure(&self, metric: &str) -> Option<Figure> {
        Figure::of(self.each(metric).into_iter().flatten())
    }

    /// Messages that never came, or not as they were sent, over all repetitions.
    pub fn missing(&self) -> f64 {
        let of = |metric| -> f64 { self.each(metric).into_iter().flatten().sum() };
        of(metric::LOST) + of(metric::CORRUPT)
    }

    /// Why it has no sample at all.
    pub fn gap(&self) -> Option<&str> {
        let has_some = self.samples.iter().any(|sample| !sample.metrics.is_empty());
        if has_some {
            None
        } else {
            Some(self.samples.iter().find_map(|s| s.failure.as_deref()).unwrap_or("not played"))
        }
    }
}

/// Plays that took turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fought {
    /// Its name.
    pub name: String,
    /// Who took turns.
    pub plays: Vec<Played>,
}

/// Another benchmark, and what it said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rig {
    /// Its name.
    pub name: String,
    /// How it was begun.
    pub command: String,
    /// Its figures, by name.
    pub figures: BTreeMap<String, Figure>,
    /// Why there are none.
    pub gap: Option<String>,
}

/// What was promised, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub what: String,
    /// What was promised: `≥ 0.95`.
    pub bar: String,
    /// What was measured.
    pub figure: Option<Figure>,
    /// What the figure is counted in, if in anything.
    pub unit: String,
    /// Whether it held; `None` if it was not measured.
    pub held: Option<bool>,
    /// What else is to be said, and why it was not measured.
    pub note: String,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// When it began, in seconds since 1970.
    pub begun_s: u64,
    /// How long it took.
    pub lasted_s: f64,
    /// How much was played.
    pub extent: String,
    /// How often.
    pub repetitions: usize,
    /// How long each play sent.
    pub play_ms: u64,
    /// The command that does all of this again.
    pub command: String,
    /// Where.
    pub machine: Machine,
    /// What took turns.
    pub bouts: Vec<Fought>,
    /// What other benchmarks said.
    pub rigs: Vec<Rig>,
    /// What was promised.
    pub verdicts: Vec<Verdict>,
}

impl Results {
    /// A bout by its name.
    pub fn bout(&self, name: &str) -> Option<&Fought> {
        self.bouts.iter().find(|bout| bout.name == name)
    }

    /// A play by the names of its bout and itself.
    pub fn play(&self, bout: &str, id: &str) -> Option<&Played> {
        self.bout(bout)?.plays.iter().find(|play| play.id == id)
    }

    /// A figure of another benchmark.
    pub fn rig(&self, name: &str) -> Option<&Rig> {
        self.rigs.iter().find(|rig| rig.name == name)
    }

    /// Everybody who could not be measured, and why; each once.
    pub fn gaps(&self) -> Vec<(String, String)> {
        let mut gaps: Vec<(String, String)> = Vec::new();
        for bout in &self.bouts {
            for play in &bout.plays {
                if let Some(why) = play.gap() {
                    gaps.push((format!("{}, {}", bout.name, play.id), why.into()));
                }
            }
        }
        gaps.extend(self.rigs.iter().filter_map(|rig| Some((rig.name.clone(), rig.gap.clone()?))));
        gaps
    }
}
