//! Frames: fixed-size pieces of packet memory, each with exactly one owner.
//!
//! ```text
//!   Slab   the mapping itself: the UMEM behind AF_XDP, an anonymous mapping elsewhere
//!    └─ Pool    hands out frames, takes them back, counts them          (one thread: the worker's)
//!        ├─ Frame     move-only token: whoever holds it owns the bytes of that frame
//!        ├─ Leased, Lease   a delivered frame that any thread may read; comes home with its last reader
//!        ├─ QuotaId    a subscriber's share: how many it may hold
//!        └─ Run       contiguous frames set aside for one transmit window
//!             └─ Window   slot `position & mask` is frame `base + (position & mask)`
//!                  ├─ Writer   the publisher's half: claim, write in place, commit
//!                  └─ Reader   the worker's half: lend a slot to the link, get it back, move the trail
//! ```
//!
//! A chunk of the slab, as every link lays it out (`start` is [`Layout::start`], where a transmitted frame begins):
//!
//! ```text
//!   0        start                                                              frame_size
//!   | driver | Ethernet, VLAN, IP, Router Alert, UDP | PGM header, options | payload ... |
//!              `- link overhead, written by the link   `- written in front of a payload that never moves
//! ```
//!
//! To give a frame to the kernel, a link surrenders its token and keeps the number that the ring wants ([`Pool::surrender`]); what a
//! ring gives back is reclaimed or completed by number. Until then no token exists, and a slot counts as in flight.
//!
//! All `unsafe` of the engine that touches packet memory lives in this module. The invariant behind every block: *the bytes of a
//! frame are touched only by the holder of its token, or, for a frame of a window, by the half of the window that owns its slot; a
//! leased frame has no token and is only read.*

mod lease;
mod octets;
mod parcel;
mod pool;
mod quota;
mod slab;
mod window;

pub use lease::{Lease, LeaseChunks, Leased, Leases};
pub use octets::copy_octets;
pub use parcel::{Batch, Drain, Incoming, Outgoing, PathFacts, Peek, RxBatch, Tail, To, TxBatch};
pub use pool::{Census, Frame, Pool, Run};
pub use quota::QuotaId;
pub use slab::{Layout, Slab, SlabError};
pub use window::{Apdu, Claim, ClaimApdu, ClaimError, Reader, Slot, SlotLayout, Writer, window};
