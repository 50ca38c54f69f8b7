//! One virtual machine: what it is made of, what its init does, and how it ends.
//!
//! ```text
//!   ttyS0  the kernel's console ─> target/vm/logs/RELEASE.console   (read only when the guest died)
//!   -d     what no hardware would do    ─> target/vm/logs/RELEASE.emulator
//!   ttyS1  init and the tests   ─> our standard output             (parsed by the report)
//!   eth0 ══ hub ══ eth1          two virtio cards that see each other and nobody else
//! ```
//!
//! Without hardware support: any host can run it, and every host the same way. Guards: a machine ends, by itself when all parts are
//! through, or with its process group when its time is over; it reaches no network and writes no disk.

use super::fetch::Kernel;
use super::image::Image;
use super::parts::Part;
use super::{modules, report};
use crate::process::{Cmd, Output};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// On a busy host an emulated processor may miss its first ticks and stop; none of that comes from what is tested, which has not begun. So
/// a boot is tried again, but not for ever.
const BOOTS_MAX: u32 = 3;
/// A boot takes 4 s, on a busy host a minute.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// All parts of one machine: a few times what two quiet processors need.
const LIMIT: Duration = Duration::from_secs(900);
/// Twice what the tests' frames (32 MB a link), the archive while it is unpacked, and the kernel need: the upper half is kept free.
const MEMORY_MB: &str = "2048";

/// What of virtio-net a driver needs to take frames where they lie: modern, addresses translated, no offloads that want larger frames.
const CARD: &str = "disable-legacy=on,iommu_platform=on,mrg_rxbuf=on,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,\
                    guest_csum=off,romfile=";

/// `console`: the kernel's words apart from ours. `no_timer_check`: a busy host is late with the first ticks, which is no reason to stop.
///
/// `memmap`, `nokaslr`: without a copy, virtio_net (7.2, 7.3) lets the card read its header, all zeroes, from a variable whose address it
/// translates as if it were the kernel's own; as that of a module, it comes out one gigabyte too high. With no memory there the emulated
/// card refuses descriptors after some thousand packets. So there is memory, which nobody writes to.
const APPEND: &str = "console=ttyS0 quiet no_timer_check oops=panic panic=-1 nokaslr memmap=1G$1G";

/// Runs these parts on this kernel.
pub(super) fn run(
    vm: &Path,
    kernel: &Kernel,
    parts: &[&Part],
    tests: &BTreeMap<String, PathBuf>,
) -> Result<report::Guest, String> {
    let logs = vm.join("logs");
    let initrd = vm.join("initrd.cpio");
    let archive = image(kernel, parts, tests)?.archive();
    let written = fs::create_dir_all(&logs).and_then(|()| fs::write(&initrd, archive));
    written.map_err(|why| format!("{}: {why}", initrd.display()))?;
    let console = logs.join(format!("{}.console", kernel.release));
    let emulator = logs.join(format!("{}.emulator", kernel.release));
    let mut boots = 1;
    loop {
        let machine = qemu(&kernel.image()?, &initrd, &console, &emulator).first_word_within(BOOT_LIMIT);
        let ended = machine.bounded(LIMIT, Output::ShowAndKeep)?;
        let guest = report::read(&ended.stdout);
        if guest.is_up || boots == BOOTS_MAX {
            let died = (!guest.is_done).then(|| death(ended.status.is_none(), boots, &console));
            let complaint = fs::read_to_string(&emulator).ok().and_then(|told| told.lines().next().map(str::to_owned));
            return Ok(report::Guest { boots, died, complaint, ..guest });
        }
        println!("{} did not come up ({}); boot {} of {BOOTS_MAX}", kernel.release, last_words(&console), boots + 1);
        boots += 1;
    }
}

fn qemu(kernel: &Path, initrd: &Path, console: &Path, emulator: &Path) -> Cmd {
    let mut args: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
    // One thread, one processor. CMPXCHG16B is left out: QEMU 7.2 computes its flags from stale ones, so that a kernel whose allocator uses
    // it (6.12 above all) dies of wild flags in one boot of ten, in every third on a busy host.
    add(&["-accel", "tcg,thread=single", "-cpu", "max,-cx16", "-smp", "1", "-m", MEMORY_MB]);
    add(&["-nodefaults", "-display", "none", "-vga", "none", "-no-reboot"]);
    add(&["-serial", &format!("file:{}", console.display()), "-serial", "stdio"]);
    add(&["-d", "guest_errors", "-D", &emulator.to_string_lossy()]);
    add(&["-kernel", &kernel.to_string_lossy(), "-initrd", &initrd.to_string_lossy(), "-append", APPEND]);
    for number in 0..2 {
        add(&["-netdev", &format!("hubport,id=wire{number},hubid=0")]);
        add(&["-device", &format!("virtio-net-pci,netdev=wire{number},mac=52:54:00:00:00:0{},{CARD}", number + 1)]);
    }
    Cmd::new(Path::new("."), "qemu-system-x86_64", &[]).args(args)
}

fn death(out_of_time: bool, boots: u32, console: &Path) -> String {
    let how = if out_of_time { "out of time" } else { "the guest died" };
    format!("{how} (boots: {boots}); its console: {}; all of it in {}", last_words(console), console.display())
}

/// What the kernel complained of, if it did.
fn last_words(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    complaint(&String::from_utf8_lossy(&text)).unwrap_or_else(|| "silent".into())
}

fn complaint(console: &str) -> Option<String> {
    let told = |line: &&str| ["Oops", "panic", "BUG", "RIP:", "Call Trace"].iter().any(|word| line.contains(word));
    let lines: Vec<&str> = console.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.iter().find(|line| told(line)).or(lines.last()).map(|line| (*line).to_owned())
}

fn image(kernel: &Kernel, parts: &[&Part], tests: &BTreeMap<String, PathBuf>) -> Result<Image, String> {
    let mut image = Image::default();
    for directory in ["proc", "sys", "dev", "tmp", "run", "root", "etc"] {
        image.add_directory(directory);
    }
    image.add_program("bin/busybox", &command("busybox")?)?;
    image.add_symlink("bin/sh", "busybox");
    // busybox has an `ip`, too, which knows little of what the tests ask for.
    image.add_program("bin/ip", &command("ip")?)?;
    for (name, path) in tests {
        image.add_program(&format!("tests/{name}"), path)?;
    }
    let modules = modules::collect(&kernel.tree, &modules::WANTED)?;
    image.add_modules(&modules);
    image.add("init", init(parts, kernel.version.has_zero_copy()).into());
    Ok(image)
}

fn command(name: &str) -> Result<PathBuf, String> {
    let path = Cmd::new(Path::new("."), "sh", &["-c", &format!("command -v {name}")]).stdout();
    path.map(|path| PathBuf::from(path.trim()))
        .ok_or_else(|| format!("no {name} here; `cargo xtask setup` installs it"))
}

/// The first process: prepares the machine, runs the parts, tells how each ended, and switches off.
fn init(parts: &[&Part], has_zero_copy: bool) -> String {
    let mut script = String::from(
        r#"#!/bin/sh
export PATH=/bin:/tests HOME=/root
busybox mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS1 2>&1
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t bpf bpf /sys/fs/bpf
busybox mount -t tmpfs tmp /tmp
# Not over the ip that is there.
busybox --install -s /bin
for module in $(cat /modules/order); do
	insmod /modules/$module.ko || echo "module $module was refused"
done
now() { read -r up rest </proc/uptime; echo "${up%.*}"; }
"#,
    );
    // Writing into a String cannot fail.
    let _ = writeln!(script, "echo \"{} $(uname -r) $(now)\"", report::UP);
    for part in parts {
        let _ = write!(script, "{}", step(part, has_zero_copy));
    }
    let _ = writeln!(script, "echo \"{}\"\nsync\npoweroff -f", report::DONE);
    script
}

/// The lines of init that run one part.
fn step(part: &Part, has_zero_copy: bool) -> String {
    let Part { name, binary, filter, over_cards, limit_seconds, .. } = part;
    let cards = if *over_cards {
        format!("PGMX_TEST_NICS=eth0,eth1 PGMX_TEST_ZERO_COPY={} ", if has_zero_copy { "yes" } else { "no" })
    } else {
        String::new()
    };
    let (begin, end) = (report::BEGIN, report::END);
    format!(
        "echo \"{begin} {name} $(now)\"\n\
         {cards}timeout -s KILL {limit_seconds} {binary} --ignored --test-threads=1 --nocapture {filter}\n\
         echo \"{end} {name} $? $(now)\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::parts::PARTS;
    use super::*;

    #[test]
    fn init_says_where_it_is_and_bounds_every_part() {
        let parts: Vec<&Part> = PARTS.iter().collect();
        let script = init(&parts, true);
        for part in &PARTS {
            assert!(script.contains(&format!("echo \"{} {} $(now)\"\n", report::BEGIN, part.name)), "{script}");
            assert!(script.contains(&format!(" {} {} --ignored", part.limit_seconds, part.binary)), "{script}");
        }
        assert!(script.contains("PGMX_TEST_ZERO_COPY=yes") && !script.contains("PGMX_TEST_ZERO_COPY=no"));
        assert!(init(&parts, false).contains("PGMX_TEST_ZERO_COPY=no"));
        assert!(script.ends_with("poweroff -f\n"));
    }

    #[test]
    fn a_console_is_told_by_its_first_complaint_or_else_its_last_line() {
        let console = "[0.1] hello\n[1.2] BUG: kernel NULL pointer\n[1.3] RIP: 0010:x\n[1.4] Kernel panic\n";
        assert_eq!(complaint(console).unwrap(), "[1.2] BUG: kernel NULL pointer");
        assert_eq!(complaint("[0.1] hello\n[0.2] good bye\r\n\n").unwrap(), "[0.2] good bye");
        assert_eq!(complaint("\n"), None);
    }
}
