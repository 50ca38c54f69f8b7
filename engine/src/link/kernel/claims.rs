//! Who on this host uses a channel of an interface: AF_XDP takes packets off the interface, so that nobody beside it hears them.
//!
//! Each link holds a claim for each channel: a socket bound to an abstract name that says what it is for. Such names belong to the
//! network namespace, are listed by the kernel for everybody, and vanish with the process however it ends. No file, no daemon, no
//! privilege.
//!
//! Used by `xdp`, `raw` and `udp` when they join. Guards: of two links on one channel of one interface, neither takes packets off it
//! that the other waits for.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::{Channel, Encapsulation, LinkError};

/// Tells the claims of one process apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The kinds of links that can be in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum Kind {
    /// Takes packets off the interface: has a channel alone.
    #[cfg_attr(not(feature = "xdp"), allow(dead_code))]
    Xdp,
    /// Gets copies from the kernel: shares a channel with others of its kind.
    Raw,
    /// As `Raw`, in UDP.
    Udp,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Xdp, Self::Raw, Self::Udp];

    fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Raw => "raw",
            Self::Udp => "udp",
        }
    }

    fn shares_with(self, other: Self) -> bool {
        self != Self::Xdp && other != Self::Xdp
    }
}

/// The name of what can meet on the wire: packets of another encapsulation, or behind other VLAN tags, are never in the way. Tags are
/// named only where the interface itself carries them; on a VLAN device of the kernel there are none.
#[cfg_attr(not(feature = "xdp"), allow(dead_code))]
pub(in crate::link) fn form(encapsulation: Encapsulation, vids: &[u16]) -> String {
    let form = match encapsulation {
        Encapsulation::Pgm => "pgm".to_owned(),
        Encapsulation::Udp { unicast_port, multicast_port } => format!("udp-{unicast_port}-{multicast_port}"),
    };
    vids.iter().fold(form, |form, vid| format!("{form}-vlan-{vid}"))
}

/// A channel in use; it is free again when this is dropped.
#[derive(Debug)]
pub(in crate::link) struct Claim {
    _name: UnixDatagram,
}

/// Who else has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    kind: Kind,
    pid: u32,
    number: u32,
}

impl Claim {
    /// Claims a channel on an interface, in an encapsulation that `form` names (what can never meet on the wire is never in the way).
    pub(in crate::link) fn hold(
        kind: Kind,
        interface: (&str, u32),
        form: &str,
        channel: Channel,
    ) -> Result<Self, LinkError> {
        let own = Holder { kind, pid: process::id(), number: NEXT.fetch_add(1, Ordering::Relaxed) };
        let place = format!("pgmx/{}/{form}/{}/{}", interface.1, channel.group, channel.data_port);
        let failed = |error| LinkError::System { attempt: format!("claiming {channel} on {}", interface.0), error };
        let name = format!("{place}/{}/{}/{}", kind.name(), own.pid, own.number);
        let address = SocketAddr::from_abstract_name(&name).map_err(failed)?;
        let claim = Self { _name: UnixDatagram::bind_addr(&address).map_err(failed)? };
        // Asked after our own name stands there: of two who come at once at least one sees the other.
        let holders = holders(&place).map_err(failed)?;
        match holders.iter().find(|other| **other != own && !kind.shares_with(other.kind)) {
            None => Ok(claim),
            Some(other) => Err(LinkError::Claimed {
                channel,
                interface: interface.0.into(),
                pid: other.pid,
                link: other.kind.name().into(),
            }),
        }
    }
}

/// All claims of a place in the network namespace of the calling thread.
fn holders(place: &str) -> io::Result<Vec<Holder>> {
    Ok(fs::read_to_string("/proc/thread-self/net/unix")?.lines().filter_map(|line| read(line, place)).collect())
}

/// The claim in a line of the kernel's list, if it is one of this place.
fn read(line: &str, place: &str) -> Option<Holder> {
    let name = line.split_whitespace().last()?.strip_prefix('@')?;
    let mut parts = name.strip_prefix(place)?.strip_prefix('/')?.split('/');
    let kind = parts.next()?;
    let kind = Kind::ALL.into_iter().find(|one| one.name() == kind)?;
    Some(Holder { kind, pid: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(port: u16) -> Channel {
        Channel { group: [239, 255, 113, 200].into(), data_port: port }
    }

    fn hold(kind: Kind, port: u16) -> Result<Claim, LinkError> {
        Claim::hold(kind, ("lo", 1), "pgm", channel(port))
    }

    #[test]
    fn what_takes_packets_off_the_interface_is_alone_on_its_channel() {
        let first = hold(Kind::Xdp, 1).expect("nobody is there");
        for kind in Kind::ALL {
            let refused = hold(kind, 1).expect_err("taken").to_string();
            assert!(refused.contains(&format!("process {} over xdp", process::id())), "{refused}");
        }
        let _other_port = hold(Kind::Raw, 2).expect("another port");
        let _other_form = Claim::hold(Kind::Udp, ("lo", 1), "udp", channel(1)).expect("another encapsulation");
        drop(first);
        hold(Kind::Xdp, 1).expect("free again");
    }

    #[test]
    fn who_gets_copies_shares() {
        let _all = [hold(Kind::Raw, 3).expect("first"), hold(Kind::Raw, 3).expect("second")];
        assert!(matches!(hold(Kind::Xdp, 3), Err(LinkError::Claimed { pid, .. }) if pid == process::id()));
    }

    #[test]
    fn encapsulations_ports_and_tags_are_told_apart() {
        assert_eq!(form(Encapsulation::Pgm, &[]), "pgm");
        assert_eq!(form(Encapsulation::UDP, &[]), "udp-3055-3056");
        assert_eq!(form(Encapsulation::one_port(7), &[5, 6]), "udp-7-7-vlan-5-vlan-6");
    }

    #[test]
    fn lines_that_are_not_ours_say_nothing() {
        for line in ["", "Num RefCount", "0: 1 2 @pgmx/1/pgm/239.0.0.1/7", "x @pgmx/1/pgm/239.0.0.1/7/raw/x/1"] {
            assert_eq!(read(line, "pgmx/1/pgm/239.0.0.1/7"), None, "{line}");
        }
    }
}
