//! The `xdp` link over a veth cable, against the real kernel. Needs root: `cargo test --test privileged_xdp -- --ignored`.
//!
//! Each test makes two hosts of its own. Nothing is paced by sleeping: a sender runs no further ahead of its receiver than the rings
//! hold, so that nothing may be lost; every wait has an end.

#![cfg(feature = "xdp")]

#[path = "support/netns.rs"]
#[allow(dead_code, unreachable_pub)]
// a module shared with the benchmarks, public there; not every user needs all of it
mod netns;

#[path = "privileged_xdp/end.rs"]
mod end;
#[path = "privileged_xdp/paths.rs"]
mod paths;
#[path = "privileged_xdp/state.rs"]
mod state;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netns::{Port, on_two_hosts};
use pgmx::frame::{
    Census, ClaimError, Frame, Outgoing, Pool, Reader, RxBatch, SlotLayout, To, TxBatch, Writer, window,
};
use pgmx::link::xdp::{Queues, SteeringError, Verdict, XdpConfig, XdpError, XdpLink};
use pgmx::link::{Channel, Link};
use pgmx::time::Time;
use pgmx::wire::build::{Content, DATA_HEADER_LEN, DataTemplate, DataType, Session};
use pgmx::wire::{Gsi, Kind, Limits, Sqn, Tsi, checksum, parse};

const GROUP: [u8; 4] = [239, 192, 0, 1];
const SOURCE_PORT: u16 = 7400;
const DATA_PORT: u16 = 7500;
const PATIENCE: Duration = Duration::from_secs(20);
const RING: u32 = 256;
const NOW: Time = Time::ZERO;

fn channel() -> Channel {
    Channel { group: GROUP.into(), data_port: DATA_PORT }
}

/// A link with all that a test does with it.
struct Host {
    link: XdpLink,
    pool: Pool,
    out: TxBatch,
    back: RxBatch,
    template: DataTemplate,
    deadline: Instant,
}

impl Host {
    fn open(port: &Port, change: impl FnOnce(&mut XdpConfig)) -> Self {
        let mut config = XdpConfig::new(&port.interface);
        config.frames = 8 * RING;
        config.ring = RING;
        config.tx_budget = 64;
        change(&mut config);
        let (mut link, pool) = XdpLink::open(&config).expect("an AF_XDP link on a veth cable");
        for port in [DATA_PORT, SOURCE_PORT] {
            link.listen(port).expect("a port");
        }
        let tsi = Tsi { gsi: Gsi::from_host_name("left"), port: SOURCE_PORT };
        Self {
            link,
            pool,
            out: TxBatch::new(64),
            back: RxBatch::new(64),
            template: DataTemplate::new(&Session { tsi, data_port: DATA_PORT }),
            deadline: Instant::now() + PATIENCE,
        }
    }

    fn receiver(port: &Port) -> Self {
        let mut host = Self::open(port, |_| {});
        host.link.join(channel(), &[]).expect("a group");
        host
    }

    fn window(&mut self, slots: u32) -> (Writer, Reader) {
        let front = self.pool.layout().start + self.link.path().front + DATA_HEADER_LEN as u16;
        let run = self.pool.take_run(slots).expect("frames enough");
        window(&self.pool, run, SlotLayout::plain(front, 1452))
    }

    /// Puts the slot at `position` into the batch as ODATA; false while it is in flight.
    fn lend(&mut self, reader: &mut Reader, position: u64) -> bool {
        let Some(mut frame) = reader.lend(&mut self.pool, position, DATA_HEADER_LEN as u16) else {
            return false;
        };
        self.head(&mut frame, position);
        self.out.push(Outgoing { frame, to: To::Group(GROUP.into()), router_alert: false });
        true
    }

    fn head(&self, frame: &mut Frame, position: u64) {
        let (head, payload) = self.pool.bytes_mut(frame).split_first_chunk_mut().expect("a header");
        let (sqn, len, sum) = (Sqn::new(position as u32), payload.len() as u16, checksum::sum(payload));
        self.template.plain(head, DataType::Odata, Content::Original, sqn, sqn, len, sum);
    }

    /// A loose packet of this payload.
    fn packet(&mut self, payload: &[u8], to: To, router_alert: bool) -> Outgoing {
        let path = self.link.path();
        let start = self.pool.layout().start + path.front + if router_alert { path.alert } else { 0 };
        let mut frame = self.pool.take().expect("a free frame");
        frame.set_range(start, (DATA_HEADER_LEN + payload.len()) as u16);
        self.pool.bytes_mut(&mut frame)[DATA_HEADER_LEN..].copy_from_slice(payload);
        self.head(&mut frame, 0);
        Outgoing { frame, to, router_alert }
    }

    fn send(&mut self) -> usize {
        self.link.send(NOW, &mut self.pool, &mut self.out).expect("a cable")
    }

    /// One turn of receiving: the SQN and payload of every packet that came, in order.
    fn receive(&mut self, mut each: impl FnMut(u64, &[u8])) {
        assert!(
            Instant::now() < self.deadline,
            "it took too long: {:?} {:?}",
            self.link.counters(),
            self.link.ring_statistics()
        );
        self.link.receive(NOW, &mut self.pool, &mut self.back).expect("a cable");
        while let Some(incoming) = self.back.pop() {
            let packet = self.pool.bytes(&incoming.frame);
            let header = parse(packet, &Limits::default()).expect("a packet of ours");
            let Kind::Odata(data) = header.kind else { panic!("{header:?}") };
            each(data.sqn.get().into(), header.payload(packet));
            self.pool.put(incoming.frame);
        }
    }

    /// Turns until a packet came; its payload.
    fn receive_one(&mut self) -> Vec<u8> {
        let mut came = None;
        while came.is_none() {
            self.receive(|_, payload| came = Some(payload.to_vec()));
        }
        came.unwrap_or_default()
    }

    fn close(mut self) -> Census {
        assert_eq!(self.link.ring_statistics().expect("open sockets").invalid, 0, "the kernel refused a descriptor");
        self.link.shut_down(&mut self.pool);
        self.pool.census()
    }
}

/// What the packet of this number carries: its length and octets follow from the number.
fn payload(position: u64) -> Vec<u8> {
    let len = (position * 7919) % 1453;
    (0..len).map(|n| (position.wrapping_mul(31) + n) as u8).collect()
}

#[test]
#[ignore = "needs root"]
fn a_hundred_thousand_packets_arrive_in_order_and_intact_and_every_frame_is_accounted_for() {
    const COUNT: u64 = 100_000;
    let (listening, arrived) = (AtomicBool::new(false), AtomicU64::new(0));
    let (left, right) = on_two_hosts(
        &[1],
        |ports| {
            let mut host = Host::open(&ports[0], |_| {});
            let (mut writer, mut reader) = host.window(256);
            let mut next = 0;
            while reader.trail() < COUNT {
                while writer.position() < COUNT {
                    let bytes = payload(writer.position());
                    match writer.claim(bytes.len()) {
                        Ok(mut claim) => {
                            claim.copy_from_slice(&bytes);
                            claim.commit();
                        }
                        Err(error) => {
                            assert_eq!(error, ClaimError::Full);
                            break;
                        }
                    }
                }
                let ahead = arrived.load(Ordering::Acquire) + u64::from(RING) / 2;
                let may_go = if listening.load(Ordering::Acquire) { reader.refresh().min(ahead) } else { 0 };
                while next < may_go && host.out.room() > 0 {
                    assert!(host.lend(&mut reader, next), "slot {next} is in flight before it was sent");
                    next += 1;
                }
                host.send();
                host.receive(|sqn, _| panic!("nobody sends to us, and {sqn} came"));
                reader.advance(&host.pool, next);
            }
            drop(writer);
            let run = reader.try_into_run(&host.pool).ok().expect("all came back");
            host.pool.put_run(run);
            host.close()
        },
        |ports| {
            let mut host = Host::receiver(&ports[0]);
            listening.store(true, Ordering::Release);
            let mut next = 0;
            while next < COUNT {
                host.receive(|sqn, bytes| {
                    assert_eq!(sqn, next);
                    assert_eq!(bytes, payload(sqn));
                    next += 1;
                });
                arrived.store(next, Ordering::Release);
            }
            assert_eq!(host.link.steered(Verdict::Steered).expect("a counter"), COUNT);
            host.close()
        },
    )
    .expect("two hosts");
    let frames = 8 * RING;
    assert_eq!(left, Census { total: frames, free: frames, out: 0, slots: 0, lent: 0, leased: 0 });
    assert_eq!(right, left);
}

#[test]
#[ignore = "needs root"]
fn a_slot_in_flight_waits_for_its_completion_and_only_then_serves_a_repair_or_a_claim() {
    const SLOTS: u64 = 64;
    let listening = AtomicBool::new(false);
    on_two_hosts(
        &[1],
        |ports| {
            // One packet a call where the kernel can be told so, 32 where not: either way most of a full window stays in the ring.
            let mut host = Host::open(&ports[0], |config| config.tx_budget = 1);
            let (mut writer, mut reader) = host.window(SLOTS as u32);
            for position in 0..SLOTS {
                let mut claim = writer.claim(8).expect("room");
                claim.copy_from_slice(&position.to_le_bytes());
                claim.commit();
            }
            reader.refresh();
            while !listening.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            for position in 0..SLOTS {
                assert!(host.lend(&mut reader, position));
            }
            assert_eq!(host.send(), SLOTS as usize);

            let waiting = host.link.in_flight();
            assert!(waiting >= 32, "{waiting} in flight");
            let last = SLOTS - 1;
            assert!(!host.lend(&mut reader, last), "a repair is deferred");
            assert!(reader.packet_mut(&host.pool, last, 0).is_none(), "its octets stay as they are");
            assert!(reader.advance(&host.pool, SLOTS) <= last, "the trail stops in front of it");
            assert_eq!(host.pool.census().lent, waiting);

            while host.link.in_flight() > 0 {
                host.receive(|_, _| {});
            }
            assert!(host.lend(&mut reader, last), "the repair that was deferred");
            host.send();
            while host.link.in_flight() > 0 {
                host.receive(|_, _| {});
            }
            assert_eq!(reader.advance(&host.pool, SLOTS), SLOTS);
            assert_eq!(writer.free(), SLOTS);
            assert_eq!(host.close().lent, 0);
        },
        |ports| {
            let mut host = Host::receiver(&ports[0]);
            listening.store(true, Ordering::Release);
            let mut came = Vec::new();
            while came.len() < SLOTS as usize + 1 {
                host.receive(|sqn, bytes| {
                    assert_eq!(bytes, sqn.to_le_bytes());
                    came.push(sqn);
                });
            }
            assert!(came[..SLOTS as usize].iter().copied().eq(0..SLOTS), "{came:?}");
            assert_eq!(came[SLOTS as usize], SLOTS - 1);
        },
    )
    .expect("two hosts");
}

#[test]
#[ignore = "needs root"]
fn a_link_that_shuts_down_with_full_rings_gets_every_frame_back() {
    on_two_hosts(
        &[1],
        |ports| {
            let mut host = Host::open(&ports[0], |config| config.tx_budget = 1);
            for _ in 0..3 {
                while host.out.room() > 0 {
                    let packet = host.packet(b"unheard", To::Group(GROUP.into()), false);
                    host.out.push(packet);
                }
                assert_eq!(host.send(), 64);
            }
            assert!(host.link.in_flight() > 64);
            let census = host.close();
            assert_eq!((census.free, census.out, census.lent), (census.total, 0, 0));
        },
        |_| {},
    )
    .expect("two hosts");
}

#[test]
#[ignore = "needs root"]
fn a_host_is_answered_by_unicast_once_it_was_heard_and_router_alert_changes_nothing_for_the_reader() {
    let listening = AtomicBool::new(false);
    on_two_hosts(
        &[1],
        |ports| {
            let mut host = Host::open(&ports[0], |_| {});
            while !listening.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let question = host.packet(b"who is there?", To::Neighbours(GROUP.into()), true);
            host.out.push(question);
            host.send();
            assert_eq!(host.receive_one(), b"I am");
        },
        |ports| {
            let mut host = Host::receiver(&ports[0]);
            let to = To::Unicast(ports[0].peer.into());
            listening.store(true, Ordering::Release);
            assert_eq!(host.receive_one(), b"who is there?");
            let answer = host.packet(b"I am", to, false);
            host.out.push(answer);
            host.send();
            while host.link.in_flight() > 0 {
                host.receive(|_, _| {});
            }
            assert_eq!(host.link.counters().by_kernel, 0);
        },
    )
    .expect("two hosts");
}

/// conformance 16
#[test]
#[ignore = "needs root"]
fn a_packet_that_would_need_fragments_is_dropped_and_counted_and_the_longest_other_one_arrives() {
    let listening = AtomicBool::new(false);
    on_two_hosts(
        &[1],
        |ports| {
            let mut host = Host::open(&ports[0], |_| {});
            while !listening.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            for (octets, router_alert) in [(1457, false), (1453, true), (1452, true)] {
                let packet = host.packet(&vec![7; octets], To::Group(GROUP.into()), router_alert);
                host.out.push(packet);
            }
            assert_eq!(host.send(), 3);
            assert_eq!((host.link.counters().too_long, host.link.counters().sent), (2, 1));
            while host.link.in_flight() > 0 {
                host.receive(|_, _| {});
            }
            assert_eq!(host.close().out, 0);
        },
        |ports| {
            let mut host = Host::receiver(&ports[0]);
            listening.store(true, Ordering::Release);
            assert_eq!(host.receive_one(), [7; 1452]);
        },
    )
    .expect("two hosts");
}

#[test]
#[ignore = "needs root"]
fn the_kernel_keeps_what_we_did_not_claim_and_knows_the_groups_we_did() {
    let listening = AtomicBool::new(false);
    on_two_hosts(
        &[1],
        |ports| {
            let mut host = Host::open(&ports[0], |_| {});
            while !listening.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let elsewhere = host.packet(b"another group", To::Group([239, 192, 0, 2].into()), false);
            host.out.push(elsewhere);
            host.send();
            let socket = UdpSocket::bind((ports[0].address, 0)).expect("a port");
            socket.send_to(b"over the kernel", (ports[0].peer, 9)).expect("a route");
            while host.link.in_flight() > 0 {
                host.receive(|_, _| {});
            }
        },
        |ports| {
            let mut host = Host::receiver(&ports[0]);
            let memberships = || std::fs::read_to_string("/proc/thread-self/net/igmp").expect("IPv4");
            // The kernel prints the octets of the group as one little-endian number.
            assert!(memberships().contains("0100C0EF"), "{}", memberships());
            let socket = UdpSocket::bind((ports[0].address, 9)).expect("a port");
            socket.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
            listening.store(true, Ordering::Release);
            let mut buffer = [0; 64];
            let (len, _) = socket.recv_from(&mut buffer).expect("what the kernel delivers as ever");
            assert_eq!(&buffer[..len], b"over the kernel");
            assert_eq!(host.link.steered(Verdict::Unclaimed).expect("a counter"), 1);
            assert_eq!(host.link.steered(Verdict::Steered).expect("a counter"), 0);
            host.receive(|sqn, _| panic!("not ours, and {sqn} came"));
            host.link.leave(channel()).expect("a group");
            assert!(!memberships().contains("0100C0EF"), "{}", memberships());
        },
    )
    .expect("two hosts");
}

#[test]
#[ignore = "needs root"]
fn a_second_program_is_refused_by_the_name_of_the_first_and_the_interface_is_free_again_afterwards() {
    on_two_hosts(
        &[1],
        |ports| {
            let first = Host::open(&ports[0], |_| {});
            let refusal = XdpLink::open(&XdpConfig::new(&ports[0].interface)).err();
            let Some(XdpError::Steering(SteeringError::Occupied { interface, owner })) = refusal else {
                panic!("{refusal:?}");
            };
            assert_eq!((interface.as_str(), owner.name.as_deref()), (ports[0].interface.as_str(), Some("steer")));
            assert_eq!(owner.pid, Some(std::process::id()));
            drop(first);
            let again = Host::open(&ports[0], |_| {});
            assert_eq!(again.close().out, 0);
        },
        |_| {},
    )
    .expect("two hosts");
}

#[test]
#[ignore = "needs root"]
fn all_queues_of_an_interface_share_one_memory() {
    let listening = AtomicBool::new(false);
    on_two_hosts(
        &[2],
        |ports| {
            let mut host = Host::open(&ports[0], |_| {});
            assert_eq!(host.link.taken().queues, 2);
            while !listening.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let packet = host.packet(b"one of two", To::Group(GROUP.into()), false);
            host.out.push(packet);
            host.send();
            while host.link.in_flight() > 0 {
                host.receive(|_, _| {});
            }
            assert_eq!(host.close().out, 0);
        },
        |ports| {
            let mut host = Host::receiver(&ports[0]);
            assert_eq!(host.link.taken().queues, 2);
            listening.store(true, Ordering::Release);
            assert_eq!(host.receive_one(), b"one of two");
            let census = host.close();
            assert_eq!((census.free, census.out), (census.total, 0));
        },
    )
    .expect("two hosts");
}

#[test]
#[ignore = "needs root"]
fn a_value_that_cannot_work_is_refused_by_name_with_what_is_possible() {
    let refused = |change: fn(&mut XdpConfig)| {
        on_two_hosts(
            &[1],
            |ports| {
                let mut config = XdpConfig::new(&ports[0].interface);
                change(&mut config);
                XdpLink::open(&config).map(|_| ()).expect_err("a value that cannot work").to_string()
            },
            |_| {},
        )
        .expect("two hosts")
        .0
    };
    assert_eq!(refused(|config| config.ring = 1000), "ring = 1000 refused: allowed is a power of two from 64 to 32768");
    assert_eq!(
        refused(|config| config.queues = Queues::Some(vec![7])),
        "queues = 7 refused: allowed is 0 to 0 on left0"
    );
    let few = refused(|config| config.frames = 100);
    assert_eq!(few, "frames = 100 refused: allowed is 6144 (twice the fill rings of 1 queues, and a ring) to 16777216");
    let nowhere = refused(|config| config.interface = "nowhere0".into());
    assert_eq!(nowhere, "no interface `nowhere0` here; there are: left0, lo");
}

#[test]
#[ignore = "needs root"]
fn hosts_leave_nothing_behind_even_when_a_test_panics() {
    let namespace = || std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
    let ours = namespace();
    let theirs = std::sync::Mutex::new(Vec::new());
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        on_two_hosts(
            &[1],
            |ports| {
                let _host = Host::open(&ports[0], |_| {});
                theirs.lock().expect("nobody panicked yet").push(namespace());
                std::panic::resume_unwind(Box::new("on purpose"));
            },
            |_| theirs.lock().expect("nobody panics with it").push(namespace()),
        )
    }));
    assert!(ended.is_err());
    let theirs = theirs.into_inner().expect("nobody panicked with it");
    assert!(theirs.len() == 2 && !theirs.contains(&ours), "{theirs:?} {ours:?}");
    let threads = std::fs::read_dir("/proc/self/task").expect("our threads");
    let alive = threads.flatten().filter_map(|thread| std::fs::read_link(thread.path().join("ns/net")).ok());
    assert!(alive.into_iter().all(|namespace| !theirs.contains(&namespace)), "a thread still lives there");
}
