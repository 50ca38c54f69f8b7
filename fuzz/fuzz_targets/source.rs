//! Any life of a source: no panic, no packet that breaks a rule, no frame lost.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../engine/tests/source_player/mod.rs"]
mod source_player;

fuzz_target!(|script: &[u8]| {
    source_player::play(script);
});
