//! ZeroMQ's framing: a stream of messages, cut into TSDUs at any octet.
//!
//! ```text
//!   TSDU     | offset 16 | stream ............................ |
//!   stream   frame frame frame ...      a message is a frame for each part of it
//!   frame    | length 8 | flags 8 | part ... |                 length: of flags and part, 1 to 254
//!            | 0xFF | length 64 | flags 8 | part ... |         from 255 on
//! ```
//!
//! All numbers are big-endian. The offset tells where, behind the two octets of itself, the first message begins that begins in this TSDU:
//! the place where who missed what came before can join. 0xFFFF: none does. Bit 0 of the flags: more parts follow. There is no greeting, and
//! nobody tells the publisher what he subscribes to: subscribers filter at home, by the first octets of the first part.
//!
//! [`Encoder`] writes the TSDUs of one session, straight into a publisher's claim. [`Decoder`] reads those of one session, [`Decoders`] those
//! of all that a receiver hears.
//!
//! ```
//! use pgmx::framing::zmq::{Decoder, Encoder};
//!
//! let mut encoder = Encoder::new();
//! let mut room = [0; 64]; // in life `publisher.claim(...)`
//! let mut tsdu = encoder.tsdu(&mut room);
//! assert!(tsdu.part(b"weather", true) && tsdu.part(b"rain", false) && tsdu.part(b"news", false));
//! let len = tsdu.finish(); // in life `claim.commit_len(len)`
//!
//! let mut decoder = Decoder::new();
//! let mut heard = Vec::new();
//! decoder.take(&room[..len], |message| {
//!     if message.starts_with(b"wea") {
//!         heard.push(message.parts().map(|part| part.octets.to_vec()).collect::<Vec<_>>());
//!     }
//! })?;
//! assert_eq!(heard, [[b"weather".to_vec(), b"rain".to_vec()]]);
//! # Ok::<(), pgmx::framing::zmq::Fault>(())
//! ```
//!
//! Over a network:
//!
//! ```
//! use pgmx::framing::zmq::{Decoders, Encoder, tsdu_max};
//! # use pgmx::{Encapsulation, Engine, PublisherConfig, SubscriberConfig};
//! # let engine = Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(17_530)).frames(4096).build()?;
//! # let group = [239, 192, 0, 1].into();
//! # let mut subscriber = engine.subscriber(&SubscriberConfig::new(group, 17_530))?;
//! # let mut publisher = engine.publisher(&PublisherConfig::new(group, 17_530).window(256))?;
//! let mut encoder = Encoder::new();
//! let mut claim = publisher.claim(publisher.claim_max().min(tsdu_max(group)))?;
//! let mut tsdu = encoder.tsdu(&mut claim);
//! // As many messages as there are now, while there is room: what is alone leaves alone.
//! assert!(tsdu.part(b"weather", true) && tsdu.part(b"rain", false));
//! let len = tsdu.finish();
//! claim.commit_len(len);
//!
//! let mut decoders = Decoders::default();
//! let mut heard = Vec::new();
//! while heard.is_empty() {
//!     match subscriber.recv()? {
//!         pgmx::Received::Message(tsdu) => {
//!             decoders.take(tsdu.tsi(), tsdu.as_slice().unwrap_or_default(), |message| heard.push(message.to_vec()))?;
//!         }
//!         pgmx::Received::Event(_, event) => decoders.on_event(&event),
//!     }
//! }
//! assert_eq!(heard, [b"weatherrain"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decoder;
mod decoders;
mod encoder;
mod frame;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, DecoderStats, Fault};
pub use decoders::Decoders;
pub use encoder::{Encoder, Tsdu};
pub use frame::{Message, Part, Parts};

/// Octets in front of the stream in each TSDU.
pub const OFFSET_LEN: usize = 2;

/// Octets in front of a part, at most.
pub const HEAD_MAX: usize = 10;

/// The offset of a TSDU in which no message begins.
const NO_OFFSET: u16 = 0xFFFF;

/// Octets of the longest message that a decoder takes unless told otherwise: what receivers take in by default, and the heads of some
/// thousand parts.
pub const MESSAGE_MAX: usize = (1 << 24) + (1 << 16);

/// Octets of the longest TSDU to send on paths that carry more: ZeroMQ takes in IP packets of up to 1,500 octets, whatever the path, and at
/// worst there is UDP in front of PGM, or a repair's router alert, and behind its header what late joiners and the first packet are told.
///
/// ```
/// # use pgmx::framing::zmq::tsdu_max;
/// assert_eq!((tsdu_max([239, 192, 0, 1].into()), tsdu_max([0xFF15, 0, 0, 0, 0, 0, 0, 1].into())), (1432, 1412));
/// ```
pub const fn tsdu_max(group: core::net::IpAddr) -> usize {
    let ip = if group.is_ipv4() { 20 } else { 40 };
    // A router alert is shorter than UDP, and never beside it.
    let [udp, data_header, options] = [8, 24, 16];
    1500 - ip - udp - data_header - options
}
