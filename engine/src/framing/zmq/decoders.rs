//! A decoder for each session that a receiver hears.
//!
//! Fed by an application's handler with messages and events in the order in which they come: what is lost, or closed, is told before what
//! follows it, and so every stream stays whole. Guards: there are as many decoders as open sessions, of which the receiver allows only so
//! many; together they take no more memory than agreed, beside a little that each has for itself; and so nobody who leaves long messages
//! unfinished keeps others from messages of the usual lengths.

use super::MESSAGE_MAX;
use super::decoder::{Decoder, DecoderStats, Fault, KEPT};
use super::frame::Message;
use crate::protocol::Event;
use crate::wire::Tsi;

/// Octets that all messages under way may take together unless told otherwise: some of the longest at a time.
const MEMORY_MAX: usize = 4 * MESSAGE_MAX;

/// Reads the streams of all sessions.
///
/// ```
/// use pgmx::endpoint::{Handler, MessageView};
/// use pgmx::framing::zmq::Decoders;
/// use pgmx::protocol::Event;
///
/// /// A ZeroMQ SUB, subscribed to the weather.
/// #[derive(Default)]
/// struct Weather {
///     decoders: Decoders,
///     heard: Vec<Vec<u8>>,
/// }
///
/// impl Handler for Weather {
///     fn message(&mut self, tsdu: MessageView<'_>) {
///         let Self { decoders, heard } = self;
///         // A TSDU of ZeroMQ's is never a fragment; what comes in pieces is none, and counted.
///         let _ = decoders.take(tsdu.tsi, tsdu.as_slice().unwrap_or_default(), |message| {
///             if message.starts_with(b"weather") {
///                 heard.push(message.to_vec());
///             }
///         });
///     }
///     fn event(&mut self, event: Event) {
///         self.decoders.on_event(&event);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Decoders {
    sessions: Vec<(Tsi, Decoder)>,
    /// Where the session of the last TSDU stands.
    last: usize,
    message_max: usize,
    memory_max: usize,
    /// Octets that messages under way have taken.
    memory: usize,
    /// Of sessions that are over.
    counted: DecoderStats,
}

impl Default for Decoders {
    fn default() -> Self {
        Self::new(MESSAGE_MAX, MEMORY_MAX)
    }
}

impl Decoders {
    /// Takes messages of up to `message_max` octets, and gathers at most `memory_max` octets of messages under way, of all sessions together:
    /// one that finds no memory counts as too long. For its first 64 KiB each session has memory, whatever the others have taken.
    pub fn new(message_max: usize, memory_max: usize) -> Self {
        Self { sessions: Vec::new(), last: 0, message_max, memory_max, memory: 0, counted: DecoderStats::default() }
    }

    /// Reads a TSDU of a session; see [`Decoder::take`].
    #[inline]
    pub fn take(&mut self, tsi: Tsi, tsdu: &[u8], each: impl FnMut(Message<'_>)) -> Result<(), Fault> {
        if self.sessions.get(self.last).is_none_or(|(it, _)| *it != tsi) {
            self.find(tsi);
        }
        let Self { sessions, last, memory, memory_max, .. } = self;
        let decoder = &mut sessions[*last].1;
        let others = *memory - decoder.memory();
        let taken = decoder.take_within(tsdu, memory_max.saturating_sub(others).max(KEPT), each);
        *memory = others + decoder.memory();
        taken
    }

    #[cold]
    fn find(&mut self, tsi: Tsi) {
        self.last = self.sessions.iter().position(|(it, _)| *it == tsi).unwrap_or_else(|| {
            self.sessions.push((tsi, Decoder::with_message_max(self.message_max)));
            self.sessions.len() - 1
        });
    }

    /// News of a session: after a loss its stream is joined again, and one that is over is forgotten.
    pub fn on_event(&mut self, event: &Event) {
        let (tsi, is_over) = match event {
            Event::Opened { .. } => return,
            Event::Loss { tsi, .. } => (tsi, false),
            Event::Closed { tsi, .. } => (tsi, true),
        };
        let Some(at) = self.sessions.iter().position(|(it, _)| it == tsi) else { return };
        let decoder = &mut self.sessions[at].1;
        self.memory -= decoder.memory();
        decoder.on_loss();
        if is_over {
            self.counted.add(decoder.stats());
            self.sessions.swap_remove(at);
            self.last = 0;
        } else {
            self.memory += decoder.memory();
        }
    }

    /// Octets of memory that messages under way have taken.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// What all decoders have counted.
    pub fn stats(&self) -> DecoderStats {
        let mut sum = self.counted;
        self.sessions.iter().for_each(|(_, decoder)| sum.add(decoder.stats()));
        sum
    }
}
