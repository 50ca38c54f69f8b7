//! The program in the kernel, by either loader, and one frame at a time through it.
//!
//! What the loader under test knows of maps and options is not used here: `ByLibbpf` lays them out itself, after `maps.h`. So the two
//! are checks of each other.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::thread;

use libbpf_rs::libbpf_sys as sys;
use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder};
use pgmx_ebpf::{OBJECT, Owner, Steering, SteeringConfig, Verdict};

pub const VERDICTS: usize = Verdict::ALL.len();
pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_REDIRECT: u32 = 4;

/// What is claimed, and the options.
pub struct Setup {
    pub config: SteeringConfig,
    pub groups: Vec<(IpAddr, u16)>,
    pub locals: Vec<(IpAddr, u16)>,
}

/// The program, loaded.
pub trait Loaded {
    fn descriptor(&self) -> i32;
    /// How many frames met each verdict.
    fn counts(&self) -> [u64; VERDICTS];
    fn set_socket(&mut self, queue: u32, socket: Option<&OwnedFd>);
}

pub struct ByLibbpf {
    pub object: Object,
}

impl ByLibbpf {
    pub fn load(setup: &Setup) -> Self {
        let mut open = ObjectBuilder::default().open_memory(OBJECT).expect("an object");
        let mut constants = open.maps_mut().find(|map| map.name().to_string_lossy().ends_with(".rodata"));
        let options = options(&setup.config);
        constants.as_mut().and_then(|map| map.initial_value_mut()).expect("options").copy_from_slice(&options);
        let mut loaded = Self { object: open.load().expect("a program that the verifier takes") };
        for (map, claims) in [("groups", &setup.groups), ("locals", &setup.locals)] {
            for &(address, port) in claims {
                let key = [&host(address)[..], &port.to_be_bytes(), &[0, 0]].concat();
                loaded.update(map, &key, &[1]);
            }
        }
        for &(address, bits) in &setup.config.sources {
            let key = [&(32 + u32::from(bits)).to_ne_bytes()[..], &host(address)].concat();
            loaded.update("sources", &key, &[1]);
        }
        loaded
    }

    pub fn update(&mut self, map: &str, key: &[u8], value: &[u8]) {
        let map = self.object.maps_mut().find(|one| one.name() == map).expect("a map of this name");
        map.update(key, value, MapFlags::ANY).expect("an entry");
    }

    pub fn lookup(&self, map: &str, key: &[u8]) -> Option<Vec<u8>> {
        let map = self.object.maps().find(|one| one.name() == map).expect("a map of this name");
        map.lookup(key, MapFlags::ANY).expect("a map that can be read")
    }
}

impl Loaded for ByLibbpf {
    fn descriptor(&self) -> i32 {
        let program = self.object.progs().find(|program| program.name() == "steer").expect("the program");
        program.as_fd().as_raw_fd()
    }

    fn counts(&self) -> [u64; VERDICTS] {
        let map = self.object.maps().find(|map| map.name() == "verdicts").expect("the counters");
        core::array::from_fn(|verdict| {
            let key = (verdict as u32).to_ne_bytes();
            let values = map.lookup_percpu(&key, MapFlags::ANY).expect("a counter").expect("an entry");
            values.iter().map(|value| u64::from_ne_bytes(value[..].try_into().expect("eight octets"))).sum()
        })
    }

    fn set_socket(&mut self, queue: u32, socket: Option<&OwnedFd>) {
        let queue = queue.to_ne_bytes();
        if let Some(socket) = socket {
            self.update("sockets", &queue, &socket.as_raw_fd().to_ne_bytes());
        } else {
            let map = self.object.maps_mut().find(|map| map.name() == "sockets").expect("the sockets");
            map.delete(&queue).expect("an entry");
        }
    }
}

pub struct ByAya {
    steering: Steering,
    program: OwnedFd,
}

impl ByAya {
    pub fn load(setup: &Setup) -> Self {
        let mut steering = Steering::attach(&setup.config).expect("an interface of our own");
        for &(group, port) in &setup.groups {
            steering.claim_group(group, port).expect("room");
        }
        for &(address, port) in &setup.locals {
            steering.claim_local(address, port).expect("room");
        }
        let owner = Owner::of(setup.config.index).expect("our own program");
        // SAFETY: opens a descriptor, which is nobody else's.
        let program = unsafe { OwnedFd::from_raw_fd(sys::bpf_prog_get_fd_by_id(owner.id)) };
        Self { steering, program }
    }
}

impl Loaded for ByAya {
    fn descriptor(&self) -> i32 {
        self.program.as_raw_fd()
    }

    fn counts(&self) -> [u64; VERDICTS] {
        Verdict::ALL.map(|verdict| self.steering.count(verdict).expect("a counter"))
    }

    fn set_socket(&mut self, queue: u32, socket: Option<&OwnedFd>) {
        match socket {
            Some(socket) => self.steering.open_queue(queue, socket.as_raw_fd()).expect("an AF_XDP socket"),
            None => self.steering.close_queue(queue).expect("an entry"),
        }
    }
}

pub fn options(config: &SteeringConfig) -> Vec<u8> {
    let (packets, per_ms) = config.upstream_budget.map_or((0, 0), |budget| (budget.packets, budget.per_ms));
    let vlans = config.vlans.iter().fold(0, |word, &vlan| word * 4096 + u32::from(vlan));
    let port = |n: usize| config.udp_ports.get(n).copied().unwrap_or(0).to_be_bytes();
    let listed = u32::from(!config.sources.is_empty());
    [
        &(u64::from(per_ms) * 1_000_000).to_ne_bytes()[..],
        &packets.to_ne_bytes(),
        &vlans.to_ne_bytes(),
        &[port(0), port(1), port(2), port(3)].concat(),
        &listed.to_ne_bytes(),
        &[0; 4],
    ]
    .concat()
}

/// `struct host`.
pub fn host(address: IpAddr) -> Vec<u8> {
    let (version, mut octets) = match address {
        IpAddr::V4(address) => (4_u32, address.octets().to_vec()),
        IpAddr::V6(address) => (6, address.octets().to_vec()),
    };
    octets.resize(16, 0);
    [&version.to_ne_bytes()[..], &octets].concat()
}

/// An `AF_XDP` socket that is bound to nothing. A receive ring is enough to stand in the map (Linux 7.2 asks for one).
pub fn socket() -> OwnedFd {
    const SOL_XDP: i32 = 283;
    const XDP_RX_RING: i32 = 2;
    let entries = 64_u32;

    // SAFETY: opens a descriptor and touches no memory of ours.
    let socket = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0, "an AF_XDP socket: {}", io::Error::last_os_error());
    // SAFETY: just opened and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let (value, octets) = ((&raw const entries).cast(), size_of_val(&entries) as u32);
    // SAFETY: the option is a number of 32 bits, which is where the pointer points.
    let made = unsafe { libc::setsockopt(socket.as_raw_fd(), SOL_XDP, XDP_RX_RING, value, octets) };
    assert_eq!(made, 0, "a receive ring: {}", io::Error::last_os_error());
    socket
}

/// Attaches a program to an interface for as long as the descriptor is open.
pub fn attach_by_link(program: i32, interface: u32) -> OwnedFd {
    // SAFETY: no options are given; opens a descriptor.
    let link = unsafe { sys::bpf_link_create(program, interface as i32, sys::BPF_XDP, core::ptr::null()) };
    assert!(link >= 0, "a link to an interface of our own: {}", io::Error::last_os_error());
    // SAFETY: just opened and nobody else's.
    unsafe { OwnedFd::from_raw_fd(link) }
}

/// What the program did with a frame.
pub struct Ran {
    pub action: u32,
    /// The frame as it left the program.
    pub frame: Vec<u8>,
    /// Nanoseconds a turn.
    pub ns: u32,
}

/// Runs the program on a frame, as if it had come in on this queue of this interface, if one is given.
pub fn run(program: i32, frame: &[u8], from: Option<(u32, u32)>, times: u32) -> io::Result<Ran> {
    let mut out = vec![0; 2048];
    let (interface, queue) = from.unwrap_or_default();
    let mut context = sys::xdp_md {
        data_end: frame.len() as u32,
        ingress_ifindex: interface,
        rx_queue_index: queue,
        ..Default::default()
    };
    let mut order = sys::bpf_test_run_opts {
        sz: size_of::<sys::bpf_test_run_opts>() as _,
        data_in: frame.as_ptr().cast(),
        data_size_in: frame.len() as u32,
        data_out: out.as_mut_ptr().cast(),
        data_size_out: out.len() as u32,
        repeat: times as i32,
        ..Default::default()
    };
    if from.is_some() {
        order.ctx_in = (&raw mut context).cast();
        order.ctx_size_in = size_of_val(&context) as u32;
    }
    // SAFETY: the order points at our frame, at an output as large as it says, and at a context, all of which live through the call.
    if unsafe { sys::bpf_prog_test_run_opts(program, &raw mut order) } < 0 {
        return Err(io::Error::last_os_error());
    }
    out.truncate(order.data_size_out as usize);
    Ok(Ran { action: order.retval, frame: out, ns: order.duration })
}

/// Instructions of the program in the kernel, after the verifier removed what the options switch off.
pub fn instructions(program: i32) -> u32 {
    let mut info = sys::bpf_prog_info::default();
    let mut octets = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most as many octets as the structure has; nothing in it points anywhere.
    let told = unsafe { sys::bpf_prog_get_info_by_fd(program, &raw mut info, &raw mut octets) };
    assert_eq!(told, 0, "what the kernel knows of a program");
    info.xlated_prog_len / 8
}

/// Runs a test on a host of its own, with one cable of four queues from `near0` to `far0`. Host and cable are gone afterwards, however
/// the test ends: they have no name that could be left behind.
pub fn on_a_host<T: Send>(test: impl FnOnce(u32) -> T + Send) -> T {
    thread::scope(|scope| {
        let host = scope.spawn(|| {
            // SAFETY: touches no memory; other threads stay where they are.
            let left = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(left, 0, "a network namespace of our own: {}; it needs root", io::Error::last_os_error());
            // Neighbour discovery from the other end would be counted like a frame of the test. A kernel without IPv6 has no such file.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            let queues = ["numtxqueues", "4", "numrxqueues", "4"];
            let ends = [&["near0"], &queues[..], &["type", "veth", "peer", "name", "far0"], &queues].concat();
            ip(&[&["link", "add"], &ends[..]].concat());
            ip(&["link", "set", "dev", "near0", "up"]);
            ip(&["link", "set", "dev", "far0", "up"]);
            // SAFETY: the name ends with a zero and lives through the call.
            test(unsafe { libc::if_nametoindex(c"near0".as_ptr()) })
        });
        host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().expect("iproute2");
    assert!(done.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr));
}
