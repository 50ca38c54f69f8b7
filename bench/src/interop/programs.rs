//! Command lines: how each program is told where to talk, about what, and how fast.
//!
//! Used by the scene. Guards: the same [`Talk`] means the same to all of them, so that either end may be any program.

use std::net::Ipv4Addr;

use super::scene::Talk;
use super::{GROUP, PORT, Pace, Program, Way};

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The source of the messages.
    Send,
    /// Who checks them.
    Receive,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "recv",
        }
    }
}

/// How long a receiver waits for news before it gives up: longer than the longest pause of a peer that repairs.
const TIMEOUT_S: &str = "20";
/// Packets that a peer's window holds: all that are on the way while it repairs a few hundred a second.
const PEER_WINDOW: u32 = 32_768;
/// The same at full blast: all that it sends, because nothing else limits how far it runs ahead of its repairs.
const BLAST_WINDOW: u32 = 524_288;

/// A program's place on its host.
pub(super) struct Seat<'a> {
    pub(super) interface: &'a str,
    pub(super) address: Ipv4Addr,
    pub(super) talk: &'a Talk,
}

impl Seat<'_> {
    /// Everything behind the program's name.
    pub(super) fn arguments(&self, program: Program, role: Role) -> Vec<String> {
        match program {
            Program::Pgmx => self.pgmx(role),
            Program::OpenPgm => self.openpgm(role),
            Program::ZeroMq => self.zeromq(role),
        }
    }

    fn pgmx(&self, role: Role) -> Vec<String> {
        let talk = self.talk;
        // Only `epgm://` has one port for both kinds.
        let scheme = if talk.way == Way::Udp && !talk.two_ports { "epgm" } else { "pgm" };
        let endpoint = format!("{scheme}://{};{GROUP}:{PORT}", self.interface);
        let mut line = words(&[role.name(), &endpoint, "--io", talk.way.name(), "--json", "--progress", "50"]);
        if talk.peer == Program::ZeroMq {
            line.extend(words(&["--framing", "zmq"]));
        }
        match role {
            Role::Receive => line.extend(words(&["--verify", "--timeout", TIMEOUT_S])),
            Role::Send => {
                line.extend(words(&["--count", &talk.count.to_string(), "--size", &talk.sizes.to_string()]));
                match talk.pace {
                    Pace::Blast => line.extend(words(&["--rate", "max"])),
                    Pace::Megabits(rate) => line.extend(words(&["--rate", &format!("{rate}M")])),
                    Pace::Messages(rate) => line.extend(words(&["--pps", &rate.to_string()])),
                }
                if talk.peer == Program::ZeroMq && talk.parts > 1 {
                    line.extend(words(&["--parts", &talk.parts.to_string()]));
                }
            }
        }
        line
    }

    fn openpgm(&self, role: Role) -> Vec<String> {
        let talk = self.talk;
        let (network, count) = (format!("{};{GROUP}", self.address), talk.count.to_string());
        let mut line = words(&[role.name(), "--network", &network, "--port", &PORT.to_string()]);
        if talk.way == Way::Udp {
            let ports = if talk.two_ports { "3056,3055".into() } else { PORT.to_string() };
            line.extend(words(&["--udp", &ports]));
        }
        line.extend(words(&["--count", &count, "--size", &talk.sizes.to_string(), "--timeout", TIMEOUT_S]));
        if role == Role::Send {
            let window = if talk.pace == Pace::Blast { BLAST_WINDOW } else { PEER_WINDOW };
            line.extend(words(&["--window", &window.to_string()]));
            match talk.pace {
                Pace::Blast => {}
                Pace::Megabits(rate) => line.extend(words(&["--rate", &(u64::from(rate) * 125_000).to_string()])),
                Pace::Messages(rate) => line.extend(words(&["--pace", &rate.to_string()])),
            }
        }
        line
    }

    fn zeromq(&self, role: Role) -> Vec<String> {
        let talk = self.talk;
        let scheme = if talk.way == Way::Udp { "epgm" } else { "pgm" };
        let endpoint = format!("{scheme}://{};{GROUP}:{PORT}", self.address);
        let name = if role == Role::Send { "pub" } else { "sub" };
        let mut line = words(&[name, "--endpoint", &endpoint, "--count", &talk.count.to_string()]);
        line.extend(words(&["--size", &talk.sizes.to_string(), "--parts", &talk.parts.to_string()]));
        line.extend(words(&["--timeout", TIMEOUT_S]));
        // It always has a rate, from which its windows follow.
        let rate = if let Pace::Megabits(rate) = talk.pace { rate } else { 1_000 };
        line.extend(words(&["--rate", &(u64::from(rate) * 1_000).to_string()]));
        if let (Role::Send, Pace::Messages(rate)) = (role, talk.pace) {
            line.extend(words(&["--pace", &rate.to_string()]));
        }
        line
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::Sizes;

    fn line(program: Program, role: Role, peer: Program, way: Way, two_ports: bool) -> String {
        let (sizes, pace) = (Sizes(16, 1424), Pace::Megabits(8));
        let talk = Talk { way, two_ports, sizes, parts: 3, pace, count: 10, peer };
        let seat = Seat { interface: "left0", address: Ipv4Addr::new(10, 113, 0, 1), talk: &talk };
        format!(" {} ", seat.arguments(program, role).join(" "))
    }

    #[test]
    fn both_ends_of_a_talk_name_the_same_rate_in_their_own_units() {
        let says = |program, peer, what: &str| {
            let line = line(program, Role::Send, peer, Way::Raw, false);
            assert!(line.contains(what), "{line}");
        };
        says(Program::Pgmx, Program::OpenPgm, " --rate 8M ");
        says(Program::OpenPgm, Program::OpenPgm, " --rate 1000000 ");
        says(Program::ZeroMq, Program::ZeroMq, " --rate 8000 ");
    }

    #[test]
    fn both_ends_of_a_talk_mean_the_same_ports() {
        for (two_ports, endpoint, udp) in [
            (false, " epgm://left0;239.192.0.1:7500 ", " --udp 7500 "),
            (true, " pgm://left0;239.192.0.1:7500 ", " --udp 3056,3055 "),
        ] {
            let line = |program| line(program, Role::Receive, Program::OpenPgm, Way::Udp, two_ports);
            assert!(line(Program::Pgmx).contains(endpoint));
            assert!(line(Program::OpenPgm).contains(udp));
        }
        let raw = |program| line(program, Role::Receive, Program::OpenPgm, Way::Raw, false);
        assert!(raw(Program::Pgmx).contains(" pgm://") && !raw(Program::OpenPgm).contains("--udp"));
    }

    #[test]
    fn only_a_talk_with_zeromq_is_framed() {
        let framed = |peer| line(Program::Pgmx, Role::Send, peer, Way::Raw, false).contains(" --framing zmq --");
        assert_eq!((framed(Program::ZeroMq), framed(Program::OpenPgm)), (true, false));
    }
}
