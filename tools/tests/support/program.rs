//! The `pgmx` command as a process beside a test: begun on a host, listened to, and gone with its handle.
//!
//! Used by the privileged tests. Guards: no process outlives its handle, and every wait has an end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that takes a moment: a loaded machine needs more of them.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The command.
pub(crate) const PGMX: &str = env!("CARGO_BIN_EXE_pgmx");

/// A process that runs.
pub(crate) struct Program {
    child: Child,
    words: String,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<()>>,
    said: Arc<Mutex<Vec<String>>>,
}

/// A process that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What it was.
    pub(crate) words: String,
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained about, line by line; progress is left out.
    pub(crate) complaints: Vec<String>,
}

impl Program {
    /// Begins `pgmx` with these words, where the calling thread is.
    pub(crate) fn begin(words: &[&str]) -> Self {
        let mut command = Command::new(PGMX);
        command.args(words);
        Self::begin_as(command)
    }

    /// Begins a command that is ready.
    pub(crate) fn begin_as(mut command: Command) -> Self {
        let words = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let mut stdout = child.stdout.take().expect("piped");
        let stdout = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stdout.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let said = Arc::new(Mutex::new(Vec::new()));
        let (pipe, lines) = (child.stderr.take().expect("piped"), Arc::clone(&said));
        let stderr = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, words, stdout: Some(stdout), stderr: Some(stderr), said }
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `--progress` said last about this key.
    pub(crate) fn progress(&self, key: &str) -> Option<u64> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let last = said.iter().rev().find_map(|line| serde_json::from_str::<Value>(line).ok())?;
        last[key].as_u64()
    }

    /// Waits until `--progress` says at least so much about this key.
    pub(crate) fn await_progress(&mut self, key: &str, least: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.progress(key).is_none_or(|number| number < least) {
            let ended = self.child.try_wait().expect("our own child");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{}: {ended:?}, it said {:?}",
                self.words,
                self.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        // SAFETY: touches no memory; our own child, which was not waited for yet.
        let done = unsafe { libc::kill(self.pid() as libc::pid_t, signal) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                break status;
            }
            assert!(Instant::now() < deadline, "{} does not end; it said {:?}", self.words, self.said());
            std::thread::sleep(Duration::from_millis(5));
        };
        let stdout = self.stdout.take().and_then(|reader| reader.join().ok()).expect("what it printed");
        self.stderr.take().and_then(|reader| reader.join().ok()).expect("what it complained about");
        let complaints = self.said().into_iter().filter(|line| !line.starts_with('{')).collect();
        Ended { words: std::mem::take(&mut self.words), status, stdout, complaints }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Its report.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{self:?}: no report: {error}"))
    }

    /// A number of its report.
    pub(crate) fn figure(&self, key: &str) -> u64 {
        self.report()[key].as_u64().unwrap_or_else(|| panic!("no number for {key}: {self:?}"))
    }

    /// Its exit status.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Its single line of complaint.
    pub(crate) fn complaint(&self) -> &str {
        assert_eq!(self.complaints.len(), 1, "one line, and one only: {self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        &self.complaints[0]
    }
}
