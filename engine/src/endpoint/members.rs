//! Who is at an endpoint: its sources and receivers, how they come and go, and what the link has to hear for them.
//!
//! Cold: nothing here runs for a packet. Guards: the link has joined exactly the channels, and listens on exactly the ports, that somebody
//! here uses; sources and receivers stay in the order in which they were added.

use core::net::IpAddr;

use super::{Endpoint, Sinks};
use crate::link::{Channel, Link, LinkError};
use crate::protocol::config::ConfigError;
use crate::protocol::receiver::{Receiver, ReceiverConfig};
use crate::protocol::source::{Publisher, Source, SourceConfig};
use crate::time::Time;
use crate::wire::Tsi;

/// Why a source or a receiver could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Its configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The link could not join its group.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Names a source of an endpoint; never used again after it was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(u32);

/// Names a receiver of an endpoint; never used again after it was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceiverId(u32);

pub(super) struct Listener {
    pub(super) id: ReceiverId,
    pub(super) channel: Channel,
    /// Sources it wants to hear; empty: all.
    sources: Vec<IpAddr>,
    pub(super) receiver: Receiver,
}

impl Listener {
    #[inline]
    pub(super) fn wants(&self, group: &IpAddr, data_port: u16) -> bool {
        self.channel.data_port == data_port && self.channel.group == *group
    }
}

pub(super) struct Speaker {
    pub(super) id: SourceId,
    pub(super) tsi: Tsi,
    pub(super) source: Source,
}

impl Speaker {
    fn channel(&self) -> Channel {
        channel(&self.source)
    }
}

fn channel(source: &Source) -> Channel {
    Channel { group: source.group(), data_port: source.data_port() }
}

impl<L: Link> Endpoint<L> {
    /// Begins a session. The publisher is the application's end of it.
    pub fn add_source(
        &mut self,
        config: &SourceConfig,
        tsi: Tsi,
        now: Time,
        seed: u64,
    ) -> Result<(SourceId, Publisher), AddError> {
        let taken = self.sources.iter().any(|speaker| speaker.tsi == tsi);
        ConfigError::unless(!taken, "tsi", tsi, "a session of its own: this one is running on this endpoint")?;
        let (source, publisher) = Source::new(config, self.path, tsi, &mut self.pool, now, seed)?;
        // RFC 3208 §8.3: NAKs may also come to the group, from neighbours that share our network: whoever they are.
        let heard = self.link.listen(tsi.port).and_then(|()| self.link.join(channel(&source), &[]));
        let id = SourceId(self.fresh_id());
        self.sources.push(Speaker { id, tsi, source });
        if let Err(error) = heard {
            drop(publisher);
            self.remove_source(id);
            return Err(error.into());
        }
        self.find_home();
        Ok((id, publisher))
    }

    /// Listens to a group from now on.
    pub fn add_receiver(&mut self, config: &ReceiverConfig, seed: u64) -> Result<ReceiverId, AddError> {
        let most = self.limits.max_apdu;
        ConfigError::unless(
            config.max_apdu <= most,
            "max_apdu",
            config.max_apdu,
            format_args!("at most {most}, which the endpoint's limits let through"),
        )?;
        let receiver = Receiver::new(config, self.path, seed)?;
        let channel = Channel { group: receiver.group(), data_port: receiver.data_port() };
        let id = ReceiverId(self.fresh_id());
        self.receivers.push(Listener { id, channel, sources: config.sources.clone(), receiver });
        // RFC 3208 §15.3: some of what a source tells may come to us alone.
        let heard = self.link.listen(channel.data_port).and_then(|()| self.join(channel));
        if let Err(error) = heard {
            self.receivers.pop();
            self.leave_unless_used(channel, channel.data_port);
            return Err(error.into());
        }
        self.find_home();
        Ok(id)
    }

    /// Ends a session without a word to its receivers; [`Source::close`] and wait for [`SourceState::Done`] to end it well. Its
    /// frames come back when its publisher is gone and the link has let go of them.
    ///
    /// [`SourceState::Done`]: crate::protocol::source::SourceState::Done
    pub fn remove_source(&mut self, id: SourceId) {
        let Some(at) = self.sources.iter().position(|speaker| speaker.id == id) else { return };
        let speaker = self.sources.remove(at);
        self.leave_unless_used(speaker.channel(), speaker.tsi.port);
        self.find_home();
        self.retiring.push(speaker.source);
        self.retire();
    }

    /// Stops listening; open sessions end with an event each.
    pub fn remove_receiver(&mut self, id: ReceiverId, sinks: &mut impl Sinks) {
        let Some(at) = self.receivers.iter().position(|listener| listener.id == id) else { return };
        let mut listener = self.receivers.remove(at);
        listener.receiver.close(&mut self.pool, sinks.of(listener.id));
        self.leave_unless_used(listener.channel, listener.channel.data_port);
        self.find_home();
    }

    fn find_home(&mut self) {
        let shared = |speaker: &Speaker| self.receivers.iter().any(|listener| listener.channel == speaker.channel());
        self.is_home = self.connects_its_own && !self.link.loops_back() && self.sources.iter().any(shared);
    }

    /// Joins a channel for all who use it: from the sources that any of them names, or from everybody if one names none.
    fn join(&mut self, channel: Channel) -> Result<(), LinkError> {
        let listeners = self.receivers.iter().filter(|listener| listener.channel == channel);
        let anybody = self.sources.iter().any(|speaker| speaker.channel() == channel)
            || listeners.clone().any(|listener| listener.sources.is_empty());
        let mut sources = Vec::new();
        if !anybody {
            sources.extend(listeners.flat_map(|listener| &listener.sources).copied());
            sources.sort_unstable();
            sources.dedup();
        }
        self.link.join(channel, &sources)
    }

    /// What cannot be left costs packets that nobody wants, and those are counted.
    fn leave_unless_used(&mut self, channel: Channel, port: u16) {
        let joined = self.receivers.iter().any(|listener| listener.channel == channel)
            || self.sources.iter().any(|speaker| speaker.channel() == channel);
        let _ = if joined { self.join(channel) } else { self.link.leave(channel) };
        let listening = self.receivers.iter().any(|listener| listener.channel.data_port == port)
            || self.sources.iter().any(|speaker| speaker.tsi.port == port);
        if !listening {
            let _ = self.link.unlisten(port);
        }
    }

    fn fresh_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// A source.
    pub fn source(&self, id: SourceId) -> Option<&Source> {
        self.sources.iter().find(|speaker| speaker.id == id).map(|speaker| &speaker.source)
    }

    /// A source, to be closed or aborted.
    pub fn source_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        self.sources.iter_mut().find(|speaker| speaker.id == id).map(|speaker| &mut speaker.source)
    }

    /// All sources, in the order in which they were added.
    pub fn sources_mut(&mut self) -> impl Iterator<Item = (SourceId, &mut Source)> {
        self.sources.iter_mut().map(|speaker| (speaker.id, &mut speaker.source))
    }

    /// A receiver.
    pub fn receiver(&self, id: ReceiverId) -> Option<&Receiver> {
        self.receivers.iter().find(|listener| listener.id == id).map(|listener| &listener.receiver)
    }
}
