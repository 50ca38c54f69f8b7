//! Who hears data and no SPM asks for one, and is answered.
//!
//! Seen in what `pgmx` itself captured at its end: `AF_XDP` shows its frames to nobody else. Guards: what is no capture is an error, and never a
//! panic.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use pgmx::wire::PacketType;

use super::programs::Role;
use super::scene::Scene;
use super::{PATIENCE, Program};

/// What is sent before the first receiver comes.
const BEFORE: Duration = Duration::from_millis(500);
/// How long a late receiver stays: longer than `OpenPGM` waits for an SPM by itself before it asks, and no multiple of the interval of SPMs,
/// so that each comes at another place between two.
const BETWEEN: Duration = Duration::from_millis(430);
/// How many there are: an SPM that happens to come early keeps a receiver from asking.
const RECEIVERS: usize = 5;
/// How soon an SPM answers: long before the next one is due, and long enough for a busy machine.
const SOON_NS: u64 = 300_000_000;

/// What a capture holds of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    at_ns: u64,
    what: PacketType,
}

/// Plays it; `from` is on the first host.
pub(super) fn play(scene: &Scene<'_>, from: Program, to: Program) -> Result<String, String> {
    let capture = |number: usize| scene.logs.join(format!("capture-{number}.pcap"));
    if from == Program::Pgmx {
        let file = capture(0);
        // Its SPMs are half a second apart while data flows.
        let more = ["--pcap", &file.to_string_lossy(), "--profile", "wan"];
        let mut sender = scene.begin(0, from, Role::Send, &more)?;
        sender.until_progress("messages", 10)?;
        for _ in 0..RECEIVERS {
            let late = scene.listen(1, to, &["--late"])?;
            sleep(BETWEEN);
            drop(late);
        }
        // It would repair for the time of its window.
        sender.signal(libc::SIGTERM)?;
        sender.exit(PATIENCE)?.with(0)?;
        return in_words(&answers(&read(&file)?)?);
    }
    let mut sender = scene.begin(0, from, Role::Send, &["--linger", "300"])?;
    sleep(BEFORE);
    let mut all = Vec::new();
    for number in 0..RECEIVERS {
        let file = capture(number);
        let mut receiver = scene.listen(1, to, &["--pcap", &file.to_string_lossy()])?;
        receiver.until_progress("messages", 1)?;
        sleep(BETWEEN);
        receiver.signal(libc::SIGTERM)?;
        receiver.exit(PATIENCE)?.with(0)?;
        all.extend(answers(&read(&file)?)?);
        if !all.is_empty() {
            break;
        }
    }
    sender.signal(libc::SIGTERM)?;
    sender.exit(PATIENCE)?.with(0)?;
    in_words(&all)
}

/// How soon each request was followed by an SPM, in nanoseconds; none may be late, or missing.
fn answers(packets: &[Seen]) -> Result<Vec<u64>, String> {
    let asked = packets.iter().enumerate().filter(|(_, packet)| packet.what == PacketType::Spmr);
    let answer = |(place, request): (usize, &Seen)| {
        let answer = packets[place..].iter().find(|packet| packet.what == PacketType::Spm);
        match answer.map(|answer| answer.at_ns.saturating_sub(request.at_ns)) {
            Some(took) if took <= SOON_NS => Ok(took),
            Some(took) => Err(format!("an SPMR is answered after {} ms", took / 1_000_000)),
            None => Err("an SPMR is not answered".into()),
        }
    };
    asked.map(answer).collect()
}

/// There has to be one.
fn in_words(answers: &[u64]) -> Result<String, String> {
    let longest = answers.iter().max().ok_or("nobody sent an SPMR")?;
    Ok(format!("{} SPMR answered within {:.1} ms", answers.len(), *longest as f64 / 1e6))
}

/// Reads a capture of ours.
fn read(file: &Path) -> Result<Vec<Seen>, String> {
    let octets = fs::read(file).map_err(|error| format!("reading {}: {error}", file.display()))?;
    packets(&octets).ok_or_else(|| format!("{} is no capture of IPv4 packets in nanoseconds", file.display()))
}

/// Classic pcap with nanoseconds; each record an IPv4 packet with PGM in it, or in UDP in it.
fn packets(octets: &[u8]) -> Option<Vec<Seen>> {
    const MAGIC: u32 = 0xa1b2_3c4d;
    const FILE_HEADER: usize = 24;
    const UDP: u8 = 17;
    let word =
        |octets: &[u8], at: usize| octets.get(at..).and_then(<[u8]>::first_chunk).map(|word| u32::from_ne_bytes(*word));
    if word(octets, 0)? != MAGIC {
        return None;
    }
    let (mut rest, mut packets) = (octets.get(FILE_HEADER..)?, Vec::new());
    while !rest.is_empty() {
        let at_ns = u64::from(word(rest, 0)?) * 1_000_000_000 + u64::from(word(rest, 4)?);
        let length = word(rest, 8)? as usize;
        let packet = rest.get(16..16 + length)?;
        rest = &rest[16 + length..];
        let ip = usize::from(*packet.first()? & 0x0f) * 4;
        let pgm = if *packet.get(9)? == UDP { ip + 8 } else { ip };
        let what = PacketType::from_code(*packet.get(pgm + 4)?)?;
        packets.push(Seen { at_ns, what });
    }
    Some(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn seen(packets: &[(u64, PacketType)]) -> Vec<Seen> {
        packets.iter().map(|&(at, what)| Seen { at_ns: at * MS, what }).collect()
    }

    #[test]
    fn a_request_wants_an_spm_behind_it_and_soon() {
        use PacketType::{Odata, Spm, Spmr};
        let all = answers(&seen(&[(0, Spm), (1, Odata), (2, Spmr), (3, Odata), (4, Spm), (5, Spmr), (6, Spm)]));
        assert_eq!(all.as_deref(), Ok(&[2 * MS, MS][..]));
        assert!(answers(&seen(&[(0, Spm), (1, Spmr), (2, Odata)])).unwrap_err().contains("not answered"));
        assert!(answers(&seen(&[(0, Spmr), (2, Odata), (400, Spm)])).unwrap_err().contains("after 400 ms"));
        let none = answers(&seen(&[(0, Spm), (1, Odata)])).expect("nobody asked");
        assert!(in_words(&none).unwrap_err().contains("nobody"));
    }

    #[test]
    fn packets_are_found_behind_ip_and_behind_udp() {
        let record = |second: u32, packet: &[u8]| {
            let length = packet.len() as u32;
            let words = [second, 5, length, length].map(u32::to_ne_bytes).concat();
            [words, packet.to_vec()].concat()
        };
        let mut file = 0xa1b2_3c4d_u32.to_ne_bytes().to_vec();
        file.resize(24, 0);
        let mut raw = vec![0_u8; 24 + 16];
        (raw[0], raw[9], raw[24 + 4]) = (0x46, 113, 0x0c);
        let mut udp = vec![0_u8; 20 + 8 + 16];
        (udp[0], udp[9], udp[28 + 4]) = (0x45, 17, 0x00);
        let whole = [file, record(1, &raw), record(2, &udp)].concat();
        let expected = seen(&[(1000, PacketType::Spmr), (2000, PacketType::Spm)]);
        let expected: Vec<_> = expected.into_iter().map(|it| Seen { at_ns: it.at_ns + 5, ..it }).collect();
        assert_eq!(packets(&whole), Some(expected));
        assert_eq!(packets(&whole[..whole.len() - 1]), None, "cut short");
        assert_eq!(packets(b"no capture at all, but long enough"), None);
    }
}
