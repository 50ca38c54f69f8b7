//! What publishers and subscribers are asked to be.
//!
//! Made by applications, read by the engine once. Guards: what is not said follows the engine's profile, in whichever order it is said.

use core::net::IpAddr;

use crate::protocol::config::Profile;
use crate::protocol::receiver::{OnLoss, Order, ReceiverConfig};
use crate::protocol::source::{Linger, Rate, SourceConfig};
use crate::wire::Tsi;

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
    profile: Option<Profile>,
    pub(super) interface: Option<String>,
    pub(super) tsi: Option<Tsi>,
    pub(super) queue: usize,
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
        Self {
            base,
            profile: None,
            interface: None,
            tsi: None,
            queue: QUEUE,
            batch: None,
            window: None,
            rate: None,
            linger: None,
            late_join: None,
        }
    }

    /// With another profile than the engine's.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// On this interface of the engine: its name, number or address.
    #[must_use]
    pub fn on(mut self, interface: &str) -> Self {
        self.interface = Some(interface.into());
        self
    }

    /// With this TSI instead of one of the host's own.
    #[must_use]
    pub fn tsi(mut self, tsi: Tsi) -> Self {
        self.tsi = Some(tsi);
        self
    }

    /// Whether small messages may share packets: [`SourceConfig::batch`].
    #[must_use]
    pub fn batch(mut self, batch: bool) -> Self {
        self.batch = Some(batch);
        self
    }

    /// Packets that the transmit window holds: [`SourceConfig::window_slots`].
    #[must_use]
    pub fn window(mut self, slots: u32) -> Self {
        self.window = Some(slots);
        self
    }

    /// The rate that it never exceeds: [`SourceConfig::rate`].
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// How long repairs are served after its end: [`SourceConfig::linger`].
    #[must_use]
    pub fn linger(mut self, linger: Linger) -> Self {
        self.linger = Some(linger);
        self
    }

    /// Percent of the window that late joiners may ask for: [`SourceConfig::late_join_percent`].
    #[must_use]
    pub fn late_join(mut self, percent: u8) -> Self {
        self.late_join = Some(percent);
        self
    }

    /// Messages that may wait in the queue of a [`SharedPublisher`](super::SharedPublisher): as much again as the window holds back.
    #[must_use]
    pub fn queue(mut self, messages: usize) -> Self {
        self.queue = messages;
        self
    }

    pub(super) fn resolve(&self, profile: Profile) -> SourceConfig {
        let mut config = match &self.base {
            Base::Channel(group, port) => SourceConfig::profile(self.profile.unwrap_or(profile), *group, *port),
            Base::Exact(config) => (**config).clone(),
        };
        config.batch = self.batch.unwrap_or(config.batch);
        config.window_slots = self.window.unwrap_or(config.window_slots);
        config.rate = self.rate.unwrap_or(config.rate);
        config.linger = self.linger.unwrap_or(config.linger);
        config.late_join_percent = self.late_join.or(config.late_join_percent);
        config
    }
}

impl From<SourceConfig> for PublisherConfig {
    /// Every value as it stands there.
    fn from(config: SourceConfig) -> Self {
        Self::over(Base::Exact(Box::new(config)))
    }
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
    profile: Option<Profile>,
    pub(super) interfaces: Vec<String>,
    pub(super) ring: usize,
    pub(super) lease_frames: u32,
    pub(super) spill_frames: u32,
    sources: Vec<IpAddr>,
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
            profile: None,
            interfaces: Vec::new(),
            ring: RING,
            lease_frames: LEASE_FRAMES,
            spill_frames: SPILL_FRAMES,
            sources: Vec::new(),
            on_loss: None,
            order: None,
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

    /// With another profile than the engine's.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
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

    /// What an unrecoverable loss does: ends the session, or is skipped. Told it is either way.
    #[must_use]
    pub fn on_loss(mut self, on_loss: OnLoss) -> Self {
        self.on_loss = Some(on_loss);
        self
    }

    /// In which order messages come.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
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

    pub(super) fn resolve(&self, profile: Profile) -> Vec<ReceiverConfig> {
        let resolve = |base: &Base<ReceiverConfig>| {
            let mut config = match base {
                Base::Channel(group, port) => ReceiverConfig::profile(self.profile.unwrap_or(profile), *group, *port),
                Base::Exact(config) => (**config).clone(),
            };
            config.sources.extend(&self.sources);
            config.on_loss = self.on_loss.unwrap_or(config.on_loss);
            config.order = self.order.unwrap_or(config.order);
            config
        };
        self.bases.iter().map(resolve).collect()
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
        let config = PublisherConfig::new(GROUP, 7500).window(64).linger(Linger::Full).resolve(Profile::LowLatency);
        let mut wanted = SourceConfig::profile(Profile::LowLatency, GROUP, 7500);
        (wanted.window_slots, wanted.linger) = (64, Linger::Full);
        assert_eq!(config, wanted);
        assert_eq!(PublisherConfig::from(wanted.clone()).resolve(Profile::Wan), wanted);
        let of_its_own = PublisherConfig::new(GROUP, 7500).profile(Profile::Windows).resolve(Profile::Lan);
        assert_eq!(of_its_own, SourceConfig::profile(Profile::Windows, GROUP, 7500));
    }

    #[test]
    fn a_subscribers_wishes_hold_for_all_its_channels() {
        let mut exact = ReceiverConfig::profile(Profile::Wan, GROUP, 7502);
        exact.expiry = Duration::from_secs(7);
        let config = SubscriberConfig::new(GROUP, 7500).and(GROUP, 7501).and_exactly(exact).on_loss(OnLoss::Skip);
        let all = config.resolve(Profile::Lan);
        assert_eq!(all.iter().map(|one| one.data_port).collect::<Vec<_>>(), [7500, 7501, 7502]);
        assert!(all.iter().all(|one| one.on_loss == OnLoss::Skip));
        assert_eq!((all[0].expiry, all[2].expiry), (Duration::from_secs(30), Duration::from_secs(7)));
    }
}
