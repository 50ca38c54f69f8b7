//! What the kernel knows about a network interface: number, addresses, MTU, queues.
//!
//! Asked once, when a link is opened, and in the network namespace of the calling thread: by ioctl, because `/sys` may show another
//! namespace. Guards: no answer is read before the kernel said that it wrote one.

use core::mem::{size_of, zeroed};
use std::ffi::CString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::config::XdpError;
use crate::wire::net::MacAddr;

/// An interface as it is now.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) mac: MacAddr,
    /// The first IPv4 address.
    pub(super) address: Option<Ipv4Addr>,
    pub(super) mtu: u32,
    /// Queues that receive.
    pub(super) queues: u32,
}

impl Interface {
    pub(super) fn named(name: &str) -> Result<Self, XdpError> {
        let failed = |what: &str, error| XdpError::Interface { attempt: format!("{what} of interface {name}"), error };
        let c_name = CString::new(name).map_err(|error| failed("the name", error.into()))?;
        // SAFETY: `c_name` ends with a zero and lives through the call.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 || name.len() >= libc::IFNAMSIZ {
            return Err(failed("the index", io::Error::last_os_error()));
        }
        let control = datagram_socket().map_err(|error| failed("a control socket for questions", error))?;
        let request = || Request::new(&c_name);

        let mac =
            request().ask(&control, libc::SIOCGIFHWADDR).map_err(|error| failed("the hardware address", error))?;
        // SAFETY: SIOCGIFHWADDR answered: the address field is the one it wrote.
        let mac = unsafe { mac.0.ifr_ifru.ifru_hwaddr }.sa_data;
        let mtu = request().ask(&control, libc::SIOCGIFMTU).map_err(|error| failed("the MTU", error))?;
        // SAFETY: SIOCGIFMTU answered: the MTU field is the one it wrote.
        let mtu = unsafe { mtu.0.ifr_ifru.ifru_mtu };
        // An interface without an address is no error yet: the configuration may give one.
        let address = request().ask(&control, libc::SIOCGIFADDR).ok().map(|answer| {
            // SAFETY: SIOCGIFADDR answered: the address field is the one it wrote, and for this kind of socket it is IPv4.
            let [_, _, a, b, c, d, ..] = unsafe { answer.0.ifr_ifru.ifru_addr }.sa_data;
            Ipv4Addr::new(a as u8, b as u8, c as u8, d as u8)
        });
        let [a, b, c, d, e, f, ..] = mac.map(|octet| octet as u8);
        Ok(Self {
            name: name.into(),
            index,
            mac: [a, b, c, d, e, f],
            address,
            mtu: mtu.unsigned_abs(),
            queues: queues(&control, &c_name),
        })
    }
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
struct Request(libc::ifreq);

impl Request {
    fn new(name: &CString) -> Self {
        // SAFETY: a structure of integers and arrays, for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { zeroed() };
        // Shorter than the field, as was checked: the rest stays zero and ends the name.
        for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
            *to = *from as libc::c_char;
        }
        Self(request)
    }

    fn ask(mut self, control: &OwnedFd, question: libc::c_ulong) -> io::Result<Self> {
        // SAFETY: the descriptor is open, the structure is the one that these questions take and is ours alone; where it holds a
        // pointer (`queues`), that points at what the question takes and outlives the call.
        if unsafe { libc::ioctl(control.as_raw_fd(), question as _, &raw mut self.0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(self)
    }
}

/// A UDP socket that is bound to nothing: for questions and memberships.
pub(super) fn datagram_socket() -> io::Result<OwnedFd> {
    // SAFETY: opens a descriptor and touches no memory of ours.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Sets an option of a socket.
pub(super) fn set_option<T: Copy>(socket: i32, level: i32, option: i32, value: &T) -> io::Result<()> {
    let octets = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `octets` octets of a value that lives through the call.
    if unsafe { libc::setsockopt(socket, level, option, core::ptr::from_ref(value).cast(), octets) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
