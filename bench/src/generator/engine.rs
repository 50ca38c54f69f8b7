//! The whole engine as a receiver: an endpoint with one receiver over an `xdp` link, its messages read where they lie.
//!
//! Guards: what is counted was delivered, in order, its checksum checked; losses are told by the engine itself.

use pgmx::endpoint::{Endpoint, EndpointConfig, Handler, Inbox, MessageView};
use pgmx::link::xdp::{DataPath, XdpConfig, XdpLink};
use pgmx::protocol::Event;
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::{OnLoss, ReceiverConfig};
use pgmx::time::Time;

use super::take::Taker;
use super::{Course, words};
use crate::links::{DATA_PORT, GROUP, read};
use crate::netns::Port;

/// The application: reads.
#[derive(Default)]
struct Reader {
    messages: u64,
    octets: u64,
    lost: u64,
    sum: u64,
}

impl Handler for Reader {
    #[inline]
    fn message(&mut self, message: MessageView<'_>) {
        self.messages += 1;
        for chunk in message.chunks() {
            self.octets += chunk.len() as u64;
            self.sum = self.sum.wrapping_add(read(chunk));
        }
    }

    fn event(&mut self, event: Event) {
        if let Event::Loss { first, last, .. } = event {
            self.lost += u64::from(last.get().wrapping_sub(first.get())) + 1;
        }
    }
}

/// An endpoint and what it delivers to.
pub struct Engine {
    endpoint: Endpoint<XdpLink>,
    inbox: Inbox<Reader>,
}

impl Engine {
    /// Opens a link on the port that takes what the generator sends.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn open(port: &Port, course: &Course) -> Result<Self, String> {
        Self::open_by(port, course, DataPath::Copy)
    }

    /// As [`Engine::open`], by the best way that the interface has.
    ///
    /// # Errors
    /// If none can be had.
    pub fn open_any(port: &Port, course: &Course) -> Result<Self, String> {
        Self::open_by(port, course, DataPath::Auto)
    }

    fn open_by(port: &Port, course: &Course, data_path: DataPath) -> Result<Self, String> {
        let mut config = ReceiverConfig::profile(Profile::LowLatency, GROUP.into(), DATA_PORT);
        // Nobody repairs: what is missing is told, and the session goes on.
        config.on_loss = OnLoss::Skip;
        let mut link = XdpConfig::new(&port.interface);
        link.data_path = data_path;
        link.ring = course.ring;
        link.frames = 4 * course.ring + config.frames();
        let (link, pool) = XdpLink::open(&link).map_err(words("opening the xdp link"))?;
        let endpoint = Endpoint::new(link, pool, &EndpointConfig::default());
        let mut endpoint = endpoint.map_err(words("the endpoint"))?;
        endpoint.add_receiver(&config, 1).map_err(words("the receiver"))?;
        Ok(Self { endpoint, inbox: Inbox::new(Reader::default()) })
    }

    /// Octets that were delivered, and packets that were lost.
    pub fn counted(&self) -> (u64, u64) {
        let Reader { octets, lost, .. } = *self.inbox.handler();
        (octets, lost)
    }
}

impl Taker for Engine {
    #[inline]
    fn take(&mut self, now: Time) -> Result<u64, String> {
        let before = self.inbox.handler().messages;
        self.endpoint.poll(now, self.inbox.at(now)).map_err(words("receiving"))?;
        Ok(self.inbox.handler().messages - before)
    }

    fn form(&self) -> String {
        self.endpoint.link().taken().to_string()
    }

    fn close(mut self: Box<Self>) -> Result<(), String> {
        self.endpoint.shut_down(&mut self.inbox);
        core::hint::black_box(self.inbox.handler().sum);
        let census = self.endpoint.pool().census();
        if census.out + census.lent != 0 || !census.adds_up() {
            return Err(format!("frames are missing: {census:?}"));
        }
        Ok(())
    }
}
