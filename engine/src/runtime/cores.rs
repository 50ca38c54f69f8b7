//! Which cores there are, which were set aside, and how a thread gets one for itself.
//!
//! Asked when an engine is built. Guards: a core that this process cannot have is an error that names those it can.

use super::EngineError;

/// Where the kernel lists the cores that its scheduler leaves alone (`isolcpus=`).
const ISOLATED: &str = "/sys/devices/system/cpu/isolated";

/// Cores that a set of them can name.
const CORES_MAX: usize = 1024;

/// Fails unless a thread of this process may be kept on `core`.
pub(super) fn check(core: usize) -> Result<(), EngineError> {
    if reachable(&[core]) == [core] {
        return Ok(());
    }
    let all: Vec<usize> = (0..CORES_MAX).collect();
    let names: Vec<String> = reachable(&all).iter().map(usize::to_string).collect();
    Err(EngineError::Core { wanted: core, present: names.join(", ") })
}

/// Those of the cores that a thread may be kept on. Tried out, because where we run now says nothing: a core that was set aside is in no
/// process's mask until somebody asks for it.
fn reachable(cores: &[usize]) -> Vec<usize> {
    let tried = || cores.iter().copied().filter(|core| pin(*core)).collect();
    // By a thread of its own: to try is to move.
    std::thread::scope(|scope| scope.spawn(tried).join()).unwrap_or_default()
}

/// Keeps the calling thread on `core`; says whether that worked.
pub(super) fn pin(core: usize) -> bool {
    core < CORES_MAX && core_affinity::set_for_current(core_affinity::CoreId { id: core })
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

    /// What `isolcpus=` does to every process.
    #[test]
    fn a_core_outside_of_our_own_mask_is_no_core_out_of_reach() {
        let cores = core_affinity::get_core_ids().expect("Linux tells");
        let [first, other, ..] = cores[..] else { return };
        std::thread::spawn(move || {
            assert!(pin(first.id));
            check(other.id).expect("the kernel gives it to whoever asks");
        })
        .join()
        .expect("no panic");
    }
}
