//! Fault plans: which faults, how often, on which side, from which seed; and the form in which people type them.
//!
//! `loss=1%,reorder=2%x3,dup=1%,seed=7` harms what is received; `send.loss=1%` what is sent.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// How often something happens, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chance(u32);

impl Chance {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// The denominator.
    pub const WHOLE: u32 = 1_000_000;

    /// So many in a million; a million at the most.
    pub const fn millionths(n: u32) -> Self {
        Self(if n > Self::WHOLE { Self::WHOLE } else { n })
    }

    /// So many in a hundred.
    pub const fn percent(n: u32) -> Self {
        Self::millionths(n.saturating_mul(10_000))
    }

    /// In millionths.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        write!(f, "{whole}.{}%", format!("{rest:04}").trim_end_matches('0'))
    }
}

/// Losses that come in bursts, after Gilbert: a good state that loses nothing and a bad one that loses all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// How often a packet begins a burst.
    pub begins: Chance,
    /// How many packets a burst takes on average.
    pub packets_mean: u32,
}

/// What happens to the packets that go in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidePlan {
    /// Single packets are lost.
    pub loss: Chance,
    /// Packets are lost in bursts.
    pub burst: Option<Burst>,
    /// Exactly these packets are lost, counted from 1; ascending.
    pub listed: Vec<u64>,
    /// Packets come twice.
    pub duplication: Chance,
    /// Packets fall behind later ones.
    pub reordering: Chance,
    /// How many later packets overtake such a one at the most.
    pub reorder_depth: u32,
    /// One octet is changed.
    pub corruption: Chance,
    /// Packets lose their end.
    pub truncation: Chance,
    /// All packets come so much later.
    pub delay: Duration,
    /// And up to so much later again, each by itself.
    pub jitter: Duration,
    /// Nothing passes in these intervals, measured from the link's start.
    pub cuts: Vec<(Duration, Duration)>,
}

impl SidePlan {
    /// Whether nothing ever happens.
    pub fn is_quiet(&self) -> bool {
        let Self { loss, burst, listed, duplication, reordering, corruption, truncation, delay, jitter, cuts, .. } =
            self;
        [loss, duplication, reordering, corruption, truncation].iter().all(|chance| chance.0 == 0)
            && burst.is_none()
            && listed.is_empty()
            && delay.is_zero()
            && jitter.is_zero()
            && cuts.is_empty()
    }
}

/// All that a [`Faults`](super::Faults) link does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// What is done to packets that come in.
    pub receive: SidePlan,
    /// What is done to packets that go out.
    pub send: SidePlan,
    /// The same seed does the same to the same packets.
    pub seed: u64,
    /// How many packets each side holds back at the most; those above pass at once and are counted.
    pub hold: usize,
    /// Faults stop so long after the link's start.
    pub until: Option<Duration>,
}

impl FaultPlan {
    /// Packets that a side holds back by default: enough for 10 ms at 100,000 packets a second, and 2 MB of frames at the most.
    pub const HOLD: usize = 1024;
    /// The most that may be asked for.
    pub const HOLD_MAX: usize = 1 << 20;
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self { receive: SidePlan::default(), send: SidePlan::default(), seed: 1, hold: Self::HOLD, until: None }
    }
}

/// A plan that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault plan: {item:?} not understood: {expected}")]
pub struct PlanError {
    item: String,
    expected: &'static str,
}

const KEYS: &str = "expected KEY=VALUE of loss, burst, drop, dup, reorder, corrupt, truncate, delay, jitter, cut (each also as \
                    send.KEY), or seed, hold, until; as in loss=1%,burst=0.1%x8,send.delay=5ms,cut=2s..3s,seed=7";
const PERCENT: &str = "expected a percentage such as 1% or 0.05%, from 0% to 100%";
const BURST: &str =
    "expected how often and how long, such as burst=0.1%x8: every thousandth packet begins a burst of 8 on average";
const REORDER: &str = "expected a percentage and perhaps a depth, such as reorder=2% or reorder=2%x3";
const LIST: &str = "expected packet numbers from 1 on, ascending, such as drop=5+9+120";
const TIME: &str = "expected a time such as 20us, 5ms, 1500ns or 2s";
const CUT: &str = "expected an interval since the start such as cut=2s..3s, or several: cut=2s..3s+8s..9s";
const NUMBER: &str = "expected a whole number";
const HOLD: &str = "expected a number of packets from 1 to 1048576";

fn percent(text: &str) -> Result<Chance, &'static str> {
    let number = text.strip_suffix('%').ok_or(PERCENT)?;
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if whole.is_empty() || rest.len() > 4 || !digits(whole) || !digits(rest) {
        return Err(PERCENT);
    }
    let whole: u32 = whole.parse().map_err(|_| PERCENT)?;
    let rest: u32 = format!("{rest:0<4}").parse().map_err(|_| PERCENT)?;
    if whole > 100 || (whole == 100 && rest > 0) {
        return Err(PERCENT);
    }
    Ok(Chance(whole * 10_000 + rest))
}

fn time(text: &str) -> Result<Duration, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| TIME)?;
    let unit_ns = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "" if number == 0 => 1,
        _ => return Err(TIME),
    };
    number.checked_mul(unit_ns).map(Duration::from_nanos).ok_or(TIME)
}

struct Written(Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        for (unit_ns, unit) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] {
            if ns != 0 && ns.is_multiple_of(unit_ns) {
                return write!(f, "{}{unit}", ns / unit_ns);
            }
        }
        write!(f, "{ns}ns")
    }
}

fn depth(text: &str) -> Option<u32> {
    text.parse().ok().filter(|depth| (1..=1000).contains(depth))
}

impl SidePlan {
    /// `None` if there is no such key.
    fn set(&mut self, key: &str, value: &str) -> Option<Result<(), &'static str>> {
        let chance = match key {
            "loss" => &mut self.loss,
            "dup" => &mut self.duplication,
            "corrupt" => &mut self.corruption,
            "truncate" => &mut self.truncation,
            _ => return self.set_other(key, value),
        };
        Some(percent(value).map(|value| *chance = value))
    }

    fn set_other(&mut self, key: &str, value: &str) -> Option<Result<(), &'static str>> {
        Some(match key {
            "burst" => (|| {
                let (begins, packets) = value.split_once('x').ok_or(BURST)?;
                let packets_mean = depth(packets).ok_or(BURST)?;
                self.burst = Some(Burst { begins: percent(begins)?, packets_mean });
                Ok(())
            })(),
            "reorder" => (|| {
                let (chance, packets) = value.split_once('x').unwrap_or((value, "3"));
                self.reorder_depth = depth(packets).ok_or(REORDER)?;
                self.reordering = percent(chance)?;
                Ok(())
            })(),
            "drop" => (|| {
                let numbers: Result<Vec<u64>, _> = value.split('+').map(str::parse).collect();
                let numbers = numbers.map_err(|_| LIST)?;
                if numbers[0] == 0 || !numbers.is_sorted_by(|a, b| a < b) {
                    return Err(LIST);
                }
                self.listed = numbers;
                Ok(())
            })(),
            "delay" => time(value).map(|value| self.delay = value),
            "jitter" => time(value).map(|value| self.jitter = value),
            "cut" => (|| {
                for interval in value.split('+') {
                    let (from, to) = interval.split_once("..").ok_or(CUT)?;
                    let (from, to) = (time(from)?, time(to)?);
                    if from >= to {
                        return Err(CUT);
                    }
                    self.cuts.push((from, to));
                }
                Ok(())
            })(),
            _ => return None,
        })
    }

    fn write(&self, prefix: &str, items: &mut Vec<String>) {
        let mut chance = |key: &str, chance: Chance| {
            if chance != Chance::NEVER {
                items.push(format!("{prefix}{key}={chance}"));
            }
        };
        chance("loss", self.loss);
        chance("dup", self.duplication);
        chance("corrupt", self.corruption);
        chance("truncate", self.truncation);
        if let Some(Burst { begins, packets_mean }) = self.burst {
            items.push(format!("{prefix}burst={begins}x{packets_mean}"));
        }
        if self.reordering != Chance::NEVER {
            items.push(format!("{prefix}reorder={}x{}", self.reordering, self.reorder_depth));
        }
        if !self.listed.is_empty() {
            let numbers: Vec<String> = self.listed.iter().map(u64::to_string).collect();
            items.push(format!("{prefix}drop={}", numbers.join("+")));
        }
        for (key, time) in [("delay", self.delay), ("jitter", self.jitter)] {
            if !time.is_zero() {
                items.push(format!("{prefix}{key}={}", Written(time)));
            }
        }
        if !self.cuts.is_empty() {
            let cuts: Vec<String> =
                self.cuts.iter().map(|&(from, to)| format!("{}..{}", Written(from), Written(to))).collect();
            items.push(format!("{prefix}cut={}", cuts.join("+")));
        }
    }
}

impl FromStr for FaultPlan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let refuse = |expected| PlanError { item: item.to_owned(), expected };
            let (key, value) = item.split_once('=').ok_or_else(|| refuse(KEYS))?;
            let outcome = match key {
                "seed" => value.parse().map(|seed| plan.seed = seed).map_err(|_| NUMBER),
                "hold" => match value.parse() {
                    Ok(hold @ 1..=Self::HOLD_MAX) => {
                        plan.hold = hold;
                        Ok(())
                    }
                    _ => Err(HOLD),
                },
                "until" => time(value).map(|until| plan.until = Some(until)),
                _ => match key.strip_prefix("send.") {
                    Some(key) => plan.send.set(key, value),
                    None => plan.receive.set(key, value),
                }
                .unwrap_or(Err(KEYS)),
            };
            outcome.map_err(refuse)?;
        }
        Ok(plan)
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items = Vec::new();
        self.receive.write("", &mut items);
        self.send.write("send.", &mut items);
        if let Some(until) = self.until {
            items.push(format!("until={}", Written(until)));
        }
        if self.hold != Self::HOLD {
            items.push(format!("hold={}", self.hold));
        }
        items.push(format!("seed={}", self.seed));
        f.write_str(&items.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let text = "loss=1%,dup=1%,corrupt=0.05%,burst=0.1%x8,reorder=2%x3,drop=5+9,delay=5ms,jitter=20us,cut=2s..3s+8s..9s,\
                    send.loss=12.5%,send.truncate=3%,until=10s,hold=99,seed=7";
        let plan: FaultPlan = text.parse().expect("a good plan");
        assert_eq!(plan.to_string(), text);
        assert_eq!(plan.receive.loss, Chance::percent(1));
        assert_eq!(plan.send.loss, Chance::millionths(125_000));
        assert_eq!(plan.receive.cuts[1], (Duration::from_secs(8), Duration::from_secs(9)));
        assert!("seed=3".parse::<FaultPlan>().expect("quiet").receive.is_quiet());
    }

    #[test]
    fn a_plan_that_makes_no_sense_is_refused_with_what_was_expected() {
        for (text, hint) in [
            ("loss=1", "1%"),
            ("loss=101%", "from 0% to 100%"),
            ("lost=1%", "expected KEY=VALUE"),
            ("loss", "expected KEY=VALUE"),
            ("burst=1%", "burst=0.1%x8"),
            ("drop=9+5", "ascending"),
            ("drop=0", "from 1 on"),
            ("delay=5", "20us"),
            ("cut=3s..2s", "cut=2s..3s"),
            ("seed=x", "whole number"),
            ("hold=0", "from 1"),
            ("send.seed=1", "expected KEY=VALUE"),
        ] {
            let error = text.parse::<FaultPlan>().expect_err(text).to_string();
            assert!(error.contains(text) && error.contains(hint), "{error}");
        }
    }
}
