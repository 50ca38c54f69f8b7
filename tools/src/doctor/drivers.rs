//! What drivers can do with XDP, by name: for kernels before 6.3, whose drivers do not say it themselves.
//!
//! Asked by `card` only where the kernel gave no answer. Guards: a driver that is not listed is unknown, not incapable.

/// Driver, the version that brought native XDP with redirect, and the one that brought zero-copy.
type Known = (&'static str, (u32, u32), Option<(u32, u32)>);

const DRIVERS: [Known; 19] = [
    ("atlantic", (5, 19), None),
    ("bnxt_en", (4, 17), None),
    ("ena", (5, 6), None),
    ("enetc", (5, 13), None),
    ("fsl_dpaa2_eth", (5, 0), Some((6, 2))),
    ("hv_netvsc", (5, 6), None),
    ("i40e", (4, 14), Some((4, 20))),
    ("ice", (5, 5), Some((5, 5))),
    ("igb", (5, 10), None),
    ("igc", (5, 13), Some((5, 14))),
    ("ixgbe", (4, 14), Some((4, 20))),
    ("mlx4_en", (4, 18), None),
    ("mlx5_core", (4, 18), Some((5, 3))),
    ("mvneta", (5, 5), None),
    ("qede", (4, 20), None),
    ("sfc", (5, 10), None),
    ("stmmac", (5, 13), Some((5, 13))),
    ("veth", (4, 20), None),
    ("virtio_net", (4, 14), None),
];

/// Whether this driver runs XDP natively, and whether without a copy; `None` if it is not known.
pub(super) fn known(driver: &str, kernel: (u32, u32)) -> Option<(bool, bool)> {
    let (_, native, zero_copy) = DRIVERS.iter().find(|known| known.0 == driver)?;
    Some((kernel >= *native, zero_copy.is_some_and(|since| kernel >= since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_learnt_with_the_years() {
        assert_eq!(known("i40e", (4, 10)), Some((false, false)));
        assert_eq!(known("i40e", (4, 19)), Some((true, false)));
        assert_eq!(known("i40e", (5, 10)), Some((true, true)));
        assert_eq!(known("veth", (6, 1)), Some((true, false)));
        assert_eq!(known("e1000e", (6, 1)), None);
    }

    #[test]
    fn the_list_is_sorted_so_that_nothing_stands_in_it_twice() {
        assert!(DRIVERS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
