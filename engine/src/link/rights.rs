//! What this process may do: the kernel's capabilities, by name.
//!
//! Asked when a link was refused, so that the refusal can name what to grant, and by `pgmx doctor`. Guards: an answer of the kernel that
//! cannot be read is no answer, never "nothing is allowed".

use core::fmt;
use std::fs;

/// A right that some link wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Right {
    /// `CAP_NET_ADMIN`: attach to interfaces, force buffer sizes.
    NetAdmin,
    /// `CAP_NET_RAW`: raw and `AF_XDP` sockets.
    NetRaw,
    /// `CAP_IPC_LOCK`: lock memory beyond the limit.
    IpcLock,
    /// `CAP_SYS_ADMIN`: see the programs of others; has `CAP_BPF` and `CAP_PERFMON` in it.
    SysAdmin,
    /// `CAP_SYS_NICE`: real-time priorities.
    SysNice,
    /// `CAP_BPF`: load programs and maps.
    Bpf,
    /// `CAP_PERFMON`: load programs that compute with addresses, as those do that read packets with options.
    Perfmon,
}

impl Right {
    /// What the `xdp` link needs.
    pub const XDP: [Self; 4] = [Self::NetRaw, Self::Bpf, Self::Perfmon, Self::NetAdmin];
    /// What the `raw` link needs.
    pub const RAW: [Self; 1] = [Self::NetRaw];

    /// The kernel's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::IpcLock => "CAP_IPC_LOCK",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysNice => "CAP_SYS_NICE",
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
        }
    }

    /// Its bit, as `linux/capability.h` numbers it.
    fn bit(self) -> u32 {
        match self {
            Self::NetAdmin => 12,
            Self::NetRaw => 13,
            Self::IpcLock => 14,
            Self::SysAdmin => 21,
            Self::SysNice => 23,
            Self::Bpf => 39,
            Self::Perfmon => 38,
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The rights that are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    effective: u64,
}

impl Rights {
    /// Those of the calling thread; `None` where `/proc` is not to be had.
    pub fn here() -> Option<Self> {
        Self::read(&fs::read_to_string("/proc/thread-self/status").ok()?)
    }

    /// Those in the text of a `status` file of `/proc`.
    pub fn read(status: &str) -> Option<Self> {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        Some(Self { effective: u64::from_str_radix(line.trim(), 16).ok()? })
    }

    /// Whether this one is among them.
    pub fn has(self, right: Right) -> bool {
        let bit = |right: Right| self.effective >> right.bit() & 1 == 1;
        // The kernel took these out of CAP_SYS_ADMIN, which still stands for them.
        bit(right) || matches!(right, Right::Bpf | Right::Perfmon) && bit(Right::SysAdmin)
    }

    /// Those of `wanted` that are not among them.
    pub fn missing(self, wanted: &[Right]) -> Vec<Right> {
        wanted.iter().copied().filter(|&right| !self.has(right)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_bits_become_names() {
        let with = |bits: &str| Rights::read(&format!("Name:\tx\nCapPrm:\tffff\nCapEff:\t{bits}\nSeccomp:\t0\n"));
        assert_eq!(with("0000000000000000").map(|rights| rights.missing(&Right::XDP)), Some(Right::XDP.to_vec()));
        assert_eq!(with("000001ffffffffff").map(|rights| rights.missing(&Right::XDP)), Some(vec![]));
        let raw_alone = with("0000000000002000").expect("a number");
        assert!(raw_alone.has(Right::NetRaw) && !raw_alone.has(Right::NetAdmin));
        assert_eq!(raw_alone.missing(&Right::XDP), [Right::Bpf, Right::Perfmon, Right::NetAdmin]);
        let old = with("0000000000200000").expect("a number");
        assert!(old.has(Right::Bpf) && old.has(Right::Perfmon), "the old way to have them");
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for status in ["", "CapEff:", "CapEff:\tzz", "CapEff:\t1ffffffffffffffff", "CapInh:\t1"] {
            assert_eq!(Rights::read(status), None, "{status}");
        }
        assert!(Rights::here().is_some());
    }
}
