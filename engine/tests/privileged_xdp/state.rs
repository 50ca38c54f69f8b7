//! What a link takes and what it lives through: queues, attachment, memory, MTU, an interface that goes down or away.

use std::time::{Duration, Instant};

use pgmx::frame::To;
use pgmx::link::xdp::{Attach, Attachment, BusyPoll, DataPath, Queues, Refusal, Verdict, XdpError};
use pgmx::link::{Link, LinkError};

use super::end::{End, FAMILIES};
use crate::netns::{Cable, Pair};

const PATIENCE: Duration = Duration::from_secs(20);

fn pair() -> Pair {
    Pair::new(&[Cable::default()]).expect("two hosts")
}

fn refusal<'a>(end: &'a End<'_>, attempt: &str) -> Option<&'a Refusal> {
    end.link.taken().refusals.iter().find(|refusal| refusal.attempt == attempt)
}

/// A veth hands what leaves by a queue to the same queue of its other end: each number stands for one kind of packet.
#[test]
#[ignore = "needs root"]
fn four_queues_are_heard_whichever_a_packet_comes_in_on() {
    let pair = Pair::new(&[Cable::queues(4)]).expect("two hosts");
    let mut right = End::open(&pair.right, &pair.right_ports[0], |_| {});
    right.join(&[]);
    assert_eq!(right.link.taken().queues, 4);
    let all = [(2, &b"data"[..]), (0, b"a repair"), (1, b"a NAK"), (3, b"another NAK")];
    for (queue, what) in all {
        let mut left = End::open(&pair.left, &pair.left_ports[0], |config| config.queues = Queues::Some(vec![queue]));
        left.tell(what);
        assert_eq!(right.hear().payload, what, "on queue {queue}");
        left.close();
    }
    assert_eq!(right.steered(Verdict::Steered), 4);
    right.close();
}

#[test]
#[ignore = "needs root"]
fn of_a_chosen_set_of_queues_only_these_are_taken_and_the_rest_passes_to_the_kernel() {
    let pair = Pair::new(&[Cable::queues(4)]).expect("two hosts");
    let mut right = End::open(&pair.right, &pair.right_ports[0], |config| config.queues = Queues::Some(vec![3, 1]));
    right.join(&[]);
    assert_eq!(right.link.taken().queues, 2);
    let mut passed = 0;
    for queue in [2, 0, 1, 3] {
        // What leaves, leaves by the first that is named.
        let queues = vec![queue, (queue + 1) % 4];
        let mut left = End::open(&pair.left, &pair.left_ports[0], |config| config.queues = Queues::Some(queues));
        left.tell(&[queue as u8]);
        if queue % 2 == 1 {
            assert_eq!(right.hear().payload, [queue as u8]);
        } else {
            passed += 1;
            right.await_verdict(Verdict::NoSocket, passed);
        }
        left.close();
    }
    assert_eq!((right.steered(Verdict::Steered), right.steered(Verdict::NoSocket)), (2, 2));
    right.close();
    let refused = End::try_open(&pair.left, &pair.left_ports[0], |config| config.queues = Queues::Some(vec![0, 4]));
    let refused = refused.err().expect("no such queue").to_string();
    assert_eq!(refused, "queues = 4 refused: allowed is 0 to 3 on left0");
}

#[test]
#[ignore = "needs root"]
fn what_was_refused_is_said_with_its_reason_and_what_helps() {
    let pair = pair();
    let left = End::open(&pair.left, &pair.left_ports[0], |_| {});
    let taken = left.link.taken();
    assert_eq!((taken.attachment, taken.zero_copy, taken.frame_size), (Attachment::Native, false, 2048));
    let zero_copy = refusal(&left, "zero-copy").expect("a veth has none");
    assert!(!zero_copy.reason.is_empty() && zero_copy.remedy.contains("left0"), "{zero_copy}");
    let huge_pages = refusal(&left, "huge pages");
    assert!(taken.huge_pages != huge_pages.is_some(), "{taken}");
    assert!(huge_pages.is_none_or(|it| it.remedy.contains("vm.nr_hugepages=")), "{taken}");
    left.close();

    let refused = End::try_open(&pair.left, &pair.left_ports[0], |config| config.data_path = DataPath::ZeroCopy);
    let Some(XdpError::Socket { refusals, .. }) = refused.err() else { panic!("a veth has no zero-copy") };
    assert!(refusals.contains("zero-copy refused"), "{refusals}");

    let generic = |config: &mut pgmx::link::xdp::XdpConfig| config.attach = Attach::Generic;
    let mut left = End::open(&pair.left, &pair.left_ports[0], generic);
    let mut right = End::open(&pair.right, &pair.right_ports[0], generic);
    right.join(&[]);
    assert_eq!(right.link.taken().attachment, Attachment::Generic);
    assert!(refusal(&right, "zero-copy").is_some_and(|it| it.reason.contains("generic")));
    left.tell(b"behind the driver");
    assert_eq!(right.hear().payload, b"behind the driver");
    left.close();
    right.close();
}

/// conformance 16
#[test]
#[ignore = "needs root"]
fn frames_follow_the_mtu_as_far_as_one_frame_goes() {
    for (mtu, attachment) in [(1500, Attachment::Native), (3498, Attachment::Native), (3818, Attachment::Generic)] {
        let pair = Pair::new(&[Cable { mtu, ..Cable::default() }]).expect("two hosts");
        let mut left = End::open(&pair.left, &pair.left_ports[0], |_| {});
        let mut right = End::open(&pair.right, &pair.right_ports[0], |_| {});
        right.join(&[]);
        let taken = right.link.taken();
        assert_eq!((taken.attachment, taken.frame_size), (attachment, if mtu == 1500 { 2048 } else { 4096 }));
        if attachment == Attachment::Generic {
            assert!(refusal(&right, "native XDP").is_some_and(|it| it.remedy.contains("mtu")), "{taken}");
        }
        let longest = usize::from(left.link.path().tpdu_max()) + 4 - 24;
        let payload = vec![7; longest + 1];
        left.send(&payload, To::Group(left.group()));
        assert_eq!(left.link.counters().too_long, 1);
        left.tell(&payload[1..]);
        assert_eq!(right.hear().payload, payload[1..], "MTU {mtu}");
        left.close();
        right.close();
    }
    let pair = Pair::new(&[Cable { mtu: 9000, ..Cable::default() }]).expect("two hosts");
    let refused = End::try_open(&pair.left, &pair.left_ports[0], |_| {}).err().expect("too large").to_string();
    assert!(refused.contains("left0 is 9000") && refused.contains("mtu 3818"), "{refused}");
}

#[test]
#[ignore = "needs root"]
fn busy_polling_is_taken_or_refused_and_costs_a_call_only_where_it_was_asked_for() {
    let pair = pair();
    let mut left = End::open(&pair.left, &pair.left_ports[0], |_| {});
    let mut right = End::open(&pair.right, &pair.right_ports[0], |config| {
        config.busy_poll = Some(BusyPoll { microseconds: 20, budget: 64 });
    });
    right.join(&[]);
    assert!(right.link.taken().busy_poll != refusal(&right, "busy polling").is_some(), "{}", right.link.taken());
    left.tell(b"anybody?");
    assert_eq!(right.hear().payload, b"anybody?");
    for _ in 0..100 {
        assert!(right.turn().is_none() && left.turn().is_none());
    }
    assert_eq!(right.link.counters().receive_calls >= 100, right.link.taken().busy_poll);
    assert_eq!(left.link.counters().receive_calls, 0);
    left.close();
    right.close();
}

#[test]
#[ignore = "needs root"]
fn packets_wait_while_the_interface_is_down_and_leave_when_it_is_up_again() {
    for address in FAMILIES {
        let pair = pair();
        let mut left = End::open(&pair.left, &pair.left_ports[0], |config| config.address = address);
        let mut right = End::open(&pair.right, &pair.right_ports[0], |config| config.address = address);
        right.join(&[]);
        left.tell(b"before");
        assert_eq!(right.hear().payload, b"before");

        pair.left.ip(&["link", "set", "dev", "left0", "down"]).expect("an interface");
        for n in 0..10 {
            left.send(&[n], To::Group(left.group()));
        }
        for _ in 0..1000 {
            assert!(left.turn().is_none() && right.turn().is_none());
        }
        assert_eq!(left.link.in_flight(), 10, "they stay in the ring");
        pair.left.ip(&["link", "set", "dev", "left0", "up"]).expect("an interface");
        for (host, interface) in [(&pair.left, "left0"), (&pair.right, "right0")] {
            host.await_up(interface).expect("a carrier");
        }
        for n in 0..10 {
            let deadline = Instant::now() + PATIENCE;
            let came = loop {
                assert!(left.turn().is_none() && Instant::now() < deadline, "{:?}", left.link.counters());
                if let Some(came) = right.turn() {
                    break came;
                }
            };
            assert_eq!(came.payload, [n]);
        }

        // The receiver's side: its memberships are the kernel's, and come back with the interface.
        pair.right.ip(&["link", "set", "dev", "right0", "down"]).expect("an interface");
        for _ in 0..1000 {
            assert!(right.turn().is_none());
        }
        pair.right.ip(&["link", "set", "dev", "right0", "up"]).expect("an interface");
        for (host, interface) in [(&pair.left, "left0"), (&pair.right, "right0")] {
            host.await_up(interface).expect("a carrier");
        }
        left.tell(b"after");
        assert_eq!(right.hear().payload, b"after");
        left.close();
        right.close();
    }
}

#[test]
#[ignore = "needs root"]
fn a_link_opened_on_an_interface_that_is_down_works_when_it_is_up() {
    let pair = pair();
    pair.right.ip(&["link", "set", "dev", "right0", "down"]).expect("an interface");
    let mut left = End::open(&pair.left, &pair.left_ports[0], |_| {});
    let mut right = End::open(&pair.right, &pair.right_ports[0], |_| {});
    right.join(&[]);
    assert!(right.turn().is_none());
    pair.right.ip(&["link", "set", "dev", "right0", "up"]).expect("an interface");
    for (host, interface) in [(&pair.left, "left0"), (&pair.right, "right0")] {
        host.await_up(interface).expect("a carrier");
    }
    left.tell(b"up");
    assert_eq!(right.hear().payload, b"up");
    left.close();
    right.close();
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_is_gone_is_an_error_that_says_so_and_costs_no_frame() {
    let pair = pair();
    let mut left = End::open(&pair.left, &pair.left_ports[0], |_| {});
    let mut right = End::open(&pair.right, &pair.right_ports[0], |_| {});
    right.join(&[]);
    // A cable has two ends: both interfaces go.
    pair.left.ip(&["link", "del", "dev", "left0"]).expect("an interface");
    let gone = |error: LinkError| matches!(error, LinkError::Gone { .. }) && error.to_string().contains("0 is gone");
    assert!(left.try_send(b"into the void", To::Group(left.group())).is_err_and(gone));
    // Who only listens looks for the interface after a second of silence.
    let mut back = pgmx::frame::RxBatch::new(8);
    let later = right.now().plus(2_000_000_000);
    for _ in 0..2 {
        assert!(right.link.receive(later, &mut right.pool, &mut back).is_err_and(gone));
    }
    left.close();
    right.close();
}

#[test]
#[ignore = "needs root"]
fn the_fewest_frames_that_are_taken_are_enough_to_send_and_to_receive() {
    let pair = pair();
    let few = |config: &mut pgmx::link::xdp::XdpConfig| config.frames = 3 * config.ring;
    let mut left = End::open(&pair.left, &pair.left_ports[0], few);
    let mut right = End::open(&pair.right, &pair.right_ports[0], few);
    right.join(&[]);
    left.tell(b"one of a few");
    assert_eq!(right.hear().payload, b"one of a few");
    left.close();
    right.close();
    let fewer = End::try_open(&pair.left, &pair.left_ports[0], |config| config.frames = 3 * config.ring - 1);
    assert!(fewer.is_err_and(|error| error.to_string().starts_with("frames = ")), "nothing could be sent");
}

/// A veth keeps the tags of its peer's VLAN devices beside the frames.
#[test]
#[ignore = "needs root"]
fn a_link_without_tags_says_that_it_cannot_tell_the_frames_of_the_kernels_vlans_from_its_own() {
    const ATTEMPT: &str = "frames without a VLAN tag alone";
    let tagged = Pair::new(&[Cable::tagged(&[5])]).expect("two hosts");
    if tagged.left_ports[0].tagged.is_none() {
        eprintln!("skipped: this kernel has no VLAN devices");
        return;
    }
    let left = End::open(&tagged.left, &tagged.left_ports[0], |_| {});
    let said = refusal(&left, ATTEMPT).expect("there is a VLAN");
    assert!(said.reason.contains("(5)") && said.remedy.contains("ethtool -K left0 rxvlan off"), "{said}");
    left.close();
    let plain = pair();
    let left = End::open(&plain.left, &plain.left_ports[0], |_| {});
    assert_eq!(refusal(&left, ATTEMPT), None, "there is none");
    left.close();
}

#[test]
#[ignore = "needs root"]
fn an_interface_is_free_again_though_what_came_by_it_is_still_being_read() {
    let pair = Pair::new(&[Cable::queues(2)]).expect("two hosts");
    for shut_down in [true, false] {
        let mut first = End::open(&pair.left, &pair.left_ports[0], |_| {});
        if shut_down {
            first.link.shut_down(&mut first.pool);
        }
        let End { link, pool, .. } = first;
        drop(link);
        End::open(&pair.left, &pair.left_ports[0], |_| {}).close();
        drop(pool);
    }
}
