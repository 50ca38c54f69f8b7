//! What a source counts. Written by the source alone; read by whoever asks.

/// Counters of one source, from its first packet on. Octets are those of IP packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStats {
    /// ODATA packets sent.
    pub odata: u64,
    /// Octets of the application in them.
    pub odata_payload: u64,
    /// Octets of IP in them.
    pub odata_octets: u64,
    /// RDATA packets sent.
    pub rdata: u64,
    /// Octets of IP in them.
    pub rdata_octets: u64,
    /// NCFs sent.
    pub ncfs: u64,
    /// Octets of IP in them.
    pub ncf_octets: u64,
    /// SPMs sent.
    pub spms: u64,
    /// Octets of IP in them.
    pub spm_octets: u64,
    /// NAK packets that were valid.
    pub naks: u64,
    /// SQNs they asked for.
    pub nak_sqns: u64,
    /// SQNs asked for that lie below the trail.
    pub naks_too_late: u64,
    /// SQNs asked for whose repair was already waiting or had only just left.
    pub naks_duplicate: u64,
    /// NAK packets for other sessions, sources or groups.
    pub naks_foreign: u64,
    /// NAK packets for what was never sent.
    pub naks_ahead: u64,
    /// NAK packets for parity, which this source does not make.
    pub naks_parity: u64,
    /// NAK packets that are the second copy (multicast beside unicast) of one already counted.
    pub nak_copies: u64,
    /// NAK packets that repeat the first SQN of the list before them, from receivers known to do so (OpenPGM).
    pub nak_echoes: u64,
    /// NAK packets after the session stopped answering.
    pub naks_unanswered: u64,
    /// NCFs that were held back because the same SQNs had just been confirmed.
    pub ncfs_suppressed: u64,
    /// NCFs for which there was no room.
    pub ncfs_dropped: u64,
    /// NNAK packets: feedback only.
    pub nnaks: u64,
    /// SPMRs.
    pub spmrs: u64,
    /// ACK packets; no congestion control listens to them yet.
    pub acks: u64,
    /// POLR packets; no POLL was sent.
    pub polrs: u64,
    /// Packets that no source expects.
    pub stray: u64,
    /// Repairs that had to wait because their slot was in flight.
    pub repairs_deferred: u64,
    /// Repairs given up because the trail had passed them.
    pub repairs_expired: u64,
    /// Times that the trail stood still because of a NAK in the increment window.
    pub holds: u64,
    /// Times that the trail moved on nevertheless because it had been held for too long.
    pub holds_broken: u64,
    /// Times that no frame was free for an SPM, an NCF or a repair.
    pub frames_missing: u64,
    /// Failures of the network assumed because of too many duplicate NAKs.
    pub containments: u64,
}
