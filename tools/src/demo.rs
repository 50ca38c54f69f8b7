//! `pgmx demo`: one publisher, three receivers, a network that loses packets, and a table that says what came of it.
//!
//! Everything runs in this process and this thread, over the memory link with faults: it needs no rights and no network. Each
//! receiver checks every message it is given.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pgmx::endpoint::{Endpoint, EndpointConfig, ReceiverId, SourceId};
use pgmx::frame::{Layout, Pool};
use pgmx::link::capture::{Capture, CaptureConfig};
use pgmx::link::faults::{FaultPlan, Faults};
use pgmx::link::memory::{Hub, MemoryLink};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::{Publisher, SourceConfig, SourceState};
use pgmx::protocol::{Delivery, End, Event, Sink};
use pgmx::time::Time;
use pgmx::wire::{Gsi, Tsi};

const RECEIVERS: usize = 3;
const PAYLOAD: usize = 64;

const EXAMPLES: &str = "\
Examples:
  pgmx demo                              three seconds, 5 % loss
  pgmx demo --loss 30 --seconds 10       a bad network for longer
  pgmx demo --pcap demo.pcap             and look at the packets: tshark -r demo.pcap -Y pgm

What the columns mean:
  delivered   messages handed to the application, in order
  dropped     packets that the link of this receiver lost, whatever they were
  repaired    messages that came only after the receiver had asked for them
  NAKs        requests for repairs that it sent
  lost        messages it had to give up: 0, or something is wrong

Exit status: 0 nothing was lost, 3 something was, 2 the arguments make no sense.";

/// A publisher and three receivers inside this process, over a network that loses packets.
///
/// Everything runs over the memory link, each receiver behind a link that loses packets: no rights and no network are needed. Each
/// receiver checks every message.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// How long to publish.
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    seconds: f64,
    /// How much each receiver's link loses, in percent, such as 5 or 0.5.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = percent)]
    loss: String,
    /// Messages a second.
    #[arg(long, value_name = "MESSAGES", default_value = "50000", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Which packets are lost.
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Writes what the publisher's side sends and receives into this file, for tshark.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Prints the result as one JSON object and nothing else.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is wanted".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0.1 to 3600 seconds are possible".to_owned()) }
}

fn percent(text: &str) -> Result<String, String> {
    let number = text.trim_end_matches('%');
    let _: FaultPlan = format!("loss={number}%").parse().map_err(|_| "0 to 100 percent are possible".to_owned())?;
    Ok(number.to_owned())
}

/// What a receiver's application sees, and checks.
#[derive(Default)]
struct Application {
    delivered: u64,
    lost: u64,
    wrong: u64,
    next: u64,
    end: Option<End>,
}

/// A message: its number, and octets that follow from it.
fn message(number: u64) -> [u8; PAYLOAD] {
    let mut octets = [0; PAYLOAD];
    for (n, word) in octets.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n as u64) << 56).to_le_bytes());
    }
    octets[..8].copy_from_slice(&number.to_le_bytes());
    octets
}

impl Sink for Application {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        let octets = pool.bytes(&delivery.frame);
        let number = octets.first_chunk().map_or(u64::MAX, |first| u64::from_le_bytes(*first));
        if number < self.next || octets != message(number) {
            self.wrong += 1;
        }
        self.next = number.wrapping_add(1);
        self.delivered += 1;
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Loss { first, last, .. } => self.lost += u64::from(last.distance_from(first)) + 1,
            Event::Closed { end, .. } => self.end = Some(end),
            Event::Opened { .. } => {}
        }
    }
}

/// Any side's way to the hub; only the publisher's may have a file.
type Way = Faults<Capture<MemoryLink>>;

struct Side {
    endpoint: Endpoint<Way>,
    id: ReceiverId,
    application: Application,
}

struct Demo {
    wanted: Arguments,
    begun: Instant,
    sending: Endpoint<Way>,
    source: SourceId,
    publisher: Option<Publisher>,
    sides: Vec<Side>,
    nobody: Application,
    published: u64,
    full: u64,
}

fn endpoint(hub: &Hub, host: u8, plan: &FaultPlan, pcap: Option<&Path>) -> Result<Endpoint<Way>, String> {
    let pool = Pool::anonymous(Layout::standard(1 << 17)).map_err(|error| error.to_string())?;
    let port = hub.port(IpAddr::from([10, 0, 0, host]));
    let link = match pcap {
        Some(file) => {
            Capture::to_file(port, file, &CaptureConfig::default()).map_err(|error| format!("--pcap: {error}"))?
        }
        None => Capture::none(port),
    };
    Endpoint::new(Faults::new(link, plan, Time::ZERO), pool, &EndpointConfig::default())
        .map_err(|error| error.to_string())
}

impl Demo {
    fn new(wanted: Arguments) -> Result<Self, String> {
        let hub = Hub::new(8192);
        let group = IpAddr::from([239, 192, 0, 1]);
        let mut sending = endpoint(&hub, 1, &FaultPlan::default(), wanted.pcap.as_deref())?;
        let config = SourceConfig::profile(Profile::LowLatency, group, 7500);
        let tsi = Tsi::new(Gsi::from_host_name("demo"), 1);
        let (source, publisher) =
            sending.add_source(&config, tsi, Time::ZERO, wanted.seed).map_err(|error| error.to_string())?;
        let mut sides = Vec::new();
        for n in 0..RECEIVERS {
            let plan = format!("loss={}%,seed={}", wanted.loss, wanted.seed.wrapping_add(n as u64 * 7919));
            let plan: FaultPlan = plan.parse().map_err(|_| format!("--loss {}: 0 to 100 percent", wanted.loss))?;
            let mut endpoint = endpoint(&hub, 11 + n as u8, &plan, None)?;
            let config = ReceiverConfig::profile(Profile::LowLatency, group, 7500);
            let id = endpoint.add_receiver(&config, wanted.seed ^ (n as u64 + 1)).map_err(|error| error.to_string())?;
            sides.push(Side { endpoint, id, application: Application::default() });
        }
        Ok(Self {
            wanted,
            begun: Instant::now(),
            sending,
            source,
            publisher: Some(publisher),
            sides,
            nobody: Application::default(),
            published: 0,
            full: 0,
        })
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.begun.elapsed().as_nanos() as u64)
    }

    /// Publishes what is due by now.
    fn publish(&mut self, now: Time) {
        let publishing_ns = (self.wanted.seconds * 1e9) as u64;
        let due = u128::from(now.as_nanos().min(publishing_ns)) * u128::from(self.wanted.rate) / 1_000_000_000;
        let Some(publisher) = &mut self.publisher else { return };
        // A batch at a time: the receivers want their turn, too.
        let until = (due as u64).min(self.published + 64);
        while self.published < until {
            if publisher.publish(&message(self.published)).is_err() {
                self.full += 1;
                return;
            }
            self.published += 1;
        }
        if now.as_nanos() >= publishing_ns && self.published == due as u64 {
            self.publisher = None;
            if let Some(source) = self.sending.source_mut(self.source) {
                source.close(now);
            }
        }
    }

    fn turn(&mut self) -> Result<usize, String> {
        let now = self.now();
        self.publish(now);
        let mut work = self.sending.poll(now, &mut self.nobody).map_err(|error| error.to_string())?;
        for side in &mut self.sides {
            work += side.endpoint.poll(now, &mut side.application).map_err(|error| error.to_string())?;
        }
        Ok(work)
    }

    fn is_over(&self) -> bool {
        self.publisher.is_none()
            && (self.sides.iter().all(|side| side.application.end.is_some())
                || self.sending.source(self.source).is_none_or(|source| source.state() == SourceState::Done))
    }

    fn run(&mut self) -> Result<(), String> {
        let live = !self.wanted.json && std::io::stdout().is_terminal();
        let mut shown = Instant::now();
        while !self.is_over() {
            if self.turn()? == 0 {
                // Nothing is due for a while: leave the core to others, but not for long.
                std::thread::sleep(Duration::from_micros(20));
            }
            if live && shown.elapsed() >= Duration::from_millis(100) {
                shown = Instant::now();
                let delivered: Vec<String> =
                    self.sides.iter().map(|side| side.application.delivered.to_string()).collect();
                let seconds = self.begun.elapsed().as_secs_f64();
                print!("\r{seconds:5.1} s  published {}, delivered {}\x1b[K", self.published, delivered.join(" / "));
                std::io::stdout().flush().map_err(|error| error.to_string())?;
            }
        }
        if live {
            print!("\r\x1b[K");
        }
        Ok(())
    }

    /// Writes the rest of the capture, and says what became of it.
    fn close_file(&mut self) {
        let Some(file) = &self.wanted.pcap else { return };
        self.sending.shut_down(&mut self.nobody);
        let counts = self.sending.link().inner().counts();
        if counts.left_out > 0 {
            eprintln!("pgmx demo: {} lacks {} packets: writing failed", file.display(), counts.left_out);
        } else if !self.wanted.json {
            println!("{} packets of the publisher's side are in {}", counts.packets, file.display());
        }
    }

    /// Messages that any receiver did not get whole.
    fn failed(&self) -> u64 {
        let missing = |side: &Side| {
            let short = self.published.saturating_sub(side.application.delivered);
            short.max(side.application.lost) + side.application.wrong
        };
        self.sides.iter().map(missing).sum()
    }

    fn rows(&self) -> Vec<Row> {
        let row = |side: &Side| {
            let stats = side.endpoint.receiver(side.id).map(|receiver| receiver.stats().all).unwrap_or_default();
            Row {
                delivered: side.application.delivered,
                dropped: side.endpoint.link().receive_counts().lost,
                repaired: stats.repaired_packets,
                naks: stats.naks_sent,
                lost: self.published.saturating_sub(side.application.delivered).max(side.application.lost),
                wrong: side.application.wrong,
            }
        };
        self.sides.iter().map(row).collect()
    }

    fn table(&self, seconds: f64) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} messages of {PAYLOAD} octets in {seconds:.1} s ({:.0} a second), each receiver's link losing {} %",
            self.published,
            self.published as f64 / self.wanted.seconds,
            self.wanted.loss
        );
        let _ = writeln!(
            text,
            "\n{:<12} {:>10} {:>9} {:>9} {:>7} {:>6} {:>6}",
            "", "delivered", "dropped", "repaired", "NAKs", "wrong", "lost"
        );
        for (n, row) in self.rows().iter().enumerate() {
            let name = format!("receiver {}", n + 1);
            let Row { delivered, dropped, repaired, naks, lost, wrong } = row;
            let _ =
                writeln!(text, "{name:<12} {delivered:>10} {dropped:>9} {repaired:>9} {naks:>7} {wrong:>6} {lost:>6}");
        }
        if let Some(source) = self.sending.source(self.source) {
            let stats = source.stats();
            let _ = writeln!(
                text,
                "\nsource: {} ODATA, {} RDATA, {} SPMs, {} NCFs; {} NAKs came",
                stats.odata, stats.rdata, stats.spms, stats.ncfs, stats.naks
            );
        }
        text
    }

    fn json(&self, seconds: f64) -> String {
        let rows: Vec<String> = self
            .rows()
            .iter()
            .map(|Row { delivered, dropped, repaired, naks, lost, wrong }| {
                format!(
                    "{{\"delivered\":{delivered},\"dropped\":{dropped},\"repaired\":{repaired},\"naks\":{naks},\
                     \"wrong\":{wrong},\"lost\":{lost}}}"
                )
            })
            .collect();
        format!(
            "{{\"published\":{},\"payload_octets\":{PAYLOAD},\"seconds\":{seconds:.3},\"loss_percent\":{:?},\"lost\":{},\
             \"receivers\":[{}]}}",
            self.published,
            self.wanted.loss.parse::<f64>().unwrap_or(0.0),
            self.failed(),
            rows.join(",")
        )
    }
}

struct Row {
    delivered: u64,
    dropped: u64,
    repaired: u64,
    naks: u64,
    lost: u64,
    wrong: u64,
}

/// Runs the command.
pub(crate) fn main(wanted: Arguments) -> ExitCode {
    let json = wanted.json;
    let mut demo = match Demo::new(wanted) {
        Ok(demo) => demo,
        Err(error) => {
            eprintln!("pgmx demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = demo.run() {
        eprintln!("pgmx demo: {error}");
        return ExitCode::FAILURE;
    }
    let seconds = demo.begun.elapsed().as_secs_f64();
    let failed = demo.failed();
    if json {
        println!("{}", demo.json(seconds));
    } else {
        print!("{}", demo.table(seconds));
        println!("{}", if failed == 0 { "nothing was lost" } else { "something was LOST" });
    }
    demo.close_file();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) }
}
