//! `pgmx send`: publishes lines of stdin, a file, or messages that check themselves.
//!
//! ```text
//!   feed ── a message at a time ─> publisher ─> drive         one loop:
//!    └─ framed ── a packet at a time ─┘                       publish, poll, rest
//!   pace ── how many are due
//! ```
//!
//! Guards: the session lives from the start of the program until all was sent and no receiver asks any more, whatever happens to stdin;
//! the loop allocates nothing, and makes no system call of its own while messages move.

mod feed;
mod framed;
mod pace;

use core::net::IpAddr;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use pgmx::endpoint::{Handler, Inbox, MessageView};
use pgmx::framing::zmq;
use pgmx::protocol::Event;
use pgmx::protocol::source::{Burst, Rate, SourceState};
use pgmx::time::{Time, nanos};
use pgmx::wire::Sqn;

use crate::common::drive::{Drive, Inline, Publish, Session, Wait};
use crate::common::failure::{Failure, status};
use crate::common::framing::Framing;
use crate::common::generate::Generator;
use crate::common::live::{Live, Sample};
use crate::common::numbers::{self, Sizes};
use crate::common::report::Report;
use crate::common::workers::Workers;
use crate::common::{Common, Purpose, World, say};
use feed::{Blocks, Feed, Lines, Offer, Step};
use framed::Framed;
use pace::{Bursts, Pace};

/// Packets that are published between two polls: a batch of the link. More would make NAKs wait.
const PACKETS: u32 = 64;
/// Messages that are: many share a packet where they are batched, and nobody waits longer for that.
const MESSAGES: u64 = 2048;
/// Octets a second below which a rate holds over any [`SLOW_BURST`]: 40 Mbit/s, where that is about the 64 packets that profiles allow.
const SLOW: u64 = 5_000_000;
/// Long enough to make up for a sleep that took too long, and short enough to be no burst for people.
const SLOW_BURST: Duration = Duration::from_millis(20);
/// How long a session that was ended by Ctrl-C still answers.
const STOP_LINGER_NS: u64 = 3_000_000_000;
/// How long receivers are told of a failure: time for some SPMs, any of which may be lost.
const ABORT_LINGER_NS: u64 = 300_000_000;
/// Nobody sleeps longer: a signal that comes just before a sleep begins must not wait for it.
const REST: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  pgmx send 'pgm://eth0;239.192.0.1:7500'                      what you type, a line a message
  tail -f log | pgmx send -i eth0 239.192.0.1:7500             the same, without quotes
  pgmx send 'pgm://eth0;239.192.0.1:7500' --file big.iso       a file; `pgmx recv ... --out big.iso` takes it
  pgmx send 'pgm://eth0;239.192.0.1:7500' --count 1M --size 16-1400 --rate max
                                                               messages that `pgmx recv --verify` checks
  pgmx send 'pgm://eth0;239.192.0.1:7500' --batch --size 64 --pps 500k --seconds 10
  pgmx send 'epgm://10.0.0.1;239.192.0.1:5555' --io udp        PGM in UDP: needs no rights
  pgmx send 'epgm://10.0.0.1;239.192.0.1:5555' --framing zmq   the same, to ZeroMQ's SUB sockets

Lines of stdin are sent where none of --file, --count, --size and --seconds is given. The session begins with the
program and ends with its input: what was sent is repaired until no receiver asks any more. Ctrl-C ends it so, within
3 seconds; twice ends at once.

Exit status: 0 all was sent, 1 something failed, 2 the arguments make no sense, 3 not all was sent.";

/// Publishes lines of stdin, a file, or generated messages.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Send this file, in messages of --size octets or as many as a packet holds.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["count", "seconds"], help_heading = "Messages")]
    file: Option<PathBuf>,
    /// Send so many generated messages.
    #[arg(long, value_name = "N", value_parser = numbers::count, help_heading = "Messages")]
    count: Option<u64>,
    /// Octets of a generated message; of a range, the size follows from the message's number. [default: 64]
    #[arg(long, value_name = "BYTES|MIN-MAX", value_parser = numbers::sizes, help_heading = "Messages")]
    size: Option<Sizes>,
    /// Send generated messages for so long.
    #[arg(long, value_name = "S", value_parser = numbers::seconds, help_heading = "Messages")]
    seconds: Option<Duration>,
    /// Bits of IP a second, with k, M or G, or max. [default: as the profile has it]
    #[arg(long, value_name = "BITS/S|max", value_parser = numbers::rate, help_heading = "Messages")]
    rate: Option<Rate>,
    /// Messages a second, with k, M or G.
    #[arg(long, value_name = "N", value_parser = numbers::per_second, help_heading = "Messages")]
    pps: Option<f64>,
    /// So many messages at once, at intervals: 10@100ms.
    #[arg(long, value_name = "N@TIME", conflicts_with = "pps", help_heading = "Messages")]
    bursts: Option<Bursts>,
    /// Let small messages share packets while the sender is busy.
    #[arg(long, help_heading = "Messages")]
    batch: bool,
    /// Lay messages into packets as this system does, for its receivers. Small messages share packets while the sender is busy.
    #[arg(long, value_name = "SYSTEM", conflicts_with = "batch", help_heading = "Messages")]
    framing: Option<Framing>,
    /// Cut each message into so many parts: of a multipart message.
    #[arg(long, value_name = "N", requires = "framing", default_value = "1", hide_default_value = true, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Messages")]
    parts: u32,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(crate) fn main(wanted: &Arguments) -> ExitCode {
    let outcome = if wanted.common.workers.is_some() { framed::<Workers>(wanted) } else { framed::<Inline>(wanted) };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.exit("send"),
    }
}

fn framed<D: Drive>(wanted: &Arguments) -> Result<u8, Failure> {
    match wanted.framing {
        None => run::<D, _>(wanted, |feed, _| feed),
        Some(Framing::Zmq) => {
            run::<D, _>(wanted, |feed, group| Framed::new(feed, wanted.parts as usize, zmq::tsdu_max(group)))
        }
    }
}

/// A publisher hears nothing.
struct Deaf;

impl Handler for Deaf {
    fn message(&mut self, _: MessageView<'_>) {}
    fn event(&mut self, _: Event) {}
}

fn run<D: Drive, F: Offer>(wanted: &Arguments, frame: impl FnOnce(Feed, IpAddr) -> F) -> Result<u8, Failure> {
    let (feed, lines) = if let Some(path) = &wanted.file {
        if wanted.size.is_some_and(|Sizes { min, max }| min != max || max == 0) {
            return Err(Failure::usage(
                "--size: a file goes in messages of one size, of an octet or more, such as 1400",
            ));
        }
        (Feed::File(Blocks::open(path, wanted.size)?), false)
    } else if wanted.count.is_some() || wanted.size.is_some() || wanted.seconds.is_some() {
        let sizes = wanted.size.unwrap_or(Sizes { min: 64, max: 64 });
        (Feed::Generated(Generator::new(sizes)), false)
    } else {
        (Feed::Lines(Lines::of_stdin()?), true)
    };
    let mut world = wanted.common.open::<D>(Purpose::SEND)?;
    let mut config = world.source_config();
    config.batch = wanted.batch;
    if let Some(rate) = wanted.rate {
        config.rate = rate;
        config.burst = burst(rate, config.burst);
    }
    let publisher = world.publish(&config)?;
    let begun = world.clock.now();
    let mut sending = Sending {
        origin: publisher.next_sqn(),
        publisher: Some(publisher),
        feed: frame(feed, config.group),
        pace: Pace::new(wanted.pps, wanted.bursts, begun),
        left: wanted.count.unwrap_or(u64::MAX),
        until: wanted.seconds.map(|seconds| begun.plus(nanos(seconds))),
        give_up: None,
        messages: 0,
        bytes: 0,
        left_packets: 0,
        first: None,
        last: begun,
        slots: config.window_slots.into(),
        // What is typed would be overwritten.
        live: Live::new(wanted.common.progress, !(lines && std::io::stdin().is_terminal())),
    };
    let mut inbox = Inbox::new(Deaf);
    let outcome = sending.run(&mut world, &mut inbox);
    if outcome.is_err() {
        sending.abort(&mut world, &mut inbox);
    }
    sending.live.clear();
    let lasted = Duration::from_nanos(sending.last.since(sending.first.unwrap_or(sending.last)));
    let mut report = Report::new(&world.path, sending.messages, sending.bytes, lasted);
    if let Some(stats) = world.drive.source_stats(sending.publisher.as_ref()) {
        report = report.source(&stats);
    }
    sending.publisher = None;
    world.close(&mut inbox);
    report.close(wanted.common.json, "sent", outcome)
}

/// What may leave at once: a slow rate is one from the first packet on, where a profile's burst would let seconds of it leave in a moment.
fn burst(rate: Rate, usual: Burst) -> Burst {
    match rate {
        Rate::OctetsPerSecond(octets) if octets < SLOW => Burst::Time(SLOW_BURST),
        _ => usual,
    }
}

struct Sending<P, F> {
    /// Until there is nothing more to publish.
    publisher: Option<P>,
    feed: F,
    pace: Pace,
    /// Messages that are still to be published.
    left: u64,
    until: Option<Time>,
    /// When to end though receivers may still ask.
    give_up: Option<Time>,
    messages: u64,
    bytes: u64,
    /// The session's first packet.
    origin: Sqn,
    /// Data packets that had left when it was last asked, modulo 2^32.
    left_packets: u32,
    /// When the first message was published, and when the last packet left.
    first: Option<Time>,
    last: Time,
    slots: u64,
    live: Live,
}

/// What came of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    /// Messages were published; there may be more.
    Some,
    /// None can be before the pace or the input allows it.
    Waits,
    /// None can be before packets leave.
    Ahead,
    /// None can be before the window moves.
    Full,
    /// There are no more.
    Ended,
}

impl<P: Session, F: Offer> Sending<P, F> {
    fn run<D: Drive<Publisher = P>>(&mut self, world: &mut World<D>, inbox: &mut Inbox<Deaf>) -> Result<u8, Failure> {
        let mut slept = true;
        loop {
            let now = world.clock.now();
            if world.stop.is_asked() {
                if world.stop.is_urgent() {
                    return Ok(status::INTERRUPTED);
                }
                self.give_up.get_or_insert(now.plus(STOP_LINGER_NS));
                self.end(world, now);
            }
            let burst = self.burst(world, now, slept)?;
            if burst == Batch::Ended {
                self.end(world, now);
            }
            let mut moved = world.poll(now, inbox)?;
            let before = self.left_packets;
            if let Some(code) = self.look(world, now)? {
                return Ok(code);
            }
            moved += usize::from(self.left_packets != before);
            if self.live.is_due(now) {
                let sample = self.sample(world);
                self.live.show(now, sample);
            }
            if moved > 0 || burst == Batch::Some {
                world.busy();
                slept = false;
                continue;
            }
            let mut until = self.live.next().min(now.plus(nanos(REST))).min(self.until.unwrap_or(now.plus(u64::MAX)));
            let mut wait = Wait::News;
            if let Some(publisher) = &mut self.publisher {
                let is_paced = burst == Batch::Waits && self.pace.due(now) == 0;
                match burst {
                    Batch::Waits if is_paced => until = until.min(self.pace.next()),
                    Batch::Waits => wait = self.feed.wake().map_or(Wait::News, Wait::Input),
                    Batch::Ahead => {
                        // Until half of them have left, so that neither side waits for the other.
                        let last = publisher.next_sqn().prev().minus(D::BACKLOG / 2);
                        wait = Wait::Lead(publisher, last);
                    }
                    Batch::Full => wait = Wait::Room(publisher),
                    Batch::Some | Batch::Ended => {}
                }
            }
            slept = world.rest(now, Duration::from_nanos(until.since(now)), wait)?;
        }
    }

    /// Publishes what is due, at most a batch.
    #[inline]
    fn burst<D: Drive>(&mut self, world: &mut World<D>, now: Time, slept: bool) -> Result<Batch, Failure> {
        let Some(publisher) = &mut self.publisher else { return Ok(Batch::Waits) };
        let is_late = self.until.is_some_and(|until| now >= until);
        if (self.left == 0 || is_late) && !self.feed.is_midway() {
            return Ok(Batch::Ended);
        }
        // Modulo 2^32, as sequence numbers are; a packet that is still open to records may have left before it counts.
        let waiting = publisher.next_sqn().distance_from(self.origin).wrapping_sub(self.left_packets).cast_signed();
        if waiting >= D::BACKLOG.cast_signed() {
            return Ok(Batch::Ahead);
        }
        self.feed.look(now, slept)?;
        // What has begun is brought to its end.
        let due = if is_late { 1 } else { self.pace.due(now).min(MESSAGES).min(self.left) };
        let wall_ns = world.clock.wall_ns(now);
        let begin = publisher.next_sqn();
        let mut publisher = publisher.burst();
        let mut messages = 0;
        let mut outcome = Batch::Waits;
        while messages < due {
            let published_ns = wall_ns.wrapping_sub(self.pace.late_ns(now, messages));
            match self.feed.publish(published_ns, due - messages, &mut publisher)? {
                Step::Published { messages: more, octets } => {
                    messages += more;
                    self.bytes += octets as u64;
                    if publisher.next_sqn().distance_from(begin) >= PACKETS {
                        break;
                    }
                }
                Step::Empty => {
                    self.pace.forfeit(now);
                    break;
                }
                Step::Full => {
                    outcome = Batch::Full;
                    break;
                }
                Step::Ended => {
                    outcome = Batch::Ended;
                    break;
                }
            }
        }
        if messages > 0 || publisher.next_sqn() != begin {
            self.first.get_or_insert(now);
            self.pace.sent(messages);
            self.messages += messages;
            self.left -= messages;
            if outcome != Batch::Ended {
                return Ok(Batch::Some);
            }
        }
        Ok(outcome)
    }

    /// Nothing more is published.
    #[cold]
    fn end<D: Drive<Publisher = P>>(&mut self, world: &mut World<D>, now: Time) {
        if let Some(publisher) = self.publisher.take() {
            world.drive.end(publisher, now);
        }
    }

    /// What failed is told to receivers, who would wait for the rest until their patience ends. If it is the link that failed, nobody
    /// is told.
    #[cold]
    fn abort<D: Drive<Publisher = P>>(&mut self, world: &mut World<D>, inbox: &mut Inbox<Deaf>) {
        let Some(publisher) = self.publisher.take() else { return };
        let begun = world.clock.now();
        world.drive.abort(publisher, begun);
        while world.drive.state() != SourceState::Done && !world.stop.is_urgent() {
            let now = world.clock.now();
            let left = ABORT_LINGER_NS.saturating_sub(now.since(begun));
            let outcome = match world.poll(now, inbox) {
                Ok(0) => world.rest(now, Duration::from_nanos(left).min(REST), Wait::News).map(drop),
                outcome => outcome.map(drop),
            };
            if outcome.is_err() || left == 0 {
                return;
            }
        }
    }

    /// Follows the source; a status when it is over.
    #[inline]
    fn look<D: Drive<Publisher = P>>(&mut self, world: &World<D>, now: Time) -> Result<Option<u8>, Failure> {
        let left = world.drive.left(self.publisher.as_ref())?;
        if left != self.left_packets {
            self.left_packets = left;
            self.last = now;
        }
        if self.publisher.is_some() {
            return Ok(None);
        }
        Ok(match world.drive.state() {
            SourceState::Done => Some(0),
            state if self.give_up.is_some_and(|at| now >= at) => {
                let is_sent = state == SourceState::Lingering;
                if !is_sent {
                    self.live.clear();
                    say("pgmx send: the session was ended before all messages had left");
                }
                Some(if is_sent { 0 } else { status::LOST })
            }
            _ => None,
        })
    }

    #[cold]
    fn sample<D: Drive<Publisher = P>>(&mut self, world: &World<D>) -> Sample {
        let stats = world.drive.source_stats(self.publisher.as_ref()).unwrap_or_default();
        let window =
            self.publisher.as_mut().map(|publisher| (self.slots - publisher.free().min(self.slots), self.slots));
        Sample { messages: self.messages, bytes: self.bytes, repairs: stats.rdata, naks: stats.naks, lost: 0, window }
    }
}
