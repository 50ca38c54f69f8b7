//! The links themselves: what each is asked for, and what its refusal means for the search.
//!
//! Knocked at by `choose`. Guards: a wrong value ends the search; everything that the kernel, the driver or somebody else's program
//! refused does not.

use super::allow::Allowed;
use super::any::AnyLink;
use super::choose::{Knock, OpenError, Place, Refusal, Shut, Through, Way};
use super::config::LinkConfig;
use crate::link::raw::{RawConfig, RawError, RawLink};
use crate::link::udp::{UdpConfig, UdpError, UdpLink};
use crate::link::{Encapsulation, Right};

/// The real ones.
pub(super) struct Doors<'a> {
    pub(super) config: &'a LinkConfig,
}

impl Knock for Doors<'_> {
    type Link = AnyLink;

    #[cfg(feature = "xdp")]
    fn xdp(&mut self, place: Place) -> Result<Through<AnyLink>, Shut> {
        xdp::open(self.config, place)
    }

    #[cfg(not(feature = "xdp"))]
    fn xdp(&mut self, _: Place) -> Result<Through<AnyLink>, Shut> {
        let remedy = "build with the feature `xdp`";
        Err(Shut::Refused(vec![Refusal::new("xdp", "this program was built without it", remedy)]))
    }

    fn raw(&mut self) -> Result<Through<AnyLink>, Shut> {
        let config = self.config;
        self.no_tags("raw")?;
        let mut wanted = RawConfig::new(&config.interface);
        wanted.address = config.address;
        wanted.frames = config.frames.unwrap_or(wanted.frames);
        (wanted.ttl, wanted.tos, wanted.loopback) = (config.ttl, config.tos, config.loopback);
        let (link, pool) = RawLink::open(&wanted).map_err(|error| match error {
            RawError::NotPermitted { .. } => Shut::Refused(vec![Refusal::of_rights("raw", vec![Right::NetRaw])]),
            RawError::Config { .. } => Shut::Ends(OpenError::Config(error.to_string())),
            RawError::Interface(error) => Shut::Ends(error.into()),
            other => Shut::Refused(vec![Refusal::new("raw", other.to_string(), "")]),
        })?;
        let taken = link.taken();
        let wanted = format!("a receive buffer of {} octets", taken.receive_buffer_wanted);
        let got = format!("the kernel gives {}", taken.receive_buffer);
        let notes = taken.remedy().map(|remedy| Refusal::new(wanted, got, remedy));
        let detail = format!("raw sockets, receive buffer: {} octets", taken.receive_buffer);
        let link = AnyLink::Raw(Box::new(Allowed::new(link, &config.sources)));
        Ok(Through { link, pool, way: Way::Raw, detail, refusals: Vec::new(), notes: notes.into_iter().collect() })
    }

    fn udp(&mut self) -> Result<Through<AnyLink>, Shut> {
        let config = self.config;
        self.no_tags("udp")?;
        let Encapsulation::Udp { unicast_port, multicast_port } = config.encapsulation else {
            return Err(Shut::Ends(OpenError::Contradiction { io: config.io }));
        };
        let mut wanted = UdpConfig::new(&config.interface, unicast_port, multicast_port);
        wanted.address = config.address;
        wanted.hear_unicast = config.hear_unicast;
        wanted.frames = config.frames.unwrap_or(wanted.frames);
        (wanted.ttl, wanted.tos, wanted.loopback) = (config.ttl, config.tos, config.loopback);
        let (link, pool) = UdpLink::open(&wanted).map_err(|error| match error {
            UdpError::Config { .. } | UdpError::Mtu { .. } => Shut::Ends(OpenError::Config(error.to_string())),
            UdpError::Interface(error) => Shut::Ends(error.into()),
            other => Shut::Refused(vec![Refusal::new("udp", other.to_string(), "")]),
        })?;
        let taken = link.taken();
        let notes = taken.refusals.iter().map(|it| Refusal::new(it.attempt, &it.reason, "")).collect();
        let with = |on| if on { "with" } else { "without" };
        let detail = format!(
            "UDP sockets {} GSO, {} GRO, receive buffer: {} octets",
            with(taken.gso),
            with(taken.gro),
            taken.receive_buffer
        );
        let link = AnyLink::Udp(Box::new(Allowed::new(link, &config.sources)));
        Ok(Through { link, pool, way: Way::Udp, detail, refusals: Vec::new(), notes })
    }
}

impl Doors<'_> {
    /// Sockets know nothing of tags: the kernel's VLAN device puts them on.
    fn no_tags(&self, attempt: &str) -> Result<(), Shut> {
        let Some(tag) = self.config.vlans.tags().first() else { return Ok(()) };
        let (name, vid) = (&self.config.interface, tag & 0x0fff);
        let remedy =
            format!("`ip link add link {name} name {name}.{vid} type vlan id {vid}`, and that as the interface");
        Err(Shut::Refused(vec![Refusal::new(attempt, "sockets send no VLAN tags of their own", remedy)]))
    }
}

#[cfg(feature = "xdp")]
mod xdp {
    //! `AF_XDP`, which negotiates by itself: in the driver or behind it, without a copy or with one.

    use super::{AnyLink, LinkConfig, OpenError, Place, Refusal, Shut, Through, Way};
    use crate::link::xdp::{
        Attach, Attachment, BusyPoll, Queues, Refusal as XdpRefusal, SteeringError, XdpConfig, XdpError, XdpLink,
    };
    use crate::link::{Right, Rights};

    /// Packets that one call may take from the driver when it is polled: a batch.
    const BUSY_BUDGET: u32 = 64;

    pub(super) fn open(config: &LinkConfig, place: Place) -> Result<Through<AnyLink>, Shut> {
        let mut wanted = XdpConfig::new(&config.interface);
        wanted.address = config.address;
        wanted.encapsulation = config.encapsulation;
        wanted.vlans = config.vlans;
        wanted.queues = if config.queues.is_empty() { Queues::All } else { Queues::Some(config.queues.clone()) };
        wanted.attach = match place {
            Place::Any => Attach::NativeElseGeneric,
            Place::Driver => Attach::Native,
            Place::Behind => Attach::Generic,
        };
        wanted.replace = config.replace;
        wanted.sources.clone_from(&config.sources);
        wanted.busy_poll =
            (config.busy_poll_us > 0).then_some(BusyPoll { microseconds: config.busy_poll_us, budget: BUSY_BUDGET });
        wanted.frames = config.frames.unwrap_or(wanted.frames);
        (wanted.ttl, wanted.tos) = (config.ttl, config.tos);
        let (link, pool) = XdpLink::open(&wanted).map_err(|error| shut(error, place))?;

        let taken = link.taken();
        let way = match (taken.attachment, taken.zero_copy) {
            (Attachment::Generic, _) => Way::XdpGeneric,
            (Attachment::Native, true) => Way::XdpZeroCopy,
            (Attachment::Native, false) => Way::XdpCopy,
        };
        // It refuses ways and options in one list. Whoever asked for generic XDP was refused nothing better.
        let is_way = |refusal: &&XdpRefusal| matches!(refusal.attempt.as_str(), "native XDP" | "zero-copy");
        let (ways, notes): (Vec<_>, Vec<_>) = taken.refusals.iter().partition(is_way);
        let ours = |attempt: &str, refusal: &XdpRefusal| Refusal::new(attempt, &refusal.reason, &refusal.remedy);
        let ways = ways.into_iter().filter(|_| place != Place::Behind);
        let detail = {
            let copy = if taken.zero_copy { "zero-copy" } else { "copy" };
            let busy = if taken.busy_poll { ", busy polling" } else { "" };
            format!("AF_XDP {}, {copy}, queues: {}{busy}", taken.attachment, taken.queues)
        };
        let refusals = ways.map(|it| ours(&format!("xdp {}", it.attempt.replace(" XDP", "")), it)).collect();
        let notes = notes.into_iter().map(|it| ours(&it.attempt, it)).collect();
        Ok(Through { link: AnyLink::Xdp(Box::new(link)), pool, way, detail, refusals, notes })
    }

    /// What a refusal means.
    fn shut(error: XdpError, place: Place) -> Shut {
        let attempt = if place == Place::Behind { "xdp generic" } else { "xdp" };
        let missing = Rights::here().map(|rights| rights.missing(&Right::XDP)).unwrap_or_default();
        let refusal = match error {
            XdpError::Config { .. } | XdpError::Steering(SteeringError::Config { .. }) => {
                return Shut::Ends(OpenError::Config(error.to_string()));
            }
            XdpError::Interface(error) => return Shut::Ends(error.into()),
            XdpError::Steering(SteeringError::Occupied { owner, interface }) => {
                let remedy = format!(
                    "take its place with --replace, or detach it: `ip link set dev {interface} xdp off`; beside it there is --io raw, or udp for PGM in UDP"
                );
                Refusal::new(attempt, format!("{owner} is attached to {interface}"), remedy)
            }
            XdpError::Mtu { interface, mtu, most } => Refusal::new(
                attempt,
                format!("the MTU of {interface} is {mtu}, and one frame holds {most}"),
                format!("`ip link set dev {interface} mtu {most}`"),
            ),
            // Without the rights everything else fails, each in words of its own.
            _ if !missing.is_empty() => Refusal::of_rights(attempt, missing),
            other => Refusal::new(attempt, other.to_string(), ""),
        };
        Shut::Refused(vec![refusal])
    }
}
