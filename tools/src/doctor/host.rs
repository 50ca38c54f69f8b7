//! What holds for the whole host, and for this process on it.
//!
//! Each probe is a function of a text, as the kernel shows it in `/proc` or `/sys`; [`look`] reads the texts. Guards: a text that is
//! not there, or makes no sense, is told as not visible, never guessed and never a panic.

use std::path::Path;

use pgmx::link::{Right, Rights};

use super::check::Check;
use super::read;

/// What one frame memory of default size takes: 16,384 frames of 2 KiB.
const MEMORY_OCTETS: u64 = 32 << 20;
/// What a raw or udp socket should be able to hold: some milliseconds of a fast stream.
const RECEIVE_BUFFER_OCTETS: u64 = 8 << 20;

/// What the choice of a link depends on.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) built_with_xdp: bool,
    /// Major and minor version of the kernel.
    pub(crate) kernel: Option<(u32, u32)>,
    /// `None`: not visible.
    pub(crate) rights: Option<Rights>,
    /// Whether the frames of a link may be locked into memory.
    pub(crate) memory_fits: bool,
    /// Processors that are kept free of other work.
    pub(crate) isolated: Vec<u32>,
}

/// Reads all that there is to read.
pub(crate) fn look() -> (Host, Vec<Check>) {
    let release = read("/proc/sys/kernel/osrelease");
    let rights = Rights::here();
    let limits = read("/proc/self/limits");
    let isolated = read("/sys/devices/system/cpu/isolated");
    let host = Host {
        built_with_xdp: cfg!(feature = "xdp"),
        kernel: release.as_deref().and_then(version),
        rights,
        memory_fits: memory_fits(limits.as_deref(), rights),
        isolated: isolated.as_deref().map(processors).unwrap_or_default(),
    };
    let binary = std::env::current_exe().ok();
    let checks = vec![
        kernel(release.as_deref()),
        build(host.built_with_xdp),
        capabilities(rights, binary.as_deref()),
        memlock(limits.as_deref(), rights),
        btf(Path::new("/sys/kernel/btf/vmlinux").exists(), Path::new("/sys/kernel").exists()),
        jit(read("/proc/sys/net/core/bpf_jit_enable").as_deref()),
        huge_pages(read("/proc/meminfo").as_deref()),
        cores(read("/sys/devices/system/cpu/online").as_deref(), isolated.as_deref()),
        clock(read("/sys/devices/system/clocksource/clocksource0/current_clocksource").as_deref()),
        busy_poll(read("/proc/sys/net/core/busy_poll").as_deref(), read("/proc/sys/net/core/busy_read").as_deref()),
        receive_buffer(read("/proc/sys/net/core/rmem_max").as_deref(), rights),
        memberships(read("/proc/sys/net/ipv4/igmp_max_memberships").as_deref()),
    ];
    (host, checks)
}

/// Major and minor of a release such as `6.1.0-18-amd64`.
pub(crate) fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(release: Option<&str>) -> Check {
    let Some((release, version)) = release.and_then(|text| Some((text.trim(), version(text)?))) else {
        return Check::unknown("kernel", "its version is not visible");
    };
    if version < (5, 10) {
        let says = format!("Linux {release} is older than 5.10");
        return Check::blocks("kernel", says, "install a newer kernel", "--io raw and --io udp");
    }
    if version < (6, 3) {
        let says =
            format!("Linux {release}: drivers do not say what they can do with XDP before 6.3, a list is consulted");
        return Check::ok("kernel", says);
    }
    Check::ok("kernel", format!("Linux {release}"))
}

fn build(with_xdp: bool) -> Check {
    if with_xdp {
        return Check::ok("build", "with AF_XDP");
    }
    let remedy = "build with the feature `xdp` (clang and libelf are needed: `cargo xtask setup`)";
    Check::blocks("build", "without AF_XDP", remedy, "--io raw and --io udp")
}

fn capabilities(rights: Option<Rights>, binary: Option<&Path>) -> Check {
    let Some(rights) = rights else {
        return Check::unknown("rights", "the capabilities of this process are not visible (no /proc)");
    };
    let binary = binary.map_or_else(|| "PGMX".to_owned(), |path| path.display().to_string());
    let names = |rights: &[Right]| rights.iter().map(|right| right.name()).collect::<Vec<_>>().join(", ");
    let missing = rights.missing(&Right::XDP);
    if !missing.is_empty() {
        let says = format!("{} missing: no AF_XDP", names(&missing));
        let instead = if rights.has(Right::NetRaw) { "--io raw" } else { "epgm:// (--io udp), which needs no right" };
        let remedy =
            format!("sudo setcap cap_net_raw,cap_bpf,cap_perfmon,cap_net_admin+ep {binary}   (or run as root)");
        return Check::blocks("rights", says, remedy, instead);
    }
    let missing = rights.missing(&[Right::IpcLock, Right::SysNice]);
    if !missing.is_empty() {
        let says = format!("all that links need; {} missing (locked memory, real-time threads)", names(&missing));
        let remedy =
            format!("sudo setcap cap_net_raw,cap_bpf,cap_perfmon,cap_net_admin,cap_ipc_lock,cap_sys_nice+ep {binary}");
        return Check::better("rights", says, remedy);
    }
    Check::ok("rights", "all that links need")
}

/// The soft limit of locked memory in octets; `u64::MAX` is none.
fn locked_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        octets => octets.parse().ok(),
    }
}

fn memory_fits(limits: Option<&str>, rights: Option<Rights>) -> bool {
    rights.is_some_and(|rights| rights.has(Right::IpcLock))
        || limits.and_then(locked_max).is_none_or(|octets| octets >= MEMORY_OCTETS)
}

fn memlock(limits: Option<&str>, rights: Option<Rights>) -> Check {
    let Some(octets) = limits.and_then(locked_max) else {
        return Check::unknown("memlock", "the limit of locked memory is not visible");
    };
    let size = if octets == u64::MAX { "unlimited".to_owned() } else { format!("{} KiB", octets / 1024) };
    if memory_fits(limits, rights) {
        let passed_over = octets < MEMORY_OCTETS;
        let why = if passed_over { ", which CAP_IPC_LOCK passes over" } else { "" };
        return Check::ok("memlock", format!("{size}{why}"));
    }
    let says = format!("{size}: AF_XDP locks {} MiB of frames", MEMORY_OCTETS >> 20);
    let remedy = "ulimit -l unlimited   (or LimitMEMLOCK=infinity in the unit, or grant CAP_IPC_LOCK)";
    Check::blocks("memlock", says, remedy, "--io raw and --io udp")
}

fn btf(there: bool, sys: bool) -> Check {
    match (there, sys) {
        (true, _) => Check::ok("btf", "the kernel describes its types"),
        (false, true) => Check::ok("btf", "the kernel does not describe its types; the steering program does without"),
        (false, false) => Check::unknown("btf", "/sys is not visible"),
    }
}

fn jit(text: Option<&str>) -> Check {
    match text.map(str::trim) {
        Some("0") => Check::better(
            "bpf_jit",
            "off: the steering program is interpreted, packet by packet",
            "sudo sysctl -w net.core.bpf_jit_enable=1",
        ),
        Some("1") => Check::ok("bpf_jit", "on"),
        Some("2") => {
            Check::better("bpf_jit", "on, and writes programs to the log", "sudo sysctl -w net.core.bpf_jit_enable=1")
        }
        _ => Check::unknown("bpf_jit", "not visible (another network namespace's, or fixed in the kernel)"),
    }
}

/// A number of `/proc/meminfo`, as it stands there.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn huge_pages(text: Option<&str>) -> Check {
    let numbers = text.and_then(|text| Some((meminfo(text, "HugePages_Free")?, meminfo(text, "Hugepagesize")?)));
    let Some((free, size_kib)) = numbers else {
        return Check::unknown("huge_pages", "not visible, or not in this kernel");
    };
    let octets = free.saturating_mul(size_kib).saturating_mul(1024);
    let says = format!("{free} free of {size_kib} KiB");
    if octets >= MEMORY_OCTETS {
        return Check::ok("huge_pages", says);
    }
    let wanted = MEMORY_OCTETS.div_ceil(size_kib.saturating_mul(1024).max(1));
    let remedy = format!("sudo sysctl -w vm.nr_hugepages={wanted}   (for each link; with more frames or queues more)");
    Check::better("huge_pages", format!("{says}: frames lie in small pages, at the cost of TLB misses"), remedy)
}

/// The numbers in a list such as `0-3,8`; no more than a kernel has processors.
pub(crate) fn processors(list: &str) -> Vec<u32> {
    const MOST: u32 = 8192;
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let mut ends = part.splitn(2, '-').map(|end| end.trim().parse::<u32>().ok());
        let Some(Some(first)) = ends.next() else { continue };
        let last = ends.next().unwrap_or(Some(first)).unwrap_or(first);
        all.extend((first..=last.min(MOST)).take(MOST as usize - all.len().min(MOST as usize)));
    }
    all
}

fn cores(online: Option<&str>, isolated: Option<&str>) -> Check {
    let Some(online) = online.map(processors).filter(|all| !all.is_empty()) else {
        return Check::unknown("cores", "not visible");
    };
    let count = online.len();
    let isolated = isolated.unwrap_or_default().trim();
    if !processors(isolated).is_empty() {
        return Check::ok("cores", format!("{count}, of which {isolated} isolated: pin workers there (`--core`)"));
    }
    let says = format!("{count}, none set aside: a worker that spins shares its core with others");
    let remedy = if count < 3 {
        "more cores, or workers that sleep (`--idle`)".to_owned()
    } else {
        let last = online.last().copied().unwrap_or_default();
        format!("boot with isolcpus={last} nohz_full={last} rcu_nocbs={last}")
    };
    Check::better("cores", says, remedy)
}

fn clock(source: Option<&str>) -> Check {
    match source.map(str::trim) {
        None | Some("") => Check::unknown("clock", "not visible"),
        Some(source @ ("tsc" | "arch_sys_counter" | "kvm-clock" | "hyperv_clocksource_tsc_page")) => {
            Check::ok("clock", format!("{source}: read without a system call"))
        }
        Some(source) => Check::better(
            "clock",
            format!("{source}: each look at the clock is a system call"),
            "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource   (if it is offered)",
        ),
    }
}

fn busy_poll(poll: Option<&str>, read: Option<&str>) -> Check {
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u32>().ok());
    match (number(poll), number(read)) {
        (Some(0), Some(0)) => Check::ok("busy_poll", "off for other sockets; links ask for their own"),
        (Some(poll), Some(read)) => Check::better(
            "busy_poll",
            format!(
                "every socket of the host polls (net.core.busy_poll={poll}, busy_read={read} µs), and takes the core from links"
            ),
            "sudo sysctl -w net.core.busy_poll=0 net.core.busy_read=0",
        ),
        _ => Check::unknown("busy_poll", "not visible from this network namespace"),
    }
}

fn receive_buffer(rmem_max: Option<&str>, rights: Option<Rights>) -> Check {
    let Some(octets) = rmem_max.and_then(|text| text.trim().parse::<u64>().ok()) else {
        return Check::unknown("rmem_max", "not visible from this network namespace");
    };
    let says = format!("net.core.rmem_max={octets}");
    if octets >= RECEIVE_BUFFER_OCTETS {
        return Check::ok("rmem_max", says);
    }
    if rights.is_some_and(|rights| rights.has(Right::NetAdmin)) {
        return Check::ok("rmem_max", format!("{says}, which CAP_NET_ADMIN passes over"));
    }
    let remedy = format!("sudo sysctl -w net.core.rmem_max={RECEIVE_BUFFER_OCTETS}");
    Check::better("rmem_max", format!("{says}: a burst overruns the sockets of raw and udp"), remedy)
}

fn memberships(most: Option<&str>) -> Check {
    match most.and_then(|text| text.trim().parse::<u32>().ok()) {
        None => Check::unknown("igmp_memberships", "not visible from this network namespace"),
        Some(most) if most < 20 => Check::better(
            "igmp_memberships",
            format!("a socket may join {most} groups"),
            "sudo sysctl -w net.ipv4.igmp_max_memberships=20",
        ),
        Some(most) => Check::ok("igmp_memberships", format!("a socket may join {most} groups")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;
    use proptest::prelude::*;

    fn rights(bits: &str) -> Option<Rights> {
        Rights::read(&format!("CapEff:\t{bits}\n"))
    }

    const ALL: &str = "000001ffffffffff";
    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max processes             63480                63480                processes
Max locked memory         8388608              unlimited            bytes
Max address space         unlimited            unlimited            bytes
";

    #[test]
    fn kernels_are_told_by_age() {
        assert_eq!(version("6.1.0-18-amd64\n"), Some((6, 1)));
        assert_eq!(version("5.10"), Some((5, 10)));
        assert_eq!((version("six"), version(""), version("6"), version("99999999999.1")), (None, None, None, None));
        let state = |release| kernel(Some(release)).state;
        assert_eq!(
            (state("5.4.0"), state("5.10.0"), state("6.18.1"), state("?")),
            (State::Blocks, State::Ok, State::Ok, State::Unknown)
        );
        assert!(kernel(Some("6.1.0")).says.contains("before 6.3"));
    }

    #[test]
    fn missing_rights_are_named_with_the_command_that_grants_them() {
        let binary = Some(Path::new("/usr/bin/pgmx"));
        let none = capabilities(rights("0"), binary);
        assert_eq!(none.state, State::Blocks);
        assert!(none.says.contains("CAP_NET_RAW, CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"), "{}", none.says);
        assert!(
            none.remedy.is_some_and(|remedy| remedy.contains("cap_net_raw,cap_bpf,cap_perfmon,cap_net_admin+ep /usr/bin/pgmx"))
        );
        assert!(none.instead.is_some_and(|instead| instead.contains("epgm://")));
        assert_eq!(capabilities(rights("2000"), binary).instead.as_deref(), Some("--io raw"));
        assert_eq!(capabilities(rights(ALL), None).state, State::Ok);
        assert_eq!(capabilities(rights("c000003000"), None).state, State::Better);
        assert_eq!(capabilities(None, None).state, State::Unknown);
    }

    #[test]
    fn locked_memory_blocks_only_whom_its_limit_binds() {
        assert_eq!(locked_max(LIMITS), Some(8 << 20));
        assert_eq!(locked_max("Max locked memory unlimited unlimited bytes"), Some(u64::MAX));
        assert_eq!(memlock(Some(LIMITS), rights("0")).state, State::Blocks);
        assert_eq!(memlock(Some(LIMITS), rights(ALL)).state, State::Ok);
        assert_eq!(memlock(Some("Max locked memory 33554432 x"), rights("0")).state, State::Ok);
        assert_eq!(memlock(Some("Max locked memory lots"), rights("0")).state, State::Unknown);
        assert!(memory_fits(None, None), "what is not visible is no reason to refuse");
    }

    #[test]
    fn huge_pages_are_counted_against_one_link() {
        let page = |free: u64, size: u64| {
            huge_pages(Some(&format!("HugePages_Total: 99\nHugePages_Free: {free}\nHugepagesize: {size} kB\n")))
        };
        assert_eq!(page(16, 2048).state, State::Ok);
        let few = page(15, 2048);
        assert_eq!(
            (few.state, few.remedy.as_deref().map(|text| text.contains("nr_hugepages=16"))),
            (State::Better, Some(true))
        );
        assert_eq!(page(1, 1 << 20).state, State::Ok);
        assert_eq!(page(0, 0).state, State::Better);
        assert_eq!(page(u64::MAX, u64::MAX).state, State::Ok);
        assert_eq!(huge_pages(Some("MemTotal: 1 kB")).state, State::Unknown);
    }

    #[test]
    fn lists_of_processors_are_read_and_bounded() {
        assert_eq!(processors("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(processors(""), [0; 0]);
        assert_eq!(processors("3-1,x,7-"), [7]);
        assert!(processors("0-4294967295,0-4294967295").len() <= 8192);
        assert_eq!(cores(Some("0-7"), Some("6-7\n")).state, State::Ok);
        assert_eq!(
            cores(Some("0-7"), Some("\n")).remedy.as_deref(),
            Some("boot with isolcpus=7 nohz_full=7 rcu_nocbs=7")
        );
        assert_eq!(cores(None, None).state, State::Unknown);
    }

    #[test]
    fn settings_of_the_network_are_judged() {
        assert_eq!(jit(Some("0\n")).state, State::Better);
        assert_eq!(jit(Some("1\n")).state, State::Ok);
        assert_eq!(jit(None).state, State::Unknown);
        assert_eq!(busy_poll(Some("0"), Some("0")).state, State::Ok);
        assert_eq!(busy_poll(Some("50"), Some("0")).state, State::Better);
        assert_eq!(receive_buffer(Some("212992"), rights("0")).state, State::Better);
        assert_eq!(receive_buffer(Some("212992"), rights(ALL)).state, State::Ok);
        assert_eq!(receive_buffer(Some("16777216"), rights("0")).state, State::Ok);
        assert_eq!(memberships(Some("5")).state, State::Better);
        assert_eq!(clock(Some("hpet\n")).state, State::Better);
        assert_eq!(btf(false, true).state, State::Ok);
        assert_eq!(build(false).state, State::Blocks);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_probe_panic(text in any::<Option<String>>(), part in "[-0-9, \t\n:a-zA-Z]{0,80}") {
            for text in [text.as_deref(), Some(&part), Some(&format!("Max locked memory {part}")), Some(&format!("Hugepagesize:{part}\nHugePages_Free:{part}"))] {
                let _ = (kernel(text), memlock(text, None), jit(text), huge_pages(text), cores(text, text));
                let _ = (clock(text), busy_poll(text, text), receive_buffer(text, None), memberships(text));
            }
        }
    }
}
