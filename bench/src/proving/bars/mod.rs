//! What the house promises, each promise by a name, and whether it held.
//!
//! Asked once, when all is measured. Guards: a promise that was not measured is said to be so, and never held; what was lost on the way breaks
//! a promise that says that nothing is.

mod promises;

use std::fmt::Write;

use super::results::{Played, Results, Rig, Verdict};
use super::statistics::{Figure, ratio};
use Bound::{AtLeast, AtMost};
use promises::PROMISES;

/// Where a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// Which figure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    /// A play's metric over that of another, turn by turn; of several others the one with the most.
    Ratio { bout: &'static str, over: &'static str, under: &'static [&'static str], metric: &'static str },
    /// A play's metric.
    Play { bout: &'static str, play: &'static str, metric: &'static str },
    /// The same, and the worst of all repetitions, not their median.
    Worst { bout: &'static str, play: &'static str, metric: &'static str },
    /// What another benchmark says.
    Rig { rig: &'static str, figure: &'static str },
    /// The least of what another benchmark says of some figures whose names begin so.
    Lowest { rig: &'static str, figures: &'static str },
}

/// A promise.
#[derive(Clone, Copy, Debug)]
struct Bar {
    name: &'static str,
    what: &'static str,
    of: Of,
    bound: Bound,
    unit: &'static str,
    /// Whether it says that nothing is lost.
    keeps_all: bool,
}

/// A figure, or why there is none, and what else is to be said of it.
type Answer = Result<(Figure, String), String>;

fn play<'r>(results: &'r Results, bout: &str, id: &str) -> Result<&'r Played, String> {
    let play = results.play(bout, id).ok_or_else(|| format!("{bout}/{id} was not played"))?;
    play.gap().map_or(Ok(play), |why| Err(format!("{bout}/{id}: {why}")))
}

fn rig_figures<'r>(results: &'r Results, name: &str) -> Result<&'r Rig, String> {
    let rig = results.rig(name).ok_or_else(|| format!("`{name}` was not asked"))?;
    rig.gap.as_ref().map_or(Ok(rig), |why| Err(why.clone()))
}

impl Bar {
    fn figure(&self, results: &Results) -> Answer {
        match self.of {
            Of::Ratio { bout, over, under, metric } => {
                let over = play(results, bout, over)?;
                let mut others = Vec::new();
                let mut gaps = Vec::new();
                for id in under {
                    match play(results, bout, id) {
                        Ok(other) => others.push(other),
                        Err(why) => gaps.push(why),
                    }
                }
                let median = |play: &&&Played| play.figure(metric).map_or(0.0, |figure| figure.median);
                let best =
                    others.iter().max_by(|a, b| median(a).total_cmp(&median(b))).ok_or_else(|| gaps.join("; "))?;
                let figure = ratio(&over.each(metric), &best.each(metric));
                let figure = figure.ok_or_else(|| format!("no repetition has {metric} of both"))?;
                let note = if under.len() > 1 { format!("best: {}", best.title) } else { String::new() };
                Ok((figure, note))
            }
            Of::Play { bout, play: id, metric } => {
                let figure = play(results, bout, id)?.figure(metric);
                figure.map(|figure| (figure, String::new())).ok_or_else(|| format!("{bout}/{id} says no {metric}"))
            }
            Of::Worst { bout, play: id, metric } => {
                let figure = play(results, bout, id)?.figure(metric);
                let figure = figure.ok_or_else(|| format!("{bout}/{id} says no {metric}"))?;
                Ok((Figure { median: figure.most, ..figure }, "worst of all repetitions".into()))
            }
            Of::Rig { rig, figure } => {
                let found = rig_figures(results, rig)?.figures.get(figure).copied();
                found.map(|figure| (figure, String::new())).ok_or_else(|| format!("`{rig}` says no {figure}"))
            }
            Of::Lowest { rig, figures } => {
                let all = rig_figures(results, rig)?.figures.iter().filter(|(name, _)| name.starts_with(figures));
                let least = all.min_by(|a, b| a.1.median.total_cmp(&b.1.median));
                let (name, figure) = least.ok_or_else(|| format!("`{rig}` says no {figures}..."))?;
                Ok((*figure, name.clone()))
            }
        }
    }

    fn holds(&self, figure: &Figure) -> bool {
        match self.bound {
            AtLeast(least) => figure.median >= least,
            AtMost(most) => figure.median <= most,
        }
    }

    /// Messages that are missing though nothing may be.
    fn missing(&self, results: &Results) -> f64 {
        match self.of {
            Of::Ratio { bout, over, .. } if self.keeps_all => results.play(bout, over).map_or(0.0, Played::missing),
            _ => 0.0,
        }
    }

    fn judge(&self, results: &Results) -> Verdict {
        let (figure, mut held, mut note) = match self.figure(results) {
            Ok((figure, note)) => (Some(figure), Some(self.holds(&figure)), note),
            Err(why) => (None, None, why),
        };
        let missing = self.missing(results);
        if missing > 0.0 {
            held = Some(false);
            note = format!("{missing} messages lost or corrupt");
        }
        let bar = match self.bound {
            AtLeast(least) => format!("≥ {}", shown(least, self.unit)),
            AtMost(most) => format!("≤ {}", shown(most, self.unit)),
        };
        let (name, what, unit) = (self.name.into(), self.what.into(), self.unit.into());
        Verdict { name, what, bar, figure, unit, held, note }
    }
}

/// A number, with its unit, in few digits.
pub fn shown(value: f64, unit: &str) -> String {
    match unit {
        "ns" if value >= 1e6 => format!("{:.2} ms", value / 1e6),
        "ns" => format!("{:.1} µs", value / 1e3),
        "/s" if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
        "/s" if value >= 1e3 => format!("{:.1} k/s", value / 1e3),
        _ if value != 0.0 && value.abs() < 0.1 => format!("{value:.4}{unit}"),
        _ if value.abs() >= 100.0 => format!("{value:.0}{unit}"),
        _ => format!("{value:.2}{unit}"),
    }
}

/// A number on an axis: as few digits as tell it.
pub fn mark(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "/s" if value >= 1e6 => (value / 1e6, " M/s"),
        "/s" if value >= 1e3 => (value / 1e3, " k/s"),
        "/s" if value == 0.0 => (0.0, ""),
        "µs" if value >= 1e6 => (value / 1e6, " s"),
        "µs" if value >= 1e3 => (value / 1e3, " ms"),
        "µs" => (value, " µs"),
        other => (value, other),
    };
    // What was added up from tenths is not written with sixteen digits.
    format!("{}{unit}", (value * 1e6).round() / 1e6)
}

/// All promises that were asked for, in their order.
pub fn judge(results: &Results, wants: impl Fn(&str) -> bool) -> Vec<Verdict> {
    PROMISES.iter().filter(|bar| wants(bar.name) || bar.is_measured(results)).map(|bar| bar.judge(results)).collect()
}

impl Bar {
    /// Whether what it is about was played.
    fn is_measured(&self, results: &Results) -> bool {
        match self.of {
            Of::Ratio { bout, over, under, .. } => {
                results.play(bout, over).is_some() && under.iter().any(|under| results.play(bout, under).is_some())
            }
            Of::Play { bout, play, .. } | Of::Worst { bout, play, .. } => results.play(bout, play).is_some(),
            Of::Rig { rig, .. } | Of::Lowest { rig, .. } => results.rig(rig).is_some(),
        }
    }
}

/// The table of all promises, for a terminal.
pub fn table(verdicts: &[Verdict]) -> String {
    let width = verdicts.iter().map(|verdict| verdict.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Verdict { name, bar, figure, unit, held, note, what } in verdicts {
        let (word, measured) = match (held, figure) {
            (_, None) => ("NOT MEASURED", String::new()),
            (held, Some(figure)) => {
                let [median, least, most] = [figure.median, figure.least, figure.most].map(|value| shown(value, unit));
                (if *held == Some(true) { "held" } else { "MISSED" }, format!("{median} ({least} to {most})"))
            }
        };
        let note = if note.is_empty() { what.clone() } else { format!("{what}; {note}") };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{word:<12} {name:<width$}  {measured:>32}  {bar:<12} {note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proving::machine::Machine;
    use crate::proving::plan;
    use crate::proving::results::{Fought, Sample, metric};
    use crate::proving::rigs;
    use crate::rig::Options;
    use std::collections::HashSet;

    fn played(id: &str, values: &[(&str, &[f64])]) -> Played {
        let count = values.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        let mut samples = vec![Sample::default(); count];
        for (name, values) in values {
            values.iter().zip(&mut samples).for_each(|(value, sample)| sample.set(name, *value));
        }
        Played {
            id: id.into(),
            who: String::new(),
            title: id.to_uppercase(),
            family: String::new(),
            size: 64,
            receivers: 1,
            loss: 0,
            form: String::new(),
            commands: Vec::new(),
            samples,
        }
    }

    fn results(bout: &str, plays: Vec<Played>) -> Results {
        Results {
            begun_s: 0,
            lasted_s: 0.0,
            extent: String::new(),
            repetitions: 1,
            play_ms: 1,
            command: String::new(),
            machine: Machine::here(),
            bouts: vec![Fought { name: bout.into(), plays }],
            rigs: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    fn verdict(results: &Results, name: &str) -> Verdict {
        judge(results, |_| true).into_iter().find(|verdict| verdict.name == name).expect("a bar")
    }

    #[test]
    fn every_play_that_a_bar_names_is_in_the_quick_plan_and_no_name_stands_twice() {
        let plan = plan::read(Options::of("--quick")).expect("sound");
        let there: HashSet<(String, String)> =
            plan.bouts().iter().flat_map(|bout| bout.plays.iter().map(|play| (bout.name.clone(), play.id()))).collect();
        let mut names = HashSet::new();
        for bar in PROMISES {
            assert!(names.insert(bar.name), "{}", bar.name);
            let (bout, ids) = match bar.of {
                Of::Ratio { bout, over, under, .. } => (bout, [&[over], under].concat()),
                Of::Play { bout, play, .. } | Of::Worst { bout, play, .. } => (bout, vec![play]),
                Of::Rig { rig, .. } | Of::Lowest { rig, .. } => {
                    assert!(rigs::ALL.contains(&rig));
                    continue;
                }
            };
            for id in ids {
                assert!(there.contains(&(bout.into(), id.into())), "{}: {bout}/{id} is not played", bar.name);
            }
        }
    }

    #[test]
    fn a_bar_holds_at_its_figure_and_not_below() {
        let rates = |xdp: f64| {
            vec![played("xdp 64", &[(metric::MESSAGES, &[xdp])]), played("bare 64", &[(metric::MESSAGES, &[100.0])])]
        };
        let held = |xdp| verdict(&results("blast-64", rates(xdp)), "xdp-over-bare-64").held;
        assert_eq!([held(95.0), held(94.9), held(120.0)], [Some(true), Some(false), Some(true)]);
    }

    #[test]
    fn of_several_others_the_best_counts_and_is_named() {
        let plays = vec![
            played("xdp 64", &[(metric::MESSAGES, &[700.0, 700.0])]),
            played("openpgm 64", &[(metric::MESSAGES, &[100.0, 100.0])]),
            played("openpgm-spin 64", &[(metric::MESSAGES, &[350.0, 175.0])]),
        ];
        let verdict = verdict(&results("blast-64", plays), "xdp-over-openpgm-64");
        assert_eq!((verdict.figure.map(|figure| figure.median), verdict.held), (Some(3.0), Some(false)));
        assert!(verdict.note.contains("OPENPGM-SPIN"));
    }

    #[test]
    fn what_was_not_measured_is_not_held_and_says_why() {
        let mut failed = played("bare 64", &[]);
        failed.samples = vec![Sample { failure: Some("no root".into()), ..Sample::default() }];
        let plays = vec![played("xdp 64", &[(metric::MESSAGES, &[1.0])]), failed];
        let verdict = verdict(&results("blast-64", plays), "xdp-over-bare-64");
        assert_eq!((verdict.held, verdict.figure), (None, None));
        assert!(verdict.note.contains("no root"), "{}", verdict.note);
        assert!(table(&[verdict]).starts_with("NOT MEASURED"));
    }

    #[test]
    fn goodput_with_a_message_missing_is_missed_however_fast() {
        let plays = |lost: f64| {
            let lossy = [(metric::MESSAGES, &[100.0][..]), (metric::LOST, &[lost][..])];
            vec![played("xdp 256 loss=1%", &lossy), played("xdp 256", &[(metric::MESSAGES, &[100.0])])]
        };
        assert_eq!(verdict(&results("goodput-lan", plays(0.0)), "goodput-lan-1%").held, Some(true));
        assert_eq!(verdict(&results("goodput-lan", plays(1.0)), "goodput-lan-1%").held, Some(false));
    }

    #[test]
    fn the_worst_is_that_of_all_repetitions() {
        let plays = vec![played(
            "xdp 256 loss=1% low-latency",
            &[(metric::MAX, &[1e6, 9e6, 2e6]), (metric::P99, &[1e5, 4e5, 1e5])],
        )];
        let results = results("tail", plays);
        assert_eq!(verdict(&results, "tail-worst").held, Some(false));
        assert_eq!(verdict(&results, "tail-p99").held, Some(true));
    }

    #[test]
    fn figures_are_written_to_be_read() {
        assert_eq!([shown(40_000.0, "ns"), shown(5e6, "ns"), shown(12e6, "/s")], ["40.0 µs", "5.00 ms", "12.00 M/s"]);
        assert_eq!(
            [mark(0.0, "/s"), mark(2.5e6, "/s"), mark(1e3, "µs"), mark(0.1 + 0.2, "")],
            ["0", "2.5 M/s", "1 ms", "0.3"]
        );
        assert_eq!([shown(1.0 / 240.0, ""), shown(0.97, ""), shown(287.0, "")], ["0.0042", "0.97", "287"]);
    }
}
