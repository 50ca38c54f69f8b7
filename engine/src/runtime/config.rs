//! What publishers and subscribers are asked to be.
//!
//! Made by applications, read by the engine once. Guards: what is not said follows the engine's profile, in whichever order it is said.

use core::net::IpAddr;

use crate::protocol::config::{ConfigError, Profile};
use crate::protocol::receiver::{OnLoss, Order, ReceiverConfig};
use crate::protocol::source::{Linger, Rate, SourceConfig};
use crate::wire::Tsi;

/// Messages that may wait anywhere, at the most: 6 s at 10 Gbit/s in full packets. Places are allocated when the session begins; more
/// of them is a mistake that would take the memory of others.
const WAITING_MAX: usize = 1 << 22;

/// Methods that say one value each, of those that follow the profile unless they are said.
macro_rules! wishes {
    ($($(#[$doc:meta])* $name:ident($value:ident: $kind:ty) => $field:ident;)+) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $value: $kind) -> Self {
            self.wishes.$field = Some($value);
            self
        }
    )+};
}

/// What a publisher is asked to be.
///
/// ```
/// use pgmx::PublisherConfig;
///
/// let config = PublisherConfig::new([239, 192, 0, 1].into(), 7500).on("eth0").batch(true).window(4096);
/// ```
#[derive(Clone, Debug)]
pub struct PublisherConfig {
    base: Base<SourceConfig>,
    pub(super) interface: Option<String>,
    pub(super) queue: usize,
    pub(super) wishes: SourceWishes,
}

/// What was said of a session; the rest follows its base.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceWishes {
    profile: Option<Profile>,
    pub(super) tsi: Option<Tsi>,
    batch: Option<bool>,
    window: Option<u32>,
    rate: Option<Rate>,
    linger: Option<Linger>,
    late_join: Option<u8>,
}

/// Defaults to come, or all values.
#[derive(Clone, Debug)]
enum Base<C> {
    Channel(IpAddr, u16),
    Exact(Box<C>),
}

/// Messages that wait in the queue of a shared publisher, unless it is said how many.
const QUEUE: usize = 1024;

impl PublisherConfig {
    /// A session on this group and data port, with the engine's profile.
    pub fn new(group: IpAddr, data_port: u16) -> Self {
        Self::over(Base::Channel(group, data_port))
    }

    fn over(base: Base<SourceConfig>) -> Self {
        Self { base, interface: None, queue: QUEUE, wishes: SourceWishes::default() }
    }

    /// On this interface of the engine: its name, number or address.
    #[must_use]
    pub fn on(mut self, interface: &str) -> Self {
        self.interface = Some(interface.into());
        self
    }

    wishes! {
        /// With another profile than the engine's.
        profile(profile: Profile) => profile;
        /// With this TSI instead of one of the host's own.
        tsi(tsi: Tsi) => tsi;
        /// Whether small messages may share packets: [`SourceConfig::batch`].
        batch(batch: bool) => batch;
        /// Packets that the transmit window holds: [`SourceConfig::window_slots`].
        window(slots: u32) => window;
        /// The rate that it never exceeds: [`SourceConfig::rate`].
        rate(rate: Rate) => rate;
        /// How long repairs are served after its end: [`SourceConfig::linger`].
        linger(linger: Linger) => linger;
        /// Percent of the window that late joiners may ask for: [`SourceConfig::late_join_percent`].
        late_join(percent: u8) => late_join;
    }

    /// Messages that may wait in the queue of a [`SharedPublisher`](super::SharedPublisher): as much again as the window holds back.
    #[must_use]
    pub fn queue(mut self, messages: usize) -> Self {
        self.queue = messages;
        self
    }

    /// What the session is to be; what the session checks by itself is left to it.
    pub(super) fn resolve(&self, profile: Profile) -> Result<SourceConfig, ConfigError> {
        check_waiting("queue", self.queue)?;
        let SourceWishes { profile: own, tsi: _, batch, window, rate, linger, late_join } = self.wishes;
        let mut config = match &self.base {
            Base::Channel(group, port) => SourceConfig::profile(own.unwrap_or(profile), *group, *port),
            Base::Exact(config) => (**config).clone(),
        };
        config.batch = batch.unwrap_or(config.batch);
        config.window_slots = window.unwrap_or(config.window_slots);
        config.rate = rate.unwrap_or(config.rate);
        config.linger = linger.unwrap_or(config.linger);
        config.late_join_percent = late_join.or(config.late_join_percent);
        Ok(config)
    }
}

impl From<SourceConfig> for PublisherConfig {
    /// Every value as it stands there.
    fn from(config: SourceConfig) -> Self {
        Self::over(Base::Exact(Box::new(config)))
    }
}

fn check_waiting(field: &'static str, messages: usize) -> Result<(), ConfigError> {
    let allowed = format_args!("at most {WAITING_MAX} messages may wait");
    ConfigError::unless(messages <= WAITING_MAX, field, messages, allowed)
}

/// What a subscriber is asked to be.
///
/// ```
/// use pgmx::SubscriberConfig;
/// use pgmx::protocol::receiver::OnLoss;
///
/// let (quotes, trades) = ([239, 192, 0, 1].into(), [239, 192, 0, 2].into());
/// let config = SubscriberConfig::new(quotes, 7500).and(trades, 7501).on("eth0").on("eth1").on_loss(OnLoss::Skip);
/// ```
#[derive(Clone, Debug)]
pub struct SubscriberConfig {
    bases: Vec<Base<ReceiverConfig>>,
    pub(super) interfaces: Vec<String>,
    pub(super) ring: usize,
    pub(super) lease_frames: u32,
    pub(super) spill_frames: u32,
    sources: Vec<IpAddr>,
    wishes: ReceiverWishes,
}

/// What was said of all channels of a subscriber; the rest follows their bases.
#[derive(Clone, Debug, Default)]
struct ReceiverWishes {
    profile: Option<Profile>,
    on_loss: Option<OnLoss>,
    order: Option<Order>,
}

/// Messages that wait for a subscriber, unless it is said how many: 6 ms at 10 Gbit/s in full packets.
const RING: usize = 4096;
/// Frames that a subscriber may hold, unless it is said how many: what its ring holds, and as much in its hands.
const LEASE_FRAMES: u32 = 8192;
/// Frames for copies, unless it is said how many.
const SPILL_FRAMES: u32 = 1024;

impl SubscriberConfig {
    /// Hears this group and data port, with the engine's profile.
    pub fn new(group: IpAddr, data_port: u16) -> Self {
        Self::over(Base::Channel(group, data_port))
    }

    fn over(base: Base<ReceiverConfig>) -> Self {
        Self {
            bases: vec![base],
            interfaces: Vec::new(),
            ring: RING,
            lease_frames: LEASE_FRAMES,
            spill_frames: SPILL_FRAMES,
            sources: Vec::new(),
            wishes: ReceiverWishes::default(),
        }
    }

    /// And this group and data port.
    #[must_use]
    pub fn and(mut self, group: IpAddr, data_port: u16) -> Self {
        self.bases.push(Base::Channel(group, data_port));
        self
    }

    /// And what this says, as it stands there.
    #[must_use]
    pub fn and_exactly(mut self, config: ReceiverConfig) -> Self {
        self.bases.push(Base::Exact(Box::new(config)));
        self
    }

    /// On this interface of the engine, by name, number or address; and on others that are named so. Without any: on all.
    #[must_use]
    pub fn on(mut self, interface: &str) -> Self {
        self.interfaces.push(interface.into());
        self
    }

    /// From this source, and others that are named so. Without any: from all.
    #[must_use]
    pub fn from_source(mut self, source: IpAddr) -> Self {
        self.sources.push(source);
        self
    }

    wishes! {
        /// With another profile than the engine's.
        profile(profile: Profile) => profile;
        /// What an unrecoverable loss does: ends the session, or is skipped. Told it is either way.
        on_loss(on_loss: OnLoss) => on_loss;
        /// In which order messages come.
        order(order: Order) => order;
    }

    /// Messages and news (a batch counts as one) that may wait until they are received.
    #[must_use]
    pub fn ring(mut self, items: usize) -> Self {
        self.ring = items.max(1);
        self
    }

    /// Frames of a worker that its messages may hold, waiting ones and those in your hands; what is beyond is copied.
    #[must_use]
    pub fn lease_frames(mut self, frames: u32) -> Self {
        self.lease_frames = frames;
        self
    }

    /// Frames for such copies; what is beyond them is lost, and told.
    #[must_use]
    pub fn spill_frames(mut self, frames: u32) -> Self {
        self.spill_frames = frames.max(1);
        self
    }

    /// What each channel is to be; what a receiver checks by itself is left to it.
    pub(super) fn resolve(&self, profile: Profile) -> Result<Vec<ReceiverConfig>, ConfigError> {
        check_waiting("ring", self.ring)?;
        let ReceiverWishes { profile: own, on_loss, order } = self.wishes;
        let profile = own.unwrap_or(profile);
        let resolve = |base: &Base<ReceiverConfig>| {
            let mut config = match base {
                Base::Channel(group, port) => ReceiverConfig::profile(profile, *group, *port),
                Base::Exact(config) => (**config).clone(),
            };
            config.sources.extend(&self.sources);
            config.on_loss = on_loss.unwrap_or(config.on_loss);
            config.order = order.unwrap_or(config.order);
            config
        };
        Ok(self.bases.iter().map(resolve).collect())
    }
}

impl From<ReceiverConfig> for SubscriberConfig {
    /// Every value as it stands there.
    fn from(config: ReceiverConfig) -> Self {
        Self::over(Base::Exact(Box::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const GROUP: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(239, 192, 0, 1));

    #[test]
    fn what_is_not_said_follows_the_engines_profile_and_what_is_said_stays() {
        let config = PublisherConfig::new(GROUP, 7500)
            .window(64)
            .linger(Linger::Full)
            .resolve(Profile::LowLatency)
            .expect("sound");
        let mut wanted = SourceConfig::profile(Profile::LowLatency, GROUP, 7500);
        (wanted.window_slots, wanted.linger) = (64, Linger::Full);
        assert_eq!(config, wanted);
        assert_eq!(PublisherConfig::from(wanted.clone()).resolve(Profile::Wan), Ok(wanted));
        let of_its_own = PublisherConfig::new(GROUP, 7500).profile(Profile::Windows).resolve(Profile::Lan);
        assert_eq!(of_its_own, Ok(SourceConfig::profile(Profile::Windows, GROUP, 7500)));
    }

    #[test]
    fn a_subscribers_wishes_hold_for_all_its_channels() {
        let mut exact = ReceiverConfig::profile(Profile::Wan, GROUP, 7502);
        exact.expiry = Duration::from_secs(7);
        let config = SubscriberConfig::new(GROUP, 7500).and(GROUP, 7501).and_exactly(exact).on_loss(OnLoss::Skip);
        let all = config.resolve(Profile::Lan).expect("sound");
        assert_eq!(all.iter().map(|one| one.data_port).collect::<Vec<_>>(), [7500, 7501, 7502]);
        assert!(all.iter().all(|one| one.on_loss == OnLoss::Skip));
        assert_eq!((all[0].expiry, all[2].expiry), (Duration::from_secs(30), Duration::from_secs(7)));
    }
    #[test]
    fn places_that_no_memory_has_room_for_are_refused_by_name() {
        for none in [WAITING_MAX + 1, usize::MAX] {
            let queue = PublisherConfig::new(GROUP, 7500).queue(none).resolve(Profile::Lan).map(drop);
            let ring = SubscriberConfig::new(GROUP, 7500).ring(none).resolve(Profile::Lan).map(drop);
            for (field, refused) in [("queue", queue), ("ring", ring)] {
                let error = refused.expect_err(field);
                assert_eq!((error.field, error.value), (field, none.to_string()));
            }
        }
    }
}
