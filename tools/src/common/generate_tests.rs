//! Messages that check themselves, made and checked.

use pgmx::wire::Gsi;

use super::*;

const HERE: Tsi = Tsi::new(Gsi::new([1; 6]), 7);
const THERE: Tsi = Tsi::new(Gsi::new([2; 6]), 7);

/// The first messages of these sizes, published a nanosecond apart from 1,000,000 on.
fn made(sizes: Sizes, count: u64) -> Vec<Vec<u8>> {
    let mut generator = Generator::new(sizes);
    let one = |n| {
        let len = generator.len();
        let mut message = vec![0; len];
        generator.fill(1_000_000 + n, len, 0, &mut message);
        generator.advance();
        message
    };
    (0..count).map(one).collect()
}

fn check(checker: &mut Checker, tsi: Tsi, message: &[u8]) {
    checker.check(tsi, message.len(), core::iter::once(message), 2_000_000);
}

fn counts(checker: &Checker) -> (u64, u64, u64) {
    (checker.delivered, checker.corrupt, checker.lost)
}

#[test]
fn what_comes_as_it_was_made_is_delivered() {
    for sizes in [(0, 0), (1, 1), (7, 9), (15, 17), (16, 1400), (60_000, 70_000)] {
        let messages = made(Sizes { min: sizes.0, max: sizes.1 }, 300);
        let mut checker = Checker::new();
        for message in &messages {
            check(&mut checker, HERE, message);
        }
        assert_eq!(counts(&checker), (300, 0, 0), "{sizes:?}");
        let measured = messages.iter().filter(|message| message.len() >= HEAD).count() as u64;
        assert_eq!(checker.latency.histogram().len(), measured, "{sizes:?}");
    }
}

#[test]
fn sizes_follow_from_the_number_and_reach_both_ends() {
    let lens: Vec<usize> = made(Sizes { min: 3, max: 10 }, 500).iter().map(Vec::len).collect();
    assert_eq!((lens.iter().min(), lens.iter().max()), (Some(&3), Some(&10)));
    assert_eq!(lens, made(Sizes { min: 3, max: 10 }, 500).iter().map(Vec::len).collect::<Vec<_>>());
}

#[test]
fn a_message_in_pieces_is_the_same_message() {
    let sizes = Sizes { min: 20_000, max: 20_000 };
    let whole = &made(sizes, 1)[0];
    let generator = Generator::new(sizes);
    for cut in [1, 8, 13, 16, 1456, 4096, 4112, 19_999] {
        let mut pieces: Vec<Vec<u8>> = whole.chunks(cut).map(|chunk| vec![0; chunk.len()]).collect();
        let mut at = 0;
        for piece in &mut pieces {
            generator.fill(1_000_000, whole.len(), at, piece);
            at += piece.len();
        }
        assert_eq!(pieces.concat(), *whole, "{cut}");
        let mut checker = Checker::new();
        checker.check(HERE, whole.len(), pieces.iter().map(Vec::as_slice), 2_000_000);
        assert_eq!(counts(&checker), (1, 0, 0), "{cut}");
    }
}

#[test]
fn a_changed_octet_anywhere_is_found() {
    let messages = made(Sizes { min: 9000, max: 9000 }, 2);
    // Not in the number and the time: those say which message it is, and then the rest does not fit.
    for at in [0, 7, 8, 15, 16, 17, 4111, 4112, 8999] {
        let mut checker = Checker::new();
        check(&mut checker, HERE, &messages[0]);
        let mut changed = messages[1].clone();
        changed[at] ^= 0x40;
        check(&mut checker, HERE, &changed);
        assert_eq!(counts(&checker), (1, 1, 0), "{at}");
    }
}

#[test]
fn a_message_that_was_cut_or_has_too_much_is_found() {
    let messages = made(Sizes { min: 500, max: 500 }, 2);
    let mut checker = Checker::new();
    check(&mut checker, HERE, &messages[0][..400]);
    check(&mut checker, HERE, &[&messages[1][..], &[0]].concat());
    assert_eq!(counts(&checker), (0, 2, 0));
}

#[test]
fn gaps_are_losses_and_what_comes_twice_or_late_is_corrupt() {
    for sizes in [Sizes { min: 1, max: 1 }, Sizes { min: 64, max: 64 }] {
        let messages = made(sizes, 10);
        let mut checker = Checker::new();
        for at in [0, 1, 4, 4, 3, 5, 9] {
            check(&mut checker, HERE, &messages[at]);
        }
        assert_eq!(counts(&checker), (5, 2, 5), "{sizes:?}");
        assert_eq!(checker.seen(), 12);
    }
}

#[test]
fn sessions_are_counted_each_by_itself() {
    let messages = made(Sizes { min: 64, max: 64 }, 4);
    let mut checker = Checker::new();
    for message in &messages {
        check(&mut checker, HERE, message);
        check(&mut checker, THERE, message);
    }
    assert_eq!(counts(&checker), (8, 0, 0));
}

#[test]
fn where_we_joined_is_where_it_begins() {
    let messages = made(Sizes { min: 64, max: 64 }, 10);
    let mut checker = Checker::new();
    messages[6..].iter().for_each(|message| check(&mut checker, HERE, message));
    assert_eq!(counts(&checker), (4, 0, 0));
    checker.finish(Some(10));
    assert_eq!(counts(&checker), (4, 0, 6), "unless it is known how many there were");
}

#[test]
fn a_loss_is_counted_once_by_number_or_else_by_packet() {
    let messages = made(Sizes { min: 64, max: 64 }, 10);
    let mut checker = Checker::new();
    check(&mut checker, HERE, &messages[0]);
    // Two packets with three messages each.
    checker.on_loss(HERE, 2);
    check(&mut checker, HERE, &messages[7]);
    assert_eq!(counts(&checker), (2, 0, 6));
    checker.on_loss(HERE, 2);
    checker.on_closed(HERE);
    assert_eq!(counts(&checker), (2, 0, 8), "no number tells of these");
    checker.on_loss(THERE, 3);
    checker.finish(None);
    assert_eq!(counts(&checker), (2, 0, 11));
}
