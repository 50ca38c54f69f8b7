//! Who comes when the session has long begun: gets everything from some message on, and nothing is called lost.

use std::thread::sleep;
use std::time::Duration;

use super::actor::Exit;
use super::programs::Role;
use super::scene::Scene;
use super::{PATIENCE, Program};

/// What is sent before the receiver comes, by those who do not say how far they are.
const BEFORE: Duration = Duration::from_millis(500);
/// Messages after which a receiver is believed.
const ENOUGH: u64 = 200;

/// Plays it; `from` is on the first host.
pub(super) fn play(scene: &Scene<'_>, from: Program, to: Program) -> Result<String, String> {
    let count = scene.talk.count;
    if from == Program::Pgmx {
        let mut sender = scene.begin(0, from, Role::Send, &[])?;
        sender.until_progress("messages", ENOUGH)?;
        let late = scene.listen(1, to, &["--late"])?.exit(scene.at_most());
        sender.exit(PATIENCE + PATIENCE)?.with(0)?;
        let late = late?;
        let messages = messages(&late)?;
        let first = late.figure("first_number")?;
        if first == 0 || first + messages != count {
            return Err(format!("{messages} from number {first} on, of {count}"));
        }
        return Ok(format!("from number {first} on"));
    }
    let mut sender = scene.begin(0, from, Role::Send, &["--linger", "500"])?;
    sleep(BEFORE);
    // It ends with the session, and takes no history: peers have none to give.
    let mut late = scene.listen(1, to, &[])?;
    late.until_progress("messages", ENOUGH)?;
    sender.signal(libc::SIGTERM)?;
    let sent = sender.exit(PATIENCE)?;
    sent.with(0)?;
    let (messages, sent) = (messages(&late.exit(PATIENCE)?)?, sent.figure("messages")?);
    if messages >= sent {
        return Err(format!("{messages} of {sent}: it was not late"));
    }
    Ok(format!("the last {messages} of {sent}"))
}

/// What a late receiver got, if that has no flaw.
fn messages(late: &Exit) -> Result<u64, String> {
    late.with(0)?;
    match late.flaws() {
        flaws if flaws.is_empty() => late.figure("messages"),
        flaws => Err(format!("of what came: {}", flaws.join(", "))),
    }
}
