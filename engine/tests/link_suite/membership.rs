//! Cases: who hears what.

use std::net::IpAddr;

use pgmx::frame::To;
use pgmx::link::Channel;
use pgmx::wire::build::DataType;

use super::bench::{Bench, Fixture, Setup, group_like, open};
use super::delivery::introduce;
use super::packets::{DATA_PORT, SOURCE_PORT, data_on, every_type, number, odata, session};

/// An address that nobody has, of the family of another.
fn stranger(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::from([10, 113, 0, 77]),
        IpAddr::V6(_) => IpAddr::from([0xfd00, 0x113, 0, 0, 0, 0, 0, 77]),
    }
}

fn unattended() -> Setup {
    Setup { attended: false, ..Setup::default() }
}

/// A bench whose left end speaks and whose right end listens, and has joined the suite's own channel, to hear the marks.
fn half_attended(fixture: &Fixture) -> Bench {
    let mut bench = open(fixture, &unattended());
    if !bench.promises.loops {
        bench.left.attend(bench.group);
    }
    bench.right.attend(bench.group);
    bench
}

/// Which of these numbers get through when they are sent to a channel.
fn heard(bench: &mut Bench, group: IpAddr, data_port: u16, numbers: core::ops::Range<u32>) -> Vec<u32> {
    let session = session(SOURCE_PORT, data_port);
    for number in numbers {
        bench.left.push(&data_on(&session, DataType::Odata, number, 20), To::Group(group), false);
    }
    bench.until_mark().iter().map(|packet| number(&packet.octets)).collect()
}

pub fn only_who_joined_hears_a_group_and_only_until_it_leaves(fixture: &Fixture) {
    let mut bench = half_attended(fixture);
    let other = group_like(bench.group, 2);
    assert_eq!(heard(&mut bench, other, DATA_PORT, 0..3), []);
    for round in 0..2 {
        let first = 10 * round;
        bench.right.join(other, DATA_PORT, &[]);
        bench.right.join(other, DATA_PORT, &[]);
        assert_eq!(heard(&mut bench, other, DATA_PORT, first..first + 3), [first, first + 1, first + 2]);
        bench.right.leave(other, DATA_PORT);
        assert_eq!(heard(&mut bench, other, DATA_PORT, 50..53), [], "left once is left, however often it was joined");
        bench.right.leave(other, DATA_PORT);
    }
    bench.ends_conserved();
}

pub fn a_channel_is_a_group_and_a_port(fixture: &Fixture) {
    let mut bench = half_attended(fixture);
    let (group, elsewhere) = (bench.group, DATA_PORT + 1);
    assert_eq!(heard(&mut bench, group, elsewhere, 0..3), []);
    bench.right.join(group, elsewhere, &[]);
    assert_eq!(heard(&mut bench, group, elsewhere, 5..7), [5, 6]);
    bench.right.leave(group, elsewhere);
    assert_eq!(heard(&mut bench, group, elsewhere, 0..3), [], "and the other channel of the group is still heard");
    bench.ends_conserved();
}

pub fn a_port_is_heard_from_listen_to_unlisten(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    introduce(&mut bench);
    let host = bench.right.address();
    // The mark goes to the group and may overtake what goes to the host: another port of the host tells when all is there.
    let alone = |bench: &mut Bench, port: u16, numbers: core::ops::Range<u32>| -> Vec<u32> {
        for number in numbers {
            let packet = data_on(&session(SOURCE_PORT, port), DataType::Odata, number, 20);
            bench.left.push(&packet, To::Unicast(host), false);
        }
        bench.left.push(&odata(99, 20), To::Unicast(host), false);
        bench.until("the last", |bench| bench.right.arrived.back().is_some_and(|last| number(&last.octets) == 99));
        bench.right.arrived.pop_back();
        bench.right.arrived.drain(..).map(|packet| number(&packet.octets)).collect()
    };
    let port = DATA_PORT + 9;
    assert_eq!(alone(&mut bench, port, 0..3), []);
    bench.right.with(|end| end.link.listen(port)).expect("a port");
    bench.right.with(|end| end.link.listen(port)).expect("a port");
    assert_eq!(alone(&mut bench, port, 3..6), [3, 4, 5]);
    bench.right.with(|end| end.link.unlisten(port)).expect("a port");
    assert_eq!(alone(&mut bench, port, 6..9), []);
    bench.right.with(|end| end.link.unlisten(port)).expect("what is not listened to can be given up");
    bench.ends_conserved();
}

pub fn only_the_sources_named_are_heard(fixture: &Fixture) {
    let mut bench = half_attended(fixture);
    let (one, two) = (group_like(bench.group, 3), group_like(bench.group, 4));
    let (speaker, nobody) = (bench.left.address(), stranger(bench.group));
    bench.right.join(one, DATA_PORT, &[nobody, speaker]);
    bench.right.join(two, DATA_PORT, &[nobody]);
    assert_eq!(heard(&mut bench, one, DATA_PORT, 0..3), [0, 1, 2]);
    assert_eq!(heard(&mut bench, two, DATA_PORT, 3..6), []);
    bench.ends_conserved();
}

pub fn sources_can_be_named_and_forgotten_while_joined(fixture: &Fixture) {
    let mut bench = half_attended(fixture);
    let group = group_like(bench.group, 5);
    let speaker = bench.left.address();
    let nobody = stranger(bench.group);
    let steps: [(&[IpAddr], bool); 5] =
        [(&[], true), (&[nobody], false), (&[speaker], true), (&[nobody, speaker], true), (&[], true)];
    for (sources, wanted) in steps {
        bench.right.join(group, DATA_PORT, sources);
        let came = heard(&mut bench, group, DATA_PORT, 0..2);
        assert_eq!(came, if wanted { vec![0, 1] } else { vec![] }, "from {sources:?}");
    }
    bench.right.leave(group, DATA_PORT);
    assert_eq!(heard(&mut bench, group, DATA_PORT, 0..2), []);
    bench.ends_conserved();
}

pub fn sixteen_channels_are_told_apart(fixture: &Fixture) {
    let mut bench = half_attended(fixture);
    let groups: Vec<_> = (10..26).map(|n| group_like(bench.group, n)).collect();
    for &group in &groups {
        bench.right.join(group, DATA_PORT, &[]);
    }
    for (n, &group) in (0..).zip(&groups) {
        bench.left.push(&odata(n, 8), To::Group(group), false);
    }
    let came = bench.until_mark();
    assert!(
        came.iter().map(|packet| (number(&packet.octets), packet.to)).eq((0..).zip(groups.iter().copied())),
        "{came:?}"
    );
    for &group in &groups[1..] {
        bench.right.leave(group, DATA_PORT);
    }
    for (n, &group) in (0..).zip(&groups) {
        bench.left.push(&odata(n, 8), To::Group(group), false);
    }
    let came = bench.until_mark();
    assert_eq!(came.iter().map(|packet| packet.to).collect::<Vec<_>>(), [groups[0]], "one is left");
    let channel = |group| Channel { group, data_port: DATA_PORT };
    bench.right.with(|end| end.link.leave(channel(groups[0]))).expect("a group");
    // What receivers say to the group is heard on its channel, by the port that data goes to.
    let naks = every_type(bench.left.address(), bench.group);
    for (_, packet) in naks.iter().filter(|(name, _)| name.starts_with("NAK") || *name == "SPMR") {
        bench.left.push(packet, To::Neighbours(bench.group), false);
    }
    assert_eq!(bench.until_mark().len(), 3);
    bench.ends_conserved();
}
