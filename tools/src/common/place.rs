//! ENDPOINT: which interface, which group, which port, and what PGM travels in.
//!
//! ```text
//!   pgm://IFACE;GROUP:PORT     PGM as protocol 113 of IP
//!   epgm://IFACE;GROUP:PORT    PGM in UDP, on this port
//!   -i IFACE GROUP:PORT        the first, where a shell would want quotes around `;`
//! ```
//!
//! Read by every command. Guards: what is wrong with it is said before anything is opened, with what would be right.

use std::net::{IpAddr, SocketAddr};

use pgmx::link::{Channel, Encapsulation};

use super::failure::Failure;

const FORM: &str = "expected pgm://IFACE;GROUP:PORT or epgm://IFACE;GROUP:PORT in quotes, or -i IFACE GROUP:PORT, as in \
                    'pgm://eth0;239.192.0.1:7500'";

/// Where to publish or to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The interface, as it was written: its name, number or address.
    pub(crate) interface: String,
    /// Group and port.
    pub(crate) channel: Channel,
    /// What PGM travels in.
    pub(crate) encapsulation: Encapsulation,
}

impl Place {
    /// Reads an endpoint, whose interface may stand beside it.
    pub(crate) fn read(endpoint: &str, interface: Option<&str>) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::usage(format!("ENDPOINT `{endpoint}`: {what}"));
        let (scheme, rest) = endpoint.split_once("://").map_or((None, endpoint), |(scheme, rest)| (Some(scheme), rest));
        let is_native = match scheme {
            None | Some("pgm") => true,
            Some("epgm") => false,
            Some(other) => return Err(wrong(format!("no `{other}://` here; {FORM}"))),
        };
        let (interface, channel) = match (rest.split_once(';'), interface) {
            (Some((inside, channel)), None) => (inside, channel),
            (None, Some(beside)) => (beside, rest),
            (Some(_), Some(_)) => return Err(wrong("the interface stands in it, and in -i as well".into())),
            (None, None) => return Err(wrong(format!("which interface? {FORM}"))),
        };
        if interface.is_empty() {
            return Err(wrong(format!("which interface? {FORM}")));
        }
        // An IPv6 address may stand in brackets, as one behind `;` has to.
        let bare = interface.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
        let interface = bare.unwrap_or(interface);
        let channel = channel_of(channel).map_err(wrong)?;
        let encapsulation = if is_native { Encapsulation::Pgm } else { Encapsulation::one_port(channel.data_port) };
        Ok(Self { interface: interface.into(), channel, encapsulation })
    }
}

/// `GROUP:PORT`; an IPv6 group stands in brackets.
fn channel_of(text: &str) -> Result<Channel, String> {
    let (group, port) = text
        .rsplit_once(':')
        .filter(|(_, port)| !port.ends_with(']'))
        .ok_or_else(|| format!("no port in `{text}`; {FORM}"))?;
    let data_port = match port.parse::<u32>() {
        Ok(port @ 1..=65535) => port as u16,
        Ok(_) => return Err(format!("port {port} is out of range: 1 to 65535")),
        Err(_) => return Err(format!("`{port}` is no port: 1 to 65535")),
    };
    let group: IpAddr = match format!("{group}:1").parse::<SocketAddr>() {
        Ok(address) => address.ip(),
        Err(_) if group.contains(':') => return Err(format!("`{group}` is no group: write IPv6 as [ff15::7500]:PORT")),
        Err(_) => return Err(format!("`{group}` is no group: an IPv4 address, or an IPv6 address in brackets")),
    };
    if !group.is_multicast() {
        return Err(format!("{group} is not multicast: groups are 224.0.0.0 to 239.255.255.255, or ff00::/8"));
    }
    Ok(Channel { group, data_port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(endpoint: &str, interface: Option<&str>) -> String {
        let failure = Place::read(endpoint, interface).expect_err("it makes no sense");
        assert_eq!(failure.status, 2);
        failure.line
    }

    #[test]
    fn an_endpoint_is_read_in_each_of_its_forms() {
        let channel = Channel { group: [239, 192, 0, 1].into(), data_port: 7500 };
        let place = |interface: &str, encapsulation| Ok(Place { interface: interface.into(), channel, encapsulation });
        assert_eq!(Place::read("pgm://eth0;239.192.0.1:7500", None), place("eth0", Encapsulation::Pgm));
        assert_eq!(Place::read("239.192.0.1:7500", Some("2")), place("2", Encapsulation::Pgm));
        assert_eq!(Place::read("pgm://239.192.0.1:7500", Some("10.0.0.1")), place("10.0.0.1", Encapsulation::Pgm));
        let one_port = Encapsulation::one_port(7500);
        assert_eq!(Place::read("epgm://10.0.0.1;239.192.0.1:7500", None), place("10.0.0.1", one_port));
        assert_eq!(Place::read("epgm://239.192.0.1:7500", Some("eth0")), place("eth0", one_port));
        let v6 = Place::read("pgm://fd00::1;[ff15::7500]:7500", None).expect("an IPv6 group");
        assert_eq!(Place::read("pgm://[fd00::1];[ff15::7500]:7500", None).as_ref(), Ok(&v6));
        assert_eq!((v6.interface.as_str(), v6.channel.group.to_string().as_str()), ("fd00::1", "ff15::7500"));
    }

    #[test]
    fn what_is_wrong_with_an_endpoint_is_said() {
        assert!(refusal("udp://eth0;239.192.0.1:7500", None).contains("no `udp://`"));
        assert!(refusal("239.192.0.1:7500", None).contains("which interface?"));
        assert!(refusal("pgm://;239.192.0.1:7500", None).contains("which interface?"));
        assert!(refusal("pgm://eth0;239.192.0.1:7500", Some("eth1")).contains("-i as well"));
        assert!(refusal("pgm://eth0;239.192.0.1", None).contains("no port"));
        assert!(refusal("pgm://eth0;[ff15::7500]", None).contains("no port"));
        assert!(refusal("pgm://eth0;239.192.0.1:0", None).contains("out of range: 1 to 65535"));
        assert!(refusal("pgm://eth0;239.192.0.1:65536", None).contains("out of range: 1 to 65535"));
        assert!(refusal("pgm://eth0;239.192.0.1:http", None).contains("is no port"));
        assert!(refusal("pgm://eth0;10.0.0.1:7500", None).contains("10.0.0.1 is not multicast"));
        assert!(refusal("pgm://eth0;ff15::7500:7500", None).contains("[ff15::7500]"));
        assert!(refusal("pgm://eth0;everybody:7500", None).contains("`everybody` is no group"));
    }
}
