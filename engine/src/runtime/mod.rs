//! Threads: an engine with its workers, and what an application holds of them.
//!
//! ```text
//!   Engine ── one worker for each link: a pinned thread around an Endpoint
//!     │            ▲ commits                      │ leases through a ring
//!     ├─ Publisher ┘  (SharedPublisher: a queue)  └─▶ Subscriber ─▶ Message
//!     └─ commands: begin, listen, close, count, stop (cold)
//! ```
//!
//! | file | mechanism |
//! |---|---|
//! | `builder` | what an engine is made of |
//! | `engine` | which worker a session goes to; start and end |
//! | `worker` | the loop of a thread |
//! | `desk` | commands to a worker, and word of its end |
//! | `idle`, `cores`, `clock` | when a worker rests, where it runs, what time it is |
//! | `config` | what sessions and subscribers are asked to be |
//! | `publisher`, `shared` | one producer, many producers |
//! | `headway` | what a worker tells them of packets that left |
//! | `feed` | messages into a subscriber's ring; what happens when it is slow |
//! | `subscriber`, `message` | messages out of it |
//! | `crowd`, `tsis`, `stats`, `error` | waiting in numbers; ports of the host; counters; what goes wrong |
//!
//! An application that needs no thread between itself and the network drives an [`Endpoint`](crate::endpoint::Endpoint) by itself.

mod builder;
mod clock;
mod config;
mod cores;
mod crowd;
mod desk;
mod engine;
mod error;
mod feed;
mod headway;
mod idle;
mod message;
mod publisher;
mod shared;
mod stats;
mod subscriber;
mod tsis;
mod worker;

pub use builder::EngineBuilder;
pub use config::{PublisherConfig, SubscriberConfig};
pub use engine::{Ended, Engine};
pub use error::{EngineError, PublishError, ReceiveError, WorkerGone};
pub use idle::{Idle, UnknownIdle};
pub use message::{Message, Received};
pub use publisher::{Claim, ClaimApdu, Close, Closing, Cork, Publisher};
pub use shared::SharedPublisher;
pub use stats::WorkerStats;
pub use subscriber::{Subscriber, SubscriberStats};

use clock::after;
