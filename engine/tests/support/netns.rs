//! Hosts on one machine: network namespaces, joined by veth cables or by a bridge.
//!
//! ```text
//!   on_two_hosts   [left] left0 ───────── right0 [right]            any number of cables, each with its VLAN devices
//!   Bridged        [host 0] host0 ── port0 [switch] port1 ── host1 [host 1] ...
//! ```
//!
//! A host is a descriptor of its namespace. Nothing has a name outside of it, so that parallel runs never clash; the namespace goes with
//! its last descriptor and thread, and its interfaces with it, so that nothing is left behind, neither after a panic nor after a kill.
//! Needs root and `ip` (iproute2). Shared by the privileged tests and the benchmarks.
//!
//! Where no cable can be made, or a real one is wanted, `PGMX_TEST_NICS=eth0,eth1` lends two cards that see each other instead of the one
//! cable: they move into the hosts, under the names of the cable's ends, and back home.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The variable that lends two cards.
pub const NICS: &str = "PGMX_TEST_NICS";

/// How long an interface may take to come up: the kernel needs milliseconds, a loaded machine more.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace of its own; gone when this and the last thread in it are.
#[derive(Debug)]
pub struct Host {
    namespace: File,
}

impl Host {
    /// A host with nothing but a loopback interface, which is up.
    ///
    /// # Errors
    /// If this process may not make one.
    pub fn new() -> Result<Self, String> {
        // Made by a thread of its own: the caller stays where it is whatever happens.
        let made = thread::scope(|scope| {
            let maker = scope.spawn(|| {
                // SAFETY: touches no memory; other threads stay where they are.
                if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                    let error = io::Error::last_os_error();
                    return Err(format!("a network namespace of our own: {error}; it needs root"));
                }
                // Nobody is asked for routers or for doubles, and what is set stays: hosts are ready, and quiet, at once. A kernel
                // without IPv6 has no such files.
                for (what, value) in [
                    ("accept_dad", "0"),
                    ("dad_transmits", "0"),
                    ("router_solicitations", "0"),
                    ("keep_addr_on_down", "1"),
                ] {
                    for whose in ["all", "default"] {
                        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{whose}/{what}"), value);
                    }
                }
                Ok(Self { namespace: here()? })
            });
            maker.join().unwrap_or_else(|panic| resume_unwind(panic))
        })?;
        made.ip(&["link", "set", "dev", "lo", "up"])?;
        Ok(made)
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn current() -> Result<Self, String> {
        Ok(Self { namespace: here()? })
    }

    /// Does `work` on this host, in the calling thread, which is back where it was afterwards, even after a panic. Threads and processes
    /// that `work` begins are born on this host and stay there.
    ///
    /// # Panics
    /// If the kernel does not let us in: it let us make the host.
    pub fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Back(File);
        impl Drop for Back {
            fn drop(&mut self) {
                enter(&self.0);
            }
        }
        let _back = Back(here().expect("the namespace of this thread"));
        enter(&self.namespace);
        work()
    }

    /// Runs `ip` with these arguments on this host.
    ///
    /// # Errors
    /// What it says.
    pub fn ip(&self, arguments: &[&str]) -> Result<(), String> {
        self.inside(|| ip(arguments)).map(drop)
    }

    /// A name of the namespace for other processes, for as long as this lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }

    /// Whether the IPv6 of all its interfaces is on, from now on.
    fn set_ipv6(&self, on: bool) {
        self.inside(|| {
            for whose in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{whose}/disable_ipv6");
                let _ = std::fs::write(path, if on { "0" } else { "1" });
            }
        });
    }

    /// Waits until an interface can send, and the host takes what is sent to its addresses.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn await_up(&self, interface: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.inside(|| ip(&["-o", "link", "show", "dev", interface]))?;
            let is_up = state.contains("LOWER_UP") && (state.contains("state UP") || state.contains("state UNKNOWN"));
            if is_up && self.inside(takes_its_ipv6_addresses) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{interface} does not come up: {state}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether each IPv6 address of this host has its local route: the kernel lays it a moment after the address, and until then what is
/// sent there is lost.
fn takes_its_ipv6_addresses() -> bool {
    const LOCAL: u32 = 0x8000_0000;
    // A kernel without IPv6 has no such files.
    let read = |what: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{what}")).unwrap_or_default();
    let (addresses, routes) = (read("if_inet6"), read("ipv6_route"));
    // Destination, its length, source, its length, next hop, metric, references, uses, flags, device.
    let is_local = |address: &str| {
        routes.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|route| {
            let flags = route.get(8).and_then(|flags| u32::from_str_radix(flags, 16).ok());
            route.first() == Some(&address) && flags.is_some_and(|flags| flags & LOCAL != 0)
        })
    };
    addresses.lines().filter_map(|line| line.split_whitespace().next()).all(is_local)
}

/// The namespace of the calling thread.
fn here() -> Result<File, String> {
    File::open("/proc/thread-self/ns/net").map_err(|error| format!("the namespace of this thread: {error}"))
}

fn enter(namespace: &File) {
    // SAFETY: touches no memory; the descriptor is open, and other threads stay where they are.
    let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert!(entered == 0, "entering a host: {}", io::Error::last_os_error());
}

/// What a cable is like.
#[derive(Clone, Debug)]
pub struct Cable {
    /// Queues of each end.
    pub queues: u32,
    /// MTU of each end.
    pub mtu: u32,
    /// Tags for which there is a VLAN device at each end, one on the other: outermost first. Some kernels have no such devices.
    pub vlans: Vec<u16>,
    /// Whether the hosts speak IPv6: without it nobody talks on the cable but us.
    pub ipv6: bool,
}

impl Default for Cable {
    fn default() -> Self {
        Self { queues: 1, mtu: 1500, vlans: Vec::new(), ipv6: true }
    }
}

impl Cable {
    /// With so many queues at each end.
    pub fn queues(queues: u32) -> Self {
        Self { queues, ..Self::default() }
    }

    /// With these tags.
    pub fn tagged(vlans: &[u16]) -> Self {
        Self { vlans: vlans.into(), ..Self::default() }
    }
}

/// The end of a cable on a host.
#[derive(Clone, Debug)]
pub struct Port {
    /// Name of the interface.
    pub interface: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The address of the other end.
    pub peer: Ipv4Addr,
    /// Its IPv6 address.
    pub address_v6: Ipv6Addr,
    /// The IPv6 address of the other end.
    pub peer_v6: Ipv6Addr,
    /// The VLAN device on it, the innermost one, if there are tags and this kernel has such devices.
    pub tagged: Option<Box<Port>>,
}

impl Port {
    fn new(interface: String, network: u8, own: u8, peer: u8) -> Self {
        let v4 = |host| Ipv4Addr::new(10, 113, network, host);
        let v6 = |host| Ipv6Addr::new(0xfd00, 0x113, 0, network.into(), 0, 0, 0, u16::from(host));
        Self { interface, address: v4(own), peer: v4(peer), address_v6: v6(own), peer_v6: v6(peer), tagged: None }
    }

    /// The first cable's left end, for a process that was begun on its host and was told the interface.
    pub fn on(interface: &str) -> Self {
        Self::new(interface.into(), 0, 1, 2)
    }

    /// End `own` of cable `number`, whose other end is `peer`.
    fn of(cable: &Cable, side: &str, number: u8, own: u8, peer: u8) -> Self {
        let mut port = Self::new(format!("{side}{number}"), number, own, peer);
        if !cable.vlans.is_empty() {
            // Another network than the untagged one: the devices see none of each other's packets.
            let name = cable.vlans.iter().fold(port.interface.clone(), |name, tag| format!("{name}.{tag}"));
            port.tagged = Some(Box::new(Self::new(name, 128 + number, own, peer)));
        }
        port
    }

    /// Its address of the family of `like`, and that of the other end.
    pub fn addresses(&self, like: IpAddr) -> (IpAddr, IpAddr) {
        match like {
            IpAddr::V4(_) => (self.address.into(), self.peer.into()),
            IpAddr::V6(_) => (self.address_v6.into(), self.peer_v6.into()),
        }
    }

    /// Puts the interface, which exists, to work on its host.
    fn plug_in(&mut self, host: &Host, cable: &Cable) -> Result<(), String> {
        host.set_ipv6(cable.ipv6);
        host.ip(&["link", "set", "dev", &self.interface, "mtu", &cable.mtu.to_string()])?;
        self.come_up(host, cable)?;
        let mut below = self.interface.clone();
        for (depth, tag) in cable.vlans.iter().enumerate() {
            let (name, tag) = (format!("{below}.{tag}"), tag.to_string());
            let protocol = if depth + 1 == cable.vlans.len() { "802.1Q" } else { "802.1ad" };
            let kind = ["type", "vlan", "protocol", protocol, "id", &tag];
            match host.ip(&[&["link", "add", "link", &below, "name", &name], &kind[..]].concat()) {
                Err(error) if error.contains("Unknown device type") => {
                    self.tagged = None;
                    return Ok(());
                }
                done => done?,
            }
            // What lies between the two carries no address.
            host.ip(&["link", "set", "dev", &name, "up"])?;
            below = name;
        }
        self.tagged.as_ref().map_or(Ok(()), |tagged| tagged.come_up(host, cable))
    }

    fn come_up(&self, host: &Host, cable: &Cable) -> Result<(), String> {
        host.ip(&["address", "add", &format!("{}/24", self.address), "dev", &self.interface])?;
        host.ip(&["link", "set", "dev", &self.interface, "up"])?;
        if cable.ipv6 {
            host.ip(&["address", "add", &format!("{}/64", self.address_v6), "dev", &self.interface, "nodad"])?;
        }
        Ok(())
    }
}

/// Two hosts and the cables between them.
#[derive(Debug)]
pub struct Pair {
    /// Puts borrowed cards back before the hosts go.
    _nics: Option<Nics>,
    /// A host.
    pub left: Host,
    /// The other.
    pub right: Host,
    /// The ends of the cables on `left`.
    pub left_ports: Vec<Port>,
    /// The ends of the cables on `right`.
    pub right_ports: Vec<Port>,
}

impl Pair {
    /// Makes two hosts and joins them; every interface can send.
    ///
    /// # Errors
    /// If the hosts or cables could not be made.
    pub fn new(cables: &[Cable]) -> Result<Self, String> {
        if let Some(reason) = lack(cables) {
            return Err(reason);
        }
        let (left, right) = (Host::new()?, Host::new()?);
        let ends = |side: &str, own, peer| {
            (0..).zip(cables).map(|(number, cable)| Port::of(cable, side, number, own, peer)).collect::<Vec<_>>()
        };
        let (mut left_ports, mut right_ports) = (ends("left", 1, 2), ends("right", 2, 1));
        let nics = Nics::borrow([(&left, &left_ports[0].interface), (&right, &right_ports[0].interface)])?;
        for ((near, far), cable) in left_ports.iter_mut().zip(&mut right_ports).zip(cables) {
            if nics.is_none() {
                lay(&left, &near.interface, &right, &far.interface, cable.queues)?;
            }
            near.plug_in(&left, cable)?;
            far.plug_in(&right, cable)?;
        }
        for (host, ports) in [(&left, &left_ports), (&right, &right_ports)] {
            for port in ports {
                host.await_up(&port.interface)?;
            }
        }
        Ok(Self { _nics: nics, left, right, left_ports, right_ports })
    }

    /// Runs `left` and `right`, each in a thread on its host, until both have returned.
    ///
    /// # Panics
    /// If one of the two does.
    pub fn run<L: Send, R: Send>(
        &self,
        left: impl FnOnce(Vec<Port>) -> L + Send,
        right: impl FnOnce(Vec<Port>) -> R + Send,
    ) -> (L, R) {
        let (left_done, is_left_done) = channel();
        let (right_done, is_right_done) = channel();
        thread::scope(|scope| {
            let left = scope.spawn(move || {
                self.left.inside(|| then_wait(|| left(self.left_ports.clone()), left_done, || is_right_done.recv()))
            });
            let right = scope.spawn(move || {
                self.right.inside(|| then_wait(|| right(self.right_ports.clone()), right_done, || is_left_done.recv()))
            });
            let (left, right) = (left.join(), right.join());
            (left.unwrap_or_else(|panic| resume_unwind(panic)), right.unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }
}

/// Does `work` and keeps what it left behind, threads' sockets among it, until the other host's work is done, or gone.
fn then_wait<T, W>(work: impl FnOnce() -> T, done: Sender<()>, is_other_done: impl FnOnce() -> W) -> T {
    let result = work();
    drop(done);
    // Nothing is ever said here: the wait ends when the other side drops its end, in whatever way.
    is_other_done();
    result
}

/// Runs `left` and `right` on two hosts and gives back what they return; the hosts are gone then. One cable joins them for each entry
/// of `cables`, its ends with that many queues. Both hosts and their cables hold until both have returned.
///
/// # Errors
/// If the hosts or cables could not be made.
///
/// # Panics
/// If one of the two does.
pub fn on_two_hosts<L: Send, R: Send>(
    cables: &[u32],
    left: impl FnOnce(Vec<Port>) -> L + Send,
    right: impl FnOnce(Vec<Port>) -> R + Send,
) -> Result<(L, R), String> {
    let cables: Vec<Cable> = cables.iter().map(|&queues| Cable::queues(queues)).collect();
    on_two_wired_hosts(&cables, left, right)
}

/// As [`on_two_hosts`], with cables of any kind.
///
/// # Errors
/// If the hosts or cables could not be made.
///
/// # Panics
/// If one of the two does.
pub fn on_two_wired_hosts<L: Send, R: Send>(
    cables: &[Cable],
    left: impl FnOnce(Vec<Port>) -> L + Send,
    right: impl FnOnce(Vec<Port>) -> R + Send,
) -> Result<(L, R), String> {
    Ok(Pair::new(cables)?.run(left, right))
}

/// Hosts behind a bridge, each with one port; the bridge is a host of its own and floods what goes to a group.
#[derive(Debug)]
pub struct Bridged {
    /// The hosts and their ports. Each port's peer is the first host; the first host's is the second.
    pub hosts: Vec<(Host, Port)>,
    /// Where the bridge is.
    pub switch: Host,
}

impl Bridged {
    /// Makes so many hosts, up to 200, and joins them.
    ///
    /// # Errors
    /// If the hosts or the bridge could not be made.
    pub fn new(count: u8) -> Result<Self, String> {
        let switch = Host::new()?;
        switch.set_ipv6(false);
        // Without snooping: nobody has to ask for what a test expects.
        let bridge = ["link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0", "stp_state", "0"];
        switch.ip(&[&bridge[..], &["forward_delay", "0"]].concat())?;
        switch.ip(&["link", "set", "dev", "bridge0", "up"])?;
        let mut hosts = Vec::new();
        for number in 0..count {
            let host = Host::new()?;
            let (near, far) = (format!("port{number}"), format!("host{number}"));
            lay(&switch, &near, &host, &far, 1)?;
            switch.ip(&["link", "set", "dev", &near, "master", "bridge0", "up"])?;
            let mut port = Port::new(far, 200, number + 1, if number == 0 { 2 } else { 1 });
            port.plug_in(&host, &Cable::default())?;
            hosts.push((host, port));
        }
        for (host, port) in &hosts {
            host.await_up(&port.interface)?;
        }
        for number in 0..count {
            switch.await_up(&format!("port{number}"))?;
        }
        Ok(Self { hosts, switch })
    }

    /// Runs `work` once for each host, in a thread on it; what they return, in order.
    ///
    /// # Panics
    /// If one of them does.
    pub fn run<T: Send>(&self, work: impl Fn(usize, &Port) -> T + Sync) -> Vec<T> {
        let work = &work;
        thread::scope(|scope| {
            let all: Vec<_> = (0..)
                .zip(&self.hosts)
                .map(|(number, (host, port))| scope.spawn(move || host.inside(|| work(number, port))))
                .collect();
            let ended: Vec<_> = all.into_iter().map(thread::ScopedJoinHandle::join).collect();
            ended.into_iter().map(|one| one.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }
}

/// Lays a veth cable between two hosts.
fn lay(left: &Host, near: &str, right: &Host, far: &str, queues: u32) -> Result<(), String> {
    let (queues, elsewhere) = (queues.to_string(), right.path());
    let end = ["numtxqueues", &queues, "numrxqueues", &queues];
    let add = [&["link", "add", near], &end[..], &["type", "veth", "peer", "name", far], &end];
    left.ip(&[&add.concat()[..], &["netns", &elsewhere]].concat())
}

/// Whether the cards are lent: to one pair of hosts at a time.
static LENT: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// The cards are ours; hosts move between threads, and this with them.
#[derive(Debug)]
struct Turn;

impl Turn {
    fn take() -> Self {
        let (lent, back) = &LENT;
        let waiting = lent.lock().unwrap_or_else(PoisonError::into_inner);
        *back.wait_while(waiting, |lent| *lent).unwrap_or_else(PoisonError::into_inner) = true;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *LENT.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
        LENT.1.notify_one();
    }
}

/// Two cards that go home when this is dropped.
#[derive(Debug)]
struct Nics {
    home: Host,
    /// The host, as it can be entered, the name there and the name at home.
    away: Vec<(Host, String, String)>,
    _turn: Turn,
}

impl Nics {
    /// Moves the cards, if any are lent, to these hosts under these names.
    fn borrow(to: [(&Host, &String); 2]) -> Result<Option<Self>, String> {
        let Some(names) = lent() else { return Ok(None) };
        let turn = Turn::take();
        let mut nics = Self { home: Host::current()?, away: Vec::new(), _turn: turn };
        for ((host, there), at_home) in to.into_iter().zip(names) {
            let back = host.inside(Host::current)?;
            ip(&["link", "set", "dev", &at_home, "down"])?;
            ip(&["link", "set", "dev", &at_home, "netns", &host.path(), "name", there])?;
            nics.away.push((back, there.clone(), at_home));
        }
        Ok(Some(nics))
    }
}

impl Drop for Nics {
    fn drop(&mut self) {
        let home = self.home.path();
        for (host, there, at_home) in &self.away {
            // A card that cannot be moved goes home with its host, under the name it has there.
            let _ = host.ip(&["address", "flush", "dev", there]);
            let _ = host.ip(&["link", "set", "dev", there, "down"]);
            let _ = host.ip(&["link", "set", "dev", there, "netns", &home, "name", at_home]);
        }
    }
}

/// The cards that are lent.
fn lent() -> Option<[String; 2]> {
    let names = std::env::var(NICS).ok()?;
    let (left, right) = names.split_once(',')?;
    Some([left.trim().into(), right.trim().into()])
}

/// Why these cables cannot be had, if they cannot.
fn lack(cables: &[Cable]) -> Option<String> {
    let [left, right] = lent()?;
    let simple = cables.len() == 1 && cables[0].queues == 1;
    (!simple).then(|| {
        let queues: Vec<u32> = cables.iter().map(|cable| cable.queues).collect();
        format!("wants {} cables with {queues:?} queues, and there are only the cards {left} and {right}", cables.len())
    })
}

/// Whether a test has to be skipped because such cables cannot be had here; says so, by the test's name.
pub fn is_skipped(cables: &[Cable]) -> bool {
    let reason = lack(cables);
    if let Some(reason) = &reason {
        eprintln!("skipped: {}: {reason}", thread::current().name().unwrap_or("a test"));
    }
    reason.is_some()
}

/// Binds the calling thread to one processor.
///
/// # Errors
/// If the processor does not exist or is not ours.
pub fn pin(processor: usize) -> io::Result<()> {
    // SAFETY: a bit set, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    if processor >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the bit lies inside the set, as was checked; the set lives through both calls.
    let result = unsafe {
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `ip`, in the namespace of the calling thread; what it prints.
fn ip(arguments: &[&str]) -> Result<String, String> {
    let words = arguments.join(" ");
    let done = Command::new("ip").args(arguments).output().map_err(|error| format!("ip {words}: {error}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(format!("ip {words}: {}", String::from_utf8_lossy(&done.stderr).trim()))
}
