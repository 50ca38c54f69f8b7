//! Packets known to be right: made by an encoder that shares no code with this one, and decoded by other tools.
//!
//! One session: source 192.0.2.1, data-source port 12345, data-destination port 7500, group 239.192.0.1, receiver
//! 192.0.2.99, repairer 192.0.2.50, GSI of "pgm.example.com". Nothing here may be regenerated from our own builders.

/// SPM plain, empty window (trail=0, lead=0xffffffff).
pub(super) const V1: &[u8] = &hex::<36>("30391d4c00002c0452aaa6aecb1a00000000000000000000ffffffff00010000c0000201");

/// ODATA sqn 0 trail 0 payload "hello".
pub(super) const V2: &[u8] = &hex::<29>("30391d4c0400a62f52aaa6aecb1a0005000000000000000068656c6c6f");

/// ODATA sqn 1 trail 0 `OPT_FRAGMENT`(first=1,off=0,len=8)+`OPT_JOIN`(0), payload "abcd".
pub(super) const V3: &[u8] = &hex::<56>(
    "30391d4c0401a0f852aaa6aecb1a000400000001000000000004001c0110000000000001000000000000000883080000\
     0000000061626364",
);

/// RDATA sqn 1 trail 0 `OPT_FRAGMENT`, payload "abcd".
pub(super) const V4: &[u8] =
    &hex::<48>("30391d4c0501a30852aaa6aecb1a00040000000100000000000400148110000000000001000000000000000861626364");

/// NAK sqn 5.
pub(super) const V5: &[u8] = &hex::<36>("1d4c30390800343c52aaa6aecb1a00000000000500010000c000020100010000efc00001");

/// NAK sqn 5 + `OPT_NAK_LIST`(6,9) (network-significant).
pub(super) const V6: &[u8] = &hex::<52>(
    "1d4c30390803b20952aaa6aecb1a00000000000500010000c000020100010000efc0000100040010820c000000000006\
     00000009",
);

/// NCF sqn 5 + `OPT_NAK_LIST`(6,9).
pub(super) const V7: &[u8] = &hex::<52>(
    "30391d4c0a03b00952aaa6aecb1a00000000000500010000c000020100010000efc0000100040010820c000000000006\
     00000009",
);

/// NNAK sqn 5.
pub(super) const V8: &[u8] = &hex::<36>("1d4c30390900333c52aaa6aecb1a00000000000500010000c000020100010000efc00001");

/// SPM + `OPT_PARITY_PRM`(P+O, TGS=8) + `OPT_FIN`.
pub(super) const V9: &[u8] = &hex::<52>(
    "30391d4c000395c252aaa6aecb1a000000000007000000000000000c00010000c0000201000400100808000300000008\
     8e040000",
);

/// SPM + `OPT_PARITY_PRM`(on-demand only, TGS=8).
pub(super) const V10: &[u8] =
    &hex::<48>("30391d4c0003a3cb52aaa6aecb1a000000000008000000000000000c00010000c00002010004000c8808000100000008");

/// SPM + `OPT_RST` (N=1, code 5).
pub(super) const V11: &[u8] =
    &hex::<44>("30391d4c00019c9852aaa6aecb1a000000000009000000000000000c00010000c0000201000400088f040045");

/// Parity NAK: TG 8 (k=8) requests 3 parity packets -> sqn 8|2.
pub(super) const V12: &[u8] = &hex::<36>("1d4c3039088033b752aaa6aecb1a00000000000a00010000c000020100010000efc00001");

/// Parity NCF for it.
pub(super) const V13: &[u8] = &hex::<36>("30391d4c0a8031b752aaa6aecb1a00000000000a00010000c000020100010000efc00001");

/// Parity RDATA: TG 8, parity index 0, fixed length.
pub(super) const V14: &[u8] =
    &hex::<40>("30391d4c0580b02e52aaa6aecb1a00100000000800000000000102030405060708090a0b0c0d0e0f");

/// Parity RDATA: TG 8, parity index 9 (>=k): sqn 8|1 + `OPT_PARITY_GRP`(1), `VAR_PKTLEN`.
pub(super) const V15: &[u8] = &hex::<54>(
    "30391d4c05c116c052aaa6aecb1a001200000009000000000004000c8908000000000001000102030405060708090a0b\
     0c0d0e0f1011",
);

/// SPMR (unicast copy).
pub(super) const V16: &[u8] = &hex::<16>("1d4c30390c00e20652aaa6aecb1a0000");

/// POLL general round 0, bo 250000us.
pub(super) const V17: &[u8] =
    &hex::<44>("30391d4c0100bcc252aaa6aecb1a0000000000010000000000010000c00002010003d090deadbeef0000000f");

/// POLR sqn 1 round 0.
pub(super) const V18: &[u8] = &hex::<24>("1d4c30390200ec0552aaa6aecb1a00000000000100000000");

/// POLR + `OPT_REDIRECT` (multicast by upstream DLR, src spoofed to ODATA source).
pub(super) const V19: &[u8] =
    &hex::<40>("1d4c30390203a2ae52aaa6aecb1a0000000000010000000000040010870c000000010000c0000232");

/// NAK + `OPT_CR` (R bit; lead 100; `rx_wp` 0x0666; rcvr).
pub(super) const V20: &[u8] = &hex::<64>(
    "1d4c30390803da7b52aaa6aecb1a00000000005a00010000c000020100010000efc000010004001c9018000100000064\
     000000000666000000010000c0000263",
);

/// SPM + `OPT_CRQST` (R).
pub(super) const V21: &[u8] =
    &hex::<44>("30391d4c00039ad952aaa6aecb1a00000000000a000000000000000c00010000c00002010004000891040001");

/// SPM + `OPT_NAK_BO_IVL`(50000,0)+`OPT_NAK_BO_RNG`(max 2000000,min 1000).
pub(super) const V22: &[u8] = &hex::<64>(
    "30391d4c000356da52aaa6aecb1a00000000000b000000000000000c00010000c00002010004001c040c00000000c350\
     00000000850c0000001e8480000003e8",
);

/// Unicast NCF + `OPT_NBR_UNREACH` + `OPT_PATH_NLA`.
pub(super) const V23: &[u8] = &hex::<52>(
    "30391d4c0a03d91652aaa6aecb1a00000000000500010000c000020100010000efc00001000400100b0400008c080000\
     c0000201",
);

/// SPM with no window info (trail 0, lead 0x80000000) + `OPT_NBR_UNREACH`.
pub(super) const V24: &[u8] =
    &hex::<44>("30391d4c000320e552aaa6aecb1a00000000000b000000008000000000010000c0000201000400088b040000");

/// ODATA + `OPT_PGMCC_DATA`(ts 1000, no acker 0.0.0.0).
pub(super) const V25: &[u8] =
    &hex::<45>("30391d4c0401dbde52aaa6aecb1a000100000014000000000004001492100000000003e8000100000000000078");

/// ACK `rx_max` 20 bitmap ffffffff + `OPT_PGMCC_FEEDBACK`(ts 1000, loss 0x0123, rcvr).
pub(super) const V26: &[u8] =
    &hex::<44>("1d4c30390d01865952aaa6aecb1a000000000014ffffffff0004001493100000000003e800010123c0000263");

/// ODATA sqn 3, last of truncated TG: `OPT_CURR_TGSIZE`(4).
pub(super) const V27: &[u8] = &hex::<37>("30391d4c0401e5e452aaa6aecb1a000100000003000000000004000c8a080000000000047a");

/// ODATA first packet with `OPT_SYN`.
pub(super) const V28: &[u8] = &hex::<37>("30391d4c0401191e52aaa6aecb1a00050000000000000000000400088d04000068656c6c6f");

/// ODATA sqn 6 trail 2 `OPT_RECORDS` (our own: put together by hand), payload: the records "ab", "" and "c".
pub(super) const R1: &[u8] =
    &hex::<41>("30391d4c0401537e52aaa6aecb1a0009000000060000000200040008d2040000000261620000000163");

/// The IPv4 header in front of V1, with Router Alert.
pub(super) const V1_IP: &[u8] = &hex::<24>("4600003c000040001071238ac0000201efc0000194040000");

/// All packets.
pub(super) const ALL: [&[u8]; 29] = [
    V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12, V13, V14, V15, V16, V17, V18, V19, V20, V21, V22, V23, V24, V25,
    V26, V27, V28, R1,
];

pub(super) const fn hex<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    assert!(text.len() == 2 * N);
    let mut octets = [0; N];
    let mut index = 0;
    while index < N {
        octets[index] = digit(text[2 * index]) << 4 | digit(text[2 * index + 1]);
        index += 1;
    }
    octets
}

const fn digit(character: u8) -> u8 {
    match character {
        b'0'..=b'9' => character - b'0',
        b'a'..=b'f' => character - b'a' + 10,
        _ => panic!("not a hexadecimal digit"),
    }
}
