//! Counts instructions per packet: publish and transmit, receive in order and deliver, over the memory link.
//!
//! The program runs itself under callgrind, which counts only inside one of two functions; the difference between a long and a short
//! run leaves out whatever happens once. Prints one line for each side and nothing else on standard output.

use std::hint::black_box;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, ExitCode, Stdio};

use pgmx::endpoint::{Endpoint, EndpointConfig};
use pgmx::frame::{Layout, Pool};
use pgmx::link::memory::{Hub, MemoryLink};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::{Publisher, SourceConfig};
use pgmx::protocol::{Delivery, Event, Sink};
use pgmx::time::Time;
use pgmx::wire::{Gsi, Tsi};

const PAYLOAD: usize = 64;
const BURST: u64 = 64;
/// Packets of the two runs. The window of 4,096 slots goes round many times in both.
const RUNS: [u64; 2] = [40 * BURST * 16, 40 * BURST * 48];

/// Reads each payload as an application would and gives the frame back.
#[derive(Default)]
struct Reader {
    packets: u64,
    sum: u64,
    lost: u64,
}

impl Sink for Reader {
    #[inline]
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        self.packets += 1;
        self.sum += pool.bytes(&delivery.frame).first().copied().map_or(0, u64::from);
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        if let Event::Loss { .. } = event {
            self.lost += 1;
        }
    }
}

/// Callgrind counts in here: publish a burst and transmit it.
#[inline(never)]
fn measured_send(now: Time, publisher: &mut Publisher, endpoint: &mut Endpoint<MemoryLink>, sink: &mut Reader) -> u64 {
    let message = [0x5a; PAYLOAD];
    let mut published = 0;
    for _ in 0..BURST {
        published += u64::from(publisher.publish(black_box(&message)).is_ok());
    }
    endpoint.poll(now, sink).expect("the memory link never fails");
    published
}

/// Callgrind counts in here: receive what has come and deliver it.
#[inline(never)]
fn measured_receive(now: Time, endpoint: &mut Endpoint<MemoryLink>, sink: &mut Reader) {
    endpoint.poll(now, sink).expect("the memory link never fails");
}

fn endpoint(hub: &Hub, host: u8, frames: u32) -> Endpoint<MemoryLink> {
    let pool = Pool::anonymous(Layout::standard(frames)).expect("memory for the frames");
    Endpoint::new(hub.port(IpAddr::from([10, 0, 0, host])), pool, &EndpointConfig::default()).expect("the defaults")
}

fn work(packets: u64) -> Result<(), String> {
    let hub = Hub::new(256);
    let group = IpAddr::from([239, 192, 0, 1]);
    let (mut sending, mut receiving) = (endpoint(&hub, 1, 8192), endpoint(&hub, 2, 8192));
    let mut config = SourceConfig::profile(Profile::LowLatency, group, 7500);
    config.window_slots = 4096;
    let tsi = Tsi::new(Gsi::new([1; 6]), 9000);
    let mut now = Time::from_nanos(1);
    let added = sending.add_source(&config, tsi, now, 1).map_err(|error| error.to_string())?;
    let mut publisher = added.1;
    let config = ReceiverConfig::profile(Profile::LowLatency, group, 7500);
    receiving.add_receiver(&config, 2).map_err(|error| error.to_string())?;
    let (mut reader, mut nobody) = (Reader::default(), Reader::default());
    // The three SPMs before the first data.
    for _ in 0..100 {
        now = now.plus(10_000);
        sending.poll(now, &mut nobody).expect("the memory link never fails");
        receiving.poll(now, &mut reader).expect("the memory link never fails");
    }
    let mut published = 0;
    while published < packets {
        now = now.plus(10_000);
        published += measured_send(now, &mut publisher, &mut sending, &mut nobody);
        measured_receive(now, &mut receiving, &mut reader);
    }
    for _ in 0..1000 {
        now = now.plus(100_000);
        sending.poll(now, &mut nobody).expect("the memory link never fails");
        receiving.poll(now, &mut reader).expect("the memory link never fails");
    }
    if reader.packets != published || reader.lost > 0 {
        return Err(format!("{published} published, {} delivered, {} losses", reader.packets, reader.lost));
    }
    black_box(reader.sum);
    Ok(())
}

/// Instructions inside `function` for so many packets.
fn count(function: &str, packets: u64) -> Result<u64, String> {
    let this = std::env::current_exe().map_err(|error| format!("the path of this program: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(this)
        .args(["--work", &packets.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the run under valgrind failed:\n{said}"));
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    collected.and_then(|count| count.parse().ok()).ok_or(format!("callgrind did not say what it collected:\n{said}"))
}

fn has_valgrind() -> bool {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

fn measure() -> Result<(), String> {
    for (side, function) in [("send", "measured_send"), ("receive", "measured_receive")] {
        let [short, long] = [count(function, RUNS[0])?, count(function, RUNS[1])?];
        if long <= short {
            return Err(format!("{function} was not counted: {short} and {long} instructions"));
        }
        let per_packet = (long - short) as f64 / (RUNS[1] - RUNS[0]) as f64;
        println!("{side} {per_packet:.0} instructions/packet");
    }
    std::io::stdout().flush().map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--work", packets] => packets.parse().map_err(|_| "--work wants a number".to_owned()).and_then(work),
        [] if !has_valgrind() => {
            eprintln!("no valgrind here: instructions cannot be counted (`cargo xtask setup` installs it)");
            return ExitCode::from(2);
        }
        [] => measure(),
        _ => {
            eprintln!(
                "usage: cargo xtask budget\n\nCounts instructions per packet under valgrind; takes no arguments."
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
