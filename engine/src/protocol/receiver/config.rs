//! What a receiver can be told, what each profile says, and what is refused.
//!
//! The application writes a [`ReceiverConfig`] in its own words and durations; [`ReceiverConfig::check`] refuses what cannot work; the state
//! machines read `Settings`, the same in nanoseconds. Guards the invariant that no state machine ever meets a contradictory timer.

use core::net::IpAddr;
use core::time::Duration;

use crate::frame::PathFacts;
use crate::protocol::config::{ConfigError, Profile};
use crate::time::nanos;
use crate::wire::MAX_NAK_LIST;

/// An interval of the NAK procedures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Always the same.
    Fixed(Duration),
    /// Follows what the network shows, between two bounds.
    Adaptive {
        /// Never shorter.
        floor: Duration,
        /// Used until something was measured.
        start: Duration,
        /// Never longer.
        ceiling: Duration,
    },
}

/// In which order data is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Contiguous and in SQN order.
    #[default]
    InOrder,
    /// Each APDU as soon as it is complete.
    AsComplete,
}

/// What an unrecoverable loss does to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// It is reported, and the session ends.
    Reset,
    /// It is reported, and the session goes on behind it.
    Skip,
}

/// What an OPT_RST without its N bit does to a session; with the N bit the session always ends at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRst {
    /// It ends at once.
    EndAtOnce,
    /// What is in the window is recovered and delivered first.
    FinishWindow,
}

/// Which packet lets the receiver into a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinOn {
    /// ODATA and RDATA at their own SQN, an SPM behind its lead.
    Anything,
    /// ODATA only.
    Odata,
}

/// Whether NAKs are also multicast with TTL 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NakCopy {
    /// Never.
    Never,
    /// When the PGM parent's address has another prefix (24 bits of IPv4, 64 of IPv6) than ours.
    ParentOffLink,
    /// Always.
    Always,
}

/// A receiver: one group, one data-destination port, any number of sessions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReceiverConfig {
    /// The group.
    pub group: IpAddr,
    /// The data-destination port.
    pub data_port: u16,
    /// Sources to listen to; empty: all.
    pub sources: Vec<IpAddr>,

    /// SQNs of one session that are worked on at a time: a power of two. With fewer than the source's window has, what comes behind a hole may
    /// have to be thrown away and asked for again while the source could still repair the hole. A window takes some 48 octets a slot.
    pub window_slots: u32,
    /// Frames of one session that may be held out of order; fewer if the pool has fewer to spare ([`ReceiverConfig::frames`]). An APDU
    /// of more packets than this cannot be delivered: 65,536 hold the 16 MiB of `max_apdu` in packets of 256 octets and more.
    pub held_max: u32,
    /// Sessions at a time, those over and not yet forgotten included.
    pub sessions_max: u32,
    /// Octets of the largest APDU.
    pub max_apdu: u32,

    /// In which order data is delivered.
    pub order: Order,
    /// What an unrecoverable loss does.
    pub on_loss: OnLoss,
    /// What an OPT_RST does.
    pub on_rst: OnRst,
    /// Which packet lets us in.
    pub join_on: JoinOn,
    /// Whether an OPT_JOIN in the packet that lets us in is taken up: history as far as it is offered.
    pub take_history: bool,
    /// A session without an SPM for so long is over. One that has ended is remembered for as long after its last SPM, and does not open again.
    pub expiry: Duration,

    /// A packet counts as lost when so many later ones came; 0: at once.
    pub reorder_packets: u32,
    /// ... or when so much time has passed.
    pub reorder_time: Duration,
    /// NAK_BO_IVL.
    pub nak_bo_ivl: Interval,
    /// The shortest back-off that is drawn from a fixed NAK_BO_IVL.
    pub nak_bo_least: Duration,
    /// NAK_BO_IVL_MIN: an advertised interval is not taken shorter. A source that sends OPT_NAK_BO_RNG sets both bounds for its session.
    pub nak_bo_min: Duration,
    /// NAK_BO_IVL_MAX: nor longer.
    pub nak_bo_max: Duration,
    /// NAK_RPT_IVL: wait for an NCF.
    pub nak_rpt_ivl: Interval,
    /// NAK_RDATA_IVL: wait for the repair.
    pub nak_rdata_ivl: Interval,
    /// NAK_NCF_RETRIES: so many more NAKs without an NCF.
    pub nak_ncf_retries: u8,
    /// NAK_DATA_RETRIES: so many more without a repair.
    pub nak_data_retries: u8,
    /// SQNs in one NAK.
    pub nak_sqns_max: u8,
    /// Whether NAKs are also multicast with TTL 1.
    pub nak_copy: NakCopy,
    /// SPMR_BO_IVL.
    pub spmr_bo_ivl: Duration,
    /// SPMR_SPM_IVL: an SPMR is not repeated before.
    pub spmr_spm_ivl: Duration,
}

/// An advertised bound of NAK_BO_IVL is not taken higher than this, whoever sent it: a hostile source must not silence us for an hour.
pub(super) const NAK_BO_LIMIT: Duration = Duration::from_secs(10);
/// SQNs in one NAK: the header's and a full OPT_NAK_LIST.
const NAK_SQNS: u8 = MAX_NAK_LIST as u8 + 1;
/// Octets of the longest NAK: the header with two IPv6 NLAs, and a full OPT_NAK_LIST.
const NAK_LEN_MAX: u16 = 60 + 4 + 4 + 4 * MAX_NAK_LIST as u16;
/// No interval may be longer: what is longer is a typing error.
const LONGEST: Duration = Duration::from_secs(600);

/// Frames that a receiver wants beside those it holds: some batches of 64, on their way in, and NAKs on their way out.
const FRAMES_BESIDE: u32 = 512;

const fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn adaptive(floor: Duration, start: Duration, ceiling: Duration) -> Interval {
    Interval::Adaptive { floor, start, ceiling }
}

impl ReceiverConfig {
    /// The defaults of a profile.
    pub fn profile(profile: Profile, group: IpAddr, data_port: u16) -> Self {
        let lan = Self {
            group,
            data_port,
            sources: Vec::new(),
            // As long as the window that a source has by default: whatever it can still repair can be waited for.
            window_slots: 65_536,
            held_max: 65_536,
            sessions_max: 64,
            max_apdu: 1 << 24,
            order: Order::InOrder,
            on_loss: OnLoss::Reset,
            on_rst: OnRst::FinishWindow,
            join_on: JoinOn::Anything,
            take_history: true,
            expiry: Duration::from_secs(30),
            reorder_packets: 2,
            reorder_time: us(100),
            nak_bo_ivl: adaptive(us(50), ms(1), ms(50)),
            nak_bo_least: Duration::ZERO,
            nak_bo_min: us(50),
            nak_bo_max: ms(50),
            nak_rpt_ivl: adaptive(us(500), ms(5), ms(200)),
            nak_rdata_ivl: adaptive(ms(1), ms(10), ms(500)),
            nak_ncf_retries: 50,
            nak_data_retries: 50,
            nak_sqns_max: NAK_SQNS,
            nak_copy: NakCopy::Never,
            spmr_bo_ivl: ms(50),
            spmr_spm_ivl: ms(250),
        };
        match profile {
            Profile::Lan => lan,
            Profile::LowLatency => Self {
                on_loss: OnLoss::Skip,
                on_rst: OnRst::EndAtOnce,
                expiry: Duration::from_secs(10),
                reorder_packets: 1,
                reorder_time: us(10),
                nak_bo_ivl: adaptive(us(5), us(20), ms(2)),
                nak_bo_min: us(5),
                nak_bo_max: ms(2),
                nak_rpt_ivl: adaptive(us(50), us(500), ms(10)),
                nak_rdata_ivl: adaptive(us(50), ms(1), ms(20)),
                spmr_bo_ivl: ms(2),
                spmr_spm_ivl: ms(20),
                ..lan
            },
            Profile::Wan => Self {
                expiry: Duration::from_secs(300),
                reorder_time: ms(10),
                nak_bo_ivl: Interval::Fixed(ms(50)),
                nak_bo_min: ms(10),
                nak_bo_max: Duration::from_secs(2),
                nak_rpt_ivl: Interval::Fixed(ms(750)),
                nak_rdata_ivl: Interval::Fixed(Duration::from_secs(2)),
                nak_ncf_retries: 10,
                nak_data_retries: 10,
                nak_copy: NakCopy::ParentOffLink,
                spmr_bo_ivl: ms(250),
                spmr_spm_ivl: Duration::from_secs(1),
                ..lan
            },
            Profile::Windows => Self {
                on_rst: OnRst::EndAtOnce,
                // What the Windows engine takes; a session begins with original data only.
                join_on: JoinOn::Odata,
                max_apdu: 1 << 24,
                expiry: Duration::from_secs(300),
                reorder_packets: 0,
                reorder_time: Duration::ZERO,
                nak_bo_ivl: Interval::Fixed(ms(50)),
                nak_bo_least: ms(10),
                nak_bo_min: ms(10),
                nak_bo_max: Duration::from_secs(2),
                nak_rpt_ivl: Interval::Fixed(ms(750)),
                nak_rdata_ivl: Interval::Fixed(Duration::from_secs(2)),
                nak_ncf_retries: 10,
                nak_data_retries: 10,
                nak_copy: NakCopy::Always,
                spmr_bo_ivl: ms(250),
                spmr_spm_ivl: Duration::from_secs(1),
                ..lan
            },
        }
    }

    /// Frames that a pool should have for one session of this receiver: what is held out of order, and what passes through meanwhile. What
    /// the application keeps of the deliveries and what the link needs to receive come on top. With fewer, the newest packets that are
    /// held go first and are asked for again: slower, not wrong.
    ///
    /// ```
    /// # use pgmx::protocol::config::Profile;
    /// # use pgmx::protocol::receiver::ReceiverConfig;
    /// let config = ReceiverConfig::profile(Profile::Lan, [239, 192, 0, 1].into(), 7500);
    /// assert!(config.frames() > config.held_max);
    /// ```
    pub fn frames(&self) -> u32 {
        self.held_max.saturating_add(FRAMES_BESIDE)
    }

    /// Refuses what cannot work, naming the field, the value and what would do.
    pub fn check(&self, path: &PathFacts) -> Result<(), ConfigError> {
        ConfigError::unless(self.group.is_multicast(), "group", self.group, "a multicast address")?;
        ConfigError::unless(
            self.group.is_ipv4() == path.nla.is_ipv4(),
            "group",
            self.group,
            format_args!("the address family of the interface's {}", path.nla),
        )?;
        ConfigError::unless(self.data_port != 0, "data_port", self.data_port, "1 to 65535")?;
        // A NAK that fits no packet would never leave.
        let mtu_least = NAK_LEN_MAX + path.ip_header + path.alert;
        ConfigError::unless(path.mtu >= mtu_least, "mtu", path.mtu, format_args!("at least {mtu_least}"))?;
        for source in &self.sources {
            let unicast = !source.is_multicast() && !source.is_unspecified();
            let good = unicast && source.is_ipv4() == self.group.is_ipv4();
            ConfigError::unless(good, "sources", source, "unicast addresses of the group's family")?;
        }
        let slots = self.window_slots.is_power_of_two() && (64..=1 << 22).contains(&self.window_slots);
        ConfigError::unless(slots, "window_slots", self.window_slots, "a power of two from 64 to 4194304")?;
        ConfigError::unless((1..=1 << 22).contains(&self.held_max), "held_max", self.held_max, "1 to 4194304")?;
        ConfigError::unless((1..=4096).contains(&self.sessions_max), "sessions_max", self.sessions_max, "1 to 4096")?;
        ConfigError::unless(self.max_apdu > 0, "max_apdu", self.max_apdu, "1 octet or more")?;
        let expiry = self.expiry >= ms(1) && self.expiry <= Duration::from_secs(86_400);
        ConfigError::unless(expiry, "expiry", self.expiry, "1 ms to 1 day")?;
        ConfigError::unless(self.reorder_packets <= 1000, "reorder_packets", self.reorder_packets, "0 to 1000")?;
        ConfigError::unless(self.reorder_time <= LONGEST, "reorder_time", self.reorder_time, "at most 600 s")?;
        self.nak_bo_ivl.check("nak_bo_ivl")?;
        self.nak_rpt_ivl.check("nak_rpt_ivl")?;
        self.nak_rdata_ivl.check("nak_rdata_ivl")?;
        ConfigError::unless(
            self.nak_bo_least <= self.nak_bo_ivl.longest(),
            "nak_bo_least",
            self.nak_bo_least,
            format_args!("at most nak_bo_ivl, {:?}", self.nak_bo_ivl.longest()),
        )?;
        ConfigError::unless(
            self.nak_bo_min <= self.nak_bo_max,
            "nak_bo_min",
            self.nak_bo_min,
            format_args!("at most nak_bo_max, {:?}", self.nak_bo_max),
        )?;
        ConfigError::unless(self.nak_bo_max <= NAK_BO_LIMIT, "nak_bo_max", self.nak_bo_max, "at most 10 s")?;
        ConfigError::unless(self.nak_ncf_retries <= 250, "nak_ncf_retries", self.nak_ncf_retries, "0 to 250")?;
        ConfigError::unless(self.nak_data_retries <= 250, "nak_data_retries", self.nak_data_retries, "0 to 250")?;
        ConfigError::unless((1..=NAK_SQNS).contains(&self.nak_sqns_max), "nak_sqns_max", self.nak_sqns_max, "1 to 63")?;
        let spmr = self.spmr_bo_ivl <= LONGEST;
        ConfigError::unless(spmr, "spmr_bo_ivl", self.spmr_bo_ivl, "at most 600 s")?;
        let repeat = self.spmr_spm_ivl >= us(10) && self.spmr_spm_ivl <= LONGEST;
        ConfigError::unless(repeat, "spmr_spm_ivl", self.spmr_spm_ivl, "10 µs to 600 s")
    }
}

impl Interval {
    /// The longest it can become by itself.
    pub(super) fn longest(self) -> Duration {
        match self {
            Self::Fixed(fixed) => fixed,
            Self::Adaptive { ceiling, .. } => ceiling,
        }
    }

    fn check(self, field: &'static str) -> Result<(), ConfigError> {
        match self {
            // Shorter than a timer tick is a busy loop.
            Self::Fixed(fixed) => {
                ConfigError::unless(fixed >= us(1) && fixed <= LONGEST, field, fixed, "1 µs to 600 s")
            }
            Self::Adaptive { floor, start, ceiling } => ConfigError::unless(
                floor >= us(1) && floor <= start && start <= ceiling && ceiling <= LONGEST,
                field,
                (floor, start, ceiling),
                "1 µs <= floor <= start <= ceiling <= 600 s",
            ),
        }
    }
}

/// The configuration as the state machines read it: nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) group: IpAddr,
    pub(super) data_port: u16,
    pub(super) nla: IpAddr,
    pub(super) window_slots: u32,
    pub(super) held_max: u32,
    pub(super) max_apdu: u32,
    pub(super) order: Order,
    pub(super) on_loss: OnLoss,
    pub(super) on_rst: OnRst,
    pub(super) join_on: JoinOn,
    pub(super) take_history: bool,
    pub(super) expiry_ns: u64,
    pub(super) reorder_packets: u32,
    pub(super) reorder_ns: u64,
    pub(super) nak_ncf_retries: u8,
    pub(super) nak_data_retries: u8,
    pub(super) nak_sqns_max: usize,
    pub(super) nak_copy: NakCopy,
    pub(super) spmr_bo_ns: u64,
    pub(super) spmr_spm_ns: u64,
    /// Where a packet of ours begins in its frame.
    pub(super) front: u16,
    pub(super) tpdu_max: u16,
}

impl Settings {
    pub(super) fn new(config: &ReceiverConfig, path: &PathFacts) -> Self {
        Self {
            group: config.group,
            data_port: config.data_port,
            nla: path.nla,
            window_slots: config.window_slots,
            held_max: config.held_max,
            max_apdu: config.max_apdu,
            order: config.order,
            on_loss: config.on_loss,
            on_rst: config.on_rst,
            join_on: config.join_on,
            take_history: config.take_history,
            expiry_ns: nanos(config.expiry),
            reorder_packets: config.reorder_packets,
            reorder_ns: nanos(config.reorder_time),
            nak_ncf_retries: config.nak_ncf_retries,
            nak_data_retries: config.nak_data_retries,
            nak_sqns_max: usize::from(config.nak_sqns_max),
            nak_copy: config.nak_copy,
            spmr_bo_ns: nanos(config.spmr_bo_ivl),
            spmr_spm_ns: nanos(config.spmr_spm_ivl),
            front: path.front,
            tpdu_max: path.tpdu_max(),
        }
    }
}
