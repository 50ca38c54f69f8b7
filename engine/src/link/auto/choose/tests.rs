//! Every order, with doors that open and stay shut as the test wants.

use super::*;
use crate::frame::Layout;

/// Which doors are open, and what was knocked at.
#[derive(Default)]
struct Doors {
    xdp: Option<Way>,
    raw: bool,
    udp: bool,
    wrong_value: bool,
    without_rights: bool,
    knocked: Vec<String>,
}

fn through(way: Way) -> Through<Way> {
    let pool = Pool::anonymous(Layout::standard(1)).expect("a small mapping");
    let refusals = if way == Way::XdpCopy { vec![Refusal::new("xdp zero-copy", "not here", "")] } else { Vec::new() };
    Through { link: way, pool, way, detail: format!("by {way}"), refusals, notes: Vec::new() }
}

impl Doors {
    fn knock(&mut self, name: String, way: Option<Way>) -> Result<Through<Way>, Shut> {
        let attempt = name.split(' ').next().unwrap_or_default().to_owned();
        self.knocked.push(name);
        match way {
            _ if self.wrong_value => Err(Shut::Ends(OpenError::Config("ttl = 0 refused: allowed is 1 to 255".into()))),
            Some(way) => Ok(through(way)),
            None if self.without_rights => {
                let missing = if attempt == "xdp" { Right::XDP.to_vec() } else { vec![Right::NetRaw] };
                Err(Shut::Refused(vec![Refusal::of_rights(&attempt, missing)]))
            }
            None => Err(Shut::Refused(vec![Refusal::new(attempt, "shut", "push")])),
        }
    }
}

impl Knock for Doors {
    type Link = Way;

    fn xdp(&mut self, place: Place) -> Result<Through<Way>, Shut> {
        let way = self.xdp;
        self.knock(format!("xdp {place:?}"), way)
    }

    fn raw(&mut self) -> Result<Through<Way>, Shut> {
        let way = self.raw.then_some(Way::Raw);
        self.knock("raw".into(), way)
    }

    fn udp(&mut self) -> Result<Through<Way>, Shut> {
        let way = self.udp.then_some(Way::Udp);
        self.knock("udp".into(), way)
    }
}

fn pgm(io: Io) -> LinkConfig {
    LinkConfig { io, ..LinkConfig::new("eth0") }
}

fn epgm(io: Io) -> LinkConfig {
    LinkConfig { io, encapsulation: Encapsulation::UDP, ..LinkConfig::new("eth0") }
}

fn all_open() -> Doors {
    Doors { xdp: Some(Way::XdpZeroCopy), raw: true, udp: true, ..Doors::default() }
}

/// The way taken or the error, and what was knocked at.
fn walked(config: &LinkConfig, mut doors: Doors) -> (Result<Path, OpenError>, Vec<String>) {
    let walked = walk(config, "eth0", false, &mut doors).map(|(through, path)| {
        assert_eq!(through.link, path.way, "the link of that way");
        path
    });
    (walked, doors.knocked)
}

#[test]
fn auto_takes_the_first_that_opens_and_never_changes_what_packets_travel_in() {
    for (config, xdp, sockets, expected, knocked) in [
        (pgm(Io::Auto), Some(Way::XdpZeroCopy), true, Some(Way::XdpZeroCopy), &["xdp Any"][..]),
        (pgm(Io::Auto), Some(Way::XdpGeneric), true, Some(Way::XdpGeneric), &["xdp Any"]),
        (pgm(Io::Auto), None, true, Some(Way::Raw), &["xdp Any", "raw"]),
        (pgm(Io::Auto), None, false, None, &["xdp Any", "raw"]),
        (epgm(Io::Auto), Some(Way::XdpCopy), true, Some(Way::XdpCopy), &["xdp Any"]),
        (epgm(Io::Auto), None, true, Some(Way::Udp), &["xdp Any", "udp"]),
        (epgm(Io::Auto), None, false, None, &["xdp Any", "udp"]),
    ] {
        let (path, asked) = walked(&config, Doors { xdp, raw: sockets, udp: sockets, ..Doors::default() });
        assert_eq!(path.ok().map(|path| path.way), expected, "{config:?}");
        assert_eq!(asked, knocked, "{config:?}");
    }
}

#[test]
fn what_was_asked_for_by_name_is_taken_or_refused_and_nothing_else_is_tried() {
    for (config, knocked) in [
        (pgm(Io::Xdp), "xdp Driver"),
        (pgm(Io::XdpGeneric), "xdp Behind"),
        (pgm(Io::Raw), "raw"),
        (epgm(Io::Xdp), "xdp Driver"),
        (epgm(Io::XdpGeneric), "xdp Behind"),
        (epgm(Io::Udp), "udp"),
    ] {
        let (path, asked) = walked(&config, all_open());
        assert_eq!((path.is_ok(), asked), (true, vec![knocked.to_owned()]));
        let (path, asked) = walked(&config, Doors::default());
        assert!(matches!(path, Err(OpenError::Refused { refusals, .. }) if refusals.len() == 1));
        assert_eq!(asked, [knocked]);
    }
}

#[test]
fn sockets_of_the_other_kind_are_a_contradiction_and_not_tried() {
    let (path, asked) = walked(&pgm(Io::Udp), all_open());
    assert!(path.expect_err("a contradiction").to_string().contains("epgm://") && asked.is_empty());
    let (path, asked) = walked(&epgm(Io::Raw), all_open());
    assert!(path.expect_err("a contradiction").to_string().contains("--io udp") && asked.is_empty());
}

#[test]
fn a_value_that_cannot_work_is_not_hidden_by_the_next_link() {
    let (path, asked) = walked(&pgm(Io::Auto), Doors { wrong_value: true, ..all_open() });
    assert_eq!(path.expect_err("a wrong value").to_string(), "ttl = 0 refused: allowed is 1 to 255");
    assert_eq!(asked, ["xdp Any"]);
}

#[test]
fn each_step_back_is_kept_in_order_and_told_in_one_line() {
    let (path, _) = walked(&pgm(Io::Auto), Doors { raw: true, ..Doors::default() });
    let path = path.expect("raw sockets");
    assert_eq!(path.to_string(), "eth0: by raw; xdp refused: shut (push)");
    let (path, _) = walked(&pgm(Io::Auto), Doors { xdp: Some(Way::XdpCopy), ..Doors::default() });
    assert_eq!(path.expect("copy").to_string(), "eth0: by xdp copy; xdp zero-copy refused: not here");
}

#[test]
fn on_loopback_auto_takes_sockets_and_says_why_and_xdp_is_there_for_who_asks() {
    let mut doors = all_open();
    let (_, path) = walk(&pgm(Io::Auto), "lo", true, &mut doors).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((path.way, doors.knocked.as_slice()), (Way::Raw, &["raw".to_owned()][..]));
    assert!(path.to_string().contains("xdp refused: loopback has no driver"), "{path}");
    let (_, path) = walk(&epgm(Io::Auto), "lo", true, &mut all_open()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(path.way, Way::Udp);
    let mut doors = all_open();
    assert!(walk(&pgm(Io::XdpGeneric), "lo", true, &mut doors).is_ok());
    assert_eq!(doors.knocked, ["xdp Behind"]);
    let mut shut = Doors::default();
    let error = walk(&pgm(Io::Auto), "lo", true, &mut shut).err().expect("nothing is open");
    assert!(matches!(error, OpenError::Refused { refusals, .. } if refusals.len() == 2));
}

#[test]
fn without_rights_the_error_names_what_to_grant_and_the_way_that_needs_none() {
    let (path, _) = walked(&pgm(Io::Auto), Doors { without_rights: true, ..Doors::default() });
    let error = path.expect_err("no rights").to_string();
    for part in [
        "no way for pgm:// on eth0: xdp refused: it needs CAP_NET_RAW, CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN",
        "raw refused: it needs CAP_NET_RAW, which this process does not have",
        "setcap cap_net_raw,cap_bpf,cap_perfmon,cap_net_admin+ep /",
        "or run as root",
        "epgm://",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert_eq!(error.matches("setcap").count(), 1, "said once: {error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn a_way_names_what_to_ask_for() {
    let ios = [Way::XdpZeroCopy, Way::XdpCopy, Way::XdpGeneric, Way::Raw, Way::Udp].map(Way::io);
    assert_eq!(ios, [Io::Xdp, Io::Xdp, Io::XdpGeneric, Io::Raw, Io::Udp]);
}
