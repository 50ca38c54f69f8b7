//! Command lines: what each contestant is told to do, and for how long.
//!
//! Used by `play`. Guards: both ends of a play mean the same, and those who compare are given the same.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{GROUP, PORT, Pace, Play, Task, Who};
use crate::netns::Port;

/// Processors of sender and receivers.
const CORES: [&str; 2] = ["0", "1"];
/// How long a receiver waits for news before it gives up.
const TIMEOUT_S: &str = "8";
/// How long peers serve NAKs behind their last message.
const LINGER_MS: &str = "300";
/// Two gigabits a second in kilobits: more than ZeroMQ's engine moves, so that its bucket is not what limits it; more costs it only memory.
const ZEROMQ_KBIT: &str = "2000000";
/// The port of PGM in UDP for OpenPGM, whose sender hears no NAKs with two different ones.
const OPENPGM_UDP: &str = "3056";

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Publishes, or pings.
    Source,
    /// Listens, or answers.
    Receiver,
}

/// A program and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The program.
    pub program: PathBuf,
    /// Everything behind its name.
    pub words: Vec<String>,
}

/// Where programs lie.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `pgmx`.
    pub pgmx: PathBuf,
    /// Those of the peers.
    pub peers: PathBuf,
}

impl Programs {
    /// Beside this program, and where `cargo xtask peers` puts them.
    ///
    /// # Errors
    /// If `pgmx` was not built.
    pub fn find() -> Result<Self, String> {
        let pgmx = crate::process::command()?;
        let target = pgmx.parent().and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { pgmx, peers: target.join("peers") })
    }

    /// The program that loses so many packets of ten thousand.
    pub fn lossy(&self, loss: u16) -> PathBuf {
        self.peers.join(format!("lossy-{loss}.o"))
    }

    /// What one end is told. `seed` decides what is lost; `histogram` is where `pgmx` keeps latencies.
    ///
    /// # Errors
    /// If the contestant cannot do that, or is not installed.
    pub fn line(
        &self,
        play: &Play,
        end: End,
        port: &Port,
        time: Duration,
        seed: usize,
        histogram: Option<&Path>,
    ) -> Result<Line, String> {
        // Whoever cannot keep the pace that is asked for must not play at another.
        rate(play)?;
        let (name, words) = match play.who {
            Who::Pgmx(_) => {
                let words = pgmx(play, end, port, time, seed, histogram);
                return Ok(Line { program: self.pgmx.clone(), words });
            }
            Who::OpenPgm { .. } => ("openpgm", openpgm(play, end, port, time)?),
            Who::ZeroMq { .. } => ("zeromq", zeromq(play, end, port, time)?),
            Who::Norm => ("norm", norm(play, end, port, time)?),
            Who::Bare | Who::MmsgRaw | Who::MmsgUdp => return Err("is a part of this program".into()),
        };
        let program = self.peers.join(name);
        if !program.exists() {
            return Err(format!("{name} is not built: `cargo xtask peers` builds it and names what is missing"));
        }
        Ok(Line { program, words })
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Ways to say what the task asks of a sender, in the words of `pgmx` and of the peers.
fn rate(play: &Play) -> Result<Option<u32>, String> {
    match play.task {
        Task::Paced(Pace::PerSecond(rate)) => Ok(Some(rate)),
        Task::Paced(Pace::OfMost(_)) => Err("the most is not known yet: blast-256 was not played before".into()),
        _ => Ok(None),
    }
}

fn pgmx(play: &Play, end: End, port: &Port, time: Duration, seed: usize, histogram: Option<&Path>) -> Vec<String> {
    let (setting, Who::Pgmx(way)) = (play.setting, play.who) else { return Vec::new() };
    let endpoint = format!("pgm://{};{GROUP}:{PORT}", port.interface);
    let name = match (play.task, end) {
        (Task::RoundTrip, End::Source) => "ping",
        (Task::RoundTrip, End::Receiver) => "pong",
        (_, End::Source) => "send",
        (_, End::Receiver) => "recv",
    };
    let sleeps = play.task == Task::Cost || end == End::Receiver && setting.receivers > 1;
    let idle = if sleeps { "block" } else { "spin" };
    let mut line = words(&[name, &endpoint, "--io", way.name(), "--profile", setting.profile.name()]);
    line.extend(words(&["--core", CORES[end as usize], "--idle", idle, "--json"]));
    let size = setting.size.to_string();
    match (play.task, end) {
        (Task::RoundTrip, End::Source) => {
            let (count, warm_up) = round_trips(time);
            line.extend(words(&["--count", &count, "--warmup", &warm_up, "--size", &size, "--interval", "0"]));
        }
        (Task::RoundTrip, End::Receiver) => {}
        (task, End::Source) => {
            let seconds = format!("{:.3}", time.as_secs_f64());
            line.extend(words(&["--size", &size, "--seconds", &seconds, "--rate", "max"]));
            if let Task::Paced(Pace::PerSecond(rate)) = task {
                line.extend(words(&["--pps", &rate.to_string()]));
            }
            if task == Task::Bursts {
                line.extend(words(&["--bursts", "10@100ms"]));
            }
            if setting.batched {
                line.push("--batch".into());
            }
        }
        (_, End::Receiver) => {
            line.extend(words(&["--verify", "--timeout", TIMEOUT_S]));
            if setting.loss > 0 {
                line.extend(words(&["--faults", &format!("loss={},seed={}", setting.loss_percent(), seed + 1)]));
            }
        }
    }
    let keeps =
        matches!((play.task, end), (Task::RoundTrip, End::Source) | (Task::Paced(_) | Task::Bursts, End::Receiver));
    if let Some(file) = histogram.filter(|_| keeps) {
        line.extend(words(&["--hgrm", &file.to_string_lossy()]));
    }
    line
}

/// Round trips that fill about such a time, at ten microseconds each, and those before that are not timed.
pub fn round_trips(time: Duration) -> (String, String) {
    let count = (time.as_micros() / 10).max(1000);
    (count.to_string(), (count / 10).to_string())
}

/// Peers count in whole seconds.
fn seconds(time: Duration) -> String {
    time.as_secs_f64().ceil().max(1.0).to_string()
}

/// What all peers are told in the same words.
fn peer(play: &Play, end: End, time: Duration) -> Result<Vec<String>, String> {
    if play.task == Task::Bursts {
        return Err("its harness sends no bursts".into());
    }
    if play.setting.batched {
        return Err("batches by itself, or not at all".into());
    }
    let mut line = words(&["--size", &play.setting.size.to_string(), "--core", CORES[end as usize]]);
    line.extend(words(&["--timeout", TIMEOUT_S]));
    match (play.task, end) {
        (Task::RoundTrip, _) => line.extend(words(&["--count", &round_trips(time).0])),
        (_, End::Source) => {
            line.extend(words(&["--seconds", &seconds(time), "--linger", LINGER_MS]));
            if let Some(rate) = rate(play)? {
                line.extend(words(&["--pace", &rate.to_string()]));
            }
        }
        (_, End::Receiver) => {}
    }
    Ok(line)
}

fn openpgm(play: &Play, end: End, port: &Port, time: Duration) -> Result<Vec<String>, String> {
    let Who::OpenPgm { udp, spin } = play.who else { return Err("is not OpenPGM".into()) };
    let name = match (play.task, end) {
        (Task::RoundTrip, End::Source) => "ping",
        (Task::RoundTrip, End::Receiver) => "pong",
        (_, End::Source) => "send",
        (_, End::Receiver) => "recv",
    };
    let mut line = words(&[name, "--network", &format!("{};{GROUP}", port.address), "--port", &PORT.to_string()]);
    if udp {
        line.extend(words(&["--udp", OPENPGM_UDP]));
    }
    line.extend(peer(play, end, time)?);
    if spin && !(end == End::Receiver && play.setting.receivers > 1) && play.task != Task::Cost {
        line.push("--spin".into());
    }
    Ok(line)
}

fn zeromq(play: &Play, end: End, port: &Port, time: Duration) -> Result<Vec<String>, String> {
    let Who::ZeroMq { udp } = play.who else { return Err("is not ZeroMQ".into()) };
    let name = match (play.task, end) {
        (Task::RoundTrip, End::Source) => "ping",
        (Task::RoundTrip, End::Receiver) => "pong",
        (_, End::Source) => "pub",
        (_, End::Receiver) => "sub",
    };
    let scheme = if udp { "epgm" } else { "pgm" };
    let endpoint = format!("{scheme}://{};{GROUP}:{PORT}", port.address);
    let mut line = words(&[name, "--endpoint", &endpoint, "--rate", ZEROMQ_KBIT]);
    line.extend(peer(play, end, time)?);
    Ok(line)
}

fn norm(play: &Play, end: End, port: &Port, time: Duration) -> Result<Vec<String>, String> {
    let name = match (play.task, end) {
        (Task::RoundTrip, _) => return Err("its harness has no round trips".into()),
        (_, End::Source) => "send",
        (_, End::Receiver) => "recv",
    };
    let group = GROUP.to_string();
    let mut line = words(&[name, "--group", &group, "--port", "6003", "--interface", &port.interface]);
    line.extend(peer(play, end, time)?);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proving::{Setting, Way};

    const SECOND: Duration = Duration::from_secs(1);

    fn said(who: Who, task: Task, setting: Setting, end: End) -> String {
        let (play, port) = (Play { who, task, setting }, Port::on("left0"));
        let line = match who {
            Who::Pgmx(_) => Ok(pgmx(&play, end, &port, SECOND, 3, Some(Path::new("x.hgrm")))),
            Who::OpenPgm { .. } => openpgm(&play, end, &port, SECOND),
            Who::ZeroMq { .. } => zeromq(&play, end, &port, SECOND),
            _ => norm(&play, end, &port, SECOND),
        };
        format!(" {} ", line.expect("a line").join(" "))
    }

    #[test]
    fn a_pace_is_the_same_to_everybody() {
        let paced = Task::Paced(Pace::PerSecond(5_000));
        let says = |who| said(who, paced, Setting::DEFAULT, End::Source);
        assert!(says(Who::Pgmx(Way::Xdp)).contains(" --pps 5000 "));
        assert!(says(Who::OpenPgm { udp: false, spin: true }).contains(" --pace 5000 "));
        assert!(says(Who::ZeroMq { udp: true }).contains(" --pace 5000 "));
        let programs = Programs { pgmx: "pgmx".into(), peers: "peers".into() };
        let play = Play { who: Who::Pgmx(Way::Xdp), task: Task::Paced(Pace::OfMost(50)), setting: Setting::DEFAULT };
        let line = |play: &Play| programs.line(play, End::Source, &Port::on("left0"), SECOND, 0, None);
        assert!(line(&play).is_err(), "nobody can keep a pace that is not known");
        assert!(line(&Play { task: paced, ..play }).is_ok());
    }

    #[test]
    fn spinning_threads_never_outnumber_the_two_processors() {
        let two = Setting::DEFAULT.heard_by(2);
        assert!(said(Who::Pgmx(Way::Xdp), Task::Blast, two, End::Receiver).contains(" --idle block "));
        assert!(said(Who::Pgmx(Way::Xdp), Task::Blast, two, End::Source).contains(" --idle spin "));
        assert!(said(Who::Pgmx(Way::Xdp), Task::Cost, Setting::DEFAULT, End::Source).contains(" --idle block "));
        let spinning = Who::OpenPgm { udp: false, spin: true };
        assert!(!said(spinning, Task::Blast, two, End::Receiver).contains("--spin"));
        assert!(said(spinning, Task::Blast, Setting::DEFAULT, End::Receiver).contains("--spin"));
    }

    #[test]
    fn losses_are_the_receivers_and_each_repetition_has_its_own() {
        let lossy = Setting::DEFAULT.losing(10);
        let line = said(Who::Pgmx(Way::Xdp), Task::Blast, lossy, End::Receiver);
        assert!(line.contains(" --faults loss=0.1%,seed=4 "), "{line}");
        assert!(!said(Who::Pgmx(Way::Xdp), Task::Blast, lossy, End::Source).contains("--faults"));
    }

    #[test]
    fn latencies_are_kept_where_they_are_measured() {
        let keeps = |task, end| said(Who::Pgmx(Way::Xdp), task, Setting::DEFAULT, end).contains("--hgrm x.hgrm");
        assert!(keeps(Task::RoundTrip, End::Source) && !keeps(Task::RoundTrip, End::Receiver));
        assert!(keeps(Task::Bursts, End::Receiver) && !keeps(Task::Bursts, End::Source));
        assert!(!keeps(Task::Blast, End::Receiver), "at full speed a latency is that of the queue");
    }
}
