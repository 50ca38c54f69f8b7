//! Scenarios: all that a run is made of, drawn from its seed.
//!
//! Times and sizes are drawn to the scale of the profile, so that every profile meets every kind of trouble; how many packets are
//! sent follows from how many receivers there are, so that every seed delivers about as much.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use crate::link::faults::{Burst, Chance, FaultPlan, SidePlan};
use crate::protocol::Rng;
use crate::protocol::config::Profile;
use crate::protocol::receiver::{OnLoss, Order, ReceiverConfig};
use crate::protocol::source::{Advance, Burst as Bucket, Linger, Rate, RepairDelay, SourceConfig};
use crate::wire::Sqn;

/// Deliveries that a seed aims at.
const DELIVERIES: u64 = 32_000;
/// The port of all sessions.
pub const DATA_PORT: u16 = 7500;

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In good order.
    Fin,
    /// With a reason.
    Rst(u8),
    /// Its machine dies.
    Silence,
}

/// When a source begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this time.
    At(u64),
    /// On the machine of another, this long after it died.
    After {
        /// The one that died.
        source: usize,
        /// The time between.
        gap_ns: u64,
    },
}

/// One source.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// Its configuration.
    pub config: SourceConfig,
    /// When it begins.
    pub start: Start,
    /// Its address.
    pub address: IpAddr,
    /// Messages it publishes, so many at once, with so much time between.
    pub messages: u32,
    /// Messages at once.
    pub burst: u32,
    /// Time between bursts.
    pub gap_ns: u64,
    /// Longest message of one packet.
    pub len_max: u16,
    /// Messages of several packets, in a thousand.
    pub fragmented_permille: u32,
    /// How it ends.
    pub ending: Ending,
    /// What its link does.
    pub faults: FaultPlan,
    /// Time to the middle of the network, and from it.
    pub way_ns: (u64, u64),
}

/// One receiver.
#[derive(Clone, Debug)]
pub struct ReceiverPlan {
    /// Its configuration.
    pub config: ReceiverConfig,
    /// When it joins.
    pub joins_ns: u64,
    /// What its link does.
    pub faults: FaultPlan,
    /// When it does nothing.
    pub stalls: Vec<(u64, u64)>,
    /// Time to the middle of the network, and from it.
    pub way_ns: (u64, u64),
    /// Deliveries that its application reads at a time.
    pub leases: usize,
    /// Packets that wait for it at the most.
    pub queue: usize,
    /// Frames of its pool.
    pub frames: u32,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it all comes from.
    pub seed: u64,
    /// The profile of all.
    pub profile: Profile,
    /// The group of all.
    pub group: IpAddr,
    /// The sources.
    pub sources: Vec<SourcePlan>,
    /// The receivers.
    pub receivers: Vec<ReceiverPlan>,
    /// Serialisation time of an octet.
    pub octet_ps: u64,
    /// How long frames stay in flight behind their packets.
    pub completion_ns: u64,
    /// Whether every fault ends before the sessions do.
    pub faults_end: bool,
    /// Whether every window holds its whole session.
    pub roomy: bool,
}

/// The times of a profile.
struct Scale {
    /// A way through half the network, at the most.
    way_ns: u64,
    /// How long a session publishes, about.
    session_ns: u64,
}

impl Scale {
    fn of(profile: Profile) -> Self {
        let (way_ns, session_ns) = match profile {
            Profile::LowLatency => (20_000, 40_000_000),
            Profile::Lan => (200_000, 300_000_000),
            Profile::Wan => (20_000_000, 10_000_000_000),
            Profile::Windows => (10_000_000, 20_000_000_000),
        };
        Self { way_ns, session_ns }
    }
}

/// Which kinds of faults a scenario has at all.
#[derive(Clone, Copy, Default)]
struct Kinds {
    loss: bool,
    burst: bool,
    list: bool,
    duplication: bool,
    reordering: bool,
    corruption: bool,
    /// Where: never on both sides, since the Internet checksum does not find two changes that cancel.
    corruption_when_sent: bool,
    truncation: bool,
    delay: bool,
    cut: bool,
}

impl Kinds {
    fn draw(rng: &mut Rng) -> Self {
        if rng.chance(1, 8) {
            return Self::default();
        }
        let mut kind = |percent| rng.chance(percent, 100);
        Self {
            loss: kind(45),
            burst: kind(20),
            list: kind(20),
            duplication: kind(25),
            reordering: kind(25),
            corruption: kind(20),
            corruption_when_sent: kind(40),
            truncation: kind(20),
            delay: kind(20),
            cut: kind(15),
        }
    }

    fn side(self, rng: &mut Rng, scale: &Scale, packets: u64, sends: bool) -> SidePlan {
        let mut side = SidePlan::default();
        let some = |rng: &mut Rng, on: bool, most_percent: u64| {
            if on { Chance::millionths(1 + rng.below(most_percent * 10_000) as u32) } else { Chance::NEVER }
        };
        side.loss = some(rng, self.loss, 10);
        side.duplication = some(rng, self.duplication, 10);
        side.corruption = some(rng, self.corruption && sends == self.corruption_when_sent, 5);
        side.truncation = some(rng, self.truncation, 5);
        side.reordering = some(rng, self.reordering, 10);
        side.reorder_depth = 1 + rng.below(6) as u32;
        if self.burst {
            side.burst = Some(Burst {
                begins: Chance::millionths(100 + rng.below(3_000) as u32),
                packets_mean: 2 + rng.below(20) as u32,
            });
        }
        if self.list {
            let mut listed: Vec<u64> = (0..=rng.below(12)).map(|_| 1 + rng.below(packets + 20)).collect();
            listed.sort_unstable();
            listed.dedup();
            side.listed = listed;
        }
        if self.delay {
            side.delay = Duration::from_nanos(rng.below(scale.way_ns));
            side.jitter = Duration::from_nanos(1 + rng.below(scale.way_ns * 2));
        }
        if self.cut && rng.chance(1, 2) {
            let from = rng.below(scale.session_ns);
            let to = from + 1 + rng.below(scale.session_ns / 4);
            side.cuts = vec![(Duration::from_nanos(from), Duration::from_nanos(to))];
        }
        side
    }
}

fn receivers_drawn(rng: &mut Rng) -> u64 {
    match rng.below(1000) {
        0..260 => 1 + rng.below(4),
        260..700 => 5 + rng.below(10),
        700..950 => 15 + rng.below(26),
        950..998 => 50 + rng.below(150),
        _ => 1000,
    }
}

fn address(ipv6: bool, host: u32) -> IpAddr {
    let [_, a, b, c] = host.to_be_bytes();
    if ipv6 {
        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, u16::from(a), u16::from_be_bytes([b, c])])
    } else {
        IpAddr::from([10, a, b, c])
    }
}

impl Scenario {
    /// The scenario of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let profile = match rng.below(100) {
            0..35 => Profile::LowLatency,
            35..70 => Profile::Lan,
            70..87 => Profile::Wan,
            _ => Profile::Windows,
        };
        let ipv6 = rng.chance(1, 8);
        let group = if ipv6 { IpAddr::from([0xff15, 0, 0, 0, 0, 0, 0, 7]) } else { IpAddr::from([239, 192, 0, 7]) };
        let scale = Scale::of(profile);
        let receivers = receivers_drawn(rng);
        let sources = match rng.below(10) {
            0..7 => 1,
            7..9 => 2,
            _ => 1 + rng.below(5),
        };
        let messages = (DELIVERIES / receivers / sources).clamp(20, 6_000);
        let kinds = Kinds::draw(rng);
        let faults_end = rng.chance(7, 8);
        let roomy = rng.chance(1, 2);
        let until_ns = scale.session_ns / 4 + rng.below(scale.session_ns * 3 / 4);
        let octet_ps = if rng.chance(1, 3) { 800 } else { 0 };
        let completion_ns = if rng.chance(1, 2) { rng.up_to(2_000_000) } else { 0 };
        let mut scenario = Self {
            seed,
            profile,
            group,
            sources: Vec::new(),
            receivers: Vec::new(),
            octet_ps,
            completion_ns,
            faults_end,
            roomy,
        };
        let faults = |rng: &mut Rng, receive: bool, send: bool| {
            let mut plan = FaultPlan { seed: rng.next_u64(), hold: 256, ..FaultPlan::default() };
            if receive {
                plan.receive = kinds.side(rng, &scale, messages, false);
            }
            if send {
                plan.send = kinds.side(rng, &scale, messages, true);
            }
            plan.until = faults_end.then_some(Duration::from_nanos(until_ns));
            plan
        };
        for n in 0..sources {
            let (receive, send) = (rng.chance(1, 3), rng.chance(1, 4));
            let plan = faults(rng, receive, send);
            scenario.push_source(rng, &scale, n as u32, messages as u32, plan);
        }
        let stalls = rng.chance(1, 6);
        let late = rng.chance(1, 4);
        let order = if rng.chance(1, 4) { Order::AsComplete } else { Order::InOrder };
        for _ in 0..receivers {
            let (receive, send) = (rng.chance(3, 4), rng.chance(1, 4));
            let plan = faults(rng, receive, send);
            let mut config = ReceiverConfig::profile(profile, group, DATA_PORT);
            config.order = order;
            config.window_slots = if roomy { 8192 } else { 64 << rng.below(7) };
            config.held_max = if roomy { 4096 } else { 16 << rng.below(7) };
            if rng.chance(1, 3) {
                config.on_loss = OnLoss::Skip;
            }
            let leases = if rng.chance(1, 6) { 1 + rng.below(40) as usize } else { 0 };
            let frames = 512 + config.held_max * sources.min(2) as u32 + leases as u32;
            let stall = stalls && rng.chance(1, 3);
            let from = rng.below(scale.session_ns);
            scenario.receivers.push(ReceiverPlan {
                config,
                joins_ns: if late && rng.chance(1, 2) { rng.below(scale.session_ns) } else { 0 },
                faults: plan,
                stalls: if stall { vec![(from, from + 1 + rng.below(scale.session_ns / 3))] } else { Vec::new() },
                way_ns: (1 + rng.below(scale.way_ns), 1 + rng.below(scale.way_ns)),
                leases,
                queue: if stalls { 64 << rng.below(7) } else { 1 << 20 },
                frames,
            });
        }
        scenario
    }

    fn push_source(&mut self, rng: &mut Rng, scale: &Scale, n: u32, messages: u32, faults: FaultPlan) {
        let ipv6 = self.group.is_ipv6();
        let restarts = rng.chance(1, 10);
        let fragmented_permille = if rng.chance(1, 3) { 1 + rng.below(60) as u32 } else { 0 };
        let len_max = match rng.below(10) {
            0..6 => 100,
            6..9 => 400,
            _ => 1_400,
        };
        let burst_max = if rng.chance(1, 3) { 64 } else { 8 };
        let burst = 1 + rng.below(burst_max) as u32;
        let bursts = u64::from(messages.div_ceil(burst));
        let mut config = SourceConfig::profile(self.profile, self.group, DATA_PORT);
        self.shape_window(rng, scale, &mut config, messages, fragmented_permille);
        config.syn = rng.chance(1, 3);
        if rng.chance(1, 4) {
            config.late_join_percent = Some(rng.below(101) as u8);
        }
        if rng.chance(1, 6) {
            config.repair_delay = RepairDelay::Fixed(Duration::from_nanos(rng.below(scale.way_ns * 2)));
        }
        // A third of the sessions wrap.
        let before = 1 + rng.below(u64::from(messages) * 2) as u32;
        config.initial_sqn =
            Some(Sqn::new(if rng.chance(1, 3) { 0_u32.wrapping_sub(before) } else { rng.next_u64() as u32 }));
        let plan = SourcePlan {
            config,
            start: Start::At(1_000 + rng.below(scale.session_ns / 10)),
            address: address(ipv6, 1 + n),
            messages,
            burst,
            gap_ns: 1 + scale.session_ns / bursts.max(1),
            len_max,
            fragmented_permille,
            ending: match rng.below(10) {
                0..6 => Ending::Fin,
                6..8 => Ending::Rst(rng.below(64) as u8),
                _ => Ending::Silence,
            },
            faults,
            way_ns: (1 + rng.below(scale.way_ns), 1 + rng.below(scale.way_ns)),
        };
        if restarts && messages >= 40 {
            let first = SourcePlan { messages: messages / 2, ending: Ending::Silence, ..plan.clone() };
            let mut second = SourcePlan { messages: messages - messages / 2, ..plan };
            self.sources.push(first);
            second.start = Start::After { source: self.sources.len() - 1, gap_ns: rng.below(scale.session_ns / 10) };
            self.sources.push(second);
        } else {
            self.sources.push(plan);
        }
    }

    /// Window, rate and advance.
    fn shape_window(
        &self,
        rng: &mut Rng,
        scale: &Scale,
        config: &mut SourceConfig,
        messages: u32,
        fragmented_permille: u32,
    ) {
        // Messages of several packets take 6 on average.
        let packets = messages + messages * fragmented_permille / 1000 * 6 + 16;
        config.window_slots = if self.roomy { (packets * 2).next_power_of_two().max(64) } else { 64 << rng.below(6) };
        config.apdu_max = 40_000;
        let timed = matches!(self.profile, Profile::Wan | Profile::Windows);
        if timed {
            // The window must hold what the rate yields in its time.
            let rate = 40_000 + rng.below(400_000);
            config.rate = Rate::OctetsPerSecond(rate);
            let holds_ns = u64::from(config.window_slots) * 1_500 * 1_000_000_000 / rate;
            let time_ns = if self.roomy { scale.session_ns * 20 } else { scale.session_ns / (1 + rng.below(4)) };
            config.window_time = Duration::from_nanos(time_ns);
            if time_ns > holds_ns {
                config.window_slots = (rate * (time_ns / 1_000_000) / 1_000 / 1_500 + 1).next_power_of_two() as u32;
            }
            config.linger = Linger::Full;
        } else if rng.chance(1, 3) {
            config.rate = Rate::OctetsPerSecond(2_000_000 + rng.below(50_000_000));
            config.burst = if rng.chance(1, 2) { Bucket::Packets(1 + rng.below(64) as u32) } else { config.burst };
            if rng.chance(1, 3) {
                config.peak = Rate::OctetsPerSecond(60_000_000);
            }
        }
        if !timed && self.roomy {
            config.advance = if rng.chance(1, 4) { Advance::Application } else { Advance::Data };
        }
    }

    /// Whether nothing at all can go wrong between this source and this receiver.
    pub fn is_clean(&self, source: &SourcePlan, receiver: &ReceiverPlan) -> bool {
        let quiet = |plan: &FaultPlan| plan.receive.is_quiet() && plan.send.is_quiet();
        quiet(&source.faults) && quiet(&receiver.faults) && receiver.stalls.is_empty()
    }

    /// Whether what goes wrong between this source and this receiver can all be repaired: moderate faults that end, no long
    /// silence, and windows that hold everything.
    pub fn is_recoverable(&self, source: &SourcePlan, receiver: &ReceiverPlan) -> bool {
        let moderate = |side: &SidePlan| side.cuts.is_empty();
        self.roomy
            && self.faults_end
            && receiver.stalls.is_empty()
            && [&source.faults, &receiver.faults].iter().all(|plan| moderate(&plan.receive) && moderate(&plan.send))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {:?}, {} sources, {} receivers, group {}, {} ps/octet, {} ns in flight, faults {}, {}",
            self.seed,
            self.profile,
            self.sources.len(),
            self.receivers.len(),
            self.group,
            self.octet_ps,
            self.completion_ns,
            if self.faults_end { "end" } else { "do not end" },
            if self.roomy { "roomy windows" } else { "tight windows" },
        )?;
        for (n, source) in self.sources.iter().enumerate() {
            let config = &source.config;
            writeln!(
                f,
                "  source {n} {} {:?}: {} messages ≤ {} octets, {}‰ fragmented, {} each {} ns; then {:?}; way {:?}; faults {}",
                source.address,
                source.start,
                source.messages,
                source.len_max,
                source.fragmented_permille,
                source.burst,
                source.gap_ns,
                source.ending,
                source.way_ns,
                source.faults,
            )?;
            writeln!(
                f,
                "    window {} slots, {:?}, {:?}; rate {:?}, burst {:?}, peak {:?}; SYN {}, late join {:?}, repair delay {:?}, first {:?}",
                config.window_slots,
                config.window_time,
                config.advance,
                config.rate,
                config.burst,
                config.peak,
                config.syn,
                config.late_join_percent,
                config.repair_delay,
                config.initial_sqn,
            )?;
        }
        for (n, receiver) in self.receivers.iter().take(40).enumerate() {
            let config = &receiver.config;
            writeln!(
                f,
                "  receiver {n} from {} ns: {:?}, {:?}, {} slots, {} held; way {:?}; stalls {:?}; {} leases; queue {}; faults {}",
                receiver.joins_ns,
                config.order,
                config.on_loss,
                config.window_slots,
                config.held_max,
                receiver.way_ns,
                receiver.stalls,
                receiver.leases,
                receiver.queue,
                receiver.faults,
            )?;
        }
        if self.receivers.len() > 40 {
            writeln!(f, "  ... and {} receivers more", self.receivers.len() - 40)?;
        }
        Ok(())
    }
}
