//! Running `pgmx` in the background: started, watched, asked to end, and gone with the test whatever happens.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The command.
pub(crate) const PGMX: &str = env!("CARGO_BIN_EXE_pgmx");
/// What takes longer than this hangs; machines may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// `pgmx`, running.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<String>>,
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
        running.await_ready();
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
        Self { child, stdin, stdout, stderr: None }
    }

    fn await_ready(&mut self) {
        let mut lines = BufReader::new(self.child.stderr.take().expect("not taken yet"));
        let mut first = String::new();
        let _ = lines.read_line(&mut first);
        assert!(first.starts_with('{'), "it did not begin: {first}");
        self.stderr = Some(thread::spawn(move || keep(lines)));
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
        let err = self.child.stderr.take();
        let stderr = self.stderr.take().unwrap_or_else(|| {
            let lines = BufReader::new(err.expect("not taken yet"));
            thread::spawn(move || keep(lines))
        });
        let status = self.wait();
        let stdout = self.stdout.take().map(|reader| reader.join().expect("no panic")).unwrap_or_default();
        Outcome { status: status.code(), stdout, stderr: stderr.join().expect("no panic") }
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

/// What it says beside its progress.
fn keep(lines: BufReader<ChildStderr>) -> String {
    let said = lines.lines().map_while(Result::ok).filter(|line| !line.starts_with('{'));
    said.map(|line| line + "\n").collect()
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
