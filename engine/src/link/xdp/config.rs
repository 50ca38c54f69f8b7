//! What an `xdp` link is asked for.
//!
//! Filled in by whoever opens a link. Guards: a link is never opened on values that cannot work; the refusal names the field, the value
//! and what is possible.

use core::fmt;
use core::net::IpAddr;

use pgmx_ebpf::{Attach, QUEUES_MAX, SteeringConfig, UpstreamBudget};

use super::error::XdpError;
use crate::frame::Layout;
use crate::link::kernel::interface::Interface;
use crate::link::{Address, Encapsulation};
use crate::wire::net::Vlans;

/// Octets of an Ethernet header, and of a VLAN tag.
pub(super) const ETHERNET: u16 = 14;
pub(super) const TAG: u16 = 4;
/// Octets of the VLAN tags that a received frame may carry, ours or not.
const TAGS: u32 = 8;
/// Frames where nothing else is asked for: a window of 8,192 and as much again, at 32 MiB.
const FRAMES: u32 = 16_384;
const FRAMES_MAX: u32 = 1 << 24;
/// The VLAN number in a tag; the rest is priority.
const VID: u16 = 0x0fff;

/// How frames get from and to the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataPath {
    /// Zero-copy where the driver can, else copy.
    #[default]
    Auto,
    /// Zero-copy or nothing.
    ZeroCopy,
    /// Copy, without asking for better.
    Copy,
}

/// Which queues of the interface a link opens. Multicast has no ports, so a session's packets come in on one queue, but the kernel and
/// the card choose which; repairs and NAKs may come in on others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Queues {
    /// All that receive.
    #[default]
    All,
    /// These, in any order. What leaves, leaves by the first of them; what comes in on others goes to the kernel.
    Some(Vec<u32>),
}

/// Busy polling: the calls of the worker run the driver, instead of an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long a call may poll the driver for.
    pub microseconds: u32,
    /// How many packets it takes from the driver at most.
    pub budget: u32,
}

/// What an `xdp` link is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct XdpConfig {
    /// The interface: its name, number or address.
    pub interface: String,
    /// Our address, and with it the family that the link carries.
    pub address: Address,
    /// What PGM travels in.
    pub encapsulation: Encapsulation,
    /// The VLAN tags of our frames, outermost first. What comes in must carry the same VLAN numbers, with whatever priority. Where the
    /// kernel has a VLAN device for them, ours are its address and its group memberships.
    pub vlans: Vlans,
    /// The queues to open.
    pub queues: Queues,
    /// Where the steering program may be attached.
    pub attach: Attach,
    /// Whether it takes the place of a program that is there.
    pub replace: bool,
    /// Senders whose packets reach us, by prefix; if there are none, everybody's do.
    pub sources: Vec<(IpAddr, u8)>,
    /// How many packets a sender may send towards a source of ours; `None`: any number.
    pub upstream_budget: Option<UpstreamBudget>,
    /// How frames get from and to the driver.
    pub data_path: DataPath,
    /// Whether the calls of the worker run the driver; `None` leaves it to its interrupts.
    pub busy_poll: Option<BusyPoll>,
    /// Whether the frames lie in huge pages, if there are enough.
    pub huge_pages: bool,
    /// Octets of a frame: 2048, or 4096 for an MTU above 1,770; 0 takes what the MTU asks for.
    pub frame_size: u32,
    /// Frames in all: the fill ring of each queue, as many that only reception may take, the transmit windows, and what is held out of
    /// order or delivered. 0 takes 16,384, or more where the rings of many queues ask for it.
    pub frames: u32,
    /// Entries of each ring. 2,048 is a millisecond of 64-octet packets at 2 million a second: as long as a worker may look away.
    pub ring: u32,
    /// Packets that one wake-up call may move in copy mode, where the kernel can be told (Linux 6.17): its own 32 cost a system call
    /// each, and a transmit ring's worth gains nothing over 256 but delays reception. Below 32 the kernel refuses, and keeps its own.
    pub tx_budget: u32,
    /// Time to live of packets to a group.
    pub ttl: u8,
    /// Type-of-service octet.
    pub tos: u8,
}

impl XdpConfig {
    /// Good values for this interface.
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.into(),
            address: Address::default(),
            encapsulation: Encapsulation::default(),
            vlans: Vlans::NONE,
            queues: Queues::default(),
            attach: Attach::default(),
            replace: false,
            sources: Vec::new(),
            upstream_budget: None,
            data_path: DataPath::default(),
            busy_poll: None,
            huge_pages: true,
            frame_size: 0,
            frames: 0,
            ring: 2048,
            tx_budget: 256,
            ttl: 16,
            tos: 0,
        }
    }

    /// The queues to open, checked against those that the interface has.
    pub(super) fn queues_of(&self, interface: &Interface) -> Result<Vec<u32>, XdpError> {
        let Queues::Some(chosen) = &self.queues else {
            if interface.queues > QUEUES_MAX {
                return wrong(
                    "queues",
                    "all",
                    format!("at most {QUEUES_MAX} of the {} of {}", interface.queues, interface.name),
                );
            }
            return Ok((0..interface.queues).collect());
        };
        let count = interface.queues.min(QUEUES_MAX);
        if let Some(&queue) = chosen.iter().find(|&&queue| queue >= count) {
            return wrong("queues", queue, format!("0 to {} on {}", count - 1, interface.name));
        }
        let again = chosen.iter().enumerate().find(|(at, queue)| chosen[..*at].contains(queue));
        if let Some((_, &queue)) = again {
            return wrong("queues", queue, "each queue once");
        }
        if chosen.is_empty() {
            return wrong("queues", "none", format!("at least one of 0 to {}", count - 1));
        }
        Ok(chosen.clone())
    }

    /// The shape of the frames for this MTU and number of queues. xsk-rs lets a transmitted frame begin behind the room for XDP programs.
    pub(super) fn layout(&self, interface: &Interface, queues: u32) -> Result<Layout, XdpError> {
        if !self.ring.is_power_of_two() || !(64..=32_768).contains(&self.ring) {
            return wrong("ring", self.ring, "a power of two from 64 to 32768");
        }
        let frame_size = match self.frame_size {
            0 if interface.mtu <= mtu_max(2048) => 2048,
            0 => 4096,
            2048 | 4096 => self.frame_size,
            other => return wrong("frame_size", other, "2048, 4096, or 0 to choose by the MTU"),
        };
        let most = mtu_max(frame_size);
        if interface.mtu > most {
            let Interface { name, mtu, .. } = interface;
            if frame_size == 2048 {
                return wrong("frame_size", frame_size, format!("4096 for the MTU of {name}, {mtu} ({most} fits)"));
            }
            return Err(XdpError::Mtu { interface: name.clone(), mtu: *mtu, most });
        }
        // A fill ring for each queue, the reserve that they are filled from, and a ring's worth to send and to hold.
        let reception = queues * self.ring * 2;
        let least = reception + self.ring;
        let frames = match self.frames {
            0 => FRAMES.max(reception + self.ring.max(FRAMES / 2)),
            frames => frames,
        };
        if !(least..=FRAMES_MAX).contains(&frames) {
            let rings = format!("{least} (twice the fill rings of {queues} queues, and a ring) to {FRAMES_MAX}");
            return wrong("frames", frames, rings);
        }
        Ok(Layout { frame_size, frames, start: Layout::XDP_HEADROOM })
    }

    /// Checks what is neither the shape of frames nor the choice of queues.
    pub(super) fn check(&self) -> Result<(), XdpError> {
        if self.tx_budget == 0 || self.tx_budget > self.ring {
            return wrong("tx_budget", self.tx_budget, format!("1 to {} (the ring)", self.ring));
        }
        if self.ttl == 0 {
            return wrong("ttl", 0, "1 to 255");
        }
        if let Some(BusyPoll { microseconds, budget }) = self.busy_poll
            && (microseconds == 0 || !(1..=u32::from(u16::MAX)).contains(&budget))
        {
            let given = format!("{microseconds} microseconds, {budget} packets");
            return wrong("busy_poll", given, "at least 1 microsecond, and 1 to 65535 packets");
        }
        if let Encapsulation::Udp { unicast_port: 0, .. } | Encapsulation::Udp { multicast_port: 0, .. } =
            self.encapsulation
        {
            return wrong("encapsulation", "UDP port 0", "ports from 1 to 65535");
        }
        Ok(())
    }

    /// The VLAN numbers, outermost first, without priorities.
    pub(super) fn vids(&self) -> Vec<u16> {
        self.vlans.tags().iter().map(|tag| tag & VID).collect()
    }

    /// What the steering program is asked for.
    pub(super) fn steering(&self, interface: &Interface) -> SteeringConfig {
        let mut config = SteeringConfig::new(&interface.name, interface.index);
        config.attach = self.attach;
        config.replace = self.replace;
        config.vlans = self.vids();
        config.udp_ports = match self.encapsulation {
            Encapsulation::Pgm => Vec::new(),
            Encapsulation::Udp { unicast_port, multicast_port } if unicast_port == multicast_port => vec![unicast_port],
            Encapsulation::Udp { unicast_port, multicast_port } => vec![unicast_port, multicast_port],
        };
        config.sources.clone_from(&self.sources);
        config.upstream_budget = self.upstream_budget;
        config
    }
}

/// The largest MTU whose frames fit.
fn mtu_max(frame_size: u32) -> u32 {
    frame_size - u32::from(Layout::XDP_HEADROOM) - u32::from(ETHERNET) - TAGS
}

fn wrong<T>(field: &'static str, value: impl fmt::Display, allowed: impl Into<String>) -> Result<T, XdpError> {
    Err(XdpError::Config { field, value: format!("{value}"), allowed: allowed.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(mtu: u32, queues: u32) -> Interface {
        Interface { name: "eth0".into(), index: 2, mac: [2; 6], addresses: Vec::new(), mtu, queues }
    }

    fn config(change: impl FnOnce(&mut XdpConfig)) -> XdpConfig {
        let mut config = XdpConfig::new("eth0");
        change(&mut config);
        config
    }

    fn refused<T: fmt::Debug>(result: Result<T, XdpError>) -> String {
        result.expect_err("cannot work").to_string()
    }

    #[test]
    fn frames_are_as_large_as_the_mtu_asks_for() {
        let size = |frame_size, mtu| {
            config(|config| config.frame_size = frame_size).layout(&interface(mtu, 1), 1).map(|it| it.frame_size)
        };
        assert_eq!(size(0, 1500).expect("fits"), 2048);
        assert_eq!(size(0, 1770).expect("just fits"), 2048);
        assert_eq!(size(0, 1771).expect("fits the larger one"), 4096);
        assert_eq!(size(0, 3818).expect("just fits"), 4096);
        assert_eq!(size(4096, 1500).expect("as asked for"), 4096);
        assert!(refused(size(0, 3819)).contains("3819"), "and says which MTU fits");
        assert!(refused(size(0, 3819)).contains("mtu 3818"));
        assert!(refused(size(2048, 1771)).contains("4096 for the MTU of eth0, 1771 (1770 fits)"));
        assert!(refused(size(1024, 1500)).contains("frame_size = 1024"));
    }

    #[test]
    fn frames_grow_with_the_queues_unless_their_number_is_given() {
        let frames = |frames, queues| config(|config| config.frames = frames).layout(&interface(1500, queues), queues);
        assert_eq!(frames(0, 1).expect("a choice").frames, 16_384);
        assert_eq!(frames(0, 64).expect("a choice").frames, 64 * 2048 * 2 + 8192);
        assert_eq!(frames(6144, 1).expect("just enough").frames, 6144);
        let few = refused(frames(6144, 2));
        assert_eq!(
            few,
            "frames = 6144 refused: allowed is 10240 (twice the fill rings of 2 queues, and a ring) to 16777216"
        );
        let many = config(|config| config.ring = 32_768).layout(&interface(1500, 256), 256);
        assert!(refused(many).starts_with("frames = 16809984 refused"), "memory beyond all measure");
    }

    #[test]
    fn queues_are_taken_as_they_were_named() {
        let queues = |queues| config(|config| config.queues = queues).queues_of(&interface(1500, 4));
        assert_eq!(queues(Queues::All).expect("all"), [0, 1, 2, 3]);
        assert_eq!(queues(Queues::Some(vec![3, 1])).expect("two"), [3, 1]);
        assert_eq!(refused(queues(Queues::Some(vec![0, 4]))), "queues = 4 refused: allowed is 0 to 3 on eth0");
        assert_eq!(refused(queues(Queues::Some(vec![1, 1]))), "queues = 1 refused: allowed is each queue once");
        assert!(refused(queues(Queues::Some(Vec::new()))).contains("at least one"));
    }

    #[test]
    fn no_more_queues_are_taken_than_steering_has_room_for() {
        let queues = |queues| config(|config| config.queues = queues).queues_of(&interface(1500, 300));
        assert_eq!(refused(queues(Queues::All)), "queues = all refused: allowed is at most 256 of the 300 of eth0");
        assert_eq!(refused(queues(Queues::Some(vec![256]))), "queues = 256 refused: allowed is 0 to 255 on eth0");
        assert_eq!(queues(Queues::Some(vec![255])).expect("the last"), [255]);
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let refusal = |change: fn(&mut XdpConfig)| refused(config(change).check());
        assert!(refusal(|config| config.tx_budget = 4096).starts_with("tx_budget = 4096"));
        assert!(refusal(|config| config.ttl = 0).starts_with("ttl = 0"));
        assert!(refusal(|config| config.encapsulation = Encapsulation::one_port(0)).starts_with("encapsulation"));
        let idle = |config: &mut XdpConfig| config.busy_poll = Some(BusyPoll { microseconds: 0, budget: 8 });
        assert!(refusal(idle).starts_with("busy_poll"));
    }

    #[test]
    fn steering_is_asked_for_both_ports_and_for_vlan_numbers_without_priority() {
        let interface = interface(1500, 1);
        let steering = config(|config| {
            config.encapsulation = Encapsulation::UDP;
            config.vlans = Vlans::two(0xe064, 0x2007);
        })
        .steering(&interface);
        assert_eq!((steering.udp_ports, steering.vlans), (vec![3055, 3056], vec![0x64, 7]));
        let one = config(|config| config.encapsulation = Encapsulation::one_port(7500)).steering(&interface);
        assert_eq!(one.udp_ports, [7500]);
    }
}
