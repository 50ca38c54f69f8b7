//! Who comes when the session has long begun: gets everything from some message on, and nothing is called lost.

use std::thread::sleep;
use std::time::Duration;

use super::programs::Role;
use super::scene::Scene;
use super::{PATIENCE, Program};

/// What is sent before the receiver comes.
const BEFORE: Duration = Duration::from_millis(700);

/// Plays it; `from` is on the first host.
pub(super) fn play(scene: &Scene<'_>, from: Program, to: Program) -> Result<String, String> {
    let sender = scene.begin(0, from, Role::Send, if from == Program::Pgmx { &[] } else { &["--linger", "500"] })?;
    sleep(BEFORE);
    // A late `pgmx` ends with the session. It takes no history: peers have none to give.
    let late = scene.listen(1, to, if to == Program::Pgmx { &[] } else { &["--late"] })?;
    let received = late.exit(scene.at_most());
    let sent = sender.exit(PATIENCE + PATIENCE)?;
    sent.with(0)?;
    let received = received?;
    received.with(0)?;
    let (flaws, messages, count) = (received.flaws(), received.figure("messages")?, scene.talk.count);
    if !flaws.is_empty() {
        return Err(format!("of what came: {}", flaws.join(", ")));
    }
    if messages == 0 || messages >= count {
        return Err(format!("{messages} of {count}: it was not late, or heard nothing"));
    }
    if to != Program::Pgmx {
        let first = received.figure("first_number")?;
        if first + messages != count {
            return Err(format!("{messages} from number {first} on, of {count}"));
        }
    }
    Ok(format!("the last {messages} of {count}"))
}
