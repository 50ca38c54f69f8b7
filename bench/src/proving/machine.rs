//! What it all ran on: what a figure is worth nothing without.
//!
//! Read once from `/proc` and `/sys`. Guards: what the kernel does not say is said to be unknown.

use std::fs;

use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many there are for us.
    pub processors: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in megabytes.
    pub memory_mb: u64,
    /// Whether a hypervisor is below.
    pub is_virtual: bool,
    /// Processors that were set aside.
    pub isolated: String,
    /// How many others wanted a processor when it began: the load of the last minute.
    pub load: String,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// The value of the first line `key : value`.
fn value(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|word| word.trim() == key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let kilobytes = value(&memory, "MemTotal").and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        let known = |text: String| if text.is_empty() { "unknown".into() } else { text };
        Self {
            processor: known(value(&cpu, "model name").unwrap_or_default()),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: known(read("/proc/sys/kernel/osrelease")),
            memory_mb: kilobytes.unwrap_or(0) / 1024,
            is_virtual: value(&cpu, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            isolated: read("/sys/devices/system/cpu/isolated"),
            load: known(read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()),
        }
    }

    /// In a line.
    pub fn line(&self) -> String {
        let kind = if self.is_virtual { "virtual machine" } else { "bare metal" };
        let isolated = if self.isolated.is_empty() { "none".into() } else { self.isolated.clone() };
        format!(
            "{}, {} processors ({kind}, isolated: {isolated}), {} MB, Linux {}, load {} at the start",
            self.processor, self.processors, self.memory_mb, self.kernel, self.load
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_key_is_that_of_its_own_line() {
        let text = "model\t\t: 85\nmodel name\t: Xeon: the first\nflags : a b";
        assert_eq!(value(text, "model name").as_deref(), Some("Xeon: the first"));
        assert_eq!(value(text, "stepping"), None);
    }
}
