//! A session at full speed over a network that loses: how much comes through, how soon, what it costs, and that nothing is missing.
//!
//! One source that publishes as fast as its window lets it, some receivers, and a switch between them in virtual time: a line takes so
//! many packets a second and no more, a receiver takes so many and drops what its queue cannot hold, and everybody loses a share of what he
//! hears, the source of the NAKs, too. The profiles run as shipped. Nothing here depends on the machine.
//!
//! Set `PGMX_LONG=1` for a million packets each instead of 200,000, and for a table of what was measured (with `--nocapture`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use pgmx::endpoint::{Endpoint, EndpointConfig, ReceiverId};
use pgmx::frame::{Incoming, Layout, PathFacts, Pool, RxBatch, To, TxBatch};
use pgmx::link::{Channel, Link, LinkError};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::{OnLoss, ReceiverConfig, SessionStats};
use pgmx::protocol::source::{SourceConfig, SourceStats};
use pgmx::protocol::{Delivery, End, Event, Rng, Sink};
use pgmx::time::Time;
use pgmx::wire::{Gsi, Tsi};

const GROUP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(239, 192, 0, 1));
const PORT: u16 = 7500;
/// How often everybody looks.
const STEP_NS: u64 = 5_000;
/// Octets of a message: when it was published, and nothing else.
const MESSAGE: usize = 8;
/// Packets that a line takes before they leave.
const LINE: u64 = 64;

/// A packet on its way.
struct Flying {
    at: Time,
    octets: Rc<[u8]>,
    from: IpAddr,
    to: IpAddr,
}

/// What one place of the network is like.
#[derive(Clone, Copy)]
struct Place {
    /// From the switch to here, and back.
    way_ns: u64,
    /// Packets a second that can be sent, and received.
    out_per_s: u64,
    in_per_s: u64,
    /// Packets that wait to be received.
    queue: usize,
    /// Of a million packets that come, so many are lost.
    lost_ppm: u64,
}

struct Port {
    place: Place,
    arriving: VecDeque<Flying>,
    overruns: u64,
}

/// Between all: port 0 is the source's.
type Switch = Rc<RefCell<Vec<Port>>>;

fn address(port: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, 1 + port as u8])
}

/// One port of the switch.
struct Line {
    switch: Switch,
    port: usize,
    rng: Rng,
    sent_until: Time,
    received_until: Time,
}

impl Line {
    fn plug(switch: &Switch, place: Place, seed: u64) -> Self {
        let port = switch.borrow().len();
        switch.borrow_mut().push(Port { place, arriving: VecDeque::new(), overruns: 0 });
        let rng = Rng::new(seed ^ ((port as u64 + 1) << 32));
        Self { switch: switch.clone(), port, rng, sent_until: Time::ZERO, received_until: Time::ZERO }
    }
}

impl Link for Line {
    fn path(&self) -> PathFacts {
        PathFacts { nla: address(self.port), mtu: 1500, front: 42, alert: 4, ip_header: 20 }
    }

    fn join(&mut self, _: Channel, _: &[IpAddr]) -> Result<(), LinkError> {
        Ok(())
    }

    fn leave(&mut self, _: Channel) -> Result<(), LinkError> {
        Ok(())
    }

    fn listen(&mut self, _: u16) -> Result<(), LinkError> {
        Ok(())
    }

    fn unlisten(&mut self, _: u16) -> Result<(), LinkError> {
        Ok(())
    }

    fn receive(&mut self, now: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        let mut switch = self.switch.borrow_mut();
        let Port { place, arriving, .. } = &mut switch[self.port];
        let mut came = 0;
        while into.room() > 0 && self.received_until <= now && arriving.front().is_some_and(|next| next.at <= now) {
            let Some(flying) = arriving.pop_front() else { break };
            // A receiver that had nothing to do is not owed more than one look's work.
            let since = self.received_until.max(Time::from_nanos(now.as_nanos().saturating_sub(STEP_NS)));
            self.received_until = since.plus(1_000_000_000 / place.in_per_s);
            if self.rng.chance(place.lost_ppm, 1_000_000) {
                continue;
            }
            let Some(mut frame) = pool.take_for_fill() else { continue };
            let start = pool.layout().start + 42;
            frame.set_range(start, flying.octets.len() as u16);
            pool.bytes_mut(&mut frame).copy_from_slice(&flying.octets);
            into.push(Incoming { frame, from: flying.from, to: flying.to });
            came += 1;
        }
        Ok(came)
    }

    fn send(&mut self, now: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        let mut switch = self.switch.borrow_mut();
        let Place { way_ns, out_per_s, .. } = switch[self.port].place;
        let each_ns = 1_000_000_000 / out_per_s;
        let mut left = 0;
        while self.sent_until < now.plus(LINE * each_ns)
            && let Some(out) = from.pop()
        {
            self.sent_until = self.sent_until.max(now).plus(each_ns);
            let octets: Rc<[u8]> = pool.bytes(&out.frame).into();
            pool.put(out.frame);
            left += 1;
            let (To::Group(to) | To::Neighbours(to) | To::Unicast(to)) = out.to;
            for (n, port) in switch.iter_mut().enumerate() {
                if n == self.port || (to != GROUP && to != address(n)) {
                    continue;
                }
                if port.arriving.len() >= port.place.queue {
                    port.overruns += 1;
                    continue;
                }
                let at = self.sent_until.plus(way_ns + port.place.way_ns);
                port.arriving.push_back(Flying { at, octets: octets.clone(), from: address(self.port), to });
            }
        }
        Ok(left)
    }

    fn shut_down(&mut self, _: &mut Pool) {}
}

/// What one receiver heard.
#[derive(Default)]
struct Ear {
    now: Time,
    came: u64,
    latencies: Vec<u32>,
    lost: u64,
    end: Option<End>,
    last_at: Time,
}

impl Sink for Ear {
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        self.came += 1;
        self.last_at = self.now;
        let bytes: [u8; MESSAGE] = pool.bytes(&delivery.frame).try_into().expect("a message as it was sent");
        self.latencies.push(self.now.since(Time::from_nanos(u64::from_be_bytes(bytes))) as u32);
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Loss { first, last, .. } => self.lost += u64::from(last.distance_from(first)) + 1,
            Event::Closed { end, .. } => self.end = Some(end),
            Event::Opened { .. } => {}
        }
    }
}

/// A run.
#[derive(Clone)]
struct Plan {
    profile: Profile,
    seed: u64,
    packets: u64,
    /// Messages a second; 0: as many as the window lets in.
    per_s: u64,
    source: Place,
    receivers: Vec<Place>,
    /// The receiver that does nothing in this time.
    stall: Option<(usize, Duration, Duration)>,
    /// The receiver that is not there before this time, and the percentage of the window that is offered to it.
    late: Option<(usize, Duration, u8)>,
    /// Frames of each receiver, if not as many as it would like.
    frames: Option<u32>,
}

const PLACE: Place = Place { way_ns: 5_000, out_per_s: 700_000, in_per_s: 10_000_000, queue: usize::MAX, lost_ppm: 0 };

impl Plan {
    fn new(profile: Profile, lost_ppm: &[u64]) -> Self {
        let receivers = lost_ppm.iter().enumerate();
        Self {
            profile,
            seed: 1,
            packets: if long() { 1_000_000 } else { 200_000 },
            per_s: 0,
            // NAKs are lost as well.
            source: Place { lost_ppm: lost_ppm.iter().copied().max().unwrap_or(0), ..PLACE },
            receivers: receivers
                .map(|(n, &lost_ppm)| Place { way_ns: 5_000 + 10_000 * n as u64, lost_ppm, ..PLACE })
                .collect(),
            stall: None,
            late: None,
            frames: None,
        }
    }
}

fn long() -> bool {
    std::env::var_os("PGMX_LONG").is_some_and(|value| value == "1")
}

/// What came of it.
#[derive(Debug)]
struct Heard {
    came: u64,
    lost: u64,
    end: Option<End>,
    /// From the beginning to the last delivery.
    took_ns: u64,
    /// One way, in order: the median, 99 and 99.9 of a hundred, the worst.
    p50_ns: u32,
    p99_ns: u32,
    p999_ns: u32,
    max_ns: u32,
    stats: SessionStats,
    overruns: u64,
}

#[derive(Debug)]
struct Outcome {
    source: SourceStats,
    heard: Vec<Heard>,
    /// When everything was published.
    published_ns: u64,
}

struct Node {
    endpoint: Endpoint<Line>,
    ear: Ear,
}

fn node(line: Line, frames: u32) -> Node {
    let pool = Pool::anonymous(Layout::standard(frames)).expect("memory");
    let endpoint = Endpoint::new(line, pool, &EndpointConfig::default()).expect("the defaults");
    Node { endpoint, ear: Ear::default() }
}

/// Plays a plan to its end; `patience` of virtual time is the end in any case.
fn play(plan: &Plan, patience: Duration) -> Outcome {
    let switch = Switch::default();
    let mut config = SourceConfig::profile(plan.profile, GROUP, PORT);
    config.late_join_percent = plan.late.map(|(_, _, percent)| percent);
    let mut source = node(Line::plug(&switch, plan.source, plan.seed), config.frames());
    let tsi = Tsi::new(Gsi::new([7; 6]), 9000);
    let (id, mut publisher) =
        source.endpoint.add_source(&config, tsi, Time::ZERO, plan.seed).expect("a profile as shipped");
    let mut config = ReceiverConfig::profile(plan.profile, GROUP, PORT);
    // What is lost is counted, however much it is.
    config.on_loss = OnLoss::Skip;
    let mut receivers: Vec<(Node, ReceiverId)> = plan
        .receivers
        .iter()
        .enumerate()
        .map(|(n, place)| {
            let mut node = node(Line::plug(&switch, *place, plan.seed), plan.frames.unwrap_or(config.frames()));
            let id = node.endpoint.add_receiver(&config, plan.seed + n as u64).expect("a profile as shipped");
            (node, id)
        })
        .collect();

    let mut now = Time::from_nanos(1_000_000);
    let (begin, end) = (now, now.plus(patience.as_nanos() as u64));
    let (mut said, mut published_ns) = (0, 0);
    while now < end && receivers.iter().any(|(node, _)| node.ear.end.is_none()) {
        now = now.plus(STEP_NS);
        let due = if plan.per_s == 0 { plan.packets } else { 1 + now.since(begin) * plan.per_s / 1_000_000_000 };
        while said < due.min(plan.packets) {
            // A paced message is as old as it is due.
            let at = (said * 1_000_000_000).checked_div(plan.per_s).map_or(now, |after| begin.plus(after));
            if publisher.publish(&at.as_nanos().to_be_bytes()).is_err() {
                break;
            }
            said += 1;
            if said == plan.packets {
                published_ns = now.since(begin);
                let source = source.endpoint.source_mut(id).expect("it is there");
                source.close(now);
            }
        }
        source.endpoint.poll(now, &mut source.ear).expect("a line");
        for (n, (node, _)) in receivers.iter_mut().enumerate() {
            let stalled = plan.stall.is_some_and(|(who, from, to)| {
                who == n && (from.as_nanos()..to.as_nanos()).contains(&u128::from(now.since(begin)))
            });
            if stalled {
                continue;
            }
            if plan.late.is_some_and(|(who, from, _)| who == n && u128::from(now.since(begin)) < from.as_nanos()) {
                switch.borrow_mut()[n + 1].arriving.clear();
                continue;
            }
            node.ear.now = now;
            node.endpoint.poll(now, &mut node.ear).expect("a line");
        }
    }
    let heard = receivers.iter_mut().enumerate().map(|(n, (node, id))| {
        node.ear.latencies.sort_unstable();
        let latencies = &node.ear.latencies;
        let at = |permille: usize| latencies.get(latencies.len().saturating_sub(1) * permille / 1000).copied();
        let stats = node.endpoint.receiver(*id).expect("it is there").stats().all;
        Heard {
            came: node.ear.came,
            lost: node.ear.lost,
            end: node.ear.end,
            took_ns: node.ear.last_at.since(begin),
            p50_ns: at(500).unwrap_or(0),
            p99_ns: at(990).unwrap_or(0),
            p999_ns: at(999).unwrap_or(0),
            max_ns: at(1000).unwrap_or(0),
            stats,
            overruns: switch.borrow()[n + 1].overruns,
        }
    });
    Outcome { heard: heard.collect(), source: *source.endpoint.source(id).expect("it is there").stats(), published_ns }
}

impl Outcome {
    /// Everybody got everything.
    fn is_complete(&self, plan: &Plan) {
        for (n, heard) in self.heard.iter().enumerate() {
            assert_eq!(
                (heard.came, heard.lost),
                (plan.packets, 0),
                "{:?}, receiver {n}: {:?}",
                plan.profile,
                heard.stats
            );
            assert_eq!(heard.end, Some(End::Finished));
        }
    }

    fn goodput(&self, n: usize) -> f64 {
        self.heard[n].came as f64 * 1e9 / self.heard[n].took_ns as f64
    }

    /// Shows what was measured, where somebody asked for it.
    fn show(&self, what: &str) {
        if !long() {
            return;
        }
        for (n, heard) in self.heard.iter().enumerate() {
            println!(
                "{what} {n}: came {} lost {} {:.0}/s | NAKs {} for {} repaired {} | us p50 {} p99 {} p999 {} max {} | \
                 far {} refused {} evicted {} dup {} over {}",
                heard.came,
                heard.lost,
                self.goodput(n),
                heard.stats.naks_sent,
                heard.stats.nak_sqns_sent,
                heard.stats.repaired_packets,
                heard.p50_ns / 1000,
                heard.p99_ns / 1000,
                heard.p999_ns / 1000,
                heard.max_ns / 1000,
                heard.stats.too_far_ahead,
                heard.stats.hold_refused,
                heard.stats.hold_evicted,
                heard.stats.duplicates,
                heard.overruns,
            );
        }
        let source = &self.source;
        println!(
            "    source: {} ODATA {} RDATA {} NCF; NAKs {} late {} dup {}; holds {} broken {}; expired {}; published after {} ms",
            source.odata,
            source.rdata,
            source.ncfs,
            source.naks,
            source.naks_too_late,
            source.naks_duplicate,
            source.holds,
            source.holds_broken,
            source.repairs_expired,
            self.published_ns / 1_000_000
        );
    }
}

const PROFILES: [Profile; 2] = [Profile::Lan, Profile::LowLatency];
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn at_full_speed_nothing_is_lost_and_little_slowed_by_what_a_receiver_loses() {
    for profile in PROFILES {
        let speed = |lost_ppm: u64| {
            let plan = Plan::new(profile, &[lost_ppm]);
            let outcome = play(&plan, PATIENCE);
            outcome.show(&format!("{profile:?}, {lost_ppm} ppm"));
            outcome.is_complete(&plan);
            let stats = &outcome.heard[0].stats;
            if lost_ppm == 10_000 {
                assert!(stats.naks_sent * 10 <= stats.repaired_packets * 11, "more than 1.1 NAKs a loss: {stats:?}");
            }
            assert!(stats.repaired_packets * 1_000_000 >= plan.packets * lost_ppm / 2, "nothing was lost: {stats:?}");
            outcome.goodput(0)
        };
        let (lossless, one, five) = (speed(0), speed(10_000), speed(50_000));
        assert!(one >= 0.92 * lossless, "{profile:?}: {one:.0} of {lossless:.0} a second with 1 %");
        assert!(five >= 0.80 * lossless, "{profile:?}: {five:.0} of {lossless:.0} a second with 5 %");
    }
}

#[test]
fn what_one_of_four_receivers_loses_costs_the_others_nothing() {
    for profile in PROFILES {
        let plan = Plan::new(profile, &[10_000, 50_000, 0, 20_000]);
        let outcome = play(&plan, PATIENCE);
        outcome.show(&format!("{profile:?}, four"));
        outcome.is_complete(&plan);
    }
}

#[test]
fn with_a_third_lost_on_every_way_every_packet_is_delivered_or_told_as_lost() {
    for profile in PROFILES {
        let plan = Plan::new(profile, &[300_000]);
        let outcome = play(&plan, PATIENCE);
        outcome.show(&format!("{profile:?}, 30 %"));
        let heard = &outcome.heard[0];
        assert_eq!(heard.came + heard.lost, plan.packets);
        assert!(heard.lost * 1000 <= plan.packets, "{} of {} lost for good", heard.lost, plan.packets);
    }
}

#[test]
fn a_receiver_slower_than_the_line_slows_the_source_down_and_loses_nothing() {
    for profile in PROFILES {
        let mut plan = Plan::new(profile, &[0, 0]);
        plan.receivers[0] = Place { in_per_s: 500_000, queue: 4_096, ..PLACE };
        let outcome = play(&plan, PATIENCE);
        outcome.show(&format!("{profile:?}, slow"));
        outcome.is_complete(&plan);
        assert!(outcome.heard[0].overruns > 0, "it kept up");
        // Confirmations and second repairs take their part of what it can hear.
        let speed = outcome.goodput(0);
        assert!(speed >= 250_000.0, "{profile:?}: collapsed to {speed:.0} a second");
    }
}

#[test]
fn a_receiver_that_stood_still_for_a_moment_catches_up_at_full_speed() {
    for profile in PROFILES {
        let mut plan = Plan::new(profile, &[0, 0]);
        plan.receivers[0] = Place { queue: 4_096, ..PLACE };
        plan.stall = Some((0, Duration::from_millis(100), Duration::from_millis(140)));
        let outcome = play(&plan, PATIENCE);
        outcome.show(&format!("{profile:?}, 40 ms"));
        outcome.is_complete(&plan);
        assert!(outcome.heard[0].overruns > 10_000, "it missed nothing");
    }
}

#[test]
fn a_receiver_that_was_stopped_for_two_seconds_is_told_what_it_lost_and_the_other_loses_nothing() {
    for profile in PROFILES {
        let mut plan = Plan::new(profile, &[0, 0]);
        (plan.per_s, plan.packets) = (50_000, 200_000);
        plan.receivers[0] = Place { queue: 4_096, ..PLACE };
        plan.stall = Some((0, Duration::from_millis(500), Duration::from_millis(2_500)));
        let outcome = play(&plan, PATIENCE);
        outcome.show(&format!("{profile:?}, 2 s"));
        let [stopped, other] = &outcome.heard[..] else { panic!("two receivers") };
        assert_eq!((other.came, other.lost), (plan.packets, 0));
        assert_eq!(stopped.came + stopped.lost, plan.packets);
        assert_eq!(stopped.end, Some(End::Finished), "it goes on behind its loss");
        assert!(outcome.published_ns < 4_100_000_000, "nobody waits for who does not ask");
    }
}

#[test]
fn a_receiver_with_few_frames_asks_for_no_more_than_it_can_hold() {
    for profile in PROFILES {
        let mut plan = Plan::new(profile, &[50_000]);
        plan.frames = Some(8_192);
        let outcome = play(&plan, PATIENCE);
        outcome.show(&format!("{profile:?}, few frames"));
        outcome.is_complete(&plan);
        let stats = &outcome.heard[0].stats;
        assert!(stats.nak_sqns_sent <= 3 * plan.packets / 20, "{stats:?}");
    }
}

/// RFC 3208 §9.4, conformance 42, 73
#[test]
fn a_receiver_that_comes_late_in_full_traffic_gets_the_history_that_is_offered() {
    for profile in PROFILES {
        let mut plan = Plan::new(profile, &[0, 10_000]);
        (plan.per_s, plan.packets) = (200_000, 60_000);
        // A time between two SPMs.
        plan.late = Some((1, Duration::from_micros(100_050), 100));
        let outcome = play(&plan, PATIENCE);
        outcome.show(&format!("{profile:?}, late"));
        outcome.is_complete(&plan);
        assert!(outcome.heard[1].stats.repaired_packets >= 20_000, "it was there from the beginning");
        plan.late = Some((1, Duration::from_micros(100_050), 0));
        let late = &play(&plan, PATIENCE).heard[1];
        assert!(late.came < 40_500 && late.lost == 0, "history that was not offered: {}", late.came);
    }
}

/// Messages of several microseconds' distance: what is lost is seen with the next, and asked for at once.
#[test]
fn a_repair_is_quick_where_messages_are_rare() {
    for (lost_ppm, most_us) in [(10_000, 75), (50_000, 120)] {
        let mut plan = Plan::new(Profile::LowLatency, &[lost_ppm]);
        plan.source.lost_ppm = 0;
        plan.per_s = 50_000;
        let outcome = play(&plan, PATIENCE);
        outcome.show(&format!("50,000/s, {lost_ppm} ppm"));
        outcome.is_complete(&plan);
        let p99_us = outcome.heard[0].p99_ns / 1_000;
        assert!(p99_us <= most_us, "{p99_us} µs with {lost_ppm} ppm");
    }
}
