//! Why a packet was refused: one variant per rule, one counter per variant.
//!
//! Returned by [`super::parse`]; counted by whoever owns the receiving side. Guards: no packet is dropped by the parser
//! without a name for the reason.

#![forbid(unsafe_code)]

use super::rules::rules;

rules! {
    /// The rule that a packet broke.
    enum Reject;
    /// How often each rule was broken.
    struct RejectCounters;

    /// Fewer than 16 octets.
    TooShort = "too_short", "shorter than the 16 octets of a PGM header";
    /// Version bits of the type octet are not zero.
    Version = "version", "version is not 0";
    /// Reserved bits of the type octet are not zero.
    ReservedTypeBits = "reserved_type_bits", "reserved bits of the type octet are set";
    /// Unassigned packet type.
    UnknownType = "unknown_type", "packet type is not assigned";
    /// A data packet without a checksum.
    ChecksumMissing = "checksum_missing", "data packet without a checksum";
    /// The checksum is wrong.
    ChecksumWrong = "checksum_wrong", "wrong checksum";
    /// The type-specific part does not fit.
    TypePartTruncated = "type_part_truncated", "type-specific part is cut off";
    /// An NLA of an unknown address family, whose length nobody knows.
    AddressFamily = "address_family", "unknown address family in an NLA";
    /// The address of an NLA does not fit.
    AddressTruncated = "address_truncated", "address of an NLA is cut off";
    /// TSDU length above what is there.
    TsduLength = "tsdu_length", "TSDU length exceeds the packet";
    /// TSDU length not zero outside ODATA and RDATA.
    TsduOnControl = "tsdu_on_control", "TSDU length is not 0 in a packet without data";
    /// Octets beyond what the header accounts for.
    TrailingOctets = "trailing_octets", "octets that the header does not account for";
    /// The SPM announces a window larger than half the space.
    WindowTooLarge = "window_too_large", "transmit window larger than 2^31 - 1";
    /// Options are announced, but there is no room for the first.
    OptionsTruncated = "options_truncated", "options announced, but cut off";
    /// The first option is not `OPT_LENGTH`.
    OptLengthMissing = "opt_length_missing", "first option is not OPT_LENGTH";
    /// The length of `OPT_LENGTH` is not 4.
    OptLengthLength = "opt_length_length", "length of OPT_LENGTH is not 4";
    /// The total length leaves no room for an option.
    OptTotalTooShort = "opt_total_too_short", "total length of the options is below 8";
    /// The total length exceeds the packet without its TSDU.
    OptTotalTooLong = "opt_total_too_long", "total length of the options exceeds the packet";
    /// More than 16 options.
    TooManyOptions = "too_many_options", "more than 16 options";
    /// An option header does not fit before the end of the options.
    OptionTruncated = "option_truncated", "option header is cut off";
    /// An option shorter than its own header.
    OptionTooShort = "option_too_short", "option length below 4";
    /// An option that reaches beyond the end of the options.
    OptionTooLong = "option_too_long", "option length exceeds the options";
    /// The options are used up without `OPT_END`.
    OptEndMissing = "opt_end_missing", "no option carries OPT_END";
    /// `OPT_END` before the total length is used up.
    OptEndEarly = "opt_end_early", "OPT_END before the end of the options";
    /// An option whose length does not suit its type.
    OptionLength = "option_length", "length does not suit the type of the option";
    /// An NLA in an option whose address family does not suit the length.
    OptionAddressFamily = "option_address_family", "address family does not suit the length of the option";
    /// `OPT_NAK_LIST` empty, above 62 entries, or with a broken entry.
    NakListLength = "nak_list_length", "OPT_NAK_LIST does not hold 1 to 62 whole entries";
    /// The fragment starts at or beyond the end of its APDU.
    FragmentOffset = "fragment_offset", "fragment offset beyond the APDU";
    /// The fragment reaches beyond the end of its APDU.
    FragmentOverrun = "fragment_overrun", "fragment reaches beyond its APDU";
    /// A fragment without data of an APDU with data.
    FragmentEmpty = "fragment_empty", "empty fragment of an APDU that is not empty";
    /// The APDU exceeds the configured maximum.
    ApduTooLong = "apdu_too_long", "APDU longer than the configured maximum";
    /// The first SQN of the APDU comes after the fragment's own.
    FragmentFirstSqn = "fragment_first_sqn", "first SQN of the APDU after the SQN of the fragment";
    /// More fragments than configured.
    TooManyFragments = "too_many_fragments", "APDU of more fragments than configured";
    /// Offset zero on another SQN than the first, or the first SQN with another offset.
    FragmentStart = "fragment_start", "offset 0 and first SQN do not go together";
    /// `OPT_RECORDS` on a fragment.
    RecordsOnFragment = "records_on_fragment", "a batch of records that is a fragment";
    /// A transmission group size that is no power of two from 2 to 128.
    ParityGroupSize = "parity_group_size", "transmission group size is not a power of two from 2 to 128";
    /// Neither pro-active nor on-demand parity.
    ParityMode = "parity_mode", "parity offered neither pro-active nor on demand";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_own_index_and_name() {
        for (index, reject) in Reject::ALL.into_iter().enumerate() {
            assert_eq!(reject.index(), index);
            assert_eq!(Reject::ALL.iter().filter(|other| other.name() == reject.name()).count(), 1, "{reject}");
        }
    }

    #[test]
    fn counters_count_each_rule_apart() {
        let mut counters = RejectCounters::default();
        counters.count(Reject::TooShort);
        counters.count(Reject::ParityMode);
        counters.count(Reject::ParityMode);
        assert_eq!(counters.get(Reject::ParityMode), 2);
        assert_eq!(counters.get(Reject::Version), 0);
        assert_eq!(counters.total(), 3);
        assert_eq!(counters.iter().filter(|(_, count)| *count > 0).count(), 2);
    }
}
