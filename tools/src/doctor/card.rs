//! What holds for one interface.
//!
//! What the kernel says of it comes from the engine's survey; what only `/proc` and `/sys` show is read here. Guards: `/sys` may belong
//! to another network namespace, so nothing is read there before its number of the interface was compared.

use std::path::Path;

use pgmx::frame::Layout;
use pgmx::link::survey::{Attached, Program, Survey, XdpFeatures};

use super::check::Check;
use super::host::{Host, processors};
use super::{drivers, read};

/// Octets that an Ethernet header and two VLAN tags take.
const FRAME_HEADER: u32 = 14 + 8;
/// More interrupts than any card has queues.
const INTERRUPTS_MAX: usize = 1024;

/// What the choice of a link depends on.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    pub(crate) name: String,
    /// Whether packets go anywhere at all.
    pub(crate) usable: bool,
    pub(crate) loopback: bool,
    /// Whether its driver runs XDP programs; `None`: not known.
    pub(crate) native: Option<bool>,
    pub(crate) zero_copy: Option<bool>,
    /// Who has its place for an XDP program.
    pub(crate) occupied: Option<String>,
    /// Whether the largest packet fits a frame.
    pub(crate) mtu_fits: bool,
}

/// Looks at an interface.
pub(crate) fn look(survey: &Survey, host: &Host) -> (Card, Vec<Check>) {
    let driver = survey.driver.as_ref().map(|driver| driver.0.as_str());
    let abilities = abilities(survey.xdp, driver, host.kernel);
    let occupied = survey.program.map(|program| owner(program, survey.index));
    let card = Card {
        name: survey.name.clone(),
        usable: survey.up && survey.carrier && survey.multicast | survey.loopback && !survey.addresses.is_empty(),
        loopback: survey.loopback,
        native: abilities.map(|abilities| abilities.0),
        zero_copy: abilities.map(|abilities| abilities.1),
        occupied: occupied.clone(),
        mtu_fits: survey.mtu <= mtu_max(4096),
    };
    let sys = sys_of(&survey.name, survey.index);
    let sys_text = |name: &str| sys.as_ref().and_then(|sys| read(sys.join(name)));
    // virtio has it one floor up.
    let of_device = |what: &str| sys_text(&format!("device/{what}")).or_else(|| sys_text(&format!("device/../{what}")));
    let ipv4 = |of: &str, name: &str| read(format!("/proc/sys/net/ipv4/conf/{of}/{name}"));
    let name = for_commands(&survey.name);
    let checks = vec![
        state(survey, name),
        addresses(survey, name),
        self::driver(survey),
        queues(survey, name),
        native(&card, driver),
        zero_copy(&card, driver),
        program(name, occupied.as_deref(), survey.program),
        mtu(name, survey.mtu),
        offloads(survey, name),
        numa(name, of_device("numa_node").as_deref(), of_device("local_cpulist").as_deref()),
        interrupts(sys.as_deref(), &host.isolated),
        napi(name, sys_text("napi_defer_hard_irqs").as_deref(), sys_text("gro_flush_timeout").as_deref()),
        rp_filter(name, ipv4("all", "rp_filter").as_deref(), ipv4(&survey.name, "rp_filter").as_deref()),
        igmp(
            &survey.name,
            ipv4("all", "force_igmp_version").as_deref(),
            ipv4(&survey.name, "force_igmp_version").as_deref(),
            read("/proc/self/net/igmp").as_deref(),
        ),
    ];
    (card, checks)
}

/// The name as it stands in commands. An interface may have a name that a shell takes for something else, and whoever named it need not
/// be who pastes the command.
fn for_commands(name: &str) -> &str {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-@+".contains(c)) && !name.starts_with('-');
    if is_plain { name } else { "INTERFACE" }
}

/// The folder of the interface in `/sys`, if `/sys` shows this network namespace.
fn sys_of(name: &str, index: u32) -> Option<std::path::PathBuf> {
    // Names have no slash in them, and are none of the two that mean a folder.
    let folder = Path::new("/sys/class/net").join(name);
    (read(folder.join("ifindex"))?.trim().parse() == Ok(index)).then_some(folder)
}

/// The largest MTU that fits a frame of this size.
fn mtu_max(frame_size: u32) -> u32 {
    frame_size - u32::from(Layout::XDP_HEADROOM) - FRAME_HEADER
}

/// Native XDP and zero-copy, as far as known.
fn abilities(says: Option<XdpFeatures>, driver: Option<&str>, kernel: Option<(u32, u32)>) -> Option<(bool, bool)> {
    match says {
        Some(says) => Some((says.native && says.redirect, says.zero_copy)),
        None => drivers::known(driver?, kernel?),
    }
}

#[cfg(feature = "xdp")]
fn owner(program: Program, index: u32) -> String {
    pgmx::link::xdp::Owner::of(index).map_or_else(|| format!("program {}", program.id), |owner| owner.to_string())
}

#[cfg(not(feature = "xdp"))]
fn owner(program: Program, _: u32) -> String {
    format!("program {}", program.id)
}

fn state(survey: &Survey, name: &str) -> Check {
    let Survey { up, carrier, multicast, loopback, .. } = survey;
    let nothing = "nothing on this interface";
    if !up {
        return Check::blocks("state", "down", format!("sudo ip link set dev {name} up"), nothing);
    }
    if !carrier {
        return Check::blocks(
            "state",
            "up, and nobody on the other end",
            "plug in the cable, or set the other end up",
            nothing,
        );
    }
    // Loopback carries groups all the same.
    if !multicast && !loopback {
        let says = "up, and told to do no multicast";
        return Check::blocks("state", says, format!("sudo ip link set dev {name} multicast on"), nothing);
    }
    Check::ok("state", "up")
}

fn addresses(survey: &Survey, name: &str) -> Check {
    let all: Vec<String> = survey.addresses.iter().map(ToString::to_string).collect();
    if all.is_empty() {
        let remedy = format!("sudo ip address add ADDRESS/LENGTH dev {name}");
        return Check::blocks("addresses", "none", remedy, "nothing on this interface");
    }
    Check::ok("addresses", all.join(", "))
}

fn driver(survey: &Survey) -> Check {
    let kind = survey.kind.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
    match &survey.driver {
        Some((name, version)) if version.is_empty() => Check::ok("driver", format!("{name}{kind}")),
        Some((name, version)) => Check::ok("driver", format!("{name} {version}{kind}")),
        None if survey.loopback => Check::ok("driver", "none: loopback"),
        None => Check::unknown("driver", format!("it does not say{kind}")),
    }
}

fn queues(survey: &Survey, name: &str) -> Check {
    /// One worker polls all queues: from here on the empty ones cost more than others gain.
    const MANY: u32 = 8;
    let says = match survey.queues_max {
        Some(most) => format!("{} of at most {most}", survey.queues),
        None => format!("{}", survey.queues),
    };
    if survey.queues > MANY {
        let remedy = format!("sudo ethtool -L {name} combined 4   (or open some of them only)");
        return Check::better("queues", format!("{says}: one worker polls them all"), remedy);
    }
    Check::ok("queues", says)
}

fn native(card: &Card, driver: Option<&str>) -> Check {
    let driver = driver.unwrap_or("this interface");
    match card.native {
        _ if card.loopback => Check::ok("xdp_native", "none: loopback has no driver to run it in"),
        Some(true) => Check::ok("xdp_native", format!("{driver} has it")),
        Some(false) => Check::better(
            "xdp_native",
            format!("{driver} does not have it: generic XDP, behind the kernel's buffers, is left"),
            "a newer kernel or another card; or `--io raw`, which is about as fast",
        ),
        None => Check::unknown("xdp_native", format!("not known of {driver}: opening a link with `--io xdp` shows it")),
    }
}

fn zero_copy(card: &Card, driver: Option<&str>) -> Check {
    let driver = driver.unwrap_or("this interface");
    match card.zero_copy {
        _ if card.loopback => Check::ok("xdp_zero_copy", "none: loopback has no card"),
        Some(true) => {
            Check::ok("xdp_zero_copy", format!("{driver} offers it (how it is configured decides in the end)"))
        }
        Some(false) => Check::better(
            "xdp_zero_copy",
            format!("{driver} does not offer it: frames are copied once"),
            "a card whose driver does (i40e, ice, ixgbe, igc, mlx5, gve; virtio_net from Linux 6.13 on)",
        ),
        None => Check::unknown("xdp_zero_copy", format!("not known of {driver}")),
    }
}

fn program(name: &str, owner: Option<&str>, program: Option<Program>) -> Check {
    let (Some(owner), Some(program)) = (owner, program) else {
        return Check::ok("xdp_program", "none attached: the place is free");
    };
    let place = match program.attached {
        Attached::Native => "in the driver",
        Attached::Generic => "in generic mode",
        Attached::Offloaded => "in the card",
        _ => "more than once",
    };
    let remedy =
        format!("sudo ip link set dev {name} xdp off   (if it is nobody's; or take its place with `--replace`)");
    Check::blocks("xdp_program", format!("{owner} is attached {place}"), remedy, "--io raw and --io udp, beside it")
}

fn mtu(name: &str, mtu: u32) -> Check {
    let (small, large) = (mtu_max(2048), mtu_max(4096));
    if mtu <= small {
        return Check::ok("mtu", format!("{mtu}: fits frames of 2048 octets"));
    }
    if mtu <= large {
        return Check::ok("mtu", format!("{mtu}: frames of 4096 octets (up to {small} those of 2048 do)"));
    }
    let says = format!("{mtu}: an AF_XDP frame holds {large}");
    Check::blocks("mtu", says, format!("sudo ip link set dev {name} mtu {large}"), "--io raw and --io udp")
}

fn offloads(survey: &Survey, name: &str) -> Check {
    if survey.offloads.is_none() {
        return Check::unknown("offloads", "the driver does not say");
    }
    // By their names in the kernel and in ethtool.
    let harmful = [
        ("rx-lro", "lro", "drivers refuse XDP with it"),
        ("rx-gro-hw", "rx-gro-hw", "virtio_net may refuse XDP with it"),
    ];
    let on: Vec<_> = harmful.iter().filter(|(name, ..)| survey.offload(name) == Some(true)).collect();
    if !on.is_empty() {
        let says: Vec<String> = on.iter().map(|(name, _, why)| format!("{name} is on ({why})")).collect();
        let switches: Vec<String> = on.iter().map(|(_, switch, _)| format!("{switch} off")).collect();
        let remedy = format!("sudo ethtool -K {name} {}", switches.join(" "));
        return Check::better("offloads", says.join(", "), remedy);
    }
    // Cards that take a tag off put it where XDP does not see it; on veth it never was in the frame.
    if survey.offload("rx-vlan-hw-parse") == Some(true) && survey.kind.is_none() {
        let remedy = format!("sudo ethtool -K {name} rxvlan off   (for VLAN tags over AF_XDP)");
        return Check::better("offloads", "rx-vlan-hw-parse is on: XDP sees frames without their VLAN tag", remedy);
    }
    Check::ok("offloads", "none that hurts")
}

fn numa(name: &str, node: Option<&str>, cores: Option<&str>) -> Check {
    match node.and_then(|text| text.trim().parse::<i32>().ok()) {
        Some(node) if node >= 0 => {
            let cores = cores.map_or("?", str::trim);
            Check::ok("numa", format!("node {node}: workers belong on its cores, {cores}"))
        }
        Some(_) => Check::ok("numa", "one node for all"),
        None => {
            Check::unknown("numa", format!("/sys does not show {name} to this network namespace, or it has no device"))
        }
    }
}

fn interrupts(sys: Option<&Path>, isolated: &[u32]) -> Check {
    let listed = sys.and_then(|sys| {
        // virtio has them one floor up.
        ["device/msi_irqs", "device/../msi_irqs"].iter().find_map(|place| std::fs::read_dir(sys.join(place)).ok())
    });
    let Some(listed) = listed else {
        return Check::unknown("interrupts", "not visible here, or it has none (veth, loopback)");
    };
    let numbers = listed.flatten().take(INTERRUPTS_MAX).filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut affinities: Vec<(u32, String)> = numbers
        .filter_map(|irq: u32| Some((irq, read(format!("/proc/irq/{irq}/effective_affinity_list"))?.trim().to_owned())))
        .filter(|(_, cores)| !cores.is_empty())
        .collect();
    affinities.sort_unstable();
    affinity(&affinities, isolated)
}

fn affinity(affinities: &[(u32, String)], isolated: &[u32]) -> Check {
    let Some((first, _)) = affinities.first() else {
        return Check::unknown("interrupts", "their cores are not visible");
    };
    let mut cores: Vec<u32> = affinities.iter().flat_map(|(_, list)| processors(list)).collect();
    cores.sort_unstable();
    cores.dedup();
    let list = cores.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let says = format!("{} on cores {list}", affinities.len());
    if cores.iter().any(|core| isolated.contains(core)) {
        let remedy =
            format!("echo CORE | sudo tee /proc/irq/{first}/smp_affinity_list   (one that is not isolated; for each)");
        return Check::better("interrupts", format!("{says}, among them isolated ones, where workers spin"), remedy);
    }
    Check::ok("interrupts", says)
}

fn napi(name: &str, defer: Option<&str>, timeout: Option<&str>) -> Check {
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u64>().ok());
    match (number(defer), number(timeout)) {
        // Whoever does not busy-poll hears of a packet when the timeout is over.
        (Some(defer), Some(timeout)) if defer > 0 && timeout > 0 => Check::better(
            "napi",
            format!(
                "interrupts wait {timeout} ns for busy polling: good with links that do, that much later with all others"
            ),
            format!(
                "echo 0 | sudo tee /sys/class/net/{name}/napi_defer_hard_irqs /sys/class/net/{name}/gro_flush_timeout"
            ),
        ),
        (Some(_), Some(_)) => {
            Check::ok("napi", "interrupts come at once (deferring them helps links that busy-poll alone)")
        }
        _ => Check::unknown("napi", format!("/sys does not show {name} to this network namespace")),
    }
}

fn rp_filter(name: &str, all: Option<&str>, own: Option<&str>) -> Check {
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u8>().ok());
    let Some(own) = number(own) else {
        return Check::unknown("rp_filter", "not visible");
    };
    // The kernel takes the larger of the two.
    match own.max(number(all).unwrap_or(0)) {
        0 => Check::ok("rp_filter", "off"),
        1 => Check::better(
            "rp_filter",
            "strict: raw and udp hear no source that is not routed through this interface (xdp hears it)",
            format!("sudo sysctl -w net.ipv4.conf.{}.rp_filter=2", name.replace('.', "/")),
        ),
        _ => Check::ok("rp_filter", "loose"),
    }
}

/// What `/proc/net/igmp` says of an interface: groups joined, and the version that its querier speaks.
fn igmp_of(table: &str, name: &str) -> Option<(usize, String)> {
    let mut lines = table.lines();
    let head = lines.find(|line| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|index| index.parse::<u32>().is_ok()) && words.next() == Some(name)
    })?;
    let version = head.split_whitespace().last().filter(|word| word.starts_with('V')).unwrap_or("V?").to_owned();
    // The groups follow, each indented, until the next interface.
    Some((lines.take_while(|line| line.starts_with(['\t', ' '])).count(), version))
}

fn igmp(name: &str, all: Option<&str>, own: Option<&str>, table: Option<&str>) -> Check {
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u8>().ok());
    let Some((groups, version)) = table.and_then(|table| igmp_of(table, name)) else {
        return Check::unknown("igmp", "not visible, or the interface does no IPv4 multicast");
    };
    let forced = number(all).unwrap_or(0).max(number(own).unwrap_or(0));
    if matches!(forced, 1 | 2) {
        return Check::better(
            "igmp",
            format!("held at version {forced}: the network cannot filter by source"),
            format!(
                "sudo sysctl -w net.ipv4.conf.all.force_igmp_version=0 net.ipv4.conf.{}.force_igmp_version=0",
                name.replace('.', "/")
            ),
        );
    }
    Check::ok("igmp", format!("{version}, {groups} groups joined"))
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;
    use proptest::prelude::*;

    fn card() -> Card {
        Card {
            name: "eth0".into(),
            usable: true,
            loopback: false,
            native: Some(true),
            zero_copy: Some(false),
            occupied: None,
            mtu_fits: true,
        }
    }

    #[test]
    fn what_the_driver_says_counts_more_than_the_list() {
        assert_eq!(abilities(Some(XdpFeatures::default()), Some("i40e"), Some((6, 6))), Some((false, false)));
        assert_eq!(abilities(None, Some("i40e"), Some((6, 1))), Some((true, true)));
        assert_eq!(abilities(None, Some("e1000e"), Some((6, 1))), None);
        assert_eq!(abilities(None, None, Some((6, 1))), None);
    }

    #[test]
    fn abilities_become_advice() {
        let state = |card: &Card| (native(card, Some("x")).state, zero_copy(card, Some("x")).state);
        assert_eq!(state(&card()), (State::Ok, State::Better));
        assert_eq!(state(&Card { native: None, zero_copy: None, ..card() }), (State::Unknown, State::Unknown));
        assert_eq!(state(&Card { loopback: true, native: None, zero_copy: None, ..card() }), (State::Ok, State::Ok));
    }

    #[test]
    fn an_mtu_is_held_against_the_frames() {
        let at = |octets| mtu("eth0", octets);
        assert!(at(1500).says.contains("2048") && at(1770).says.starts_with("1770: fits"));
        assert_eq!((at(1771).state, at(3818).state), (State::Ok, State::Ok));
        let jumbo = at(9000);
        assert_eq!((jumbo.state, jumbo.remedy.as_deref()), (State::Blocks, Some("sudo ip link set dev eth0 mtu 3818")));
    }

    #[test]
    fn a_program_that_is_there_blocks_and_is_named() {
        let attached = Program { id: 42, attached: Attached::Generic };
        let check = program("eth0", Some("program 42 (cilium)"), Some(attached));
        assert_eq!(check.says, "program 42 (cilium) is attached in generic mode");
        assert!(check.state == State::Blocks && check.instead.is_some_and(|instead| instead.contains("raw")));
        assert_eq!(program("eth0", None, None).state, State::Ok);
    }

    #[test]
    fn interrupts_on_isolated_cores_are_in_the_way() {
        let at = |list: &str| vec![(24, list.to_owned()), (25, "1".to_owned())];
        assert_eq!(affinity(&at("0-1"), &[3]).says, "2 on cores 0,1");
        assert_eq!(affinity(&at("3"), &[3]).state, State::Better);
        assert_eq!(affinity(&[], &[3]).state, State::Unknown);
    }

    #[test]
    fn settings_of_the_interface_are_judged() {
        assert_eq!(rp_filter("eth0", Some("0"), Some("0")).state, State::Ok);
        assert_eq!(rp_filter("eth0", Some("1"), Some("0")).state, State::Better);
        assert_eq!(rp_filter("eth0", Some("1"), Some("2")).says, "loose");
        assert_eq!(rp_filter("eth0", None, None).state, State::Unknown);
        assert_eq!(
            napi("eth0", Some("2"), Some("200000")).state,
            State::Better,
            "212 µs instead of 5 without busy polling"
        );
        assert_eq!(napi("eth0", Some("0"), Some("0")).state, State::Ok);
        assert_eq!(numa("eth0", Some("-1\n"), None).says, "one node for all");
        assert!(numa("eth0", Some("1"), Some("8-15\n")).says.contains("8-15"));
        assert_eq!(numa("eth0", None, None).state, State::Unknown);
    }

    #[test]
    fn a_name_made_to_be_pasted_does_not_get_into_commands() {
        assert_eq!(for_commands("enp3s0f1.100"), "enp3s0f1.100");
        for name in ["x;reboot", "`id`", "$(id)", "-all", "a\u{1b}[2J"] {
            assert_eq!(for_commands(name), "INTERFACE");
        }
        let dotted = rp_filter("eth0.5", None, Some("1"));
        assert_eq!(dotted.remedy.as_deref(), Some("sudo sysctl -w net.ipv4.conf.eth0/5.rp_filter=2"));
    }

    const IGMP: &str = "\
Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
2\teth0      :     3      V2
\t\t\t\t010000E0     1 0:00000000\t\t0
\t\t\t\tFB0000E0     1 0:00000000\t\t0
";

    #[test]
    fn memberships_are_read_from_the_kernels_table() {
        assert_eq!(igmp_of(IGMP, "eth0"), Some((2, "V2".into())));
        assert_eq!(igmp_of(IGMP, "lo"), Some((1, "V3".into())));
        assert_eq!(igmp_of(IGMP, "eth1"), None);
        assert_eq!(igmp("eth0", Some("0"), Some("0"), Some(IGMP)).says, "V2, 2 groups joined");
        assert_eq!(igmp("eth0", Some("2"), Some("0"), Some(IGMP)).state, State::Better);
    }

    #[test]
    fn loopback_is_looked_at_without_rights() {
        let survey = Survey::of("lo").expect("every namespace has it");
        let (host, _) = super::super::host::look();
        let (card, checks) = look(&survey, &host);
        assert!(card.loopback && card.occupied.is_none());
        let keys: Vec<&str> = checks.iter().map(|check| check.key).collect();
        let mut unique = keys.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), keys.len(), "{keys:?}");
        for check in checks.iter().filter(|check| check.state == State::Blocks) {
            assert!(check.remedy.is_some() && check.instead.is_some(), "{check:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_probe_panic(text in any::<Option<String>>(), part in "[-0-9VN, \t\n:a-z]{0,80}") {
            for text in [text.as_deref(), Some(&part)] {
                let _ = (numa("x", text, text), napi("x", text, text), rp_filter("x", text, text), igmp("x", text, text, text));
                let _ = affinity(&[(1, text.unwrap_or_default().to_owned())], &[1]);
            }
        }
    }
}
