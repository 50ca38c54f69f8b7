//! Where a cell plays: hosts of its own, their interfaces, and the directory of its logs.
//!
//! Used by every play. Guards: the logs of a cell that held are removed, those of another stay.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::actor::Actor;
use super::programs::{Role, Seat};
use super::{Loss, Pace, Program, Sizes, Way};
use crate::netns::{Bridged, Cable, Host, Pair, Port};

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The command.
    pub pgmx: PathBuf,
    /// The directory of the peers' programs.
    pub peers: PathBuf,
}

impl Programs {
    pub(super) fn path(&self, program: Program) -> PathBuf {
        match program {
            Program::Pgmx => self.pgmx.clone(),
            Program::OpenPgm => self.peers.join("openpgm"),
            Program::ZeroMq => self.peers.join("zeromq"),
        }
    }

    /// The program that keeps packets from an interface.
    pub(super) fn lossy(&self, loss: Loss) -> PathBuf {
        self.peers.join(format!("lossy-{}.o", loss.0))
    }

    /// What is not there, with what would bring it.
    pub(super) fn gap(&self, program: Program) -> Option<String> {
        let path = self.path(program);
        let remedy = match program {
            Program::Pgmx => "cargo build --release -p pgmx-tools",
            Program::OpenPgm => "install libpgm-dev (cargo xtask setup), then cargo xtask peers",
            Program::ZeroMq => "install libzmq3-dev (cargo xtask setup), then cargo xtask peers",
        };
        (!path.exists()).then(|| format!("{} is not built: {remedy}", path.display()))
    }
}

/// What every play of a row has to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk {
    pub(super) way: Way,
    /// UDP ports 3055 and 3056 in place of one for both kinds.
    pub(super) two_ports: bool,
    pub(super) sizes: Sizes,
    pub(super) parts: u32,
    pub(super) pace: Pace,
    pub(super) count: u64,
    /// Who talks with `pgmx`, which decides how messages lie in packets.
    pub(super) peer: Program,
}

/// Hosts, each with its interface.
enum Hosts {
    Pair(Pair),
    Bridged(Bridged),
}

/// A cell's hosts and logs.
pub(super) struct Scene<'a> {
    programs: &'a Programs,
    hosts: Hosts,
    pub(super) logs: PathBuf,
    pub(super) talk: Talk,
}

impl<'a> Scene<'a> {
    /// Two hosts with a cable between them, or more behind a bridge.
    pub(super) fn new(programs: &'a Programs, hosts: u8, talk: Talk, logs: &Path) -> Result<Self, String> {
        // What an earlier run left here is of no use to whoever looks for this one's.
        let _ = fs::remove_dir_all(logs);
        fs::create_dir_all(logs).map_err(|error| format!("making {}: {error}", logs.display()))?;
        let hosts = match hosts {
            2 => Hosts::Pair(Pair::new(&[Cable { ipv6: false, ..Cable::default() }])?),
            more => Hosts::Bridged(Bridged::new(more)?),
        };
        Ok(Self { programs, hosts, logs: logs.into(), talk })
    }

    fn host(&self, number: usize) -> (&Host, &Port) {
        match &self.hosts {
            Hosts::Pair(pair) if number == 0 => (&pair.left, &pair.left_ports[0]),
            Hosts::Pair(pair) => (&pair.right, &pair.right_ports[0]),
            Hosts::Bridged(bridged) => (&bridged.hosts[number].0, &bridged.hosts[number].1),
        }
    }

    /// Keeps so many packets from a host.
    pub(super) fn lose(&self, number: usize, loss: Loss) -> Result<(), String> {
        if loss == Loss::NONE {
            return Ok(());
        }
        let object = self.programs.lossy(loss);
        if !object.exists() {
            return Err(format!("{} is not built: cargo xtask peers", object.display()));
        }
        let (host, port) = self.host(number);
        // It goes with its interface.
        let object = object.to_string_lossy();
        host.ip(&["link", "set", "dev", &port.interface, "xdp", "object", &object, "section", "xdp"])
    }

    /// Begins a program on a host.
    pub(super) fn begin(&self, number: usize, program: Program, role: Role, more: &[&str]) -> Result<Actor, String> {
        let (host, port) = self.host(number);
        let seat = Seat { interface: &port.interface, address: port.address, talk: &self.talk };
        let mut arguments = seat.arguments(program, role);
        arguments.extend(more.iter().map(ToString::to_string));
        let path = self.programs.path(program);
        let mut name = format!("{number}-{}-{}", program.to_string().to_lowercase(), role.name());
        // A program may come back.
        while self.logs.join(format!("{name}.cmd")).exists() {
            name.push_str("-again");
        }
        Actor::begin(&name, host, &path, &arguments, &self.logs)
    }

    /// Begins a receiver, which is ready when this returns.
    pub(super) fn listen(&self, number: usize, program: Program, more: &[&str]) -> Result<Actor, String> {
        let mut actor = self.begin(number, program, Role::Receive, more)?;
        actor.until_member()?;
        if program == Program::Pgmx {
            // The loop runs, and hears.
            actor.until_progress("messages", 0)?;
        }
        Ok(actor)
    }

    /// How long all messages may take: what they need at their pace, twice, and a while for repairs.
    pub(super) fn at_most(&self) -> Duration {
        let Talk { sizes: Sizes(least, most), pace, count, .. } = self.talk;
        let bits = count as f64 * (f64::from(least + most) / 2.0 + 64.0) * 8.0;
        let seconds = match pace {
            // Slower than any machine that this should run on.
            Pace::Blast => bits / 50e6,
            Pace::Megabits(rate) => bits / (f64::from(rate) * 1e6),
            Pace::Messages(rate) => count as f64 / f64::from(rate),
        };
        Duration::from_secs_f64(2.0 * seconds) + Duration::from_secs(60)
    }

    /// Removes the logs.
    pub(super) fn forget(self) {
        let _ = fs::remove_dir_all(&self.logs);
    }
}
