//! Random lives of a source: whatever is published, asked for and however time passes, every packet that leaves obeys the rules and
//! every frame comes back. The same player serves the fuzz target `source`.

mod source_player;

/// conformance 31, 32, 34, 37, 38, 47, 52, 67, 69
#[test]
fn whatever_happens_to_a_source_its_packets_obey_the_rules_and_its_frames_come_back() {
    let lives = if std::env::var_os("PGMX_LONG").is_some() { 200_000 } else { 3_000 };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut packets = 0;
    for life in 0..lives {
        let len = 30 + life % 1_000;
        let script: Vec<u8> = (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        let played = std::panic::catch_unwind(|| source_player::play(&script));
        packets += played.unwrap_or_else(|_| panic!("life {life} went wrong; its script: {script:02x?}"));
    }
    assert!(packets > u64::from(lives as u32) * 20, "only {packets} packets left");
}
