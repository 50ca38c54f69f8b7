//! Where messages come from: lines of stdin, a file, or a generator.
//!
//! Called by the loop of `send`, a message at a time. Guards: nothing is read that is not there yet, so that the session goes on while
//! nobody types; a message that found the window full is offered again, whole and in its turn.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use pgmx::frame::ClaimError;
use pgmx::time::Time;

use crate::common::drive::Publish;
use crate::common::failure::Failure;
use crate::common::generate::Generator;
use crate::common::kernel;
use crate::common::numbers::{MESSAGE_MAX, Sizes};

/// Octets read at a time: some thousand short lines share a system call.
const READ: usize = 64 * 1024;
/// How often stdin is looked at while the loop does not sleep: a look is a system call, which a loop that spins must not make each time.
const LOOK_NS: u64 = 20_000;

/// Messages that are generated in one go: a batch of the link, if each is a packet.
const RUN: u64 = 64;

/// Where the loop's messages go through on their way from a feed to the publisher.
pub(super) trait Offer {
    /// Offers a message, or as many as share a packet, but no more than are due. `wall_ns` is the time of day.
    fn publish(&mut self, wall_ns: u64, due: u64, to: &mut impl Publish) -> Result<Step, Failure>;

    /// Reads what is there, if nothing is left of what was read. `slept`: something may have come since.
    fn look(&mut self, now: Time, slept: bool) -> Result<(), Failure>;

    /// What can be read from when there will be a message.
    fn wake(&self) -> Option<BorrowedFd<'_>>;

    /// Whether a part of a message was published, and the rest was not.
    fn is_midway(&self) -> bool;
}

/// What came of offering messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many messages, of so many octets in all, were published; or none, but a piece of one.
    Published {
        /// Messages, of which the last piece is published.
        messages: u64,
        /// Their octets.
        octets: usize,
    },
    /// There is no message yet.
    Empty,
    /// The window is full.
    Full,
    /// There will be no more messages.
    Ended,
}

/// Where messages come from.
pub(super) enum Feed {
    Lines(Lines),
    File(Blocks),
    Generated(Generator),
}

/// A message is an APDU, or a record.
impl Offer for Feed {
    #[inline]
    fn publish(&mut self, wall_ns: u64, due: u64, to: &mut impl Publish) -> Result<Step, Failure> {
        match self {
            Self::Generated(generator) => generate(generator, wall_ns, due.min(RUN), to),
            Self::Lines(lines) => lines.publish(to),
            Self::File(blocks) => blocks.publish(to),
        }
    }

    #[inline]
    fn look(&mut self, now: Time, slept: bool) -> Result<(), Failure> {
        if let Self::Lines(lines) = self { lines.look(now, slept) } else { Ok(()) }
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Lines(lines) if !lines.ended => Some(lines.input.as_fd()),
            _ => None,
        }
    }

    #[inline]
    fn is_midway(&self) -> bool {
        false
    }
}

/// What a feed has next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A message of so many octets.
    Message(usize),
    /// There is no message yet.
    Empty,
    /// There will be no more messages.
    Ended,
}

/// Message by message, for whoever puts them into packets himself.
impl Feed {
    /// Looks at the next message; a file's is of `block` octets where nobody asked for another size.
    #[inline]
    pub(super) fn next(&mut self, block: usize) -> Result<Next, Failure> {
        match self {
            Self::Generated(generator) => Ok(Next::Message(generator.len())),
            Self::Lines(lines) => Ok(match lines.next() {
                Some((end, _)) => Next::Message(end - lines.begin),
                None if lines.ended => Next::Ended,
                None => Next::Empty,
            }),
            Self::File(blocks) => {
                blocks.read(block)?;
                Ok(if blocks.block.is_empty() { Next::Ended } else { Next::Message(blocks.block.len()) })
            }
        }
    }

    /// Writes a piece of that message, of `len` octets, which begins at its octet `at`.
    #[inline]
    pub(super) fn fill(&self, published_ns: u64, len: usize, at: usize, to: &mut [u8]) {
        let from = match self {
            Self::Generated(generator) => return generator.fill(published_ns, len, at, to),
            Self::Lines(lines) => &lines.buffer[lines.begin..],
            Self::File(blocks) => &blocks.block,
        };
        to.copy_from_slice(&from[at..at + to.len()]);
    }

    /// That message was published.
    #[inline]
    pub(super) fn advance(&mut self) {
        match self {
            Self::Generated(generator) => generator.advance(),
            Self::Lines(lines) => lines.advance(),
            Self::File(blocks) => blocks.block.clear(),
        }
    }
}

/// Publishes as many as are due, in a loop of its own, whose few variables stay in registers.
#[inline(never)]
fn generate(generator: &mut Generator, wall_ns: u64, due: u64, to: &mut impl Publish) -> Result<Step, Failure> {
    let (mut messages, mut octets) = (0, 0);
    while messages < due {
        let len = generator.len();
        if let Err(error) = to.publish_in_place(len, |at, chunk| generator.fill(wall_ns, len, at, chunk)) {
            if messages == 0 {
                return refused(error);
            }
            // It is refused once more when it is offered next.
            break;
        }
        generator.advance();
        (messages, octets) = (messages + 1, octets + len);
    }
    Ok(Step::Published { messages, octets })
}

#[inline]
fn publish(message: &[u8], to: &mut impl Publish) -> Result<Step, Failure> {
    match to.publish(message) {
        Ok(()) => Ok(Step::Published { messages: 1, octets: message.len() }),
        Err(error) => refused(error),
    }
}

#[inline]
pub(super) fn refused(error: ClaimError) -> Result<Step, Failure> {
    match error {
        ClaimError::Full => Ok(Step::Full),
        ClaimError::Closed => Ok(Step::Ended),
        ClaimError::TooLong { len, max } => Err(Failure::error(format_args!(
            "a message of {len} octets does not fit: at most {max} are possible here; a larger --window helps"
        ))),
    }
}

/// Lines of stdin, without their ends.
pub(super) struct Lines {
    input: File,
    /// What was read; `[begin ..]` was not published.
    buffer: Vec<u8>,
    begin: usize,
    /// Octets from `begin` on in which no line ends.
    searched: usize,
    ended: bool,
    looked: Time,
}

impl Lines {
    /// Stdin, read past the standard library's buffer, whose fill level nobody can ask for.
    pub(super) fn of_stdin() -> Result<Self, Failure> {
        let input = io::stdin().as_fd().try_clone_to_owned();
        let input = input.map_err(|error| Failure::error(format_args!("stdin: {error}")))?;
        Ok(Self::new(File::from(input)))
    }

    fn new(input: File) -> Self {
        Self { input, buffer: Vec::with_capacity(2 * READ), begin: 0, searched: 0, ended: false, looked: Time::ZERO }
    }

    /// Where the next line ends, and where the one behind it begins.
    fn next(&mut self) -> Option<(usize, usize)> {
        let rest = &self.buffer[self.begin..];
        if let Some(at) = rest[self.searched..].iter().position(|&octet| octet == b'\n') {
            let end = self.begin + self.searched + at;
            // Found again at once if it has to be offered again.
            self.searched += at;
            return Some((end, end + 1));
        }
        self.searched = rest.len();
        // The last line may have no end.
        (self.ended && !rest.is_empty()).then_some((self.buffer.len(), self.buffer.len()))
    }

    fn publish(&mut self, to: &mut impl Publish) -> Result<Step, Failure> {
        let Some((end, next)) = self.next() else {
            return Ok(if self.ended { Step::Ended } else { Step::Empty });
        };
        let step = publish(&self.buffer[self.begin..end], to)?;
        if matches!(step, Step::Published { .. }) {
            self.begin = next;
            self.searched = 0;
        }
        Ok(step)
    }

    /// The next line was published.
    fn advance(&mut self) {
        if let Some((_, next)) = self.next() {
            self.begin = next;
            self.searched = 0;
        }
    }

    fn look(&mut self, now: Time, slept: bool) -> Result<(), Failure> {
        let is_pending = self.searched < self.buffer.len() - self.begin;
        if self.ended || is_pending || !(slept || now.since(self.looked) >= LOOK_NS) {
            return Ok(());
        }
        self.looked = now;
        if kernel::is_readable(self.input.as_fd()) { self.read() } else { Ok(()) }
    }

    fn read(&mut self) -> Result<(), Failure> {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        let filled = self.buffer.len();
        if filled > MESSAGE_MAX as usize {
            return Err(Failure::error(format_args!("stdin: a line longer than {MESSAGE_MAX} octets is no message")));
        }
        self.buffer.resize(filled + READ, 0);
        let answer = self.input.read(&mut self.buffer[filled..]);
        let read = match &answer {
            Ok(read) => *read,
            Err(_) => 0,
        };
        self.buffer.truncate(filled + read);
        match answer {
            Ok(read) => self.ended = read == 0,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(Failure::error(format_args!("reading stdin: {error}"))),
        }
        Ok(())
    }
}

/// A file, in blocks.
pub(super) struct Blocks {
    path: PathBuf,
    input: BufReader<File>,
    /// Octets of a message; `None`: what fits one packet.
    sizes: Option<Sizes>,
    /// The message that is offered.
    block: Vec<u8>,
}

impl Blocks {
    pub(super) fn open(path: &Path, sizes: Option<Sizes>) -> Result<Self, Failure> {
        let input = File::open(path).map_err(|error| failed(path, &error))?;
        Ok(Self { path: path.into(), input: BufReader::with_capacity(4 * READ, input), sizes, block: Vec::new() })
    }

    /// Reads the next block, unless one is there: empty at the end.
    fn read(&mut self, usual: usize) -> Result<(), Failure> {
        if self.block.is_empty() {
            let len = self.sizes.map_or(usual, |sizes| sizes.max as usize);
            let mut input = self.input.by_ref().take(len as u64);
            input.read_to_end(&mut self.block).map_err(|error| failed(&self.path, &error))?;
        }
        Ok(())
    }

    fn publish(&mut self, to: &mut impl Publish) -> Result<Step, Failure> {
        self.read(to.claim_max())?;
        if self.block.is_empty() {
            return Ok(Step::Ended);
        }
        let step = publish(&self.block, to)?;
        if matches!(step, Step::Published { .. }) {
            self.block.clear();
        }
        Ok(step)
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::error(format_args!("--file: reading {} failed: {error}", path.display()))
}
