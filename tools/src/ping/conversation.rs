//! What ping and pong have in common: two sessions on neighbouring ports, one for each direction.
//!
//! ```text
//!   ping ── GROUP:PORT ────▶ pong
//!   ping ◀─ GROUP:PORT+1 ─── pong
//! ```
//!
//! Guards: nobody hears itself, and a port that has no neighbour is refused before anything is opened.

use std::time::Duration;

use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::SourceConfig;

use crate::common::drive::Drive;
use crate::common::failure::Failure;
use crate::common::place::Place;
use crate::common::{Common, Purpose, World};

/// Packets of the window, unless asked for. What a packet touches is then still in the second-level cache when its slot comes round again:
/// 1,024 slots add a tenth to the median round trip. A NAK holds the trail, so that few slots are enough for repairs.
pub(crate) const WINDOW: u32 = 256;
/// How long a side that is done waits, at the most, until the other side has heard so: the profiles of wide networks linger for longer.
pub(crate) const FAREWELL: Duration = Duration::from_secs(3);

/// Opens the endpoint.
pub(crate) fn open<D: Drive>(common: &mut Common) -> Result<World<D>, Failure> {
    let place = Place::read(&common.endpoint, common.interface.as_deref())?;
    if place.channel.data_port == u16::MAX {
        return Err(Failure::usage("port 65535: answers come on the next port, and there is none; take 65534 or less"));
    }
    common.window.get_or_insert(WINDOW);
    common.open(Purpose::CONVERSE)
}

/// How the session on the endpoint's port (ping's) or the next one (pong's) is sent.
pub(crate) fn source_config<D: Drive>(world: &World<D>, is_pong: bool) -> SourceConfig {
    let mut config = world.source_config();
    config.data_port += u16::from(is_pong);
    config
}

/// How the session of the other side is heard.
pub(crate) fn receiver_config<D: Drive>(world: &World<D>, is_pong: bool) -> ReceiverConfig {
    let mut config = world.receiver_config();
    config.data_port += u16::from(!is_pong);
    // Each converses about what it hears from now on.
    config.take_history = false;
    config
}
