//! What the kernel knows about a network interface: number, addresses, MTU, queues.
//!
//! Asked once, when a link is opened, and in the network namespace of the calling thread: by ioctl, because `/sys` may show another
//! namespace. Guards: no answer is read before the kernel said that it wrote one.

use core::mem::zeroed;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::socket::{open, read_address};
use crate::wire::net::MacAddr;

/// Which of an interface's addresses a link takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// The first IPv4 address.
    #[default]
    Ipv4,
    /// The first IPv6 address that is not link-local, else the link-local one.
    Ipv6,
    /// This one.
    Is(IpAddr),
}

impl Address {
    /// The choice that suits a group: of its family.
    pub fn suiting(group: IpAddr) -> Self {
        if group.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// There is none of this name, number or address.
    #[error("no interface `{wanted}` here; there are: {present}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The names that exist.
        present: String,
    },
    /// It has no address that fits.
    #[error("interface {interface} has no {wanted}; give it one (`ip address add ... dev {interface}`)")]
    NoAddress {
        /// The interface.
        interface: String,
        /// What was looked for.
        wanted: String,
    },
    /// The kernel refused an answer.
    #[error("asking for {what} of interface {interface} failed: {error}")]
    Kernel {
        /// The question.
        what: &'static str,
        /// The interface.
        interface: String,
        /// The answer.
        error: io::Error,
    },
}

/// An interface as it is now.
#[derive(Clone, Debug)]
pub(in crate::link) struct Interface {
    pub(in crate::link) name: String,
    pub(in crate::link) index: u32,
    pub(in crate::link) mac: MacAddr,
    pub(in crate::link) addresses: Vec<IpAddr>,
    pub(in crate::link) mtu: u32,
    /// Queues that receive.
    pub(in crate::link) queues: u32,
}

impl Interface {
    /// The interface of this name, number or address.
    pub(in crate::link) fn find(wanted: &str) -> Result<Self, InterfaceError> {
        let unknown = |present: &[(String, IpAddr)]| {
            let mut names: Vec<&str> = present.iter().map(|entry| entry.0.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            InterfaceError::Unknown { wanted: wanted.into(), present: names.join(", ") }
        };
        let all = addresses().map_err(|error| failed("the addresses", wanted, error))?;
        let by_address =
            wanted.parse::<IpAddr>().ok().and_then(|wanted| all.iter().find(|entry| entry.1 == wanted)).map(|e| &e.0);
        let by_number = wanted.parse::<u32>().ok().and_then(name_of);
        let name = by_address.cloned().or(by_number).unwrap_or_else(|| wanted.into());
        let c_name = CString::new(name.as_str()).map_err(|_| unknown(&all))?;
        // SAFETY: `c_name` ends with a zero and lives through the call.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 || name.len() >= libc::IFNAMSIZ {
            return Err(unknown(&all));
        }
        let control =
            open(libc::AF_INET, libc::SOCK_DGRAM, 0).map_err(|error| failed("a socket for questions", &name, error))?;
        let request = || Request::new(&c_name);

        let mac = request()
            .ask(&control, libc::SIOCGIFHWADDR)
            .map_err(|error| failed("the hardware address", &name, error))?;
        // SAFETY: SIOCGIFHWADDR answered: the address field is the one it wrote.
        let mac = unsafe { mac.0.ifr_ifru.ifru_hwaddr }.sa_data;
        let mtu = request().ask(&control, libc::SIOCGIFMTU).map_err(|error| failed("the MTU", &name, error))?;
        // SAFETY: SIOCGIFMTU answered: the MTU field is the one it wrote.
        let mtu = unsafe { mtu.0.ifr_ifru.ifru_mtu };
        let [a, b, c, d, e, f, ..] = mac.map(|octet| octet as u8);
        Ok(Self {
            index,
            mac: [a, b, c, d, e, f],
            addresses: all
                .into_iter()
                .filter_map(|(of, address)| (of == name && !address.is_unspecified()).then_some(address))
                .collect(),
            mtu: mtu.unsigned_abs(),
            queues: queues(&control, &c_name),
            name,
        })
    }

    /// The address that was asked for.
    pub(in crate::link) fn address(&self, wanted: Address) -> Result<IpAddr, InterfaceError> {
        let mut all = self.addresses.iter().copied();
        let found = match wanted {
            Address::Ipv4 => all.find(IpAddr::is_ipv4),
            Address::Ipv6 => all.clone().find(|one| is_wide(*one)).or_else(|| all.find(IpAddr::is_ipv6)),
            Address::Is(wanted) => all.find(|one| *one == wanted),
        };
        found.ok_or_else(|| InterfaceError::NoAddress {
            interface: self.name.clone(),
            wanted: match wanted {
                Address::Ipv4 => "IPv4 address".into(),
                Address::Ipv6 => "IPv6 address".into(),
                Address::Is(wanted) => format!("address {wanted}"),
            },
        })
    }

    /// Whether the card or the driver takes VLAN tags out of what it receives, so that no XDP program sees them.
    #[cfg(feature = "xdp")]
    pub(in crate::link) fn hides_tags(&self) -> bool {
        let (Ok(name), Ok(control)) = (CString::new(self.name.as_str()), open(libc::AF_INET, libc::SOCK_DGRAM, 0))
        else {
            return false;
        };
        let offloads = super::ethtool::Driver::new(&control, &name).offloads();
        offloads.is_ok_and(|offloads| offloads.iter().any(|offload| offload == "rx-vlan-hw-parse"))
    }
}

/// An IPv6 address that is of use beyond its own network.
fn is_wide(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if !v6.is_unicast_link_local())
}

fn failed(what: &'static str, interface: &str, error: io::Error) -> InterfaceError {
    InterfaceError::Kernel { what, interface: interface.into(), error }
}

/// The names of all interfaces.
pub(in crate::link) fn names() -> io::Result<Vec<String>> {
    let mut names: Vec<String> = addresses()?.into_iter().map(|entry| entry.0).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Every address of every interface; an interface without one stands there with the unspecified address.
fn addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let mut first: *mut libc::ifaddrs = core::ptr::null_mut();
    // SAFETY: writes the head of a list into a pointer of ours.
    if unsafe { libc::getifaddrs(&raw mut first) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut all = Vec::new();
    let mut at = first;
    // SAFETY: the list is well formed and ours until it is freed below; each entry's name ends with a zero.
    while let Some(entry) = unsafe { at.as_ref() } {
        // SAFETY: as above.
        let label = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy();
        // An IPv4 address may have a label (`eth0:1`); no interface has a colon in its name.
        let name = label.split(':').next().unwrap_or_default().to_owned();
        all.push((name, address_of(entry.ifa_addr)));
        at = entry.ifa_next;
    }
    // SAFETY: the list that was made above, freed once.
    unsafe { libc::freeifaddrs(first) };
    Ok(all)
}

/// The address behind a pointer of the kernel library's list.
fn address_of(at: *const libc::sockaddr) -> IpAddr {
    // SAFETY: null, or an address that begins with its family.
    let family = unsafe { at.as_ref() }.map_or(libc::AF_UNSPEC, |address| i32::from(address.sa_family));
    // SAFETY: a structure of integers, for which all zeroes is a value.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let octets = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return Ipv4Addr::UNSPECIFIED.into(),
    };
    // SAFETY: an address of this family is this long, and the storage has room for every family.
    unsafe { core::ptr::copy_nonoverlapping(at.cast::<u8>(), (&raw mut storage).cast::<u8>(), octets) };
    read_address(&storage).map_or(Ipv6Addr::UNSPECIFIED.into(), |address| address.ip())
}

/// The name of the interface with this number.
fn name_of(index: u32) -> Option<String> {
    let mut name = [0; libc::IFNAMSIZ];
    // SAFETY: the kernel library writes at most IFNAMSIZ octets, a zero among them, into a buffer of that size.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    // SAFETY: not null: it is our buffer, and ends with a zero.
    (!found.is_null()).then(|| unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
}

/// Queues that receive, as ethtool shows them; an interface that cannot say has one.
fn queues(control: &OwnedFd, name: &CString) -> u32 {
    /// `struct ethtool_channels`.
    #[repr(C)]
    #[derive(Default)]
    struct Channels {
        command: u32,
        max_receive: u32,
        max_transmit: u32,
        max_other: u32,
        max_combined: u32,
        receive: u32,
        transmit: u32,
        other: u32,
        combined: u32,
    }
    const ETHTOOL_GCHANNELS: u32 = 0x3c;
    const SIOCETHTOOL: libc::c_ulong = 0x8946;

    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    let mut request = Request::new(name);
    request.0.ifr_ifru.ifru_data = (&raw mut channels).cast();
    match request.ask(control, SIOCETHTOOL) {
        Ok(_) => (channels.receive + channels.combined).max(1),
        Err(_) => 1,
    }
}

/// A question about an interface, and its answer.
pub(super) struct Request(pub(super) libc::ifreq);

impl Request {
    pub(super) fn new(name: &CStr) -> Self {
        // SAFETY: a structure of integers and arrays, for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { zeroed() };
        // Shorter than the field, as was checked: the rest stays zero and ends the name.
        for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
            *to = *from as libc::c_char;
        }
        Self(request)
    }

    pub(super) fn ask(mut self, control: &OwnedFd, question: libc::c_ulong) -> io::Result<Self> {
        // SAFETY: the descriptor is open, the structure is the one that these questions take and is ours alone; where it holds a
        // pointer (`queues`, `ethtool`), that points at what the question takes and outlives the call.
        if unsafe { libc::ioctl(control.as_raw_fd(), question as _, &raw mut self.0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_name_by_number_and_by_address() {
        let by_name = Interface::find("lo").expect("loopback");
        let by_number = Interface::find(&by_name.index.to_string()).expect("its number");
        let by_address = Interface::find("127.0.0.1").expect("its address");
        assert!([&by_number, &by_address].iter().all(|found| found.name == "lo" && found.index == by_name.index));
        assert_eq!(by_name.address(Address::Ipv4).expect("an address"), IpAddr::from([127, 0, 0, 1]));
        assert!(by_name.mtu >= 1500 && by_name.queues >= 1);
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        for wanted in ["no-such-card", "99999", "192.0.2.1", "a name that is far too long", "zero\0"] {
            let refused = Interface::find(wanted).expect_err("nothing like it").to_string();
            assert!(refused.contains("lo"), "{refused}");
        }
        let refused = Interface::find("lo").expect("loopback").address(Address::Is([192, 0, 2, 1].into()));
        assert!(refused.expect_err("not its own").to_string().contains("192.0.2.1"));
    }
}
