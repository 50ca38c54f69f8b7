//! Two hosts on one machine: threads in network namespaces of their own, joined by veth cables.
//!
//! A namespace lives as long as its thread, and its interfaces with it: nothing has a name, so nothing is left behind, neither after
//! a panic nor after a kill. Needs root and `ip` (iproute2). Shared by the privileged tests and the benchmarks.

use std::io;
use std::net::Ipv4Addr;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// The end of a cable on one of the two hosts.
#[derive(Clone, Debug)]
pub struct Port {
    /// Name of the interface.
    pub interface: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The address of the other end.
    pub peer: Ipv4Addr,
}

impl Port {
    fn new(side: &str, cable: u8, own: u8, peer: u8) -> Self {
        let address = |host| Ipv4Addr::new(10, 113, cable, host);
        Self { interface: format!("{side}{cable}"), address: address(own), peer: address(peer) }
    }

    fn left(cable: u8) -> Self {
        Self::new("left", cable, 1, 2)
    }

    fn right(cable: u8) -> Self {
        Self::new("right", cable, 2, 1)
    }
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
    let (right_lives, where_right_lives) = channel();
    let (wired, is_wired) = channel();
    let (right_ready, is_right_ready) = channel();
    let (go, may_go) = channel();
    let (left_done, is_left_done) = channel();
    let (right_done, is_right_done) = channel();
    thread::scope(|scope| {
        let left = scope.spawn(move || {
            unshare()?;
            let right_host: String = hear(&where_right_lives)?;
            for (cable, queues) in (0..).zip(cables) {
                let (near, far, queues) =
                    (Port::left(cable).interface, Port::right(cable).interface, queues.to_string());
                let end = ["numtxqueues", &queues, "numrxqueues", &queues];
                ip(&[
                    &["link", "add", &near],
                    &end[..],
                    &["type", "veth", "peer", "name", &far],
                    &end,
                    &["netns", &right_host],
                ]
                .concat())?;
            }
            say(&wired, ())?;
            let ports = plug_in((0..).zip(cables).map(|(cable, _)| Port::left(cable)))?;
            hear(&is_right_ready)?;
            say(&go, ())?;
            Ok(then_wait(left(ports), left_done, &is_right_done))
        });
        let right = scope.spawn(move || {
            unshare()?;
            say(&right_lives, namespace_of_this_thread())?;
            hear(&is_wired)?;
            let ports = plug_in((0..).zip(cables).map(|(cable, _)| Port::right(cable)))?;
            say(&right_ready, ())?;
            hear(&may_go)?;
            Ok(then_wait(right(ports), right_done, &is_left_done))
        });
        let (left, right) = (left.join(), right.join());
        // Where one side could not be made, the other only knows that it is gone.
        match (left.unwrap_or_else(|panic| resume_unwind(panic)), right.unwrap_or_else(|panic| resume_unwind(panic))) {
            (Ok(left), Ok(right)) => Ok((left, right)),
            (Err(error), Err(other)) => Err(if error == GONE { other } else { error }),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    })
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

const GONE: &str = "the other host is gone";

fn say<T>(to: &Sender<T>, what: T) -> Result<(), String> {
    to.send(what).map_err(|_| GONE.to_owned())
}

fn hear<T>(from: &Receiver<T>) -> Result<T, String> {
    from.recv().map_err(|_| GONE.to_owned())
}

/// Keeps this host until the other is done, or gone.
fn then_wait<T>(result: T, done: Sender<()>, is_other_done: &Receiver<()>) -> T {
    drop(done);
    // Nothing is ever said here: the wait ends when the other side drops its end, in whatever way.
    let _ = is_other_done.recv();
    result
}

/// Moves the calling thread into a network namespace of its own.
fn unshare() -> Result<(), String> {
    // SAFETY: touches no memory; other threads stay where they are.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(format!("a network namespace of our own: {}; it needs root", io::Error::last_os_error()));
    }
    Ok(())
}

fn namespace_of_this_thread() -> String {
    // SAFETY: asks for a number.
    let thread = unsafe { libc::gettid() };
    format!("/proc/{}/task/{thread}/ns/net", std::process::id())
}

/// Brings this host's interfaces up.
fn plug_in(ports: impl Iterator<Item = Port>) -> Result<Vec<Port>, String> {
    // Without IPv6 nobody talks on the cables but us. A kernel without IPv6 has no such file.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    ip(&["link", "set", "dev", "lo", "up"])?;
    let ports: Vec<Port> = ports.collect();
    for port in &ports {
        ip(&["address", "add", &format!("{}/24", port.address), "dev", &port.interface])?;
        ip(&["link", "set", "dev", &port.interface, "up"])?;
    }
    Ok(ports)
}

/// `ip`, in the namespace of the calling thread.
fn ip(arguments: &[&str]) -> Result<(), String> {
    let words = arguments.join(" ");
    let done = Command::new("ip").args(arguments).output().map_err(|error| format!("ip {words}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("ip {words}: {}", String::from_utf8_lossy(&done.stderr).trim()))
}
