//! Sources and receivers of one endpoint, over a link that brings nothing back.

use super::*;
use crate::frame::Frame;

#[test]
fn a_source_and_a_receiver_of_one_endpoint_hear_each_other_without_the_link() {
    let hub = Hub::new(64);
    let (mut both, mut other) = (endpoint(&hub, 1), endpoint(&hub, 2));
    let (_, mut publisher) = both.add_source(&source(7), tsi(1), Time::ZERO, 1).expect("a source");
    for endpoint in [&mut both, &mut other] {
        endpoint.add_receiver(&receiver(7), 3).expect("a receiver");
    }
    let (mut home, mut abroad, mut now) = (Application::default(), Application::default(), Time::ZERO);
    for n in 0..200_u32 {
        publisher.publish(&n.to_be_bytes()).expect("room");
        go_on(&mut now, 20, &mut [(&mut both, &mut home), (&mut other, &mut abroad)]);
    }
    let wanted: Vec<_> = (0..200_u32).map(|n| (tsi(1), n.to_be_bytes().to_vec())).collect();
    assert_eq!(home.payloads, wanted);
    assert_eq!(abroad.payloads, wanted);
    assert!(both.stats().local >= 200);
    drop(publisher);
    both.shut_down(&mut home);
    let census = both.pool().census();
    assert_eq!((census.out, census.lent, census.slots), (0, 0, 0));
}

/// Keeps every frame until it is told to let go.
#[derive(Default)]
struct Hoarder {
    frames: Vec<Frame>,
    sqns: Vec<Sqn>,
    events: Vec<Event>,
}

impl Sink for Hoarder {
    fn deliver(&mut self, _: &mut Pool, delivery: Delivery) {
        self.sqns.push(delivery.sqn);
        self.frames.push(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

#[test]
fn a_copy_for_which_there_was_no_frame_is_asked_for_and_repaired_at_home() {
    let hub = Hub::new(64);
    // The window, and 16 frames for everything else.
    let pool = Pool::anonymous(Layout::standard(80)).expect("a small mapping");
    let mut both = Endpoint::new(hub.port(address(1)), pool, &EndpointConfig::default()).expect("the defaults");
    let (id, mut publisher) = both.add_source(&source(7), tsi(1), Time::ZERO, 1).expect("a source");
    both.add_receiver(&receiver(7), 3).expect("a receiver");
    let (mut hoarder, mut now) = (Hoarder::default(), Time::ZERO);
    let first = publisher.next_sqn();
    for _ in 0..40 {
        publisher.publish(b"x").expect("room");
        now = now.plus(10_000);
        both.poll(now, &mut hoarder).expect("memory never fails");
    }
    for _ in 0..2000 {
        now = now.plus(10_000);
        hoarder.frames.drain(..).for_each(|frame| both.pool_mut().put(frame));
        both.poll(now, &mut hoarder).expect("memory never fails");
    }
    assert!(both.stats().uncopied > 0, "it held all frames for a while");
    assert!(both.source(id).expect("it is there").stats().rdata > 0);
    assert_eq!(hoarder.sqns, (0..40).map(|n| first.plus(n)).collect::<Vec<_>>());
    assert!(matches!(hoarder.events[..], [Event::Opened { .. }]), "{:?}", hoarder.events);
}
