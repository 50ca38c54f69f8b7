//! The framing against golden octets, against itself at every cut, and against whatever a network may bring.

use core::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame::{Layout, PathFacts, Pool};
use crate::protocol::source::{Source, SourceConfig};
use crate::protocol::{End, Event, LossCause};
use crate::time::Time;
use crate::wire::{Gsi, Sqn, Tsi};

/// A message, as its parts.
type Parts = Vec<Vec<u8>>;

/// The stream of these messages, in TSDUs of these rooms, over and over.
fn encode(messages: &[Parts], rooms: &[usize]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new();
    let mut rooms = rooms.iter().cycle();
    let mut parts =
        messages.iter().flat_map(|parts| parts.iter().enumerate().map(|(n, part)| (part, n + 1 < parts.len())));
    let mut next = parts.next();
    let mut tsdus = Vec::new();
    while next.is_some() {
        let mut room = vec![0xAA; *rooms.next().expect("they never end")];
        let mut tsdu = encoder.tsdu(&mut room);
        while let Some((part, more)) = next
            && tsdu.part(part, more)
        {
            next = parts.next();
        }
        let len = tsdu.finish();
        room.truncate(len);
        tsdus.push(room);
    }
    assert!(!encoder.is_midway());
    tsdus
}

fn decode(decoder: &mut Decoder, tsdu: &[u8], into: &mut Vec<Parts>) -> Result<(), Fault> {
    decoder.take(tsdu, |message| {
        let parts: Vec<Part<'_>> = message.parts().collect();
        assert_eq!(parts.len(), message.parts().len());
        assert_eq!(parts.iter().map(|part| part.octets.len()).sum::<usize>(), message.len());
        assert_eq!(
            parts.iter().rposition(|part| !part.more),
            Some(parts.len() - 1),
            "the last part, and no other, is the last"
        );
        assert_eq!(message.as_slice().is_some(), parts.len() == 1);
        assert_eq!(message.first(), parts[0].octets);
        into.push(parts.iter().map(|part| part.octets.to_vec()).collect());
    })
}

fn decode_all(tsdus: &[Vec<u8>]) -> Vec<Parts> {
    let mut decoder = Decoder::new();
    let mut heard = Vec::new();
    for tsdu in tsdus {
        decode(&mut decoder, tsdu, &mut heard).expect("our own");
    }
    heard
}

#[test]
fn the_longest_tsdu_fits_what_zeromq_takes_in_with_all_options_and_headers() {
    let [four, six] = [IpAddr::from([239, 192, 0, 1]), IpAddr::from([0xFF15, 0, 0, 0, 0, 0, 0, 1])];
    // Native, its repairs with a router alert where there is one; and in UDP.
    for (group, ip_header, alert) in [(four, 20, 4), (four, 28, 0), (six, 40, 0), (six, 48, 0)] {
        let mut config = SourceConfig::new(group, 7500);
        (config.window_slots, config.syn, config.late_join_percent) = (64, true, Some(100));
        let nla = if group.is_ipv4() { [10, 0, 0, 1].into() } else { [0xFD77, 0, 0, 0, 0, 0, 0, 1].into() };
        let path = PathFacts { nla, mtu: 1700, front: 14 + ip_header, alert, ip_header };
        let mut pool = Pool::anonymous(Layout::standard(128)).expect("a small mapping");
        let (_source, publisher) =
            Source::new(&config, path, tsi(1), &mut pool, Time::ZERO, 7).expect("a source of a longer path");
        let around = usize::from(path.mtu) - publisher.claim_max();
        assert!(around + tsdu_max(group) <= 1500, "{group} {ip_header}: {around} octets around it");
    }
}

/// One of a kind: of this many octets that follow from `n`.
fn octets(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (n * 31 + at) as u8).collect()
}

#[test]
fn golden_octets_of_short_and_multipart_messages() {
    let messages = [vec![b"abc".to_vec()], vec![b"topic".to_vec(), Vec::new(), b"x".to_vec()], vec![Vec::new()]];
    let golden = b"\x00\x00\x04\x00abc\x06\x01topic\x01\x01\x02\x00x\x01\x00";
    assert_eq!(encode(&messages, &[100]), [golden]);
    assert_eq!(decode_all(&[golden.to_vec()]), messages);
}

#[test]
fn golden_octets_where_the_long_form_begins() {
    for (len, head) in [
        (253, &[0xFE, 0][..]),
        (254, &[0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0]),
        (255, &[0xFF, 0, 0, 0, 0, 0, 0, 1, 0, 0]),
        (70_000, &[0xFF, 0, 0, 0, 0, 0, 1, 0x11, 0x71, 0]),
    ] {
        let message = vec![octets(1, len)];
        let tsdus = encode(std::slice::from_ref(&message), &[40_000]);
        assert_eq!(&tsdus[0][..2 + head.len()], [&[0, 0], head].concat());
        assert_eq!(tsdus.iter().map(|tsdu| tsdu.len() - 2).sum::<usize>(), head.len() + len);
        assert_eq!(decode_all(&tsdus), [message]);
    }
}

#[test]
fn golden_offsets_lead_to_the_first_message_and_not_to_parts() {
    // Frames of 7, 7 and 4 octets; the first two are one message.
    let messages = [vec![b"aaaaa".to_vec(), b"bbbbb".to_vec()], vec![b"cc".to_vec()]];
    let tsdus = encode(&messages, &[2 + 6]);
    assert_eq!(tsdus, [&b"\x00\x00\x06\x01aaaa"[..], b"\xFF\xFFa\x06\x00bbb", b"\x00\x02bb\x03\x00cc"]);
    // A part that begins a TSDU begins no message; a message that ends with its TSDU leaves the offset to the next.
    let tsdus = encode(&messages, &[2 + 7]);
    assert_eq!(tsdus, [&b"\x00\x00\x06\x01aaaaa"[..], b"\xFF\xFF\x06\x00bbbbb", b"\x00\x00\x03\x00cc"]);
}

#[test]
fn every_cut_of_a_stream_gives_the_same_messages() {
    let messages = [
        vec![b"a".to_vec()],
        vec![b"bc".to_vec(), Vec::new()],
        vec![octets(2, 260)],
        vec![b"d".to_vec()],
        vec![vec![]],
    ];
    for first in 1..300 {
        for others in [1, 2, 3, 7, 100, 300] {
            let tsdus = encode(&messages, &[2 + first, 2 + others]);
            assert!(tsdus.iter().all(|tsdu| tsdu.len() > 2));
            assert_eq!(decode_all(&tsdus), messages, "{first} {others}");
        }
    }
}

#[test]
fn whoever_joins_at_any_tsdu_hears_all_messages_that_begin_from_there_on() {
    let messages: Vec<Parts> = (0..40).map(|n| vec![vec![n as u8], octets(n, n * n % 50)]).collect();
    for room in [3, 5, 9, 40, 200] {
        let tsdus = encode(&messages, &[room]);
        for joins_at in 0..tsdus.len() {
            let heard = decode_all(&tsdus[joins_at..]);
            let begins = heard.first().map_or(messages.len(), |parts| usize::from(parts[0][0]));
            assert_eq!(heard, messages[begins..], "each message behind the first one that is heard");
            // As many as there are octets of frames behind: none that begins there is left out.
            let from: usize = tsdus[..joins_at].iter().map(|tsdu| tsdu.len() - 2).sum();
            let starts = messages.iter().scan(0, |at, parts| {
                let start = *at;
                *at += parts.iter().map(|part| 2 + part.len()).sum::<usize>();
                Some(start)
            });
            assert_eq!(heard.len(), starts.filter(|start| *start >= from).count());
        }
    }
}

#[test]
fn a_peer_may_let_the_offset_lead_to_the_end_of_a_tsdu() {
    // A sender that finds nothing more to send leaves the place where the next message would have begun.
    let tsdus = [&b"\x00\x00\x06\x00ab"[..], b"\x00\x03cde", b"\x00\x00\x02\x00f"];
    assert_eq!(decode_all(&tsdus.map(<[u8]>::to_vec)), [[b"abcde".to_vec()], [b"f".to_vec()]]);
    // Who joins at that place hears the next message.
    assert_eq!(decode_all(&tsdus[1..].iter().map(|tsdu| tsdu.to_vec()).collect::<Vec<_>>()), [[b"f".to_vec()]]);
}

#[test]
fn what_is_wrong_is_counted_and_the_stream_joined_again() {
    type Count = fn(&DecoderStats) -> u64;
    let cases: [(&[u8], Fault, Count); 9] = [
        (b"", Fault::Short, |stats| stats.short),
        (b"\x00", Fault::Short, |stats| stats.short),
        (b"\x00\x03ab", Fault::Offset, |stats| stats.offset),
        (b"\x00\x00\x00\x00ab", Fault::Length, |stats| stats.length),
        (b"\x00\x00\x00", Fault::Length, |stats| stats.length),
        (b"\x00\x00\xFF\x00\x00\x00\x00\x00\x00\x00\x00\x00", Fault::Length, |stats| stats.length),
        (b"\x00\x00\x02\x02a", Fault::Flags, |stats| stats.flags),
        (b"\x00\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x00", Fault::TooLong, |stats| stats.too_long),
        (b"\x00\x00\xFF\x00\x00\x00\x00\x00\x00\x04\x02\x00", Fault::TooLong, |stats| stats.too_long),
    ];
    for (wrong, fault, count) in cases {
        let mut decoder = Decoder::with_message_max(1024);
        let mut heard = Vec::new();
        for (tsdu, outcome) in [
            (&b"\x00\x00\x02\x00a"[..], Ok(())),
            (wrong, Err(fault)),
            (b"\xFF\xFFrest of it", Ok(())),
            (b"\x00\x02it\x02\x00b", Ok(())),
        ] {
            assert_eq!(decode(&mut decoder, tsdu, &mut heard), outcome, "{tsdu:?}");
        }
        assert_eq!(heard, [[b"a"], [b"b"]], "{fault}");
        assert_eq!((count(decoder.stats()), decoder.stats().faults(), decoder.stats().skipped), (1, 1, 1), "{fault}");
    }
}

#[test]
fn offsets_that_contradict_the_lengths_cost_the_message_and_not_the_next() {
    // "abc" is under way, of which "c" is missing.
    for (next, heard_then) in [
        // Says that it ends later, earlier, or does not end though it does.
        (&b"\x00\x02cx\x02\x00n"[..], &[[b"n"]][..]),
        (b"\x00\x00\x02\x00n", &[[b"n"]]),
        (b"\xFF\xFFcx", &[]),
    ] {
        let mut decoder = Decoder::new();
        let mut heard = Vec::new();
        assert_eq!(decode(&mut decoder, b"\x00\x00\x04\x00ab", &mut heard), Ok(()));
        assert_eq!(decode(&mut decoder, next, &mut heard), Err(Fault::Offset), "{next:?}");
        assert_eq!(heard, heard_then, "{next:?}");
        assert_eq!(decoder.stats().offset, 1);
    }
    // Between two messages there is nothing that an offset could pass over.
    for next in [&b"\x00\x01x\x02\x00n"[..], b"\xFF\xFFx"] {
        let mut decoder = Decoder::new();
        let mut heard = Vec::new();
        assert_eq!(decode(&mut decoder, b"\x00\x00\x02\x00a", &mut heard), Ok(()));
        assert_eq!(decode(&mut decoder, next, &mut heard), Err(Fault::Offset), "{next:?}");
        assert_eq!(heard.len(), 1 + usize::from(next.contains(&b'n')));
    }
}

#[test]
fn a_message_under_way_takes_memory_for_what_came_and_not_for_what_was_announced() {
    let mut decoder = Decoder::new();
    let mut heard = Vec::new();
    // 16 MiB are announced, and 6 octets come.
    assert_eq!(decode(&mut decoder, b"\x00\x00\xFF\0\0\0\0\x01\0\0\0\x00abcdef", &mut heard), Ok(()));
    assert!((1..100).contains(&decoder.memory()), "{}", decoder.memory());
    decoder.on_loss();
    assert_eq!((decoder.memory(), decoder.is_joined()), (0, false));
}

#[test]
fn a_multipart_message_without_end_is_given_up_at_the_limit() {
    let mut decoder = Decoder::with_message_max(10_000);
    let mut heard = Vec::new();
    assert_eq!(decode(&mut decoder, b"\x00\x00\x01\x01", &mut heard), Ok(()));
    let endless = [&b"\xFF\xFF"[..], &b"\x01\x01".repeat(700)].concat();
    let outcomes: Vec<_> = (0..20).map(|_| decode(&mut decoder, &endless, &mut heard)).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(Fault::TooLong)).count(), 1);
    assert!(decoder.memory() <= 10_000 && heard.is_empty() && !decoder.is_joined());
}

#[test]
fn a_tsdu_that_is_not_finished_was_never_begun() {
    let mut encoder = Encoder::new();
    let mut room = [0; 10];
    let mut tsdu = encoder.tsdu(&mut room);
    assert!(!tsdu.part(b"too long for this", false) && tsdu.is_full());
    drop(tsdu);
    assert!(!encoder.is_midway());
    assert_eq!(encoder.tsdu(&mut room).finish(), 0, "nothing is no TSDU");
    let mut tsdu = encoder.tsdu(&mut room);
    assert!(tsdu.part(b"short", false));
    assert_eq!(tsdu.finish(), 9);
    assert_eq!(room[..9], *b"\x00\x00\x06\x00short");
}

#[test]
#[should_panic(expected = "another part is under way")]
fn a_part_that_was_cut_is_not_continued_by_another() {
    let mut encoder = Encoder::new();
    let mut room = [0; 10];
    let mut tsdu = encoder.tsdu(&mut room);
    assert!(!tsdu.part(b"too long for this", false));
    tsdu.finish();
    encoder.tsdu(&mut room).part(b"another", false);
}

#[test]
fn the_longest_tsdu_has_room_for_an_offset_that_says_where_not_that_there_is_none() {
    let mut encoder = Encoder::new();
    let mut room = vec![0; 1 << 17];
    let mut tsdu = encoder.tsdu(&mut room);
    assert!(!tsdu.part(&vec![1; 1 << 17], false) && tsdu.is_full());
    assert_eq!(tsdu.finish(), 0xFFFF);
    let left = 10 + (1 << 17) - 0xFFFD;
    let mut tsdu = encoder.tsdu(&mut room);
    assert!(!tsdu.part(&vec![1; 1 << 17], false));
    let len = tsdu.finish();
    assert_eq!((len, &room[..2]), (0xFFFF, &[0xFF, 0xFF][..]));
    let mut tsdu = encoder.tsdu(&mut room);
    assert!(tsdu.part(&vec![1; 1 << 17], false) && tsdu.part(b"next", false));
    let len = tsdu.finish();
    assert_eq!((len, &room[..2]), (2 + left - 0xFFFD + 6, &((left - 0xFFFD) as u16).to_be_bytes()[..]));
}

fn tsi(port: u16) -> Tsi {
    Tsi::new(Gsi::from_host_name("zmq.example.com"), port)
}

#[test]
fn sessions_do_not_disturb_each_other_and_leave_nothing_behind() {
    let mut decoders = Decoders::default();
    let mut heard = Vec::new();
    let mut take = |decoders: &mut Decoders, port, tsdu: &[u8]| {
        decoders.take(tsi(port), tsdu, |message| heard.push((port, message.to_vec())))
    };
    for (port, tsdu) in
        [(1, &b"\x00\x00\x04\x00a"[..]), (2, b"\x00\x00\x03\x00x"), (1, b"\xFF\xFFb"), (2, b"\xFF\xFFy")]
    {
        assert_eq!(take(&mut decoders, port, tsdu), Ok(()));
    }
    assert!(decoders.memory() > 0);
    let (first, last) = (Sqn::new(2), Sqn::new(2));
    decoders.on_event(&Event::Loss { tsi: tsi(1), first, last, cause: LossCause::NoRepair });
    assert_eq!(take(&mut decoders, 1, b"\xFF\xFFc"), Ok(()), "passed over");
    assert_eq!(take(&mut decoders, 1, b"\x00\x00\x02\x00d"), Ok(()));
    assert_eq!(take(&mut decoders, 3, b"\x00\x00\x04\x00z"), Ok(()));
    assert!(decoders.memory() > 0);
    decoders.on_event(&Event::Closed { tsi: tsi(3), end: End::Expired });
    assert_eq!(take(&mut decoders, 3, b"\xFF\xFFzz"), Ok(()), "another session, not joined yet");
    assert_eq!((decoders.memory(), decoders.stats().messages, decoders.stats().skipped), (0, 2, 2));
    assert_eq!(heard, [(2, b"xy".to_vec()), (1, b"d".to_vec())]);
}

/// The beginning of a message of 90,000 octets, and its second TSDU or any behind that.
fn unfinished() -> (Vec<u8>, Vec<u8>) {
    let begin = [&b"\x00\x00\xFF\0\0\0\0\0\x01\x5F\x91\x00"[..], &[7; 10_000]].concat();
    (begin, [&b"\xFF\xFF"[..], &[7; 10_000]].concat())
}

#[test]
fn all_sessions_together_keep_to_the_memory_that_was_agreed() {
    let mut decoders = Decoders::new(100_000, 300_000);
    let (begin, more) = unfinished();
    for port in 1..=100 {
        let _ = decoders.take(tsi(port), &begin, |_| unreachable!("none is whole"));
        for _ in 0..7 {
            let _ = decoders.take(tsi(port), &more, |_| unreachable!("none is whole"));
        }
        assert!(decoders.memory() <= 300_000);
    }
    assert!(decoders.stats().too_long >= 96, "{:?}", decoders.stats());
    // Whose message has its place already hears it to the end.
    let mut heard = 0;
    let end = [&b"\x27\x10"[..], &[7; 10_000], b"\x02\x00n"].concat();
    let _ = decoders.take(tsi(1), &end, |message| heard += message.len());
    assert_eq!(heard, 90_000 + 1);
}

#[test]
fn whoever_leaves_long_messages_unfinished_keeps_nobody_from_short_ones() {
    let mut decoders = Decoders::new(100_000, 300_000);
    let (begin, more) = unfinished();
    for port in 1..=4 {
        let _ = decoders.take(tsi(port), &begin, |_| unreachable!("none is whole"));
        for _ in 0..7 {
            let _ = decoders.take(tsi(port), &more, |_| unreachable!("none is whole"));
        }
    }
    let taken = decoders.memory();
    assert!(taken > 200_000, "{taken}");
    let mut heard = Vec::new();
    for port in 5..=9 {
        let message = octets(port.into(), 60_000);
        for tsdu in encode(&[vec![message.clone()]], &[1444]) {
            assert_eq!(decoders.take(tsi(port), &tsdu, |message| heard.push(message.to_vec())), Ok(()));
        }
        assert_eq!(heard.pop(), Some(message));
        assert!(decoders.memory() <= 300_000 + (64 << 10));
    }
    assert_eq!((decoders.memory(), decoders.stats().messages), (taken, 5));
}

fn any_messages() -> impl Strategy<Value = Vec<Parts>> {
    let len = prop_oneof![4 => 0..20_usize, 2 => 240..270_usize, 1 => 1000..4000_usize];
    let part = (any::<u8>(), len).prop_map(|(n, len)| octets(n.into(), len));
    vec(prop_oneof![3 => vec(part.clone(), 1), 1 => vec(part, 1..5)], 1..40)
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in(messages in any_messages(), rooms in vec(3..1500_usize, 1..10)) {
        prop_assert_eq!(decode_all(&encode(&messages, &rooms)), messages);
    }

    /// Numbered, so that each is known wherever it is heard: exactly those come of which no TSDU was lost.
    #[test]
    fn what_is_lost_costs_the_messages_in_it_and_no_other(
        lens in vec(0..600_usize, 1..60), rooms in vec(3..400_usize, 1..6), lost in vec(any::<bool>(), 1..50),
    ) {
        let messages: Vec<Parts> = lens.iter().enumerate().map(|(n, len)| vec![vec![n as u8], octets(n, *len)]).collect();
        let tsdus = encode(&messages, &rooms);
        let is_lost = |n: usize| lost[n % lost.len()];
        let mut decoder = Decoder::new();
        let mut heard = Vec::new();
        for (n, tsdu) in tsdus.iter().enumerate() {
            if is_lost(n) {
                decoder.on_loss();
            } else {
                prop_assert_eq!(decode(&mut decoder, tsdu, &mut heard), Ok(()));
            }
        }
        let ends: Vec<usize> = tsdus.iter().scan(0, |at, tsdu| { *at += tsdu.len() - 2; Some(*at) }).collect();
        let mut at = 0;
        let whole: Vec<Parts> = messages.iter().filter(|parts| {
            let begin = at;
            at += parts.iter().map(|part| part.len() + if part.len() < 254 { 2 } else { 10 }).sum::<usize>();
            let holds = |octet| ends.partition_point(|end| *end <= octet);
            (holds(begin)..=holds(at - 1)).all(|n| !is_lost(n))
        }).cloned().collect();
        prop_assert_eq!(heard, whole);
        prop_assert_eq!(decoder.stats().faults(), 0);
    }

    #[test]
    fn any_octets_whatever_are_survived_within_the_limit(tsdus in vec(vec(any::<u8>(), 0..60), 0..60)) {
        let mut decoder = Decoder::with_message_max(100);
        let mut heard = Vec::new();
        let mut faults = 0;
        for tsdu in &tsdus {
            faults += u64::from(decode(&mut decoder, tsdu, &mut heard).is_err());
            prop_assert!(decoder.memory() <= 100);
        }
        // Of two in one TSDU one is returned.
        prop_assert!((faults..=2 * faults).contains(&decoder.stats().faults()));
        prop_assert_eq!(heard.len() as u64, decoder.stats().messages);
    }

    /// Octets of the alphabet that frames are made of, so that much of it makes sense.
    #[test]
    fn nearly_sensible_octets_are_survived_and_joined_again(
        tsdus in vec((prop_oneof![Just(0xFFFF), 0..30_u16], vec(prop_oneof![0..8_u8, Just(0xFF)], 0..30)), 0..60),
    ) {
        let mut decoder = Decoder::with_message_max(100);
        let mut heard = Vec::new();
        for (offset, stream) in &tsdus {
            let _ = decode(&mut decoder, &[&offset.to_be_bytes()[..], stream].concat(), &mut heard);
            prop_assert!(decoder.memory() <= 100);
        }
        decoder.on_loss();
        heard.clear();
        prop_assert_eq!(decode(&mut decoder, b"\x00\x01x\x03\x00ok", &mut heard), Ok(()));
        prop_assert_eq!(heard, [[b"ok".to_vec()]]);
    }
}
