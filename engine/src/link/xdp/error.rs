//! What an `xdp` link took, why something better was refused and what helps, and why it could not be opened at all.
//!
//! Read by whoever opens a link. Guards: no refusal without its reason in the kernel's words, and none without a remedy where one is
//! known.

use core::fmt;
use std::io;

use pgmx_ebpf::{Attachment, SteeringError};

use crate::frame::SlabError;
use crate::link::{InterfaceError, LinkError};

/// What a link took.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Taken {
    /// Where the steering program is attached.
    pub attachment: Attachment,
    /// Whether frames are moved without a copy.
    pub zero_copy: bool,
    /// Queues opened.
    pub queues: u32,
    /// Whether the kernel took the transmit budget; otherwise its own 32 hold.
    pub tx_budget: bool,
    /// Whether the frames lie in huge pages.
    pub huge_pages: bool,
    /// Whether the worker's calls run the driver.
    pub busy_poll: bool,
    /// Octets of a frame.
    pub frame_size: u32,
    /// The device of the kernel that carries our VLAN tags, if it has one.
    pub vlan_device: Option<String>,
    /// What would have been better, why it was refused, and what helps.
    pub refusals: Vec<Refusal>,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let copy = if self.zero_copy { "zero-copy" } else { "copy" };
        write!(f, "AF_XDP {}, {copy}, queues: {}", self.attachment, self.queues)?;
        for (is, what) in [(self.huge_pages, "huge pages"), (self.busy_poll, "busy polling")] {
            if is {
                write!(f, ", {what}")?;
            }
        }
        self.refusals.iter().try_for_each(|refusal| write!(f, "; {refusal}"))
    }
}

/// Something better that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was tried.
    pub attempt: String,
    /// The answer.
    pub reason: String,
    /// What helps; empty where nothing is known to.
    pub remedy: String,
}

impl Refusal {
    pub(super) fn new(attempt: impl Into<String>, reason: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self { attempt: attempt.into(), reason: format!("{reason}"), remedy: remedy.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempt, reason, remedy } = self;
        write!(f, "{attempt} refused: {reason}")?;
        if remedy.is_empty() { Ok(()) } else { write!(f, " ({remedy})") }
    }
}

/// What helps when a socket was not bound.
pub(super) fn bind_remedy(error: &io::Error, zero_copy: bool, interface: &str) -> String {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) if zero_copy => format!(
            "the driver of {interface} has no zero-copy in this kernel (`ethtool -i {interface}` names it; virtio_net has it from Linux 6.13 on)"
        ),
        Some(libc::EINVAL) if zero_copy => format!(
            "the driver of {interface} wants another shape: try 4096-octet frames, fewer queues (`ethtool -L {interface} combined N`), and for virtio_net `iommu_platform=on`"
        ),
        Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
            "the kernel was built without CONFIG_XDP_SOCKETS: use --io raw".into()
        }
        Some(libc::EINVAL) => format!("does {interface} have that queue? `ethtool -l {interface}` lists them"),
        Some(libc::EBUSY) => "another AF_XDP program uses that queue: end it, or choose other queues".into(),
        Some(libc::EPERM | libc::EACCES) => {
            "run as root, or grant it: `setcap cap_net_raw,cap_bpf,cap_perfmon,cap_net_admin+ep PROGRAM`".into()
        }
        Some(libc::ENOMEM | libc::ENOBUFS) => "use fewer frames, or raise `ulimit -l`".into(),
        Some(libc::ENETDOWN) => format!("`ip link set dev {interface} up`"),
        Some(libc::ENODEV | libc::ENXIO) => format!("{interface} is gone"),
        _ => String::new(),
    }
}

/// What helps when an option of a socket was refused.
pub(super) fn option_remedy(error: &io::Error, since: &str) -> String {
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP) => format!("{since} has it"),
        Some(libc::EPERM) => "grant it: `setcap cap_net_admin+ep PROGRAM`".into(),
        // So it answers to a transmit budget that it does not like.
        Some(libc::EACCES) => "the kernel takes from 32 on, and no more than the ring has entries".into(),
        _ => String::new(),
    }
}

/// Why an `xdp` link could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// A value that cannot work.
    #[error("{field} = {value} refused: allowed is {allowed}")]
    Config {
        /// The field of [`XdpConfig`](super::XdpConfig).
        field: &'static str,
        /// Its value.
        value: String,
        /// What is possible.
        allowed: String,
    },
    /// Packets may be longer than a frame.
    #[error(
        "the MTU of {interface} is {mtu}, and one frame holds {most}: `ip link set dev {interface} mtu {most}`, or run with --io raw"
    )]
    Mtu {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// The largest one that is possible.
        most: u32,
    },
    /// The interface cannot be asked or used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The steering program could not be put to work.
    #[error(transparent)]
    Steering(#[from] SteeringError),
    /// No memory for the frames.
    #[error("registering {octets} octets of packet memory failed: {reason}; use fewer frames, or raise `ulimit -l`")]
    Memory {
        /// Size asked for.
        octets: usize,
        /// The answer.
        reason: String,
    },
    /// The frames cannot be used.
    #[error(transparent)]
    Slab(#[from] SlabError),
    /// A socket could not be bound.
    #[error("AF_XDP socket on {interface} queue {queue}: {refusals}")]
    Socket {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// What was tried, the answers, and what helps.
        refusals: String,
    },
    /// The first use of the link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_refusals_say_what_helps() {
        let remedy = |code, zero_copy| bind_remedy(&io::Error::from_raw_os_error(code), zero_copy, "eth0");
        assert!(remedy(libc::EOPNOTSUPP, true).contains("ethtool -i eth0"));
        assert!(remedy(libc::EINVAL, true).contains("iommu_platform"));
        assert!(remedy(libc::EBUSY, false).contains("another AF_XDP program"));
        assert!(remedy(libc::EPERM, false).contains("setcap"));
        assert!(remedy(libc::ENOBUFS, false).contains("ulimit -l"));
        assert!(option_remedy(&io::Error::from_raw_os_error(libc::ENOPROTOOPT), "Linux 6.17").contains("6.17"));
        assert!(option_remedy(&io::Error::from_raw_os_error(libc::EPERM), "Linux 5.11").contains("cap_net_admin"));
        assert!(option_remedy(&io::Error::from_raw_os_error(libc::EACCES), "Linux 6.17").contains("from 32 on"));
        let refusal = Refusal::new("zero-copy", "Operation not supported", remedy(libc::EOPNOTSUPP, false));
        assert!(refusal.to_string().starts_with("zero-copy refused: Operation not supported ("), "{refusal}");
        assert_eq!(Refusal::new("this", "that", "").to_string(), "this refused: that");
    }
}
