//! `pgmx recv`: prints messages as lines, writes them to a file, or verifies those that check themselves.
//!
//! One loop: poll, rest; messages are read where they lie. With `--framing` another handler stands in front of the reader (`unframed`). Guards: what is lost is counted and told, whatever becomes of the
//! messages; what was printed is flushed before the loop rests; the loop allocates nothing while messages move.

mod unframed;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use pgmx::endpoint::{Handler, Inbox, MessageView};
use pgmx::link::faults::Drops;
use pgmx::protocol::receiver::OnLoss;
use pgmx::protocol::{End, Event};
use pgmx::time::{Time, nanos};
use pgmx::wire::Tsi;

use crate::common::drive::{Drive, Inline, Wait};
use crate::common::failure::{Failure, status};
use crate::common::framing::Framing;
use crate::common::generate::Checker;
use crate::common::hgrm;
use crate::common::live::{Live, Sample};
use crate::common::numbers;
use crate::common::report::{Events, Latency, Report, end_in_words};
use crate::common::workers::Workers;
use crate::common::{Common, Purpose, World, say};
use unframed::Unframed;

/// Octets that are gathered before they are written, while messages keep coming: some thousand short lines share a system call.
const GATHER: usize = 256 * 1024;
/// Nobody sleeps longer: a signal that comes just before a sleep begins must not wait for it.
const REST: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  pgmx recv 'pgm://eth0;239.192.0.1:7500'                      messages as lines
  pgmx recv -i eth0 239.192.0.1:7500 | grep ERROR              the same, without quotes
  pgmx recv 'pgm://eth0;239.192.0.1:7500' --out big.iso        what `pgmx send ... --file big.iso` sends
  pgmx recv 'pgm://eth0;239.192.0.1:7500' --verify --count 1M --json
                                                               what `pgmx send ... --count 1M` makes
  pgmx recv 'pgm://eth0;239.192.0.1:7500' --verify --faults loss=5% --policy skip --timeout 10
  pgmx recv 'epgm://10.0.0.2;239.192.0.1:5555' --framing zmq --subscribe weather
                                                               what ZeroMQ's PUB sockets send, of one topic

It ends after --count messages, lost ones included; when the last open session has ended and all it sent is delivered;
after --timeout without progress; or by Ctrl-C.

Exit status: 0 all well, 1 something failed, or a session ended without its source saying that it was done, 2 the
arguments make no sense, 3 data was lost or corrupt, 4 nothing came for --timeout.";

/// Prints, writes or verifies the messages of a group.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Check messages that `pgmx send` made, and print none.
    #[arg(long, conflicts_with = "out", help_heading = "Messages")]
    verify: bool,
    /// Write messages to this file, one right behind the other.
    #[arg(long, value_name = "FILE", help_heading = "Messages")]
    out: Option<PathBuf>,
    /// End after so many messages; those that are lost count.
    #[arg(long, value_name = "N", value_parser = numbers::count, help_heading = "Messages")]
    count: Option<u64>,
    /// End when nothing came for so long.
    #[arg(long, value_name = "S", value_parser = numbers::seconds, help_heading = "Messages")]
    timeout: Option<Duration>,
    /// Write the latencies of --verify into this file, as HdrHistogram has percentiles.
    #[arg(long, value_name = "FILE", requires = "verify", help_heading = "Output")]
    hgrm: Option<PathBuf>,
    /// What an unrecoverable loss does: end the session, or be told and skipped. [default: as the profile has it]
    #[arg(long, value_name = "POLICY", help_heading = "Messages")]
    policy: Option<Policy>,
    /// Read messages as this system lays them into packets. The parts of one are taken one right behind the other.
    #[arg(long, value_name = "SYSTEM", help_heading = "Messages")]
    framing: Option<Framing>,
    /// Take only messages whose first part begins so; may be repeated. [default: all]
    #[arg(long, value_name = "PREFIX", requires = "framing", help_heading = "Messages")]
    subscribe: Vec<OsString>,
    #[command(flatten)]
    common: Common,
}

/// `--policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// End the session
    Reset,
    /// Tell it and go on
    Skip,
}

/// Runs the command.
pub(crate) fn main(wanted: &Arguments) -> ExitCode {
    let outcome = if wanted.common.workers.is_some() { framed::<Workers>(wanted) } else { framed::<Inline>(wanted) };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.exit("recv"),
    }
}

fn framed<D: Drive>(wanted: &Arguments) -> Result<u8, Failure> {
    match wanted.framing {
        None => run::<D, _>(wanted, |reader| reader),
        Some(Framing::Zmq) => run::<D, _>(wanted, |reader| Unframed::new(reader, &wanted.subscribe)),
    }
}

fn run<D: Drive, L: Layer>(wanted: &Arguments, layer: impl FnOnce(Reader) -> L) -> Result<u8, Failure> {
    let mut world = wanted.common.open::<D>(Purpose::RECEIVE)?;
    // Not before: a file that is there stays as it is if nothing can be heard.
    let output = if wanted.verify {
        Output::Verify(Box::new(Checker::new()))
    } else if let Some(path) = &wanted.out {
        let file = File::create(path);
        let file = file.map_err(|error| Failure::error(format_args!("--out: writing {}: {error}", path.display())))?;
        Output::File(BufWriter::with_capacity(GATHER, file))
    } else {
        // Past the standard library's buffer, which would flush at each line.
        let out = io::stdout().as_fd().try_clone_to_owned();
        let out = out.map_err(|error| Failure::error(format_args!("stdout: {error}")))?;
        Output::Lines(BufWriter::with_capacity(GATHER, File::from(out)))
    };
    let prints = matches!(output, Output::Lines(_)) && io::stdout().is_terminal();
    let mut config = world.receiver_config();
    match wanted.policy {
        Some(Policy::Reset) => config.on_loss = OnLoss::Reset,
        Some(Policy::Skip) => config.on_loss = OnLoss::Skip,
        None => {}
    }
    world.listen(&config)?;
    let mut inbox = Inbox::new(layer(Reader {
        output,
        wall_ns: 0,
        limit: wanted.count.unwrap_or(u64::MAX),
        is_full: false,
        drops: world.drops.take(),
        repair: Latency::new(),
        messages: 0,
        bytes: 0,
        lost: 0,
        first: None,
        last: Time::ZERO,
        open: 0,
        events: Events::default(),
        ended: None,
        bad_end: None,
        failed: None,
    }));
    // Lines would be torn.
    let mut live = Live::new(wanted.common.progress, !prints);
    let why = drive(&mut world, &mut inbox, &mut live, wanted.timeout);
    live.clear();
    let cut_batches = inbox.cut_batches() + world.drive.cut_batches();
    if cut_batches > 0 {
        say(format_args!("pgmx recv: {cut_batches} batches ended in the middle of a message"));
    }
    let faults = inbox.handler().faults();
    let reader = inbox.handler_mut().reader_mut();
    reader.flush();
    let failure = reader.failed.take().and_then(|error| write_failure(&error, wanted.out.as_ref()));
    let why = failure.map_or(why, Err);
    let has_all = matches!(why, Ok(Why::Over | Why::Counted));
    let mut report = reader.report(&world, has_all.then_some(wanted.count).flatten());
    if let Some(faults) = faults {
        *report.corrupt.get_or_insert(0) += faults;
    }
    let bad_end = reader.bad_end;
    if let (Some(path), Output::Verify(checker)) = (&wanted.hgrm, &mut reader.output) {
        hgrm::write_file(checker.latency.histogram(), path)?;
    }
    world.close(&mut inbox);
    if matches!(why, Ok(Why::Closed)) {
        // Who stopped reading wants to know nothing more.
        return Ok(0);
    }
    let why = report.close(wanted.common.json, "received", why)?;
    if let Some(faults @ 1..) = faults {
        say(format_args!("pgmx recv: {faults} packets made no sense as --framing has it; does the sender use it?"));
    }
    if let Some(end) = bad_end {
        say(format_args!("pgmx recv: a session ended: {}", end_in_words(end)));
    }
    Ok(match why {
        Why::Urgent => status::INTERRUPTED,
        _ if report.is_short() => status::LOST,
        Why::Timeout => {
            let seconds = wanted.timeout.unwrap_or_default().as_secs_f64();
            say(format_args!("pgmx recv: nothing came for {seconds} s"));
            status::TIMEOUT
        }
        Why::Over if bad_end.is_some() => status::ERROR,
        Why::Over | Why::Counted | Why::Asked | Why::Closed => 0,
    })
}

/// What to say about output that failed; nothing if its reader went away, as `head` does.
fn write_failure(error: &io::Error, out: Option<&PathBuf>) -> Option<Failure> {
    let is_gone = error.kind() == io::ErrorKind::BrokenPipe;
    let name = out.map_or_else(|| "stdout".into(), |path| format!("--out: {}", path.display()));
    (!is_gone).then(|| Failure::error(format_args!("{name}: writing failed: {error}")))
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The last open session ended.
    Over,
    /// --count is reached.
    Counted,
    /// --timeout passed.
    Timeout,
    /// Ctrl-C.
    Asked,
    /// Ctrl-C, twice.
    Urgent,
    /// Nobody reads what we print, or it cannot be written.
    Closed,
}

fn drive<D: Drive, L: Layer>(
    world: &mut World<D>,
    inbox: &mut Inbox<L>,
    live: &mut Live,
    timeout: Option<Duration>,
) -> Result<Why, Failure> {
    let mut progress = (0, world.clock.now());
    loop {
        let now = world.clock.now();
        inbox.handler_mut().reader_mut().wall_ns = world.clock.wall_ns(now);
        let moved = world.poll(now, inbox)?;
        if live.is_due(now) {
            live.show(now, sample(world, inbox.handler().reader()));
        }
        if moved > 0 {
            world.busy();
            // Asked below as well; here because messages may never cease.
            if !(world.stop.is_asked() || inbox.handler().reader().is_done()) {
                continue;
            }
        }
        let reader = inbox.handler_mut().reader_mut();
        reader.flush();
        if reader.failed.is_some() {
            return Ok(Why::Closed);
        }
        if reader.is_full {
            return Ok(Why::Counted);
        }
        if reader.is_over() {
            return Ok(Why::Over);
        }
        if world.stop.is_asked() {
            return Ok(if world.stop.is_urgent() { Why::Urgent } else { Why::Asked });
        }
        let mut rest = nanos(REST).min(live.next().since(now));
        if let Some(timeout) = timeout {
            let seen = reader.seen();
            if seen != progress.0 {
                progress = (seen, now);
            }
            let left = nanos(timeout).saturating_sub(now.since(progress.1));
            if left == 0 {
                return Ok(Why::Timeout);
            }
            rest = rest.min(left);
        }
        world.rest(now, Duration::from_nanos(rest), Wait::News)?;
    }
}

#[cold]
fn sample<D: Drive>(world: &World<D>, reader: &Reader) -> Sample {
    let stats = world.drive.receiver_stats().unwrap_or_default();
    let lost = if let Output::Verify(checker) = &reader.output { checker.lost } else { reader.lost };
    Sample {
        messages: reader.messages,
        bytes: reader.bytes,
        repairs: stats.all.repaired_packets,
        naks: stats.all.naks_sent,
        lost,
        window: None,
    }
}

/// What becomes of messages.
enum Output {
    Lines(BufWriter<File>),
    File(BufWriter<File>),
    Verify(Box<Checker>),
}

/// The application: counts, and passes on.
struct Reader {
    output: Output,
    /// The time of day of this poll.
    wall_ns: u64,
    limit: u64,
    /// --count is reached: what comes now is not ours any more.
    is_full: bool,
    /// What `--faults` loses, and what it took to bring that back.
    drops: Option<Drops>,
    repair: Latency,
    messages: u64,
    bytes: u64,
    /// Packets lost, where messages have no numbers.
    lost: u64,
    first: Option<Time>,
    last: Time,
    open: u32,
    events: Events,
    /// How the last session ended.
    ended: Option<End>,
    /// How a session ended that ended otherwise than it should.
    bad_end: Option<End>,
    failed: Option<io::Error>,
}

/// The inbox's handler: the reader, or what stands in front of it.
trait Layer: Handler {
    /// Who has the messages in the end.
    fn reader(&self) -> &Reader;

    /// The same, to be told what is news.
    fn reader_mut(&mut self) -> &mut Reader;

    /// Packets that made no sense, where they have to make some.
    fn faults(&self) -> Option<u64>;
}

impl Layer for Reader {
    #[inline]
    fn reader(&self) -> &Reader {
        self
    }

    #[inline]
    fn reader_mut(&mut self) -> &mut Reader {
        self
    }

    fn faults(&self) -> Option<u64> {
        None
    }
}

impl Handler for Reader {
    #[inline]
    fn message(&mut self, message: MessageView<'_>) {
        if self.drops.is_some() && !self.is_done() {
            self.time_repair(&message);
        }
        let (tsi, received) = (message.tsi, message.received);
        match message.as_slice() {
            Some(octets) => self.take(tsi, received, octets.len(), core::iter::once(octets)),
            None => self.take(tsi, received, message.len(), message.chunks()),
        }
    }

    fn event(&mut self, event: Event) {
        self.events.add(&event);
        match event {
            Event::Opened { .. } => self.open += 1,
            Event::Loss { tsi, first, last, .. } => {
                let packets = u64::from(last.distance_from(first)) + 1;
                self.lost += packets;
                if let Output::Verify(checker) = &mut self.output {
                    checker.on_loss(tsi, packets);
                }
            }
            Event::Closed { tsi, end } => {
                self.open = self.open.saturating_sub(1);
                self.ended = Some(end);
                if !matches!(end, End::Finished | End::Local) {
                    self.bad_end = Some(end);
                }
                if let Output::Verify(checker) = &mut self.output {
                    checker.on_closed(tsi);
                }
            }
        }
        self.is_full |= self.seen() >= self.limit;
    }
}

impl Reader {
    /// A message of `len` octets, in pieces.
    #[inline]
    fn take<'m>(&mut self, tsi: Tsi, received: Time, len: usize, mut chunks: impl Iterator<Item = &'m [u8]> + Clone) {
        if self.is_done() {
            return;
        }
        self.messages += 1;
        self.bytes += len as u64;
        self.last = received;
        if self.first.is_none() {
            self.first = Some(received);
        }
        let written = match &mut self.output {
            Output::Verify(checker) => {
                checker.check(tsi, len, chunks, self.wall_ns);
                Ok(())
            }
            Output::Lines(out) => {
                let written = chunks.try_for_each(|chunk| out.write_all(chunk));
                written.and_then(|()| out.write_all(b"\n"))
            }
            Output::File(out) => chunks.try_for_each(|chunk| out.write_all(chunk)),
        };
        if let Err(error) = written {
            self.failed = Some(error);
        }
        self.is_full = self.seen() >= self.limit;
    }

    /// A message that nobody subscribed to.
    #[inline]
    fn pass_over<'m>(&mut self, tsi: Tsi, len: usize, chunks: impl Iterator<Item = &'m [u8]>) {
        if let Output::Verify(checker) = &mut self.output
            && !self.is_full
        {
            checker.pass_over(tsi, len, chunks);
            self.is_full = checker.seen() >= self.limit;
        }
    }

    /// Messages that are accounted for.
    #[inline]
    fn seen(&self) -> u64 {
        match &self.output {
            Output::Verify(checker) => checker.seen(),
            _ => self.messages + self.lost,
        }
    }

    #[inline]
    fn is_done(&self) -> bool {
        self.is_full || self.failed.is_some()
    }

    /// A packet of this message may have been lost at first.
    #[cold]
    fn time_repair(&mut self, message: &MessageView<'_>) {
        let Some(drops) = &self.drops else { return };
        let mut sqn = message.sqn;
        for _ in message.chunks() {
            if let Some(lost) = drops.take(message.tsi, sqn) {
                self.repair.record(message.received.since(lost));
            }
            sqn = sqn.next();
        }
    }

    /// Whether the last session that was open has ended.
    fn is_over(&self) -> bool {
        self.open == 0 && self.ended.is_some()
    }

    fn flush(&mut self) {
        let (Output::Lines(out) | Output::File(out)) = &mut self.output else { return };
        if self.failed.is_none()
            && !out.buffer().is_empty()
            && let Err(error) = out.flush()
        {
            self.failed = Some(error);
        }
    }

    /// `of`: how many messages there were to be, if all that will come has come.
    fn report<D: Drive>(&mut self, world: &World<D>, of: Option<u64>) -> Report {
        let lasted = Duration::from_nanos(self.last.since(self.first.unwrap_or(self.last)));
        let mut report = Report::new(&world.path, self.messages, self.bytes, lasted);
        if let Some(stats) = world.drive.receiver_stats() {
            report = report.receiver(&stats, core::mem::take(&mut self.events));
        }
        report.repair_ns = self.repair.summary();
        if let Output::Verify(checker) = &mut self.output {
            checker.finish(of);
            report.messages = checker.delivered;
            report.lost = Some(checker.lost);
            report.corrupt = Some(checker.corrupt);
            report.latency_ns = checker.latency.summary();
        } else {
            report.lost = Some(self.lost);
        }
        report
    }
}
