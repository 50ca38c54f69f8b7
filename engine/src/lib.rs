//! pgmx: a kernel-bypass engine for PGM, the reliable multicast of RFC 3208.
//!
//! One publisher, any number of subscribers; a lost packet is repaired, or its loss is reported. An [`Engine`] has worker threads, and
//! hands out [`Publisher`]s and [`Subscriber`]s:
//!
//! ```
//! use pgmx::{Encapsulation, Engine, PublisherConfig, SubscriberConfig};
//!
//! // PGM in UDP over loopback, which needs no rights; `Engine::builder().interface("eth0")` takes the best way there is.
//! let engine = Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(17_524)).frames(4096).build()?;
//! let group = [239, 192, 0, 1].into();
//! let mut subscriber = engine.subscriber(&SubscriberConfig::new(group, 7500))?;
//! let mut publisher = engine.publisher(&PublisherConfig::new(group, 7500).window(256))?;
//! publisher.publish(b"hello")?;
//! let message = std::iter::from_fn(|| subscriber.recv().ok()).find_map(pgmx::Received::message);
//! assert_eq!(message.expect("it came").as_slice(), Some(&b"hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Without threads, an [`endpoint::Endpoint`] is the whole engine for one loop: a [`link`] to the network, [`protocol::source`]s that send
//! and [`protocol::receiver`]s that listen, driven by `poll(now)`. Below it everything is deterministic: time and packets come in as
//! arguments.
//!
//! ```
//! use pgmx::endpoint::{Endpoint, EndpointConfig};
//! use pgmx::frame::{Layout, Pool};
//! use pgmx::link::memory::Hub;
//! use pgmx::protocol::config::Profile;
//! use pgmx::protocol::receiver::ReceiverConfig;
//! use pgmx::protocol::source::SourceConfig;
//! use pgmx::protocol::{Delivery, Event, Sink};
//! use pgmx::time::Time;
//! use pgmx::wire::{Gsi, Tsi};
//!
//! /// What the application does with what it hears.
//! #[derive(Default)]
//! struct Heard(Vec<Vec<u8>>);
//!
//! impl Sink for Heard {
//!     fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
//!         self.0.push(pool.bytes(&delivery.frame).to_vec());
//!         pool.put(delivery.frame);
//!     }
//!     fn event(&mut self, _: Event) {}
//! }
//!
//! let hub = Hub::new(256);
//! let endpoint = |host: u8| {
//!     let pool = Pool::anonymous(Layout::standard(2048))?;
//!     Ok::<_, Box<dyn std::error::Error>>(Endpoint::new(hub.port([10, 0, 0, host].into()), pool, &EndpointConfig::default())?)
//! };
//! let (mut sending, mut receiving) = (endpoint(1)?, endpoint(2)?);
//!
//! let group = [239, 192, 0, 1].into();
//! let mut config = SourceConfig::profile(Profile::LowLatency, group, 7500);
//! config.window_slots = 1024;
//! let tsi = Tsi::new(Gsi::from_host_name("pgm.example.com"), 12345);
//! let (_, mut publisher) = sending.add_source(&config, tsi, Time::ZERO, 1)?;
//! receiving.add_receiver(&ReceiverConfig::profile(Profile::LowLatency, group, 7500), 2)?;
//!
//! publisher.publish(b"hello")?;
//! let mut heard = Heard::default();
//! for step in 1..100 {
//!     let now = Time::from_nanos(step * 10_000);
//!     sending.poll(now, &mut heard)?;
//!     receiving.poll(now, &mut heard)?;
//! }
//! assert_eq!(heard.0, [b"hello"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`framing`] has what ZeroMQ's `pgm://` and `epgm://` sockets put into packets.
//!
//! # Features
//!
//! * `xdp` (default): the AF_XDP link. Building it needs clang and libelf.
//! * `sim`: the network simulator that proves the protocol.

pub mod endpoint;
pub mod frame;
pub mod framing;
pub mod link;
pub mod protocol;
mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
mod sync;
pub mod time;
pub mod wire;

pub use link::Encapsulation;
pub use runtime::{
    Claim, ClaimApdu, Close, Closing, Cork, Ended, Engine, EngineBuilder, EngineError, Idle, Message, PublishError,
    Publisher, PublisherConfig, ReceiveError, Received, SharedPublisher, Subscriber, SubscriberConfig, SubscriberStats,
    UnknownIdle, WorkerGone, WorkerStats,
};

/// The program of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
