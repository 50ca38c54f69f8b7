//! Which link `auto` would take on an interface, and why nothing better: foretold from what was seen, because trying would change
//! something.
//!
//! Made from `host` and `card`. Guards: the order, and what refuses a step, are those of the engine's `auto`.

use pgmx::link::Right;
use serde::Serialize;

use super::card::Card;
use super::host::Host;

/// Something better that would be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    /// What would be tried.
    pub(crate) attempt: &'static str,
    /// Why it would fail.
    pub(crate) reason: String,
}

/// What would be taken for one kind of endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// `pgm` or `epgm`.
    pub(crate) endpoint: &'static str,
    /// What `--io` would be; `null` if nothing works.
    pub(crate) io: Option<&'static str>,
    /// The way in words.
    pub(crate) way: &'static str,
    /// What comes before it in the order.
    pub(crate) refusals: Vec<Refusal>,
}

const PGM: &str = "pgm";
const EPGM: &str = "epgm";

/// Both verdicts on an interface.
pub(crate) fn of(host: &Host, card: &Card) -> [Verdict; 2] {
    [one(PGM, host, card), one(EPGM, host, card)]
}

fn one(endpoint: &'static str, host: &Host, card: &Card) -> Verdict {
    let mut refusals = Vec::new();
    let taken = choose(endpoint, host, card, &mut refusals);
    let (io, way) = match taken {
        Some((io, way)) => (Some(io), way),
        None => (None, "nothing"),
    };
    Verdict { endpoint, io, way, refusals }
}

fn choose(
    endpoint: &str,
    host: &Host,
    card: &Card,
    refusals: &mut Vec<Refusal>,
) -> Option<(&'static str, &'static str)> {
    if !card.usable {
        let reason = "the interface is down, has no other end, no multicast or no address".to_owned();
        refusals.push(Refusal { attempt: "any link", reason });
        return None;
    }
    match xdp_refused(host, card) {
        Some(reason) => refusals.push(Refusal { attempt: "xdp", reason }),
        None => return Some(("xdp", xdp_way(card, refusals))),
    }
    if endpoint == EPGM {
        return Some(("udp", "UDP sockets"));
    }
    let missing = host.rights.map(|rights| rights.missing(&Right::RAW)).unwrap_or_default();
    if missing.is_empty() {
        return Some(("raw", "raw sockets"));
    }
    refusals.push(Refusal { attempt: "raw", reason: format!("{} is missing", names(&missing)) });
    None
}

/// Why no `AF_XDP` link would come about.
fn xdp_refused(host: &Host, card: &Card) -> Option<String> {
    if !host.built_with_xdp {
        return Some("this program was built without it".into());
    }
    if card.loopback {
        return Some("loopback has no driver to bypass".into());
    }
    if host.kernel.is_some_and(|kernel| kernel < (5, 10)) {
        return Some("the kernel is older than 5.10".into());
    }
    let missing = host.rights.map(|rights| rights.missing(&Right::XDP)).unwrap_or_default();
    if !missing.is_empty() {
        return Some(format!("{} missing", names(&missing)));
    }
    if let Some(owner) = &card.occupied {
        return Some(format!("{owner} has the interface"));
    }
    if !card.mtu_fits {
        return Some("the MTU exceeds a frame".into());
    }
    (!host.memory_fits).then(|| "the limit of locked memory is below what the frames take".into())
}

/// Which `AF_XDP` it would be.
fn xdp_way(card: &Card, refusals: &mut Vec<Refusal>) -> &'static str {
    let mut refuse = |attempt, reason: &str| refusals.push(Refusal { attempt, reason: reason.into() });
    match (card.native, card.zero_copy) {
        (Some(true), Some(true)) => "native XDP, zero-copy (if the driver is configured for it)",
        (Some(true), _) => {
            refuse("xdp zero-copy", "the driver does not offer it");
            "native XDP, copy"
        }
        (Some(false), _) => {
            refuse("xdp zero-copy", "the driver does not offer it");
            refuse("xdp copy", "the driver runs no XDP");
            "generic XDP"
        }
        (None, _) => "native XDP if the driver has it, else generic",
    }
}

fn names(rights: &[Right]) -> String {
    rights.iter().map(|right| right.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmx::link::Rights;

    fn host(bits: &str) -> Host {
        Host {
            built_with_xdp: true,
            kernel: Some((6, 18)),
            rights: Rights::read(&format!("CapEff:\t{bits}")),
            memory_fits: true,
            isolated: Vec::new(),
        }
    }

    fn card() -> Card {
        Card {
            name: "eth0".into(),
            usable: true,
            loopback: false,
            native: Some(true),
            zero_copy: Some(true),
            occupied: None,
            mtu_fits: true,
        }
    }

    fn ios(host: &Host, card: &Card) -> [Option<&'static str>; 2] {
        of(host, card).map(|verdict| verdict.io)
    }

    const ALL: &str = "ffffffffff";

    #[test]
    fn the_best_way_is_taken_and_each_better_one_has_its_reason() {
        let way = |native, zero_copy| {
            let [pgm, _] = of(&host(ALL), &Card { native, zero_copy, ..card() });
            assert_eq!(pgm.io, Some("xdp"));
            (pgm.way, pgm.refusals.len())
        };
        assert_eq!(way(Some(true), Some(false)), ("native XDP, copy", 1));
        assert_eq!(way(Some(false), Some(false)), ("generic XDP", 2));
        assert_eq!(way(Some(true), Some(true)).1, 0);
        assert!(way(None, None).0.contains("else generic"));
    }

    #[test]
    fn whatever_stops_xdp_leaves_the_sockets() {
        let sockets = [Some("raw"), Some("udp")];
        assert_eq!(ios(&Host { built_with_xdp: false, ..host(ALL) }, &card()), sockets);
        assert_eq!(ios(&Host { kernel: Some((5, 4)), ..host(ALL) }, &card()), sockets);
        assert_eq!(ios(&Host { memory_fits: false, ..host(ALL) }, &card()), sockets);
        assert_eq!(ios(&host("2000"), &card()), sockets);
        assert_eq!(ios(&host(ALL), &Card { loopback: true, ..card() }), sockets);
        assert_eq!(ios(&host(ALL), &Card { mtu_fits: false, ..card() }), sockets);
        let occupied = Card { occupied: Some("program 7 (steer), process 12".into()), ..card() };
        assert_eq!(ios(&host(ALL), &occupied), sockets);
        assert!(of(&host(ALL), &occupied)[0].refusals[0].reason.contains("process 12"));
    }

    #[test]
    fn without_rights_there_is_udp_alone_and_on_a_dead_interface_nothing() {
        assert_eq!(ios(&host("0"), &card()), [None, Some("udp")]);
        assert_eq!(ios(&host(ALL), &Card { usable: false, ..card() }), [None, None]);
        let unseen = Host { rights: None, kernel: None, ..host(ALL) };
        assert_eq!(ios(&unseen, &card()), [Some("xdp"), Some("xdp")], "what is not visible refuses nothing");
    }
}
