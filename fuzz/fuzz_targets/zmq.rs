//! ZeroMQ's framing against any octets: no panic, no memory beyond the limit, and what was read means the same when it is written again.
//!
//! The bytes are TSDUs, each with its length in front; a length of 255 is a loss. The first two choose how they are cut again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgmx::framing::zmq::{Decoder, Encoder};

const MESSAGE_MAX: usize = 1000;
const LOSS: u8 = 255;

/// A message, as its parts.
type Parts = Vec<Vec<u8>>;

fuzz_target!(|bytes: &[u8]| {
    let [first, others, rest @ ..] = bytes else { return };
    let mut rest = rest;
    let mut decoder = Decoder::with_message_max(MESSAGE_MAX);
    let mut heard = Vec::new();
    let mut faults = 0;
    while let [len, after @ ..] = rest {
        if *len == LOSS {
            decoder.on_loss();
            rest = after;
            continue;
        }
        let (tsdu, after) = after.split_at(after.len().min(usize::from(*len)));
        rest = after;
        faults += u64::from(take(&mut decoder, tsdu, &mut heard));
        assert!(decoder.memory() <= MESSAGE_MAX);
    }
    // Of two faults in one TSDU one is returned.
    assert!((faults..=2 * faults).contains(&decoder.stats().faults()));
    assert_eq!(decoder.stats().messages, heard.len() as u64);
    again(&heard, [first, others].map(|room| 3 + usize::from(*room)));
});

/// Reads a TSDU; says whether something was wrong with it.
fn take(decoder: &mut Decoder, tsdu: &[u8], into: &mut Vec<Parts>) -> bool {
    let taken = decoder.take(tsdu, |message| {
        assert_eq!(message.parts().map(|part| part.octets.len()).sum::<usize>(), message.len());
        into.push(message.parts().map(|part| part.octets.to_vec()).collect());
    });
    taken.is_err()
}

/// Writes the messages again, in TSDUs of these sizes, and reads them.
fn again(messages: &[Parts], rooms: [usize; 2]) {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new();
    let mut heard = Vec::new();
    let mut room = vec![0; rooms[0]];
    let mut tsdu = encoder.tsdu(&mut room);
    for parts in messages {
        for (n, part) in parts.iter().enumerate() {
            while !tsdu.part(part, n + 1 < parts.len()) {
                let len = tsdu.finish();
                assert!(!take(&mut decoder, &room[..len], &mut heard), "we make sense");
                room = vec![0; rooms[1]];
                tsdu = encoder.tsdu(&mut room);
            }
        }
    }
    let len = tsdu.finish();
    assert!(len == 0 || !take(&mut decoder, &room[..len], &mut heard), "we make sense");
    assert!(heard == messages && !encoder.is_midway());
}
