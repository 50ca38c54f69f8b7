//! Four hosts behind a bridge, on one machine: network namespaces joined by veth cables.
//!
//! ```text
//!   [publisher] pub0 ── port0 ┐                 ┌ port1 ── sub1 [subscriber 1]
//!                             ├ bridge0 [switch]┼ port2 ── sub2 [subscriber 2]
//!                             ┘                 └ port3 ── sub3 [subscriber 3]
//! ```
//!
//! Called by the demo only. Guards: nothing is left behind. A host is a descriptor of its namespace and has no name anywhere: it goes with
//! the last descriptor and the last process in it, its interfaces and XDP programs with it, and each process that is begun on a host is
//! killed by the kernel when the demo is gone, in whatever way. This process itself never leaves the network that it was begun in.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long an interface may take to come up: the kernel needs milliseconds, a loaded machine more.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace of its own; gone when this and the last process in it are.
#[derive(Clone, Debug)]
pub(super) struct Host {
    namespace: Arc<File>,
}

impl Host {
    fn new() -> Result<Self, String> {
        let namespace = thread::spawn(|| {
            // SAFETY: touches no memory; it moves the calling thread alone, which ends here.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            // Without IPv6 nobody talks on the cables but us. A kernel without it has no such file.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            File::open("/proc/thread-self/ns/net")
        });
        let namespace = namespace.join().map_err(|_| "a thread died".to_owned())?;
        let namespace = namespace.map_err(|error| format!("no network namespace of its own: {error}"))?;
        let host = Self { namespace: Arc::new(namespace) };
        host.ip(&["link", "set", "dev", "lo", "up"])?;
        Ok(host)
    }

    /// A command that will run on this host, and die with this process.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = bound_command(program);
        let namespace = Arc::clone(&self.namespace);
        let enter = move || {
            // SAFETY: touches no memory; the descriptor is open as long as the closure lives, and the child has this thread alone.
            let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            if entered == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: between fork and exec it calls nothing but `setns`, and allocates nothing.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs `ip` on this host; what it prints.
    fn ip(&self, arguments: &[&str]) -> Result<String, String> {
        let words = arguments.join(" ");
        let done = self.command("ip").args(arguments).stdin(Stdio::null()).output();
        let done = done.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "there is no `ip` command; install iproute2".to_owned(),
            _ => format!("`ip {words}`: {error}"),
        })?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        Err(format!("`ip {words}`: {}", String::from_utf8_lossy(&done.stderr).trim()))
    }

    /// Waits until an interface can send.
    fn await_up(&self, interface: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.ip(&["-o", "link", "show", "dev", interface])?;
            if state.contains("LOWER_UP") && (state.contains("state UP") || state.contains("state UNKNOWN")) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{interface} does not come up: {}", state.trim()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A command that dies when the calling thread does, which has to be the one that stays until the end.
pub(super) fn bound_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let parent = std::process::id() as libc::pid_t;
    let bind = move || {
        // SAFETY: touches no memory; both calls only ask the kernel.
        let is_bound = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 && libc::getppid() == parent };
        // Who died between fork and this line will not be noticed by the kernel any more.
        if is_bound { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: between fork and exec it calls nothing but `prctl` and `getppid`, and allocates nothing.
    unsafe { command.pre_exec(bind) };
    // The keys of the terminal are the demo's: it tells its children what they mean.
    command.process_group(0);
    command
}

/// The hosts, and the switch between them.
#[derive(Debug)]
pub(super) struct Network {
    /// Each with the name of its interface.
    pub(super) hosts: Vec<(Host, &'static str)>,
    /// Only kept: the bridge lives as long as its namespace.
    _switch: Host,
}

impl Network {
    /// Makes the hosts and joins them; each can send and hear when this returns.
    pub(super) fn new(interfaces: &[&'static str]) -> Result<Self, String> {
        let switch = Host::new()?;
        // Without snooping: the bridge floods what goes to a group, as a plain switch does, and needs nobody to ask for it.
        let bridge = ["link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0", "stp_state", "0"];
        switch.ip(&[&bridge[..], &["forward_delay", "0"]].concat())?;
        switch.ip(&["link", "set", "dev", "bridge0", "up"])?;
        let mut hosts = Vec::new();
        for (number, &interface) in interfaces.iter().enumerate() {
            let host = Host::new()?;
            let port = format!("port{number}");
            let elsewhere = format!("/proc/{}/fd/{}", std::process::id(), host.namespace.as_raw_fd());
            let cable = ["link", "add", &port, "type", "veth", "peer", "name", interface, "netns", &elsewhere];
            switch.ip(&cable)?;
            switch.ip(&["link", "set", "dev", &port, "master", "bridge0", "up"])?;
            host.ip(&["address", "add", &format!("10.113.0.{}/24", number + 1), "dev", interface])?;
            host.ip(&["link", "set", "dev", interface, "up"])?;
            hosts.push((host, interface));
        }
        for (host, interface) in &hosts {
            host.await_up(interface)?;
        }
        for number in 0..interfaces.len() {
            switch.await_up(&format!("port{number}"))?;
        }
        Ok(Self { hosts, _switch: switch })
    }
}
