//! Questions to a driver: its name, its queues, which of its offloads are on.
//!
//! Used by `survey`. Guards: the kernel never writes beyond the buffer that a question takes; what a driver does not answer is unknown.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use super::interface::Request;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// The string set with the names of the offloads.
const ETH_SS_FEATURES: u32 = 4;
/// Octets of a name.
const NAME: usize = 32;
/// More names than any kernel has offloads: it has 64.
const NAMES_MAX: usize = 1024;
/// `struct ethtool_drvinfo`: command, driver and version of 32 octets each, and more.
const DRIVER_INFO: usize = 196;

/// A driver asked over a control socket.
pub(in crate::link) struct Driver<'a> {
    control: &'a OwnedFd,
    interface: &'a CStr,
}

impl<'a> Driver<'a> {
    pub(in crate::link) fn new(control: &'a OwnedFd, interface: &'a CStr) -> Self {
        Self { control, interface }
    }

    /// Name and version.
    pub(in crate::link) fn name(&self) -> io::Result<(String, String)> {
        let mut info = vec![0_u32; DRIVER_INFO.div_ceil(4)];
        info[0] = ETHTOOL_GDRVINFO;
        self.ask(&mut info)?;
        let octets = octets_of(&info[1..]);
        Ok((text(&octets[..NAME]), text(&octets[NAME..2 * NAME])))
    }

    /// Queues that receive: now, and at the most.
    pub(in crate::link) fn queues(&self) -> io::Result<(u32, u32)> {
        // Command; the most to receive, to send, for other ends, combined; and the same as it is now.
        let mut channels = [0_u32; 9];
        channels[0] = ETHTOOL_GCHANNELS;
        self.ask(&mut channels)?;
        let [_, most_rx, _, _, most_combined, rx, _, _, combined] = channels;
        Ok((rx.saturating_add(combined), most_rx.saturating_add(most_combined)))
    }

    /// The names of the offloads that are on.
    pub(in crate::link) fn offloads(&self) -> io::Result<Vec<String>> {
        // How many names there are. Command, reserved, mask of sets (64 bits), then a count for each set.
        let mut sets = [ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0, 0];
        self.ask(&mut sets)?;
        let count = sets[4] as usize;
        if count == 0 || count > NAMES_MAX {
            return Err(io::Error::other("a driver without names for its offloads"));
        }
        // The kernel writes as many names as it has, not as many as it is told there is room for: the number is a constant of it.
        let mut names = vec![0_u32; 3 + NAMES_MAX * NAME / 4];
        names[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count as u32]);
        self.ask(&mut names)?;
        // Command, size in words, then for each word of bits: available, requested, active, never changed.
        let words = count.div_ceil(32);
        let mut features = vec![0_u32; 2 + 4 * words];
        features[..2].copy_from_slice(&[ETHTOOL_GFEATURES, words as u32]);
        self.ask(&mut features)?;
        Ok(active(count, &octets_of(&names[3..]), &features[2..]))
    }

    fn ask(&self, question: &mut [u32]) -> io::Result<()> {
        let mut request = Request::new(self.interface);
        request.0.ifr_ifru.ifru_data = question.as_mut_ptr().cast();
        request.ask(self.control, SIOCETHTOOL).map(drop)
    }
}

/// The names whose active bit is set.
fn active(count: usize, names: &[u8], blocks: &[u32]) -> Vec<String> {
    let is_on = |n: usize| blocks.get(n / 32 * 4 + 2).is_some_and(|bits| bits >> (n % 32) & 1 == 1);
    let names = names.chunks_exact(NAME).take(count).enumerate();
    names.filter(|&(n, _)| is_on(n)).map(|(_, name)| text(name)).filter(|name| !name.is_empty()).collect()
}

fn octets_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Text that ends with a zero.
fn text(octets: &[u8]) -> String {
    let end = octets.iter().position(|&octet| octet == 0).unwrap_or(octets.len());
    String::from_utf8_lossy(&octets[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::socket::open;
    use super::*;

    #[test]
    fn loopback_names_its_offloads_and_nothing_else() {
        let control = open(libc::AF_INET, libc::SOCK_DGRAM, 0).expect("a socket");
        let driver = Driver::new(&control, c"lo");
        let offloads = driver.offloads().expect("every interface has offloads");
        assert!(offloads.iter().any(|name| name == "rx-gro"), "{offloads:?}");
        assert!(driver.queues().is_err());
        assert!(Driver::new(&control, c"nowhere").offloads().is_err());
    }

    #[test]
    fn bits_pick_their_names() {
        let name = |text: &str| {
            let mut octets = [0; NAME];
            octets[..text.len()].copy_from_slice(text.as_bytes());
            octets
        };
        let names = [name("one"), name("two"), name(""), name("four")].concat();
        assert_eq!(active(4, &names, &[0, 0, 0b1110, 0]), ["two", "four"]);
        assert_eq!(active(1, &names, &[0, 0, 0b1110, 0]), [""; 0]);
        assert_eq!(active(4, &names, &[]), [""; 0], "an answer cut short");
    }
}
