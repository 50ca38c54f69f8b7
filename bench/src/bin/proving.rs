//! `proving`: everything from end to end, side by side with every peer, and one report.
//!
//! `cargo xtask bench` builds what it needs and begins it. Prints progress on standard error and the table of bars at the end; exits with 3
//! when a bar was missed, with 1 when nothing could be measured. Needs root and two processors, both of which it keeps busy. Leaves
//! nothing behind but the report.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pgmx_bench::proving::machine::Machine;
use pgmx_bench::proving::plan::{self, Plan, USAGE};
use pgmx_bench::proving::play::{self, Outturn, Stage};
use pgmx_bench::proving::programs::Programs;
use pgmx_bench::proving::results::{Fought, Played, Results, Rig, Sample, metric};
use pgmx_bench::proving::scene::Scene;
use pgmx_bench::proving::{Bout, Pace, Play, Task, bars, report, rigs};
use pgmx_bench::{rig, stop};

/// The report's data.
const DATA: &str = "results.json";
/// What another benchmark takes, roughly, for the time that is left.
const RIG_SECONDS: f64 = 20.0;

fn main() -> ExitCode {
    rig::run("proving", USAGE, plan::read, run)
}

/// Says whether all bars held.
fn run(plan: &Plan) -> Result<bool, String> {
    let bouts = plan.bouts();
    if plan.list {
        for bout in &bouts {
            for play in &bout.plays {
                println!("{}/{}", bout.name, play.id());
            }
        }
        for rig in wanted_rigs(plan) {
            println!("{rig}");
        }
        return Ok(true);
    }
    let results = if plan.redraw { read_again(plan)? } else { measure(plan, &bouts)? };
    fs::create_dir_all(&plan.out).map_err(|error| format!("{}: {error}", plan.out.display()))?;
    let data = serde_json::to_string_pretty(&results).map_err(|error| error.to_string())?;
    write(&plan.out.join(DATA), &(data.clone() + "\n"))?;
    write(&plan.out.join("index.html"), &report::page(&results))?;
    if let Some(picture) = report::headline(&results) {
        write(&plan.out.join("headline.svg"), &picture)?;
    }
    let table = bars::table(&results.verdicts);
    let gaps = results.gaps();
    let gaps: Vec<String> = gaps.iter().map(|(name, why)| format!("GAP          {name}: {why}\n")).collect();
    let summary = format!("{table}{}{}/index.html\n", gaps.concat(), plan.out.display());
    if plan.json {
        eprint!("{summary}");
        println!("{data}");
    } else {
        print!("{summary}");
    }
    if plan.extent == plan::Extent::Smoke && !results.gaps().is_empty() {
        return Err("a cell of the smoke test could not be measured".into());
    }
    let has_some = results.bouts.iter().flat_map(|bout| &bout.plays).any(|play| play.gap().is_none())
        || results.rigs.iter().any(|rig| rig.gap.is_none());
    if !has_some {
        return Err("nothing could be measured".into());
    }
    Ok(results.verdicts.iter().all(|verdict| verdict.held != Some(false)))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("writing {}: {error}", path.display()))
}

/// What was measured before, judged again.
fn read_again(plan: &Plan) -> Result<Results, String> {
    let path = plan.out.join(DATA);
    let text = fs::read_to_string(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    let mut results: Results = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let names: Vec<String> = results.verdicts.iter().map(|verdict| verdict.name.clone()).collect();
    results.verdicts = bars::judge(&results, |name| names.iter().any(|known| known == name));
    Ok(results)
}

/// A smoke test asks no other benchmark.
fn wanted_rigs(plan: &Plan) -> Vec<&'static str> {
    let is_smoke = plan.extent == plan::Extent::Smoke;
    rigs::ALL.into_iter().filter(|rig| !is_smoke && plan.wants(rig)).collect()
}

/// The progress: what is done, and what is left.
struct Progress {
    begun: Instant,
    done: usize,
    plays: usize,
    rigs: usize,
}

impl Progress {
    /// Says what came of one more.
    fn tell(&mut self, what: &str, outcome: &str) {
        self.done += 1;
        let plays = self.done.min(self.plays);
        let a_play = self.begun.elapsed().as_secs_f64() / plays.max(1) as f64;
        let left_rigs = (self.plays + self.rigs - self.done).min(self.rigs) as f64;
        let left = Duration::from_secs_f64(a_play * (self.plays - plays) as f64 + RIG_SECONDS * left_rigs).as_secs();
        let of = self.plays + self.rigs;
        eprintln!("[{:>4}/{of}, {:>2}:{:02} left] {what:<64} {outcome}", self.done, left / 60, left % 60);
    }
}

fn measure(plan: &Plan, bouts: &[Bout]) -> Result<Results, String> {
    let wanted_rigs = wanted_rigs(plan);
    if bouts.is_empty() && wanted_rigs.is_empty() {
        return Err("--only: nothing has such a name; --list says what there is".into());
    }
    stop::install().map_err(|error| format!("catching Ctrl-C: {error}"))?;
    let programs = Programs::find()?;
    let histograms = plan.out.join("histograms");
    if histograms.exists() {
        // Those of another run would stand beside figures that they do not belong to.
        fs::remove_dir_all(&histograms).map_err(|error| format!("{}: {error}", histograms.display()))?;
    }
    fs::create_dir_all(&histograms).map_err(|error| format!("{}: {error}", histograms.display()))?;
    let histograms = fs::canonicalize(&histograms).map_err(|error| error.to_string())?;
    let (begun, machine) = (Instant::now(), Machine::here());
    let begun_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let plays = bouts.iter().map(|bout| bout.plays.len()).sum::<usize>() * plan.repetitions;
    let mut progress = Progress { begun, done: 0, plays, rigs: wanted_rigs.len() };
    let mut fought: Vec<Fought> = Vec::new();
    for bout in bouts {
        let most = most(&fought);
        fought.push(fight(plan, bout, &programs, &histograms, most, &mut progress)?);
    }
    let mut asked: Vec<Rig> = Vec::new();
    for name in wanted_rigs {
        let said = rigs::ask(name, &programs.pgmx, plan.repetitions);
        if stop::is_asked() {
            return Err("stopped".into());
        }
        progress.tell(name, said.gap.as_deref().unwrap_or("done"));
        asked.push(said);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut results = Results {
        begun_s,
        lasted_s: begun.elapsed().as_secs_f64(),
        extent: plan.extent.name().into(),
        repetitions: plan.repetitions,
        play_ms: plan.time.as_millis() as u64,
        command: format!("cargo xtask bench {}", words.join(" ")).trim_end().into(),
        machine,
        bouts: fought,
        rigs: asked,
        verdicts: Vec::new(),
    };
    let is_all = plan.only.is_empty() && plan.extent != plan::Extent::Smoke;
    results.verdicts = bars::judge(&results, |_| is_all);
    Ok(results)
}

/// Messages a second in the default cell, if it was played.
fn most(fought: &[Fought]) -> Option<f64> {
    let bout = fought.iter().find(|bout| bout.name == "blast-256")?;
    let play = bout.plays.iter().find(|play| play.id == "xdp 256")?;
    play.figure(metric::MESSAGES).map(|figure| figure.median)
}

/// A pace that is a part of the most becomes a number.
fn settled(play: &Play, most: Option<f64>) -> Play {
    let mut settled = *play;
    if let (Task::Paced(Pace::OfMost(percent)), Some(most)) = (play.task, most) {
        settled.task = Task::Paced(Pace::PerSecond((most * f64::from(percent) / 100.0) as u32));
    }
    settled
}

/// All repetitions of one bout, its plays in turns.
fn fight(
    plan: &Plan,
    bout: &Bout,
    programs: &Programs,
    histograms: &Path,
    most: Option<f64>,
    progress: &mut Progress,
) -> Result<Fought, String> {
    let mut plays: Vec<Played> = bout.plays.iter().map(empty).collect();
    let mut scenes: BTreeMap<u8, Scene> = BTreeMap::new();
    for repetition in 0..plan.repetitions {
        for n in 0..plays.len() {
            // Each round another one goes first.
            let at = (repetition + n) % plays.len();
            let (one, played) = (&bout.plays[at], &mut plays[at]);
            let receivers = one.setting.receivers;
            let scene = match scenes.entry(receivers) {
                std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
                std::collections::btree_map::Entry::Vacant(room) => room.insert(Scene::new(receivers)?),
            };
            let name = file_name(&bout.name, &played.id);
            let stage = Stage { scene, programs, time: plan.time, repetition, histograms, name };
            let outcome = play::play(&stage, &settled(one, most));
            if stop::is_asked() {
                return Err("stopped".into());
            }
            let told = match &outcome {
                Ok(outturn) => told(&outturn.sample),
                Err(why) => format!("FAILED: {why}"),
            };
            progress.tell(&format!("{}/{}", bout.name, played.id), &told);
            keep(played, outcome);
        }
    }
    Ok(Fought { name: bout.name.clone(), plays })
}

fn empty(play: &Play) -> Played {
    Played {
        id: play.id(),
        who: play.who.name().into(),
        title: play.who.title(),
        family: play.who.family().into(),
        size: play.setting.size,
        receivers: play.setting.receivers,
        loss: play.setting.loss,
        form: String::new(),
        commands: Vec::new(),
        samples: Vec::new(),
    }
}

fn keep(played: &mut Played, outcome: Result<Outturn, String>) {
    match outcome {
        Ok(Outturn { sample, commands, form }) => {
            played.samples.push(sample);
            (played.commands, played.form) = (commands, form);
        }
        Err(why) => played.samples.push(Sample { failure: Some(why), ..Sample::default() }),
    }
}

/// A name of letters, digits and dashes.
fn file_name(bout: &str, id: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    format!("{bout}-{id}").chars().map(plain).collect()
}

/// A sample in a few words.
fn told(sample: &Sample) -> String {
    let mut words = Vec::new();
    let mut tell = |name: &str, unit: &str, what: &str| {
        if let Some(value) = sample.metrics.get(name) {
            words.push(format!("{what}{}", bars::shown(*value, unit)));
        }
    };
    tell(metric::MESSAGES, "/s", "");
    tell(metric::P50, "ns", "p50 ");
    tell(metric::P99, "ns", "p99 ");
    tell(metric::REPAIR_P99, "ns", "repair p99 ");
    tell(metric::SENDER_CALLS, "", "calls ");
    if let Some(lost) = sample.metrics.get(metric::LOST).filter(|lost| **lost > 0.0) {
        words.push(format!("lost {lost}"));
    }
    words.join(", ")
}
