//! Cases: how many system calls a link makes, by its own counters; `strace` proves the counters elsewhere.

use pgmx::frame::To;

use super::bench::{Fixture, Setup, open};
use super::packets::odata;

pub fn a_full_batch_costs_a_fraction_of_a_call_for_each_packet(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    let packets_a_call = bench.promises.packets_a_call;
    let before = bench.left.link.tally();
    let count = 50 * 64;
    for first in (0..count).step_by(64) {
        for number in first..first + 64 {
            bench.left.push(&odata(number, 64), To::Group(bench.group), false);
        }
        bench.until("a batch to come", |bench| bench.right.arrived.len() >= first as usize + 64);
    }
    let after = bench.left.link.tally();
    assert_eq!(after.sent - before.sent, u64::from(count));
    let calls = after.send_calls - before.send_calls;
    let most = u64::from(count) / packets_a_call;
    assert!((1..=most).contains(&calls), "{calls} calls for {count} packets, not more than {most} were promised");
    bench.ends_conserved();
}

pub fn an_idle_poll_makes_no_more_calls_than_promised(fixture: &Fixture) {
    let mut bench = open(fixture, &Setup::default());
    bench.left.push(&odata(1, 64), To::Group(bench.group), false);
    bench.until_mark();
    // What was sent is acknowledged, and nothing comes any more.
    for _ in 0..10 {
        bench.left.receive_into_batch();
        bench.right.receive_into_batch();
    }
    let before = [bench.left.link.tally(), bench.right.link.tally()];
    for _ in 0..1000 {
        bench.left.send();
        assert_eq!(bench.left.receive_into_batch() + bench.right.receive_into_batch(), 0);
    }
    for (before, after) in before.iter().zip([bench.left.link.tally(), bench.right.link.tally()]) {
        assert_eq!(after.send_calls, before.send_calls, "nothing was to be sent");
        let calls = after.receive_calls - before.receive_calls;
        assert!(calls <= 1000 * bench.promises.idle_calls, "{calls} calls in 1000 idle turns");
    }
    bench.ends_conserved();
}
