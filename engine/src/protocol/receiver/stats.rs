//! Counters. Each packet that has no effect is counted by its reason, once for its session and once for the receiver.
//!
//! Written by the state machines of this room through `count!`, read by everybody. All counters only grow.

/// What happened to one session, or to all sessions of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// ODATA and RDATA that came, parity aside.
    pub data_packets: u64,
    /// RDATA among them.
    pub rdata_packets: u64,
    /// Packets delivered.
    pub delivered_packets: u64,
    /// Octets delivered.
    pub delivered_octets: u64,
    /// RDATA that came for what was asked for, by us or by others.
    pub repaired_packets: u64,
    /// ODATA that came after it had counted as lost.
    pub late_packets: u64,
    /// Packets held because an earlier one, or another fragment, was missing.
    pub held_packets: u64,
    /// Packets lost for good.
    pub lost_packets: u64,
    /// Loss events.
    pub losses: u64,

    /// Data that had come before.
    pub duplicates: u64,
    /// Data outside the transmit window.
    pub outside_window: u64,
    /// Data too far ahead to be held: asked for again later.
    pub too_far_ahead: u64,
    /// Data that could not be held for want of memory: asked for again later.
    pub hold_refused: u64,
    /// Held data thrown away for older data: asked for again later.
    pub hold_evicted: u64,
    /// Data of sessions that are over.
    pub after_end: u64,
    /// Parity packets, which are not used.
    pub parity_ignored: u64,
    /// Packets of the session from another address than its own.
    pub foreign_address: u64,
    /// Fragments that contradict their APDU.
    pub bad_fragments: u64,

    /// SPMs used.
    pub spms: u64,
    /// SPMs out of sequence.
    pub spms_out_of_sequence: u64,
    /// SPMs refused because their path cannot be an address to send to.
    pub spms_bad_path: u64,
    /// SPMs and NCFs that silenced us (OPT_NBR_UNREACH).
    pub silenced: u64,
    /// OPT_NBR_UNREACH of somebody who is not our parent.
    pub nbr_unreach_ignored: u64,
    /// NCFs that came.
    pub ncfs: u64,
    /// SQNs in NCFs and NAKs that did not concern us.
    pub confirmations_unused: u64,
    /// NCFs beyond the first for something that we miss or have just missed: others ask for it too.
    pub duplicate_ncfs: u64,
    /// Multicast NAKs heard.
    pub naks_heard: u64,
    /// SQNs for which an NCF or a NAK of another receiver spared us our own NAK.
    pub naks_suppressed: u64,
    /// NAKs sent, copies with TTL 1 aside.
    pub naks_sent: u64,
    /// SQNs in them.
    pub nak_sqns_sent: u64,
    /// SPMRs sent, copies with TTL 1 aside.
    pub spmrs_sent: u64,
    /// SPMRs spared us by another receiver's.
    pub spmrs_suppressed: u64,
    /// POLLs heard.
    pub polls: u64,
    /// Packets that could not be sent because the pool had no frame.
    pub no_frame: u64,
    /// NCFs repeated for our neighbours (OPT_NBR_UNREACH).
    pub ncfs_relayed: u64,
}

/// What happened to a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverStats {
    /// Sums over all sessions there ever were.
    pub all: SessionStats,
    /// Sessions reported as opened.
    pub sessions_opened: u64,
    /// Sessions reported as closed.
    pub sessions_closed: u64,
    /// Sessions that the table took in, reported or not.
    pub sessions_tracked: u64,
    /// Sessions thrown out of a full table before they had proven themselves.
    pub sessions_evicted: u64,
    /// Packets of new sessions that found the table full.
    pub sessions_refused: u64,
    /// Packets of sources that are not to be listened to.
    pub unwanted_source: u64,
    /// Packets of sessions that we do not know and that cannot begin one.
    pub unknown_session: u64,
    /// Packets for another port, or of a type that a receiver has no use for.
    pub not_for_us: u64,
}

/// Adds to a counter of a session and of its receiver.
macro_rules! count {
    ($session:expr, $ctx:expr, $field:ident) => {
        count!($session, $ctx, $field, 1)
    };
    ($session:expr, $ctx:expr, $field:ident, $n:expr) => {{
        let n: u64 = $n;
        $session.stats.$field += n;
        $ctx.stats.all.$field += n;
    }};
}
pub(super) use count;
