//! What a worker tells of itself.

use crate::endpoint::EndpointStats;
use crate::frame::Census;

/// What one worker counted, and where its frames are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its interface.
    pub interface: String,
    /// What its endpoint counted.
    pub endpoint: EndpointStats,
    /// Where its frames are.
    pub frames: Census,
    /// Sessions that it publishes.
    pub sessions: usize,
    /// Turns of its loop.
    pub iterations: u64,
    /// Sleeps among them.
    pub sleeps: u64,
}
