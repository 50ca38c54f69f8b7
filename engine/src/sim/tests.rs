//! The simulator's own promises.

use super::run::play;

#[test]
fn the_same_seed_gives_the_same_octets() {
    for seed in 1..6 {
        let (one, two) = (play(seed), play(seed));
        assert_eq!(one.fault, None, "seed {seed}");
        assert_eq!((one.digest, one.delivered, one.virtual_ns), (two.digest, two.delivered, two.virtual_ns));
        assert_ne!(one.digest, play(seed + 1).digest);
    }
}

#[test]
fn a_hundred_seeds_keep_every_promise() {
    for seed in 1000..1100 {
        let outcome = play(seed);
        assert_eq!(outcome.fault, None, "seed {seed}");
    }
}
