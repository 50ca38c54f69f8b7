//! Why frames of an interface cannot be steered, and what to do about it.

use aya::EbpfError;
use aya::maps::MapError;

use crate::{Attachment, Owner};

/// Why frames of an interface cannot be steered, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// A value that cannot work.
    #[error("{field} = {value} refused: allowed is {allowed}")]
    Config {
        /// The field of [`SteeringConfig`](crate::SteeringConfig).
        field: &'static str,
        /// Its value.
        value: String,
        /// What is possible.
        allowed: String,
    },
    /// The kernel refused the program or a map.
    #[error(
        "loading the XDP steering program failed: {0}; it needs Linux 5.10 and root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (and before Linux 5.11 a large `ulimit -l`)"
    )]
    Load(#[source] EbpfError),
    /// The verifier or the rights refused the program.
    #[error(
        "loading the XDP steering program failed: {0}; it needs Linux 5.10 and root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
    )]
    Verify(String),
    /// The object does not hold what this loader was written for.
    #[error("the compiled steering program has no `{0}`: rebuild from clean")]
    Missing(&'static str),
    /// Another program owns the interface.
    #[error(
        "XDP attach on {interface} refused: {owner} is already attached; run on another interface, use --io raw, or take its place with --replace"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// Who is there.
        owner: Owner,
    },
    /// The program that is there could not be removed.
    #[error(
        "replacing {owner} on {interface} failed: {error}; stop its process, or detach it (`ip link set dev {interface} xdp off`)"
    )]
    Replace {
        /// The interface.
        interface: String,
        /// Who is there.
        owner: Owner,
        /// The answer.
        error: String,
    },
    /// The kernel or the driver refused the attachment.
    #[error("{attachment} XDP attach on {interface} refused: {error}")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode tried.
        attachment: Attachment,
        /// The answer.
        error: String,
    },
    /// A map refused an entry.
    #[error("{attempt} failed: {error}")]
    Map {
        /// What was attempted.
        attempt: String,
        /// The answer.
        error: MapError,
    },
}
