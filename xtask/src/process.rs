//! Running other programs: in the foreground for people, or bounded in time for lanes.
//!
//! A bounded child leads a process group of its own. The invariant: when its time is over, or when xtask itself dies
//! (Ctrl-C, a `timeout` around it), the whole group goes with it, so that no test, simulator or namespace helper
//! outlives the run that started it. std has neither `killpg` nor a parent-death signal, so a shell does both: it waits on a
//! pipe that only xtask holds open, and end-of-file there means that xtask is gone.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a bounded child is looked at: short beside the seconds that lanes are reported in.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// What a group gets between SIGTERM and SIGKILL: enough to remove a network namespace.
const GRACE: Duration = Duration::from_secs(3);

/// A command to run, with its environment.
#[derive(Debug, Clone)]
pub(crate) struct Cmd {
    program: OsString,
    args: Vec<String>,
    envs: Vec<(&'static str, String)>,
    without: Vec<&'static str>,
    dir: PathBuf,
    first_word_within: Option<Duration>,
}

/// How a bounded child ended, and what it said if that was asked for.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None`: its time was over.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) stdout: String,
}

impl Ended {
    /// Why this is a failure, or `Ok`.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        match self.status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(status.to_string()),
            None => Err("out of time, killed".into()),
        }
    }
}

/// What happens to a bounded child's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// To the terminal.
    Show,
    /// To the terminal and into [`Ended::stdout`].
    ShowAndKeep,
    /// Into [`Ended::stdout`] only.
    Keep,
}

/// The cargo that runs us, in `root`.
pub(crate) fn cargo(root: &Path, args: &[&str]) -> Cmd {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Cmd { program, ..Cmd::new(root, "cargo", args) }
}

impl Cmd {
    pub(crate) fn new(dir: &Path, program: &str, args: &[&str]) -> Self {
        Self {
            program: program.into(),
            args: args.iter().map(|&a| a.to_owned()).collect(),
            envs: Vec::new(),
            without: Vec::new(),
            dir: dir.to_path_buf(),
            first_word_within: None,
        }
    }

    pub(crate) fn args(mut self, more: impl IntoIterator<Item = String>) -> Self {
        self.args.extend(more);
        self
    }

    pub(crate) fn arg(self, one: impl Into<String>) -> Self {
        self.args([one.into()])
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.envs.push((name, value.into()));
        self
    }

    pub(crate) fn env_remove(mut self, name: &'static str) -> Self {
        self.without.push(name);
        self
    }

    /// Bounded and read: it is out of time as well when it has printed nothing by then.
    pub(crate) fn first_word_within(mut self, limit: Duration) -> Self {
        self.first_word_within = Some(limit);
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.dir);
        for (name, value) in &self.envs {
            command.env(name, value);
        }
        for name in &self.without {
            command.env_remove(name);
        }
        command
    }

    /// Runs with the terminal in the child's hands: Ctrl-C reaches it, and nothing bounds it but the user.
    pub(crate) fn foreground(&self) -> Result<bool, String> {
        println!("$ {self}");
        let status = self.command().status().map_err(|e| format!("{self} did not start: {e}"))?;
        if !status.success() {
            eprintln!("{self}: {status}");
        }
        Ok(status.success())
    }

    /// As [`Cmd::foreground`], with all that is said on standard error: standard output is for something else.
    pub(crate) fn beside_stdout(&self) -> Result<bool, String> {
        eprintln!("$ {self}");
        let status = self.command().stdout(std::io::stderr()).status();
        let status = status.map_err(|e| format!("{self} did not start: {e}"))?;
        if !status.success() {
            eprintln!("{self}: {status}");
        }
        Ok(status.success())
    }

    /// Becomes this program: its signals, its output and its status are ours. Why that failed, if it comes back.
    pub(crate) fn become_it(&self) -> String {
        eprintln!("$ {self}");
        format!("{self} did not start: {}", self.command().exec())
    }

    /// Runs quietly and says whether it succeeded; a program that is not there did not.
    pub(crate) fn succeeds(&self) -> bool {
        self.command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    }

    /// Runs quietly and returns what it printed, `None` if it failed or is not there.
    pub(crate) fn stdout(&self) -> Option<String> {
        self.octets().map(|octets| String::from_utf8_lossy(&octets).into_owned())
    }

    /// As [`Cmd::stdout`], for what is no text.
    pub(crate) fn octets(&self) -> Option<Vec<u8>> {
        let out = self.command().stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        out.status.success().then_some(out.stdout)
    }

    /// Runs for at most `limit`, then takes the whole process group down.
    pub(crate) fn bounded(&self, limit: Duration, output: Output) -> Result<Ended, String> {
        println!("$ {self}");
        let mut command = self.command();
        command.stdin(Stdio::null()).process_group(0);
        if output != Output::Show {
            command.stdout(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|e| format!("{self} did not start: {e}"))?;
        let guard = Guard::over(child.id())?;
        let kept = Arc::new(Mutex::new(String::new()));
        let reader = child.stdout.take().map(|pipe| {
            let kept = Arc::clone(&kept);
            thread::spawn(move || {
                // What is no text is still shown and kept, and the reading goes on.
                for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line);
                    if output == Output::ShowAndKeep {
                        println!("{line}");
                    }
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push_str(&line);
                    kept.push('\n');
                }
            })
        });
        let is_silent = || kept.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        let first_word = self.first_word_within.filter(|_| output != Output::Show);
        let over = |elapsed| elapsed >= limit || first_word.is_some_and(|within| elapsed >= within && is_silent());
        let status = wait(&mut child, over).map_err(|e| format!("{self} cannot be waited for: {e}"))?;
        guard.dismiss();
        // Something that left the group may still hold the pipe open; it is not waited for longer than this.
        let ended = Instant::now();
        while reader.as_ref().is_some_and(|r| !r.is_finished()) && ended.elapsed() < GRACE {
            thread::sleep(POLL_INTERVAL);
        }
        let stdout = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Ended { status, stdout })
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.envs {
            write!(f, "{name}={} ", quoted(value))?;
        }
        let program = Path::new(&self.program).file_name().unwrap_or(&self.program);
        write!(f, "{}", program.to_string_lossy())?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// As a shell would want it, so that a printed command can be pasted.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// `None` when its time was `over` and the group had to be killed.
fn wait(child: &mut Child, over: impl Fn(Duration) -> bool) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    while !over(started.elapsed()) {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(POLL_INTERVAL);
    }
    signal_group(child.id(), "TERM");
    // The leader is not reaped before the last signal, so that its number cannot name somebody else's group.
    thread::sleep(GRACE);
    signal_group(child.id(), "KILL");
    child.wait()?;
    Ok(None)
}

fn signal_group(leader: u32, signal: &str) {
    // An empty group is what we want, so a failing `kill` is no news.
    let script = format!("kill -{signal} -{leader}");
    Cmd::new(Path::new("."), "sh", &["-c", &script]).succeeds();
}

/// A shell that kills the group when xtask dies before it dismisses the guard.
struct Guard {
    shell: Child,
}

impl Guard {
    fn over(leader: u32) -> Result<Self, String> {
        let script =
            format!("read -r word || {{ kill -TERM -{leader}; sleep {}; kill -KILL -{leader}; }}", GRACE.as_secs());
        let shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: what kills ours must not kill the guard.
            .process_group(0)
            .spawn()
            .map_err(|e| format!("sh did not start: {e}"))?;
        Ok(Self { shell })
    }

    fn dismiss(mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            // A guard that is already gone needs no word.
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn sh(script: &str) -> Cmd {
        Cmd::new(Path::new("."), "sh", &["-c", script])
    }

    #[test]
    fn a_child_that_ends_in_time_keeps_its_status_and_output() {
        let ended = sh("echo one; echo two; exit 3").bounded(Duration::from_secs(20), Output::Keep).unwrap();
        assert_eq!(ended.stdout, "one\ntwo\n");
        assert_eq!(ended.status.unwrap().code(), Some(3));
        assert!(ended.verdict().is_err());
    }

    #[test]
    fn a_child_that_overruns_is_killed_with_its_whole_group() {
        let file = std::env::temp_dir().join(format!("xtask-group-{}", std::process::id()));
        // Killed at 0.2 s, looked at after the grace of 3 s: an orphan would have written by then.
        let script = format!("(sleep 1; echo alive >{}) & wait", file.display());
        let ended = sh(&script).bounded(Duration::from_millis(200), Output::Show).unwrap();
        assert!(ended.status.is_none());
        assert_eq!(ended.verdict(), Err("out of time, killed".into()));
        assert!(!file.exists(), "the grandchild outlived its group");
    }

    #[test]
    fn a_child_that_says_nothing_for_too_long_is_out_of_time_and_one_that_speaks_is_not() {
        let limits = |script: &str| sh(script).first_word_within(Duration::from_millis(500));
        let mute = limits("sleep 60").bounded(Duration::from_secs(20), Output::Keep).unwrap();
        assert!(mute.status.is_none());
        let spoke = limits("echo word; sleep 1").bounded(Duration::from_secs(20), Output::Keep).unwrap();
        assert_eq!((spoke.status.and_then(|status| status.code()), spoke.stdout.as_str()), (Some(0), "word\n"));
    }

    #[test]
    fn a_group_does_not_outlive_the_xtask_that_started_it() {
        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let mut guard = Guard::over(child.id()).unwrap();
        // What the kernel does to the pipe when xtask dies.
        drop(guard.shell.stdin.take());
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        guard.shell.wait().unwrap();
    }

    #[test]
    fn a_printed_command_can_be_pasted() {
        let cmd = sh("a 'b'").env("FLAGS", "-D warnings");
        assert_eq!(cmd.to_string(), r"FLAGS='-D warnings' sh -c 'a '\''b'\'''");
    }
}
