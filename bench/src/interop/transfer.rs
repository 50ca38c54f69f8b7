//! One sends, one receives, and the receiver never sees some of the packets: everything has to come, once and in order.

use super::actor::Exit;
use super::programs::Role;
use super::scene::Scene;
use super::{Loss, PATIENCE, Program};

/// How long a peer goes on repairing after its last message; it is asked to end when nobody needs it any more.
const LINGER: [&str; 2] = ["--linger", "120000"];

/// The faults of `pgmx` that lose so many packets; the seed is any.
pub(super) fn faults(loss: Loss) -> String {
    format!("loss={}%,seed=7", f64::from(loss.0) / 100.0)
}

/// Plays it; `from` is on the first host.
pub(super) fn play(scene: &Scene<'_>, from: Program, to: Program, loss: Loss) -> Result<String, String> {
    let count = scene.talk.count.to_string();
    let receiver = if to == Program::Pgmx {
        scene.listen(1, to, &["--count", &count, "--faults", &faults(loss)])?
    } else {
        // The peers have no faults of their own; packets are kept from their interface.
        scene.lose(1, loss)?;
        scene.listen(1, to, &[])?
    };
    let mut sender = scene.begin(0, from, Role::Send, if from == Program::Pgmx { &[] } else { &LINGER })?;
    let received = receiver.exit_beside(Some(&mut sender), scene.at_most());
    if from != Program::Pgmx {
        // It repairs for as long as somebody may ask: nobody does any more.
        sender.signal(libc::SIGTERM)?;
    }
    let sent = sender.exit(PATIENCE + PATIENCE);
    let received = received?;
    received.is_complete(scene.talk.count).map_err(|why| with_sender(why, sent.as_ref().ok()))?;
    let sent = sent?;
    sent.with(0)?;
    Ok(notes(&sent, &received))
}

/// What the sender has to say explains what the receiver misses.
fn with_sender(why: String, sent: Option<&Exit>) -> String {
    match sent.map(|sent| sent.with(0)) {
        Some(Err(told)) => format!("{why}; {told}"),
        _ => why,
    }
}

/// What was repaired, as far as `pgmx` knows.
fn notes(sent: &Exit, received: &Exit) -> String {
    let repairs = sent.figure("repairs_sent").or_else(|_| received.figure("repairs_received"));
    match repairs {
        Ok(0) | Err(_) => String::new(),
        Ok(repairs) => format!("{repairs} repairs"),
    }
}
