//! What is logged when a link is opened. The only test of its process: whether something is logged at all is decided once for all
//! threads, and one that listens to nothing may decide it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use pgmx::link::Encapsulation;
use pgmx::link::Link;
use pgmx::link::auto::{LinkConfig, Way, open};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

struct Lines {
    target: &'static str,
    lines: Arc<Mutex<Vec<String>>>,
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == self.target && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.lines.lock().expect("nobody panics with it").push(message.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The lines that `work` logs for this target, at `info` and above.
fn logged(target: &'static str, work: impl FnOnce()) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::with_default(Lines { target, lines: lines.clone() }, work);
    let lines = lines.lock().expect("nobody panicked with it");
    lines.clone()
}

#[test]
fn the_way_that_was_taken_is_logged_once_with_each_refusal() {
    let mut path = None;
    let lines = logged("pgmx::link", || {
        let config = LinkConfig::new("lo").encapsulation(Encapsulation::one_port(57_114));
        let mut opened = open(&config).expect("UDP sockets");
        opened.link.shut_down(&mut opened.pool);
        path = Some(opened.path);
    });
    let path = path.expect("a way");
    assert_eq!(path.way, Way::Udp);
    assert_eq!(lines, [path.to_string()]);
    assert!(lines[0].starts_with("lo: UDP sockets") && lines[0].contains("; xdp refused: loopback"), "{lines:?}");
    assert_eq!(lines[0].lines().count(), 1);
}
