//! The generator: a session without a sender, at more than any sender gives.
//!
//! `BPF_PROG_RUN` makes the kernel run `generate.bpf.c` over frames of its own ("live frames", Linux 5.18); the program numbers them, puts
//! their checksum right and redirects them to an interface: into a veth's other end, or out of a card whose driver takes redirected
//! frames. It is attached to nothing. Called by measurements only; the engine does not know it.
//!
//! ```text
//!   Generator::turn ─ kernel: frame ─ generate ─ due? ─ number, checksum ─ redirect ══ cable ══ steer ─ AF_XDP ─ who receives
//!                                      ▲  no: drop, look again                                                      │
//!                                      └────────────────────── Ledger::took ◀───────────────────────────────────────┘
//! ```
//!
//! Guards: what is sent and not taken never exceeds [`GeneratorConfig::ahead`], so that a receiver whose rings have that much room
//! loses nothing, however fast it is. That is decided in the kernel, packet by packet, from two counters in mapped memory, each written by
//! one side.

use std::io;
use std::mem::{offset_of, size_of};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::Map;
use aya::programs::Xdp;
use aya::{EbpfError, EbpfLoader};

use crate::link::bpf;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/generate.bpf.o"));

/// `BPF_PROG_RUN` of `bpf(2)`.
const PROG_RUN: i32 = 10;
/// Frames are real: what the program says of them is done.
const LIVE_FRAMES: u32 = 2;
/// Packets that the kernel takes through the program before it passes them on, at most.
pub const TURN_BATCH_MAX: u32 = 256;

/// Ethernet and IPv4 without options in front of PGM; in it, where type and checksum lie; and the end of what the program writes.
const PGM: usize = 14 + 20;
const TYPE: usize = PGM + 4;
const CHECKSUM: usize = PGM + 6;
const HEADERS: usize = PGM + 24;
const ODATA: u8 = 4;
/// The longest frame: a page, less what the kernel keeps there.
const FRAME_MAX: usize = 3000;

/// What a generator is asked for.
#[derive(Clone, Copy, Debug)]
pub struct GeneratorConfig {
    /// Number of the interface that packets leave by, in the network namespace of whoever runs it.
    pub interface: u32,
    /// Packets that the trail stays behind.
    pub window: u32,
    /// Packets that may be sent and not taken; 0: any number, nobody counts them.
    pub ahead: u32,
    /// Packets a second at most; 0: any number.
    pub packets_per_s: u32,
    /// Packets that the kernel passes on together: 1 to [`TURN_BATCH_MAX`].
    pub batch: u32,
}

/// Why there are no packets.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// The template is not what the program was written for.
    #[error(
        "a template of {0} octets refused: Ethernet, IPv4 without options and ODATA without options, 58 to 3000 octets"
    )]
    Template(usize),
    /// A batch that the kernel refuses.
    #[error("a batch of {0} packets refused: 1 to 256")]
    Batch(u32),
    /// The kernel refused the program or its map.
    #[error("loading the generator failed: {0}; it needs root (or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)")]
    Load(#[from] EbpfError),
    /// The verifier or the rights refused the program.
    #[error("loading the generator failed: {0}; it needs root (or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)")]
    Verify(#[from] aya::programs::ProgramError),
    /// The object does not hold what this loader was written for.
    #[error("the compiled generator has no `{0}`: rebuild from clean")]
    Missing(&'static str),
    /// The ledger could not be mapped.
    #[error("mapping the generator's counters: {0}")]
    Map(io::Error),
    /// The kernel would not run it.
    #[error("running the generator failed: {0}; live frames for BPF_PROG_RUN need Linux 5.18 and root")]
    Run(io::Error),
}

/// What the program and the receiver tell each other; `struct ledger` of `generate.bpf.c`.
#[repr(C)]
struct Cells {
    sent: AtomicU64,
    since_ns: AtomicU64,
    since_sent: AtomicU64,
    sum: AtomicU64,
    _apart: [u64; 12],
    taken: AtomicU64,
    _end: [u64; 15],
}

const _: () = assert!(offset_of!(Cells, taken) == 128 && size_of::<Cells>() == 256);

/// The mapping, for as long as anybody counts in it.
#[derive(Debug)]
struct Mapping(NonNull<Cells>);

// SAFETY: all its cells are atomic, and the memory stays mapped until the last owner goes.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn of(map: &impl AsRawFd) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, placed by the kernel, of a descriptor that is open; a map's memory is zeroed and as long as its value.
        let at = unsafe {
            libc::mmap(core::ptr::null_mut(), size_of::<Cells>(), protection, libc::MAP_SHARED, map.as_raw_fd(), 0)
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(at.cast()).map(Self).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
    }

    fn cells(&self) -> &Cells {
        // SAFETY: mapped, aligned to a page, and shared only through atomics, until `self` goes.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of` with this length, and nobody refers to it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Cells>()) };
    }
}

/// What was sent and what was taken: the receiver's end of a generator, for any thread.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Mapping>);

impl Ledger {
    /// Packets sent since the generator was made.
    pub fn sent(&self) -> u64 {
        self.0.cells().sent.load(Ordering::Acquire)
    }

    /// Packets taken, as the receiver said last.
    pub fn taken(&self) -> u64 {
        self.0.cells().taken.load(Ordering::Relaxed)
    }

    /// The receiver took packets, so many in all since the generator was made: as many more may come.
    #[inline]
    pub fn took(&self, in_all: u64) {
        self.0.cells().taken.store(in_all, Ordering::Release);
    }

    /// What is missing now will not come any more: it is lost, and no longer counts as on its way.
    pub fn settle(&self) {
        self.took(self.sent());
    }
}

/// A session without a sender.
pub struct Generator {
    program: OwnedFd,
    ledger: Ledger,
    template: Vec<u8>,
    batch: u32,
}

impl Generator {
    /// Loads the program. `template` is an ODATA packet with its Ethernet and IPv4 headers, its checksum right for whatever SQN and trail it
    /// has. SQNs begin at 0.
    ///
    /// # Errors
    /// If the template or the batch cannot be, or the kernel refuses the program.
    pub fn load(config: &GeneratorConfig, template: Vec<u8>) -> Result<Self, GeneratorError> {
        if !(1..=TURN_BATCH_MAX).contains(&config.batch) {
            return Err(GeneratorError::Batch(config.batch));
        }
        let order = order(config);
        let mut object = EbpfLoader::new().override_global("order", &order, true).load(OBJECT)?;
        let program = object.program_mut("generate").ok_or(GeneratorError::Missing("generate"))?;
        let program: &mut Xdp = program.try_into()?;
        program.load()?;
        let program = program.fd()?.as_fd().try_clone_to_owned().map_err(GeneratorError::Map)?;
        let Some(Map::Array(map)) = object.take_map("ledger") else { return Err(GeneratorError::Missing("ledger")) };
        let mapping = Mapping::of(&map.fd().as_fd()).map_err(GeneratorError::Map)?;
        let mut generator =
            Self { program, ledger: Ledger(Arc::new(mapping)), template: Vec::new(), batch: config.batch };
        generator.set_template(template)?;
        Ok(generator)
    }

    /// Goes on with other packets, in the same session or another.
    ///
    /// # Errors
    /// If the template cannot be.
    pub fn set_template(&mut self, template: Vec<u8>) -> Result<(), GeneratorError> {
        let sum = sum_without_numbers(&template).ok_or(GeneratorError::Template(template.len()))?;
        self.ledger.0.cells().sum.store(sum.into(), Ordering::Relaxed);
        self.template = template;
        Ok(())
    }

    /// The counters.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The pace is kept from now on: what was not sent before is not caught up with.
    pub fn begin(&self) {
        let cells = self.ledger.0.cells();
        cells.since_ns.store(monotonic_ns(), Ordering::Relaxed);
        cells.since_sent.store(cells.sent.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Runs the program so many times: as many packets, or fewer where some were not due. Comes back early for a signal. What was sent has
    /// left when this returns, or waits at the receiving end. Returns how many nanoseconds a time took, if the kernel said.
    ///
    /// The kernel waits for two grace periods besides, milliseconds each: a few long turns cost less than many short ones.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn turn(&self, times: u32) -> Result<Option<NonZeroU32>, GeneratorError> {
        self.run(&self.template, times, self.batch)
    }

    /// Sends one packet of another type as it is: an SPM, for one.
    ///
    /// # Errors
    /// If it is none, or the kernel refuses to run the program.
    pub fn send(&self, frame: &[u8]) -> Result<(), GeneratorError> {
        match frame.get(TYPE) {
            Some(&kind) if kind != ODATA && frame.len() <= FRAME_MAX => self.run(frame, 1, 1).map(drop),
            _ => Err(GeneratorError::Template(frame.len())),
        }
    }

    fn run(&self, frame: &[u8], times: u32, batch: u32) -> Result<Option<NonZeroU32>, GeneratorError> {
        /// The part of `union bpf_attr` that this command reads.
        #[repr(C)]
        struct Run {
            program: i32,
            result: u32,
            octets: u32,
            octets_out: u32,
            frame: *const u8,
            frame_out: u64,
            times: u32,
            duration: u32, // nanoseconds a time
            context: [u32; 2],
            contexts: [u64; 2],
            flags: u32,
            processor: u32,
            batch: u32,
            end: u32,
        }
        let mut run = Run {
            program: self.program.as_raw_fd(),
            result: 0,
            octets: frame.len() as u32,
            octets_out: 0,
            frame: frame.as_ptr(),
            frame_out: 0,
            times,
            duration: 0,
            context: [0; 2],
            contexts: [0; 2],
            flags: LIVE_FRAMES,
            processor: 0,
            batch,
            end: 0,
        };
        // SAFETY: the command reads `octets` octets of the frame, which lives through the call, and writes into the attributes only.
        match unsafe { bpf(PROG_RUN, &mut run) } {
            Ok(_) => Ok(NonZeroU32::new(run.duration)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(GeneratorError::Run(error)),
        }
    }
}

impl core::fmt::Debug for Generator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Generator")
            .field("octets", &self.template.len())
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

/// `struct order`.
fn order(config: &GeneratorConfig) -> [u8; 24] {
    let interval_ps = 1_000_000_000_000_u64.checked_div(config.packets_per_s.into()).unwrap_or(0);
    let mut order = [0; 24];
    order[..8].copy_from_slice(&interval_ps.to_ne_bytes());
    for (field, value) in order[8..].chunks_exact_mut(4).zip([config.interface, config.window, config.ahead, 0]) {
        field.copy_from_slice(&value.to_ne_bytes());
    }
    order
}

/// What all of the packet but its checksum, SQN and trail sum up to, in words as this machine loads them; `None` if it is no such packet.
fn sum_without_numbers(frame: &[u8]) -> Option<u16> {
    let is_one = (HEADERS..=FRAME_MAX).contains(&frame.len())
        && frame[12..15] == [0x08, 0x00, 0x45]
        && frame[14 + 9] == 113
        && frame[TYPE] == ODATA
        && frame[TYPE + 1] == 0;
    let word = |at: usize| u16::from_ne_bytes([frame[at], frame[at + 1]]);
    // RFC 1624: the complement of the checksum, less what the numbers brought in, and the complement of a word takes it out.
    is_one.then(|| {
        let numbers = (HEADERS - 8..HEADERS).step_by(2).map(word);
        let sum = numbers.fold(u32::from(!word(CHECKSUM)), |sum, number| sum + u32::from(!number));
        let folded = (sum & 0xffff) + (sum >> 16);
        ((folded & 0xffff) + (folded >> 16)) as u16
    })
}

/// The clock that the program reads.
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a structure that lives through the call. This clock exists everywhere.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Vec<u8> {
        let mut frame = vec![0x5a; HEADERS + 7];
        frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
        frame[23] = 113;
        frame[TYPE..TYPE + 2].copy_from_slice(&[ODATA, 0]);
        frame
    }

    #[test]
    fn the_sum_of_a_template_does_not_depend_on_its_numbers() {
        let mut frame = template();
        let checksum = |frame: &[u8]| {
            let words = frame[PGM..].chunks(2).map(|word| u16::from_ne_bytes([word[0], *word.get(1).unwrap_or(&0)]));
            let sum = words.fold(0_u32, |sum, word| sum + u32::from(word));
            let folded = (sum & 0xffff) + (sum >> 16);
            !(((folded & 0xffff) + (folded >> 16)) as u16)
        };
        let mut sums = Vec::new();
        for numbers in [[0_u8; 8], [0xff; 8], [1, 2, 3, 4, 0xfe, 0xdc, 0xba, 0x98]] {
            frame[HEADERS - 8..HEADERS].copy_from_slice(&numbers);
            frame[CHECKSUM..CHECKSUM + 2].fill(0);
            let right = checksum(&frame).to_ne_bytes();
            frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&right);
            sums.push(sum_without_numbers(&frame).expect("a template"));
        }
        assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    }

    #[test]
    fn what_the_program_was_not_written_for_is_no_template() {
        assert!(sum_without_numbers(&template()).is_some());
        // A VLAN tag, IPv4 options, another protocol, another type, PGM options.
        for (at, octet) in [(12, 0x81), (14, 0x46), (23, 17), (TYPE, 5), (TYPE + 1, 1)] {
            let mut frame = template();
            frame[at] = octet;
            assert_eq!(sum_without_numbers(&frame), None, "octet {at}");
        }
        assert_eq!(sum_without_numbers(&template()[..HEADERS - 1]), None);
        assert_eq!(sum_without_numbers(&vec![0; FRAME_MAX + 1]), None);
    }
}
