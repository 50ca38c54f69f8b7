//! A process on a host, whose words go into files: it is watched through them, asked to end, and gone with its [`Actor`].
//!
//! Used by the scene. Guards: the kernel kills it when the thread that began it is gone, whatever became of that; it has its own process
//! group, so that Ctrl-C on the terminal means us alone.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{GROUP_LISTED, PATIENCE};
use crate::netns::Host;

/// How often a process is looked at: short beside what cells take, long beside what looking costs.
const LOOK: Duration = Duration::from_millis(5);

/// A process; killed when dropped.
#[derive(Debug)]
pub(super) struct Actor {
    name: String,
    child: Child,
    said: PathBuf,
    complained: PathBuf,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Exit {
    name: String,
    status: ExitStatus,
    /// The object that it printed at the end.
    pub(super) report: Value,
    complaint: String,
}

impl Actor {
    /// Begins a program on a host, with a name of its own in this cell, and its words in `logs`.
    pub(super) fn begin(
        name: &str,
        host: &Host,
        program: &Path,
        arguments: &[String],
        logs: &Path,
    ) -> Result<Self, String> {
        let (said, complained) = (logs.join(format!("{name}.out")), logs.join(format!("{name}.err")));
        let file = |path: &Path| File::create(path).map_err(|error| format!("writing {}: {error}", path.display()));
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(file(&said)?).stderr(file(&complained)?);
        command.process_group(0);
        let us = std::process::id() as libc::pid_t;
        let bind = move || {
            // SAFETY: touches no memory; both calls only ask the kernel.
            let is_bound = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 && libc::getppid() == us };
            // Who died between fork and this line will not be noticed by the kernel any more.
            if is_bound { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
        };
        // SAFETY: between fork and exec it calls nothing but `prctl` and `getppid`, and allocates nothing.
        unsafe { command.pre_exec(bind) };
        let line = format!("{command:?}");
        // What can be pasted into a shell stands beside what came of it.
        fs::write(logs.join(format!("{name}.cmd")), format!("{line}\n"))
            .map_err(|error| format!("writing {}: {error}", logs.display()))?;
        let child = host.inside(|| command.spawn()).map_err(|error| format!("{line}: {error}"))?;
        Ok(Self { name: name.into(), child, said, complained })
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|error| format!("{}: {error}", self.name))
    }

    /// What it told people so far.
    fn complaint(&self) -> String {
        fs::read(&self.complained).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default()
    }

    /// The last thing that it told people but progress, for one line.
    fn last_complaint(&self) -> String {
        last_words(&self.complaint())
    }

    /// Waits until something holds, which has to happen while it runs.
    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.ended()?;
            if holds(self) {
                return Ok(());
            }
            if let Some(status) = status {
                return Err(format!("{} ended before {what} ({status}){}", self.name, self.last_complaint()));
            }
            if Instant::now() > end {
                return Err(format!("{}: no {what} within {PATIENCE:?}{}", self.name, self.last_complaint()));
            }
            sleep(LOOK);
        }
    }

    /// Waits until its host is a member of the group.
    pub(super) fn until_member(&mut self) -> Result<(), String> {
        let list = format!("/proc/{}/net/igmp", self.child.id());
        self.until("membership", |_| fs::read_to_string(&list).is_ok_and(|list| list.contains(GROUP_LISTED)))
    }

    /// Waits until the progress of `pgmx` says at least so much about this key.
    pub(super) fn until_progress(&mut self, key: &str, least: u64) -> Result<(), String> {
        self.until(&format!("{key} {least}"), |actor| actor.progress(key).is_some_and(|now| now >= least))
    }

    /// What the progress of `pgmx` says about a key, if it has told any.
    pub(super) fn progress(&self, key: &str) -> Option<u64> {
        let complaint = self.complaint();
        let mut lines = complaint.lines().rev();
        lines.find_map(|line| serde_json::from_str::<Value>(line).ok()?.get(key)?.as_u64())
    }

    /// Sends it a signal.
    pub(super) fn signal(&mut self, signal: i32) -> Result<(), String> {
        if self.ended()?.is_none() {
            // SAFETY: touches no memory; the process is ours and was not waited for.
            unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        }
        Ok(())
    }

    /// Waits until it ends.
    pub(super) fn exit(self, at_most: Duration) -> Result<Exit, String> {
        self.exit_beside(None, at_most)
    }

    /// Waits until it ends, or another one fails, without whom it cannot end well.
    pub(super) fn exit_beside(mut self, mut other: Option<&mut Self>, at_most: Duration) -> Result<Exit, String> {
        let end = Instant::now() + at_most;
        let status = loop {
            if let Some(status) = self.ended()? {
                break status;
            }
            if let Some(other) = other.as_deref_mut()
                && let Some(status) = other.ended()?
                && !status.success()
            {
                return Err(format!("{} ended ({status}){}", other.name, other.last_complaint()));
            }
            if Instant::now() > end {
                return Err(format!("{} has not ended after {at_most:?}{}", self.name, self.last_complaint()));
            }
            sleep(LOOK);
        };
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        let report = said.trim_end().lines().last().and_then(|line| serde_json::from_str(line).ok());
        Ok(Exit {
            name: self.name.clone(),
            status,
            report: report.unwrap_or(Value::Null),
            complaint: self.last_complaint(),
        })
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // One that has ended is not hurt by it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Exit {
    /// A number of its report.
    pub(super) fn figure(&self, key: &str) -> Result<u64, String> {
        self.report.get(key).and_then(Value::as_u64).ok_or_else(|| format!("{}{}", self.how(), self.complaint))
    }

    /// How it ended, for people.
    pub(super) fn how(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("{} ended with status {code}", self.name),
            (None, Some(signal)) => format!("{} was killed by signal {signal}", self.name),
            _ => format!("{} ended", self.name),
        }
    }

    /// That it ended with this status.
    pub(super) fn with(&self, status: i32) -> Result<(), String> {
        if self.status.code() == Some(status) { Ok(()) } else { Err(format!("{}{}", self.how(), self.complaint)) }
    }

    /// That everything came, once and in order: messages that check themselves.
    pub(super) fn is_complete(&self, count: u64) -> Result<(), String> {
        let mut wrong = self.flaws();
        let messages = self.figure("messages")?;
        if messages != count {
            wrong.insert(0, format!("{messages} of {count}"));
        }
        if !wrong.is_empty() {
            return Err(format!("{}: {}{}", self.name, wrong.join(", "), self.complaint));
        }
        self.with(0)
    }

    /// What its report says that should not be.
    pub(super) fn flaws(&self) -> Vec<String> {
        // What a program does not count is null or not there.
        ["lost", "corrupt", "duplicates", "out_of_order", "resets"]
            .iter()
            .filter_map(|key| Some((key, self.report.get(key)?.as_u64()?)))
            .filter(|(_, number)| *number > 0)
            .map(|(key, number)| format!("{} {number}", key.replace('_', " ")))
            .collect()
    }

    /// Its events: what `pgmx` calls `event`, and the peers `what`.
    pub(super) fn events(&self) -> Vec<(String, String)> {
        let word = |event: &Value, key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let read = |event: &Value| {
            let what = word(event, "event");
            (if what.is_empty() { word(event, "what") } else { what }, word(event, "cause"))
        };
        self.report.get("events").and_then(Value::as_array).into_iter().flatten().map(read).collect()
    }
}

/// The last line that is not progress, behind a colon.
fn last_words(complaint: &str) -> String {
    let mut lines = complaint.lines().rev().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('{'));
    line.map_or_else(String::new, |line| format!(": {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32, report: Value) -> Exit {
        Exit { name: "recv".into(), status: ExitStatus::from_raw(code << 8), report, complaint: String::new() }
    }

    #[test]
    fn only_a_report_without_a_flaw_is_complete() {
        let report = |messages: u64, lost: u64| serde_json::json!({"messages": messages, "lost": lost, "corrupt": 0});
        assert_eq!(ended(0, report(9, 0)).is_complete(9), Ok(()));
        assert_eq!(ended(3, report(8, 1)).is_complete(9), Err("recv: 8 of 9, lost 1".into()));
        assert_eq!(ended(3, report(9, 0)).is_complete(9), Err("recv ended with status 3".into()));
        assert_eq!(ended(0, Value::Null).is_complete(9), Err("recv ended with status 0".into()));
    }

    #[test]
    fn progress_is_not_a_complaint() {
        assert_eq!(last_words("{\"messages\":1}\n"), "");
        assert_eq!(last_words("what went wrong\n{\"messages\":1}\n\n"), ": what went wrong");
    }
}
