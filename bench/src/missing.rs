//! A receiver by itself, fed packet by packet in virtual time: what receiving costs while packets are missing.
//!
//! Called by the `memory` benchmark and by the micro-benchmarks. Whoever feeds it answers no NAK: what is missing stays missing, is asked for
//! again and again, and those NAKs are part of the cost. Guards: as many packets are missing as was asked for.

use pgmx::frame::{Incoming, Layout, PathFacts, Pool, TxBatch};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::{Order, Receiver, ReceiverConfig};
use pgmx::time::Time;
use pgmx::wire::build::{self, Content, DATA_HEADER_LEN, DataTemplate, DataType, Session, SpmOptions};
use pgmx::wire::{Gsi, Limits, Spm, Sqn, Tsi, checksum, parse};

use crate::memory::{BURST, PAYLOAD, Reader};

/// Addresses of the group, of the source, and ours.
const GROUP: [u8; 4] = [239, 192, 0, 1];
const SOURCE: [u8; 4] = [10, 0, 0, 1];
const OURS: [u8; 4] = [10, 0, 0, 2];
const SESSION: Session = Session { tsi: Tsi::new(Gsi::new([1; 6]), 9000), data_port: 7500 };
/// SQNs that the receiver works on at a time: those of all that is missing, and of what comes behind it.
const WINDOW: u32 = 1 << 20;
/// As in [`crate::memory`].
const TURN_NS: u64 = 10_000;

/// A receiver and what it is given.
pub struct Fed {
    receiver: Receiver,
    pool: Pool,
    out: TxBatch,
    now: Time,
    next: Sqn,
    reader: Reader,
    template: DataTemplate,
    payload_sum: checksum::Sum,
}

impl Fed {
    /// A receiver that has seen `missing` single packets go missing, every other one, or none. It delivers each message as soon as it is
    /// there, so that messages flow in either case.
    ///
    /// # Errors
    /// If the engine refuses.
    pub fn new(missing: u32) -> Result<Self, String> {
        let mut config = ReceiverConfig::profile(Profile::LowLatency, GROUP.into(), SESSION.data_port);
        (config.window_slots, config.order) = (WINDOW, Order::AsComplete);
        let path = PathFacts { nla: OURS.into(), mtu: 1500, front: 34, alert: 4, ip_header: 20 };
        let mut fed = Self {
            receiver: Receiver::new(&config, path, 1).map_err(|error| error.to_string())?,
            pool: Pool::anonymous(Layout::standard(4096)).map_err(|error| error.to_string())?,
            out: TxBatch::new(BURST),
            now: Time::from_nanos(1),
            next: Sqn::new(0),
            reader: Reader::default(),
            template: DataTemplate::new(&SESSION),
            payload_sum: checksum::sum(&[0x5a; PAYLOAD]),
        };
        fed.turn(1, 1);
        fed.tell();
        for done in (0..missing).step_by(BURST) {
            fed.turn(BURST.min((missing - done) as usize), 2);
        }
        let window: u64 = fed.missing();
        if window == u64::from(missing) { Ok(fed) } else { Err(format!("{window} of {missing} are missing")) }
    }

    /// Packets that are missing now.
    pub fn missing(&self) -> u64 {
        let given = u64::from(self.next.get());
        given - self.reader.packets - self.reader.lost
    }

    /// Packets until the window is full.
    pub fn room(&self) -> u32 {
        WINDOW - self.next.get()
    }

    /// A turn of an endpoint: receives a burst, the next ones in order, runs the timers, sends what is to be sent. Returns how many packets
    /// were delivered.
    #[inline]
    pub fn burst(&mut self) -> u64 {
        let before = self.reader.packets;
        self.turn(BURST, 1);
        self.reader.packets - before
    }

    /// Receives `count` packets, the last of each `step`.
    fn turn(&mut self, count: usize, step: u32) {
        for _ in 0..count {
            let sqn = Sqn::new(self.next.get() + step - 1);
            self.give(DataType::Odata, sqn);
        }
        self.tick();
    }

    /// The SQN behind the last one that was given.
    pub fn next(&self) -> Sqn {
        self.next
    }

    /// Receives one packet.
    #[inline]
    pub fn give(&mut self, data_type: DataType, sqn: Sqn) {
        let mut frame = self.pool.take().expect("every frame comes back");
        frame.set_range(Layout::XDP_HEADROOM, (DATA_HEADER_LEN + PAYLOAD) as u16);
        let packet = self.pool.bytes_mut(&mut frame);
        let (head, rest) = packet.split_first_chunk_mut().expect("room for a header");
        rest.copy_from_slice(&[0x5a; PAYLOAD]);
        let (template, trail) = (&self.template, Sqn::new(0));
        template.plain(head, data_type, Content::Original, sqn, trail, PAYLOAD as u16, self.payload_sum);
        let header = parse(packet, &Limits::default()).expect("a good packet");
        let incoming = Incoming { frame, from: SOURCE.into(), to: GROUP.into() };
        self.receiver.handle(self.now, &header, incoming, &mut self.pool, &mut self.reader);
        if !sqn.is_before(self.next) {
            self.next = sqn.next();
        }
    }

    /// Receives an SPM: before the first nobody is asked for anything.
    fn tell(&mut self) {
        let (sqn, trail, lead) = (Sqn::new(1), Sqn::new(0), self.next.prev());
        let spm = Spm { sqn, trail, lead, path: SOURCE.into() };
        let mut frame = self.pool.take().expect("every frame comes back");
        frame.set_range(Layout::XDP_HEADROOM, 64);
        let len = build::spm(self.pool.bytes_mut(&mut frame), &SESSION, &spm, &SpmOptions::default());
        frame.set_range(Layout::XDP_HEADROOM, len.expect("room for an SPM") as u16);
        let header = parse(self.pool.bytes(&frame), &Limits::default()).expect("a good packet");
        let incoming = Incoming { frame, from: SOURCE.into(), to: GROUP.into() };
        self.receiver.handle(self.now, &header, incoming, &mut self.pool, &mut self.reader);
    }

    /// Lets time pass: runs the timers, and sends what is to be sent. Returns how many packets that was.
    #[inline]
    pub fn tick(&mut self) -> usize {
        self.now = self.now.plus(TURN_NS);
        self.receiver.advance(self.now, &mut self.pool, &mut self.reader);
        self.receiver.transmit(self.now, &mut self.pool, &mut self.out);
        let sent = self.out.len();
        while let Some(out) = self.out.pop() {
            self.pool.put(out.frame);
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_packets_are_missing_as_was_asked_for_and_all_others_are_delivered() {
        for missing in [0, 1, 1000] {
            let mut fed = Fed::new(missing).expect("the engine takes it");
            for _ in 0..100 {
                assert_eq!(fed.burst(), BURST as u64);
            }
            assert_eq!(fed.missing(), u64::from(missing));
        }
    }

    #[test]
    fn a_gap_is_asked_for_and_its_repair_delivered() {
        let mut fed = Fed::new(0).expect("the engine takes it");
        let first = fed.next().get();
        for sqn in [0, 2] {
            fed.give(DataType::Odata, Sqn::new(first + sqn));
        }
        assert!((0..4).map(|_| fed.tick()).sum::<usize>() > 0, "a NAK within 40 µs");
        assert_eq!(fed.missing(), 1);
        fed.give(DataType::Rdata, Sqn::new(first + 1));
        assert_eq!(fed.missing(), 0);
    }
}
