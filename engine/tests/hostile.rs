//! What a hostile neighbour sends costs bounded time and memory, and legitimate sessions do not notice.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use pgmx::endpoint::{Endpoint, EndpointConfig, ReceiverId, SourceId};
use pgmx::frame::{Layout, Outgoing, Pool, RxBatch, To, TxBatch};
use pgmx::link::memory::{Hub, MemoryLink};
use pgmx::link::{Channel, Link};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::{Publisher, Rate, SourceConfig};
use pgmx::protocol::{Delivery, Event, Rng, Sink};
use pgmx::time::Time;
use pgmx::wire::build::{self, NakOptions, NakType, Session, SpmOptions};
use pgmx::wire::{Gsi, Kind, Limits, Nak, Spm, Sqn, Tsi, parse};

const GROUP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(239, 192, 0, 1));
const PORT: u16 = 7500;

#[derive(Default)]
struct Application {
    tsi: Option<Tsi>,
    /// Messages of our session, in order from 0 on.
    delivered: u64,
    lost: u64,
    wrong: u64,
    foreign: u64,
}

impl Sink for Application {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        if Some(delivery.tsi) == self.tsi {
            self.wrong += u64::from(pool.bytes(&delivery.frame) != self.delivered.to_be_bytes());
            self.delivered += 1;
        } else {
            self.foreign += 1;
        }
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        if let Event::Loss { tsi, .. } = event {
            self.lost += u64::from(Some(tsi) == self.tsi);
        }
    }
}

/// Somebody with a socket.
struct Attacker {
    link: MemoryLink,
    pool: Pool,
    batch: TxBatch,
}

impl Attacker {
    fn send(&mut self, to: To, write: impl FnOnce(&mut [u8]) -> usize) {
        let mut frame = self.pool.take().expect("frames come back at once");
        frame.set_range(300, 1400);
        let len = write(self.pool.bytes_mut(&mut frame));
        frame.set_range(300, len as u16);
        self.batch.push(Outgoing { frame, to, router_alert: false });
        self.link.send(Time::ZERO, &mut self.pool, &mut self.batch).expect("memory never fails");
    }

    fn received(&mut self) -> Vec<Vec<u8>> {
        let mut batch = RxBatch::new(64);
        let mut packets = Vec::new();
        while self.link.receive(Time::ZERO, &mut self.pool, &mut batch).expect("memory never fails") > 0 {
            while let Some(packet) = batch.pop() {
                packets.push(self.pool.bytes(&packet.frame).to_vec());
                self.pool.put(packet.frame);
            }
        }
        packets
    }
}

struct Scene {
    sending: Endpoint<MemoryLink>,
    receiving: Endpoint<MemoryLink>,
    source: SourceId,
    receiver: ReceiverId,
    publisher: Publisher,
    application: Application,
    attacker: Attacker,
    now: Time,
    published: u64,
    begun: Instant,
}

fn address(host: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, host])
}

impl Scene {
    fn new(shape: impl FnOnce(&mut SourceConfig)) -> Self {
        let hub = Hub::new(4096);
        let endpoint = |host| {
            let pool = Pool::anonymous(Layout::standard(16_384)).expect("a mapping");
            Endpoint::new(hub.port(address(host)), pool, &EndpointConfig::default()).expect("the defaults")
        };
        let (mut sending, mut receiving) = (endpoint(1), endpoint(2));
        let mut config = SourceConfig::profile(Profile::LowLatency, GROUP, PORT);
        config.window_slots = 4096;
        shape(&mut config);
        let tsi = Tsi::new(Gsi::new([1; 6]), 9000);
        let (source, publisher) = sending.add_source(&config, tsi, Time::ZERO, 1).expect("a good source");
        let config = ReceiverConfig::profile(Profile::LowLatency, GROUP, PORT);
        let receiver = receiving.add_receiver(&config, 2).expect("a good receiver");
        let mut link = hub.port(address(66));
        link.join(Channel { group: GROUP, data_port: 7500 }, &[]).expect("memory never fails");
        let attacker =
            Attacker { link, pool: Pool::anonymous(Layout::standard(128)).expect("a mapping"), batch: TxBatch::new(1) };
        let application = Application { tsi: Some(tsi), ..Application::default() };
        let mut scene = Self {
            sending,
            receiving,
            source,
            receiver,
            publisher,
            application,
            attacker,
            now: Time::ZERO,
            published: 0,
            begun: Instant::now(),
        };
        scene.go_on(1_000);
        scene.publish(10);
        scene.go_on(1_000);
        assert_eq!(scene.application.delivered, 10);
        scene
    }

    /// So many turns of 10 µs.
    fn go_on(&mut self, turns: u32) {
        for _ in 0..turns {
            self.now = self.now.plus(10_000);
            self.sending.poll(self.now, &mut Application::default()).expect("memory never fails");
            self.receiving.poll(self.now, &mut self.application).expect("memory never fails");
        }
    }

    fn publish(&mut self, messages: u64) {
        for _ in 0..messages {
            if self.publisher.publish(&self.published.to_be_bytes()).is_ok() {
                self.published += 1;
            }
        }
    }

    fn assert_unharmed(&self) {
        let Application { delivered, lost, wrong, .. } = self.application;
        assert_eq!((delivered, lost, wrong), (self.published, 0, 0));
        // Generous: the machine may be busy. What is not bounded takes hours.
        assert!(self.begun.elapsed() < Duration::from_secs(60), "took {:?}", self.begun.elapsed());
        for endpoint in [&self.sending, &self.receiving] {
            let census = endpoint.pool().census();
            assert!(census.adds_up() && census.out < 8_192, "{census:?}");
        }
    }
}

/// conformance 158
#[test]
fn a_gap_of_two_thousand_million_packets_costs_nothing_and_harms_nobody() {
    let mut scene = Scene::new(|_| {});
    let session = Session { tsi: Tsi::new(Gsi::new([6; 6]), 66), data_port: PORT };
    let spm = |sqn: u32, trail: u32, lead: u32| Spm {
        sqn: Sqn::new(sqn),
        trail: Sqn::new(trail),
        lead: Sqn::new(lead),
        path: address(66),
    };
    for (n, (trail, lead)) in
        [(1, 0), (1, 0x7fff_ffff), (0x4000_0000, 0x7fff_ffff), (0x8000_0000, 0xffff_fffe)].into_iter().enumerate()
    {
        let spm = spm(n as u32 + 1, trail, lead);
        scene
            .attacker
            .send(To::Group(GROUP), |buf| build::spm(buf, &session, &spm, &SpmOptions::default()).expect("it fits"));
        for _ in 0..500 {
            scene.publish(4);
            scene.go_on(1);
            scene.attacker.received();
        }
    }
    scene.go_on(2_000);
    scene.assert_unharmed();
    let naks = scene.receiving.receiver(scene.receiver).expect("it is there").stats().all.naks_sent;
    assert!(naks < 100_000, "{naks} NAKs for what was never there");
}

/// conformance 157
#[test]
fn a_million_invented_sessions_are_bounded_and_the_true_one_goes_on() {
    let mut scene = Scene::new(|_| {});
    let mut rng = Rng::new(5);
    for n in 0..1_000_000_u32 {
        let octets = rng.next_u64().to_be_bytes();
        let gsi = Gsi::new([octets[0], octets[1], octets[2], octets[3], octets[4], octets[5]]);
        let session = Session { tsi: Tsi::new(gsi, n as u16 | 1), data_port: PORT };
        let spm = Spm { sqn: Sqn::new(n), trail: Sqn::new(n), lead: Sqn::new(n.wrapping_add(1000)), path: address(66) };
        scene
            .attacker
            .send(To::Group(GROUP), |buf| build::spm(buf, &session, &spm, &SpmOptions::default()).expect("it fits"));
        if n % 64 == 63 {
            scene.publish(1);
            // Twice: a batch takes 64 packets, and what comes is one more. A link that overflows would be another test.
            scene.go_on(2);
            if n % 1024 == 1023 {
                scene.attacker.received();
            }
        }
    }
    scene.go_on(2_000);
    scene.assert_unharmed();
    let receiver = scene.receiving.receiver(scene.receiver).expect("it is there");
    assert!(receiver.sessions().count() <= 64);
}

/// conformance 159
#[test]
fn a_flood_of_naks_for_the_whole_window_leaves_new_data_its_share() {
    // Half of 8 MB/s is for new data: what is published below needs a quarter.
    let mut scene = Scene::new(|config| config.rate = Rate::OctetsPerSecond(8_000_000));
    let tsi = scene.publisher.tsi();
    let session = Session { tsi, data_port: PORT };
    let first = scene.publisher.sqn_of(0);
    for turn in 0..20_000_u32 {
        if turn % 4 == 0 {
            scene.publish(1);
        }
        // 63 packets of the window each time, from one end to the other and again.
        let newest = scene.published as u32;
        let begin = (turn * 63) % newest.max(1);
        let wanted: Vec<Sqn> = (begin..newest.min(begin + 63)).map(|n| first.plus(n)).collect();
        let nak = Nak { sqn: wanted[0], source: address(1), group: GROUP };
        scene.attacker.send(To::Unicast(address(1)), |buf| {
            build::nak(buf, NakType::Nak, &session, false, &nak, &wanted[1..], &NakOptions::default()).expect("it fits")
        });
        scene.go_on(1);
        if turn % 16 == 15 {
            let packets = scene.attacker.received();
            let kinds = packets.iter().filter_map(|packet| parse(packet, &Limits::default()).ok());
            assert!(kinds.filter(|header| matches!(header.kind, Kind::Rdata(_))).count() <= 16 * 64);
        }
    }
    // New data has come as it was published, not after the flood.
    let behind = scene.published - scene.application.delivered;
    assert!(behind < 64, "{behind} messages behind");
    let stats = scene.sending.source(scene.source).expect("it is there").stats();
    let octets = stats.odata_octets + stats.rdata_octets + stats.spm_octets;
    // 0.22 s at the rate, and the bucket.
    assert!(octets <= 8_000_000 * 23 / 100 + 64 * 1_524, "{octets} octets");
    assert!(stats.rdata > 100, "{} repairs", stats.rdata);
    scene.go_on(20_000);
    scene.assert_unharmed();
}
