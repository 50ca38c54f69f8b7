//! Who on this host uses a channel of an interface: AF_XDP takes packets off the interface, so that nobody beside it hears them.
//!
//! Each link holds a claim for each channel: a socket bound to an abstract name that says what it is for. Such names belong to the
//! network namespace, are listed by the kernel for everybody, and vanish with the process however it ends. No file, no daemon, no
//! privilege. A name holds a number besides the process, because processes of several containers on one network may have one id.
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

/// Numbers that are tried: as many channels as another process with our id may plausibly hold.
const TRIES_MAX: usize = 1 << 16;

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
}

/// The name of what a link hears and takes: its encapsulation, and VLAN tags. Tags are named only where the interface itself carries them;
/// on a VLAN device of the kernel there are none.
#[cfg_attr(not(feature = "xdp"), allow(dead_code))]
pub(in crate::link) fn form(encapsulation: Encapsulation, vids: &[u16]) -> String {
    let form = match encapsulation {
        Encapsulation::Pgm => "pgm".to_owned(),
        Encapsulation::Udp { unicast_port, multicast_port } => format!("udp-{unicast_port}-{multicast_port}"),
    };
    vids.iter().fold(form, |form, vid| format!("{form}+{vid}"))
}

/// Whether what a link of one form takes off the interface is what a link of the other form waits for. Another encapsulation, or other
/// tags, are never in the way.
fn takes_from(taking: &str, waiting: &str) -> bool {
    let [(taking, tags), (waiting, other_tags)] =
        [taking, waiting].map(|form| form.split_once('+').unwrap_or((form, "")));
    let same = match (udp_ports(taking), udp_ports(waiting)) {
        // Whatever comes to the group by one of its two ports is taken; what comes to a group is waited for at one.
        (Some(taken), Some((_, port))) => taken.0 == port || taken.1 == port,
        _ => taking == waiting,
    };
    same && tags == other_tags
}

/// The ports in the name of a form: of packets to one host, and of packets to a group.
fn udp_ports(form: &str) -> Option<(u16, u16)> {
    let (unicast, multicast) = form.strip_prefix("udp-")?.split_once('-')?;
    Some((unicast.parse().ok()?, multicast.parse().ok()?))
}

/// A channel in use; it is free again when this is dropped.
#[derive(Debug)]
pub(in crate::link) struct Claim {
    _name: UnixDatagram,
}

/// Who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    form: String,
    kind: Kind,
    pid: u32,
    number: u32,
}

impl Holder {
    /// The name of its claim. Never beyond the 107 octets that a socket's name may have.
    fn name(&self, place: &str) -> String {
        format!("{place}/{}/{}/{}/{:x}", self.form, self.kind.name(), self.pid, self.number)
    }

    fn is_in_the_way_of(&self, other: &Self) -> bool {
        (self.kind == Kind::Xdp && takes_from(&self.form, &other.form))
            || (other.kind == Kind::Xdp && takes_from(&other.form, &self.form))
    }
}

/// What the names of all claims of a channel on an interface begin with.
fn place(interface: u32, channel: Channel) -> String {
    format!("pgmx/{interface:x}/{}/{}", channel.group, channel.data_port)
}

impl Claim {
    /// Claims a channel on an interface, in the form that [`form`] names.
    pub(in crate::link) fn hold(
        kind: Kind,
        interface: (&str, u32),
        form: &str,
        channel: Channel,
    ) -> Result<Self, LinkError> {
        let place = place(interface.1, channel);
        let failed = |error| LinkError::System { attempt: format!("claiming {channel} on {}", interface.0), error };
        let mut own = Holder { form: form.to_owned(), kind, pid: process::id(), number: 0 };
        let claim = Self { _name: bind(&mut own, &place).map_err(failed)? };
        // Asked after our own name stands there: of two who come at once at least one sees the other.
        let holders = holders(&place).map_err(failed)?;
        match holders.iter().find(|other| **other != own && own.is_in_the_way_of(other)) {
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

/// Takes the first number whose name is free.
fn bind(own: &mut Holder, place: &str) -> io::Result<UnixDatagram> {
    let mut tries = 0..TRIES_MAX;
    loop {
        own.number = NEXT.fetch_add(1, Ordering::Relaxed);
        let taken = match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(own.name(place))?) {
            // Somebody of another container, where processes are numbered anew.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
            answer => return answer,
        };
        if tries.next().is_none() {
            return Err(taken);
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
    let form = parts.next()?.to_owned();
    let kind = parts.next()?;
    let kind = Kind::ALL.into_iter().find(|one| one.name() == kind)?;
    Some(Holder { form, kind, pid: parts.next()?.parse().ok()?, number: u32::from_str_radix(parts.next()?, 16).ok()? })
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
        assert_eq!(form(Encapsulation::one_port(7), &[5, 6]), "udp-7-7+5+6");
    }

    #[test]
    fn encapsulations_in_udp_meet_where_one_takes_the_port_that_the_other_hears_groups_by() {
        let udp = |unicast_port, multicast_port| form(Encapsulation::Udp { unicast_port, multicast_port }, &[]);
        let hold = |kind, form: &str| Claim::hold(kind, ("lo", 1), form, channel(4));
        let taking = hold(Kind::Xdp, &udp(3055, 3056)).expect("nobody is there");
        for in_the_way in [udp(3055, 3056), udp(3057, 3056), udp(3056, 3056), udp(3055, 3055), udp(9, 3055)] {
            assert!(matches!(hold(Kind::Udp, &in_the_way), Err(LinkError::Claimed { .. })), "{in_the_way}");
        }
        let tagged = form(Encapsulation::UDP, &[5]);
        let waiting: Vec<_> = [udp(3055, 9), udp(3056, 9), "pgm".into(), tagged]
            .map(|form| hold(Kind::Udp, &form).expect("never in the way"))
            .into();
        drop((taking, waiting));
        let _waiting = hold(Kind::Udp, &udp(9, 3055)).expect("nobody is there");
        assert!(hold(Kind::Xdp, &udp(3055, 3056)).is_err(), "it would lose what comes to 3055");
        hold(Kind::Xdp, &udp(9, 3056)).expect("it takes nothing that comes to 3055");
    }

    #[test]
    fn a_process_of_another_container_with_our_id_is_not_in_the_way() {
        let place = place(1, channel(5));
        let next = NEXT.load(Ordering::Relaxed);
        // Tests that run beside this one take numbers too.
        let _taken: Vec<_> = (next..next + 200)
            .map(|number| {
                let twin = Holder { form: "pgm".into(), kind: Kind::Raw, pid: process::id(), number };
                let name = SocketAddr::from_abstract_name(twin.name(&place)).expect("a name");
                UnixDatagram::bind_addr(&name).expect("nobody is there")
            })
            .collect();
        hold(Kind::Raw, 5).expect("a number that is free");
        assert!(hold(Kind::Xdp, 5).is_err(), "they hold the channel all the same");
    }

    #[test]
    fn the_longest_name_is_one_that_a_socket_may_have() {
        let group = "ff3e:1111:2222:3333:4444:5555:6666:7777".parse().expect("a group");
        let place = place(u32::MAX >> 1, Channel { group, data_port: u16::MAX });
        let form = form(Encapsulation::one_port(u16::MAX), &[4094, 4094]);
        let holder = Holder { form, kind: Kind::Xdp, pid: 1 << 22, number: u32::MAX };
        SocketAddr::from_abstract_name(holder.name(&place)).expect("a name");
        let line = format!("0000000000000000: 00000002 00000000 00000000 0002 01 12345 @{}", holder.name(&place));
        assert_eq!(read(&line, &place), Some(holder));
    }

    #[test]
    fn lines_that_are_not_ours_say_nothing() {
        for line in ["", "Num RefCount", "0: 1 2 @pgmx/1/239.0.0.1/7", "x @pgmx/1/239.0.0.1/7/pgm/raw/x/1"] {
            assert_eq!(read(line, "pgmx/1/239.0.0.1/7"), None, "{line}");
        }
    }
}
