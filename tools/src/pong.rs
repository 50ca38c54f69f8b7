//! `pgmx pong`: answers every ping with itself.
//!
//! The answer is published where the ping is handed over, so that it leaves with the same turn of the endpoint. Guards: an answer that
//! finds the window full is not forgotten but leaves later, in order.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use pgmx::endpoint::{Handler, Inbox, MessageView};
use pgmx::frame::ClaimError;
use pgmx::protocol::source::SourceState;
use pgmx::protocol::{End, Event};
use pgmx::time::{Time, nanos};
use pgmx::wire::Tsi;

use crate::common::drive::{Drive, Inline, Publish, Wait};
use crate::common::failure::{Failure, status};
use crate::common::live::{Live, Sample};
use crate::common::numbers;
use crate::common::report::{Events, Report, end_in_words};
use crate::common::workers::Workers;
use crate::common::{Common, World, say};
use crate::ping::conversation;

/// Answers that wait for room in the window, at the most; beyond, pings stay unanswered, and ping says so.
const WAITING_MAX: usize = 4_096;
/// How long a rest lasts at the most: how late Ctrl-C may be noticed where a signal does not end the rest by itself.
const REST: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  pgmx pong 'pgm://eth0;239.192.0.1:7500'                      until ping is done
  pgmx pong 'pgm://eth0;239.192.0.1:7500' --stay               for one ping after the other, until Ctrl-C
  pgmx pong 'pgm://eth0;239.192.0.1:7500' --core 3 --idle spin answers as soon as it can

It hears PORT and answers on the next port, PORT+1. Of several that run, ping counts the answers of one. The profile is
low-latency unless --profile says otherwise, and the window 256 packets unless --window does.

Exit status: 0 every ping was answered, 1 something failed, or ping's session ended before its time, 2 the arguments
make no sense, 3 some pings never arrived, 4 none came for --timeout.";

/// Answers the pings of `pgmx ping`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Go on when ping is done, for the next one.
    #[arg(long)]
    stay: bool,
    /// End when no ping came for so many seconds.
    #[arg(long, value_name = "S", value_parser = numbers::seconds)]
    timeout: Option<Duration>,
}

/// Hears pings, and answers.
struct Answering<P> {
    /// Until the session ends.
    publisher: Option<P>,
    /// Answers that found the window full, the oldest first.
    waiting: VecDeque<Vec<u8>>,
    scratch: Vec<u8>,
    answered: u64,
    octets: u64,
    /// Pings that will never be answered: packets that did not reach us, and those for which there was no room at all.
    lost: u64,
    refused: Option<ClaimError>,
    /// When the first ping came, and the last.
    first: Option<Time>,
    heard: Time,
    now: Time,
    open: Vec<Tsi>,
    /// How the last session ended.
    end: Option<End>,
    events: Events,
}

impl<P: Publish> Answering<P> {
    #[inline]
    fn answer(&mut self, ping: &[u8]) {
        if self.waiting.is_empty() {
            match publish(&mut self.publisher, ping) {
                Ok(()) => return self.count(ping.len()),
                Err(ClaimError::Full) => {}
                Err(error) => self.refused = Some(error),
            }
        }
        self.keep(ping);
    }

    #[inline]
    fn count(&mut self, octets: usize) {
        self.answered += 1;
        self.octets += octets as u64;
    }

    #[cold]
    fn keep(&mut self, ping: &[u8]) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(ping.to_vec());
        } else {
            self.lost += 1;
        }
    }

    /// Publishes what waited, as far as there is room.
    #[cold]
    fn catch_up(&mut self) {
        while let Some(ping) = self.waiting.front() {
            let len = ping.len();
            match publish(&mut self.publisher, ping) {
                Ok(()) => {
                    self.waiting.pop_front();
                    self.count(len);
                }
                Err(ClaimError::Full) => return,
                Err(error) => {
                    self.refused = Some(error);
                    return;
                }
            }
        }
    }
}

#[inline]
fn publish(publisher: &mut Option<impl Publish>, ping: &[u8]) -> Result<(), ClaimError> {
    publisher.as_mut().map_or(Err(ClaimError::Closed), |publisher| publisher.publish(ping))
}

impl<P: Publish> Handler for Answering<P> {
    #[inline]
    fn message(&mut self, message: MessageView<'_>) {
        if self.publisher.is_none() {
            // Our session has ended: ping knows, and counts what it asks all the same.
            return;
        }
        self.heard = self.now;
        self.first.get_or_insert(self.now);
        if let Some(ping) = message.as_slice() {
            self.answer(ping);
            return;
        }
        let mut scratch = core::mem::take(&mut self.scratch);
        scratch.clear();
        message.chunks().for_each(|chunk| scratch.extend_from_slice(chunk));
        self.answer(&scratch);
        self.scratch = scratch;
    }

    #[cold]
    fn event(&mut self, event: Event) {
        self.events.add(&event);
        match event {
            Event::Opened { tsi, .. } => self.open.push(tsi),
            Event::Loss { first, last, .. } => self.lost += u64::from(last.distance_from(first)) + 1,
            Event::Closed { tsi, end } => {
                self.open.retain(|open| *open != tsi);
                self.end = Some(end);
            }
        }
    }
}

/// Everything that the loop has.
struct Pong<D: Drive> {
    world: World<D>,
    inbox: Inbox<Answering<D::Publisher>>,
    live: Live,
}

/// Runs the command.
pub(crate) fn main(wanted: Arguments) -> ExitCode {
    let outcome = if wanted.common.workers.is_some() { run::<Workers>(wanted) } else { run::<Inline>(wanted) };
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.exit("pong"),
    }
}

fn run<D: Drive>(mut wanted: Arguments) -> Result<ExitCode, Failure> {
    let mut world = conversation::open::<D>(&mut wanted.common)?;
    let publisher = world.publish(&conversation::source_config(&world, true))?;
    world.listen(&conversation::receiver_config(&world, true))?;
    let now = world.clock.now();
    let answering = Answering {
        publisher: Some(publisher),
        waiting: VecDeque::new(),
        scratch: Vec::new(),
        answered: 0,
        octets: 0,
        lost: 0,
        refused: None,
        first: None,
        heard: now,
        now,
        open: Vec::new(),
        end: None,
        events: Events::default(),
    };
    let live = Live::new(wanted.common.progress, true);
    let mut pong = Pong { world, inbox: Inbox::new(answering), live };
    let served = pong.serve(&wanted).and_then(|served| pong.part().and(served));
    pong.live.clear();
    let report = pong.report();
    let ended = report.close(wanted.common.json, "pong: answered", served);
    if pong.world.stop.is_urgent() {
        return Ok(ExitCode::from(status::INTERRUPTED));
    }
    match ended {
        Err(failure) if report.is_short() => Ok(Failure { status: status::LOST, ..failure }.exit("pong")),
        Err(failure) => Err(failure),
        Ok(()) if report.is_short() => Ok(ExitCode::from(status::LOST)),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

impl<D: Drive> Pong<D> {
    #[inline]
    fn turn(&mut self, now: Time, at_most: Duration) -> Result<(), Failure> {
        self.inbox.handler_mut().now = now;
        let moved = self.world.poll(now, &mut self.inbox)?;
        if moved > 0 {
            self.world.busy();
        } else {
            self.world.rest(now, at_most, Wait::News)?;
        }
        Ok(())
    }

    /// Answers until there is a reason not to. The inner result is that reason, where it is none of ping's and none of ours.
    fn serve(&mut self, wanted: &Arguments) -> Result<Result<(), Failure>, Failure> {
        loop {
            let now = self.world.clock.now();
            self.turn(now, REST)?;
            if !self.inbox.handler().waiting.is_empty() {
                self.inbox.handler_mut().catch_up();
            }
            if self.live.is_due(now) {
                let sample = self.sample();
                self.live.show(now, sample);
            }
            let Answering { open, end, refused, heard, waiting, .. } = self.inbox.handler();
            if self.world.stop.is_asked() {
                return Ok(Ok(()));
            }
            if let Some(error) = refused {
                return Ok(Err(Failure::error(format_args!("a ping that cannot be answered: {error}"))));
            }
            if let Some(end) = *end
                && open.is_empty()
                && waiting.is_empty()
                && !wanted.stay
            {
                let how = end_in_words(end);
                let unwell = || Failure::error(format_args!("the session of ping ended before its time: {how}"));
                return Ok(if end == End::Finished { Ok(()) } else { Err(unwell()) });
            }
            if wanted.timeout.is_some_and(|timeout| now.since(*heard) >= nanos(timeout)) {
                let line = format!(
                    "no ping for {} s: is `pgmx ping` running there?",
                    wanted.timeout.unwrap_or_default().as_secs_f64()
                );
                return Ok(Err(Failure { status: status::TIMEOUT, line }));
            }
        }
    }

    /// Ends the session, and answers for what ping still asks for.
    fn part(&mut self) -> Result<(), Failure> {
        let begun = self.world.clock.now();
        if let Some(publisher) = self.inbox.handler_mut().publisher.take() {
            self.world.drive.end(publisher, begun);
        }
        loop {
            let now = self.world.clock.now();
            let is_over = self.world.drive.state() == SourceState::Done
                || now.since(begun) >= nanos(conversation::FAREWELL)
                || self.world.stop.is_urgent();
            if is_over {
                return Ok(());
            }
            self.turn(now, REST)?;
        }
    }

    fn sample(&self) -> Sample {
        let heard = self.inbox.handler();
        let stats = self.world.drive.receiver_stats().map(|stats| stats.all);
        Sample {
            messages: heard.answered,
            bytes: heard.octets,
            repairs: stats.map_or(0, |stats| stats.rdata_packets),
            naks: stats.map_or(0, |stats| stats.naks_sent),
            lost: heard.lost,
            window: None,
        }
    }

    fn report(&mut self) -> Report {
        let heard = self.inbox.handler_mut();
        let events = core::mem::take(&mut heard.events);
        let lasted = Duration::from_nanos(heard.heard.since(heard.first.unwrap_or(heard.heard)));
        let mut report = Report::new(&self.world.path, heard.answered, heard.octets, lasted);
        report.lost = Some(heard.lost + heard.waiting.len() as u64);
        if !heard.waiting.is_empty() {
            say(format_args!("pgmx pong: {} pings were not answered: the window was full", heard.waiting.len()));
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
