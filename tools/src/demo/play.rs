//! The demo's course: who begins when, what they are told, and when it is over.
//!
//! ```text
//!   subscribers 1 and 2 ─ ready ─> publisher ─ a third of its time ─> subscriber 3 ─> the publisher ends ─> all end
//! ```
//!
//! Called by the demo only. Guards: it ends, whatever the children do; Ctrl-C ends it well.

use std::process::Command;
use std::time::{Duration, Instant};

use super::Arguments;
use super::cast::{Player, Troupe};
use super::hosts::{Network, bound_command};
use super::outcome::Part;
use super::view::View;
use crate::common::failure::{Failure, status};
use crate::common::stop::Stop;

/// How long a child may take to open its link: attaching an XDP program takes a second where nothing is quick.
const OPENING: Duration = Duration::from_secs(15);
/// How long a publisher may linger after its last message: the longest linger of a profile that demos use, and some.
const LINGER: Duration = Duration::from_secs(40);
/// How long a subscriber may take to notice that the session is over.
const FAREWELL: Duration = Duration::from_secs(10);
/// What a child gets between being asked to end and being killed.
const DISMISSAL: Duration = Duration::from_secs(3);
/// How often the children say how far they are, and the view shows it: often enough to look alive, seldom enough to cost nothing.
const PROGRESS_MS: u64 = 200;
/// How much of its window the publisher offers to who joins late.
const LATE_JOIN_PERCENT: &str = "20";

const GROUP: &str = "239.192.0.1";
const PORT: u16 = 7500;
/// Where ports of demos on loopback begin; each takes one by its process number, so that two of them do not mix.
const LOOPBACK_PORTS: (u32, u32) = (20_000, 10_000);

/// The names of the interfaces, the publisher's first.
pub(super) const INTERFACES: [&str; 4] = ["pub0", "sub1", "sub2", "sub3"];

/// Where the children play.
pub(super) enum Scene {
    /// Each on a host of its own.
    Network(Network),
    /// All on loopback, for this reason.
    Loopback(String),
}

impl Scene {
    /// `pgmx COMMAND ENDPOINT ...` at this place, with what all children are told.
    fn command(&self, place: usize, verb: &str, wanted: &Arguments) -> Result<Command, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::error(format_args!("where this program lies: {error}")))?;
        let (mut command, endpoint) = match self {
            Self::Network(network) => {
                let (host, interface) = &network.hosts[place];
                let scheme = if wanted.io == "udp" { "epgm" } else { "pgm" };
                (host.command(&program), format!("{scheme}://{interface};{GROUP}:{PORT}"))
            }
            Self::Loopback(_) => {
                let (first, count) = LOOPBACK_PORTS;
                let port = first + std::process::id() % count;
                (bound_command(&program), format!("epgm://lo;{GROUP}:{port}"))
            }
        };
        let io = if matches!(self, Self::Loopback(_)) { "udp" } else { &wanted.io };
        // Five processes share what cores there are: nobody spins.
        command.args([verb, &endpoint, "--io", io, "--idle", "block", "--json"]);
        command.args(["--progress", &PROGRESS_MS.to_string()]);
        Ok(command)
    }
}

/// What came of it.
pub(super) struct Played {
    /// The publisher's part, and the subscribers'.
    pub(super) parts: Vec<Part>,
    /// When the last one joined: seconds after the publisher began, and messages published by then.
    pub(super) joined: Option<(f64, u64)>,
    /// Whether Ctrl-C ended it.
    pub(super) is_stopped: bool,
}

impl Played {
    /// Why children were no success.
    pub(super) fn failures(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| part.failure.as_deref())
    }

    /// Messages that were lost or came damaged, to all together.
    pub(super) fn failed_messages(&self) -> u64 {
        self.parts.iter().map(Part::failed_messages).sum()
    }
}

/// Who is who in the troupe; the publisher comes third, because someone has to listen.
const PUBLISHER: usize = 2;
const LATE: usize = 3;

struct Play<'a> {
    wanted: &'a Arguments,
    scene: &'a Scene,
    troupe: Troupe,
    joined: Option<(f64, u64)>,
}

/// Plays it through, until its end or Ctrl-C.
pub(super) fn play(wanted: &Arguments, scene: &Scene, view: &mut View, stop: Stop) -> Result<Played, Failure> {
    let mut play = Play { wanted, scene, troupe: Troupe::new(), joined: None };
    play.begin_subscriber(1, None)?;
    play.begin_subscriber(2, Some(&wanted.loss))?;
    play.await_subscribers(stop)?;
    play.begin_publisher()?;
    let (mut is_stopped, mut is_told, mut drawn) = (false, false, Instant::now());
    let mut failures = loop {
        play.troupe.listen(Duration::from_millis(20));
        if stop.is_urgent() {
            // Whoever has asked twice wants no table; the children go with the troupe.
            return Err(Failure { status: status::INTERRUPTED, line: String::new() });
        }
        if stop.is_asked() && !is_stopped {
            is_stopped = true;
            play.troupe.players[PUBLISHER].interrupt();
        }
        if !is_stopped {
            play.begin_late_subscriber()?;
        }
        if play.troupe.players[PUBLISHER].is_over() && !is_told {
            is_told = true;
            play.release_who_heard_nothing();
        }
        play.note_joining();
        if drawn.elapsed() >= Duration::from_millis(PROGRESS_MS) {
            drawn = Instant::now();
            view.draw(&play.parts());
        }
        if play.troupe.is_over() || play.is_overdue() {
            break play.failures(true);
        }
        let failures = play.failures(false);
        if failures.iter().any(Option::is_some) {
            break failures;
        }
    };
    view.clear();
    play.troupe.dismiss(DISMISSAL);
    let mut parts = play.parts();
    // The publisher is the first in the table.
    failures[..=PUBLISHER].rotate_right(1);
    for (part, failure) in parts.iter_mut().zip(failures) {
        part.failure = failure;
    }
    Ok(Played { parts, joined: play.joined, is_stopped })
}

impl Play<'_> {
    fn begin_subscriber(&mut self, number: usize, loss: Option<&str>) -> Result<(), Failure> {
        let mut command = self.scene.command(number, "recv", self.wanted)?;
        command.arg("--verify");
        if let Some(loss) = loss {
            command.args(["--faults", &format!("loss={loss}%,seed=7")]);
        }
        self.troupe.begin(&format!("subscriber {number}"), command)
    }

    /// Waits until those who are there from the beginning listen.
    fn await_subscribers(&mut self, stop: Stop) -> Result<(), Failure> {
        let until = Instant::now() + OPENING;
        while let Some(player) = self.troupe.players.iter().find(|player| player.ready.is_none()) {
            if player.is_over() || Instant::now() > until {
                let name = &player.name;
                let failure = player.failure().unwrap_or_else(|| format!("{name} ended before anything was published"));
                return Err(Failure::error(failure));
            }
            if stop.is_asked() {
                return Err(Failure {
                    status: status::INTERRUPTED,
                    line: "stopped before anything was published".into(),
                });
            }
            self.troupe.listen(Duration::from_millis(20));
        }
        Ok(())
    }

    fn begin_publisher(&mut self) -> Result<(), Failure> {
        let mut command = self.scene.command(0, "send", self.wanted)?;
        let Arguments { seconds, rate, size, .. } = self.wanted;
        command.args(["--seconds", &seconds.to_string(), "--pps", &rate.to_string(), "--size", size]);
        command.args(["--late-join", LATE_JOIN_PERCENT]);
        self.troupe.begin("publisher", command)
    }

    /// Begins the last one when its time has come.
    fn begin_late_subscriber(&mut self) -> Result<(), Failure> {
        let Some(begun) = self.troupe.players[PUBLISHER].ready else { return Ok(()) };
        let seconds = begun.elapsed().as_secs_f64();
        if self.troupe.players.len() > LATE || seconds < self.wanted.seconds / 3.0 {
            return Ok(());
        }
        self.begin_subscriber(3, None)
    }

    /// A session that ended before its first message ends for nobody: subscribers would wait for the next one.
    fn release_who_heard_nothing(&self) {
        for player in self.troupe.players.iter().filter(|player| player.figure("messages") == 0) {
            player.interrupt();
        }
    }

    /// Notes when the late one began to listen, as soon as that is known: the publisher's last word is from about then.
    fn note_joining(&mut self) {
        let Some(ready) = self.troupe.players.get(LATE).and_then(|late| late.ready) else { return };
        let publisher = &self.troupe.players[PUBLISHER];
        let (Some(begun), Some((_, said)), None) = (publisher.ready, &publisher.progress, self.joined) else { return };
        let since = |early: Instant, late: Instant| late.saturating_duration_since(early).as_secs_f64();
        let published =
            publisher.figure("messages") as f64 + (since(*said, ready) - since(ready, *said)) * self.wanted.rate as f64;
        self.joined = Some((since(begun, ready), published.max(0.0) as u64));
    }

    /// What the late one must have at the least: all that was published once it listened for sure, by the fastest that the publisher may
    /// be. What it lost before that it knows by itself.
    fn due_to_late(&self, published: u64) -> u64 {
        let (publisher, late) = (&self.troupe.players[PUBLISHER], &self.troupe.players[LATE]);
        let Some(first_word) = late.first_word.filter(|_| !self.is_publishing()) else { return 0 };
        let before = first_word.saturating_duration_since(publisher.begun).as_secs_f64() * self.wanted.rate as f64;
        published.saturating_sub(before as u64)
    }

    fn is_publishing(&self) -> bool {
        self.troupe.players[PUBLISHER].report.is_none()
    }

    /// Why children that have ended are no success, in the order of the troupe; at the end, all have to have ended.
    fn failures(&self, is_end: bool) -> Vec<Option<String>> {
        let failure = |player: &Player| if is_end || player.is_over() { player.failure() } else { None };
        self.troupe.players.iter().map(failure).collect()
    }

    fn is_overdue(&self) -> bool {
        let publisher = &self.troupe.players[PUBLISHER];
        match publisher.ended {
            Some(ended) => ended.elapsed() > FAREWELL,
            None => publisher.begun.elapsed() > OPENING + Duration::from_secs_f64(self.wanted.seconds) + LINGER,
        }
    }

    /// The publisher's part and the subscribers'. While it goes on, only the subscribers themselves know what they lost.
    fn parts(&self) -> Vec<Part> {
        let players = &self.troupe.players;
        let published = players[PUBLISHER].figure("messages");
        let due = if self.is_publishing() { 0 } else { published };
        let mut parts = vec![Part::of_publisher(&players[PUBLISHER])];
        parts.push(Part::of_subscriber(&players[0], "no loss".into(), due));
        parts.push(Part::of_subscriber(&players[1], format!("loses {} %", self.wanted.loss), due));
        if let Some(late) = players.get(LATE) {
            let mut part = Part::of_subscriber(late, "joined late".into(), self.due_to_late(published));
            let all = part.messages + part.lost.unwrap_or_default();
            part.history = self.joined.map(|(_, before)| (all + before).saturating_sub(published));
            parts.push(part);
        }
        parts
    }
}
