//! Faults between two ports of a hub, in virtual time.

use core::net::IpAddr;

use super::*;
use crate::frame::{Layout, To};
use crate::link::memory::{Hub, MemoryLink};
use crate::wire::build::{Content, DATA_HEADER_LEN, DataTemplate, DataType, Session};
use crate::wire::{Gsi, Sqn, Tsi, checksum};

struct Wire {
    a: Faults<MemoryLink>,
    b: Faults<MemoryLink>,
    pools: [Pool; 2],
    now: Time,
    sent: u32,
}

impl Wire {
    /// A sends with the plan's send side, B receives with its receive side.
    fn new(plan: &str) -> Self {
        let plan: FaultPlan = plan.parse().expect("a good plan");
        let hub = Hub::new(4096);
        let quiet = FaultPlan { send: SidePlan::default(), ..plan.clone() };
        let a = Faults::new(hub.port(IpAddr::from([10, 0, 0, 1])), &plan, Time::ZERO);
        let b = Faults::new(hub.port(IpAddr::from([10, 0, 0, 2])), &quiet, Time::ZERO);
        let pool = || Pool::anonymous(Layout::standard(4096)).expect("a small mapping");
        Self { a, b, pools: [pool(), pool()], now: Time::ZERO, sent: 0 }
    }

    fn send(&mut self, packets: u32) {
        let mut batch = TxBatch::new(packets as usize);
        for _ in 0..packets {
            let mut frame = self.pools[0].take().expect("a frame");
            frame.set_range(300, 40);
            let octets = self.pools[0].bytes_mut(&mut frame);
            octets.fill(0xab);
            octets[..4].copy_from_slice(&self.sent.to_be_bytes());
            self.sent += 1;
            batch.push(Outgoing { frame, to: To::Unicast(IpAddr::from([10, 0, 0, 2])), router_alert: false });
        }
        self.a.send(self.now, &mut self.pools[0], &mut batch).expect("memory never fails");
        assert!(batch.is_empty());
    }

    /// All that has come at B by `now`: number and whole packet.
    fn received(&mut self) -> Vec<(u32, Vec<u8>)> {
        let mut none = TxBatch::new(1);
        self.a.send(self.now, &mut self.pools[0], &mut none).expect("memory never fails");
        let mut batch = RxBatch::new(7);
        let mut got = Vec::new();
        loop {
            self.b.receive(self.now, &mut self.pools[1], &mut batch).expect("memory never fails");
            if batch.is_empty() && self.b.deadline() != Some(Time::ZERO) {
                return got;
            }
            while let Some(packet) = batch.pop() {
                let octets = self.pools[1].bytes(&packet.frame).to_vec();
                let mut number = [0; 4];
                number[..octets.len().min(4)].copy_from_slice(&octets[..octets.len().min(4)]);
                got.push((u32::from_be_bytes(number), octets));
                self.pools[1].put(packet.frame);
            }
        }
    }

    fn numbers(&mut self) -> Vec<u32> {
        self.received().iter().map(|packet| packet.0).collect()
    }

    fn finish(mut self) {
        self.a.shut_down(&mut self.pools[0]);
        self.b.shut_down(&mut self.pools[1]);
        for pool in &self.pools {
            assert_eq!(pool.census().out, 0);
        }
    }
}

#[test]
fn listed_packets_are_lost_and_no_others() {
    let mut wire = Wire::new("drop=2+5");
    wire.send(6);
    assert_eq!(wire.numbers(), [0, 2, 3, 5]);
    assert_eq!(wire.b.receive_counts().lost_by_list, 2);
    let mut wire = Wire::new("send.drop=1");
    wire.send(3);
    assert_eq!(wire.numbers(), [1, 2]);
    wire.finish();
}

#[test]
fn random_losses_come_as_often_as_asked_and_the_seed_decides_which() {
    let run = |plan| {
        let mut wire = Wire::new(plan);
        wire.send(4000);
        wire.numbers()
    };
    let got = run("loss=10%,seed=3");
    assert!((3500..3700).contains(&got.len()), "{}", got.len());
    assert_eq!(got, run("loss=10%,seed=3"));
    assert_ne!(got, run("loss=10%,seed=4"));
}

#[test]
fn bursts_take_neighbours() {
    let mut wire = Wire::new("burst=1%x8,seed=5");
    wire.send(4000);
    let got = wire.numbers();
    let lost = 4000 - got.len();
    let holes = got.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(lost > 100 && lost / holes >= 4, "{lost} lost in {holes} holes");
    wire.finish();
}

#[test]
fn duplicates_have_frames_of_their_own() {
    for plan in ["dup=100%", "send.dup=100%"] {
        let mut wire = Wire::new(plan);
        wire.send(3);
        assert_eq!(wire.numbers(), [0, 0, 1, 1, 2, 2]);
        wire.finish();
    }
}

#[test]
fn reordered_packets_are_overtaken_and_never_lost() {
    let mut wire = Wire::new("reorder=10%x3,seed=9");
    wire.send(1000);
    let mut got = wire.numbers();
    assert!(got.len() > 900 && !got.is_sorted());
    assert!(got.iter().enumerate().all(|(n, &number)| n.abs_diff(number as usize) <= 20));
    wire.now = wire.now.plus(1_000_000);
    got.extend(wire.numbers());
    got.sort_unstable();
    assert_eq!(got, (0..1000).collect::<Vec<_>>());
    wire.finish();
}

#[test]
fn corruption_changes_one_octet_and_never_the_senders_own() {
    for plan in ["corrupt=100%", "send.corrupt=100%"] {
        let mut wire = Wire::new(plan);
        wire.send(1);
        let got = wire.received();
        let mut sent = [0xab; 40];
        sent[..4].fill(0);
        let changed = sent.iter().zip(&got[0].1).filter(|(a, b)| a != b).count();
        assert_eq!((changed, got[0].1.len()), (1, 40));
        wire.finish();
    }
}

#[test]
fn truncated_packets_keep_their_beginning() {
    let mut wire = Wire::new("send.truncate=100%,seed=2");
    wire.send(20);
    let got = wire.received();
    assert_eq!(got.len(), 20);
    assert!(got.iter().all(|(_, octets)| octets.len() < 40 && octets.iter().skip(4).all(|&octet| octet == 0xab)));
    wire.finish();
}

#[test]
fn delayed_packets_come_at_their_deadline_in_order() {
    for plan in ["delay=5ms", "send.delay=5ms"] {
        let mut wire = Wire::new(plan);
        wire.send(3);
        assert!(wire.numbers().is_empty());
        let deadline = earliest(wire.a.deadline(), wire.b.deadline()).expect("packets are held");
        assert_eq!(deadline, Time::from_nanos(5_000_000));
        wire.now = Time::from_nanos(4_999_999);
        assert!(wire.numbers().is_empty());
        wire.now = deadline;
        assert_eq!(wire.numbers(), [0, 1, 2]);
        assert_eq!(earliest(wire.a.deadline(), wire.b.deadline()), None);
        wire.finish();
    }
}

#[test]
fn jitter_reorders_and_what_exceeds_the_bound_passes_at_once() {
    let mut wire = Wire::new("delay=1ms,jitter=5ms,hold=100,seed=1");
    wire.send(150);
    assert_eq!(wire.numbers().len(), 50);
    assert_eq!(wire.b.receive_counts().over_bound, 50);
    wire.now = Time::from_nanos(6_000_000);
    let got = wire.numbers();
    assert!(got.len() == 100 && !got.is_sorted());
    wire.finish();
}

#[test]
fn nothing_passes_in_a_cut_and_nothing_is_harmed_after_the_end() {
    let mut wire = Wire::new("loss=100%,until=1ms");
    wire.send(1);
    assert!(wire.numbers().is_empty());
    wire.now = Time::from_nanos(1_000_000);
    wire.send(1);
    assert_eq!(wire.numbers(), [1]);
    wire.finish();
    let mut wire = Wire::new("cut=1ms..2ms");
    for (at_ns, passes) in [(999_999, true), (1_000_000, false), (1_999_999, false), (2_000_000, true)] {
        wire.now = Time::from_nanos(at_ns);
        wire.send(1);
        assert_eq!(wire.numbers().len() == 1, passes, "at {at_ns}");
    }
    wire.finish();
}

#[test]
fn frames_that_are_held_back_go_home_at_the_end() {
    let mut wire = Wire::new("delay=1s,send.delay=1s,dup=50%,send.reorder=30%");
    wire.send(500);
    wire.now = Time::from_nanos(1_000_000_000);
    assert!(wire.numbers().is_empty());
    wire.finish();
}

/// A data packet of a session, as it is on the wire.
fn odata(tsi: Tsi, sqn: u32) -> Vec<u8> {
    let mut packet = vec![0; DATA_HEADER_LEN + 8];
    let head = packet.first_chunk_mut().expect("a header");
    let template = DataTemplate::new(&Session { tsi, data_port: 7500 });
    template.plain(head, DataType::Odata, Content::Original, Sqn::new(sqn), Sqn::new(sqn), 8, checksum::sum(&[0; 8]));
    packet
}

#[test]
fn a_loss_is_told_once_with_its_time_and_only_to_who_asks_for_that_packet() {
    let drops = Drops::new();
    let [ours, other] = [7400, 7401].map(|port| Tsi { gsi: Gsi::from_host_name("drops"), port });
    drops.note(Time::from_nanos(5), &odata(ours, 9));
    drops.note(Time::from_nanos(6), b"no packet at all");
    assert_eq!(drops.take(ours, Sqn::new(8)), None);
    assert_eq!(drops.take(other, Sqn::new(9)), None);
    assert_eq!(drops.take(ours, Sqn::new(9)), Some(Time::from_nanos(5)));
    assert_eq!(drops.take(ours, Sqn::new(9)), None);
    // The same place, a window later.
    drops.note(Time::from_nanos(7), &odata(ours, 9));
    drops.note(Time::from_nanos(8), &odata(ours, 9 + (1 << 16)));
    assert_eq!(drops.take(ours, Sqn::new(9)), None);
    assert_eq!(drops.take(ours, Sqn::new(9 + (1 << 16))), Some(Time::from_nanos(8)));
}

#[test]
fn what_a_link_loses_on_its_way_in_is_noted_when_somebody_wants_to_know() {
    let mut wire = Wire::new("drop=2");
    let drops = wire.b.note_drops();
    let tsi = Tsi { gsi: Gsi::from_host_name("drops"), port: 7400 };
    wire.now = Time::from_nanos(77);
    for sqn in 0..3 {
        let mut frame = wire.pools[0].take().expect("a frame");
        let packet = odata(tsi, sqn);
        frame.set_range(300, packet.len() as u16);
        wire.pools[0].bytes_mut(&mut frame).copy_from_slice(&packet);
        let mut batch = TxBatch::new(1);
        batch.push(Outgoing { frame, to: To::Unicast(IpAddr::from([10, 0, 0, 2])), router_alert: false });
        wire.a.send(wire.now, &mut wire.pools[0], &mut batch).expect("memory never fails");
    }
    assert_eq!(wire.received().len(), 2);
    let noted = [0, 1, 2].map(|sqn| drops.take(tsi, Sqn::new(sqn)));
    assert_eq!(noted, [None, Some(Time::from_nanos(77)), None]);
    wire.finish();
}
