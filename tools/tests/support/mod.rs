//! Running `pgmx` in the background: started, watched, asked to end, and gone with the test whatever happens.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The command.
pub(crate) const PGMX: &str = env!("CARGO_BIN_EXE_pgmx");
/// What takes longer than this hangs; machines may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ways that this build has for native PGM.
pub(crate) fn ways() -> &'static [&'static str] {
    if cfg!(feature = "xdp") { &["xdp", "raw"] } else { &["raw"] }
}

/// `pgmx`, running.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<()>>,
    /// Lines of its stderr so far.
    said: Arc<Mutex<Vec<String>>>,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(f, "status {status:?}\nstdout: {}\nstderr: {stderr}", String::from_utf8_lossy(stdout))
    }
}

impl Outcome {
    /// The JSON object on its stdout.
    pub(crate) fn json(&self) -> Value {
        let last = self.stdout.trim_ascii().rsplit(|&octet| octet == b'\n').next().unwrap_or_default();
        serde_json::from_slice(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A number of that object.
    #[track_caller]
    pub(crate) fn figure(&self, key: &str) -> u64 {
        self.json()[key].as_u64().unwrap_or_else(|| panic!("no number for {key}: {self:?}"))
    }

    /// The only line on its stderr.
    pub(crate) fn line(&self) -> &str {
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        self.stderr.trim_end()
    }

    /// That it ended with this status.
    #[track_caller]
    pub(crate) fn ended(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{self:?}");
        self
    }
}

impl Running {
    /// Starts it.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(PGMX);
        command.args(arguments);
        Self::spawn(command, Stdio::piped())
    }

    /// Starts it, and waits until its loop runs and it hears what is sent to it.
    pub(crate) fn start_ready(arguments: &[&str]) -> Self {
        let mut running = Self::start(&[arguments, &["--progress", "20"]].concat());
        running.await_progress("messages", 0);
        running
    }

    /// Starts a command that is `pgmx` in the end.
    pub(crate) fn spawn(mut command: Command, stdout: Stdio) -> Self {
        command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command runs");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(|mut out| {
            thread::spawn(move || {
                let mut octets = Vec::new();
                let _ = out.read_to_end(&mut octets);
                octets
            })
        });
        let said = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().map(|pipe| {
            let said = Arc::clone(&said);
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    said.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            })
        });
        Self { child, stdin, stdout, stderr, said }
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `--progress` says at least so much about this key.
    pub(crate) fn await_progress(&mut self, key: &str, least: u64) {
        let deadline = Instant::now() + PATIENCE;
        let is_far = |line: &String| {
            let said = serde_json::from_str::<Value>(line).ok();
            said.and_then(|said| said[key].as_u64()).is_some_and(|number| number >= least)
        };
        while !self.said().last().is_some_and(is_far) {
            let ended = self.child.try_wait().expect("a child of ours");
            let said = || self.said();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{key} {least} is not reached, {ended:?}: {:?}",
                said()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes to its stdin.
    pub(crate) fn write(&mut self, text: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(text).and_then(|()| stdin.flush()).expect("it reads");
    }

    /// Ends its stdin.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: touches no memory; the process is ours and was not waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Outcome {
        self.end_input();
        let status = self.wait();
        let stdout = self.stdout.take().map(|reader| reader.join().expect("no panic")).unwrap_or_default();
        self.stderr.take().map(|reader| reader.join().expect("no panic")).unwrap_or_default();
        // Progress is no complaint.
        let said = self.said().into_iter().filter(|line| !line.starts_with('{'));
        let stderr = said.map(|line| line + "\n").collect();
        Outcome { status: status.code(), stdout, stderr }
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "pgmx does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    Running::start(arguments).finish()
}

/// A file of a test, gone with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("pgmx-test-{}-{name}", std::process::id())))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("plain characters")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
