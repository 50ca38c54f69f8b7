//! What all these tests begin with: engines on loopback, sessions that are soon over, messages that say which they are.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use pgmx::link::auto::LinkConfig;
use pgmx::protocol::Event;
use pgmx::protocol::config::Profile;
use pgmx::protocol::source::{Linger, SourceConfig};
use pgmx::{Encapsulation, Ended, Engine, EngineBuilder, Idle, Message, Received, Subscriber, SubscriberConfig};

/// What nothing takes, however loaded the machine is.
pub(super) const LONG: Duration = Duration::from_secs(60);
pub(super) const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 192, 77, 1));
pub(super) const PORT: u16 = 7500;

/// An engine on loopback whose packets nobody else uses the port of.
pub(super) fn on_loopback(port: u16) -> EngineBuilder {
    let lo =
        Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(port)).profile(Profile::LowLatency);
    lo.frames(4096).idle(Idle::Block).grace(Duration::ZERO)
}

/// A session whose packets are as long as those of a LAN, and whose end is soon over.
pub(super) fn session() -> SourceConfig {
    let mut config = SourceConfig::profile(Profile::LowLatency, GROUP, PORT);
    config.window_slots = 256;
    config.tpdu_max = Some(1400);
    config.linger = Linger::Quiet { quiet: Duration::from_millis(20), at_most: Duration::from_millis(100) };
    config
}

pub(super) fn publisher(engine: &Engine) -> pgmx::Publisher {
    engine.publisher(&session().into()).expect("a publisher")
}

pub(super) fn subscriber(engine: &Engine) -> Subscriber {
    engine.subscriber(&SubscriberConfig::new(GROUP, PORT)).expect("a subscriber")
}

/// The next message, whatever news come before it.
pub(super) fn next(subscriber: &mut Subscriber) -> Message {
    loop {
        match subscriber.recv_timeout(LONG) {
            Ok(Some(Received::Message(message))) => return message,
            Ok(Some(Received::Event(_, event))) => assert!(!matches!(event, Event::Loss { .. }), "{event:?}"),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn number(message: &Message) -> u32 {
    u32::from_be_bytes(message.to_vec()[..4].try_into().expect("four octets"))
}

/// A message of this length that says its number and cannot be taken for another one.
pub(super) fn patterned(n: u32, len: usize) -> Vec<u8> {
    let mut message: Vec<u8> = (0..len).map(|at| (at as u32).wrapping_mul(31).wrapping_add(n) as u8).collect();
    message[..4].copy_from_slice(&n.to_be_bytes());
    message
}

pub(super) fn all_frames_are_home(ended: &[Ended]) {
    for Ended { frames, failure, .. } in ended {
        let frames = frames.expect("no panic");
        assert_eq!((frames.free, failure.as_deref()), (frames.total, None), "{frames:?}");
    }
}

/// An engine that hears another one on the same port: unicast goes to one socket of the host, the publisher's.
pub(super) fn hearing(port: u16) -> Engine {
    let mut link = LinkConfig::new("lo").encapsulation(Encapsulation::one_port(port));
    (link.hear_unicast, link.frames) = (false, Some(4096));
    Engine::builder().link(link).profile(Profile::LowLatency).idle(Idle::Block).build().expect("loopback")
}
