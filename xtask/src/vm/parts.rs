//! What runs in every machine: which test binary, which of its tests, over which interfaces, for how long.
//!
//! Guards: a part is named by what it proves; a binary that is not there makes its part fail, never vanish.

/// One run of a test binary.
#[derive(Debug)]
pub(super) struct Part {
    /// One word, for the table.
    pub(super) name: &'static str,
    /// What it proves.
    pub(super) what: &'static str,
    /// `tests/NAME.rs` of some crate.
    pub(super) binary: &'static str,
    /// Words that pick tests by name; empty: all of them.
    pub(super) filter: &'static str,
    /// Over the two virtio cards; else over cables that the tests make.
    pub(super) over_cards: bool,
    /// Its links tell the data path they took.
    pub(super) tells_mode: bool,
    /// In the lane, too, which has no time for all; else only when it is asked for by `cargo xtask vm`.
    pub(super) in_lane: bool,
    /// A few times what it takes on two quiet processors.
    pub(super) limit_seconds: u32,
}

pub(super) const PARTS: [Part; 4] = [
    Part {
        name: "steering",
        what: "the eBPF program loads, and every packet case has its verdict",
        binary: "privileged_steer",
        filter: "",
        over_cards: false,
        tells_mode: false,
        in_lane: true,
        limit_seconds: 240,
    },
    Part {
        name: "session",
        what: "100,000 messages with 2 % loss, repairs of frames in flight, over the cards",
        binary: "privileged_zero_copy",
        filter: "",
        over_cards: true,
        tells_mode: true,
        in_lane: true,
        limit_seconds: 240,
    },
    Part {
        name: "suite-cards",
        what: "the link suite over xdp, over the cards",
        binary: "privileged_links",
        filter: "xdp_native_v4 xdp_native_v6",
        over_cards: true,
        tells_mode: false,
        in_lane: true,
        limit_seconds: 400,
    },
    Part {
        name: "suite-veth",
        what: "the link suite over xdp, over veth",
        binary: "privileged_links",
        filter: "xdp_native_v4 xdp_generic_v6 xdp_tagged_v4",
        over_cards: false,
        tells_mode: false,
        in_lane: false,
        limit_seconds: 400,
    },
];

/// The parts of these names, or all of them.
pub(super) fn named(names: &[String]) -> Result<Vec<&'static Part>, String> {
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|part| part.name != **name)) {
        let known: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        return Err(format!("no part `{unknown}`; there are: {}", known.join(", ")));
    }
    Ok(PARTS.iter().filter(|part| names.is_empty() || names.iter().any(|name| name == part.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_picked_by_name_and_a_wrong_name_is_told_the_right_ones() {
        assert_eq!(named(&[]).unwrap().len(), PARTS.len());
        let picked = named(&["session".into()]).unwrap();
        assert!(picked.len() == 1 && picked[0].name == "session");
        assert!(named(&["sesion".into()]).unwrap_err().contains("session"));
    }

    #[test]
    fn parts_have_names_of_their_own_of_one_word() {
        for (at, part) in PARTS.iter().enumerate() {
            assert!(PARTS[..at].iter().all(|other| other.name != part.name), "{} stands twice", part.name);
            assert!(!part.name.is_empty() && !part.name.contains(char::is_whitespace));
        }
    }
}
