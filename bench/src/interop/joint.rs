//! `pgmx` sends to `OpenPGM` and to `pgmx` at once, and each loses other packets: both have to get everything.

use super::programs::Role;
use super::scene::Scene;
use super::transfer::faults;
use super::{Loss, PATIENCE, Program};

/// Plays it on three hosts.
pub(super) fn play(scene: &Scene<'_>, peer: Program, loss: Loss) -> Result<String, String> {
    scene.lose(1, loss)?;
    let theirs = scene.listen(1, peer, &[])?;
    let count = scene.talk.count.to_string();
    let ours = scene.listen(2, Program::Pgmx, &["--count", &count, "--faults", &faults(loss)])?;
    let mut sender = scene.begin(0, Program::Pgmx, Role::Send, &[])?;
    let theirs = theirs.exit_beside(Some(&mut sender), scene.at_most());
    let ours = ours.exit_beside(Some(&mut sender), PATIENCE);
    let sent = sender.exit(PATIENCE + PATIENCE);
    theirs?.is_complete(scene.talk.count)?;
    ours?.is_complete(scene.talk.count)?;
    let sent = sent?;
    sent.with(0)?;
    Ok(format!("{} repairs", sent.figure("repairs_sent")?))
}
