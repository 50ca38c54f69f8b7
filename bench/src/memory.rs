//! The engine over the memory link: one thread does both ends, and nothing but the engine is measured.
//!
//! Called by the `memory` benchmark and by the micro-benchmarks. Guards: what is counted was published, sent, received, checked and
//! delivered, and nothing was lost.

use std::net::IpAddr;

use pgmx::endpoint::{Endpoint, EndpointConfig};
use pgmx::frame::{Layout, Pool};
use pgmx::link::memory::{Hub, MemoryLink};
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::{Publisher, SourceConfig};
use pgmx::protocol::{Delivery, Event, Sink};
use pgmx::time::Time;
use pgmx::wire::{Gsi, Tsi};

/// Messages that are published between two polls: as many as an endpoint sends and receives at a time.
pub const BURST: usize = 64;
/// Octets of a message.
pub const PAYLOAD: usize = 64;
/// What passes between two turns, as the engine is told: timers run as often as they would at 6.4 million packets a second.
const TURN_NS: u64 = 10_000;
/// Turns in which the sessions' first SPMs leave.
const OPENING: usize = 200;
/// Packets that a session is ahead of the one before it: an odd number of slots, so that they meet every set.
const STAGGER: usize = 11;

/// The application: looks at each payload and gives the frame back.
#[derive(Debug, Default)]
pub struct Reader {
    /// Packets delivered.
    pub packets: u64,
    /// Packets lost.
    pub lost: u64,
    sum: u64,
}

impl Sink for Reader {
    #[inline]
    fn deliver(&mut self, pool: &mut Pool, delivery: Delivery) {
        self.packets += 1;
        self.sum += pool.bytes(&delivery.frame).first().copied().map_or(0, u64::from);
        pool.put(delivery.frame);
    }

    fn event(&mut self, event: Event) {
        if let Event::Loss { first, last, .. } = event {
            self.lost += u64::from(last.get().wrapping_sub(first.get())) + 1;
        }
    }
}

/// Two endpoints and what runs over them.
pub struct Couple {
    sending: Endpoint<MemoryLink>,
    receiving: Endpoint<MemoryLink>,
    publishers: Vec<Publisher>,
    now: Time,
    /// Whose turn it is to publish.
    turn: usize,
    /// Whether that changes with every message, or with every burst.
    is_sparse: bool,
    published: u64,
    reader: Reader,
    nobody: Reader,
}

fn words<T: core::fmt::Display>(error: T) -> String {
    error.to_string()
}

impl Couple {
    /// So many sessions to one receiver, each with a window of so many slots, which the receiver's has too. The trail moves by 15 % of
    /// them: from 4,096 on a burst always finds room. What finds none is not published and does not count: of 2,048 slots hardly any, of
    /// 1,024 a fifth, so that batches are not full.
    ///
    /// Where there are many, each has a burst to send at every turn, as on a worker that is the bottleneck. So a turn sends one of one session
    /// and publishes one in another, and the next turn in the next.
    ///
    /// # Errors
    /// If the engine refuses.
    pub fn new(sessions: u16, window_slots: u32) -> Result<Self, String> {
        let mut couple = Self::sparse(sessions, window_slots)?;
        couple.is_sparse = false;
        if sessions > 1 {
            (0..sessions).for_each(|_| couple.publish());
        }
        Ok(couple)
    }

    /// The same, but no session has anything to send at the beginning of a turn, and each message of a turn is of another session than the one
    /// before: the worst that can come, a packet or none of each.
    ///
    /// # Errors
    /// If the engine refuses.
    pub fn sparse(sessions: u16, window_slots: u32) -> Result<Self, String> {
        let hub = Hub::new(256);
        let group = IpAddr::from([239, 192, 0, 1]);
        let endpoint = |host: u8, frames: u32| {
            let pool = Pool::anonymous(Layout::standard(frames)).map_err(words)?;
            Endpoint::new(hub.port(IpAddr::from([10, 0, 0, host])), pool, &EndpointConfig::default()).map_err(words)
        };
        let mut sending = endpoint(1, u32::from(sessions) * window_slots + 4096)?;
        let mut receiving = endpoint(2, 8192)?;
        let mut config = SourceConfig::profile(Profile::LowLatency, group, 7500);
        config.window_slots = window_slots;
        let now = Time::from_nanos(1);
        let mut publishers = Vec::new();
        for session in 0..sessions {
            let tsi = Tsi::new(Gsi::new([1; 6]), 9000 + session);
            publishers.push(sending.add_source(&config, tsi, now, u64::from(session)).map_err(words)?.1);
        }
        let mut config = ReceiverConfig::profile(Profile::LowLatency, group, 7500);
        config.window_slots = window_slots;
        config.held_max = config.held_max.min(window_slots);
        config.sessions_max = config.sessions_max.max(u32::from(sessions) + 1);
        receiving.add_receiver(&config, 2).map_err(words)?;
        let (reader, nobody) = (Reader::default(), Reader::default());
        let mut couple =
            Self { sending, receiving, publishers, now, turn: 0, is_sparse: true, published: 0, reader, nobody };
        (0..OPENING).for_each(|_| couple.poll());
        couple.stagger();
        Ok(couple)
    }

    /// Brings every session to another place in its window. Windows of 2 MiB whose sessions go in step would have all their next slots in the
    /// same few sets of the caches, which is a mishap of the rig: publishers that know nothing of each other are at unrelated places.
    fn stagger(&mut self) {
        for session in 1..self.publishers.len() {
            for packet in 0..session * STAGGER {
                let publisher = &mut self.publishers[session];
                self.published += u64::from(publisher.publish(&[0x5a; PAYLOAD]).is_ok());
                if packet % BURST == BURST - 1 {
                    self.poll();
                }
            }
            self.poll();
        }
    }

    /// Publishes a burst, sends one, receives it, delivers it. Returns how many packets were delivered.
    #[inline]
    pub fn turn(&mut self) -> u64 {
        let before = self.reader.packets;
        self.publish();
        self.poll();
        self.reader.packets - before
    }

    #[inline]
    fn publish(&mut self) {
        let message = [0x5a; PAYLOAD];
        for _ in 0..BURST {
            let publisher = &mut self.publishers[self.turn];
            self.published += u64::from(publisher.publish(core::hint::black_box(&message)).is_ok());
            if self.is_sparse {
                self.next_publisher();
            }
        }
        if !self.is_sparse {
            self.next_publisher();
        }
    }

    #[inline]
    fn next_publisher(&mut self) {
        self.turn += 1;
        if self.turn == self.publishers.len() {
            self.turn = 0;
        }
    }

    #[inline]
    fn poll(&mut self) {
        self.now = self.now.plus(TURN_NS);
        self.sending.poll(self.now, &mut self.nobody).expect("the memory link never fails");
        self.receiving.poll(self.now, &mut self.reader).expect("the memory link never fails");
    }

    /// Waits for what is on its way. All that was published must have been delivered.
    ///
    /// # Errors
    /// If it was not.
    pub fn settle(&mut self) -> Result<(), String> {
        (0..1000).for_each(|_| self.poll());
        let Self { published, reader, .. } = self;
        if reader.packets == *published && reader.lost == 0 {
            return Ok(());
        }
        Err(format!("{published} published, {} delivered, {} lost", reader.packets, reader.lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_published_in_any_number_of_sessions_is_delivered() {
        for (sessions, ahead) in [(1_u16, 0), (10, 10), (10, 0)] {
            let couple = if ahead > 0 { Couple::new } else { Couple::sparse };
            let mut couple = couple(sessions, 4096).expect("the engine takes it");
            let staggered = STAGGER * usize::from(sessions * (sessions - 1)) / 2;
            (0..1000).for_each(|_| assert_ne!(couple.turn(), 0));
            couple.settle().expect("nothing is lost");
            let published = (staggered + (1000 + ahead) * BURST) as u64;
            assert_eq!(couple.published, published, "the window never fills: nothing is held up");
        }
    }
}
