//! The demo's players: a `pgmx send` and three `pgmx recv`, each a process of its own, and what they say while they play.
//!
//! ```text
//!   child ── stderr: progress lines (JSON), complaints ──┐
//!         └─ stdout: the report (one JSON object) ───────┴─ reader threads ──> channel ──> Troupe::listen
//! ```
//!
//! Called by the demo only. Guards: no child outlives its [`Player`], and none is waited for without an end; what a child says is bounded
//! before it is kept.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::failure::Failure;

/// Lines of complaint that are kept of one child: what went wrong stands in the first.
const COMPLAINTS_MAX: usize = 8;
/// The longest line that is read as a whole; reports have about a thousand octets.
const LINE_OCTETS_MAX: u64 = 1 << 20;

/// Something that a child said.
enum Word {
    /// A line of JSON on its standard error: how far it is.
    Progress(Value),
    /// The JSON object on its standard output: how it ended.
    Report(Value),
    /// Any other line.
    Complaint(String),
    /// Nothing more comes from one of its two pipes.
    Silence,
}

/// One child.
pub(super) struct Player {
    /// What it is called in the table.
    pub(super) name: String,
    /// When it was begun.
    pub(super) begun: Instant,
    /// When it had opened its link, by its own clock; known once it has said how far it is.
    pub(super) ready: Option<Instant>,
    /// When it first said how far it is: by then it listens for sure.
    pub(super) first_word: Option<Instant>,
    /// What it said last about how far it is, and when.
    pub(super) progress: Option<(Value, Instant)>,
    /// Messages and bits a second between its last two words.
    pub(super) pace: Option<(f64, f64)>,
    /// What it said at the end.
    pub(super) report: Option<Value>,
    /// What it complained about.
    pub(super) complaints: Vec<String>,
    /// How it ended, once it has.
    pub(super) status: Option<ExitStatus>,
    /// When that was noticed.
    pub(super) ended: Option<Instant>,
    child: Child,
    /// Pipes that may still say something.
    pipes: u8,
}

impl Player {
    /// Whether it has ended, and all that it said was heard.
    pub(super) fn is_over(&self) -> bool {
        self.status.is_some() && self.pipes == 0
    }

    /// A figure of its report, or of its progress as long as there is no report. Progress has shorter names for some: `naks` for
    /// `naks_sent` and `naks_received`.
    pub(super) fn figure(&self, key: &str) -> u64 {
        let said = match (&self.report, &self.progress) {
            (Some(report), _) => &report[key],
            (None, Some((progress, _))) => &progress[key.split('_').next().unwrap_or(key)],
            (None, None) => return 0,
        };
        said.as_u64().unwrap_or_default()
    }

    /// Asks it to end well: what Ctrl-C does.
    pub(super) fn interrupt(&self) {
        if self.status.is_none() {
            // SAFETY: touches no memory; the child is not reaped yet, so that the number is its own.
            unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGINT) };
        }
    }

    /// Why it is no success, if it is none. To lose data (exit status 3) is not its fault, and shows in its figures.
    pub(super) fn failure(&self) -> Option<String> {
        let name = &self.name;
        let complaint = self.complaints.first().map_or(String::new(), |line| format!(": {line}"));
        match self.status {
            None => Some(format!("{name} did not end in time{complaint}")),
            Some(status) if !matches!(status.code(), Some(0 | 3)) => {
                Some(format!("{name} ended with {status}{complaint}"))
            }
            Some(_) if self.report.is_none() => Some(format!("{name} ended without a report{complaint}")),
            Some(_) => None,
        }
    }

    fn kill(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.kill();
    }
}

/// All children, and the channel that they speak into.
pub(super) struct Troupe {
    /// In the order in which they were begun.
    pub(super) players: Vec<Player>,
    mouth: Sender<(usize, Word)>,
    ear: Receiver<(usize, Word)>,
}

impl Troupe {
    pub(super) fn new() -> Self {
        let (mouth, ear) = channel();
        Self { players: Vec::new(), mouth, ear }
    }

    /// Begins one. It reads nothing, and what it writes is ours.
    pub(super) fn begin(&mut self, name: &str, mut command: Command) -> Result<(), Failure> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child =
            command.spawn().map_err(|error| Failure::error(format_args!("{name} did not start: {error}")))?;
        let number = self.players.len();
        if let Some(stdout) = child.stdout.take() {
            self.read(number, stdout, |line| match serde_json::from_str(line) {
                Ok(report) => Word::Report(report),
                Err(_) => Word::Complaint(line.to_owned()),
            });
        }
        if let Some(stderr) = child.stderr.take() {
            self.read(number, stderr, |line| match serde_json::from_str(line) {
                Ok(progress @ Value::Object(_)) => Word::Progress(progress),
                _ => Word::Complaint(line.to_owned()),
            });
        }
        self.players.push(Player {
            name: name.to_owned(),
            begun,
            ready: None,
            first_word: None,
            progress: None,
            pace: None,
            report: None,
            complaints: Vec::new(),
            status: None,
            ended: None,
            child,
            pipes: 2,
        });
        Ok(())
    }

    fn read(&self, number: usize, pipe: impl Read + Send + 'static, meaning: impl Fn(&str) -> Word + Send + 'static) {
        let mouth = self.mouth.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            loop {
                line.clear();
                if matches!(pipe.by_ref().take(LINE_OCTETS_MAX).read_until(b'\n', &mut line), Ok(0) | Err(_)) {
                    // If nobody listens any more, nobody misses it.
                    let _ = mouth.send((number, Word::Silence));
                    return;
                }
                let text = String::from_utf8_lossy(&line);
                let text = text.trim();
                if !text.is_empty() && mouth.send((number, meaning(text))).is_err() {
                    return;
                }
            }
        });
    }

    /// Listens to all for at most so long, and notes who ended.
    pub(super) fn listen(&mut self, at_most: Duration) {
        let until = Instant::now() + at_most;
        // This end holds a mouth of its own: only the time ends it.
        while let Ok((number, word)) = self.ear.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.note(number, word);
        }
        for player in self.players.iter_mut().filter(|player| player.status.is_none()) {
            player.status = player.child.try_wait().ok().flatten();
            player.ended = player.status.map(|_| Instant::now());
        }
    }

    fn note(&mut self, number: usize, word: Word) {
        let player = &mut self.players[number];
        let now = Instant::now();
        match word {
            Word::Progress(value) => {
                let open = value["seconds"].as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                player.first_word.get_or_insert(now);
                player.ready.get_or_insert(now.checked_sub(open.unwrap_or_default()).unwrap_or(now));
                if let Some((before, _)) = &player.progress {
                    let passed = |key| Some(value[key].as_f64()? - before[key].as_f64()?);
                    let seconds = passed("seconds").filter(|seconds| *seconds > 0.0);
                    let per_second = |key| Some(passed(key)? / seconds?);
                    player.pace = per_second("messages").zip(per_second("bytes").map(|octets| octets * 8.0));
                }
                player.progress = Some((value, now));
            }
            Word::Report(value) => player.report = Some(value),
            Word::Complaint(line) if player.complaints.len() < COMPLAINTS_MAX => player.complaints.push(line),
            Word::Complaint(_) => {}
            Word::Silence => player.pipes -= 1,
        }
    }

    /// Whether all have ended.
    pub(super) fn is_over(&self) -> bool {
        self.players.iter().all(Player::is_over)
    }

    /// Ends all that still run: asks first, and kills who does not hear.
    pub(super) fn dismiss(&mut self, patience: Duration) {
        for player in &self.players {
            player.interrupt();
        }
        let until = Instant::now() + patience;
        while !self.is_over() && Instant::now() < until {
            self.listen(Duration::from_millis(20));
        }
        for player in &mut self.players {
            player.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn play(script: &str) -> Troupe {
        let mut troupe = Troupe::new();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        troupe.begin("the player", command).expect("a shell");
        troupe
    }

    fn until_over(troupe: &mut Troupe) {
        let until = Instant::now() + Duration::from_secs(20);
        while !troupe.is_over() && Instant::now() < until {
            troupe.listen(Duration::from_millis(10));
        }
    }

    #[test]
    fn progress_report_and_complaints_are_told_apart() {
        let mut troupe = play(
            "echo '{\"seconds\":0.5,\"messages\":1,\"bytes\":10,\"naks\":4}' >&2; echo 'pgmx recv: oh' >&2; \
             echo '{\"seconds\":1.0,\"messages\":3,\"bytes\":20,\"naks\":5}' >&2; echo '{\"messages\":4}'; exit 3",
        );
        until_over(&mut troupe);
        let player = &troupe.players[0];
        assert_eq!(player.progress.as_ref().map(|(value, _)| value["messages"].as_u64()), Some(Some(3)));
        assert_eq!((player.figure("messages"), player.figure("naks_sent"), player.complaints.len()), (4, 0, 1));
        assert_eq!(player.pace, Some((4.0, 160.0)));
        assert_eq!(player.failure(), None, "losing data is not failing");
    }

    #[test]
    fn who_fails_says_why_and_who_is_killed_is_missed() {
        let mut troupe = play("echo 'no such interface' >&2; exit 1");
        until_over(&mut troupe);
        let failure = troupe.players[0].failure().expect("a failure");
        assert_eq!(failure, "the player ended with exit status: 1: no such interface");
        let mut troupe = play("kill -9 $$");
        until_over(&mut troupe);
        assert!(troupe.players[0].failure().is_some_and(|failure| failure.contains("signal: 9")));
    }

    #[test]
    fn who_does_not_hear_the_word_is_killed() {
        let mut troupe = play("trap '' INT; echo '{}' >&2; while :; do sleep 0.05; done");
        let until = Instant::now() + Duration::from_secs(20);
        while troupe.players[0].ready.is_none() && Instant::now() < until {
            troupe.listen(Duration::from_millis(10));
        }
        troupe.dismiss(Duration::from_millis(100));
        assert_eq!(troupe.players[0].status.and_then(|status| status.signal()), Some(libc::SIGKILL));
    }
}
