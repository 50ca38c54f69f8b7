//! The steering program on interfaces: who may be there, who goes, and that nobody stays behind. As root:
//! `cargo test -p pgmx-ebpf --test privileged_attach -- --ignored`.

#[path = "support/kernel.rs"]
#[allow(dead_code, unreachable_pub)] // shared with the tests of the program
mod kernel;

use std::io::{BufRead, BufReader};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kernel::{ByLibbpf, Loaded, Setup, attach_by_link, on_a_host};
use libbpf_rs::{Xdp, XdpFlags};
use pgmx_ebpf::{Attach, Attachment, Owner, Steering, SteeringConfig, SteeringError, Verdict};

const LOOPBACK: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(20);

fn config(index: u32) -> SteeringConfig {
    SteeringConfig::new("near0", index)
}

fn replacing(index: u32) -> SteeringConfig {
    SteeringConfig { replace: true, ..config(index) }
}

/// Somebody else's program: ours, loaded by another loader.
fn somebody() -> ByLibbpf {
    ByLibbpf::load(&Setup { config: config(0), groups: Vec::new(), locals: Vec::new() })
}

fn program(of: &ByLibbpf) -> BorrowedFd<'_> {
    // SAFETY: the program is open for as long as the object, which is borrowed.
    unsafe { BorrowedFd::borrow_raw(of.descriptor()) }
}

/// Attaches it as `ip link` does: it stays when its process ends.
fn attach_by_netlink(of: &ByLibbpf, index: u32, place: XdpFlags) {
    Xdp::new(program(of)).attach(index as i32, place).expect("an interface of our own");
}

#[test]
#[ignore = "needs root"]
fn the_driver_is_taken_where_it_can_and_exactly_what_is_asked_for_otherwise() {
    on_a_host(|index| {
        let attach = |index, attach| Steering::attach(&SteeringConfig { attach, ..config(index) });
        for (asked, taken) in [
            (Attach::NativeElseGeneric, Attachment::Native),
            (Attach::Native, Attachment::Native),
            (Attach::Generic, Attachment::Generic),
        ] {
            let steering = attach(index, asked).expect("a cable has all");
            assert_eq!(steering.attachment(), taken);
            assert!(steering.refused().is_none() && steering.replaced().is_empty());
        }
        // Loopback's driver knows nothing of XDP.
        let steering = attach(LOOPBACK, Attach::NativeElseGeneric).expect("generic is everywhere");
        assert_eq!(steering.attachment(), Attachment::Generic);
        let refused = steering.refused().expect("the driver was asked first").to_string();
        assert!(refused.starts_with("native XDP attach on near0 refused: "), "{refused}");
        drop(steering);
        let refusal = attach(LOOPBACK, Attach::Native).expect_err("native or nothing");
        assert!(matches!(refusal, SteeringError::Attach { attachment: Attachment::Native, .. }), "{refusal}");
    });
}

#[test]
#[ignore = "needs root"]
fn who_is_there_is_named_with_number_name_and_process_and_stays() {
    on_a_host(|index| {
        assert_eq!(Owner::of(index), None);
        let first = Steering::attach(&config(index)).expect("nobody is there");
        let owner = Owner::of(index).expect("the first");
        assert_eq!((owner.name.as_deref(), owner.pid), (Some("steer"), Some(std::process::id())));
        let refusal = Steering::attach(&config(index)).expect_err("taken").to_string();
        let named = format!("near0 refused: program {} (steer) of process {}", owner.id, std::process::id());
        assert!(refusal.contains(&named) && refusal.contains("--replace"), "{refusal}");
        assert_eq!(Owner::of(index), Some(owner));
        drop(first);
        assert_eq!(Owner::of(index), None, "nothing stays behind");
        Steering::attach(&config(index)).expect("free again");
    });
}

#[test]
#[ignore = "needs root"]
fn a_program_that_was_attached_by_netlink_is_replaced_wherever_it_sits() {
    on_a_host(|index| {
        for place in [XdpFlags::DRV_MODE, XdpFlags::SKB_MODE] {
            let other = somebody();
            attach_by_netlink(&other, index, place);
            let owner = Owner::of(index).expect("it is there");
            assert!(matches!(Steering::attach(&config(index)), Err(SteeringError::Occupied { .. })));
            let ours = Steering::attach(&replacing(index)).expect("asked to replace");
            assert_eq!(ours.replaced(), std::slice::from_ref(&owner));
            assert_eq!(ours.attachment(), Attachment::Native, "nothing of it is in the way");
            assert_ne!(Owner::of(index).expect("ours").id, owner.id);
            drop(ours);
            assert_eq!(Owner::of(index), None, "the other does not come back");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_program_that_was_attached_by_a_link_is_replaced_and_its_holder_takes_no_harm() {
    on_a_host(|index| {
        let mut first = Steering::attach(&config(index)).expect("nobody is there");
        let second = Steering::attach(&replacing(index)).expect("asked to replace");
        assert_eq!(second.replaced().len(), 1);
        let owner = Owner::of(index).expect("the second");
        assert_ne!(owner.id, second.replaced()[0].id);
        // Its link is dead now, and letting go of it must not take ours with it.
        first.claim_group([239, 192, 0, 1].into(), 7500).expect("its maps are alive");
        assert_eq!(first.count(Verdict::Steered).expect("its counters too"), 0);
        drop(first);
        assert_eq!(Owner::of(index), Some(owner));
    });
}

/// Another descriptor of the link that holds this program, as a process has that is just being started.
fn copy_of_link(program: u32) -> OwnedFd {
    let is_link = |number: &i32| {
        let what = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        what.to_string_lossy().contains("link") && info.lines().any(|line| line == format!("prog_id:\t{program}"))
    };
    let number = (3..1024).find(is_link).expect("the link is open");
    // SAFETY: open, as was just seen, and it stays so: its owner is the caller's.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().expect("one more descriptor")
}

#[test]
#[ignore = "needs root"]
fn a_program_leaves_when_it_is_dropped_though_a_copy_of_its_link_is_open() {
    on_a_host(|index| {
        let steering = Steering::attach(&config(index)).expect("nobody is there");
        let _copy = copy_of_link(Owner::of(index).expect("ours").id);
        drop(steering);
        assert_eq!(Owner::of(index), None);
    });
}

/// Takes all rights from this thread but those that are said to be enough.
fn keep_the_rights_that_are_named() {
    const VERSION_3: u32 = 0x2008_0522;
    // CAP_NET_ADMIN and CAP_NET_RAW; CAP_PERFMON and CAP_BPF in the second word.
    let (low, high) = (1_u32 << 12 | 1 << 13, 1_u32 << (38 - 32) | 1 << (39 - 32));
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable, for each word.
    let rights = [low, low, 0, high, high, 0];
    // SAFETY: the kernel reads two words and six, which live through the call.
    let answer = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), rights.as_ptr()) };
    assert_eq!(answer, 0, "rights can be given up");
}

#[test]
#[ignore = "needs root"]
fn the_rights_that_are_named_are_enough_to_attach_and_the_one_that_replacing_takes_is_named_too() {
    on_a_host(|index| {
        std::thread::scope(|scope| {
            let other = somebody();
            attach_by_netlink(&other, index, XdpFlags::DRV_MODE);
            let poor = scope.spawn(|| {
                keep_the_rights_that_are_named();
                let refusal = Steering::attach(&replacing(index)).expect_err("it cannot be looked up").to_string();
                assert!(refusal.contains("CAP_SYS_ADMIN") && refusal.contains("xdp off"), "{refusal}");
            });
            poor.join().expect("a refusal that says what is missing");
            Steering::attach(&replacing(index)).expect("with all rights");
            let poor = scope.spawn(|| {
                keep_the_rights_that_are_named();
                Steering::attach(&config(index)).map(drop).expect("enough for that");
            });
            poor.join().expect("attached");
        });
    });
}

#[test]
#[ignore = "needs root"]
fn replacing_nobody_is_attaching() {
    on_a_host(|index| {
        let steering = Steering::attach(&replacing(index)).expect("nobody is there");
        assert!(steering.replaced().is_empty());
    });
}

#[test]
#[ignore = "needs root"]
fn a_link_that_may_belong_to_another_namespace_is_left_alone() {
    // Fresh hosts number their interfaces alike, and a link does not tell its namespace.
    let other = somebody();
    let program = other.descriptor();
    on_a_host(|outer| {
        let _far = attach_by_link(program, outer);
        on_a_host(|inner| {
            assert_eq!(outer, inner);
            let _near = attach_by_link(program, inner);
            let refusal = Steering::attach(&replacing(inner)).expect_err("which one?").to_string();
            assert!(refusal.contains("2 links of it are on interfaces with number"), "{refusal}");
            assert!(Owner::of(inner).is_some());
        });
        assert!(Owner::of(outer).is_some(), "untouched");
    });
}

#[test]
#[ignore = "needs root"]
fn what_the_verifier_is_not_even_shown_leaves_the_other_at_work() {
    on_a_host(|index| {
        let first = Steering::attach(&config(index)).expect("nobody is there");
        let owner = Owner::of(index);
        let refusal = Steering::attach(&SteeringConfig { vlans: vec![4095], ..replacing(index) });
        assert!(matches!(refusal, Err(SteeringError::Config { field: "vlans", .. })));
        assert_eq!(Owner::of(index), owner);
        drop(first);
    });
}

/// Set for the process that is going to be killed: the number of the interface.
const VICTIM: &str = "PGMX_STEER_VICTIM";

#[test]
#[ignore = "needs root"]
fn a_process_that_is_killed_leaves_nothing_on_the_interface() {
    if let Ok(index) = std::env::var(VICTIM) {
        let index = index.parse().expect("a number");
        let mut steering = Steering::attach(&config(index)).expect("nobody is there");
        steering.claim_group([239, 192, 0, 1].into(), 7500).expect("room");
        println!("attached");
        // Until it is killed; should nobody do it, this ends all the same.
        std::thread::sleep(PATIENCE);
        return;
    }
    on_a_host(|index| {
        let mut victim = Victim::start(index);
        let owner = Owner::of(index).expect("the victim's");
        assert_eq!(owner.pid, Some(victim.0.id()));
        let refusal = Steering::attach(&config(index)).expect_err("taken").to_string();
        assert!(refusal.contains(&format!("of process {}", victim.0.id())), "{refusal}");
        victim.kill();
        // The kernel lets go of what the dead held a little after their end.
        let deadline = Instant::now() + PATIENCE;
        while Owner::of(index).is_some() {
            assert!(Instant::now() < deadline, "the program of a dead process is still there");
            std::thread::yield_now();
        }
        Steering::attach(&config(index)).expect("free again");
    });
}

/// A process of this very test, on the host of the thread that starts it.
struct Victim(Child);

impl Victim {
    fn start(index: u32) -> Self {
        let name = "a_process_that_is_killed_leaves_nothing_on_the_interface";
        let mut child = Command::new(std::env::current_exe().expect("a test"))
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env(VICTIM, index.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let out = child.stdout.take().expect("its output");
        let victim = Self(child);
        // A child that fails closes its output, so this ends.
        let attached = BufReader::new(out).lines().map_while(Result::ok).any(|line| line.contains("attached"));
        assert!(attached, "the victim could not attach");
        victim
    }

    fn kill(&mut self) {
        self.0.kill().expect("it lives");
        self.0.wait().expect("it is dead");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Dead already, when all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
