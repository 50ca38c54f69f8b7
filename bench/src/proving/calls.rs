//! A counter of a process's system calls that does not slow it down: the kernel's own tracepoint, counted and never recorded.
//!
//! Guards: nothing stays mounted or open behind it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

const EVENT: &str = "events/raw_syscalls/sys_enter/id";
const PERF_TYPE_TRACEPOINT: u32 = 2;

/// The first version of the kernel's `perf_event_attr`, which every later kernel reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint: u32,
    config1: u64,
}

/// Counts the system calls of one thread.
#[derive(Debug)]
pub struct Calls(OwnedFd);

/// The number of the tracepoint.
fn number() -> Result<u64, String> {
    let read = |path: String| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    if let Some(number) = places.iter().find_map(|place| read(format!("{place}/{EVENT}"))) {
        return Ok(number);
    }
    // Nobody has mounted it: a process with mounts of its own does, and they go with it.
    let script = format!("mount -t tracefs nodev /sys/kernel/tracing && cat /sys/kernel/tracing/{EVENT}");
    let said = Command::new("unshare").args(["--mount", "sh", "-c", &script]).stdin(Stdio::null()).output();
    let said = said.map_err(|error| format!("unshare: {error}"))?;
    let text = String::from_utf8_lossy(&said.stdout);
    text.trim().parse().map_err(|_| {
        let why = String::from_utf8_lossy(&said.stderr);
        format!("this kernel shows no tracepoint of system calls: {}", why.trim())
    })
}

impl Calls {
    /// Counts those of this thread from now on.
    ///
    /// # Errors
    /// If the kernel has no such counter, or does not give it to us.
    pub fn of(thread: u32) -> Result<Self, String> {
        let attributes = Attributes {
            kind: PERF_TYPE_TRACEPOINT,
            size: size_of::<Attributes>() as u32,
            config: number()?,
            sample_period: 0,
            ..Attributes::default()
        };
        let (any_processor, no_group, flags) = (-1_i64, -1_i64, 0_i64);
        // SAFETY: the kernel reads as much of the structure as it says, which lives through the call.
        let opened = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                i64::from(thread),
                any_processor,
                no_group,
                flags,
            )
        };
        if opened < 0 {
            return Err(format!("counting system calls of {thread}: {}", io::Error::last_os_error()));
        }
        // SAFETY: just opened, and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(opened as i32) }))
    }

    /// How many there were.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn read(&self) -> Result<u64, String> {
        let mut count = [0_u8; 8];
        // SAFETY: eight octets that live through the call.
        let octets = unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        if octets == 8 {
            Ok(u64::from_ne_bytes(count))
        } else {
            Err(format!("reading a counter: {}", io::Error::last_os_error()))
        }
    }
}
