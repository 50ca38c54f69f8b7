//! Which cores there are, which were set aside, and how a thread gets one for itself.
//!
//! Asked when an engine is built. Guards: a core that this process cannot have is an error that names those it can.

use super::EngineError;

/// Where the kernel lists the cores that its scheduler leaves alone (`isolcpus=`).
const ISOLATED: &str = "/sys/devices/system/cpu/isolated";

/// Fails unless this process may run on `core`.
pub(super) fn check(core: usize) -> Result<(), EngineError> {
    let present = core_affinity::get_core_ids().unwrap_or_default();
    if present.iter().any(|id| id.id == core) {
        return Ok(());
    }
    let names: Vec<String> = present.iter().map(|id| id.id.to_string()).collect();
    Err(EngineError::Core { wanted: core, present: names.join(", ") })
}

/// Keeps the calling thread on `core`; says whether that worked.
pub(super) fn pin(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

/// Whether `core` was set aside for work like ours.
pub(super) fn is_isolated(core: usize) -> bool {
    std::fs::read_to_string(ISOLATED).is_ok_and(|list| contains(&list, core))
}

/// Whether a list as the kernel writes it (`1,4-7`) names `core`.
fn contains(list: &str, core: usize) -> bool {
    list.trim().split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        // A stride or anything else that we do not know is no core that we may keep busy.
        matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&core))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_of_cores_is_read_as_it_is_written() {
        let isolated = |list: &str| (0..10).filter(|core| contains(list, *core)).collect::<Vec<_>>();
        assert_eq!(isolated("\n"), []);
        assert_eq!(isolated("3\n"), [3]);
        assert_eq!(isolated("1,4-6,9\n"), [1, 4, 5, 6, 9]);
        assert_eq!(isolated("2-x,7"), [7]);
    }

    #[test]
    fn a_core_that_is_not_there_is_refused_by_the_names_of_those_that_are() {
        let first = core_affinity::get_core_ids().expect("Linux tells")[0].id;
        check(first).expect("it was offered");
        let error = check(100_000).expect_err("no machine has so many").to_string();
        assert!(error.starts_with("core 100000 cannot be reached") && error.contains(&first.to_string()), "{error}");
    }
}
