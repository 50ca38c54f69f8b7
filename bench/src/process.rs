//! The command as others run it: a process on a host, with an end in time and one JSON object to say.
//!
//! Used by the benchmarks that measure `pgmx` itself. Guards: no process outlives its [`Running`], and waiting for one costs its processor
//! nothing.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::netns::Host;
use crate::stop;

/// How long a program may take to notice that it is over, beyond what it was given to do.
const EPILOGUE: Duration = Duration::from_secs(5);
/// How often somebody who waits looks whether to go on.
const LOOK: Duration = Duration::from_millis(50);
const BETWEEN_SIGNALS: Duration = Duration::from_millis(20);

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// How it was begun, for people.
    line: String,
    /// What it said, once it has closed its ends of the pipes.
    said: Receiver<String>,
    complained: Receiver<String>,
}

/// What was said through a pipe, all of it, from a thread that sleeps until then.
fn gather(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (done, gathered) = channel();
    std::thread::spawn(move || {
        let mut octets = Vec::new();
        // What cannot be read was not said; the status tells more.
        let _ = pipe.read_to_end(&mut octets);
        let _ = done.send(String::from_utf8_lossy(&octets).into_owned());
    });
    gathered
}

impl Running {
    /// Begins `program` with these arguments on a host.
    ///
    /// # Errors
    /// If it cannot be begun.
    pub fn begin<S: AsRef<OsStr>>(host: &Host, program: &Path, arguments: &[S]) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = format!("{command:?}");
        let mut child = host.inside(|| command.spawn()).map_err(|error| format!("{line}: {error}"))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (Some(out), Some(err)) = (out, err) else { return Err(format!("{line}: no pipes")) };
        Ok(Self { child, line, said: gather(out), complained: gather(err) })
    }

    /// How it was begun.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Its number in `/proc`.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, so often; one that has ended is not hurt by it.
    pub fn ask(&self, times: u32) {
        for n in 0..times {
            if n > 0 {
                // Two signals of a kind that come together are one.
                std::thread::sleep(BETWEEN_SIGNALS);
            }
            // SAFETY: touches no memory. The child was not waited for yet, so that its number is nobody else's.
            unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        }
    }

    /// Waits until it ends, which must be well and in time, and reads the object that it printed.
    ///
    /// # Errors
    /// If it ends otherwise, or says something else: with what it wrote to people.
    pub fn finish(self, at_most: Duration) -> Result<Value, String> {
        let ended = self.end(at_most)?;
        if ended.code == Some(0) { Ok(ended.said) } else { Err(ended.failure()) }
    }

    /// Waits until it ends, well or not, and reads the object that it printed.
    ///
    /// # Errors
    /// If it does not end in time, says something else, or we are asked to end ([`stop`]).
    pub fn end(mut self, at_most: Duration) -> Result<Ended, String> {
        let end = Instant::now() + at_most + EPILOGUE;
        let said = loop {
            match self.said.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) if Instant::now() < end && !stop::is_asked() => {}
                said => break said,
            }
        };
        if said.is_err() {
            // It is ended here, so that what it told people can be read below.
            let _ = self.child.kill();
        }
        let complaint = self.complained.recv_timeout(EPILOGUE).unwrap_or_default();
        let complaint = complaint.trim();
        let told = |what: &str| told(&self.line, what, complaint);
        if stop::is_asked() {
            return Err("stopped".into());
        }
        let said = said.map_err(|_| told(&format!("has not ended after {at_most:?}")))?;
        // Nobody else is waited for meanwhile: what the account of ended children grows by is this one's.
        let before = processor_of_children();
        let status = self.child.wait().map_err(|error| told(&error.to_string()))?;
        let processor = processor_of_children().saturating_sub(before);
        let object = serde_json::from_str(&said);
        let said = object.map_err(|error| told(&format!("{status}; no JSON object ({error}): {}", said.trim())))?;
        let (line, complaint) = (self.line.clone(), complaint.to_owned());
        Ok(Ended { said, code: status.code(), processor, line, complaint })
    }
}

/// A program that ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The object that it printed.
    pub said: Value,
    /// Its status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Processor time that it took, the kernel's part included.
    pub processor: Duration,
    line: String,
    complaint: String,
}

impl Ended {
    /// What to say where that is a failure.
    pub fn failure(&self) -> String {
        let what = self.code.map_or("ended by a signal".into(), |code| format!("ended with status {code}"));
        told(&self.line, &what, &self.complaint)
    }
}

fn told(line: &str, what: &str, complaint: &str) -> String {
    format!("{line}: {what}{}{complaint}", if complaint.is_empty() { "" } else { ": " })
}

/// Processor time of all children that were waited for.
fn processor_of_children() -> Duration {
    // SAFETY: integers, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    // SAFETY: writes a structure that lives through the call, and fails for no argument of this kind.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let time = |time: libc::timeval| Duration::new(time.tv_sec.unsigned_abs(), time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is not hurt by it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that was built beside this program.
///
/// # Errors
/// If there is none.
pub fn command() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
    let path = here.with_file_name("pgmx");
    if path.exists() {
        Ok(path)
    } else {
        Err(format!(
            "{} is missing: build it (cargo build --release -p pgmx-tools) or name one with --pgmx",
            path.display()
        ))
    }
}

/// The arguments of one side of a measurement of the command: over PGM in IP by this link, spinning on a processor of its own, with a
/// JSON object at the end.
pub fn spinning(subcommand: &str, interface: &str, io: &str, core: usize, more: &[(&str, u64)]) -> Vec<String> {
    let endpoint = format!("pgm://{interface};239.192.0.1:7500");
    let core = core.to_string();
    let common = [subcommand, &endpoint, "--io", io, "--core", &core, "--idle", "spin", "--json"].map(String::from);
    let more = more.iter().flat_map(|(name, value)| [(*name).into(), value.to_string()]);
    common.into_iter().chain(more).collect()
}

/// A number in an object of the command, by its path.
///
/// # Errors
/// If there is none there.
pub fn number(object: &Value, pointer: &str) -> Result<f64, String> {
    object.pointer(pointer).and_then(Value::as_f64).ok_or_else(|| format!("no number {pointer} in {object}"))
}
