//! How sessions end: FIN is understood by each side; one whose source was killed expires, and its successor is heard at once.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::programs::Role;
use super::scene::Scene;
use super::{PATIENCE, Program};

/// How soon the messages of a source that came back have to come, counted from when it was begun.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A source that is done says so. `pgmx` ends by that alone; `OpenPGM` tells nobody, and must not take it amiss.
pub(super) fn finished(scene: &Scene<'_>, from: Program, to: Program) -> Result<String, String> {
    let stay = ["--linger", "2500"];
    let receiver = scene.listen(1, to, if to == Program::Pgmx { &[] } else { &stay })?;
    let sender = scene.begin(0, from, Role::Send, if from == Program::Pgmx { &[] } else { &["--linger", "300"] })?;
    let sent = sender.exit(scene.at_most());
    let received = receiver.exit(PATIENCE)?;
    sent?.with(0)?;
    received.is_complete(scene.talk.count)?;
    let events = received.events();
    if to == Program::Pgmx && !events.iter().any(|(what, cause)| what == "closed" && cause == "Finished") {
        return Err(format!("nobody told of the end: {events:?}"));
    }
    Ok(String::new())
}

/// A source is killed and begun again: another session, which is heard at once, while the old one waits for its expiry.
pub(super) fn comes_back(scene: &Scene<'_>, from: Program) -> Result<String, String> {
    // The profile with the shortest expiry: ten seconds.
    let mut receiver = scene.listen(1, Program::Pgmx, &["--profile", "low-latency"])?;
    let mut first = scene.begin(0, from, Role::Send, &[])?;
    receiver.until_progress("messages", 100)?;
    first.signal(libc::SIGKILL)?;
    let _ = first.exit(PATIENCE)?;
    // What was on its way arrives.
    sleep(Duration::from_millis(200));
    let before = receiver.progress("messages").unwrap_or_default();
    let begun = Instant::now();
    let mut second = scene.begin(0, from, Role::Send, &["--linger", "300"])?;
    receiver.until_progress("messages", before + 1)?;
    let took = begun.elapsed();
    second.signal(libc::SIGTERM)?;
    let _ = second.exit(PATIENCE)?;
    let received = receiver.exit(Duration::from_secs(40))?;
    let closed: Vec<String> =
        received.events().into_iter().filter(|(what, _)| what == "closed").map(|(_, cause)| cause).collect();
    let flaws = received.flaws();
    if !flaws.is_empty() {
        return Err(format!("of what came: {}", flaws.join(", ")));
    }
    if received.figure("sessions")? != 2 {
        return Err(format!("{} sessions heard, not 2", received.figure("sessions")?));
    }
    for cause in ["Finished", "Expired"] {
        if !closed.iter().any(|closed| closed == cause) {
            return Err(format!("no session ended as {cause}: {closed:?}"));
        }
    }
    if took > AT_ONCE {
        return Err(format!("heard after {:.2} s", took.as_secs_f64()));
    }
    Ok(format!("heard after {:.2} s", took.as_secs_f64()))
}
