//! Opening an `xdp` link: the best way to the driver that can be had, and why a better one was refused.
//!
//! ```text
//!   interface, VLAN device, address ─ steering program: native, else generic
//!     ─ for zero-copy, else copy: memory (huge pages, else small) ─ a socket on every queue
//!     ─ fill rings full ─ options ─ sockets into the program's map
//! ```
//!
//! Runs once, may wait half a second for a queue that is just being released. Guards: nothing is left behind by an attempt that failed;
//! every step back is kept as a refusal.

use core::net::IpAddr;
use std::fs;

use pgmx_ebpf::{Attachment, Steering, SteeringError};

use super::channels::Channels;
use super::config::{DataPath, ETHERNET, TAG, XdpConfig};
use super::descriptors::Descriptors;
use super::destinations::{Destinations, Sender};
use super::detour::Detour;
use super::error::{Refusal, Taken, XdpError, bind_remedy, option_remedy};
use super::neighbours::{Kernel, Neighbours};
use super::queue::Queue;
use super::{XdpCounters, XdpLink};
use crate::frame::{Layout, PathFacts, Pool};
use crate::link::Encapsulation;
use crate::link::kernel::claims;
use crate::link::kernel::interface::Interface;
use crate::link::kernel::netlink::Netlink;
use crate::time::Time;
use crate::wire::net::UDP_HEADER_LEN;

/// Octets of IP headers, and of Router Alert.
const IPV4: u16 = 20;
const IPV6: u16 = 40;
const ALERT: u16 = 4;
/// The MTU above which drivers that keep a packet in one page refuse native XDP: the page less headroom and the kernel's own part.
const NATIVE_MTU: u32 = 3498;

impl XdpLink {
    /// Opens a link: attaches the steering program, binds the sockets and fills their rings. Nothing comes in before something is
    /// joined or listened on.
    pub fn open(config: &XdpConfig) -> Result<(Self, Pool), XdpError> {
        let interface = Interface::find(&config.interface)?;
        config.check()?;
        let numbers = config.queues_of(&interface)?;
        let layout = config.layout(&interface, numbers.len() as u32)?;
        let mut refusals = Vec::new();
        let mut netlink = Netlink::open().ok();
        let vids = config.vids();
        let vlan_device = netlink.as_mut().and_then(|netlink| vlan_device(netlink, &interface, &vids));
        // What the kernel does for us, it does where our tags are taken off.
        let stack = vlan_device.as_ref().unwrap_or(&interface);
        let address = stack.address(config.address)?;

        // Some drivers take no socket before a program is there. Until a socket is in its map, everything passes.
        let mut steering = Steering::attach(&config.steering(&interface))?;
        let attachment = steering.attachment();
        if let Some(refused) = steering.refused() {
            let reason = match refused {
                SteeringError::Attach { error, .. } => error.clone(),
                other => other.to_string(),
            };
            refusals.push(Refusal::new("native XDP", reason, native_remedy(&interface)));
        }
        let (memory, zero_copy) = bind(config, &interface, &numbers, layout, attachment, &mut refusals)?;
        let Memory { descriptors, mut pool, mut queues, huge_pages } = memory;
        pool.set_fill_reserve(queues.len() as u32 * config.ring);
        let (tx_budget, busy_poll) = set_options(config, &queues, &mut refusals);
        for queue in &mut queues {
            // Full before the first frame can come: an empty fill ring drops it.
            let dry = queue.refill(&descriptors, &mut pool);
            debug_assert!(!dry, "the frames were checked against the rings");
            steering.open_queue(queue.number(), queue.descriptor())?;
            // A driver that saw its fill ring empty sleeps, and looks again only when it is told.
            queue.kick();
        }
        if interface.hides_tags() {
            if vids.is_empty() {
                let vlans = netlink.as_mut().and_then(|netlink| netlink.vlans_on(interface.index).ok());
                refusals.extend(foreign_tags(&interface.name, &vlans.unwrap_or_default()));
            } else {
                refusals.push(hidden_tags(&interface.name));
            }
        }
        let detour = if vids.is_empty() || vlan_device.is_some() {
            Detour::open(address, stack.index)
                .map_err(|error| (error.to_string(), bind_remedy(&error, false, &stack.name)))
        } else {
            let device = format!("`ip link add link {0} name {0}.{1} type vlan id {1}`", interface.name, vids[0]);
            Err(("the kernel has no device for our VLAN tags".to_owned(), device))
        };
        let detour = match detour {
            Ok(detour) => Some(detour),
            Err((reason, remedy)) => {
                refusals.push(Refusal::new("the kernel's way to hosts that were not heard yet", reason, remedy));
                None
            }
        };
        // Without a device for our tags the kernel knows hosts that we cannot reach, and not those that we can.
        let knows_hosts = vids.is_empty() || vlan_device.is_some();
        let kernel = netlink.filter(|_| knows_hosts).map(|it| Kernel::new(it, stack.index, detour.is_some()));
        let sender = Sender {
            mac: stack.mac,
            address,
            vlans: config.vlans,
            encapsulation: config.encapsulation,
            ttl: config.ttl,
            tos: config.tos,
        };
        let path = path(config, address, stack.mtu.min(interface.mtu));
        let taken = Taken {
            attachment,
            zero_copy,
            queues: queues.len() as u32,
            tx_budget,
            huge_pages,
            busy_poll,
            frame_size: layout.frame_size,
            vlan_device: vlan_device.as_ref().map(|device| device.name.clone()),
            refusals,
        };
        let form = claims::form(config.encapsulation, if vlan_device.is_some() { &[] } else { &vids });
        let link = Self {
            steering: Some(steering),
            queues,
            descriptors,
            channels: Channels::new(stack.index),
            detour,
            claimed_on: (stack.name.clone(), stack.index),
            form,
            interface: interface.name,
            path,
            is_udp: config.encapsulation != Encapsulation::Pgm,
            ports: Vec::new(),
            taken,
            turn: 0,
            heard: Time::ZERO,
            is_gone: false,
            neighbours: Neighbours::new(kernel),
            destinations: Destinations::new(sender),
            counters: XdpCounters::default(),
        };
        Ok((link, pool))
    }
}

/// The kernel's device for these tags on this interface: for two, the one on top of the other.
fn vlan_device(netlink: &mut Netlink, interface: &Interface, vids: &[u16]) -> Option<Interface> {
    let mut index = interface.index;
    for &vid in vids {
        index = netlink.vlan_device(index, vid).ok()??;
    }
    if vids.is_empty() { None } else { Interface::find(&index.to_string()).ok() }
}

/// What the protocol has to know about the way to the network.
fn path(config: &XdpConfig, address: IpAddr, mtu: u32) -> PathFacts {
    let ip = if address.is_ipv4() { IPV4 } else { IPV6 };
    let tags = config.vlans.tags().len() as u16 * TAG;
    // Router Alert has no value for PGM in IPv6, and routers do not look into UDP.
    let (ip_header, alert) = match config.encapsulation {
        Encapsulation::Pgm => (ip, if address.is_ipv4() { ALERT } else { 0 }),
        Encapsulation::Udp { .. } => (ip + UDP_HEADER_LEN as u16, 0),
    };
    // conformance 16: what a packet may be at most; frames hold no more than 4 KiB. An interface carries one tag beside its MTU; a
    // second one is at the packet's expense.
    let mtu = mtu as u16 - tags.saturating_sub(TAG);
    PathFacts { nla: address, mtu, front: ETHERNET + tags + ip_header, alert, ip_header }
}

/// What memory and sockets an attempt came to.
struct Memory {
    descriptors: Descriptors,
    pool: Pool,
    queues: Vec<Queue>,
    huge_pages: bool,
}

/// Binds a socket to each queue, all over one memory: zero-copy if that is wanted and every queue can, else copy.
fn bind(
    config: &XdpConfig,
    interface: &Interface,
    numbers: &[u32],
    layout: Layout,
    attachment: Attachment,
    refusals: &mut Vec<Refusal>,
) -> Result<(Memory, bool), XdpError> {
    let attempts: &[bool] = match config.data_path {
        DataPath::Auto => &[true, false],
        DataPath::ZeroCopy => &[true],
        DataPath::Copy => &[false],
    };
    let mut answers = Vec::new();
    let mut refused_queue = numbers[0];
    for &zero_copy in attempts {
        let attempt = if zero_copy { "zero-copy" } else { "copy" };
        if zero_copy && attachment == Attachment::Generic {
            // Such a socket could be bound, and would never see a frame.
            let reason = "the steering program sits behind the driver (generic XDP)";
            answers.push(Refusal::new(attempt, reason, "it needs native XDP"));
            continue;
        }
        // Registered anew for each attempt: a bind that failed half-way leaves nothing of itself in it.
        let mut notes = Vec::new();
        let (mut descriptors, pool, huge_pages) = register(config, layout, &mut notes)?;
        let bound: Result<Vec<Queue>, (u32, std::io::Error)> = numbers
            .iter()
            .map(|&number| {
                Queue::bind(&descriptors, &interface.name, number, config.ring, zero_copy).map_err(|why| (number, why))
            })
            .collect();
        match bound {
            Ok(queues) => {
                descriptors.bound(queues[0].descriptor());
                refusals.append(&mut answers);
                refusals.append(&mut notes);
                return Ok((Memory { descriptors, pool, queues, huge_pages }, zero_copy));
            }
            Err((number, error)) => {
                refused_queue = number;
                let remedy = bind_remedy(&error, zero_copy, &interface.name);
                answers.push(Refusal::new(attempt, error, remedy));
            }
        }
    }
    let words: Vec<String> = answers.iter().map(Refusal::to_string).collect();
    Err(XdpError::Socket { interface: interface.name.clone(), queue: refused_queue, refusals: words.join("; ") })
}

/// Memory for the frames, in huge pages if they are wanted and there are enough.
fn register(
    config: &XdpConfig,
    layout: Layout,
    refusals: &mut Vec<Refusal>,
) -> Result<(Descriptors, Pool, bool), XdpError> {
    const ATTEMPT: &str = "huge pages";
    if config.huge_pages {
        let known = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        match in_huge_pages(layout, &known) {
            Ok(layout) => match Descriptors::register(layout, config.ring, true) {
                Ok((descriptors, pool)) => return Ok((descriptors, pool, true)),
                Err(error) => refusals.push(Refusal::new(ATTEMPT, error, "")),
            },
            Err((reason, remedy)) => refusals.push(Refusal::new(ATTEMPT, reason, remedy)),
        }
    }
    let (descriptors, pool) = Descriptors::register(layout, config.ring, false)?;
    Ok((descriptors, pool, false))
}

/// The layout that fills whole huge pages, if there are as many; else why not, and what helps. `known` is the kernel's account of memory.
fn in_huge_pages(layout: Layout, known: &str) -> Result<Layout, (String, String)> {
    let number = |name: &str| {
        let line = known.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok())
    };
    let page = number("Hugepagesize").unwrap_or(0) * 1024;
    let (Some(total), Some(free)) = (number("HugePages_Total"), number("HugePages_Free")) else {
        return Err(("the kernel has none".into(), "it needs CONFIG_HUGETLBFS".into()));
    };
    if page == 0 || page % layout.frame_size as usize != 0 {
        return Err((format!("pages of {page} octets hold no whole frames"), String::new()));
    }
    let free = free.saturating_sub(number("HugePages_Rsvd").unwrap_or(0));
    let wanted = layout.octets().div_ceil(page);
    if wanted > free {
        let reason = format!("{wanted} of {} KiB are wanted, {free} are free", page / 1024);
        return Err((reason, format!("`sysctl vm.nr_hugepages={}`", total - free.min(total) + wanted)));
    }
    Ok(Layout { frames: (wanted * page / layout.frame_size as usize) as u32, ..layout })
}

/// Asks for what makes bound sockets faster; says what was taken: the transmit budget, and busy polling.
fn set_options(config: &XdpConfig, queues: &[Queue], refusals: &mut Vec<Refusal>) -> (bool, bool) {
    let first_refusal = |option: &dyn Fn(&Queue) -> std::io::Result<()>| queues.iter().find_map(|it| option(it).err());
    let budget = first_refusal(&|queue| queue.set_tx_budget(config.tx_budget));
    if let Some(error) = &budget {
        let remedy = option_remedy(error, "Linux 6.17");
        refusals.push(Refusal::new(format!("{} packets at a call to send", config.tx_budget), error, remedy));
    }
    let Some(wanted) = config.busy_poll else { return (budget.is_none(), false) };
    let busy = first_refusal(&|queue| queue.set_busy_poll(wanted));
    if let Some(error) = &busy {
        refusals.push(Refusal::new("busy polling", error, option_remedy(error, "Linux 5.11")));
    }
    (budget.is_none(), busy.is_none())
}

fn native_remedy(interface: &Interface) -> String {
    let Interface { name, mtu, .. } = interface;
    if *mtu > NATIVE_MTU {
        return format!("its MTU of {mtu} may be too large for it: `ip link set dev {name} mtu {NATIVE_MTU}`");
    }
    format!(
        "its driver may have none (`ethtool -i {name}`), or want offloads off (`ethtool -K {name} lro off gro-hw off`) or fewer queues (`ethtool -L {name} combined N`)"
    )
}

fn hidden_tags(name: &str) -> Refusal {
    Refusal::new(
        "VLAN tags as they were sent",
        "rx-vlan-offload is on: frames whose tag was taken out of them are not known as ours",
        format!("`ethtool -K {name} rxvlan off`, and on a veth `ethtool -K PEER txvlan off` at its other end"),
    )
}

/// Without tags of our own: frames of the kernel's VLANs on the interface look like ours when their tag was taken out of them.
fn foreign_tags(name: &str, vlans: &[(u16, u32)]) -> Option<Refusal> {
    let numbers: Vec<String> = vlans.iter().map(|vlan| vlan.0.to_string()).collect();
    let reason = format!(
        "rx-vlan-offload is on: what comes to our groups in a VLAN ({}) is not told from what has none, and is taken as well",
        numbers.join(", ")
    );
    let remedy = format!("`ethtool -K {name} rxvlan off`, and on a veth `ethtool -K PEER txvlan off` at its other end");
    (!vlans.is_empty()).then(|| Refusal::new("frames without a VLAN tag alone", reason, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str = "MemTotal: 1 kB\nHugePages_Total:      20\nHugePages_Free:       18\nHugePages_Rsvd:        2\nHugepagesize:       2048 kB\n";

    #[test]
    fn huge_pages_are_taken_whole_and_only_when_there_are_enough() {
        let layout = |frames| Layout { frame_size: 2048, frames, start: 256 };
        assert_eq!(in_huge_pages(layout(16_384), MEMORY).expect("16 pages of 16").frames, 16_384);
        assert_eq!(in_huge_pages(layout(1025), MEMORY).expect("2 pages").frames, 2048);
        let (reason, remedy) = in_huge_pages(layout(16_385), MEMORY).expect_err("17 pages of 16");
        assert_eq!(reason, "17 of 2048 KiB are wanted, 16 are free");
        assert_eq!(remedy, "`sysctl vm.nr_hugepages=21`", "four are in use or promised");
        assert!(in_huge_pages(layout(1), "MemTotal: 1 kB").is_err());
    }

    #[test]
    fn vlans_that_look_like_no_vlan_are_named() {
        assert_eq!(foreign_tags("eth0", &[]), None);
        let said = foreign_tags("eth0", &[(5, 9), (100, 10)]).expect("two").to_string();
        assert!(said.contains("(5, 100)") && said.contains("`ethtool -K eth0 rxvlan off`"), "{said}");
    }

    #[test]
    fn the_path_counts_every_header() {
        let path = |from: [u8; 4], change: fn(&mut XdpConfig)| {
            let mut config = XdpConfig::new("eth0");
            change(&mut config);
            let path = path(&config, from.into(), 1500);
            (path.front, path.alert, path.ip_header, path.tpdu_max())
        };
        assert_eq!(path([10, 0, 0, 1], |_| {}), (34, 4, 20, 1476));
        assert_eq!(path([10, 0, 0, 1], |config| config.encapsulation = Encapsulation::UDP), (42, 0, 28, 1472));
        assert_eq!(path([10, 0, 0, 1], |config| config.vlans = crate::wire::net::Vlans::two(1, 2)), (42, 4, 20, 1472));
        let config = XdpConfig::new("eth0");
        let six = super::path(&config, "fe80::1".parse().expect("an address"), 1500);
        assert_eq!((six.front, six.alert, six.ip_header, six.tpdu_max()), (54, 0, 40, 1460));
    }
}
