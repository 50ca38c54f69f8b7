//! A bench: two ends that are connected, what their links promise, and what can be done to the cable between them.

use std::net::IpAddr;
use std::time::Duration;

use pgmx::frame::{Layout, Pool};
use pgmx::link::faults::{FaultPlan, Faults};
use pgmx::link::memory::{Hub, MemoryLink};
use pgmx::time::Time;
use pgmx::wire::net::Vlans;

use super::end::{End, Tested};
use crate::netns::Pair;

/// How long a case waits for what should come at once, on a machine that may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a case wants of its bench.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Packets of a ring, where the link has one: a power of two.
    pub ring: u32,
    /// The same at the right end, where it differs.
    pub right_ring: Option<u32>,
    /// Frames of each end.
    pub frames: u32,
    /// Packets of the sending batch.
    pub batch: usize,
    /// MTU, where it can be chosen.
    pub mtu: u32,
    /// Packets that one call may move, where it can be chosen.
    pub tx_budget: u32,
    /// Whether the ends listen and have joined the group.
    pub attended: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { ring: 256, right_ring: None, frames: 2048, batch: 64, mtu: 1500, tx_budget: 64, attended: true }
    }
}

/// What the links of a bench promise beyond what every link does.
#[derive(Clone, Copy, Debug)]
pub struct Promises {
    /// Each end can be reached by its address.
    pub unicast: bool,
    /// The ends share a host, and hear what they send themselves: the left one joins nothing, and only speaks.
    pub loops: bool,
    /// An idle call to receive makes at most so many system calls.
    pub idle_calls: u64,
    /// A system call to send moves at least so many packets, when so many wait.
    pub packets_a_call: u64,
    /// Packets whose PGM checksum is wrong get through: what travels in UDP that we wrote has a UDP checksum derived from it.
    pub any_octets: bool,
    /// What exceeds a ring waits in the batch; else it is dropped.
    pub waits: bool,
}

/// Two connected ends.
pub struct Bench {
    // The links go before their hosts.
    /// The end that mostly sends.
    pub left: End,
    /// The end that mostly receives.
    pub right: End,
    /// The group of the suite's channel, of the links' family.
    pub group: IpAddr,
    /// What the links promise.
    pub promises: Promises,
    /// The hosts, if there are any: their cable can be pulled, and strange frames can be put on it.
    pub pair: Option<Pair>,
    /// The tags of the links' frames.
    pub vlans: Vlans,
    /// Marks sent so far.
    pub marks: u32,
}

/// Makes a bench.
pub type Fixture = dyn Fn(&Setup) -> Bench;

/// The group, in the family of an address.
pub fn group_like(address: IpAddr, number: u8) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::from([239, 192, 7, number]),
        IpAddr::V6(_) => IpAddr::from([0xff15, 0, 0, 0, 0, 0, 0x113, u16::from(number)]),
    }
}

/// Opens a bench, its ends listening and joined unless the case does that itself.
pub fn open(fixture: &Fixture, setup: &Setup) -> Bench {
    let mut bench = fixture(setup);
    if setup.attended {
        if !bench.promises.loops {
            bench.left.attend(bench.group);
        }
        bench.right.attend(bench.group);
    }
    bench
}

fn in_memory<L: Tested + 'static>(setup: &Setup, wrap: impl Fn(MemoryLink) -> L) -> Bench {
    let hub = Hub::new(setup.ring as usize);
    let end = |host: u8| {
        let pool = Pool::anonymous(Layout::standard(setup.frames)).expect("a small mapping");
        End::new(Box::new(wrap(hub.port(IpAddr::from([10, 0, 0, host])))), pool, None, setup.batch)
    };
    let (left, right) = (end(1), end(2));
    Bench {
        group: group_like(left.address(), 1),
        left,
        right,
        promises: Promises {
            unicast: true,
            loops: false,
            idle_calls: 0,
            packets_a_call: u64::MAX,
            any_octets: true,
            waits: false,
        },
        pair: None,
        vlans: Vlans::NONE,
        marks: 0,
    }
}

/// Two ports of a memory hub.
pub fn memory(setup: &Setup) -> Bench {
    in_memory(setup, |link| link)
}

/// The same behind faults that do nothing.
pub fn quiet_faults(setup: &Setup) -> Bench {
    in_memory(setup, |link| Faults::new(link, &FaultPlan::default(), Time::ZERO))
}
