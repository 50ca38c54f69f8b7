//! `--framing zmq` and `--subscribe`: the handler of a ZeroMQ SUB.
//!
//! Between the inbox and the [`Reader`]: what comes are TSDUs, what goes on are whole messages that somebody subscribed to. Guards: what was
//! lost or ended a session ends the message under way in it, before the reader hears of it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use pgmx::endpoint::{Handler, MessageView};
use pgmx::framing::zmq::Decoders;
use pgmx::protocol::Event;

use super::{Layer, Reader};

/// Takes messages out of their frames.
pub(super) struct Unframed {
    reader: Reader,
    decoders: Decoders,
    /// Prefixes of first parts; empty: all are wanted.
    wanted: Vec<Vec<u8>>,
}

impl Unframed {
    /// For a reader who wants the messages that begin with one of these.
    pub(super) fn new(reader: Reader, wanted: &[OsString]) -> Self {
        let wanted = wanted.iter().map(|prefix| prefix.as_bytes().to_vec()).collect();
        Self { reader, decoders: Decoders::default(), wanted }
    }
}

impl Handler for Unframed {
    #[inline]
    fn message(&mut self, tsdu: MessageView<'_>) {
        let Self { reader, decoders, wanted } = self;
        if reader.drops.is_some() && !reader.is_done() {
            reader.time_repair(&tsdu);
        }
        let (tsi, received) = (tsdu.tsi, tsdu.received);
        // ZeroMQ's are never fragments: what comes in pieces makes no sense, and is counted.
        let octets = tsdu.as_slice().unwrap_or_default();
        // A fault is told at the end, in their number.
        let _ = decoders.take(tsi, octets, |message| {
            let (len, chunks) = (message.len(), message.parts().map(|part| part.octets));
            if wanted.is_empty() || wanted.iter().any(|prefix| message.starts_with(prefix)) {
                reader.take(tsi, received, len, chunks);
            } else {
                reader.pass_over(tsi, len, chunks);
            }
        });
    }

    fn event(&mut self, event: Event) {
        self.decoders.on_event(&event);
        self.reader.event(event);
    }
}

impl Layer for Unframed {
    #[inline]
    fn reader(&self) -> &Reader {
        &self.reader
    }

    #[inline]
    fn reader_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }

    fn faults(&self) -> Option<u64> {
        Some(self.decoders.stats().faults())
    }
}
