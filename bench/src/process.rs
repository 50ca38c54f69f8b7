//! The command as others run it: a process on a host, with an end in time and one JSON object to say.
//!
//! Used by the benchmarks that measure `pgmx` itself. Guards: no process outlives its [`Running`], and waiting for one costs its processor
//! nothing.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::netns::Host;

/// How long a program may take to notice that it is over, beyond what it was given to do.
const EPILOGUE: Duration = Duration::from_secs(5);

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

    /// Its number in `/proc`.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends, which must be well and in time, and reads the object that it printed.
    ///
    /// # Errors
    /// If it ends otherwise, or says something else: with what it wrote to people.
    pub fn finish(mut self, at_most: Duration) -> Result<Value, String> {
        let end = Instant::now() + at_most + EPILOGUE;
        let left = || end.saturating_duration_since(Instant::now());
        let said = self.said.recv_timeout(left());
        if said.is_err() {
            // It is ended here, so that what it told people can be read below.
            let _ = self.child.kill();
        }
        let complaint = self.complained.recv_timeout(EPILOGUE).unwrap_or_default();
        let told = |what: &str| {
            format!("{}: {what}{}{}", self.line, if complaint.is_empty() { "" } else { ": " }, complaint.trim())
        };
        let said = said.map_err(|_| told(&format!("has not ended after {at_most:?}")))?;
        let status = self.child.wait().map_err(|error| told(&error.to_string()))?;
        if !status.success() {
            return Err(told(&status.to_string()));
        }
        serde_json::from_str(&said).map_err(|error| told(&format!("no JSON object ({error}): {said}")))
    }
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
