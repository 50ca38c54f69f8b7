//! `pgmx ping`: how long a message and its answer take.
//!
//! ```text
//!   conversation   the two sessions, for pong as well
//!   message        what is asked and answered
//!   course         when each ping is due, and what became of it
//! ```
//!
//! One loop publishes what is due, and reads the clock when an answer is handed over. Guards: nothing is measured
//! before the other side has answered once, so that either may be started first.

pub(crate) mod conversation;
mod course;
mod message;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use pgmx::endpoint::{Handler, Inbox, MessageView};
use pgmx::frame::ClaimError;
use pgmx::protocol::source::SourceState;
use pgmx::protocol::{End, Event};
use pgmx::time::{Time, nanos};
use pgmx::wire::Tsi;

use crate::common::clock::Clock;
use crate::common::drive::{Drive, Inline, Publish, Wait};
use crate::common::failure::{Failure, status};
use crate::common::hgrm;
use crate::common::live::{Live, Sample};
use crate::common::numbers;
use crate::common::report::{Events, LatencyNs, Report, end_in_words};
use crate::common::workers::Workers;
use crate::common::{Common, World, say, seed};
use course::{Course, Plan};
use message::{Came, Form, HELLO};

/// How often we ask whether somebody answers, before the first answer.
const HELLO_EVERY: Duration = Duration::from_millis(10);
/// Pings that leave between two turns of the endpoint, when many are due.
const BURST: u32 = 64;

const EXAMPLES: &str = "\
Examples:
  pgmx pong 'pgm://eth0;239.192.0.1:7500'                       on one host; it ends when ping does
  pgmx ping 'pgm://eth0;239.192.0.1:7500' --count 100000        on another, in whichever order
  pgmx ping 'pgm://eth0;239.192.0.1:7500' --interval 100us --seconds 60 --hgrm ping.hgrm
  pgmx ping 'pgm://eth0;239.192.0.1:7500' --interval 0 --core 2 --idle spin
                                                               as fast as it goes

What is measured is the time from when a ping is due until its answer is handed over, all in between included:
publishing, the network both ways, both programs. With an interval, a ping that leaves late is timed from when it should
have left: one slow answer does not hide that those behind it waited, too (coordinated omission). With --interval 0 the
next ping is due when the answer came.

Answers come on the next port, PORT+1, in pong's own session. The profile is low-latency unless --profile says
otherwise, and the window 256 packets unless --window does.

Exit status: 0 all pings were answered, 1 something failed, or pong left early, 2 the arguments make no sense, 3 some
pings will never be answered, or answers were damaged, 4 no answer came for --timeout.";

/// Times round trips to a `pgmx pong`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Octets of a ping.
    #[arg(long, value_name = "OCTETS", default_value = "64", value_parser = clap::value_parser!(u32).range(16..=65_536))]
    size: u32,
    /// End after so many pings; without it, and without --seconds, when Ctrl-C says so.
    #[arg(long, value_name = "N", value_parser = numbers::count)]
    count: Option<u64>,
    /// From one ping to the next, such as 100us, 1ms or 0.5s; 0: the next when the answer came.
    #[arg(long, value_name = "DURATION", default_value = "1ms", value_parser = interval)]
    interval: Duration,
    /// End after so many seconds.
    #[arg(long, value_name = "S", value_parser = numbers::seconds)]
    seconds: Option<Duration>,
    /// Pings that are not counted, in front.
    #[arg(long, value_name = "N", default_value = "100", value_parser = warmup)]
    warmup: u64,
    /// How many seconds to wait for an answer.
    #[arg(long, value_name = "S", default_value = "10", value_parser = numbers::seconds)]
    timeout: Duration,
    /// Write the histogram into this file, in HdrHistogram's text form; microseconds.
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
}

/// A number of pings that may be 0.
fn warmup(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { numbers::count(text) }
}

/// A duration with its unit, or 0.
fn interval(text: &str) -> Result<Duration, String> {
    const LONGEST_S: f64 = 3_600.0;
    let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let read = |(unit, scale): &(&str, f64)| {
        let number = text.strip_suffix(unit)?;
        let is_plain = !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
        is_plain.then(|| number.parse::<f64>().ok().map(|number| number * scale)).flatten()
    };
    let seconds = if text == "0" { Some(0.0) } else { units.iter().find_map(read) };
    let seconds = seconds.filter(|seconds| (0.0..=LONGEST_S).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "0, or a time with its unit: 500ns, 100us, 1ms, 0.5s".into())
}

/// What the answers do.
struct Listening {
    clock: Clock,
    form: Form,
    course: Course,
    /// Whose answers count: who answered first.
    partner: Option<Tsi>,
    corrupt: u64,
    strangers: u64,
    /// How the partner's session ended.
    end: Option<End>,
    events: Events,
}

impl Handler for Listening {
    #[inline]
    fn message(&mut self, message: MessageView<'_>) {
        // First of all: what is done with the answer is no part of the round trip.
        let now = self.clock.now();
        let came = self.form.read(&message);
        if self.partner != Some(message.tsi) {
            if self.partner.is_none() && came == Came::Answer(HELLO) {
                self.partner = Some(message.tsi);
            } else {
                self.strangers += 1;
            }
            return;
        }
        match came {
            Came::Answer(HELLO) => {}
            Came::Answer(number) => self.course.answered(number, now),
            Came::Corrupt => self.corrupt += 1,
            Came::Stranger => self.strangers += 1,
        }
    }

    #[cold]
    fn event(&mut self, event: Event) {
        self.events.add(&event);
        if let Event::Closed { tsi, end } = event
            && self.partner == Some(tsi)
        {
            self.end = Some(end);
        }
    }
}

/// Everything that the loop has.
struct Ping<D: Drive> {
    world: World<D>,
    inbox: Inbox<Listening>,
    /// Until the session ends.
    publisher: Option<D::Publisher>,
    live: Live,
    timeout: Duration,
    size: u32,
}

/// Runs the command.
pub(crate) fn main(wanted: Arguments) -> ExitCode {
    let outcome = if wanted.common.workers.is_some() { run::<Workers>(wanted) } else { run::<Inline>(wanted) };
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.exit("ping"),
    }
}

fn run<D: Drive>(mut wanted: Arguments) -> Result<ExitCode, Failure> {
    let mut world = conversation::open::<D>(&mut wanted.common)?;
    let refused = |path: &PathBuf, error| Failure::error(format_args!("--hgrm {}: {error}", path.display()));
    // Opened before it is needed: after a long course it is too late for a refusal.
    let file = match &wanted.hgrm {
        Some(path) => Some((path, File::create(path).map_err(|error| refused(path, error))?)),
        None => None,
    };
    let plan = Plan {
        interval: wanted.interval,
        warm_up: wanted.warmup,
        count: wanted.count,
        time: wanted.seconds,
        patience: wanted.timeout,
    };
    world.listen(&conversation::receiver_config(&world, false))?;
    let publisher = Some(world.publish(&conversation::source_config(&world, false))?);
    let listening = Listening {
        clock: world.clock.clone(),
        form: Form::new(wanted.size as usize, seed()),
        course: Course::new(plan, world.clock.now()).map_err(Failure::error)?,
        partner: None,
        corrupt: 0,
        strangers: 0,
        end: None,
        events: Events::default(),
    };
    let live = Live::new(wanted.common.progress, true);
    let (timeout, size) = (wanted.timeout, wanted.size);
    let mut ping = Ping { world, inbox: Inbox::new(listening), publisher, live, timeout, size };
    let found = ping.seek().and_then(|found| if found { ping.course() } else { Ok(Ok(())) });
    let ended = found.and_then(|ended| ping.part().and(ended));
    ping.live.clear();
    let report = ping.report();
    let ended = report.close(wanted.common.json, "ping: answered", ended);
    if let Some((path, file)) = file {
        let mut file = BufWriter::new(file);
        let written = hgrm::write(ping.heard().course.histogram(), &mut file).and_then(|()| file.flush());
        written.map_err(|error| refused(path, error))?;
    }
    if ping.world.stop.is_urgent() {
        return Ok(ExitCode::from(status::INTERRUPTED));
    }
    match ended {
        // What came too early may have cost answers.
        Err(failure) if report.is_short() && report.messages > 0 => {
            Ok(Failure { status: status::LOST, ..failure }.exit("ping"))
        }
        Err(failure) => Err(failure),
        Ok(()) if report.is_short() => Ok(ExitCode::from(status::LOST)),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

impl<D: Drive> Ping<D> {
    fn heard(&self) -> &Listening {
        self.inbox.handler()
    }

    /// Publishes a ping; false when the window is full.
    #[inline]
    fn publish(&mut self, number: u64) -> Result<bool, Failure> {
        let Some(publisher) = &mut self.publisher else { return Ok(false) };
        match publisher.publish(self.inbox.handler_mut().form.ping(number)) {
            Ok(()) => Ok(true),
            // Why it is closed is told by the next turn.
            Err(ClaimError::Full | ClaimError::Closed) => Ok(false),
            Err(error) => Err(Failure::usage(format_args!("--size {}: {error}", self.size))),
        }
    }

    /// A turn of the endpoint, and a rest if nothing moved.
    #[inline]
    fn turn(&mut self, now: Time, rest: impl FnOnce(&Listening) -> Duration) -> Result<(), Failure> {
        let moved = self.world.poll(now, &mut self.inbox)?;
        if moved > 0 {
            self.world.busy();
            return Ok(());
        }
        let at_most = rest(self.inbox.handler());
        if !at_most.is_zero() {
            self.world.rest(now, at_most, Wait::News)?;
        }
        Ok(())
    }

    /// Asks until somebody answers. False if Ctrl-C came first.
    fn seek(&mut self) -> Result<bool, Failure> {
        let begun = self.world.clock.now();
        let mut next = begun;
        loop {
            let now = self.world.clock.now();
            if self.world.stop.is_asked() {
                return Ok(false);
            }
            if self.heard().partner.is_some() {
                self.inbox.handler_mut().course.begin(now);
                return Ok(true);
            }
            if now.since(begun) >= nanos(self.timeout) {
                let pgmx::link::Channel { group, data_port } = self.world.channel;
                let interface = &self.world.path.interface;
                return Err(Failure {
                    status: status::TIMEOUT,
                    line: format!(
                        "nobody answered on {interface}, {group}:{data_port}, for {} s: is `pgmx pong` running there?",
                        self.timeout.as_secs_f64()
                    ),
                });
            }
            if now >= next {
                // A full window means that nobody takes them; then one more is not needed.
                let _ = self.publish(HELLO)?;
                next = now.plus(nanos(HELLO_EVERY));
            }
            let pause = Duration::from_nanos(next.since(now).min(nanos(self.timeout)));
            self.turn(now, |_| pause)?;
        }
    }

    /// The course itself. The inner result says whether it went to its end.
    fn course(&mut self) -> Result<Result<(), Failure>, Failure> {
        loop {
            let now = self.world.clock.now();
            for _ in 0..BURST {
                let Some(number) = self.inbox.handler_mut().course.due(now) else { break };
                if !self.publish(number)? {
                    break;
                }
                self.inbox.handler_mut().course.sent(now);
            }
            let next = self.live.next();
            self.turn(now, |heard| heard.course.rest(now).min(Duration::from_nanos(next.since(now))))?;
            if self.live.is_due(now) {
                let sample = self.sample();
                self.live.show(now, sample);
            }
            let (is_asked, is_urgent) = (self.world.stop.is_asked(), self.world.stop.is_urgent());
            let Listening { course, end, .. } = self.inbox.handler_mut();
            if course.is_done() {
                return Ok(Ok(()));
            }
            if is_asked {
                // What is on its way is still awaited.
                course.stop();
            }
            if is_urgent {
                course.give_up();
                return Ok(Ok(()));
            }
            if let Some(end) = *end {
                course.give_up();
                let how = end_in_words(end);
                return Ok(Err(Failure::error(format_args!("pong ended its session before ping did: {how}"))));
            }
            if course.is_silent(now) {
                course.give_up();
                let line = format!(
                    "no answer for {} s, after {} that came: is pong still there?",
                    self.timeout.as_secs_f64(),
                    course.count()
                );
                return Ok(Err(Failure { status: status::TIMEOUT, line }));
            }
        }
    }

    /// Ends the session, and waits until pong, which ends its own then, has heard so.
    fn part(&mut self) -> Result<(), Failure> {
        let begun = self.world.clock.now();
        if let Some(publisher) = self.publisher.take() {
            self.world.drive.end(publisher, begun);
        }
        loop {
            let now = self.world.clock.now();
            let is_over = self.heard().end.is_some()
                || self.heard().partner.is_none()
                || self.world.drive.state() == SourceState::Done
                || now.since(begun) >= nanos(conversation::FAREWELL)
                || self.world.stop.is_urgent();
            if is_over {
                return Ok(());
            }
            self.turn(now, |_| conversation::FAREWELL)?;
        }
    }

    fn sample(&self) -> Sample {
        let Listening { course, .. } = self.heard();
        let stats = self.world.drive.receiver_stats().map(|stats| stats.all);
        Sample {
            messages: course.count(),
            bytes: course.count() * u64::from(self.size),
            repairs: stats.map_or(0, |stats| stats.rdata_packets),
            naks: stats.map_or(0, |stats| stats.naks_sent),
            lost: course.lost(),
            window: None,
        }
    }

    fn report(&mut self) -> Report {
        let Listening { course, corrupt, strangers, events, .. } = self.inbox.handler_mut();
        let events = core::mem::take(events);
        let messages = course.count();
        let octets = messages * u64::from(self.size);
        let mut report = Report::new(&self.world.path, messages, octets, course.measured_for());
        report.lost = Some(course.lost());
        report.corrupt = Some(*corrupt);
        report.latency_ns = LatencyNs::of(course.histogram());
        if *strangers > 0 {
            say(format_args!(
                "pgmx ping: {strangers} messages of others came on the port of the answers, and were not counted"
            ));
        }
        if let Some(stats) = self.world.drive.receiver_stats() {
            report = report.receiver(&stats, events);
        }
        if let Some(stats) = self.world.drive.source_stats(None) {
            report = report.source(&stats);
        }
        self.world.close(&mut self.inbox);
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        ping: Arguments,
    }

    fn read(more: &str) -> Result<Arguments, clap::Error> {
        let line = format!("ping pgm://lo;239.192.0.1:7500 {more}");
        Line::try_parse_from(line.split_whitespace()).map(|line| line.ping)
    }

    #[test]
    fn intervals_are_read_with_their_unit() {
        assert_eq!(interval("0"), Ok(Duration::ZERO));
        assert_eq!(interval("500ns"), Ok(Duration::from_nanos(500)));
        assert_eq!(interval("100us"), Ok(Duration::from_micros(100)));
        assert_eq!(interval("2.5ms"), Ok(Duration::from_micros(2_500)));
        assert_eq!(interval("0.5s"), Ok(Duration::from_millis(500)));
        for text in ["", "5", "ms", "-1ms", "1e3s", "3601s", "1 ms", "1min", "infs"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_pinged_is_refused() {
        for more in ["--size 15", "--size 65537", "--count 0", "--interval 1", "--timeout 0", "--warmup -1"] {
            assert!(read(more).is_err(), "{more}");
        }
        let wanted = read("--count 10k --interval 0 --size 1400 --seconds 2").expect("sound");
        assert_eq!((wanted.count, wanted.size, wanted.interval), (Some(10_000), 1_400, Duration::ZERO));
        assert_eq!((wanted.warmup, wanted.timeout), (100, Duration::from_secs(10)));
    }

    #[test]
    fn a_port_without_a_neighbour_is_refused_before_anything_is_opened() {
        let mut wanted = read("").expect("sound");
        wanted.common.endpoint = "pgm://no-such-interface;239.192.0.1:65535".into();
        let failure = run::<Inline>(wanted).expect_err("no port for the answers");
        assert_eq!(failure.status, status::USAGE);
        assert!(failure.line.starts_with("port 65535: "), "{}", failure.line);
    }
}
