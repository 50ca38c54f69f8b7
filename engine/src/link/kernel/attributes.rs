//! Netlink attributes: length, kind, value, one after the other.
//!
//! Used by whatever reads netlink here. Guards: an answer is walked within its own length, whatever lengths it claims, and the walk ends.

/// Octets of an attribute's header.
const ATTRIBUTE: usize = 4;
/// Kinds carry two flags on top: nested, and network octet order.
const KIND: u16 = 0x3fff;

/// The value of the first attribute of this kind.
pub(super) fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let [l0, l1, k0, k1] = *attributes.first_chunk::<ATTRIBUTE>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        // A length below its own header would not get on: `get` refuses it.
        let value = attributes.get(ATTRIBUTE..len)?;
        if u16::from_ne_bytes([k0, k1]) & KIND == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

/// Appends an attribute, padded.
pub(super) fn put(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}
