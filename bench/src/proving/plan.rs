//! Which bouts are played: the bars' own, one axis at a time around the default cell, a dozen corners, or every combination.
//!
//! Read by the program, the progress line and the tests of the bars. Guards: every play that a bar names is in the quick plan already.

use std::path::PathBuf;
use std::time::Duration;

use super::{Bout, Pace, Play, Setting, Task, Way, Who};
use crate::rig::{NoPlan, Options};

/// What the program says about itself.
pub const USAGE: &str = "\
cargo xtask bench [--quick | --smoke] [--only WORDS] [--list] [--matrix full] [--repetitions N] [--milliseconds N]
                  [--out DIR] [--json] [--redraw]
  Everything from end to end, side by side with every peer that is installed, and one report: bench/report/index.html.
  --quick          what the bars need, 3 repetitions: less than 5 minutes
  --smoke          two cells, once: whether it works at all
  --only WORDS     bouts, plays and rigs whose name has one of these words (comma between them)
  --list           what would be played
  --matrix full    every combination of way, size, receivers, loss and batching, too
  --repetitions N  how often all of it is played, in turns (5)
  --milliseconds N how long a play sends (1500; quick 500)
  --out DIR        where the report goes (bench/report)
  --json           the results on stdout, too
  --redraw         make the report again from results.json
Status: 0 all bars held, 1 something failed, 2 usage, 3 a bar was missed. Needs root and two processors, both of which it keeps busy.";

/// Octets of messages along the size axis.
pub const SIZES: [u32; 7] = [16, 64, 256, 1024, 1400, 8_000, 60_000];
/// Packets of ten thousand along the loss axis.
pub const LOSSES: [u16; 4] = [0, 10, 100, 500];
const RECEIVERS: [u8; 3] = [1, 2, 4];
/// The largest message that travels in one packet everywhere, and so the largest of those who cut nothing.
const ONE_PACKET: u32 = 1400;
/// OpenPGM sends 16 fragments at most.
const OPENPGM_MAX: u32 = 20_000;

const XDP: Who = Who::Pgmx(Way::Xdp);
const RAW: Who = Who::Pgmx(Way::Raw);
const UDP: Who = Who::Pgmx(Way::Udp);
const OPENPGM: Who = Who::OpenPgm { udp: false, spin: false };
const OPENPGM_SPIN: Who = Who::OpenPgm { udp: false, spin: true };
const OPENPGM_UDP: Who = Who::OpenPgm { udp: true, spin: false };
const OPENPGM_UDP_SPIN: Who = Who::OpenPgm { udp: true, spin: true };
const EPGM: Who = Who::ZeroMq { udp: true };
const ZPGM: Who = Who::ZeroMq { udp: false };

/// How much is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Whether it works.
    Smoke,
    /// What the bars need.
    Quick,
    /// All axes and corners.
    Whole,
    /// Every combination, too.
    Matrix,
}

impl Extent {
    /// A word for the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Whole => "full",
            Self::Matrix => "full matrix",
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How much.
    pub extent: Extent,
    /// How often.
    pub repetitions: usize,
    /// How long a play sends.
    pub time: Duration,
    /// Only what has one of these words; all, if there are none.
    pub only: Vec<String>,
    /// Say what would be played.
    pub list: bool,
    /// Print the results.
    pub json: bool,
    /// Draw what was measured before.
    pub redraw: bool,
    /// Where the report goes.
    pub out: PathBuf,
}

/// Reads the command line.
///
/// # Errors
/// What makes no sense, or that help was asked for.
pub fn read(mut options: Options) -> Result<Plan, NoPlan> {
    let (mut extent, mut repetitions, mut milliseconds) = (Extent::Whole, None, None);
    let (mut only, mut out) = (Vec::new(), PathBuf::from("bench/report"));
    let (mut list, mut json, mut redraw) = (false, false, false);
    while let Some(option) = options.next()? {
        match option.as_str() {
            "--quick" => extent = Extent::Quick,
            "--smoke" => extent = Extent::Smoke,
            "--list" => list = true,
            "--json" => json = true,
            "--redraw" => redraw = true,
            "--repetitions" => repetitions = Some(options.number(1..=1000)?),
            "--milliseconds" => milliseconds = Some(options.number(1..=60_000)?),
            "--only" => only.extend(options.value()?.split(',').filter(|word| !word.is_empty()).map(String::from)),
            "--out" => out = options.value()?.into(),
            "--matrix" => match options.value()?.as_str() {
                "full" => extent = Extent::Matrix,
                other => return Err(format!("--matrix {other}: there is only `full`").into()),
            },
            _ => return Err(options.unknown()),
        }
    }
    let (usual, time) = match extent {
        Extent::Smoke => (1, 200),
        Extent::Quick => (3, 500),
        Extent::Whole | Extent::Matrix => (5, 1500),
    };
    let repetitions = repetitions.unwrap_or(usual) as usize;
    let time = Duration::from_millis(milliseconds.unwrap_or(time));
    Ok(Plan { extent, repetitions, time, only, list, json, redraw, out })
}

impl Plan {
    /// Whether something of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str()))
    }

    /// The bouts, in the order in which they are played.
    pub fn bouts(&self) -> Vec<Bout> {
        let mut bouts = match self.extent {
            Extent::Smoke => smoke(),
            Extent::Quick => quick(),
            Extent::Whole => whole(),
            Extent::Matrix => [whole(), vec![matrix()]].concat(),
        };
        for bout in &mut bouts {
            let name = bout.name.clone();
            bout.plays.retain(|play| self.wants(&format!("{name}/{}", play.id())));
        }
        bouts.retain(|bout| !bout.plays.is_empty());
        bouts
    }
}

fn bout(name: &str, task: Task, plays: impl IntoIterator<Item = (Who, Setting)>) -> Bout {
    let plays = plays.into_iter().map(|(who, setting)| Play { who, task, setting }).collect();
    Bout { name: name.into(), plays }
}

/// Contestants in one setting.
fn all(who: &[Who], setting: Setting) -> Vec<(Who, Setting)> {
    who.iter().map(|who| (*who, setting)).collect()
}

fn smoke() -> Vec<Bout> {
    vec![
        bout("blast-256", Task::Blast, all(&[XDP, Who::Bare], Setting::DEFAULT)),
        bout("roundtrip", Task::RoundTrip, all(&[XDP], Setting::of(64).low_latency())),
    ]
}

/// What the bars need.
fn quick() -> Vec<Bout> {
    let fast = Setting::of(256).low_latency();
    let paced = |rate| Task::Paced(Pace::PerSecond(rate));
    let lossy =
        |setting: Setting| LOSSES.into_iter().filter(|loss| *loss != 10).map(move |loss| (XDP, setting.losing(loss)));
    vec![
        bout(
            "blast-64",
            Task::Blast,
            all(&[XDP, Who::Bare, RAW, UDP, OPENPGM, OPENPGM_SPIN, OPENPGM_UDP, OPENPGM_UDP_SPIN], Setting::of(64)),
        ),
        bout("blast-1400", Task::Blast, all(&[XDP, Who::Bare, RAW, OPENPGM, OPENPGM_SPIN], Setting::of(1400))),
        bout("blast-256", Task::Blast, all(&[XDP, Who::Bare], Setting::DEFAULT)),
        bout(
            "batch-64",
            Task::Blast,
            [
                (XDP, Setting::of(64).batched()),
                (UDP, Setting::of(64).batched()),
                // It batches unasked, as NORM does.
                (EPGM, Setting::of(64)),
            ],
        ),
        bout("blast-1344", Task::Blast, all(&[XDP, Who::Norm], Setting::of(1344))),
        bout("roundtrip", Task::RoundTrip, all(&[XDP, Who::Bare, OPENPGM_SPIN], Setting::of(64).low_latency())),
        bout("oneway-100k", paced(100_000), all(&[XDP, OPENPGM_SPIN], fast)),
        bout("goodput-lan", Task::Blast, lossy(Setting::DEFAULT)),
        bout("goodput-low-latency", Task::Blast, lossy(fast)),
        bout("latency-under-loss", paced(50_000), [(XDP, fast.losing(100)), (XDP, fast.losing(500))]),
        bout("repair", paced(100_000), [(XDP, fast.losing(100))]),
        bout("tail", Task::Bursts, [(XDP, fast.losing(100))]),
        bout("receivers-2", Task::Blast, all(&[XDP, Who::Bare], Setting::DEFAULT.heard_by(2))),
        bout("calls", Task::Calls, all(&[XDP], Setting::DEFAULT)),
        bout("cost", Task::Cost, all(&[XDP, OPENPGM], Setting::DEFAULT)),
    ]
}

/// All of it: what the bars need, with everybody else beside it, and the rest of the axes.
fn whole() -> Vec<Bout> {
    let mut bouts = quick();
    let fast = Setting::of(256).low_latency();
    let paced = |pace| Task::Paced(pace);
    let mut more = |name: &str, task: Task, plays: Vec<(Who, Setting)>| {
        let more = bout(name, task, plays).plays;
        match bouts.iter_mut().find(|bout| bout.name == name) {
            Some(bout) => bout.plays.extend(more),
            None => bouts.push(Bout { name: name.into(), plays: more }),
        }
    };
    // The link axis, at the default cell, and everybody.
    more(
        "blast-256",
        Task::Blast,
        all(
            &[
                Who::Pgmx(Way::XdpGeneric),
                RAW,
                UDP,
                Who::MmsgRaw,
                Who::MmsgUdp,
                OPENPGM_SPIN,
                OPENPGM_UDP_SPIN,
                EPGM,
                Who::Norm,
            ],
            Setting::DEFAULT,
        ),
    );
    more("blast-64", Task::Blast, all(&[Who::Pgmx(Way::XdpGeneric), Who::MmsgRaw, Who::MmsgUdp], Setting::of(64)));
    more("blast-1400", Task::Blast, all(&[UDP, Who::MmsgRaw, Who::MmsgUdp, EPGM, Who::Norm], Setting::of(1400)));
    more("blast-1344", Task::Blast, all(&[RAW, UDP], Setting::of(1344)));
    more(
        "batch-64",
        Task::Blast,
        vec![(RAW, Setting::of(64).batched()), (ZPGM, Setting::of(64)), (Who::Norm, Setting::of(64))],
    );
    // The rest of the size axis.
    for size in SIZES.into_iter().filter(|size| ![64, 256, 1400].contains(size)) {
        let mut who = vec![XDP, RAW, UDP, EPGM];
        if size <= ONE_PACKET {
            who.push(Who::Bare);
        }
        if size <= OPENPGM_MAX {
            who.push(OPENPGM_SPIN);
        }
        more(&format!("blast-{size}"), Task::Blast, all(&who, Setting::of(size)));
    }
    // Receivers.
    more("receivers-2", Task::Blast, all(&[RAW, OPENPGM], Setting::DEFAULT.heard_by(2)));
    more("receivers-4", Task::Blast, all(&[XDP, Who::Bare, RAW, OPENPGM], Setting::DEFAULT.heard_by(4)));
    // Latency.
    more("roundtrip", Task::RoundTrip, all(&[RAW, UDP, OPENPGM, EPGM], Setting::of(64).low_latency()));
    more("oneway-100k", paced(Pace::PerSecond(100_000)), all(&[RAW, UDP, OPENPGM], fast));
    more("oneway-1k", paced(Pace::PerSecond(1_000)), all(&[XDP, RAW, OPENPGM_SPIN, EPGM], fast));
    more("oneway-10k", paced(Pace::PerSecond(10_000)), all(&[XDP, RAW, OPENPGM_SPIN, EPGM], fast));
    more("oneway-50%", paced(Pace::OfMost(50)), all(&[XDP], fast));
    more("oneway-80%", paced(Pace::OfMost(80)), all(&[XDP], fast));
    // Loss.
    for (name, setting) in [("goodput-lan", Setting::DEFAULT), ("goodput-low-latency", fast)] {
        more(name, Task::Blast, vec![(XDP, setting.losing(10))]);
    }
    more("goodput-openpgm", Task::Blast, LOSSES.map(|loss| (OPENPGM_SPIN, Setting::DEFAULT.losing(loss))).to_vec());
    more("latency-under-loss", paced(Pace::PerSecond(50_000)), vec![(XDP, fast), (XDP, fast.losing(10))]);
    let peer = [100, 500].map(|loss| (OPENPGM_SPIN, fast.losing(loss)));
    more("latency-under-loss", paced(Pace::PerSecond(50_000)), peer.to_vec());
    more("repair", paced(Pace::PerSecond(100_000)), [10, 500].map(|loss| (XDP, fast.losing(loss))).to_vec());
    more("tail", Task::Bursts, vec![(XDP, fast.losing(500)), (RAW, fast.losing(100))]);
    // Costs.
    more("calls", Task::Calls, all(&[RAW, UDP, OPENPGM], Setting::DEFAULT));
    more("cost", Task::Cost, all(&[RAW, UDP, EPGM], Setting::DEFAULT));
    bouts.push(corners());
    bouts
}

/// Combinations that deserve a name.
fn corners() -> Bout {
    bout(
        "corners",
        Task::Blast,
        [
            (XDP, Setting::of(64).batched().losing(100)),
            (XDP, Setting::of(16).batched()),
            (XDP, Setting::of(1400).losing(500)),
            (XDP, Setting::of(8_000).losing(100)),
            (XDP, Setting::of(60_000).losing(10)),
            (XDP, Setting::of(64).batched().heard_by(4)),
            (RAW, Setting::of(1400).losing(500)),
            (RAW, Setting::of(64).losing(100).heard_by(2)),
            (UDP, Setting::of(64).batched().losing(100)),
            (UDP, Setting::of(60_000).losing(100)),
            (UDP, Setting::of(16).heard_by(2)),
            (Who::Pgmx(Way::XdpGeneric), Setting::of(1400).losing(100)),
        ],
    )
}

/// Every combination.
fn matrix() -> Bout {
    let mut plays = Vec::new();
    for way in Way::ALL {
        for size in SIZES {
            for receivers in RECEIVERS {
                for loss in LOSSES {
                    for batched in [false, true] {
                        let setting = Setting { receivers, loss, batched, ..Setting::of(size) };
                        plays.push((Who::Pgmx(way), setting));
                    }
                }
            }
        }
    }
    bout("matrix", Task::Blast, plays)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn planned(line: &str) -> Result<Plan, NoPlan> {
        read(Options::of(line))
    }

    fn bouts(line: &str) -> Vec<Bout> {
        planned(line).expect("sound").bouts()
    }

    #[test]
    fn what_cannot_be_played_is_refused() {
        for line in ["--fast", "--repetitions 0", "--repetitions", "--matrix some", "--milliseconds soon"] {
            assert!(planned(line).is_err(), "{line}");
        }
        assert_eq!(planned("--quick --help").err(), Some(NoPlan::Help));
        let plan = planned("--quick --repetitions 7 --only tail,repair --json").expect("sound");
        assert_eq!((plan.repetitions, plan.time, plan.json), (7, Duration::from_millis(500), true));
        assert!(plan.wants("tail/xdp") && !plan.wants("calls"));
    }

    #[test]
    fn no_play_stands_twice_in_a_bout_and_no_bout_twice_in_a_plan() {
        for line in ["--smoke", "--quick", "", "--matrix full"] {
            let (bouts, mut names) = (bouts(line), HashSet::new());
            for bout in &bouts {
                assert!(names.insert(bout.name.clone()), "{line}: {}", bout.name);
                let ids: HashSet<String> = bout.plays.iter().map(Play::id).collect();
                assert_eq!(ids.len(), bout.plays.len(), "{line}: {}", bout.name);
            }
        }
    }

    #[test]
    fn words_pick_bouts_and_plays() {
        let picked = bouts("--quick --only blast-64/openpgm,tail");
        let names: Vec<&str> = picked.iter().map(|bout| bout.name.as_str()).collect();
        assert_eq!(names, ["blast-64", "tail"]);
        assert!(picked[0].plays.iter().all(|play| matches!(play.who, Who::OpenPgm { .. })));
    }

    #[test]
    fn every_axis_is_walked_from_the_default_cell() {
        let whole = bouts("");
        let blasts = |picks: fn(&Setting) -> bool| -> Vec<Setting> {
            let plays = whole.iter().flat_map(|bout| &bout.plays);
            plays
                .filter(|play| play.who == XDP && play.task == Task::Blast && picks(&play.setting))
                .map(|p| p.setting)
                .collect()
        };
        for size in SIZES {
            assert!(blasts(|_| true).contains(&Setting::of(size)), "{size} octets");
        }
        for loss in LOSSES {
            assert!(blasts(|_| true).contains(&Setting::DEFAULT.losing(loss)), "loss {loss}");
        }
        for receivers in RECEIVERS {
            assert!(blasts(|_| true).contains(&Setting::DEFAULT.heard_by(receivers)), "{receivers} receivers");
        }
        assert_eq!(matrix().plays.len(), 4 * 7 * 3 * 4 * 2);
        assert_eq!(corners().plays.len(), 12);
    }
}
