//! The data-source ports of this host, shared by the workers of an engine.
//!
//! Guards: two sessions of an engine never have one TSI, and a port comes back when its session is over for good.

use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::source::TsiAllocator;
use crate::wire::{Gsi, Tsi};

/// The ports.
#[derive(Clone)]
pub(super) struct Tsis(Arc<Mutex<TsiAllocator>>);

impl Tsis {
    pub(super) fn new(seed: u64) -> Self {
        // RFC 3208 §8, conformance 13: named after the host. The kernel tells its name where other systems have a call for it.
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let gsi = Gsi::from_host_name(name.trim());
        Self(Arc::new(Mutex::new(TsiAllocator::new(gsi, seed))))
    }

    /// A free port.
    pub(super) fn open(&self) -> Option<Port> {
        let tsi = self.0.lock().unwrap_or_else(PoisonError::into_inner).open()?;
        Some(Port { tsi, of: Some(self.clone()) })
    }
}

/// A TSI in use.
pub(super) struct Port {
    tsi: Tsi,
    of: Option<Tsis>,
}

impl Port {
    /// A TSI that the application chose.
    pub(super) fn chosen(tsi: Tsi) -> Self {
        Self { tsi, of: None }
    }

    pub(super) fn tsi(&self) -> Tsi {
        self.tsi
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(Tsis(all)) = &self.of {
            all.lock().unwrap_or_else(PoisonError::into_inner).close(self.tsi);
        }
    }
}
