//! Batches from a publisher to a handler: single messages, each once and in order, whatever the network does.

use super::*;
use crate::link::faults::Faults;
use crate::protocol::{End, Rng};

/// Checks that messages come as [`message`] makes them.
#[derive(Default)]
struct Reading {
    messages: u32,
    in_pieces: u32,
    events: Vec<Event>,
}

impl Handler for Reading {
    fn message(&mut self, message: MessageView<'_>) {
        assert_eq!(message.to_vec(), self::message(self.messages), "message {} after {:?}", self.messages, self.events);
        self.messages += 1;
        self.in_pieces += u32::from(message.as_slice().is_none());
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// Message `n` of a session: mostly small, some as long as a packet, some longer.
fn message(n: u32) -> Vec<u8> {
    let mut rng = Rng::new(u64::from(n) + 1);
    let len = match rng.next_u64() % 100 {
        0..90 => rng.next_u64() % 100,
        90..97 => rng.next_u64() % 1460,
        _ => 1440 + rng.next_u64() % 9_000,
    };
    (0..len).map(|at| (u64::from(n) + at) as u8).collect()
}

/// Publishes so many messages in bursts over a link with these faults at the receiver.
fn converse(messages: u32, faults: &str, seed: u64) -> (Reading, u64) {
    let hub = Hub::new(64);
    let pool = || Pool::anonymous(Layout::standard(2048)).expect("a small mapping");
    let mut sending = Endpoint::new(hub.port(address(1)), pool(), &EndpointConfig::default()).expect("the defaults");
    let link = Faults::new(hub.port(address(2)), &faults.parse().expect("a plan"), Time::ZERO);
    let mut receiving = Endpoint::new(link, pool(), &EndpointConfig::default()).expect("the defaults");
    let mut config = source(7);
    config.window_slots = 1024;
    config.batch = true;
    let (id, mut publisher) = sending.add_source(&config, tsi(1), Time::ZERO, seed).expect("a source");
    receiving.add_receiver(&receiver(7), seed).expect("a receiver");
    let (mut inbox, mut nobody, mut now) = (Inbox::new(Reading::default()), Application::default(), Time::ZERO);
    let mut rng = Rng::new(seed);
    let mut published = 0;
    for _ in 0..2_000_000 {
        now = now.plus(10_000);
        if published < messages {
            for _ in 0..rng.next_u64() % 40 {
                if published < messages && publisher.publish(&message(published)).is_ok() {
                    published += 1;
                }
            }
            if published == messages {
                sending.source_mut(id).expect("it is there").close(now);
            }
        }
        sending.poll(now, &mut nobody).expect("memory never fails");
        receiving.poll(now, inbox.at(now)).expect("memory never fails");
        if matches!(inbox.handler().events.last(), Some(Event::Closed { .. })) {
            break;
        }
    }
    assert_eq!(inbox.cut_batches(), 0);
    let packets = sending.source(id).expect("it is there").stats().odata;
    receiving.shut_down(&mut inbox);
    let census = receiving.pool().census();
    assert_eq!((census.out, census.lent), (0, 0));
    (core::mem::take(inbox.handler_mut()), packets)
}

#[test]
fn small_messages_share_packets_and_arrive_one_by_one() {
    let (reading, packets) = converse(20_000, "", 1);
    assert_eq!(reading.messages, 20_000);
    assert!(reading.in_pieces > 100, "long messages among them");
    assert!(packets < 12_000, "{packets} packets");
    let closed = Event::Closed { tsi: tsi(1), end: End::Finished };
    assert_eq!(reading.events.last(), Some(&closed));
}

#[test]
fn what_is_lost_of_a_batched_session_is_repaired_and_every_message_comes_once_and_in_order() {
    for seed in 1..=3 {
        let (reading, packets) = converse(20_000, "loss=5%,reorder=2%,dup=1%,seed=9", seed);
        assert_eq!(reading.messages, 20_000);
        assert!(packets < 12_000, "{packets} packets");
        let losses = reading.events.iter().filter(|event| matches!(event, Event::Loss { .. })).count();
        assert_eq!(losses, 0);
    }
}

/// An inbox for each.
struct Two([(ReceiverId, Inbox<Reading>); 2]);
impl Sinks for Two {
    type Sink = Inbox<Reading>;
    fn of(&mut self, receiver: ReceiverId) -> &mut Inbox<Reading> {
        &mut self.0.iter_mut().find(|(id, _)| *id == receiver).expect("one of the two").1
    }
}

#[test]
fn several_receivers_of_a_batched_session_and_those_of_its_own_endpoint_get_single_messages() {
    let hub = Hub::new(64);
    let mut both = endpoint(&hub, 1);
    let mut config = source(7);
    config.batch = true;
    let (_, mut publisher) = both.add_source(&config, tsi(1), Time::ZERO, 1).expect("a source");
    let ids = [3, 4].map(|seed| both.add_receiver(&receiver(7), seed).expect("a receiver"));
    let mut inboxes = Two(ids.map(|id| (id, Inbox::new(Reading::default()))));
    let mut now = Time::ZERO;
    for n in 0..200 {
        publisher.publish(&message(n)).expect("room");
        if n % 3 == 0 {
            for _ in 0..10 {
                now = now.plus(10_000);
                both.poll(now, &mut inboxes).expect("memory never fails");
            }
        }
    }
    for _ in 0..1000 {
        now = now.plus(10_000);
        both.poll(now, &mut inboxes).expect("memory never fails");
    }
    for (_, inbox) in &inboxes.0 {
        assert_eq!(inbox.handler().messages, 200);
    }
}
