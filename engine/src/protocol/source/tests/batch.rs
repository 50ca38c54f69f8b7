//! Sessions that batch: what leaves together, and when.

use super::*;
use crate::frame::ClaimError;
use crate::wire::Records;

fn batching(profile: Profile) -> SourceConfig {
    let mut config = config(profile);
    config.batch = true;
    config
}

impl Sent {
    /// The messages in a data packet that is no fragment.
    fn messages(&self) -> Vec<&[u8]> {
        assert!(self.header.options.records(), "a packet of a session that batches");
        let mut records = Records::new(self.payload());
        let messages = records.by_ref().collect();
        assert!(!records.is_cut());
        messages
    }
}

/// The data packets that left since the last call.
fn data(bench: &mut Bench) -> Vec<Sent> {
    bench.take().into_iter().filter(|sent| sent.odata().is_some()).collect()
}

#[test]
fn what_was_committed_before_the_source_is_asked_leaves_together_and_what_comes_after_at_once() {
    let mut bench = Bench::opened(&batching(Profile::Lan));
    for message in [&b"one"[..], b"", b"three"] {
        assert_eq!(bench.publisher.publish(message), Ok(Sqn::new(1000)));
    }
    bench.flush();
    bench.publisher.publish(b"four").expect("room");
    assert_eq!(bench.publisher.next_sqn(), Sqn::new(1002));
    bench.flush();
    let sent = data(&mut bench);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].messages(), [&b"one"[..], b"", b"three"]);
    assert_eq!(sent[1].messages(), [b"four"]);
    assert!(sent.iter().all(|sent| !sent.router_alert && sent.header.payload_start == 32));
}

#[test]
fn a_session_that_does_not_batch_never_says_that_it_does() {
    let mut bench = Bench::opened(&config(Profile::Lan));
    bench.publish(10);
    assert!(bench.sent.iter().all(|sent| !sent.header.options.records()));
}

/// RFC 3208 §8.2, conformance 38, 56
#[test]
fn a_repair_is_the_same_batch_with_and_without_router_alert() {
    for profile in [Profile::LowLatency, Profile::Lan] {
        let mut bench = Bench::opened(&batching(profile));
        for n in 0..30_u8 {
            bench.publisher.publish(&vec![n; usize::from(n)]).expect("room");
        }
        bench.flush();
        // A slot that left takes nothing more, whatever is asked of it.
        bench.nak(&[1000]);
        bench.publisher.publish(b"later").expect("room");
        bench.flush();
        let original = bench.sent.iter().find(|sent| sent.odata().is_some()).expect("it left");
        let repair = bench.sent.iter().find(|sent| sent.rdata().is_some()).expect("it was asked for");
        assert_eq!(repair.rdata().expect("a repair").sqn, Sqn::new(1000));
        assert_eq!(repair.messages(), original.messages());
        assert_eq!(original.messages().len(), 30);
        assert_eq!(repair.router_alert, profile == Profile::Lan);
    }
}

/// RFC 3208 §9.2.2, conformance 16, 39, 40
#[test]
fn what_fits_no_record_leaves_as_fragments_which_are_no_batches() {
    let mut bench = Bench::opened(&batching(Profile::Lan));
    let longest = bench.publisher.claim_max();
    assert_eq!(longest, 1452 - 8 - 2);
    bench.publisher.publish(b"before").expect("room");
    for len in [longest, longest + 1] {
        bench.publisher.publish(&vec![7; len]).expect("room");
    }
    bench.publisher.publish(b"behind").expect("room");
    bench.flush();
    let sent = data(&mut bench);
    assert_eq!(sent.len(), 5);
    assert_eq!(sent[0].messages(), [b"before"]);
    assert_eq!(sent[1].messages(), [vec![7; longest]]);
    for fragment in &sent[2..4] {
        let options = fragment.header.options;
        assert!(!options.records());
        assert_eq!(options.fragment(&fragment.bytes).expect("a fragment").apdu_len as usize, longest + 1);
    }
    assert_eq!(sent[4].messages(), [b"behind"]);
    bench.nak(&[1003, 1004]);
    bench.flush();
    let repairs: Vec<_> = bench.sent.iter().filter(|sent| sent.rdata().is_some()).collect();
    assert!(!repairs[0].header.options.records());
    assert_eq!(repairs[1].messages(), [b"behind"]);
}

/// RFC 3208 §9.6.2, conformance 41
#[test]
fn the_first_packet_carries_syn_beside_its_batch() {
    let mut config = batching(Profile::LowLatency);
    config.syn = true;
    let mut bench = Bench::opened(&config);
    let longest = bench.publisher.claim_max();
    bench.publisher.publish(&vec![1; longest]).expect("room");
    assert_eq!(bench.publisher.claim_max(), longest + 4);
    bench.publisher.publish(b"second").expect("room");
    bench.nak(&[1000]);
    bench.flush();
    bench.nak(&[1000, 1001]);
    bench.flush();
    let sent = bench.take();
    let data: Vec<_> = sent.iter().filter(|sent| sent.header.options.records()).collect();
    assert_eq!(data.iter().map(|sent| sent.header.options.syn()).collect::<Vec<_>>(), [true, false, true, false]);
    assert!(data.iter().all(|sent| sent.messages().len() == 1));
}

/// RFC 3208 §5.1.2, conformance 32
#[test]
fn a_batch_grows_while_the_rate_keeps_it_and_every_octet_of_it_counts() {
    let mut config = batching(Profile::LowLatency);
    // One packet at a time.
    config.rate = Rate::OctetsPerSecond(1_500_000);
    config.burst = Burst::Packets(1);
    let mut bench = Bench::opened(&config);
    bench.run(ms(10));
    let began = bench.now;
    let full = vec![1; bench.publisher.claim_max()];
    bench.publisher.publish(&full).expect("room");
    bench.flush();
    assert_eq!(data(&mut bench).len(), 1, "the bucket is empty now");
    for n in 0..20_u8 {
        bench.publisher.publish(&[n; 10]).expect("room");
        bench.flush();
    }
    assert_eq!(data(&mut bench).len(), 0);
    bench.run(ms(10));
    let sent = data(&mut bench);
    assert_eq!(sent.len(), 1, "it was not sealed before it could leave");
    assert_eq!(sent[0].messages(), (0..20_u8).map(|n| [n; 10]).collect::<Vec<_>>());
    // What was left in the bucket, and what flowed in since, pays for all of the batch.
    let missing = 1496 + sent[0].octets() - 1500;
    assert!(sent[0].at.since(began) >= missing * 1_000_000_000 / 1_500_000);
    let stats = bench.source.stats();
    assert_eq!((stats.odata, stats.odata_octets), (2, 1496 + sent[0].octets()));
    assert_eq!(stats.odata_payload, 1444 + 20 * 12);
}

#[test]
fn a_window_full_of_batches_pushes_back_and_goes_on_when_its_trail_moves() {
    let mut bench = Bench::opened(&batching(Profile::LowLatency));
    let mut published = 0_u32;
    let mut refused = 0;
    let mut heard: Vec<u32> = Vec::new();
    while published < 50_000 {
        match bench.publisher.publish(&[published.to_be_bytes(); 20].concat()) {
            Ok(_) => published += 1,
            Err(error) => {
                assert_eq!(error, ClaimError::Full);
                refused += 1;
                bench.run(us(50));
                for sent in data(&mut bench) {
                    heard.extend(
                        sent.messages()
                            .iter()
                            .map(|message| u32::from_be_bytes(*message.first_chunk().expect("four octets"))),
                    );
                }
            }
        }
    }
    bench.flush();
    for sent in data(&mut bench) {
        heard.extend(
            sent.messages().iter().map(|message| u32::from_be_bytes(*message.first_chunk().expect("four octets"))),
        );
    }
    assert!(refused > 10);
    assert_eq!(heard, (0..50_000).collect::<Vec<_>>());
}
