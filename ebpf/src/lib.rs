//! The XDP programs and their typed loaders: the one that steers frames to us, and one that makes them.
//!
//! ```text
//!   lib       Steering: the program at work on one interface
//!    ├─ config   what it is asked for           ├─ owner     who is on an interface: number, name, process
//!    ├─ keys     how claims lie in the maps     ├─ evict     taking the place of somebody else's program
//!    ├─ link     what holds a program there     └─ netlink   what rtnetlink knows and does about it
//!    └─ error    refusals, and their remedies
//!   generator  Generator: a session without a sender, for measurements
//!
//!   steer.bpf.c, generate.bpf.c the programs     packet.h what it reads     maps.h what it shares with us     bpf.h what the kernel gives it
//! ```
//!
//! [`Steering`] is loaded, attached, its maps typed. What is steered to which socket is said here; how a frame is read is written in
//! `steer.bpf.c`. Dropped, or its process killed, the program is gone from the interface: it is attached by a link whose descriptor
//! nobody else holds.
//!
//! Called by the `xdp` link of the engine. Guards: never two programs on one interface, and never somebody else's replaced unasked.

mod config;
mod error;
mod evict;
mod generator;
mod keys;
mod link;
mod netlink;
mod owner;

use core::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};

pub use config::{Attach, SOURCES_MAX, SteeringConfig, UDP_PORTS_MAX, UpstreamBudget};
pub use error::SteeringError;
pub use generator::{Generator, GeneratorConfig, GeneratorError, Ledger, TURN_BATCH_MAX};
pub use owner::Owner;

use evict::evict;
use keys::{Endpoint, Host, endpoint, host, prefix_bits};
use link::Attached;
use netlink::Place;

/// The compiled program, for whoever loads it another way. Its maps and options are described in `maps.h`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));

/// Queues that the socket map has room for.
pub const QUEUES_MAX: u32 = 256;

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// After it, on any interface; slower.
    Generic,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// What became of a frame; the order of `enum verdict` in `maps.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Passed: not PGM in the encapsulation asked for.
    Other,
    /// Passed: not on our VLAN.
    Vlan,
    /// Passed: cut off before the end of the PGM header.
    Short,
    /// Passed: an IP fragment.
    Fragment,
    /// Passed: PGM, but not for us.
    Unclaimed,
    /// Passed: for us, but its source is not on the allow-list.
    Foreign,
    /// Dropped: for us, but beyond what its source may send upstream. The one verdict that drops.
    Flood,
    /// Passed: ours, but no socket on its queue.
    NoSocket,
    /// Handed to a socket.
    Steered,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 9] = [
        Self::Other,
        Self::Vlan,
        Self::Short,
        Self::Fragment,
        Self::Unclaimed,
        Self::Foreign,
        Self::Flood,
        Self::NoSocket,
        Self::Steered,
    ];
}

/// The program at work on one interface.
pub struct Steering {
    interface: String,
    attachment: Attachment,
    refused: Option<SteeringError>,
    replaced: Vec<Owner>,
    // Fields are dropped in this order: first the program leaves the interface, then its maps go.
    _link: Attached,
    sockets: XskMap<MapData>,
    groups: HashMap<MapData, Endpoint, u8>,
    locals: HashMap<MapData, Endpoint, u8>,
    verdicts: PerCpuArray<MapData, u64>,
    _program: Ebpf,
}

impl Steering {
    /// Loads the program and attaches it to the interface, which is one of the caller's network namespace. From now on everything
    /// passes, until something is claimed and a socket is there for it.
    ///
    /// Where `replace` is asked for, a program that was there is gone even if ours is then refused by the driver.
    pub fn attach(config: &SteeringConfig) -> Result<Self, SteeringError> {
        config.check()?;
        let SteeringConfig { interface, index, .. } = config;
        if !config.replace
            && let Some(owner) = Owner::of(*index)
        {
            return Err(SteeringError::Occupied { interface: interface.clone(), owner });
        }
        let mut object = load(config)?;
        let mut replaced = Vec::new();
        let (link, attachment, refused) = {
            let program = object.program_mut("steer").ok_or(SteeringError::Missing("steer"))?;
            let program: &mut Xdp = program.try_into().map_err(|_| SteeringError::Missing("steer"))?;
            program.load().map_err(|error| verify(&error))?;
            if config.replace {
                replaced = evict(interface, *index)?;
            }
            let attach = |attachment| attach(program, interface, *index, attachment);
            match config.attach {
                Attach::Generic => (attach(Attachment::Generic)?, Attachment::Generic, None),
                Attach::Native => (attach(Attachment::Native)?, Attachment::Native, None),
                Attach::NativeElseGeneric => match attach(Attachment::Native) {
                    Ok(link) => (link, Attachment::Native, None),
                    Err(refusal @ SteeringError::Attach { .. }) => {
                        (attach(Attachment::Generic)?, Attachment::Generic, Some(refusal))
                    }
                    Err(refusal) => return Err(refusal),
                },
            }
        };
        let mut take = |name| object.take_map(name).ok_or(SteeringError::Missing(name));
        let typed = |name| move |_: MapError| SteeringError::Missing(name);
        Ok(Self {
            interface: interface.clone(),
            attachment,
            refused,
            replaced,
            _link: link,
            sockets: XskMap::try_from(take("sockets")?).map_err(typed("sockets"))?,
            groups: HashMap::try_from(take("groups")?).map_err(typed("groups"))?,
            locals: HashMap::try_from(take("locals")?).map_err(typed("locals"))?,
            verdicts: PerCpuArray::try_from(take("verdicts")?).map_err(typed("verdicts"))?,
            _program: object,
        })
    }

    /// How the program is attached.
    pub fn attachment(&self) -> Attachment {
        self.attachment
    }

    /// Why the better attachment was refused, when it was.
    pub fn refused(&self) -> Option<&SteeringError> {
        self.refused.as_ref()
    }

    /// Whose place was taken, where that was asked for.
    pub fn replaced(&self) -> &[Owner] {
        &self.replaced
    }

    /// Steers to this `AF_XDP` socket what comes in on the queue it is bound to. Its fill ring must be full by now.
    pub fn open_queue(&mut self, queue: u32, socket: RawFd) -> Result<(), SteeringError> {
        self.sockets
            .set(queue, Descriptor(socket), 0)
            .map_err(|error| self.map_error("adding the socket", queue, error))
    }

    /// Steers nothing from this queue any more.
    pub fn close_queue(&mut self, queue: u32) -> Result<(), SteeringError> {
        self.sockets.unset(queue).map_err(|error| self.map_error("removing the socket", queue, error))
    }

    /// Claims packets of sessions on this data port, sent to this group.
    pub fn claim_group(&mut self, group: IpAddr, port: u16) -> Result<(), SteeringError> {
        self.groups
            .insert(endpoint(group, port), 1, 0)
            .map_err(|error| self.claim_error("claiming", group, port, error))
    }

    /// Lets them pass again.
    pub fn release_group(&mut self, group: IpAddr, port: u16) -> Result<(), SteeringError> {
        self.groups.remove(&endpoint(group, port)).map_err(|error| self.claim_error("releasing", group, port, error))
    }

    /// Claims packets sent to this address and port of ours.
    pub fn claim_local(&mut self, address: IpAddr, port: u16) -> Result<(), SteeringError> {
        self.locals
            .insert(endpoint(address, port), 1, 0)
            .map_err(|error| self.claim_error("claiming", address, port, error))
    }

    /// Lets them pass again.
    pub fn release_local(&mut self, address: IpAddr, port: u16) -> Result<(), SteeringError> {
        self.locals
            .remove(&endpoint(address, port))
            .map_err(|error| self.claim_error("releasing", address, port, error))
    }

    /// How many frames met this verdict, on all processors. A handful of system calls: not for the hot path.
    pub fn count(&self, verdict: Verdict) -> Result<u64, SteeringError> {
        let values = self.verdicts.get(&(verdict as u32), 0).map_err(|error| SteeringError::Map {
            attempt: format!("reading the steering counters of {}", self.interface),
            error,
        })?;
        Ok(values.iter().sum())
    }

    #[cold]
    fn map_error(&self, what: &str, queue: u32, error: MapError) -> SteeringError {
        SteeringError::Map {
            attempt: format!("{what} of queue {queue} of {} in the steering program", self.interface),
            error,
        }
    }

    #[cold]
    fn claim_error(&self, what: &str, address: IpAddr, port: u16, error: MapError) -> SteeringError {
        let attempt = format!("{what} {address} port {port} on {} in the steering program", self.interface);
        SteeringError::Map { attempt, error }
    }
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, attachment, .. } = self;
        f.debug_struct("Steering").field("interface", interface).field("attachment", attachment).finish_non_exhaustive()
    }
}

/// A socket's descriptor, borrowed for one map update.
struct Descriptor(RawFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// The object in the kernel, its options set and its allow-list filled, the program not loaded yet.
fn load(config: &SteeringConfig) -> Result<Ebpf, SteeringError> {
    let mut object = EbpfLoader::new()
        .override_global("options", &config.options(), true)
        .load(OBJECT)
        .map_err(SteeringError::Load)?;
    let sources = object.map_mut("sources").ok_or(SteeringError::Missing("sources"))?;
    let mut sources: LpmTrie<_, Host, u8> =
        LpmTrie::try_from(sources).map_err(|_| SteeringError::Missing("sources"))?;
    for &(address, bits) in &config.sources {
        sources.insert(&Key::new(prefix_bits(bits), host(address)), 1, 0).map_err(|error| SteeringError::Map {
            attempt: format!("allowing {address}/{bits} on {} in the steering program", config.interface),
            error,
        })?;
    }
    Ok(object)
}

fn attach(program: &Xdp, interface: &str, index: u32, attachment: Attachment) -> Result<Attached, SteeringError> {
    let place = match attachment {
        Attachment::Native => Place::Driver,
        Attachment::Generic => Place::Generic,
    };
    let program = program.fd().map_err(|error| verify(&error))?;
    Attached::new(program.as_fd(), index, place).map_err(|error| refusal(interface, index, attachment, &error))
}

/// Puts the verifier's refusal into words: its log ends with the reason, and is long.
#[cold]
fn verify(error: &ProgramError) -> SteeringError {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return SteeringError::Verify(error.to_string());
    };
    let log = verifier_log.to_string();
    let tail: Vec<&str> = log.lines().rev().take(6).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    SteeringError::Verify(format!("{io_error} {}", tail.join(" / ")).trim_end().to_owned())
}

/// Puts a refusal into words. Somebody may have attached since we looked.
#[cold]
fn refusal(interface: &str, index: u32, attachment: Attachment, error: &io::Error) -> SteeringError {
    if let (Some(libc::EBUSY | libc::EEXIST), Some(owner)) = (error.raw_os_error(), Owner::of(index)) {
        return SteeringError::Occupied { interface: interface.into(), owner };
    }
    SteeringError::Attach { interface: interface.into(), attachment, error: error.to_string() }
}
