//! The channels that a link has joined, and which senders each is heard from.
//!
//! Used by the `xdp` link. Guards: the kernel's membership of a group covers all channels on it; of a channel with named sources nothing
//! of anybody else gets through; nothing is asked per packet while no channel names sources.

use core::net::IpAddr;
use std::io;

use crate::link::Channel;
use crate::link::kernel::claims::Claim;
use crate::link::kernel::membership::Memberships;
use crate::wire::PacketType;

#[derive(Debug)]
struct Joined {
    channel: Channel,
    /// Empty: everybody.
    sources: Vec<IpAddr>,
    _claim: Claim,
}

#[derive(Debug)]
pub(super) struct Channels {
    joined: Vec<Joined>,
    memberships: Memberships,
    /// Whether any channel names sources.
    choosy: bool,
}

impl Channels {
    /// Memberships are of this interface.
    pub(super) fn new(interface: u32) -> Self {
        Self { joined: Vec::new(), memberships: Memberships::new(interface), choosy: false }
    }

    pub(super) fn has(&self, channel: Channel) -> bool {
        self.joined.iter().any(|joined| joined.channel == channel)
    }

    /// Adds a channel, heard from everybody until [`Channels::join`].
    pub(super) fn add(&mut self, channel: Channel, claim: Claim) {
        self.joined.push(Joined { channel, sources: Vec::new(), _claim: claim });
    }

    /// Hears a channel from these sources, or from all if none is named.
    pub(super) fn join(&mut self, channel: Channel, sources: &[IpAddr]) -> io::Result<()> {
        let at = self.joined.iter().position(|joined| joined.channel == channel);
        let before = at.map(|at| core::mem::replace(&mut self.joined[at].sources, sources.to_vec()));
        let renewed = self.renew(channel.group);
        if let (Err(_), Some(at), Some(before)) = (&renewed, at, before) {
            // The kernel still has the membership of before.
            self.joined[at].sources = before;
        }
        self.choosy = self.joined.iter().any(|joined| !joined.sources.is_empty());
        renewed
    }

    /// Removes a channel.
    pub(super) fn remove(&mut self, channel: Channel) -> io::Result<()> {
        self.joined.retain(|joined| joined.channel != channel);
        self.choosy = self.joined.iter().any(|joined| !joined.sources.is_empty());
        if self.joined.iter().any(|joined| joined.channel.group == channel.group) {
            return self.renew(channel.group);
        }
        self.memberships.leave(channel.group);
        Ok(())
    }

    /// Makes the membership of a group cover all its channels.
    fn renew(&mut self, group: IpAddr) -> io::Result<()> {
        let on_group = || self.joined.iter().filter(|joined| joined.channel.group == group);
        let mut sources = Vec::new();
        // One channel that is heard from everybody asks for everybody's packets.
        if on_group().all(|joined| !joined.sources.is_empty()) {
            for &source in on_group().flat_map(|joined| &joined.sources) {
                if !sources.contains(&source) {
                    sources.push(source);
                }
            }
        }
        self.memberships.join_many(group, &sources)
    }

    /// Whether [`Channels::admits`] has anything to say.
    #[inline]
    pub(super) fn is_choosy(&self) -> bool {
        self.choosy
    }

    /// Whether a PGM packet from this sender is wanted. What is too short to say is left to whoever reads it.
    pub(super) fn admits(&self, from: IpAddr, to: IpAddr, packet: &[u8]) -> bool {
        let Some(&[s0, s1, d0, d1, kind]) = packet.first_chunk::<5>() else { return true };
        if !to.is_multicast() {
            return true;
        }
        // Towards the source the ports are swapped: the data port stands first.
        let upstream = PacketType::from_code(kind & 0x0f).is_some_and(PacketType::is_upstream);
        let data_port = u16::from_be_bytes(if upstream { [s0, s1] } else { [d0, d1] });
        let channel = Channel { group: to, data_port };
        let joined = self.joined.iter().find(|joined| joined.channel == channel);
        joined.is_none_or(|joined| joined.sources.is_empty() || joined.sources.contains(&from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::kernel::claims::Kind;

    fn loopback() -> u32 {
        // SAFETY: the name ends with a zero and lives through the call.
        unsafe { libc::if_nametoindex(c"lo".as_ptr()) }
    }

    fn channel(data_port: u16) -> Channel {
        Channel { group: [239, 255, 113, 201].into(), data_port }
    }

    fn join(channels: &mut Channels, data_port: u16, sources: &[IpAddr]) {
        if !channels.has(channel(data_port)) {
            let claim = Claim::hold(Kind::Raw, ("lo", loopback()), "test", channel(data_port)).expect("a claim");
            channels.add(channel(data_port), claim);
        }
        channels.join(channel(data_port), sources).expect("any group can be joined on loopback");
    }

    #[test]
    fn a_channel_with_sources_is_heard_from_them_alone_in_both_directions() {
        let mut channels = Channels::new(loopback());
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        join(&mut channels, 7, &[]);
        assert!(!channels.is_choosy());
        join(&mut channels, 8, &[one]);
        assert!(channels.is_choosy());

        let group = channel(8).group;
        let (data, nak) = ([0, 1, 0, 8, 0x04], [0, 8, 0, 1, 0x08]);
        assert!(channels.admits(one, group, &data) && channels.admits(one, group, &nak));
        assert!(!channels.admits(other, group, &data) && !channels.admits(other, group, &nak));
        assert!(channels.admits(other, group, &[0, 1, 0, 7, 0x04]), "the channel of everybody");
        assert!(channels.admits(other, [10, 0, 0, 9].into(), &data), "to us alone");
        assert!(channels.admits(other, group, &data[..4]), "too short to say");

        channels.remove(channel(7)).expect("the other channel keeps the group");
        assert!(channels.join(channel(8), &["::1".parse().expect("an address")]).is_err(), "of the other family");
        assert!(channels.admits(one, group, &data) && !channels.admits(other, group, &data), "as before");
        join(&mut channels, 8, &[one, other]);
        assert!(channels.admits(other, group, &data), "joining again replaces the sources");
        channels.remove(channel(8)).expect("nothing is left");
        assert!(!channels.is_choosy());
    }
}
