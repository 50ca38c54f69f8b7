//! Sockets and their options: the few calls that every link makes when it is opened.

use core::mem::size_of;
use core::net::{IpAddr, SocketAddr};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Opens a socket that no child process inherits and no call blocks on.
pub(in crate::link) fn open(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: opens a descriptor and touches no memory of ours.
    let socket = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// `AF_INET` or `AF_INET6`.
pub(in crate::link) fn family_of(address: IpAddr) -> i32 {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

/// Sets an option of a socket.
pub(in crate::link) fn set_option<T: Copy>(
    socket: &impl AsRawFd,
    level: i32,
    option: i32,
    value: &T,
) -> io::Result<()> {
    let octets = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `octets` octets of a value that lives through the call.
    if unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, core::ptr::from_ref(value).cast(), octets) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// An option that is a number.
pub(in crate::link) fn option(socket: &impl AsRawFd, level: i32, option: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut octets = size_of::<i32>() as libc::socklen_t;
    let fd: RawFd = socket.as_raw_fd();
    // SAFETY: the kernel writes at most `octets` octets of a number that lives through the call.
    if unsafe { libc::getsockopt(fd, level, option, (&raw mut value).cast(), &raw mut octets) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

/// An address as the kernel reads and writes it, of either family.
#[derive(Clone, Copy)]
pub(in crate::link) struct KernelAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl KernelAddress {
    /// `scope` is the interface of a link-local IPv6 address, else 0.
    pub(in crate::link) fn new(address: SocketAddr, scope: u32) -> Self {
        // SAFETY: a structure of integers, for which all zeroes is a value.
        let mut storage: libc::sockaddr_storage = unsafe { core::mem::zeroed() };
        let at = &raw mut storage;
        let len = match address {
            SocketAddr::V4(v4) => {
                let inner = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is made to hold an address of any family, and is ours.
                unsafe { at.cast::<libc::sockaddr_in>().write(inner) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let inner = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: scope,
                };
                // SAFETY: as above.
                unsafe { at.cast::<libc::sockaddr_in6>().write(inner) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        Self { storage, len: len as libc::socklen_t }
    }

    /// An address and no port.
    pub(in crate::link) fn of(address: IpAddr, scope: u32) -> Self {
        Self::new(SocketAddr::new(address, 0), scope)
    }

    pub(in crate::link) fn storage(&self) -> &libc::sockaddr_storage {
        &self.storage
    }

    pub(in crate::link) fn len(&self) -> libc::socklen_t {
        self.len
    }
}

/// What the kernel wrote as an address; `None` if it is of neither family.
pub(in crate::link) fn read_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let at = core::ptr::from_ref(storage);
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the storage is larger than an address of this family and of its alignment; any octets are a value.
            let inner = unsafe { at.cast::<libc::sockaddr_in>().read() };
            let address = inner.sin_addr.s_addr.to_ne_bytes();
            Some(SocketAddr::new(address.into(), u16::from_be(inner.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let inner = unsafe { at.cast::<libc::sockaddr_in6>().read() };
            Some(SocketAddr::new(inner.sin6_addr.s6_addr.into(), u16::from_be(inner.sin6_port)))
        }
        _ => None,
    }
}

/// Binds a socket to an address of ours.
pub(in crate::link) fn bind(socket: &impl AsRawFd, address: &KernelAddress) -> io::Result<()> {
    // SAFETY: the kernel reads `len` octets of an address that lives through the call.
    if unsafe { libc::bind(socket.as_raw_fd(), core::ptr::from_ref(address.storage()).cast(), address.len()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets a socket send and receive on one interface alone.
pub(in crate::link) fn bind_to_interface(socket: &impl AsRawFd, index: u32) -> io::Result<()> {
    const SO_BINDTOIFINDEX: i32 = 62;
    set_option(socket, libc::SOL_SOCKET, SO_BINDTOIFINDEX, &(index as i32))
}

/// Asks for a receive buffer of so many octets: above the limit of the system where we may. Returns what it has now.
pub(in crate::link) fn set_receive_buffer(socket: &impl AsRawFd, octets: u32) -> io::Result<u32> {
    let wanted = i32::try_from(octets).unwrap_or(i32::MAX);
    // The kernel doubles what it is asked for, to account for its own structures, and answers with the double.
    if set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &wanted).is_err() {
        set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &wanted)?;
    }
    Ok(option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF)?.unsigned_abs() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_was_written() {
        for address in ["10.1.2.3:4", "[fe80::1]:65535"] {
            let address: SocketAddr = address.parse().expect("an address");
            assert_eq!(read_address(KernelAddress::new(address, 0).storage()), Some(address));
        }
        // SAFETY: a structure of integers.
        assert_eq!(read_address(&unsafe { core::mem::zeroed() }), None);
    }

    #[test]
    fn a_receive_buffer_is_as_large_as_the_kernel_says() {
        let socket = open(libc::AF_INET, libc::SOCK_DGRAM, 0).expect("IPv4");
        assert_eq!(set_receive_buffer(&socket, 65_536).expect("any socket can"), 65_536);
        let may_exceed = set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &65_536_i32).is_ok();
        let most = set_receive_buffer(&socket, u32::MAX).expect("any socket can");
        assert!(most >= if may_exceed { 1 << 29 } else { 65_536 }, "{most}");
    }
}
