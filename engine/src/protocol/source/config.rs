//! How a source behaves: the profiles' defaults, and the check that refuses what contradicts itself.
//!
//! Read once, at construction. Durations are for people; the source turns them into nanoseconds.

use core::fmt::{Debug, Display};
use core::net::IpAddr;
use core::time::Duration;

use super::rate::{Rate, TokenBucket};
use crate::frame::PathFacts;
use crate::protocol::config::{ConfigError, Profile};
use crate::wire::Sqn;
use crate::wire::build::DATA_HEADER_LEN;

/// Octets of the largest packet without data: an NCF over IPv6 with a full list and all its options, and a little more.
pub(super) const CONTROL_LEN_MAX: u16 = 384;

/// Frames that a source wants beside its window: some batches of 64, for a link that gives them back late.
const FRAMES_BESIDE: u32 = 1_024;

/// The shortest distance at which NAKs for one SQN count as repeated; shorter ones are copies made by the network.
pub(super) const REPEAT_FLOOR: Duration = us(20);

/// How much may leave at once when nothing left for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burst {
    /// This many packets of the largest size.
    Packets(u32),
    /// What the rate yields in this time, at least one packet of the largest size.
    Time(Duration),
}

/// When the trailing edge of the transmit window moves (RFC 3208 §16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// Data older than [`SourceConfig::window_time`] is dropped, whatever is asked for.
    Time,
    /// The window keeps as much data as it holds. A NAK for its oldest part holds it, and pushes back on the publisher.
    Data,
    /// The application says what it needs no longer.
    Application,
    /// As [`Advance::Time`], but never past a repair that is waiting: as the Windows PGM sockets do.
    Windows,
}

/// When a repair leaves after its NAK came (RFC 3208 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairDelay {
    /// At once.
    None,
    /// After this time, to gather the NAKs of a neighbourhood: up to twice the longest way through it.
    Fixed(Duration),
    /// Young data waits up to 60 ms, the oldest not at all: as the Windows PGM sockets do.
    Windows,
}

/// How long a source answers NAKs after its session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linger {
    /// Until no NAK came for `quiet`, but not longer than `at_most`.
    Quiet {
        /// Silence that ends it.
        quiet: Duration,
        /// Its longest duration.
        at_most: Duration,
    },
    /// For [`SourceConfig::window_time`]: RFC 3208's `TXW_SECS`.
    Full,
}

/// How the source steers the back-off of its receivers' NAKs (RFC 3208 §15.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOffTuning {
    /// Least back-off interval.
    pub min: Duration,
    /// Largest back-off interval.
    pub max: Duration,
    /// The one to start from.
    pub start: Duration,
    /// `NAK_PROBE_NUM`: that many losses without a duplicate NAK halve the interval.
    pub probes: u32,
}

/// Configuration of a source. [`SourceConfig::profile`] gives the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceConfig {
    /// The multicast group.
    pub group: IpAddr,
    /// The data-destination port.
    pub data_port: u16,
    /// Whether small messages that are committed while the source is busy share a packet. An idle source sends at once, so that this costs
    /// no latency; receivers get single messages either way.
    pub batch: bool,
    /// Whether SPM, NCF and RDATA carry Router Alert. With it every repair is copied once.
    pub router_alert: bool,
    /// The largest PGM packet in octets; `None`: what the path carries.
    pub tpdu_max: Option<u16>,
    /// The largest message in octets; one that needs the whole window is refused earlier.
    pub apdu_max: u32,
    /// Packets that the transmit window holds: a power of two.
    pub window_slots: u32,
    /// `TXW_SECS`: how long data is kept where time rules, and how long a full linger lasts.
    pub window_time: Duration,
    /// The rule by which the window advances.
    pub advance: Advance,
    /// The increment window: percent of the window by which the trail moves.
    pub advance_percent: u8,
    /// Advance with data: how long NAKs may hold the trail.
    pub max_hold: Duration,
    /// Advance with data: how long there must have been neither a NAK nor a repair for the increment window before the trail moves across it,
    /// however much data was sent meanwhile. Whoever lost a repair can ask again in this time.
    pub hold_quiet: Duration,
    /// Advance with data: a packet that was repaired so often holds the trail no longer, so that a flood of NAKs does not;
    /// 0: none ever does.
    pub hold_repairs: u16,
    /// `TXW_MAX_RTE`.
    pub rate: Rate,
    /// Size of the token bucket.
    pub burst: Burst,
    /// Rate that successive packets never exceed.
    pub peak: Rate,
    /// Percent of the octets that repairs get while both repairs and new data wait.
    pub repair_share: u8,
    /// How long repairs are delayed.
    pub repair_delay: RepairDelay,
    /// No second NCF for one SQN sooner than this.
    pub ncf_repeat: Duration,
    /// No second RDATA for one SQN sooner than this after the first; while NAKs for it go on it doubles.
    pub rdata_repeat: Duration,
    /// Where that doubling ends.
    pub rdata_repeat_max: Duration,
    /// Whether `rdata_repeat` follows the shortest distance at which one receiver repeats a NAK, down to 20 µs.
    pub rdata_repeat_adaptive: bool,
    /// Longest distance between SPMs while data flows.
    pub ambient_spm: Duration,
    /// An SPM at the latest after this many data packets.
    pub ambient_packets: Option<u32>,
    /// `IHB_MIN`: the first heartbeat comes this long after the last data.
    pub ihb_min: Duration,
    /// `IHB_MAX`: where the doubling of the heartbeat interval ends.
    pub ihb_max: Duration,
    /// SPMs before the first data.
    pub opening_spms: u8,
    /// Distance between them.
    pub opening_gap: Duration,
    /// Whether the first data packet carries `OPT_SYN`.
    pub syn: bool,
    /// Percent of the window that late joiners may ask for: `OPT_JOIN` on SPMs and on all data, which costs 8 octets a packet (12 where
    /// there are no other options) and some of the highest speed on both sides.
    pub late_join_percent: Option<u8>,
    /// How long NAKs are answered after a graceful end.
    pub linger: Linger,
    /// How long RST is repeated after an abort.
    pub abort_linger: Linger,
    /// Whether NAKs are answered after an abort.
    pub naks_after_abort: bool,
    /// The first data SQN; `None`: a random multiple of 65,536.
    pub initial_sqn: Option<Sqn>,
    /// Steers the receivers' NAK back-off, if set.
    pub back_off: Option<BackOffTuning>,
    /// `DUP_NAK_MAX`: that many NAKs for one loss mean that NCFs do not arrive.
    pub dup_nak_max: Option<u16>,
    /// Whether NAKs below the trail are confirmed as well.
    pub confirm_late_naks: bool,
    /// Whether a NAK may name, as the source, the address it was sent to (the SPM path) instead of the source of the data.
    pub accept_path_as_source: bool,
}

const fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl SourceConfig {
    /// The default profile.
    pub fn new(group: IpAddr, data_port: u16) -> Self {
        Self::profile(Profile::default(), group, data_port)
    }

    /// The defaults of a profile.
    pub fn profile(profile: Profile, group: IpAddr, data_port: u16) -> Self {
        let lan = Self::lan(group, data_port);
        match profile {
            Profile::LowLatency => Self {
                router_alert: false,
                hold_quiet: ms(2),
                ncf_repeat: us(20),
                // Receivers start at 500 µs; the first of them that repeats a NAK sooner corrects this.
                rdata_repeat: us(200),
                rdata_repeat_adaptive: true,
                ambient_spm: ms(20),
                ihb_min: us(100),
                ihb_max: secs(1),
                // The first data waits 100 µs in all.
                opening_gap: us(50),
                linger: Linger::Quiet { quiet: ms(500), at_most: secs(10) },
                abort_linger: Linger::Quiet { quiet: ms(500), at_most: secs(10) },
                naks_after_abort: false,
                ..lan
            },
            Profile::Lan => lan,
            Profile::Wan => Self {
                window_slots: 32_768,
                window_time: secs(30),
                advance: Advance::Time,
                max_hold: secs(1),
                hold_quiet: ms(750),
                // 30 s of it are 30 MB: 32,768 slots hold that in packets of 1,000 octets.
                rate: Rate::OctetsPerSecond(1_000_000),
                burst: Burst::Time(ms(40)),
                ncf_repeat: ms(2),
                rdata_repeat: ms(1),
                ambient_spm: ms(500),
                ihb_min: ms(100),
                ihb_max: secs(15),
                opening_gap: ms(10),
                linger: Linger::Full,
                abort_linger: Linger::Full,
                back_off: Some(BackOffTuning { min: ms(10), max: secs(2), start: ms(50), probes: 16 }),
                dup_nak_max: Some(20),
                ..lan
            },
            Profile::Windows => Self {
                apdu_max: 65_536,
                // 10 MB at 56 kbit/s.
                window_slots: 8_192,
                window_time: secs(1_428),
                advance: Advance::Windows,
                hold_quiet: ms(750),
                rate: Rate::OctetsPerSecond(7_000),
                burst: Burst::Time(ms(40)),
                repair_delay: RepairDelay::Windows,
                ncf_repeat: Duration::ZERO,
                rdata_repeat: Duration::ZERO,
                rdata_repeat_max: Duration::ZERO,
                ambient_spm: ms(500),
                ambient_packets: Some(50),
                ihb_min: secs(1),
                ihb_max: secs(15),
                opening_gap: ms(10),
                linger: Linger::Full,
                // Windows terminates at once; the RST has to survive a loss all the same.
                abort_linger: Linger::Quiet { quiet: secs(1), at_most: secs(1) },
                naks_after_abort: false,
                dup_nak_max: None,
                confirm_late_naks: false,
                ..lan
            },
        }
    }

    fn lan(group: IpAddr, data_port: u16) -> Self {
        Self {
            group,
            data_port,
            batch: false,
            router_alert: true,
            tpdu_max: None,
            apdu_max: 16 << 20,
            window_slots: 65_536,
            window_time: secs(30),
            advance: Advance::Data,
            advance_percent: 15,
            max_hold: secs(1),
            // Near the trail receivers ask again after little more than a round trip (NAK_RDATA_IVL, not doubled). At full speed the rest
            // of the window takes as long to fill, so that a hold that ends well is not felt.
            hold_quiet: ms(10),
            // Of a receiver that loses three of four packets, one in 10,000 takes more.
            hold_repairs: 32,
            rate: Rate::Max,
            burst: Burst::Packets(64),
            peak: Rate::Max,
            // Half and half: neither late joiners nor a fast publisher can starve the other.
            repair_share: 50,
            repair_delay: RepairDelay::None,
            ncf_repeat: us(200),
            rdata_repeat: us(200),
            rdata_repeat_max: ms(16),
            rdata_repeat_adaptive: false,
            ambient_spm: ms(100),
            ambient_packets: None,
            ihb_min: ms(5),
            ihb_max: secs(5),
            // Three, because one or two may get lost; together they delay the first data by less than IHB_MIN.
            opening_spms: 3,
            opening_gap: ms(1),
            syn: false,
            late_join_percent: None,
            // Four times the ceiling of the receivers' NAK_RDATA_IVL.
            linger: Linger::Quiet { quiet: secs(2), at_most: secs(30) },
            abort_linger: Linger::Quiet { quiet: secs(2), at_most: secs(30) },
            naks_after_abort: true,
            initial_sqn: None,
            back_off: None,
            // On one segment hundreds of receivers may ask before the first NCF reaches them.
            dup_nak_max: Some(1_000),
            confirm_late_naks: true,
            accept_path_as_source: true,
        }
    }

    /// Frames that a pool should have for this source alone: the window, and what control packets and copies of repairs take while the
    /// link has them in flight. With fewer than the window the source cannot be made; with just as many its NCFs and SPMs wait.
    ///
    /// ```
    /// # use pgmx::protocol::source::SourceConfig;
    /// let config = SourceConfig::new([239, 192, 0, 1].into(), 7500);
    /// assert!(config.frames() > config.window_slots);
    /// ```
    pub fn frames(&self) -> u32 {
        self.window_slots.saturating_add(FRAMES_BESIDE)
    }

    /// Octets of the largest PGM packet on this path.
    pub(super) fn tpdu(&self, path: &PathFacts) -> u16 {
        self.tpdu_max.unwrap_or_else(|| path.tpdu_max())
    }

    /// Octets that the token bucket holds.
    pub(super) fn bucket(&self, path: &PathFacts) -> u64 {
        let packet = u64::from(path.ip_octets(usize::from(self.tpdu(path)), true));
        match (self.burst, self.rate) {
            (_, Rate::Max) => 0,
            (Burst::Packets(packets), _) => u64::from(packets) * packet,
            (Burst::Time(time), Rate::OctetsPerSecond(rate)) => {
                let octets = u128::from(rate) * time.as_nanos() / 1_000_000_000;
                u64::try_from(octets).unwrap_or(u64::MAX).max(packet)
            }
        }
    }

    /// Says which value contradicts the path, another value, or itself.
    pub fn check(&self, path: &PathFacts) -> Result<(), ConfigError> {
        let family = self.group.is_ipv4() == path.nla.is_ipv4();
        ConfigError::unless(
            self.group.is_multicast() && family,
            "group",
            self.group,
            "a multicast group of the interface's address family",
        )?;
        ConfigError::unless(self.data_port != 0, "data_port", self.data_port, "1 to 65535")?;

        let mtu_least = CONTROL_LEN_MAX + path.ip_header + path.alert;
        ConfigError::unless(path.mtu >= mtu_least, "mtu", path.mtu, format_args!("at least {mtu_least}"))?;
        let least = DATA_HEADER_LEN as u16 + 64;
        let most = path.tpdu_max();
        let tpdu = self.tpdu(path);
        let allowed = format_args!("{least} to {most}: what fits the MTU of {}", path.mtu);
        within("tpdu_max", tpdu, least, most).map_err(|error| ConfigError { allowed: allowed.to_string(), ..error })?;
        // A claim for one packet takes what the packet holds, and looks no further.
        within("apdu_max", self.apdu_max, u32::from(tpdu) - DATA_HEADER_LEN as u32, u32::MAX)?;

        // RFC 3208 §3.3, conformance 37: far below 2^31 − 1.
        ConfigError::unless(
            self.window_slots.is_power_of_two() && (4..=1 << 22).contains(&self.window_slots),
            "window_slots",
            self.window_slots,
            "a power of two from 4 to 4194304",
        )?;
        let day = secs(86_400);
        within("window_time", self.window_time, ms(1), 7 * day)?;
        within("advance_percent", self.advance_percent, 1, 50)?;
        within("max_hold", self.max_hold, Duration::ZERO, day)?;
        // Else no hold would ever end by silence.
        let longest = if self.advance == Advance::Data { self.max_hold } else { day };
        within("hold_quiet", self.hold_quiet, Duration::ZERO, longest)?;
        self.check_rate(path)?;

        within("repair_share", self.repair_share, 1, 99)?;
        if let RepairDelay::Fixed(delay) = self.repair_delay {
            // Where the trail waits for nothing, the data must still be there when its repair leaves.
            let kept = self.window_time / 100 * (100 - u32::from(self.advance_percent));
            let longest = if self.advance == Advance::Time { kept.min(secs(10)) } else { secs(10) };
            within("repair_delay", delay, Duration::ZERO, longest)?;
        }
        within("rdata_repeat_max", self.rdata_repeat_max, Duration::ZERO, secs(4))?;
        // What adapts needs room to do so.
        let least = if self.rdata_repeat_adaptive { REPEAT_FLOOR } else { Duration::ZERO };
        within("rdata_repeat", self.rdata_repeat, least, self.rdata_repeat_max)?;
        within("ncf_repeat", self.ncf_repeat, Duration::ZERO, secs(4))?;

        // RFC 3208 §5.1.6, conformance 46: neither knows of the other.
        within("ihb_max", self.ihb_max, us(1), day)?;
        within("ihb_min", self.ihb_min, us(1), self.ihb_max)?;
        within("ambient_spm", self.ambient_spm, us(1), day)?;
        within("ambient_packets", self.ambient_packets.unwrap_or(1), 1, u32::MAX)?;
        // conformance 52: at least one SPM before the first data.
        within("opening_spms", self.opening_spms, 1, 100)?;
        within("opening_gap", self.opening_gap, Duration::ZERO, secs(10))?;
        within("late_join_percent", self.late_join_percent.unwrap_or(0), 0, 100)?;
        for (field, linger) in [("linger", self.linger), ("abort_linger", self.abort_linger)] {
            if let Linger::Quiet { quiet, at_most } = linger {
                within(field, at_most, Duration::ZERO, 7 * day)?;
                within(field, quiet, Duration::ZERO, at_most)?;
            }
        }
        if let Some(tuning) = self.back_off {
            within("back_off.max", tuning.max, us(1), secs(60))?;
            within("back_off.min", tuning.min, us(1), tuning.max)?;
            within("back_off.start", tuning.start, tuning.min, tuning.max)?;
            within("back_off.probes", tuning.probes, 1, u32::MAX)?;
        }
        // Counting ends at the largest number, so that it is never reached.
        within("dup_nak_max", self.dup_nak_max.unwrap_or(2), 2, u16::MAX - 1)
    }

    fn check_rate(&self, path: &PathFacts) -> Result<(), ConfigError> {
        let packet = u64::from(path.ip_octets(usize::from(self.tpdu(path)), true));
        let fastest = 1_000_000_000_000;
        if let Rate::OctetsPerSecond(peak) = self.peak {
            let least = if let Rate::OctetsPerSecond(rate) = self.rate { rate } else { 1 };
            within("peak", peak, least, fastest)?;
        }
        match self.rate {
            Rate::Max => ConfigError::unless(
                matches!(self.advance, Advance::Data | Advance::Application),
                "rate",
                self.rate,
                "a finite rate, because the window advances with time",
            ),
            Rate::OctetsPerSecond(rate) => {
                within("rate", rate, 1, fastest)?;
                within("burst", self.bucket(path), packet, TokenBucket::OCTETS_MAX)?;
                if matches!(self.advance, Advance::Data | Advance::Application) {
                    return Ok(());
                }
                let holds = u128::from(self.window_slots) * u128::from(packet);
                let wanted = u128::from(rate) * self.window_time.as_nanos() / 1_000_000_000;
                ConfigError::unless(
                    wanted <= holds,
                    "window_time",
                    self.window_time,
                    format_args!(
                        "rate × window_time = {wanted} octets within the {holds} that {} slots hold",
                        self.window_slots
                    ),
                )
            }
        }
    }
}

fn within<T: PartialOrd + Debug + Copy>(field: &'static str, value: T, least: T, most: T) -> Result<(), ConfigError> {
    ConfigError::unless(least <= value && value <= most, field, value, Range(least, most))
}

struct Range<T>(T, T);

impl<T: Debug> Display for Range<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} to {:?}", self.0, self.1)
    }
}
