//! Hosts and the wires between them, for one bout: all of its plays use the same.
//!
//! Guards: it is gone with its descriptors, however the program ends; whatever an interface was lent for a play is taken back with it.

use std::path::Path;

use crate::netns::{Bridged, Cable, Host, Pair, Port};

/// The wires.
enum Wires {
    Cable(Box<Pair>),
    Bridge(Bridged),
}

/// A sender's host, and those of receivers.
pub struct Scene {
    wires: Wires,
}

impl Scene {
    /// Hosts for so many receivers: one at the other end of a cable, more behind a bridge.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn new(receivers: u8) -> Result<Self, String> {
        let wires = if receivers == 1 {
            // Without IPv6 nobody talks on the cable but the contestants.
            Wires::Cable(Box::new(Pair::new(&[Cable { ipv6: false, ..Cable::default() }])?))
        } else {
            Wires::Bridge(Bridged::new(receivers + 1)?)
        };
        Ok(Self { wires })
    }

    /// The sender's host.
    pub fn source(&self) -> (&Host, &Port) {
        match &self.wires {
            Wires::Cable(pair) => (&pair.left, &pair.left_ports[0]),
            Wires::Bridge(bridge) => (&bridge.hosts[0].0, &bridge.hosts[0].1),
        }
    }

    /// The receivers' hosts.
    pub fn receivers(&self) -> Vec<(&Host, &Port)> {
        match &self.wires {
            Wires::Cable(pair) => vec![(&pair.right, &pair.right_ports[0])],
            Wires::Bridge(bridge) => bridge.hosts[1..].iter().map(|(host, port)| (host, port)).collect(),
        }
    }

    /// Loses packets in front of all receivers until what is returned is dropped, where a contestant cannot do that itself.
    ///
    /// # Errors
    /// If the program is missing, or the kernel refuses it.
    pub fn lose(&self, program: &Path) -> Result<Loss<'_>, String> {
        if !program.exists() {
            return Err(format!("{} is missing: cargo xtask peers builds it (needs clang)", program.display()));
        }
        let program = program.to_string_lossy();
        let mut loss = Loss { on: Vec::new() };
        for (host, port) in self.receivers() {
            host.ip(&["link", "set", "dev", &port.interface, "xdp", "object", &program, "section", "xdp"])?;
            loss.on.push((host, port));
        }
        Ok(loss)
    }
}

/// A program that loses packets.
pub struct Loss<'s> {
    on: Vec<(&'s Host, &'s Port)>,
}

impl Drop for Loss<'_> {
    fn drop(&mut self) {
        for (host, port) in &self.on {
            // What cannot be taken off goes with the host.
            let _ = host.ip(&["link", "set", "dev", &port.interface, "xdp", "off"]);
        }
    }
}
