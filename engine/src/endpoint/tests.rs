//! The endpoint's own part: who gets which packet, and whether every frame comes home.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::frame::{Layout, Outgoing, To};
use crate::link::Channel;
use crate::link::memory::{Hub, MemoryLink};
use crate::protocol::config::Profile;
use crate::protocol::receiver::ReceiverConfig;
use crate::protocol::source::SourceConfig;
use crate::protocol::{Delivery, Event};
use crate::wire::build::{self, NakOptions, NakType, Session};
use crate::wire::{Gsi, Nak, Sqn};

const GROUP: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(239, 192, 0, 1));

fn address(host: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, host])
}

fn tsi(n: u8) -> Tsi {
    Tsi::new(Gsi::new([n; 6]), 1000)
}

#[derive(Default)]
struct Application {
    payloads: Vec<(Tsi, Vec<u8>)>,
    events: Vec<Event>,
}

impl Sink for Application {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        self.payloads.push((delivery.tsi, pool.bytes(&delivery.frame).to_vec()));
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

fn endpoint(hub: &Hub, host: u8) -> Endpoint<MemoryLink> {
    let pool = Pool::anonymous(Layout::standard(512)).expect("a small mapping");
    Endpoint::new(hub.port(address(host)), pool, &EndpointConfig::default()).expect("the defaults")
}

fn source(data_port: u16) -> SourceConfig {
    let mut config = SourceConfig::profile(Profile::LowLatency, GROUP, data_port);
    config.window_slots = 64;
    config
}

fn receiver(data_port: u16) -> ReceiverConfig {
    ReceiverConfig::profile(Profile::LowLatency, GROUP, data_port)
}

/// Polls all in turn, 10 µs apart.
fn go_on(now: &mut Time, turns: u32, worlds: &mut [(&mut Endpoint<MemoryLink>, &mut Application)]) {
    for _ in 0..turns {
        *now = now.plus(10_000);
        for (endpoint, application) in &mut *worlds {
            endpoint.poll(*now, *application).expect("memory never fails");
        }
    }
}

#[test]
fn every_receiver_of_a_group_and_port_gets_every_packet_and_no_other_does() {
    let hub = Hub::new(64);
    let (mut sending, mut receiving) = (endpoint(&hub, 1), endpoint(&hub, 2));
    let (_, mut one) = sending.add_source(&source(7), tsi(1), Time::ZERO, 1).expect("a source");
    let (_, mut two) = sending.add_source(&source(8), tsi(2), Time::ZERO, 2).expect("another");
    for data_port in [7, 7, 8] {
        receiving.add_receiver(&receiver(data_port), 3).expect("a receiver");
    }
    let (mut nobody, mut application, mut now) = (Application::default(), Application::default(), Time::ZERO);
    go_on(&mut now, 100, &mut [(&mut sending, &mut nobody), (&mut receiving, &mut application)]);
    one.publish(b"seven").expect("room");
    two.publish(b"eight").expect("room");
    go_on(&mut now, 100, &mut [(&mut sending, &mut nobody), (&mut receiving, &mut application)]);
    application.payloads.sort();
    let seven = (tsi(1), b"seven".to_vec());
    assert_eq!(application.payloads, [seven.clone(), seven, (tsi(2), b"eight".to_vec())]);
    assert_eq!((receiving.stats().uncopied, receiving.stats().strangers), (0, 0));
    drop((one, two));
    for endpoint in [&mut sending, &mut receiving] {
        endpoint.shut_down(&mut application);
        let census = endpoint.pool().census();
        assert_eq!((census.out, census.lent, census.slots), (0, 0, 0));
    }
}

#[test]
fn a_nak_finds_its_source_among_several_and_a_stranger_is_counted() {
    let hub = Hub::new(64);
    let mut sending = endpoint(&hub, 1);
    let (one, mut publisher) = sending.add_source(&source(7), tsi(1), Time::ZERO, 1).expect("a source");
    let (two, _quiet) = sending.add_source(&source(7), tsi(2), Time::ZERO, 2).expect("another");
    let (mut nobody, mut now) = (Application::default(), Time::ZERO);
    let sqn = publisher.publish(b"wanted").expect("room");
    go_on(&mut now, 100, &mut [(&mut sending, &mut nobody)]);
    let mut asking = hub.port(address(9));
    let mut pool = Pool::anonymous(Layout::standard(4)).expect("a small mapping");
    let mut batch = TxBatch::new(1);
    let mut ask = |session: Tsi, sqn: Sqn| {
        let mut frame = pool.take().expect("a frame");
        frame.set_range(300, 200);
        let session = Session { tsi: session, data_port: 7 };
        let nak = Nak { sqn, source: address(1), group: GROUP };
        let buffer = pool.bytes_mut(&mut frame);
        let len =
            build::nak(buffer, NakType::Nak, &session, false, &nak, &[], &NakOptions::default()).expect("it fits");
        frame.set_range(300, len as u16);
        batch.push(Outgoing { frame, to: To::Unicast(address(1)), router_alert: false });
        asking.send(now, &mut pool, &mut batch).expect("memory never fails");
    };
    ask(tsi(1), sqn);
    ask(tsi(3), sqn);
    go_on(&mut now, 100, &mut [(&mut sending, &mut nobody)]);
    assert_eq!(sending.source(one).expect("it is there").stats().rdata, 1);
    assert_eq!(sending.source(two).expect("it is there").stats().naks, 0);
    assert_eq!(sending.stats().strangers, 1);
}

#[test]
fn a_session_can_run_once_only_and_its_frames_come_home_when_its_publisher_goes() {
    let hub = Hub::new(64);
    let mut sending = endpoint(&hub, 1);
    let (id, mut publisher) = sending.add_source(&source(7), tsi(1), Time::ZERO, 1).expect("a source");
    let Err(AddError::Config(error)) = sending.add_source(&source(7), tsi(1), Time::ZERO, 1) else {
        panic!("the same TSI twice");
    };
    assert_eq!(error.field, "tsi");
    publisher.publish(b"never read").expect("room");
    sending.remove_source(id);
    assert!(sending.is_retiring() && sending.source(id).is_none());
    drop(publisher);
    let (mut nobody, mut now) = (Application::default(), Time::ZERO);
    go_on(&mut now, 1, &mut [(&mut sending, &mut nobody)]);
    assert!(!sending.is_retiring());
    assert_eq!(sending.pool().census().slots, 0);
    assert_eq!(sending.deadline(), None);
}

#[test]
fn what_breaks_a_rule_of_the_wire_is_counted_and_its_frame_goes_back() {
    let hub = Hub::new(64);
    let (mut receiving, mut broken) = (endpoint(&hub, 2), hub.port(address(9)));
    receiving.add_receiver(&receiver(7), 3).expect("a receiver");
    let mut pool = Pool::anonymous(Layout::standard(4)).expect("a small mapping");
    let mut batch = TxBatch::new(1);
    for len in [0, 3, 40] {
        let mut frame = pool.take().expect("a frame");
        frame.set_range(300, len);
        pool.bytes_mut(&mut frame).fill(0xff);
        batch.push(Outgoing { frame, to: To::Group(GROUP), router_alert: false });
        broken.send(Time::ZERO, &mut pool, &mut batch).expect("memory never fails");
    }
    let (mut application, mut now) = (Application::default(), Time::ZERO);
    go_on(&mut now, 1, &mut [(&mut receiving, &mut application)]);
    assert_eq!((receiving.stats().received, receiving.stats().rejects.total()), (3, 3));
    assert_eq!(receiving.pool().census().out, 0);
    assert!(application.events.is_empty());
}

#[test]
fn batches_that_cannot_hold_what_belongs_together_are_refused() {
    let refused = |config: EndpointConfig| {
        let pool = Pool::anonymous(Layout::standard(4)).expect("a small mapping");
        Endpoint::new(Hub::new(4).port(address(1)), pool, &config).err().expect("refused").to_string()
    };
    let none = refused(EndpointConfig { receive_batch: 0, ..EndpointConfig::default() });
    assert_eq!(none, "receive_batch = 0 refused: 1 to 4096 packets");
    let one = refused(EndpointConfig { transmit_batch: 1, ..EndpointConfig::default() });
    assert_eq!(one, "transmit_batch = 1 refused: 2 to 4096 packets");
}

/// The smallest batch that is allowed still lets every packet of a receiver out.
#[test]
fn a_request_and_its_copy_leave_in_the_smallest_batch() {
    let hub = Hub::new(64);
    let mut sending = endpoint(&hub, 1);
    let pool = Pool::anonymous(Layout::standard(512)).expect("a small mapping");
    let smallest = EndpointConfig { transmit_batch: 2, ..EndpointConfig::default() };
    let mut receiving = Endpoint::new(hub.port(address(2)), pool, &smallest).expect("two packets");
    let (_, mut publisher) = sending.add_source(&source(7), tsi(1), Time::ZERO, 1).expect("a source");
    let (mut nobody, mut application, mut now) = (Application::default(), Application::default(), Time::ZERO);
    // The SPMs before the first data are over when the receiver comes.
    go_on(&mut now, 500, &mut [(&mut sending, &mut nobody)]);
    let mut config = receiver(7);
    config.nak_copy = crate::protocol::receiver::NakCopy::Always;
    let id = receiving.add_receiver(&config, 3).expect("a receiver");
    publisher.publish(b"asks for an SPM").expect("room");
    go_on(&mut now, 3, &mut [(&mut sending, &mut nobody), (&mut receiving, &mut application)]);
    // Nothing more comes from the source: it has to be asked.
    go_on(&mut now, 1_000, &mut [(&mut receiving, &mut application)]);
    let stats = receiving.receiver(id).expect("it is there").stats();
    assert_eq!((stats.all.spmrs_sent, application.payloads.len()), (1, 1));
    assert!(receiving.deadline().is_some_and(|deadline| deadline > now), "nothing is left to be sent");
}

/// A link that can join no group.
struct Deaf(MemoryLink);

impl Link for Deaf {
    fn path(&self) -> PathFacts {
        self.0.path()
    }

    fn join(&mut self, channel: Channel, _: &[IpAddr]) -> Result<(), LinkError> {
        let error = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        Err(LinkError::System { attempt: format!("join {channel}"), error })
    }

    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        self.0.leave(channel)
    }

    fn listen(&mut self, port: u16) -> Result<(), LinkError> {
        self.0.listen(port)
    }

    fn unlisten(&mut self, port: u16) -> Result<(), LinkError> {
        self.0.unlisten(port)
    }

    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        self.0.receive(now, pool, into)
    }

    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        self.0.send(now, pool, from)
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        self.0.shut_down(pool);
    }
}

#[test]
fn a_source_whose_group_cannot_be_joined_leaves_no_frame_behind() {
    let pool = Pool::anonymous(Layout::standard(512)).expect("a small mapping");
    let link = Deaf(Hub::new(4).port(address(1)));
    let mut endpoint = Endpoint::new(link, pool, &EndpointConfig::default()).expect("the defaults");
    for _ in 0..20 {
        let error = endpoint.add_source(&source(7), tsi(1), Time::ZERO, 1).err();
        assert!(matches!(error, Some(AddError::Link(_))), "{error:?}");
    }
    assert!(!endpoint.is_retiring());
    let census = endpoint.pool().census();
    assert_eq!((census.slots, census.free), (0, census.total));
    assert!(matches!(endpoint.add_receiver(&receiver(7), 1), Err(AddError::Link(_))));
}

#[test]
fn what_both_ends_allow_by_default_gets_through_an_endpoint_of_defaults() {
    let hub = Hub::new(1024);
    let (mut sending, mut receiving) = (endpoint(&hub, 1), endpoint(&hub, 2));
    let mut config = source(7);
    config.window_slots = 256;
    let (_, mut publisher) = sending.add_source(&config, tsi(1), Time::ZERO, 1).expect("a source");
    receiving.add_receiver(&receiver(7), 3).expect("a receiver");
    let (mut nobody, mut application, mut now) = (Application::default(), Application::default(), Time::ZERO);
    go_on(&mut now, 100, &mut [(&mut sending, &mut nobody), (&mut receiving, &mut application)]);
    // Larger than 64 KiB, and of more than 128 packets.
    publisher.publish(&vec![7; 200_000]).expect("room");
    go_on(&mut now, 1_000, &mut [(&mut sending, &mut nobody), (&mut receiving, &mut application)]);
    assert_eq!(application.payloads.iter().map(|(_, payload)| payload.len()).sum::<usize>(), 200_000);
    assert_eq!(receiving.stats().rejects.total(), 0);
}

#[test]
fn a_receiver_that_allows_more_than_its_endpoint_lets_through_is_refused() {
    let pool = Pool::anonymous(Layout::standard(4)).expect("a small mapping");
    let limits = Limits { max_apdu: 65_536, max_fragments: 128 };
    let narrow = EndpointConfig { limits, ..EndpointConfig::default() };
    let mut endpoint = Endpoint::new(Hub::new(4).port(address(1)), pool, &narrow).expect("narrow limits");
    let error = endpoint.add_receiver(&receiver(7), 1).err().map(|error| error.to_string());
    let text = "max_apdu = 16777216 refused: at most 65536, which the endpoint's limits let through";
    assert_eq!(error.as_deref(), Some(text));
    endpoint.add_receiver(&ReceiverConfig { max_apdu: 65_536, ..receiver(7) }, 1).expect("no more than that");
}

/// A link that writes down what it is asked to hear.
struct Secretary {
    inner: MemoryLink,
    notes: Rc<RefCell<Vec<String>>>,
}

impl Link for Secretary {
    fn path(&self) -> PathFacts {
        self.inner.path()
    }

    fn join(&mut self, channel: Channel, sources: &[IpAddr]) -> Result<(), LinkError> {
        self.notes.borrow_mut().push(format!("join {} {sources:?}", channel.data_port));
        Ok(())
    }

    fn leave(&mut self, channel: Channel) -> Result<(), LinkError> {
        self.notes.borrow_mut().push(format!("leave {}", channel.data_port));
        Ok(())
    }

    fn listen(&mut self, port: u16) -> Result<(), LinkError> {
        self.notes.borrow_mut().push(format!("listen {port}"));
        Ok(())
    }

    fn unlisten(&mut self, port: u16) -> Result<(), LinkError> {
        self.notes.borrow_mut().push(format!("unlisten {port}"));
        Ok(())
    }

    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        self.inner.receive(now, pool, into)
    }

    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        self.inner.send(now, pool, from)
    }

    fn shut_down(&mut self, pool: &mut Pool) {
        self.inner.shut_down(pool);
    }
}

#[test]
fn a_channel_is_heard_from_all_whom_any_of_its_receivers_names_and_from_everybody_if_one_names_none() {
    let notes = Rc::new(RefCell::new(Vec::new()));
    let link = Secretary { inner: Hub::new(4).port(address(1)), notes: notes.clone() };
    let pool = Pool::anonymous(Layout::standard(512)).expect("a small mapping");
    let mut endpoint = Endpoint::new(link, pool, &EndpointConfig::default()).expect("the defaults");
    let add = |endpoint: &mut Endpoint<Secretary>, sources: &[u8]| {
        let mut config = receiver(7);
        config.sources = sources.iter().map(|&host| address(host)).collect();
        endpoint.add_receiver(&config, 1).expect("a receiver")
    };
    let ids = [add(&mut endpoint, &[9, 8]), add(&mut endpoint, &[8, 5]), add(&mut endpoint, &[])];
    for id in [ids[2], ids[0], ids[1]] {
        endpoint.remove_receiver(id, &mut Application::default());
    }
    let expected = [
        "listen 7",
        "join 7 [10.0.0.8, 10.0.0.9]",
        "listen 7",
        "join 7 [10.0.0.5, 10.0.0.8, 10.0.0.9]",
        "listen 7",
        "join 7 []",
        "join 7 [10.0.0.5, 10.0.0.8, 10.0.0.9]",
        "join 7 [10.0.0.5, 10.0.0.8]",
        "leave 7",
        "unlisten 7",
    ];
    assert_eq!(*notes.borrow(), expected);
}

mod home;
mod records;
